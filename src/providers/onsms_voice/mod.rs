//! One-time codes read out by a call in Vietnam (`onsmsapivoice`): one recipient a call, delivery learned by asking.
//!
//! The API has no pushes, no idempotency key and, at its documented address, no TLS: user, password and key travel in the body.
//! What its document leaves open, and what was chosen, stands in `README.md`.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use self::wire::{CheckBody, CodeAnswer, SendBody};
use super::{
    Balance, Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Outcome, Provider, ProviderError,
    SettingsProblem, Setup, Submission,
    codes::{CodeTable, Stage, shared},
    http::{Answer, Http, client_problem, status_error},
    settings::SettingsReader,
};
use crate::domain::{
    capabilities::{Capabilities, ContentRule, Reports},
    content::Channel,
    report::{Report, ReportTarget},
};

mod wire;

static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

/// The reference: "6 digits or fewer".
const MAX_DIGITS: usize = 6;
/// Taken, but nothing can ever be asked about it: a row of its own.
const TAKEN_WITHOUT_ID: &str = "1 (no request_id)";
const TAKEN: &str = "1";

/// Builds the driver.
pub fn build(setup: Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>> {
    let mut settings = SettingsReader::new(setup.settings);
    let base_url = settings.url_or("base_url", "http://210.211.108.20:8080");
    let account = Account {
        username: settings.required_secret("username"),
        pass: settings.required_secret("password"),
        key: settings.required_secret("key"),
    };
    let first = Duration::from_secs(settings.integer_or("poll_seconds", 5, 1..=600));
    let window = Duration::from_mins(settings.integer_or("poll_window_minutes", 10, 1..=1440));
    settings.finish()?;
    let http = Http::new(setup.timeout, setup.clock).map_err(client_problem)?;
    if base_url.scheme() == "http" {
        tracing::warn!(provider = setup.name, "base_url is plain http: the password travels in clear text");
    }
    let address = base_url.as_str().trim_end_matches('/').to_owned();
    let capabilities = capabilities(Reports::Poll { first, window });
    Ok(Arc::new(OnsmsVoice { name: setup.name, address, account, http, capabilities }))
}

fn capabilities(reports: Reports) -> Capabilities {
    Capabilities {
        channel: Channel::Voice,
        content: ContentRule::Digits { max: MAX_DIGITS },
        max_text_characters: None,
        max_recipients_per_call: 1,
        max_call_bytes: 64 * 1024,
        reports,
        inbound: false,
        balance: true,
        echoes_reference: false,
        report_url_per_call: false,
        heuristic_match: false,
        countries: Some(vec!["VN".into()]),
        test_numbers: false,
        breaker_exempt: false,
        registrations: vec![],
        clock_tolerance: None,
    }
}

struct Account {
    username: SecretString,
    pass: SecretString,
    key: SecretString,
}

struct OnsmsVoice {
    name: String,
    address: String,
    account: Account,
    http: Http,
    capabilities: Capabilities,
}

impl fmt::Debug for OnsmsVoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnsmsVoice").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for OnsmsVoice {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
        let [submission] = call.submissions.as_slice() else { return Err(ProviderError::unsupported()) };
        let message = digits(submission).ok_or_else(ProviderError::content_unsupported)?;
        let phone = national(submission.to.as_str()).ok_or_else(ProviderError::content_unsupported)?;
        let body = SendBody {
            username: self.account.username.expose_secret(),
            pass: self.account.pass.expose_secret(),
            sender: &call.from,
            key: self.account.key.expose_secret(),
            phonesend: &phone,
            message,
        };
        let answer = self.post("postSMS", &body).await?;
        Ok(vec![taken(&answer)?])
    }

    fn clock_skew(&self) -> Option<TimeDelta> {
        self.http.clock_skew()
    }

    fn verify_callback(&self, _: &Callback) -> Result<(), CallbackRejected> {
        Err(CallbackRejected::Signature("this provider pushes nothing"))
    }

    fn parse_callback(&self, _: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        Err(CallbackRejected::Malformed("this provider pushes nothing".into()))
    }

    fn callback_answers(&self) -> CallbackAnswers {
        CallbackAnswers { content_type: "text/plain", success: "success", failure: "error" }
    }

    async fn fetch_status(&self, provider_message_id: &str) -> Result<Report, ProviderError> {
        let answer = self.post("checkVoice", &self.check(Some(provider_message_id))).await?;
        let code = read_code(&answer)?.code;
        Ok(Report {
            target: ReportTarget {
                provider_message_id: Some(provider_message_id.to_owned()),
                ..ReportTarget::default()
            },
            verdict: CODES.lookup(Stage::Poll, &code).verdict,
            provider_code: code,
            part: 1,
            parts: 1,
            occurred_at: None,
            description: None,
            price: None,
            segments: None,
        })
    }

    async fn balance(&self) -> Result<Balance, ProviderError> {
        let answer = self.post("checkBalance", &self.check(None)).await?;
        read_balance(&answer)
    }
}

