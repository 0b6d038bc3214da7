//! The database goes away, hangs, slows down, fills up or takes no writes: nothing that was acknowledged is lost, nobody waits
//! for ever, and everything goes on by itself when the fault is over.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sms_gateway::{
    clock::Clock,
    simulator::{Behaviour, Protocol},
};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use crate::{
    crash::NX,
    crash_under_load::{Load, all_is_well, until_taken},
    support::{
        Client, TestDatabase,
        database::connect,
        gateway::{OPS, SHOP, string},
        network::{Fault, Network},
        postgres::{OwnPostgres, SmallDisk},
        process::{Process, Site, eventually, post},
    },
};

/// What is promised is two seconds; the rest is for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(5);
/// Until a connection in which nothing is heard any more is given up, and a new one is made.
const AFTER_SILENCE: Duration = Duration::from_secs(12);

fn config() -> String {
    format!("{NX}[routes.sms]\nsteps = [{{ provider = \"nx\" }}]")
}

/// A site whose database lies behind a network with faults.
pub async fn behind_a_network() -> (Site, Network) {
    let database = TestDatabase::create().await;
    let network = Network::to(database.url()).await;
    let url = network.url(database.url());
    (Site::reaching(database, &url, &config()).await, network)
}

#[expect(clippy::print_stdout, reason = "how long things take is worth seeing")]
fn took(what: &str, time: Duration) {
    println!("{what}: {} ms", time.as_millis());
}

fn number(index: usize) -> String {
    format!("+861863762{index:04}")
}

/// Posts what the database cannot take, and gives back how long the answer took.
async fn is_refused(client: &Client, key: &str, to: &str) -> Duration {
    let asked = Instant::now();
    let answer = post(client, key, to, "hello").await.unwrap();
    let time = asked.elapsed();
    assert_eq!(answer.problem(), (503, "unavailable"), "{}", answer.text);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(string(&answer.json["detail"]).contains("Idempotency-Key"), "{}", answer.text);
    assert!(time < SOON, "it took {time:?}");
    time
}

