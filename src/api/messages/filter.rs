//! What `GET /v1/messages` and `GET /v1/inbound_messages` may be asked for.

use crate::{
    api::{auth, error::ApiError, query::Query},
    domain::{
        Timestamp,
        content::Channel,
        error_code::ErrorCode,
        ids::{BatchId, InboundMessageId, MessageId},
        status::MessageStatus,
    },
    keys::Identity,
};

use super::content_fields::{REFERENCE_LENGTH, SENDER_LENGTH};

/// The filters of a list of messages; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Any of these; empty: all.
    pub status: Vec<MessageStatus>,
    /// Of the last attempt.
    pub channel: Option<Channel>,
    /// The recipient.
    pub to: Option<String>,
    /// The sender.
    pub from: Option<String>,
    /// Of the last attempt.
    pub provider: Option<String>,
    /// Whose; none: everybody's, which only an operator's or an auditor's key can ask for.
    pub app: Option<String>,
    /// The batch.
    pub batch_id: Option<BatchId>,
    /// The app's own id.
    pub client_reference: Option<String>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// The neutral cause.
    pub error_code: Option<ErrorCode>,
    /// Created at this time or later.
    pub created_after: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// Older than this message.
    pub before: Option<MessageId>,
    /// Entries of the page.
    pub limit: u32,
}

impl MessageFilter {
    /// Reads a whole query.
    pub fn read(mut query: Query, identity: &Identity) -> Result<Self, ApiError> {
        let filter = Self {
            status: query.many("status", "a status of a message"),
            channel: query.parsed("channel", "sms or voice"),
            to: query.phone_number("to"),
            from: query.text("from", SENDER_LENGTH),
            provider: query.slug("provider"),
            app: auth::app_filter(&mut query, identity)?,
            batch_id: query.parsed("batch_id", "the id of a batch"),
            client_reference: query.text("client_reference", REFERENCE_LENGTH),
            provider_message_id: query.text("provider_message_id", 128),
            error_code: query.parsed("error_code", "a code of a message's error"),
            created_after: query.timestamp("created_after"),
            created_before: query.timestamp("created_before"),
            before: query.cursor(),
            limit: query.limit(),
        };
        query.finish()?;
        Ok(filter)
    }
}

/// The filters of a list of inbound messages; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundFilter {
    /// Our number.
    pub to: Option<String>,
    /// Who sent it.
    pub from: Option<String>,
    /// Over which provider it came.
    pub provider: Option<String>,
    /// Whose; none: everybody's and nobody's.
    pub app: Option<String>,
    /// Arrived at this time or later.
    pub created_after: Option<Timestamp>,
    /// Arrived before this time.
    pub created_before: Option<Timestamp>,
    /// Older than this one.
    pub before: Option<InboundMessageId>,
    /// Entries of the page.
    pub limit: u32,
}

impl InboundFilter {
    /// Reads a whole query.
    pub fn read(mut query: Query, identity: &Identity) -> Result<Self, ApiError> {
        let filter = Self {
            to: query.text("to", SENDER_LENGTH),
            from: query.text("from", SENDER_LENGTH),
            provider: query.slug("provider"),
            app: auth::app_filter(&mut query, identity)?,
            created_after: query.timestamp("created_after"),
            created_before: query.timestamp("created_before"),
            before: query.cursor(),
            limit: query.limit(),
        };
        query.finish()?;
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::page::Cursor, config::Role};

    fn identity(role: Role) -> Identity {
        Identity { app: "shop".into(), role, test: false }
    }

    #[test]
    fn every_documented_filter_is_read() {
        let (batch_id, before) = (BatchId(uuid::Uuid::nil()), MessageId(uuid::Uuid::max()));
        let query = format!(
            "status=sent&status=unknown&channel=voice&to=%2B84361234567&from=ACME&provider=nxcloud&app=bank\
             &batch_id={batch_id}&client_reference=order%201&provider_message_id=p-1&error_code=expired\
             &created_after=2026-01-01T00:00:00Z&created_before=2026-01-02T00:00:00Z&limit=7&cursor={}",
            Cursor::write(before)
        );
        let filter = MessageFilter::read(Query::parse(&query), &identity(Role::Operator)).unwrap();
        let expected = MessageFilter {
            status: vec![MessageStatus::Sent, MessageStatus::Unknown],
            channel: Some(Channel::Voice),
            to: Some("+84361234567".into()),
            from: Some("ACME".into()),
            provider: Some("nxcloud".into()),
            app: Some("bank".into()),
            batch_id: Some(batch_id),
            client_reference: Some("order 1".into()),
            provider_message_id: Some("p-1".into()),
            error_code: Some(ErrorCode::Expired),
            created_after: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            created_before: Some("2026-01-02T00:00:00Z".parse().unwrap()),
            before: Some(before),
            limit: 7,
        };
        assert_eq!(filter, expected);
    }

    #[test]
    fn an_apps_key_is_held_to_its_own_rows_without_asking() {
        let filter = MessageFilter::read(Query::default(), &identity(Role::App)).unwrap();
        assert_eq!(filter.app.as_deref(), Some("shop"));
        let filter = InboundFilter::read(Query::default(), &identity(Role::App)).unwrap();
        assert_eq!(filter.app.as_deref(), Some("shop"));
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let query =
            "status=lost&channel=fax&to=0361234567&batch_id=msg_1&error_code=x&created_after=now&limit=0&page=2";
        let Err(ApiError::Invalid(errors)) = MessageFilter::read(Query::parse(query), &identity(Role::App)) else {
            panic!("has to be refused");
        };
        let names: Vec<_> = errors.iter().filter_map(|error| error.parameter.as_deref()).collect();
        assert_eq!(names, ["status", "channel", "to", "batch_id", "error_code", "created_after", "limit", "page"]);
    }
}
