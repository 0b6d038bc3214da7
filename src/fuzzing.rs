//! Every parser that reads what a carrier or an app wrote, as a function of bytes: what the fuzzer calls, and what the tests call
//! with bytes of their own.
//!
//! Compiled for tests and for the fuzzer alone. A function returns when all is well: that the bytes are nonsense is well too. It
//! panics when something holds that must never hold, besides what the parser itself panics at.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Request},
};
use bytes::Bytes;
use chrono::Datelike as _;
use futures_util::FutureExt;
use secrecy::SecretString;

use crate::{
    api::{
        error::ApiError,
        json_body,
        messages::{
            draft::{MessageDraft, Rules},
            filter,
            idempotency_key::IdempotencyKey,
        },
        page::Cursor,
        query::Query,
    },
    callbacks,
    clock::Clock,
    config::{self, Config, Role},
    domain::{
        Timestamp,
        content::Category,
        ids::{InboundMessageId, MessageId},
        phone_number::PhoneNumber,
        report::{Inbound, LONGEST_ID, Report},
        segments::measure,
        template::{Param, Template},
    },
    keys::Identity,
    providers::{
        BuildDriver, Callback, CallbackEvent, Provider, Setup,
        codes::CodeTable,
        http::Answer,
        huawei_sms::{self, answer::Reader, wire::Region},
        nxcloud_did, onsms_voice,
    },
    secrets::Secrets,
};

/// Reads something and looks at what came of it.
pub type Target = fn(&[u8]);

/// All of them, by the name that the fuzzer knows them by.
pub const TARGETS: &[(&str, Target)] = &[
    ("huawei_push", huawei_push),
    ("huawei_answer", huawei_answer),
    ("nxcloud_push", nxcloud_push),
    ("nxcloud_answer", nxcloud_answer),
    ("voice_answer", voice_answer),
    ("callback_address", callback_address),
    ("message_body", message_body),
    ("query", query),
    ("cursor", cursor),
    ("idempotency_key", idempotency_key),
    ("template", template),
    ("phone_number", phone_number),
    ("segments", segments),
];

/// What stands first in the bytes decides how the rest is read.
fn split(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn driver(word: &str, build: BuildDriver, settings: &str) -> Arc<dyn Provider> {
    let setup = Setup {
        name: word.to_owned(),
        from: Some("8615088888888".to_owned()),
        senders: Vec::new(),
        timeout: std::time::Duration::from_secs(10),
        settings: settings.parse().unwrap_or_default(),
        clock: Clock::system(),
        feed: None,
    };
    build(setup).unwrap_or_else(|problems| panic!("{word}: {problems:?}"))
}

fn push(headers: Vec<(String, String)>, body: &[u8], call_reference: Option<&str>) -> Callback {
    Callback {
        headers,
        path_and_query: "/callbacks/fuzzed/token".to_owned(),
        body: Bytes::copy_from_slice(body),
        call_reference: call_reference.map(str::to_owned),
        received_at: Timestamp::UNIX_EPOCH,
    }
}

/// What a driver reads out of a push has to fit into the database, whatever the carrier wrote.
fn look_at_push(provider: &dyn Provider, push: &Callback) {
    // Headers that no secret made must not pass for signed ones.
    let signed = push.header("sign").is_some() || push.header("authorization").is_some();
    assert!(!signed || provider.verify_callback(push).is_err(), "a forged signature was taken");
    let Ok(events) = provider.parse_callback(push) else { return };
    for event in events {
        match event {
            CallbackEvent::Report(report) => look_at_report(&report.storable()),
            CallbackEvent::Inbound(inbound) => look_at_inbound(&inbound.storable()),
            CallbackEvent::ReportOrInbound(report, inbound) => {
                look_at_report(&report.storable());
                look_at_inbound(&inbound.storable());
            }
            CallbackEvent::Unreadable { problem } => assert!(problem.len() < 200, "the content is in the problem"),
        }
    }
}

fn look_at_report(report: &Report) {
    assert!((1..=report.parts).contains(&report.part), "part {} of {}", report.part, report.parts);
    assert!(report.target.provider_message_id.as_ref().is_none_or(|id| id.len() <= LONGEST_ID && !id.contains('\0')));
    assert!(!report.provider_code.contains('\0') && report.provider_code.len() <= LONGEST_ID);
    assert!(report.occurred_at.is_none_or(|at| (1970..=9999).contains(&at.year())));
}

fn look_at_inbound(inbound: &Inbound) {
    let words = [&inbound.provider_message_id, &inbound.from, &inbound.to];
    assert!(words.iter().all(|word| word.len() <= LONGEST_ID && !word.contains('\0')));
    assert!(!inbound.text.contains('\0'));
    assert!(inbound.received_at.is_none_or(|at| (1970..=9999).contains(&at.year())));
}

/// Huawei's reports, single and in batches, and its uplink messages; of the mainland and elsewhere, signed and not.
pub fn huawei_push(data: &[u8]) {
    static DRIVERS: LazyLock<[Arc<dyn Provider>; 2]> = LazyLock::new(|| {
        ["intl", "cn"].map(|region| {
            let settings = format!(
                "base_url = 'http://127.0.0.1:9'\napp_key = 'key'\napp_secret = 'secret'\nregion = '{region}'\n\
                 push_keys = [{{ access_key = 'push', secret = 'push-secret' }}]"
            );
            driver("huawei_sms", huawei_sms::build, &settings)
        })
    });
    let (how, rest) = split(data);
    let provider = &*DRIVERS[usize::from(how & 1)];
    let reference = (how & 2 != 0).then_some("call_00000000000000000000000000");
    let (headers, body) = if how & 4 == 0 { (Vec::new(), rest) } else { header_and_body(rest) };
    look_at_push(provider, &push(headers, body, reference));
}

/// The first line as what a signature stands in.
fn header_and_body(data: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let header = |name: &str, value: String| (name.to_owned(), value);
    let headers = vec![
        header("authorization", text(&data[..end])),
        header("x-sdk-date", "20260101T000000Z".to_owned()),
        header("host", "sms.example.com".to_owned()),
    ];
    (headers, data.get(end + 1..).unwrap_or_default())
}

fn answer(status: u8, body: &[u8]) -> Answer {
    let status = [200, 201, 302, 400, 401, 404, 429, 500, 502, 503][usize::from(status) % 10];
    Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body), date: None, retry_after: None }
}