/// Repeats a request until it is taken. A key may be held by a connection that the server does not know to be dead yet.
pub async fn taken(client: &Client, key: &str, to: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = post(client, key, to, "hello").await {
            if answer.status == 202 {
                return string(&answer.json["id"]).to_owned();
            }
            assert!([503, 409].contains(&answer.status), "{}", answer.text);
        }
        assert!(Instant::now() < until, "{key} is not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn readiness(process: &Process, expected: u16) -> Duration {
    let asked = Instant::now();
    eventually("/readyz follows", async || (process.client.get("", "/readyz").await.status == expected).then_some(()))
        .await;
    asked.elapsed()
}

async fn answers_health(process: &Process) {
    let asked = Instant::now();
    assert_eq!(process.client.get("", "/healthz").await.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_restart_of_the_database_under_load_loses_nothing_and_is_over_when_it_is_back() {
    restarts(3).await;
}

#[tokio::test]
#[ignore = "takes minutes: ./dev faults"]
async fn thirty_restarts_of_the_database_under_load_lose_nothing() {
    restarts(30).await;
}

async fn restarts(rounds: usize) {
    let postgres = OwnPostgres::start().await;
    let database = TestDatabase::empty_on(postgres.url(), "").await;
    let url = database.url().to_owned();
    let site = Site::reaching(database, &url, &config()).await;
    let process = site.start().await;
    let load = Load::start(&[&process]);
    let mut probes = Vec::new();
    for round in 0..rounds {
        let before = load.count();
        eventually("messages come in", async || (load.count() > before + 20).then_some(())).await;
        postgres.stop(if round % 2 == 0 { "fast" } else { "immediate" }).await;
        took(
            "database down, until the 503",
            is_refused(&process.client, &format!("down-{round}"), &number(round)).await,
        );
        answers_health(&process).await;
        readiness(&process, 503).await;
        postgres.start_again().await;
        let back = Instant::now();
        let to = format!("+852619{round:05}");
        let id = until_taken(std::slice::from_ref(&process.client), &mut 0, &to).await;
        took("database back, until the 202", back.elapsed());
        assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
        probes.push((to, id));
        readiness(&process, 200).await;
    }
    let mut acknowledged = load.end().await;
    acknowledged.extend(probes);
    // A claim whose commit was cut off may have been made: then the lease says so.
    eventually("leases run out", async || {
        site.let_leases_run_out().await;
        (site.database.count("select from queue where send_due is not null or lease is not null").await == 0)
            .then_some(())
    })
    .await;
    all_is_well(&site, &process, &acknowledged, true).await;
}

#[tokio::test]
async fn a_slow_way_to_the_database_doubles_nothing() {
    let (site, network) = behind_a_network().await;
    let process = site.start().await;
    network.set(Fault::Slow(Duration::from_millis(100)));
    let mut posts = JoinSet::new();
    for index in 0..12 {
        let client = process.client.clone();
        posts.spawn(async move { taken(&client, &number(index), &number(index)).await });
    }
    let ids: HashSet<String> = posts.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 12);
    for id in &ids {
        process.wait_for_status(id, "sent").await;
    }
    assert_eq!(site.database.count("select from messages").await, 12);
    assert_eq!((site.simulator.accepted().len(), site.simulator.doubles().len()), (12, 0));
    readiness(&process, 200).await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_answered_503_in_time_and_forgotten_when_it_is_over() {
    swallowed(Fault::Swallows).await;
}

#[tokio::test]
async fn a_network_that_swallows_answers_is_answered_503_in_time_and_the_keys_resolve_what_was_stored() {
    swallowed(Fault::SwallowsAnswers).await;
}

async fn swallowed(fault: Fault) {
    let (site, network) = behind_a_network().await;
    let process = site.start().await;
    let before = process.text(&number(9999), "before").await;
    process.wait_for_status(&before, "sent").await;
    network.set(fault);
    let mut posts = JoinSet::new();
    for index in 0..40 {
        let client = process.client.clone();
        posts.spawn(async move { is_refused(&client, &format!("key-{index}"), &number(index)).await });
    }
    took("swallowed, until the slowest 503 of 40", posts.join_all().await.into_iter().max().unwrap());
    answers_health(&process).await;
    let unready = readiness(&process, 503).await;
    took("swallowed, until /readyz says so", unready);
    let asked = Instant::now();
    assert_eq!(process.client.get(OPS, &format!("/v1/messages/{before}")).await.problem(), (503, "unavailable"));
    took("swallowed, a read until its 503", asked.elapsed());
    assert!(asked.elapsed() < AFTER_SILENCE);
    took("swallowed, a later 503", is_refused(&process.client, "later", &number(1000)).await);

    network.set(Fault::None);
    let back = Instant::now();
    let first = taken(&process.client, "key-0", &number(0)).await;
    took("network back, until the 202", back.elapsed());
    assert!(back.elapsed() < AFTER_SILENCE, "{:?}", back.elapsed());
    readiness(&process, 200).await;
    // More at once than there are connections: none is missing.
    let mut posts = JoinSet::new();
    for index in 0..40 {
        let client = process.client.clone();
        posts.spawn(async move { taken(&client, &format!("key-{index}"), &number(index)).await });
    }
    let ids: HashSet<String> = posts.join_all().await.into_iter().collect();
    assert!(ids.contains(&first));
    assert_eq!(ids.len(), 40);
    // `later` may have been stored as well; nobody repeated it.
    let unkeyed = site.database.count("select from idempotency_keys where key = 'later'").await;
    assert_eq!(site.database.count("select from messages").await, 41 + unkeyed);
    process.wait_for_status(&first, "sent").await;
    assert_eq!(site.simulator.doubles(), []);
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_answered_503_and_used_again_when_it_does() {
    let site = Site::new(&config()).await;
    let process = site.start().await;
    let before = process.text(&number(1), "before").await;
    process.wait_for_status(&before, "sent").await;
    // Sessions keep what they began with, as those with a server that was demoted and is a standby now.
    site.run(
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on',
              current_database()); end $$",
    )
    .await;
    site.cut_connections().await;
    took("read-only, until the 503", is_refused(&process.client, "key", &number(0)).await);
    is_refused(&process.client, "key", &number(0)).await;
    // A connection that was cut just now fails once.
    let path = format!("/v1/messages/{before}");
    eventually("it can be read", async || {
        (process.client.get(OPS, &path).await.json["status"] == "sent").then_some(())
    })
    .await;
    site.run(
        "set transaction_read_only = off; do $$ begin set local transaction_read_only = off;
              execute format('alter database %I reset default_transaction_read_only', current_database()); end $$",
    )
    .await;
    let back = Instant::now();
    let id = taken(&process.client, "key", &number(0)).await;
    took("writable again, until the 202", back.elapsed());
    process.wait_for_status(&id, "sent").await;
    assert_eq!(site.database.count("select from messages").await, 2);
}

#[tokio::test]
async fn a_full_disk_is_answered_503_and_used_again_when_there_is_room() {
    let postgres = OwnPostgres::start().await;
    let Some(disk) = SmallDisk::mount() else { return };
    let mut server = connect(&postgres.url()).await;
    let place = format!("create tablespace small location '{}'", disk.folder().display());
    sqlx::raw_sql(AssertSqlSafe(place)).execute(&mut server).await.unwrap();
    let database = TestDatabase::empty_on(postgres.url(), "tablespace small").await;
    let url = database.url().to_owned();
    let site = Site::reaching(database, &url, &config()).await;
    let process = site.start().await;
    let before = taken(&process.client, "before", &number(1)).await;
    process.wait_for_status(&before, "sent").await;
    disk.fill();
    // What was laid out already is still filled up.
    let mut last = 1;
    eventually("the disk is full", async || {
        last += 1;
        let key = format!("key-{last}");
        (post(&process.client, &key, &number(last), &"x".repeat(1000)).await.unwrap().status == 503).then_some(())
    })
    .await;
    let stored = site.database.count("select from messages").await;
    assert_eq!(usize::try_from(stored).unwrap(), last - 1, "exactly what was acknowledged");
    answers_health(&process).await;
    disk.make_room();
    let back = Instant::now();
    let id = taken(&process.client, "after", &number(0)).await;
    took("room again, until the 202", back.elapsed());
    process.wait_for_status(&id, "sent").await;
    eventually("all are sent", async || (site.simulator.accepted().len() == last).then_some(())).await;
    assert_eq!(site.simulator.doubles(), []);
}

#[tokio::test]
async fn locks_that_hold_every_connection_are_answered_503_in_time() {
    let site = Site::new(&config()).await;
    let process = site.start().await;
    let brake = site.hold_table("messages").await;
    let mut posts = JoinSet::new();
    for _ in 0..40 {
        let client = process.client.clone();
        posts.spawn(async move {
            let asked = Instant::now();
            // Without a key: with one it is told that the key is in use.
            let answer = client.post(SHOP, "/v1/messages", &json!({ "to": number(0), "text": "hello" })).await;
            assert_eq!(answer.problem(), (503, "unavailable"), "{}", answer.text);
            asked.elapsed()
        });
    }
    answers_health(&process).await;
    let slowest = posts.join_all().await.into_iter().max().unwrap();
    took("all connections held, until the slowest 503 of 40", slowest);
    assert!(slowest < SOON, "{slowest:?}");
    brake.release().await;
    taken(&process.client, "key", &number(0)).await;
}

/// Takes the message and answers after a while; no reports.
fn late(millis: u64) -> Behaviour {
    Behaviour { answer_delay_ms: millis, reports: Some(Vec::new()), ..Behaviour::default() }
}

#[tokio::test]
async fn what_a_provider_answers_while_the_database_is_away_is_recorded_when_it_is_back_and_nothing_else_is_sent() {
    let (site, network) = behind_a_network().await;
    let process = site.start().await;
    site.simulator.next_for(&number(1), late(400));
    let first = process.text(&number(1), "first").await;
    eventually("the call is under way", async || (site.simulator.accepted().len() == 1).then_some(())).await;
    let due = (Clock::system().now() + chrono::TimeDelta::seconds(1)).to_rfc3339();
    let body = json!({ "to": number(2), "text": "second", "send_at": due });
    let second = process.client.post(SHOP, "/v1/messages", &body).await;
    assert_eq!(second.status, 202, "{}", second.text);
    network.set(Fault::Cuts);
    process.call_ended().await;
    is_refused(&process.client, "key", &number(0)).await;
    readiness(&process, 503).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(site.simulator.accepted().len(), 1, "a call was made that could not be recorded");
    network.set(Fault::None);
    let message: Value = process.wait_for_status(&first, "sent").await;
    assert_eq!(message["provider_message_id"], json!(site.simulator.accepted()[0].message_id));
    process.wait_for_status(string(&second.json["id"]), "sent").await;
    assert_eq!(site.simulator.times_accepted(Protocol::Nxcloud, number(1).trim_start_matches('+'), "first"), 1);
    assert_eq!((site.simulator.accepted().len(), site.simulator.doubles().len()), (2, 0));
}
