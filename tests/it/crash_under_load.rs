//! Processes that are killed or stopped under load: what was acknowledged is there, goes out once, and ends.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt;
use sms_gateway::simulator::Protocol;
use tokio::task::JoinSet;

use crate::{
    crash::NX,
    support::{
        Answer, Client,
        carriers::{error, nx_receipt},
        gateway::string,
        process::{Process, Site, eventually, post},
    },
};

/// Clients that post at once.
const CLIENTS: usize = 4;

async fn site() -> Site {
    Site::new(&format!("{NX}[routes.sms]\nsteps = [{{ provider = \"nx\" }}]")).await
}

/// Apps that post one message after the other, each with a key, to whichever process answers, until it is taken.
pub struct Load {
    stop: Arc<AtomicBool>,
    /// The recipients whose messages were acknowledged, with the ids.
    acknowledged: Arc<Mutex<HashMap<String, String>>>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(processes: &[&Process]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let next = Arc::new(AtomicUsize::new(0));
        let gateways: Vec<Client> = processes.iter().map(|process| process.client.clone()).collect();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (stop, acknowledged, next) = (Arc::clone(&stop), Arc::clone(&acknowledged), Arc::clone(&next));
            let gateways = gateways.clone();
            clients.spawn(async move {
                let mut turn = number;
                while !stop.load(Ordering::Relaxed) {
                    let to = format!("+861863761{:04}", next.fetch_add(1, Ordering::Relaxed));
                    let id = until_taken(&gateways, &mut turn, &to).await;
                    let before = acknowledged.lock().unwrap().insert(to, id);
                    assert_eq!(before, None);
                }
            });
        }
        Self { stop, acknowledged, clients }
    }

    /// Each client ends with the message that it is at.
    pub async fn end(self) -> HashMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        Arc::into_inner(self.acknowledged).unwrap().into_inner().unwrap()
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

/// Repeats a request with its key, each time with the next process, until it is taken.
pub async fn until_taken(gateways: &[Client], turn: &mut usize, to: &str) -> String {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        *turn += 1;
        let answer = post(&gateways[*turn % gateways.len()], to, to, to).await;
        match answer {
            Some(Answer { status: 202, json, .. }) => return string(&json["id"]).to_owned(),
            Some(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text);
                assert!(answer.headers.contains_key("retry-after"));
            }
            None => {}
        }
        assert!(Instant::now() < until, "nobody takes it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The carrier repeats its reports until they are taken.
async fn report_everything(site: &Site, process: &Process) {
    for accepted in site.simulator.accepted() {
        let receipt =
            nx_receipt(&accepted.message_id, &accepted.to, "DELIVRD").replace("hello", &text_of(&accepted.to));
        let taken = async || (process.push_receipt(receipt.clone()).await == Some(200)).then_some(());
        eventually("the report is taken", taken).await;
    }
}

fn text_of(to: &str) -> String {
    format!("%2B{}", to.trim_start_matches('+'))
}

/// Everything that was acknowledged is there, and nothing else; each went out at most once and has ended. Those that never
/// went out are unclear, and only where that is possible.
pub async fn all_is_well(site: &Site, process: &Process, acknowledged: &HashMap<String, String>, may_be_unclear: bool) {
    let stored = site.database.count("select from messages").await;
    assert_eq!(usize::try_from(stored).unwrap(), acknowledged.len());
    site.until_rows("select from queue where send_due is not null or lease is not null", 0).await;
    let taken: HashSet<String> = site.simulator.accepted().iter().map(|accepted| accepted.to.clone()).collect();
    assert_eq!(site.simulator.doubles(), []);
    report_everything(site, process).await;
    for (to, id) in acknowledged {
        if taken.contains(to.trim_start_matches('+')) {
            process.wait_for_status(id, "delivered").await;
            assert_eq!(site.simulator.times_accepted(Protocol::Nxcloud, to.trim_start_matches('+'), to), 1);
        } else {
            let message = process.message(id).await;
            assert!(may_be_unclear, "it never went out: {message:#}");
            assert_eq!((string(&message["status"]), error(&message).0), ("unknown", "submission_unconfirmed"));
        }
    }
}

#[tokio::test]
async fn two_processes_killed_at_random_lose_nothing_and_double_nothing() {
    let site = site().await;
    let mut processes = [site.start().await, site.start_beside().await];
    let load = Load::start(&processes.each_ref());
    let mut round = 0;
    // On a slow machine a kill leaves little time for messages.
    while round < 6 || (load.count() <= 20 && round < 60) {
        round += 1;
        let moment = Duration::from_millis(rand::rng().random_range(50..350));
        tokio::time::sleep(moment).await;
        let process = &mut processes[round % 2];
        process.kill();
        *process = site.start_again(process).await;
    }
    let acknowledged = load.end().await;
    assert!(acknowledged.len() > 20, "only {} messages", acknowledged.len());
    site.let_leases_run_out().await;
    all_is_well(&site, &processes[0], &acknowledged, true).await;
}

#[tokio::test]
async fn a_process_that_is_asked_to_end_under_load_ends_well_and_leaves_nothing_unclear() {
    let site = site().await;
    let mut process = site.start().await;
    let load = Load::start(&[&process]);
    for _ in 0..2 {
        let before = load.count();
        eventually("messages come in", async || (load.count() > before + 20).then_some(())).await;
        let asked = Instant::now();
        process.terminate();
        let status = process.ended().await;
        assert!(status.success(), "{status}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert_eq!(site.database.count("select from attempts where status in ('sending', 'unknown')").await, 0);
        assert_eq!(site.database.count("select from queue where lease is not null").await, 0);
        process = site.start().await;
    }
    let acknowledged = load.end().await;
    all_is_well(&site, &process, &acknowledged, false).await;
}

#[tokio::test]
async fn connections_that_are_cut_under_load_never_make_a_2xx_that_is_not_stored() {
    let site = site().await;
    let process = site.start().await;
    let load = Load::start(&[&process]);
    let mut cut = 0;
    while cut < 60 || load.count() < 40 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        cut += site.cut_connections().await;
    }
    let acknowledged = load.end().await;
    // A claim whose commit was cut off may have been made: then the lease says so.
    eventually("leases run out", async || {
        site.let_leases_run_out().await;
        (site.database.count("select from queue where send_due is not null or lease is not null").await == 0)
            .then_some(())
    })
    .await;
    all_is_well(&site, &process, &acknowledged, true).await;
}
