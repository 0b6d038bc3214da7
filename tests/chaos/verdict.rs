//! The verdict: what the apps were told, what the carrier took and was told, and what the gateway says now.
//!
//! Only what can be seen from outside counts: answers to `GET`, and the carrier's own list.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    Run,
    carrier::Carrier,
    load::{Apps, Posted},
};
use crate::support::{
    Client,
    gateway::{OPS, string},
    process::Site,
};

/// Leases are 7 s, and a report that waits is looked at ever more rarely.
const ENDS_WITHIN: Duration = Duration::from_mins(2);
/// Messages that are asked about at once.
const AT_ONCE: usize = 8;
/// Stories that a failure tells in full.
const TOLD: usize = 5;

/// What is true at the end of a run.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub posted: u32,
    pub acknowledged: usize,
    pub repeats: u32,
    pub at_carrier: usize,
    /// Messages by their last status.
    pub statuses: HashMap<String, usize>,
    pub lost: usize,
    pub doubled: u64,
    /// Not final although everything that could come has come, or final with a status that the carrier's list contradicts.
    pub wrong: usize,
    /// Messages of which the carrier was told that it reported them.
    pub reported: usize,
    pub reports_lost: usize,
    pub problems: Vec<String>,
}

impl Verdict {
    pub fn of(&self, status: &str) -> usize {
        self.statuses.get(status).copied().unwrap_or(0)
    }
}

/// What the carrier knows of one message.
#[derive(Debug, Clone, Default)]
struct Known {
    taken: u32,
    /// The status of the final report that was acknowledged.
    reported: Option<&'static str>,
}

/// Waits until everything has ended, and compares.
pub async fn judge(site: &Site, run: Run, apps: &Apps, gateway: &Client) -> Verdict {
    let carrier = run.carrier;
    drop(tokio::time::timeout(ENDS_WITHIN, site.simulator.idle()).await);
    apps.repeat(if run.long { 100 } else { 20 }).await;
    let posted = apps.end();
    let put_forward = (!run.long).then_some(site);
    let open = |message: &Value| ["queued", "sending", "scheduled"].contains(&string(&message["status"]));
    // What still waits to go out goes out before the carrier's list is read.
    until(gateway, &posted, put_forward, ENDS_WITHIN, |_, message| !open(message)).await;
    drop(tokio::time::timeout(ENDS_WITHIN, site.simulator.idle()).await);
    let known = known(site, carrier);
    let mut verdict = Verdict {
        posted: posted.begun,
        acknowledged: posted.acknowledged.len(),
        repeats: posted.repeats,
        at_carrier: known.len(),
        doubled: site.simulator.counts().doubled,
        reported: known.values().filter(|known| known.reported.is_some()).count(),
        problems: posted.problems.clone(),
        ..Verdict::default()
    };
    let unasked = known.keys().filter(|number| !posted.acknowledged.contains_key(number)).count();
    if unasked > 0 {
        verdict.problems.push(format!("the carrier has {unasked} messages that nobody was told of"));
    }
    until(gateway, &posted, put_forward, ENDS_WITHIN, |number, message| {
        let reported = known.get(&number).is_some_and(|known| known.reported.is_some());
        !open(message) && (!reported || message["final"] == true)
    })
    .await;
    if carrier == Carrier::Voice {
        // Nobody knows of which calls the carrier never says what became of them: the others are asked about soon.
        let soon = Duration::from_secs(if run.long { 15 } else { 4 });
        until(gateway, &posted, None, soon, |_, message| message["status"] != "sent").await;
    }
    // What is open now waits for a report that will not come. Its window is closed by putting time forward.
    close_windows(site).await;
    let messages = until(gateway, &posted, None, ENDS_WITHIN, |_, message| message["final"] == true).await;
    for (number, id) in &posted.acknowledged {
        let fault = compare(&mut verdict, messages.get(number), known.get(number));
        if let Some(fault) = fault
            && verdict.problems.len() < TOLD
        {
            let story = story(gateway, id).await;
            verdict.problems.push(format!("{fault}: message {number} {id}\n{story}"));
        }
    }
    let listed = count(gateway).await;
    if listed != posted.begun as usize {
        verdict.problems.push(format!("{} messages were posted and there are {listed}", posted.begun));
    }
    verdict
}

