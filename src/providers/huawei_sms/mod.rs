//! Huawei Cloud Message & SMS: registered templates to up to 500 numbers a call, delivery reports pushed back.
//!
//! Here a call is put together, signed, sent and its answer handed on. `wire` encodes and decodes, `sign` signs, `answer` says
//! what an answer means, `callback` reads pushes, `codes.csv` holds the codes. The README beside this file tells how an
//! account is set up and where the documents contradict themselves.

pub mod answer;
pub mod callback;
pub mod management;
pub mod settings;
pub mod sign;
pub mod wire;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use chrono::TimeDelta;
use reqwest::{RequestBuilder, header};

use self::{
    management::{Management, known::KnownTemplates},
    settings::{Auth, ReportAddress, Settings},
    sign::Signable,
    wire::{Content, Item, Region},
};
use super::{
    BoundTemplate, Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Outcome, ParamFault, Provider,
    ProviderError, Registrations, SettingsProblem, Setup, Submission,
    codes::CodeTable,
    http::{Http, client_problem},
};
use crate::{
    clock::Clock,
    domain::{
        capabilities::{Capabilities, ContentRule, Reports},
        content::Channel,
        error_code::ErrorCode,
        phone_number::PhoneNumber,
        verdict::{FailoverAllowed, NeutralStatus, Scope, Verdict},
    },
};

static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

/// Numbers in `to`: <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0001.html>.
const MAX_RECIPIENTS: usize = 500;
/// `smsContent` may take 64 KB (<https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0002.html>); what is left
/// over is for quotes and line breaks, which grow when they are escaped.
const MAX_CONTENT_BYTES: usize = 62_000;
/// AK/SK is refused when the clocks differ by 15 minutes (the same pages); stop before that.
const AKSK_TOLERANCE: Duration = Duration::from_mins(10);
/// X-WSSE is refused when they differ by 24 hours.
const WSSE_TOLERANCE: Duration = Duration::from_hours(12);
/// What the management API knows: <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0060.html>.
const REGISTRATIONS: [&str; 5] = ["applications", "signatures", "templates", "files", "countries"];

