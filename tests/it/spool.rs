//! Pushes that come in while the database is away: they are durable before they are answered, and stored when it is back, by
//! whichever process is there.

use std::time::{Duration, Instant};

use sms_gateway::simulator::Behaviour;
use tokio::task::JoinSet;

use crate::{
    database_faults::behind_a_network,
    support::{
        carriers::nx_receipt,
        gateway::string,
        network::{Fault, Network},
        process::{Process, Site, eventually, push_receipt},
    },
};

const TO: &str = "+8618637616887";

/// A message that waits for its receipt, with the provider's id.
async fn sent(site: &Site, process: &Process, to: &str) -> (String, String) {
    site.simulator.next_for(to, Behaviour { reports: Some(Vec::new()), ..Behaviour::default() });
    let id = process.text(to, "hello").await;
    let message = process.wait_for_status(&id, "sent").await;
    (id, string(&message["provider_message_id"]).to_owned())
}

async fn site() -> (Site, Network, Process) {
    let (site, network) = behind_a_network().await;
    let process = site.start().await;
    (site, network, process)
}

#[tokio::test]
async fn a_report_that_came_while_the_database_was_away_survives_kill_9_and_is_applied_at_the_next_start() {
    let (site, network, mut killed) = site().await;
    let (id, native) = sent(&site, &killed, TO).await;
    network.set(Fault::Cuts);
    let receipt = nx_receipt(&native, TO, "DELIVRD");
    assert_eq!(killed.push_receipt(receipt).await, Some(200));
    assert_eq!(site.spooled("spool"), 1);
    killed.kill();
    network.set(Fault::None);
    assert_eq!(site.database.count("select from callbacks").await, 0);
    let after = site.start_beside().await;
    after.wait_for_status(&id, "delivered").await;
    eventually("the file is gone", async || (site.spooled("spool") == 0).then_some(())).await;
    assert_eq!((site.spooled("damaged"), site.database.count("select from callbacks").await), (0, 1));
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "how long it takes is worth seeing")]
async fn a_storm_of_reports_is_kept_while_the_network_swallows_everything_and_applied_when_it_is_over() {
    const MESSAGES: usize = 30;
    const COPIES: usize = 10;
    let (site, network, process) = site().await;
    let mut messages = Vec::new();
    for index in 0..MESSAGES {
        let to = format!("+861863763{index:04}");
        let (id, native) = sent(&site, &process, &to).await;
        messages.push((id, nx_receipt(&native, &to, "DELIVRD")));
    }
    network.set(Fault::Swallows);
    let asked = Instant::now();
    assert_eq!(process.push_receipt(messages[0].1.clone()).await, Some(200));
    println!("the first push was answered after {} ms", asked.elapsed().as_millis());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let (asked, mut pushes) = (Instant::now(), JoinSet::new());
    for (_, receipt) in messages.iter().cycle().take(MESSAGES * COPIES) {
        let (client, receipt) = (process.client.clone(), receipt.clone());
        pushes.spawn(async move { push_receipt(&client, receipt).await });
    }
    assert!(pushes.join_all().await.into_iter().all(|answer| answer == Some(200)));
    println!("{} more pushes were answered in {} ms", MESSAGES * COPIES, asked.elapsed().as_millis());
    network.set(Fault::None);
    let back = Instant::now();
    for (id, _) in &messages {
        process.wait_for_status(id, "delivered").await;
    }
    println!("all were applied after {} ms", back.elapsed().as_millis());
    let kept = i64::try_from(MESSAGES * COPIES + 1).unwrap();
    site.until_rows("select from callbacks where state = 'done'", kept).await;
    assert_eq!(site.database.count("select from reports where outcome = 'applied'").await, 30);
    eventually("the files are gone", async || (site.spooled("spool") == 0).then_some(())).await;
    let metrics = process.client.get("", "/metrics").await.text;
    assert!(metrics.contains("sms_gateway_spool_pushes_total{event=\"replayed\"}"), "{metrics}");
    assert_eq!(process.push_receipt(messages[0].1.clone()).await, Some(200));
    site.until_rows("select from callbacks where state = 'done'", kept + 1).await;
    assert_eq!(site.spooled("spool"), 0, "the database takes them again");
}

#[tokio::test]
async fn a_push_of_which_the_sender_is_not_known_is_not_kept() {
    let (site, network, process) = site().await;
    network.set(Fault::Cuts);
    let forged = process.client.request(reqwest::Method::POST, "/callbacks/nx/other-token").body("status=1");
    assert_eq!(process.client.send(forged).await.status, 404);
    assert_eq!(site.spooled("spool"), 0);
}

#[tokio::test]
async fn a_torn_file_gives_what_is_whole_and_is_kept_aside() {
    let (site, network, mut killed) = site().await;
    let (id, native) = sent(&site, &killed, TO).await;
    network.set(Fault::Cuts);
    assert_eq!(killed.push_receipt(nx_receipt(&native, TO, "DELIVRD")).await, Some(200));
    assert_eq!(killed.push_receipt("unreadable".to_owned()).await, Some(200));
    killed.kill();
    site.tear_spool();
    network.set(Fault::None);
    let after = site.start().await;
    after.wait_for_status(&id, "delivered").await;
    eventually("the file is put aside", async || (site.spooled("damaged") == 1).then_some(())).await;
    assert_eq!(site.spooled("spool"), 0);
}

#[tokio::test]
async fn an_unreadable_push_is_kept_for_people_to_look_at() {
    let (site, network, process) = site().await;
    network.set(Fault::Cuts);
    assert_eq!(process.push_receipt("unreadable".to_owned()).await, Some(200));
    network.set(Fault::None);
    site.until_rows("select from callbacks where state = 'unreadable' and problem is not null", 1).await;
}
