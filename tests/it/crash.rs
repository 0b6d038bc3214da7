//! The process is killed (or frozen) after each step of a message's life, and the one that comes after it does the right thing.
//!
//! What a step left behind is met on purpose and not by chance: a brake in the database or a carrier that does not answer holds
//! the process at the step. `crash_under_load` has the chance.

use serde_json::Value;
use sms_gateway::simulator::{Behaviour, Protocol, ScriptedReport};

use crate::support::{
    carriers::{error, nx_receipt},
    gateway::string,
    process::{self, Process, Site, eventually},
};

const TO: &str = "+8618637616887";

/// `NxCloud`, which takes no reference of ours: after a crash only a receipt that fits is evidence.
pub const NX: &str = r#"
[providers.nx]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615088888888"
callback_token = "nx-token"
timeout_seconds = 1
"#;

/// Huawei, whose reports name the call that they are about.
pub const HUAWEI: &str = r#"
[providers.hw]
driver = "huawei_sms"
base_url = "SIMULATOR"
app_key = "simulator-key"
app_secret = "simulator-secret"
from = "isms100000001"
callback_token = "hw-token"
timeout_seconds = 1
[templates.parcel]
text = "Your parcel waits at {{place}}."
category = "transactional"
params = [{ name = "place" }]
[templates.parcel.bindings.hw]
template_id = "8ff55eac1d0b478ab3c06c3c6a492300"
params = ["place"]
"#;

async fn nx_site() -> Site {
    Site::new(&format!("{NX}[routes.sms]\nsteps = [{{ provider = \"nx\" }}]")).await
}

/// Takes the message and does not answer while anybody waits. Reports come only by hand.
fn hang() -> Behaviour {
    Behaviour { answer_delay_ms: 60_000, ..silent() }
}

fn silent() -> Behaviour {
    Behaviour { reports: Some(Vec::new()), ..Behaviour::default() }
}

fn times(site: &Site, text: &str) -> u32 {
    site.simulator.times_accepted(Protocol::Nxcloud, TO.trim_start_matches('+'), text)
}

async fn until_accepted(site: &Site, count: usize) {
    eventually("the carrier has it", async || (site.simulator.accepted().len() == count).then_some(())).await;
}

/// Waits until a message is unclear. It stays so, and nothing hands it over again: another message overtakes it.
async fn stays_unknown(process: &Process, id: &str) {
    let message = process.wait_for_status(id, "unknown").await;
    assert_eq!((message["final"].as_bool(), error(&message).0), (Some(false), "submission_unconfirmed"));
    let other = process.text(TO, "one more").await;
    process.wait_for_status(&other, "sent").await;
    let message = process.message(id).await;
    assert_eq!(
        (string(&message["status"]), message["possible_duplicate"].as_bool()),
        ("unknown", Some(false)),
        "{message:#}"
    );
}

/// A receipt with an id that nobody was told settles the only unclear message that fits.
async fn is_settled_by_its_receipt(site: &Site, process: &Process, id: &str) -> Value {
    let native = site.simulator.accepted()[0].message_id.clone();
    assert_eq!(process.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(200));
    let message = process.wait_for_status(id, "delivered").await;
    assert_eq!(string(&message["provider_message_id"]), native);
    message
}

#[tokio::test]
async fn a_post_that_was_read_but_not_committed_makes_one_message_when_it_is_repeated() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    let mut brake = site.hold_table("idempotency_keys").await;
    let client = killed.client.clone();
    let posting = tokio::spawn(async move { process::post(&client, "key", TO, "hello").await });
    brake.reached("insert into idempotency_keys").await;
    killed.kill();
    assert!(posting.await.unwrap().is_none(), "it was answered before it was durable");
    brake.release().await;
    assert_eq!(site.database.count("select from messages").await, 0);
    let after = site.start().await;
    let answer = after.post("key", TO, "hello").await.unwrap();
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, ""), "{}", answer.text);
    after.wait_for_status(string(&answer.json["id"]), "sent").await;
    assert_eq!((site.database.count("select from messages").await, times(&site, "hello")), (1, 1));
}