/// Builds the driver.
pub fn build(setup: Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>> {
    let settings = Settings::read(setup.settings)?;
    let http = Http::new(setup.timeout, setup.clock.clone()).map_err(|error| {
        vec![SettingsProblem { key: "base_url".into(), problem: format!("no HTTP client can be made: {error}") }]
    })?;
    let managed = settings.management.clone().map(|management| {
        // A connection pool and a clock of its own: what that endpoint's clock says is nothing to sending.
        let management =
            Arc::new(Management::new(management, Http::new(setup.timeout, setup.clock.clone())?, setup.clock.clone()));
        Ok((management.clone(), KnownTemplates::new(management, setup.clock.clone())))
    });
    let managed = managed.transpose().map_err(client_problem)?;
    Ok(Arc::new(HuaweiSms { capabilities: capabilities(&settings), settings, http, clock: setup.clock, managed }))
}

/// One application at Huawei.
#[derive(Debug)]
struct HuaweiSms {
    capabilities: Capabilities,
    settings: Settings,
    http: Http,
    clock: Clock,
    managed: Option<(Arc<Management>, KnownTemplates)>,
}

#[async_trait]
impl Provider for HuaweiSms {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
        let (items, recipients): (Vec<Item<'_>>, Vec<&PhoneNumber>) =
            call.submissions.iter().filter_map(|submission| Some((item(submission)?, &submission.to))).unzip();
        if items.is_empty() {
            return Ok(call.submissions.iter().map(|_| without_template()).collect());
        }
        let status_callback = match self.settings.reports {
            ReportAddress::Call => call.report_url.as_deref(),
            ReportAddress::Application => None,
        };
        let answer = self.http.send(self.signed(wire::encode(call, status_callback, &items))).await?;
        let reader = answer::Reader { codes: &CODES, region: self.settings.region, now: self.clock.now() };
        let mut outcomes = reader.outcomes(&answer, &recipients)?.into_iter();
        let of = |submission| item(submission).and_then(|_| outcomes.next()).unwrap_or_else(without_template);
        Ok(call.submissions.iter().map(of).collect())
    }

    fn clock_skew(&self) -> Option<TimeDelta> {
        self.http.clock_skew()
    }

    fn registrations(&self) -> Option<Arc<dyn Registrations>> {
        self.managed.as_ref().map(|(management, _)| management.clone() as Arc<dyn Registrations>)
    }

    fn check_template(&self, bound: &BoundTemplate) -> Vec<ParamFault> {
        self.managed.as_ref().map_or_else(Vec::new, |(_, known)| known.check(bound))
    }

    fn verify_callback(&self, callback: &Callback) -> Result<(), CallbackRejected> {
        callback::verify(callback, &self.settings.push_keys)
    }

    fn parse_callback(&self, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        callback::parse(callback, &CODES, self.settings.region)
    }

    fn callback_answers(&self) -> CallbackAnswers {
        callback::ANSWERS
    }
}

impl HuaweiSms {
    /// The request with its proof, made now: it may not lie about before it is sent.
    fn signed(&self, request: wire::Request) -> RequestBuilder {
        let base = &self.settings.base_url;
        let path = format!("{}{}", base.path().trim_end_matches('/'), request.path);
        // As it goes over the wire. The client would leave the scheme's own port out of it, and so does this.
        let host = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let builder = self
            .http
            .post(&format!("{}{path}", base.origin().ascii_serialization()))
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, request.content_type)
            .header(header::ACCEPT, "application/json");
        let key = &self.settings.app;
        let builder = match self.settings.auth {
            Auth::AkSk => {
                let date = sign::sdk_date(self.clock.now());
                let headers = [("content-type", request.content_type), ("host", &*host), ("x-sdk-date", &*date)];
                let body = request.body.as_bytes();
                let signable = Signable { method: "POST", path: &path, query: "", headers: &headers, body };
                builder.header(header::AUTHORIZATION, signable.authorization(key, &date)).header("X-Sdk-Date", &date)
            }
            Auth::Wsse(digest) => {
                let nonce = format!("{:032x}", rand::random::<u128>());
                let created = sign::wsse_created(self.clock.now());
                builder
                    .header(header::AUTHORIZATION, sign::WSSE_AUTHORIZATION)
                    .header("X-WSSE", sign::wsse(key, &nonce, &created, digest))
            }
        };
        builder.body(request.body)
    }
}

fn capabilities(settings: &Settings) -> Capabilities {
    Capabilities {
        channel: Channel::Sms,
        content: ContentRule::BoundTemplate,
        max_text_characters: None,
        max_recipients_per_call: MAX_RECIPIENTS,
        max_call_bytes: MAX_CONTENT_BYTES,
        reports: Reports::Push,
        inbound: settings.region == Region::Mainland,
        balance: false,
        echoes_reference: true,
        report_url_per_call: settings.reports == ReportAddress::Call,
        heuristic_match: false,
        countries: None,
        test_numbers: false,
        breaker_exempt: false,
        registrations: settings.management.as_ref().map_or_else(Vec::new, |_| REGISTRATIONS.to_vec()),
        clock_tolerance: Some(match settings.auth {
            Auth::AkSk => AKSK_TOLERANCE,
            Auth::Wsse(_) => WSSE_TOLERANCE,
        }),
    }
}

/// None without a registered template, which is all that Huawei sends.
fn item(submission: &Submission) -> Option<Item<'_>> {
    let bound = submission.binding.as_ref()?;
    let content = Content {
        template_id: bound.template_id.as_deref()?,
        params: &bound.params,
        signature: bound.signature.as_deref().filter(|signature| !signature.is_empty()),
    };
    Some(Item { to: submission.to.as_str(), content })
}

fn without_template() -> Outcome {
    Outcome {
        verdict: Verdict {
            status: NeutralStatus::Failed,
            error: Some(ErrorCode::ContentUnsupported),
            category: Some(ErrorCode::ContentUnsupported.category()),
            retryable: false,
            failover: FailoverAllowed::Yes,
            retry_here: false,
            resend_allowed: true,
            scope: Scope::Message,
        },
        provider_code: None,
        provider_message_id: None,
        segments: None,
        retry_after: None,
    }
}

#[cfg(test)]
pub(super) mod tests;
