//! What an answer of the management API means when it is no success.
//!
//! A code of theirs decides before the HTTP status does: the documents print codes without saying which status they come with.

use std::sync::Arc;

use serde_json::Value;

use super::Subject;
use crate::providers::{
    ProviderError, ProviderErrorKind,
    http::Answer,
    registrations::{RegistrationError, RegistrationErrorKind as Kind},
};

/// Characters of what they say that are passed on.
const LONGEST_MESSAGE: usize = 500;

/// What stands in an answer; null for a success without a body.
pub(super) fn read(about: Subject, answer: &Answer) -> Result<Value, RegistrationError> {
    if answer.is_success() && answer.body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let code = body.as_ref().and_then(|body| text(body, "error_code"));
    match (body, &code) {
        (Some(body), None) if answer.is_success() => Ok(body),
        (body, _) => {
            let kind = kind(about, code.as_deref(), answer.status);
            let message = body.as_ref().and_then(message);
            Err(error(kind, code.unwrap_or_else(|| format!("http_{}", answer.status)), message, answer))
        }
    }
}

/// Why there is no token. What is wrong with it is never the request's fault.
pub(super) fn of_login(answer: &Answer) -> RegistrationError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let inner = body.get("error").unwrap_or(&body);
    let code = text(&body, "error_code").or_else(|| text(inner, "code"));
    let kind = match answer.status {
        429 => Kind::Busy,
        400..404 => Kind::AccessDenied,
        _ => Kind::Failed,
    };
    let message = message(&body).or_else(|| text(inner, "message").map(|text| shortened(&text)));
    error(kind, code.unwrap_or_else(|| format!("http_{}", answer.status)), message, answer)
}

/// No answer at all.
pub(super) fn transport(source: ProviderError) -> RegistrationError {
    let kind = match source.kind {
        ProviderErrorKind::NotConnected => Kind::NotConnected,
        ProviderErrorKind::OutcomeUnknown => Kind::TimedOut,
        ProviderErrorKind::Refused | ProviderErrorKind::Unsupported => Kind::Failed,
    };
    let code = source.provider_code.clone();
    RegistrationError { code, source: Some(Arc::new(source)), ..RegistrationError::new(kind) }
}

/// A success that cannot be read as what it should be.
pub(super) fn unreadable() -> RegistrationError {
    RegistrationError { code: Some("unreadable".to_owned()), ..RegistrationError::new(Kind::Failed) }
}

fn kind(about: Subject, code: Option<&str>, status: u16) -> Kind {
    let missing = |of| if about == of { Kind::NotFound } else { Kind::Invalid };
    match code {
        Some("MSGSMS.0002" | "MSGSMS.0012" | "MSGSMS.0087") => Kind::Invalid,
        Some("MSGSMS.0003" | "MSGSMS.0013") => Kind::AccessDenied,
        Some("MSGSMS.0004" | "MSGSMS.0006" | "MSGSMS.0007" | "MSGSMS.0008" | "MSGSMS.0010" | "MSGSMS.0130") => {
            Kind::Conflict
        }
        Some("MSGSMS.0005") => missing(Subject::Signature),
        Some("MSGSMS.0009") => missing(Subject::Template),
        Some("MSGSMS.0011") => missing(Subject::File),
        Some("MSGSMS.0014" | "MSGSMS.0076") => missing(Subject::Application),
        Some("MSGSMS.0001") => Kind::Failed,
        Some(_) | None => of_status(status),
    }
}

fn of_status(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::AccessDenied,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        429 => Kind::Busy,
        408 | 504 => Kind::TimedOut,
        400..500 => Kind::Invalid,
        _ => Kind::Failed,
    }
}

fn error(kind: Kind, code: String, message: Option<String>, answer: &Answer) -> RegistrationError {
    let retry_after = answer.retry_after;
    RegistrationError { kind, code: Some(code), message, retry_after, source: None }
}

fn message(body: &Value) -> Option<String> {
    let (short, long) = (text(body, "error_msg"), text(body, "error_detail"));
    let said = match (short, long) {
        (Some(short), Some(long)) if short != long => format!("{short} {long}"),
        (short, long) => short.or(long)?,
    };
    Some(shortened(&said))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}