#[tokio::test]
async fn a_post_that_was_committed_but_not_answered_is_the_same_message_when_it_is_repeated() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    // From here on its provider has nothing waiting, so that what comes is stored with its attempt.
    let before = killed.text("+8618637616999", "before").await;
    killed.wait_for_status(&before, "sent").await;
    let mut brake = site.hold_commits("insert on idempotency_keys", "true").await;
    let client = killed.client.clone();
    let posting = tokio::spawn(async move { process::post(&client, "key", TO, "hello").await });
    brake.reached("commit").await;
    killed.kill();
    assert!(posting.await.unwrap().is_none(), "it was answered before it was durable");
    brake.release().await;
    assert_eq!(site.database.count("select from messages").await, 2);
    let after = site.start().await;
    let answer = after.post("key", TO, "hello").await.unwrap();
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, "true"), "{}", answer.text);
    // It was stored with its attempt: whether the process had come to the call, nobody knows.
    site.let_leases_run_out().await;
    after.wait_for_status(string(&answer.json["id"]), "unknown").await;
    assert_eq!((site.database.count("select from messages").await, times(&site, "hello")), (2, 0));
}

#[tokio::test]
async fn a_post_that_had_to_wait_is_sent_after_a_crash_at_its_commit() {
    let site = nx_site().await;
    site.pause("nx").await;
    let mut killed = site.start().await;
    let mut brake = site.hold_commits("insert on idempotency_keys", "true").await;
    let client = killed.client.clone();
    let posting = tokio::spawn(async move { process::post(&client, "key", TO, "hello").await });
    brake.reached("commit").await;
    killed.kill();
    assert!(posting.await.unwrap().is_none(), "it was answered before it was durable");
    brake.release().await;
    site.resume().await;
    let after = site.start().await;
    let answer = after.post("key", TO, "hello").await.unwrap();
    after.wait_for_status(string(&answer.json["id"]), "sent").await;
    assert_eq!((site.database.count("select from messages").await, times(&site, "hello")), (1, 1));
}

#[tokio::test]
async fn a_connection_lost_at_the_commit_is_answered_503_and_the_key_resolves_it() {
    let site = nx_site().await;
    let process = site.start().await;
    let mut brake = site.hold_commits("insert on idempotency_keys", "true").await;
    let client = process.client.clone();
    let posting = tokio::spawn(async move { process::post(&client, "key", TO, "hello").await });
    brake.reached("commit").await;
    assert!(site.cut_connections().await > 0);
    let answer = posting.await.unwrap().unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
    brake.release().await;
    let taken = async || process.post("key", TO, "hello").await.filter(|answer| answer.status == 202);
    let id = eventually("it is taken", taken).await.json["id"].clone();
    process.wait_for_status(string(&id), "sent").await;
    assert_eq!((site.database.count("select from messages").await, times(&site, "hello")), (1, 1));
}

#[tokio::test]
async fn a_message_that_was_claimed_but_not_written_is_unknown_and_never_sent() {
    let site = nx_site().await;
    site.pause("nx").await;
    let mut killed = site.start().await;
    let id = killed.text(TO, "hello").await;
    let mut brake = site.hold_commits("update on queue", "old.lease is null and new.lease is not null").await;
    site.resume().await;
    brake.reached("commit").await;
    killed.kill();
    brake.release().await;
    site.until_rows("select from attempts where status = 'sending'", 1).await;
    let after = site.start().await;
    site.let_leases_run_out().await;
    stays_unknown(&after, &id).await;
    assert_eq!(times(&site, "hello"), 0);
}

#[tokio::test]
async fn a_claim_that_was_not_committed_is_made_again() {
    let site = nx_site().await;
    site.pause("nx").await;
    let mut killed = site.start().await;
    let id = killed.text(TO, "hello").await;
    let mut brake = site.hold_table("attempts").await;
    site.resume().await;
    brake.reached("insert into attempts").await;
    killed.kill();
    brake.release().await;
    let after = site.start().await;
    after.wait_for_status(&id, "sent").await;
    assert_eq!((site.database.count("select from attempts").await, times(&site, "hello")), (1, 1));
}

