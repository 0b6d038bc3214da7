//! SMS from a DID number through `NxCloud` (nxtele): one recipient a call, receipts and inbound messages by push.
//!
//! What its documents leave open or contradict, and what was chosen, stands in `README.md`.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{Offset, TimeDelta};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use self::{
    callback::{Reader, digits},
    sign::{Algorithm, Headers},
    wire::SendBody,
};
use super::{
    Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Outcome, Provider, ProviderError,
    SettingsProblem, Setup,
    codes::{CodeTable, Stage},
    http::{Answer, Http, client_problem, status_error},
    settings::SettingsReader,
};
use crate::{
    clock::Clock,
    domain::{
        capabilities::{Capabilities, ContentRule, Reports},
        content::Channel,
        verdict::NeutralStatus,
    },
};

mod callback;
mod sign;
mod wire;

static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

/// <https://github.com/nxtele/http-api-document-en/wiki/API-auth-basics>: `ts` may be a minute off.
const LONGEST_AGE: Duration = Duration::from_mins(1);
/// Stop before that.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(45);
const BIZ_TYPE: &str = "4";
const ACTION: &str = "mtsend";

/// Builds the driver.
pub fn build(setup: Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>> {
    let mut settings = SettingsReader::new(setup.settings);
    let base_url = settings.url_or("base_url", "https://api2.nxcloud.com");
    let access_key = settings.required_secret("access_key");
    let access_secret = settings.required_secret("access_secret");
    let algorithm = match settings.choice("algorithm", &["md5", "sha256"], "md5") {
        "sha256" => Algorithm::Sha256,
        _ => Algorithm::Md5,
    };
    let verify = match settings.choice("verify_callbacks", &["if_signed", "always", "monitor"], "if_signed") {
        "always" => Verify::Always,
        "monitor" => Verify::Monitor,
        _ => Verify::IfSigned,
    };
    let hours = settings.integer_or("utc_offset_hours", 8, -12..=14);
    settings.finish()?;
    let http = Http::new(setup.timeout, setup.clock.clone()).map_err(client_problem)?;
    let utc_offset = chrono::FixedOffset::east_opt(hours * 3600).unwrap_or_else(|| chrono::Utc.fix());
    let own_numbers = setup.from.iter().chain(&setup.senders).map(|sender| digits(sender).to_owned()).collect();
    Ok(Arc::new(NxCloudDid {
        name: setup.name,
        send_url: endpoint(&base_url),
        access_key,
        access_secret,
        algorithm,
        verify,
        reader: Reader { own_numbers, utc_offset },
        http,
        clock: setup.clock,
        capabilities: capabilities(),
    }))
}

fn endpoint(base_url: &Url) -> String {
    format!("{}/didsms/mtsend", base_url.as_str().trim_end_matches('/'))
}

/// <https://github.com/nxtele/nxcloud-doc-en/wiki/Sending-SMS-via-DID-Number-V2>: one number a call, 1000 characters.
fn capabilities() -> Capabilities {
    Capabilities {
        channel: Channel::Sms,
        content: ContentRule::Text,
        max_text_characters: Some(1000),
        max_recipients_per_call: 1,
        max_call_bytes: 64 * 1024,
        reports: Reports::Push,
        inbound: true,
        balance: false,
        echoes_reference: false,
        report_url_per_call: false,
        heuristic_match: true,
        countries: None,
        test_numbers: false,
        breaker_exempt: false,
        registrations: vec![],
        clock_tolerance: Some(CLOCK_TOLERANCE),
    }
}

/// Which pushes must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    /// Those that carry a signature; the others are protected by the token in the address alone.
    IfSigned,
    /// All.
    Always,
    /// None, but what `Always` would refuse is told.
    Monitor,
}

struct NxCloudDid {
    name: String,
    send_url: String,
    access_key: SecretString,
    access_secret: SecretString,
    algorithm: Algorithm,
    verify: Verify,
    reader: Reader,
    http: Http,
    clock: Clock,
    capabilities: Capabilities,
}