impl OnsmsVoice {
    async fn post(&self, operation: &str, body: &(impl Serialize + Sync)) -> Result<Answer, ProviderError> {
        let url = format!("{}/onsmsapivoice/{operation}", self.address);
        self.http.send(self.http.post(&url).json(body)).await
    }

    fn check<'a>(&'a self, request_id: Option<&'a str>) -> CheckBody<'a> {
        CheckBody {
            username: self.account.username.expose_secret(),
            pass: self.account.pass.expose_secret(),
            key: self.account.key.expose_secret(),
            request_id,
        }
    }
}

/// The code of an answer; what is not 2xx has none that is documented.
fn read_code(answer: &Answer) -> Result<CodeAnswer, ProviderError> {
    if !answer.is_success() {
        return Err(status_error(answer));
    }
    wire::read_code(&answer.body).ok_or_else(|| ProviderError::unreadable("no code at the beginning"))
}

/// What an answer to a send means.
pub(crate) fn taken(answer: &Answer) -> Result<Outcome, ProviderError> {
    read_code(answer).map(outcome)
}

/// The money that an answer tells of.
pub(crate) fn read_balance(answer: &Answer) -> Result<Balance, ProviderError> {
    let parsed = wire::read_balance(&answer.body).filter(|_| answer.is_success());
    let parsed = parsed.ok_or_else(|| status_error(answer))?;
    if parsed.code != TAKEN {
        let mut entry = CODES.lookup(Stage::Poll, &format!("balance:{}", parsed.code));
        if !entry.known {
            // The row for unknown answers to a poll is about a message that is still on its way; this is a refusal.
            entry = shared(Stage::SendResponse, "unmapped_code");
        }
        return Err(ProviderError::refused(entry, parsed.code));
    }
    let amount = parsed.balance.ok_or_else(|| ProviderError::unreadable("a success without a balance"))?;
    Ok(Balance { amount, currency: None })
}

fn outcome(answer: CodeAnswer) -> Outcome {
    let code = match answer {
        CodeAnswer { ref code, request_id: None } if code == TAKEN => TAKEN_WITHOUT_ID.to_owned(),
        CodeAnswer { ref code, .. } => code.clone(),
    };
    Outcome {
        verdict: CODES.lookup(Stage::SendResponse, &code).verdict,
        provider_code: Some(code),
        // Also beside code 27, whose outcome is open: whoever has an id can be asked about it.
        provider_message_id: answer.request_id,
        segments: None,
        retry_after: None,
    }
}

/// What is read out: the first value of a binding, else the text; one to six digits or nothing.
fn digits(submission: &Submission) -> Option<&str> {
    let bound = submission.binding.as_ref().and_then(|binding| binding.params.first());
    let text = bound.or(submission.text.as_ref())?;
    let fits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(text.as_str())
}

/// `+84361234567` as it is dialled at home: `0361234567`.
fn national(number: &str) -> Option<String> {
    number.strip_prefix("+84").map(|rest| format!("0{rest}"))
}

#[cfg(test)]
pub(super) mod tests;