/// What Huawei answers to a send.
pub fn huawei_answer(data: &[u8]) {
    static CODES: LazyLock<CodeTable> =
        LazyLock::new(|| CodeTable::embedded(include_str!("providers/huawei_sms/codes.csv")));
    let (how, rest) = split(data);
    let region = if how & 1 == 0 { Region::International } else { Region::Mainland };
    let numbers = ["+8615512345678", "+84361234567"].map(|number| PhoneNumber::from_stored(number.to_owned()));
    let reader = Reader { codes: &CODES, region, now: Timestamp::UNIX_EPOCH };
    if let Ok(outcomes) = reader.outcomes(&answer(how >> 1, rest), &numbers.each_ref()) {
        assert_eq!(outcomes.len(), numbers.len(), "one outcome for each recipient");
    }
}

/// `NxCloud`'s receipts and inbound messages.
pub fn nxcloud_push(data: &[u8]) {
    static DRIVER: LazyLock<Arc<dyn Provider>> = LazyLock::new(|| {
        let settings = "base_url = 'http://127.0.0.1:9'\naccess_key = 'key'\naccess_secret = 'secret'";
        driver("nxcloud_did", nxcloud_did::build, settings)
    });
    let (how, rest) = split(data);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let action = ["dr", "mo", "mtsend", ""][usize::from(how & 3)];
    let mut headers = vec![header("action", action)];
    if how & 4 != 0 {
        let sign = "0123456789abcdef0123456789abcdef";
        headers
            .extend([("accesskey", "key"), ("biztype", "4"), ("ts", "1"), ("sign", sign)].map(|(k, v)| header(k, v)));
    }
    look_at_push(&**DRIVER, &push(headers, rest, None));
}

/// What `NxCloud` answers to a send.
pub fn nxcloud_answer(data: &[u8]) {
    let (how, rest) = split(data);
    drop(nxcloud_did::outcome(&answer(how, rest)));
}

/// What the voice provider answers to a send, a question and a question about money.
pub fn voice_answer(data: &[u8]) {
    let (how, rest) = split(data);
    let answer = answer(how, rest);
    drop(onsms_voice::taken(&answer));
    if let Ok(balance) = onsms_voice::read_balance(&answer) {
        assert!(balance.amount.parse::<f64>().is_ok_and(f64::is_finite), "{:?} is no amount", balance.amount);
    }
}

/// The token of a callback's address, and the header by which a proxy names the client.
pub fn callback_address(data: &[u8]) {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
        let key = SecretString::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        Secrets::load(&[key], std::path::Path::new("unused"), &mut rand::rng())
            .unwrap_or_else(|error| panic!("{error}"))
    });
    // Longer than what anybody finds by chance.
    let own = [SecretString::from("a-token-that-nobody-guesses-3f0c5c9e8d")];
    assert!(callbacks::token::check("huawei", &text(data), &own, &SECRETS).is_none(), "a forged token was taken");
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(data) {
        headers.append("x-forwarded-for", value);
    }
    let proxies = ["10.0.0.0/8".parse(), "::/64".parse()].map(Result::unwrap_or_default);
    let peer = Some(std::net::IpAddr::from([10, 0, 0, 1]));
    let _ = callbacks::address::client(peer, &headers, &proxies);
}