fn text(body: &Value, name: &str) -> Option<String> {
    super::super::wire::text(body.get(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Answer { status, headers: reqwest::header::HeaderMap::new(), body, date: None, retry_after: None }
    }

    #[test]
    fn each_code_means_one_thing_whatever_its_status() {
        use Subject::{Application, File, Signature, Template};
        for (about, code, expected) in [
            (Signature, "MSGSMS.0001", Kind::Failed),
            (Signature, "MSGSMS.0002", Kind::Invalid),
            (Signature, "MSGSMS.0003", Kind::AccessDenied),
            (Signature, "MSGSMS.0004", Kind::Conflict),
            (Signature, "MSGSMS.0005", Kind::NotFound),
            (Template, "MSGSMS.0005", Kind::Invalid),
            (Signature, "MSGSMS.0006", Kind::Conflict),
            (Signature, "MSGSMS.0007", Kind::Conflict),
            (Template, "MSGSMS.0008", Kind::Conflict),
            (Template, "MSGSMS.0009", Kind::NotFound),
            (Template, "MSGSMS.0010", Kind::Conflict),
            (File, "MSGSMS.0011", Kind::NotFound),
            (Signature, "MSGSMS.0011", Kind::Invalid),
            (Template, "MSGSMS.0012", Kind::Invalid),
            (Signature, "MSGSMS.0013", Kind::AccessDenied),
            (Application, "MSGSMS.0014", Kind::NotFound),
            (Template, "MSGSMS.0014", Kind::Invalid),
            (Application, "MSGSMS.0076", Kind::NotFound),
            (Application, "MSGSMS.0087", Kind::Invalid),
            (Signature, "MSGSMS.0130", Kind::Conflict),
        ] {
            for status in [200, 400, 500] {
                let body = format!(r#"{{"error_code":"{code}","error_msg":"No."}}"#);
                let error = read(about, &answer(status, &body)).unwrap_err();
                assert_eq!((error.kind, error.code.as_deref()), (expected, Some(code)), "{code} of {about:?}");
                assert_eq!(error.message.as_deref(), Some("No."));
            }
        }
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        for (status, expected) in [
            (400, Kind::Invalid),
            (401, Kind::AccessDenied),
            (403, Kind::AccessDenied),
            (404, Kind::NotFound),
            (409, Kind::Conflict),
            (418, Kind::Invalid),
            (429, Kind::Busy),
            (500, Kind::Failed),
            (502, Kind::Failed),
            (504, Kind::TimedOut),
            (302, Kind::Failed),
        ] {
            for body in ["", "<html>", r#"{"error_code":"APIGW.0101","error_msg":"No.","request_id":"1"}"#] {
                assert_eq!(read(Subject::Template, &answer(status, body)).unwrap_err().kind, expected, "{status}");
            }
        }
    }

    #[test]
    fn a_success_without_a_body_is_one_and_nonsense_is_none() {
        assert_eq!(read(Subject::Template, &answer(204, "")).unwrap(), Value::Null);
        assert_eq!(read(Subject::Template, &answer(200, "[]")).unwrap(), serde_json::json!([]));
        assert_eq!(read(Subject::Template, &answer(200, "<html>")).unwrap_err().kind, Kind::Failed);
    }

    #[test]
    fn the_detail_is_told_where_it_says_more() {
        let body = r#"{"error_code":"MSGSMS.0130","error_msg":"Signature status should be to be activated.",
                       "error_detail":"Signature status should be TO_BE_ACTIVATED."}"#;
        let error = read(Subject::Signature, &answer(400, body)).unwrap_err();
        let expected = "Signature status should be to be activated. Signature status should be TO_BE_ACTIVATED.";
        assert_eq!(error.message.as_deref(), Some(expected));
    }

    #[test]
    fn a_login_that_is_refused_is_the_accounts_fault() {
        let body = r#"{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}"#;
        let error = of_login(&answer(401, body));
        assert_eq!((error.kind, error.code.as_deref()), (Kind::AccessDenied, Some("401")));
        assert_eq!(error.message.as_deref(), Some("The username or password is wrong."));
        assert_eq!(of_login(&answer(503, "")).kind, Kind::Failed);
        assert_eq!(of_login(&answer(400, "{}")).kind, Kind::AccessDenied);
    }
}
