//! What `GET /v1/messages` and `GET /v1/inbound_messages` may be asked for.

use super::content_fields::{REFERENCE_LENGTH, SENDER_LENGTH};
use crate::{
    api::{auth, error::ApiError, query::Query},
    config::Config,
    domain::ids::{InboundMessageId, MessageId},
    keys::Identity,
    store::{
        history::{MessageFilter, Page},
        inbound::InboundFilter,
    },
};

/// Characters of a provider's id of a message.
const PROVIDER_ID_LENGTH: usize = 128;

/// Reads the filters of a list of messages. One entry more than the page holds is asked for, to know whether there are more.
pub fn messages(mut query: Query, identity: &Identity, config: &Config) -> Result<(MessageFilter, u32), ApiError> {
    let mut filter = MessageFilter {
        app: auth::app_filter(&mut query, identity)?,
        statuses: query.many("status", "a status of a message"),
        channel: query.parsed("channel", "sms or voice"),
        to: query.phone_number("to"),
        from: query.text("from", SENDER_LENGTH),
        provider: query.slug("provider"),
        batch_id: query.parsed("batch_id", "the id of a batch"),
        client_reference: query.text("client_reference", REFERENCE_LENGTH),
        provider_message_id: query.text("provider_message_id", PROVIDER_ID_LENGTH),
        all_providers: config.providers.keys().cloned().collect(),
        error_code: query.parsed("error_code", "a code of a message's error"),
        created_after: query.timestamp("created_after"),
        created_before: query.timestamp("created_before"),
        page: Page::default(),
    };
    let (before, limit) = (query.cursor::<MessageId>(), query.limit());
    query.finish()?;
    filter.page = Page { before: before.map(|id| id.0), limit: i64::from(limit) + 1 };
    Ok((filter, limit))
}

/// Reads the filters of a list of inbound messages.
pub fn inbound(mut query: Query, identity: &Identity) -> Result<(InboundFilter, u32), ApiError> {
    let mut filter = InboundFilter {
        app: auth::app_filter(&mut query, identity)?,
        to: query.text("to", SENDER_LENGTH),
        from: query.text("from", SENDER_LENGTH),
        provider: query.slug("provider"),
        created_after: query.timestamp("created_after"),
        created_before: query.timestamp("created_before"),
        page: Page::default(),
    };
    let (before, limit) = (query.cursor::<InboundMessageId>(), query.limit());
    query.finish()?;
    filter.page = Page { before: before.map(|id| id.0), limit: i64::from(limit) + 1 };
    Ok((filter, limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{page::Cursor, testing},
        config::Role,
        domain::{content::Channel, error_code::ErrorCode, ids::BatchId, status::MessageStatus},
    };

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
        let (filter, limit) = messages(Query::parse(&query), &identity(Role::Operator), &testing::config()).unwrap();
        assert_eq!(limit, 7);
        assert_eq!(filter.app.as_deref(), Some("bank"));
        assert_eq!(filter.statuses, [MessageStatus::Sent, MessageStatus::Unknown]);
        assert_eq!(filter.channel, Some(Channel::Voice));
        assert_eq!(filter.to.as_deref(), Some("+84361234567"));
        assert_eq!(filter.from.as_deref(), Some("ACME"));
        assert_eq!(filter.provider.as_deref(), Some("nxcloud"));
        assert_eq!(filter.batch_id, Some(batch_id));
        assert_eq!(filter.client_reference.as_deref(), Some("order 1"));
        assert_eq!(filter.provider_message_id.as_deref(), Some("p-1"));
        assert_eq!(filter.all_providers, ["huawei", "nxcloud", "sandbox"]);
        assert_eq!(filter.error_code, Some(ErrorCode::Expired));
        assert_eq!(filter.created_after, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(filter.created_before, Some("2026-01-02T00:00:00Z".parse().unwrap()));
        assert_eq!(filter.page, Page { before: Some(before.0), limit: 8 });
    }

    #[test]
    fn an_apps_key_is_held_to_its_own_rows_without_asking() {
        let (filter, _) = messages(Query::default(), &identity(Role::App), &testing::config()).unwrap();
        assert_eq!(filter.app.as_deref(), Some("shop"));
        let (filter, _) = inbound(Query::default(), &identity(Role::App)).unwrap();
        assert_eq!(filter.app.as_deref(), Some("shop"));
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let query =
            "status=lost&channel=fax&to=0361234567&batch_id=msg_1&error_code=x&created_after=now&limit=0&page=2";
        let Err(ApiError::Invalid(errors)) = messages(Query::parse(query), &identity(Role::App), &testing::config())
        else {
            panic!("has to be refused");
        };
        let names: Vec<_> = errors.iter().filter_map(|error| error.parameter.as_deref()).collect();
        assert_eq!(names, ["status", "channel", "to", "batch_id", "error_code", "created_after", "limit", "page"]);
    }
}
