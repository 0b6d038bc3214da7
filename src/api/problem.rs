//! The one shape of every error answer: `application/problem+json` (RFC 9457) with a stable code.
//!
//! What can go wrong and with which status stands in [`super::error`]; here is only what is written.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::RequestId;

macro_rules! problem_codes {
    ($($variant:ident $text:literal $title:literal;)*) => {
        /// The stable code of a problem, and of each single error in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ProblemCode {
            $(#[doc = $title] $variant,)*
        }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// One sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

problem_codes! {
    MalformedRequest "malformed_request" "The request cannot be read.";
    Unauthenticated "unauthenticated" "A valid key is needed.";
    Forbidden "forbidden" "The key may not do this.";
    NotFound "not_found" "There is no such thing.";
    CapabilityUnsupported "capability_unsupported" "The provider cannot do this.";
    MethodNotAllowed "method_not_allowed" "The path does not take this method.";
    RequestTimeout "request_timeout" "The body took too long to arrive.";
    UriTooLong "uri_too_long" "The address of the request is too long.";
    HeadTooLarge "head_too_large" "The head of the request is too large.";
    PayloadTooLarge "payload_too_large" "The body is too large.";
    UnsupportedMediaType "unsupported_media_type" "The body's media type is not taken here.";
    IdempotencyKeyInProgress "idempotency_key_in_progress" "A request with this idempotency key is still running.";
    IdempotencyKeyReused "idempotency_key_reused" "The idempotency key belongs to another request.";
    NotCancelable "not_cancelable" "The message cannot be canceled any more.";
    Conflict "conflict" "The request does not fit the present state.";
    ValidationFailed "validation_failed" "The request is not valid.";
    RateLimited "rate_limited" "Too many requests.";
    Unavailable "unavailable" "The gateway cannot take this at the moment.";
    InternalError "internal_error" "The gateway failed.";
    ProviderError "provider_error" "The provider answered with an error.";
    ProviderTimeout "provider_timeout" "The provider did not answer in time.";
    Required "required" "A field is missing.";
    Invalid "invalid" "A value has the wrong form.";
    TooLong "too_long" "A value is too long.";
    TooMany "too_many" "There are too many entries.";
    OutOfRange "out_of_range" "A value is outside of its range.";
    Duplicate "duplicate" "A value stands more than once.";
    UnknownField "unknown_field" "A field or parameter is not known.";
    MutuallyExclusive "mutually_exclusive" "Fields exclude each other.";
    HostNotAllowed "host_not_allowed" "The host is not one of the app's.";
    RecipientInvalid "recipient_invalid" "The recipient is not a number that can be sent to.";
    RecipientOptedOut "recipient_opted_out" "The recipient has opted out.";
    RecipientRateLimited "recipient_rate_limited" "The recipient received too many messages.";
    DestinationNotAllowed "destination_not_allowed" "The destination is not allowed.";
    SenderNotAllowed "sender_not_allowed" "The sender may not be used.";
    ContentTooLong "content_too_long" "The content is too long.";
    ContentUnsupported "content_unsupported" "No provider of the route can carry this content.";
    TemplateParamsInvalid "template_params_invalid" "The template's parameters do not fit.";
    NoRoute "no_route" "There is no route to this destination.";
    QuotaExceeded "quota_exceeded" "A sending limit is used up.";
}

/// An error answer. Decide by `code`; `title` and `detail` are for people.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// A name for the kind of problem; nothing to fetch.
    #[serde(rename = "type")]
    #[schema(value_type = String, format = "uri-reference")]
    pub kind: String,
    /// What kind of problem, in one sentence.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(value_type = i32, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong in this case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
    /// The stable code. A problem with a single error carries that error's code.
    pub code: ProblemCode,
    /// Also in the `X-Request-Id` header and in the logs.
    #[schema(value_type = Option<String>, required = true, pattern = "^req_[0-7][0-9a-hjkmnp-tv-z]{25}$", nullable = false)]
    pub request_id: Option<RequestId>,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// The provider's own code, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_code: Option<String>,
    /// The provider's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub provider_message: Option<String>,
}

impl Problem {
    /// A problem without anything beyond its code; the frame adds the request's id.
    pub fn new(status: u16, code: ProblemCode, detail: Option<String>) -> Self {
        Self {
            kind: format!("urn:sms-gateway:problem:{}", code.as_str()),
            title: code.title(),
            status,
            detail,
            code,
            request_id: None,
            errors: Vec::new(),
            provider_code: None,
            provider_message: None,
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("/recipients/3/to"))]
    pub pointer: Option<String>,
    /// Name of the query parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// What kind of fault.
    pub code: ProblemCode,
    /// What is wrong, for people. Never repeats the value.
    pub detail: String,
}

impl FieldError {
    /// A fault in the body.
    pub fn at(pointer: impl Into<String>, code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, code, detail: detail.into() }
    }

    /// A fault in a query parameter or a header.
    pub fn parameter(name: impl Into<String>, code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), code, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_its_text() {
        for code in ProblemCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