/// Notes what became of one message, and says what is wrong with it.
fn compare(verdict: &mut Verdict, message: Option<&Value>, known: Option<&Known>) -> Option<&'static str> {
    let Some(message) = message else {
        verdict.lost += 1;
        return Some("acknowledged and not there");
    };
    let status = string(&message["status"]);
    *verdict.statuses.entry(status.to_owned()).or_default() += 1;
    let (taken, reported) = known.map_or((false, None), |known| (known.taken > 0, known.reported));
    if message["final"] != true {
        verdict.wrong += 1;
        return Some("it does not end");
    }
    if reported.is_some_and(|reported| reported != status) {
        verdict.reports_lost += 1;
        return Some("the report was acknowledged and is not there");
    }
    let tried = message["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty());
    let explained = match status {
        "unknown" => tried,
        "failed" => tried && !message["error"].is_null(),
        _ => false,
    };
    if !taken && !explained {
        verdict.lost += 1;
        return Some("it never went out and nothing says why");
    }
    if taken && status == "failed" {
        verdict.wrong += 1;
        return Some("the carrier has it and it is said to have failed");
    }
    None
}

/// What the carrier took, and which reports it was told are taken.
fn known(site: &Site, carrier: Carrier) -> HashMap<u32, Known> {
    let (mut known, mut by_id) = (HashMap::<u32, Known>::new(), HashMap::new());
    for accepted in site.simulator.accepted() {
        let number = carrier.number(&accepted.to).unwrap_or(u32::MAX);
        known.entry(number).or_default().taken += 1;
        by_id.insert(accepted.message_id.clone(), number);
    }
    for push in site.simulator.pushes().iter().filter(|push| push.status == Some(200)) {
        let status = match push.body.as_str() {
            body if body.contains("DELIVRD") => "delivered",
            body if body.contains("UNDELIV") => "undelivered",
            _ => continue,
        };
        for number in push.message_ids.iter().filter_map(|id| by_id.get(id)) {
            known.entry(*number).or_default().reported = Some(status);
        }
    }
    known
}

/// Asks about all messages until each is as it shall be, or it takes too long. Leases run out and waiting reports are looked at
/// by themselves, unless the time of a `site` shall be put forward for them.
async fn until(
    gateway: &Client,
    posted: &Posted,
    put_forward: Option<&Site>,
    patience: Duration,
    done: impl Fn(u32, &Value) -> bool,
) -> HashMap<u32, Value> {
    let until = Instant::now() + patience;
    let mut found = HashMap::new();
    let mut open: Vec<(u32, String)> = posted.acknowledged.iter().map(|(number, id)| (*number, id.clone())).collect();
    loop {
        let answers = messages(gateway, &open).await;
        open.retain(|(number, _)| !answers.get(number).is_some_and(|message| done(*number, message)));
        found.extend(answers);
        if open.is_empty() || Instant::now() > until {
            return found;
        }
        if let Some(site) = put_forward {
            site.let_leases_run_out().await;
            site.run("update reports set rematch_at = now() where rematch_at > now()").await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// What the gateway says of these messages. One that it does not know is not in it.
async fn messages(gateway: &Client, wanted: &[(u32, String)]) -> HashMap<u32, Value> {
    let wanted = Arc::new(wanted.to_vec());
    let mut asking = JoinSet::new();
    for part in 0..AT_ONCE {
        let (wanted, gateway) = (Arc::clone(&wanted), gateway.clone());
        asking.spawn(async move {
            let mut found = Vec::new();
            for (number, id) in wanted.iter().skip(part).step_by(AT_ONCE) {
                let answer = gateway.get(OPS, &format!("/v1/messages/{id}")).await;
                if answer.status == 200 {
                    found.push((*number, answer.json));
                }
            }
            found
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}

/// Lets the windows pass in which reports and polls may come.
async fn close_windows(site: &Site) {
    let past = "now() - interval '1 second'";
    site.run(&format!(
        "update attempts set evidence_until = {past} where evidence_until is not null;
         update queue set timer_due = {past} where timer_due is not null"
    ))
    .await;
}

/// How many messages there are.
async fn count(gateway: &Client) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let page = gateway.get(OPS, &format!("/v1/messages?limit=200{cursor}")).await.json;
        count += page["data"].as_array().map_or(0, Vec::len);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

/// The message and its timeline, for people.
async fn story(gateway: &Client, id: &str) -> String {
    let message = gateway.get(OPS, &format!("/v1/messages/{id}")).await.json;
    let events =
        gateway.send(gateway.request(Method::GET, &format!("/v1/messages/{id}/events")).bearer_auth(OPS)).await;
    let line = |event: &Value| {
        let words =
            ["timestamp", "type", "status", "provider", "provider_code", "detail"].map(|key| string(&event[key]));
        format!("    {}\n", words.join(" | "))
    };
    let events: String = events.json["data"].as_array().into_iter().flatten().map(line).collect();
    format!("    {message}\n{events}")
}
