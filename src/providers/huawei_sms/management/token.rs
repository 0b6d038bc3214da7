//! Tokens of the project: one login for all who wait, kept until shortly before it ends.
//!
//! <https://support.huaweicloud.com/intl/en-us/api-iam/iam_30_0001.html>. A token is several kilobytes of secret, comes in a
//! header and holds for a day.

use chrono::{DateTime, TimeDelta};
use reqwest::header::{self, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{fault, settings};
use crate::{
    clock::Clock,
    domain::Timestamp,
    providers::{
        http::Http,
        registrations::{RegistrationError, RegistrationErrorKind},
    },
};

/// A token is replaced so long before it ends, or after nine tenths of its life if that is later.
const MARGIN: TimeDelta = TimeDelta::minutes(5);
/// What a token without a readable end is given.
const UNSAID_LIFE: TimeDelta = TimeDelta::hours(1);
/// For so long a login that failed is not tried again: whoever waits behind it would only wait for the same, and an account
/// with a wrong password gets locked.
const REST: TimeDelta = TimeDelta::seconds(5);

/// A token, and which login it came from.
#[derive(Debug, Clone)]
pub(super) struct Token {
    value: SecretString,
    use_until: Timestamp,
    login: u64,
}

impl Token {
    /// As it stands in a request.
    pub(super) fn header(&self) -> Result<HeaderValue, RegistrationError> {
        let value = HeaderValue::from_str(self.value.expose_secret());
        let mut value = value.map_err(|_| RegistrationError::new(RegistrationErrorKind::Failed))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The tokens of one project.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: settings::Management,
    http: Http,
    clock: Clock,
    /// Held while somebody logs in, so that all others wait for that login.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    token: Option<Token>,
    failed: Option<(Timestamp, RegistrationError)>,
    logins: u64,
}

impl Tokens {
    pub(super) fn new(settings: settings::Management, http: Http, clock: Clock) -> Self {
        Self { settings, http, clock, known: Mutex::default() }
    }

    /// A token that still holds.
    pub(super) async fn current(&self) -> Result<Token, RegistrationError> {
        self.other_than(None).await
    }

    /// A token in place of one that was refused; the one that somebody else has fetched meanwhile, if so.
    pub(super) async fn instead_of(&self, refused: &Token) -> Result<Token, RegistrationError> {
        self.other_than(Some(refused.login)).await
    }

    async fn other_than(&self, refused: Option<u64>) -> Result<Token, RegistrationError> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some(token) = known.token.as_ref().filter(|token| now < token.use_until && Some(token.login) != refused)
        {
            return Ok(token.clone());
        }
        // A clock that was set back must not make it longer.
        if let Some((_, error)) = known.failed.as_ref().filter(|(at, _)| (now - *at).abs() < REST) {
            return Err(error.clone());
        }
        known.logins += 1;
        match self.login(known.logins).await {
            Ok(token) => {
                (known.token, known.failed) = (Some(token.clone()), None);
                Ok(token)
            }
            Err(error) => {
                (known.token, known.failed) = (None, Some((self.clock.now(), error.clone())));
                Err(error)
            }
        }
    }

    async fn login(&self, login: u64) -> Result<Token, RegistrationError> {
        let base = self.settings.iam_endpoint.as_str().trim_end_matches('/');
        let request = self
            .http
            .post(&format!("{base}/v3/auth/tokens"))
            .header(header::ACCEPT, "application/json")
            .json(&credentials(&self.settings));
        let answer = self.http.send(request).await.map_err(fault::transport)?;
        if !answer.is_success() {
            return Err(fault::of_login(&answer));
        }
        let value = answer.headers.get("X-Subject-Token").and_then(|value| value.to_str().ok());
        let value = value.ok_or_else(|| RegistrationError::new(RegistrationErrorKind::Failed))?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(Token { value: value.into(), use_until: use_until(&body, self.clock.now()), login })
    }
}

/// The password method, for the project: a token of the whole account is refused.
fn credentials(settings: &settings::Management) -> Value {
    let user = json!({
        "name": settings.username,
        "password": settings.password.expose_secret(),
        "domain": { "name": settings.domain },
    });
    json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": { "name": settings.project } },
    }})
}

fn use_until(body: &Value, now: Timestamp) -> Timestamp {
    let end = body.pointer("/token/expires_at").and_then(Value::as_str);
    let end = end.and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(|end| end.to_utc());
    let end = end.unwrap_or(now + UNSAID_LIFE);
    end - MARGIN.min((end - now) / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let now: Timestamp = "2019-02-12T06:52:13Z".parse().unwrap();
        let end = |text: &str| use_until(&json!({ "token": { "expires_at": text } }), now) - now;
        assert_eq!(end("2019-02-13T06:52:13.855000Z"), TimeDelta::milliseconds(86_400_855) - MARGIN);
        assert_eq!(end("2019-02-12T06:53:13.000000Z"), TimeDelta::seconds(54));
        assert_eq!(use_until(&json!({}), now) - now, UNSAID_LIFE - MARGIN);
    }
}