/// A configuration with an app, a template and a route.
fn config() -> Arc<Config> {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
        let file = std::env::temp_dir().join(format!("sms-gateway-fuzz-{:032x}.toml", rand::random::<u128>()));
        let written = std::fs::write(
            &file,
            format!(
                "[templates.login_code]\ntext = 'Your code is {{{{code}}}}'\ncategory = 'otp'\n\
                 params = [{{ name = 'code', pattern = '[0-9]{{4,6}}' }}]\n\
                 [routes.all]\nsteps = [{{ provider = 'sandbox' }}]\n\
                 [apps.shop]\nkeys = ['{}']\ncallback_hosts = ['shop.internal']",
                config::KeyHash::of("key")
            ),
        );
        let loaded = config::load(Some(&file), std::iter::empty());
        drop(std::fs::remove_file(&file));
        Arc::new(loaded.unwrap_or_else(|errors| panic!("{written:?} {errors}")))
    });
    CONFIG.clone()
}

/// The body of `POST /v1/messages`.
pub fn message_body(data: &[u8]) {
    let parsed = json_body::parse(data);
    look_at_problem(parsed.as_ref().err());
    let Ok(body) = parsed else { return };
    let config = config();
    let Some(app) = config.apps.get("shop") else { panic!("the app is configured") };
    let rules = Rules { config: &config, app, now: Timestamp::UNIX_EPOCH };
    match MessageDraft::read(&body, rules) {
        Ok(draft) => {
            let nul = draft.content.text.as_ref().is_some_and(|text| text.contains('\0'));
            assert!(!nul && draft.measure.is_none_or(|measure| measure.segments <= config.limits.max_segments));
        }
        Err(error) => look_at_problem(Some(&error)),
    }
}

/// What a client got wrong is never our fault, and the answer is not much longer than the request.
fn look_at_problem(error: Option<&ApiError>) {
    let Some(error) = error else { return };
    assert!(error.status().is_client_error(), "{error:?}");
    if let ApiError::Invalid(errors) = error {
        let longest = errors.iter().filter_map(|error| error.pointer.as_ref()).map(String::len).max();
        assert!(longest.is_none_or(|length| length <= 8 * 1024), "a pointer of {longest:?} bytes");
    }
}

/// The filters of both lists.
pub fn query(data: &[u8]) {
    let (how, rest) = split(data);
    let role = if how & 1 == 0 { Role::App } else { Role::Operator };
    let identity = Identity { app: "shop".to_owned(), role, test: false };
    look_at_problem(filter::messages(Query::parse(&text(rest)), &identity, &config()).as_ref().err());
    look_at_problem(filter::inbound(Query::parse(&text(rest)), &identity).as_ref().err());
}

/// Cursors and ids.
pub fn cursor(data: &[u8]) {
    let text = text(data);
    if let Some(id) = Cursor::read::<MessageId>(&text) {
        assert_eq!(Cursor::read::<MessageId>(&Cursor::write(id)), Some(id));
    }
    assert!(Cursor::read::<String>(&text).is_none_or(|key| !key.contains('\0')));
    if let Ok(id) = text.parse::<InboundMessageId>() {
        assert_eq!(id.to_string(), text, "an id is written in one way");
    }
}

/// The header `Idempotency-Key`, as many as there are lines.
pub fn idempotency_key(data: &[u8]) {
    let mut request = Request::new(());
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append("idempotency-key", value);
        }
    }
    let (mut parts, ()) = request.into_parts();
    let read = IdempotencyKey::from_request_parts(&mut parts, &()).now_or_never();
    if let Some(Ok(IdempotencyKey(Some(key)))) = read {
        assert!((1..=255).contains(&key.len()) && !key.contains('\0'));
    }
}

/// The text of a template, and the values that are put into it.
pub fn template(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let value = text(data.get(end + 1..).unwrap_or_default());
    let param = Param::new("code".to_owned(), Some(20), None).unwrap_or_else(|error| panic!("{error}"));
    let template = Template {
        text: Some(text(&data[..end])),
        category: Category::Otp,
        validity_period: None,
        params: vec![param],
        bindings: std::collections::BTreeMap::new(),
    };
    let sound = template.problems().is_empty();
    let rendered = template.render(&std::collections::BTreeMap::from([("code".to_owned(), value.clone())]));
    if let (true, Ok(Some(rendered))) = (sound, rendered) {
        let longest = template.text.as_ref().map_or(0, String::len) * (1 + value.len());
        assert!(rendered.len() <= longest.max(1) && !rendered.contains('\0'));
    }
}

/// Numbers as apps and as carriers write them.
pub fn phone_number(data: &[u8]) {
    let text = text(data);
    for number in [PhoneNumber::parse(&text).ok(), PhoneNumber::from_provider(&text)].into_iter().flatten() {
        assert_eq!(PhoneNumber::parse(number.as_str()).as_ref(), Ok(&number), "a number is written in one way");
        assert!(number.country().is_none_or(|country| country.len() == 2));
        assert!(number.masked().len() == number.as_str().len() && number.masked() != number.as_str());
    }
}

/// Encoding and segments of a text.
pub fn segments(data: &[u8]) {
    let text = text(data);
    let measured = measure(&text);
    let fits = usize::from(measured.segments) * 160 >= measured.characters || measured.segments == u16::MAX;
    assert!(measured.segments >= 1 && fits, "{measured:?}");
}

#[cfg(test)]
mod tests;