#[tokio::test]
async fn a_message_that_was_written_but_not_answered_is_unknown_until_its_receipt_settles_it() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    site.simulator.next_for(TO, hang());
    let id = killed.text(TO, "hello").await;
    until_accepted(&site, 1).await;
    killed.kill();
    let after = site.start().await;
    site.let_leases_run_out().await;
    stays_unknown(&after, &id).await;
    is_settled_by_its_receipt(&site, &after, &id).await;
    assert_eq!(times(&site, "hello"), 1);
}

#[tokio::test]
async fn a_huawei_call_that_was_not_answered_is_settled_by_the_reference_in_its_report() {
    let site = Site::new(&format!("{HUAWEI}[routes.sms]\nsteps = [{{ provider = \"hw\" }}]")).await;
    let mut killed = site.start().await;
    let late = ScriptedReport { delay_ms: Some(5_000), ..ScriptedReport::default() };
    site.simulator.next_for(TO, Behaviour { reports: Some(vec![late]), ..hang() });
    let body = serde_json::json!({ "to": TO, "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let answer = killed.client.post(crate::support::gateway::SHOP, "/v1/messages", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = string(&answer.json["id"]);
    until_accepted(&site, 1).await;
    killed.kill();
    let after = site.start().await;
    site.let_leases_run_out().await;
    after.wait_for_status(id, "unknown").await;
    after.wait_for_status(id, "delivered").await;
    assert_eq!(site.simulator.accepted().len(), 1);
}

#[tokio::test]
async fn a_route_that_says_so_hands_an_unclear_message_over_exactly_once_more() {
    let route = "[routes.sms]\non_unknown = \"resend\"\nsteps = [{ provider = \"nx\" }]";
    let site = Site::new(&format!("{NX}{route}")).await;
    let mut killed = site.start().await;
    site.simulator.next_for(TO, hang());
    let id = killed.text(TO, "hello").await;
    until_accepted(&site, 1).await;
    killed.kill();
    let after = site.start().await;
    site.let_leases_run_out().await;
    let message = after.wait_for_status(&id, "unknown").await;
    assert_eq!(message["possible_duplicate"], false);
    // The 15 seconds without evidence have passed, as far as this message knows. The second call is not answered either.
    site.simulator.next_for(TO, Behaviour { http_status: Some(502), accepted: Some(true), ..silent() });
    let past = "now() - interval '20 seconds'";
    site.run(&format!(
        "update attempts set started_at = {past}, answered_at = {past}; update queue set timer_due = {past}"
    ))
    .await;
    until_accepted(&site, 2).await;
    let message = after.wait_for_status(&id, "unknown").await;
    assert_eq!(message["possible_duplicate"], true);
    site.run(&format!(
        "update attempts set started_at = {past}, answered_at = {past}; update queue set timer_due = {past}"
    ))
    .await;
    let other = after.text(TO, "one more").await;
    after.wait_for_status(&other, "sent").await;
    assert_eq!((after.message(&id).await["attempts"].as_array().map(Vec::len), times(&site, "hello")), (Some(2), 2));
}

#[tokio::test]
async fn an_answer_that_was_read_but_not_committed_leaves_it_unknown_until_its_receipt_settles_it() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    site.simulator.next_for(TO, Behaviour { answer_delay_ms: 400, ..silent() });
    let id = killed.text(TO, "hello").await;
    until_accepted(&site, 1).await;
    let mut brake = site.hold_table("attempts").await;
    brake.reached("update attempts").await;
    killed.kill();
    brake.release().await;
    let after = site.start().await;
    site.let_leases_run_out().await;
    stays_unknown(&after, &id).await;
    is_settled_by_its_receipt(&site, &after, &id).await;
    assert_eq!(times(&site, "hello"), 1);
}

/// A message that its carrier took and has not reported on, with the carrier's id.
async fn sent(site: &Site, process: &Process) -> (String, String) {
    site.simulator.next_for(TO, silent());
    let id = process.text(TO, "hello").await;
    let message = process.wait_for_status(&id, "sent").await;
    (id, string(&message["provider_message_id"]).to_owned())
}

#[tokio::test]
async fn a_report_that_was_read_but_not_committed_is_not_answered_and_its_repeat_is_applied_once() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    let (id, native) = sent(&site, &killed).await;
    let mut brake = site.hold_table("callbacks").await;
    let (client, receipt) = (killed.client.clone(), nx_receipt(&native, TO, "DELIVRD"));
    let pushing = tokio::spawn(async move { process::push_receipt(&client, receipt).await });
    brake.reached("insert into callbacks").await;
    killed.kill();
    assert_eq!(pushing.await.unwrap(), None, "it was answered before it was durable");
    brake.release().await;
    assert_eq!(site.database.count("select from callbacks").await, 0);
    let after = site.start().await;
    for _ in 0..2 {
        assert_eq!(after.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(200));
    }
    after.wait_for_status(&id, "delivered").await;
    assert_eq!(site.database.count("select from reports where outcome = 'applied'").await, 1);
    assert_eq!(site.database.count("select from reports").await, 2);
}

