//! Thousands of requests that nobody in good faith would send, over every endpoint of the document.
//!
//! They are made from a seed: `HOSTILE_SEED=7 ./dev test --test it hostile` takes another one. Whatever comes in, the answer is
//! never a fault of ours, every refusal is a problem with a code, and nothing is written.

mod cases;
mod junk;
mod wire;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sms_gateway::{api::problem::ProblemCode, config::KeyHash};

use self::{
    cases::{Case, Expected},
    wire::Reply,
};
use crate::support::{
    carriers::{HUAWEI, NXCLOUD},
    gateway::{AUDIT, SHOP},
    process::{Process, Site},
};

const DEFAULT_SEED: u64 = 1;
const AT_LEAST: usize = 3000;
const AT_ONCE: usize = 16;

/// What a hostile request may not add to. Counters and the switches of operators are no rows about messages.
const TABLES: [&str; 7] =
    ["messages", "attempts", "queue", "callbacks", "reports", "inbound_messages", "idempotency_keys"];

async fn rows(site: &Site) -> BTreeMap<&'static str, i64> {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        rows.insert(table, site.database.count(&format!("select from {table}")).await);
    }
    rows
}

async fn site() -> Site {
    let audit = format!("[apps.audit]\nrole = \"auditor\"\nkeys = [\"{}\"]\n", KeyHash::of(AUDIT));
    // Without their routes: nothing leaves the sandbox.
    let providers = |text: &str| {
        text.split("[routes").next().unwrap().replace("callback_token", "timeout_seconds = 1\ncallback_token")
    };
    let nxcloud = providers(NXCLOUD).replace("callback_token", "verify_callbacks = \"always\"\ncallback_token");
    let signed = "push_keys = [{ access_key = \"push\", secret = \"push-secret\" }]\ncallback_token";
    let huawei = providers(HUAWEI).replace("callback_token", signed);
    Site::new(&format!("{nxcloud}{huawei}{audit}[routes.sms]\nsteps = [{{ provider = \"sandbox\" }}]\n")).await
}

/// What is wrong with an answer, if anything.
fn fault(case: &Case, reply: Option<&Reply>) -> Option<String> {
    let Some(reply) = reply else {
        return (case.expected != Expected::Silence).then(|| "no answer".to_owned());
    };
    if reply.status >= 500 {
        return Some("a fault of ours".to_owned());
    }
    if case.expected == Expected::Refused && reply.status < 400 {
        return Some("it was taken".to_owned());
    }
    if reply.status < 400 || reply.bodiless || case.expected == Expected::CarrierRefused {
        return None;
    }
    let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let known = ProblemCode::ALL.iter().any(|code| problem["code"] == code.as_str());
    let says = [
        (reply.header("content-type") == Some("application/problem+json"), "its type is not problem+json"),
        (known, "it has no known code"),
        (problem["status"] == reply.status, "its status is another one"),
        (problem["request_id"].as_str() == reply.header("x-request-id"), "its request id is another one"),
        (reply.status != 405 || reply.header("allow").is_some(), "it does not say which methods there are"),
        (reply.status != 401 || reply.header("www-authenticate").is_some(), "it does not say how to authenticate"),
        (reply.body.len() < 64 * 1024, "it is longer than any request"),
    ];
    says.into_iter().find(|(holds, _)| !holds).map(|(_, wrong)| wrong.to_owned())
}

async fn is_well(process: &Process) {
    let id = process.text("+99900000001", "in good faith").await;
    process.wait_for_status(&id, "delivered").await;
}

#[tokio::test]
async fn no_request_makes_a_fault_or_leaves_a_trace() {
    let seed = std::env::var("HOSTILE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_SEED);
    let site = site().await;
    let process = site.start().await;
    is_well(&process).await;
    let before = rows(&site).await;
    let cases = cases::all(seed);
    assert!(cases.len() >= AT_LEAST, "{} cases", cases.len());
    let address = process.address();
    let count = cases.len();
    let found: Vec<(Arc<Case>, String, Option<Reply>)> = stream::iter(cases.into_iter().map(Arc::new))
        .map(|case| async move {
            let mut reply = wire::exchange(address, &case.bytes, case.cut).await;
            // On a busy machine a connection to the database may be waited for in vain; that is told, and asked again.
            for _ in 0..5 {
                if !matches!(&reply, Ok(Some(Reply { status: 503, .. }))) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                reply = wire::exchange(address, &case.bytes, case.cut).await;
            }
            let wrong = match &reply {
                Ok(reply) => fault(&case, reply.as_ref()),
                Err(hangs) => Some((*hangs).to_owned()),
            };
            wrong.map(|wrong| (case, wrong, reply.ok().flatten()))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    let told: Vec<String> = found
        .iter()
        .take(10)
        .map(|(case, wrong, reply)| {
            format!("{wrong}: {}\n{:.600?}\n{reply:?}", case.name, String::from_utf8_lossy(&case.bytes))
        })
        .collect();
    assert!(found.is_empty(), "seed {seed}: {} of {count} went wrong\n{}", found.len(), told.join("\n\n"));
    assert_eq!(rows(&site).await, before, "seed {seed}: something was written");
    is_well(&process).await;
    let log = process.logged();
    let suspicious = |line: &&str| line.contains("panic") || line.contains("\"ERROR\"");
    assert_eq!(log.lines().filter(suspicious).collect::<Vec<_>>(), [""; 0], "seed {seed}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_anything_leaves_nothing_behind() {
    let site = site().await;
    let process = site.start().await;
    let before = rows(&site).await;
    let body = json!({ "to": "+99900000001", "text": "never sent whole" }).to_string();
    let whole = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SHOP}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    for end in (0..whole.len()).step_by(3) {
        let answered = wire::exchange(process.address(), &whole.as_bytes()[..end], true).await;
        assert!(answered.is_ok_and(|reply| reply.is_none_or(|reply| reply.status < 500)), "cut at {end}");
    }
    assert_eq!(rows(&site).await, before);
    tokio::time::timeout(Duration::from_secs(10), is_well(&process)).await.unwrap();
}