impl fmt::Debug for NxCloudDid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NxCloudDid").field("name", &self.name).field("send_url", &self.send_url).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for NxCloudDid {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
        let [submission] = call.submissions.as_slice() else { return Err(ProviderError::unsupported()) };
        let content = submission.text.as_deref().ok_or_else(ProviderError::content_unsupported)?;
        let body = SendBody { sender: digits(&call.from), phone: submission.to.digits(), content };
        let body = serde_json::to_vec(&body).map_err(|_| ProviderError::content_unsupported())?;
        let answer = self.http.send(self.signed_request(body.into())).await?;
        outcome(&answer).map(|outcome| vec![outcome])
    }

    fn clock_skew(&self) -> Option<TimeDelta> {
        self.http.clock_skew()
    }

    fn verify_callback(&self, callback: &Callback) -> Result<(), CallbackRejected> {
        let verified = match self.verify {
            Verify::IfSigned if callback.header("sign").is_none() => return Ok(()),
            Verify::IfSigned | Verify::Always | Verify::Monitor => self.check_signature(callback),
        };
        match (self.verify, verified) {
            (Verify::Monitor, Err(rejected)) => {
                tracing::warn!(provider = self.name, %rejected, "a callback that `verify_callbacks = \"always\"` would refuse");
                Ok(())
            }
            (_, verified) => verified,
        }
    }

    fn parse_callback(&self, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        self.reader.read(callback)
    }

    fn callback_answers(&self) -> CallbackAnswers {
        CallbackAnswers { content_type: "text/plain", success: "success", failure: "error" }
    }
}

impl NxCloudDid {
    /// Signed at the moment of the call: a `ts` older than a minute is refused.
    fn signed_request(&self, body: Bytes) -> reqwest::RequestBuilder {
        let ts = self.clock.now().timestamp_millis().to_string();
        let access_key = self.access_key.expose_secret();
        let headers = Headers { access_key, action: ACTION, biz_type: BIZ_TYPE, ts: &ts };
        let sign = sign::sign(self.algorithm, headers, &body, &self.access_secret);
        let mut request = self
            .http
            .post(&self.send_url)
            .header("accessKey", access_key)
            .header("ts", &ts)
            .header("bizType", BIZ_TYPE)
            .header("action", ACTION)
            .header("sign", sign)
            .header("Content-Type", "application/json");
        // MD5 is what they assume without this header, and older servers do not know it.
        if self.algorithm != Algorithm::Md5 {
            request = request.header("algorithm", self.algorithm.as_str());
        }
        request.body(body)
    }

    fn check_signature(&self, callback: &Callback) -> Result<(), CallbackRejected> {
        let header = |name| callback.header(name).map(str::trim);
        let signature = header("sign").ok_or(CallbackRejected::Signature("there is none"))?;
        let (Some(access_key), Some(action), Some(biz_type), Some(ts)) =
            (header("accesskey"), header("action"), header("biztype"), header("ts"))
        else {
            return Err(CallbackRejected::Signature("a header that is signed is missing"));
        };
        let headers = Headers { access_key, action, biz_type, ts };
        if access_key != self.access_key.expose_secret() {
            return Err(CallbackRejected::Signature("another access key"));
        }
        if !sign::verify(signature, headers, &callback.body, &self.access_secret) {
            return Err(CallbackRejected::Signature("it is not over these bytes and this secret"));
        }
        self.count_if_old(ts, callback);
        Ok(())
    }

    /// An old push is taken, since settling it twice changes nothing and a late one is worth having; but it is counted.
    fn count_if_old(&self, ts: &str, callback: &Callback) {
        let age =
            ts.parse::<i64>().map_or(i64::MAX, |ts| (callback.received_at.timestamp_millis() - ts).saturating_abs());
        if u128::from(age.unsigned_abs()) > LONGEST_AGE.as_millis() {
            metrics::counter!("sms_gateway_callbacks_old_timestamp_total", "provider" => self.name.clone())
                .increment(1);
        }
    }
}

/// What an answer to a send means.
pub(crate) fn outcome(answer: &Answer) -> Result<Outcome, ProviderError> {
    let parsed = wire::read_answer(&answer.body);
    let parsed = match (answer.status, parsed) {
        (200..300, Some(parsed)) => parsed,
        (200..300, None) => return Err(ProviderError::unreadable("no JSON with a code")),
        // A refusal by status may say why; what the table does not know says less than the status.
        (400..=428 | 430..500, Some(parsed)) if CODES.lookup(Stage::SendResponse, &parsed.code).known => parsed,
        _ => return Err(status_error(answer)),
    };
    let verdict = CODES.lookup(Stage::SendResponse, &parsed.code).verdict;
    let taken = verdict.status == NeutralStatus::Sent;
    if taken && !answer.is_success() {
        return Err(ProviderError::unreadable("the code says taken, the HTTP status refused"));
    }
    Ok(Outcome {
        verdict,
        provider_code: Some(parsed.code),
        provider_message_id: parsed.message_id.filter(|_| taken),
        segments: None,
        retry_after: None,
    })
}

#[cfg(test)]
pub(super) mod tests;