#[tokio::test]
async fn a_report_that_cannot_be_kept_is_not_answered_with_success() {
    let site = nx_site().await;
    site.block_spool();
    let process = site.start().await;
    let (id, native) = sent(&site, &process).await;
    let brake = site.hold_table("callbacks").await;
    assert_eq!(process.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(503));
    brake.release().await;
    assert_eq!(process.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(200));
    process.wait_for_status(&id, "delivered").await;
}

#[tokio::test]
async fn a_report_that_was_kept_but_not_applied_is_applied_by_the_next_process() {
    let site = nx_site().await;
    let mut killed = site.start().await;
    let (id, native) = sent(&site, &killed).await;
    let brake = site.hold_table("queue").await;
    assert_eq!(killed.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(200));
    site.until_rows("select from callbacks where state = 'waiting'", 1).await;
    killed.kill();
    assert_eq!(site.database.count("select from messages where status = 'sent'").await, 1);
    brake.release().await;
    let after = site.start().await;
    after.wait_for_status(&id, "delivered").await;
    assert_eq!(site.database.count("select from callbacks where state = 'done'").await, 1);
    assert_eq!(site.database.count("select from reports where outcome = 'applied'").await, 1);
}

#[tokio::test]
async fn a_process_frozen_during_a_call_for_longer_than_its_lease_changes_nothing_when_it_goes_on() {
    let site = nx_site().await;
    let frozen = site.start().await;
    site.simulator.next_for(TO, Behaviour { answer_delay_ms: 500, ..silent() });
    let id = frozen.text(TO, "hello").await;
    until_accepted(&site, 1).await;
    frozen.freeze();
    let other = site.start_beside().await;
    other.wait_for_status(&id, "unknown").await;
    frozen.thaw();
    frozen.call_ended().await;
    stays_unknown(&frozen, &id).await;
    is_settled_by_its_receipt(&site, &frozen, &id).await;
    assert_eq!(times(&site, "hello"), 1);
}

#[tokio::test]
async fn a_process_frozen_before_a_call_for_longer_than_its_lease_does_not_make_it() {
    let site = nx_site().await;
    site.pause("nx").await;
    let frozen = site.start().await;
    let id = frozen.text(TO, "hello").await;
    let mut brake = site.hold_commits("update on queue", "old.lease is null and new.lease is not null").await;
    site.resume().await;
    brake.reached("commit").await;
    frozen.freeze();
    brake.release().await;
    site.until_rows("select from attempts where status = 'sending'", 1).await;
    let other = site.start_beside().await;
    other.wait_for_status(&id, "unknown").await;
    frozen.thaw();
    frozen.call_ended().await;
    stays_unknown(&frozen, &id).await;
    assert_eq!(times(&site, "hello"), 0);
}
