//! The lives of the processes: each is started, and sooner or later dies, freezes, or is asked to end.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sms_gateway::fail_points::{Step, VARIABLE};

use super::{Run, carrier::Carrier, load::Apps};
use crate::support::process::{Process, Site};

/// The lease of the configuration in `support::process`, and a little more.
const LONGER_THAN_THE_LEASE: Duration = Duration::from_millis(8_500);
/// A process whose step does not come is killed where it stands. Leases must have time to run out meanwhile.
const STEP_COMES_WITHIN: Duration = Duration::from_secs(5);
/// In the short form, which has no time for leases.
const STEP_COMES_SOON: Duration = Duration::from_millis(1_200);
const ENDS_WITHIN: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Failures and delays beside the deaths: what a bad database and a bad network do.
const BAD_WEATHER: &str = "accept.written=2%error;accept.committed=2%error;claim.written=2%error;\
    claim.committed=0.5%error;call.begins=20%delay(20);call.begins=1%error;call.answered=1%error;record.written=5%error;\
    record.committed=5%error;push.written=3%error;push.committed=3%error;sweep.written=5%error;sweep.committed=5%error;\
    poll.begins=3%error;poll.answered=3%error;kept_push.applied=5%error";

/// How a life ends.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Killed from outside, after so long.
    Killed(Duration),
    /// Dies when a step is reached for the so-many-th time.
    DiesAt(Step, u32),
    /// Stopped for longer than its lease, then let go on, then killed.
    Frozen,
    /// Asked to end.
    Terminated,
}

/// What happened to the processes of a run.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub kills: u32,
    /// Kills while a request, a call or a push was under way.
    pub in_flight: u32,
    pub freezes: u32,
    pub orderly_ends: u32,
    pub slowest_start: Duration,
    /// Deaths by the step.
    pub steps: BTreeMap<&'static str, u32>,
    pub problems: Vec<String>,
}

/// What the lives of one run share.
pub struct Lives {
    pub site: Site,
    run: Run,
    apps: Arc<Apps>,
    addresses: Vec<SocketAddr>,
    /// How many kills are still to come.
    left: AtomicI64,
    /// How many processes are frozen in the whole run; only one that has another beside it.
    freezes: AtomicI64,
    tally: Mutex<Tally>,
}

impl Lives {
    pub fn new(site: Site, run: Run, apps: Arc<Apps>, addresses: Vec<SocketAddr>) -> Self {
        let (left, freezes) = (AtomicI64::new(run.kills.into()), AtomicI64::new(run.freezes.into()));
        Self { site, run, apps, addresses, left, freezes, tally: Mutex::default() }
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Lives of one process until all kills of the run are used up. Gives back the last one, which nothing happens to.
    pub async fn live(&self, process: usize, seed: u64) -> Process {
        let mut chance = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(process as u64));
        let mut steps = self.steps(&mut chance);
        while self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            let fate = self.fate(&mut chance, &mut steps, process);
            let plan = plan(fate, chance.random_bool(0.3));
            let mut started = self.launch(process, &plan);
            match started.become_ready().await {
                Ok(took) => {
                    self.note(|tally| tally.slowest_start = tally.slowest_start.max(took));
                    if !plan.is_empty() && !started.logged().contains("fail points are armed") {
                        self.problem(format!("the binary has no fail points: {plan}"));
                    }
                    self.meet(fate, &mut started, process).await;
                }
                Err(_) => self.died(&mut started, fate),
            }
            self.look_for_panics(&started);
        }
        let mut last = self.launch(process, "");
        match last.become_ready().await {
            Ok(took) => self.note(|tally| tally.slowest_start = tally.slowest_start.max(took)),
            Err(status) => self.problem(format!("the last process ended with {status}")),
        }
        last
    }

    fn launch(&self, process: usize, plan: &str) -> Process {
        // The long form refuses a server that would lose what it confirms.
        let unsafe_is_fine = if self.run.long { "false" } else { "true" };
        let environment = [(VARIABLE, plan), ("SMS_GATEWAY__DATABASE__ALLOW_UNSAFE_DURABILITY", unsafe_is_fine)];
        self.site.launch(self.addresses[process], &environment)
    }

    /// The steps to die at, in an order of the seed. Those that never come with this carrier are left out.
    fn steps(&self, chance: &mut StdRng) -> Vec<Step> {
        let comes = |step: &Step| match step {
            Step::PollBegins | Step::PollAnswered => self.run.carrier == Carrier::Voice,
            Step::PushRead | Step::PushWritten | Step::PushCommitted | Step::KeptPushApplied => {
                self.run.carrier != Carrier::Voice
            }
            Step::AcceptRead
            | Step::AcceptWritten
            | Step::AcceptCommitted
            | Step::ClaimWritten
            | Step::ClaimCommitted
            | Step::CallBegins
            | Step::CallAnswered
            | Step::RecordWritten
            | Step::RecordCommitted => true,
            Step::SweepWritten | Step::SweepCommitted => self.run.long,
        };
        let mut steps: Vec<Step> = Step::ALL.into_iter().filter(comes).collect();
        for last in (1..steps.len()).rev() {
            steps.swap(last, chance.random_range(0..=last));
        }
        steps
    }

    fn fate(&self, chance: &mut StdRng, steps: &mut [Step], process: usize) -> Fate {
        let is_last = process + 1 == self.addresses.len();
        if is_last && self.addresses.len() > 1 && self.freezes.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Fate::Frozen;
        }
        match chance.random_range(0..20) {
            0..2 => Fate::Terminated,
            2..8 => Fate::Killed(Duration::from_millis(chance.random_range(100..900))),
            _ => {
                steps.rotate_left(1);
                let often = !matches!(steps[0], Step::SweepWritten | Step::SweepCommitted | Step::KeptPushApplied);
                Fate::DiesAt(steps[0], if often { chance.random_range(1..=15) } else { 1 })
            }
        }
    }

    async fn meet(&self, fate: Fate, process: &mut Process, index: usize) {
        match fate {
            Fate::Killed(after) => {
                self.stays_alive(process, after).await;
                self.kill(process, index, fate);
            }
            Fate::DiesAt(..) => {
                let length = if self.run.long { STEP_COMES_WITHIN } else { STEP_COMES_SOON };
                self.stays_alive(process, length).await;
                self.kill(process, index, fate);
            }
            Fate::Frozen => {
                self.stays_alive(process, Duration::from_millis(400)).await;
                if process.has_ended().is_none() {
                    process.freeze();
                    tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
                    process.thaw();
                    self.note(|tally| tally.freezes += 1);
                    self.stays_alive(process, Duration::from_millis(600)).await;
                }
                self.kill(process, index, fate);
            }
            Fate::Terminated => {
                self.stays_alive(process, Duration::from_millis(300)).await;
                self.terminate(process, fate).await;
            }
        }
    }

    /// Lets it live for so long, or until it dies.
    async fn stays_alive(&self, process: &mut Process, length: Duration) {
        let until = Instant::now() + length;
        while Instant::now() < until && process.has_ended().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn kill(&self, process: &mut Process, index: usize, fate: Fate) {
        if process.has_ended().is_some() {
            return self.died(process, fate);
        }
        let counts = self.site.simulator.counts();
        let calls = counts.providers[&self.run.carrier.protocol()].in_flight;
        let requests = self.apps.unanswered[index].load(Ordering::Relaxed);
        process.kill();
        self.note(|tally| {
            tally.kills += 1;
            tally.in_flight += u32::from(requests > 0 || calls + counts.pushes.in_flight > 0);
            *tally.steps.entry("anywhere").or_default() += 1;
        });
    }

    /// It died at a step, which is in the middle of something.
    fn died(&self, process: &mut Process, fate: Fate) {
        let status = process.has_ended();
        let killed = status.is_some_and(|status| status.signal() == Some(SIGKILL));
        let Fate::DiesAt(step, _) = fate else {
            return self.problem(format!("a process ended by itself: {status:?}"));
        };
        if !killed {
            return self.problem(format!("a process ended by itself before {}: {status:?}", step.as_str()));
        }
        self.note(|tally| {
            tally.kills += 1;
            tally.in_flight += 1;
            *tally.steps.entry(step.as_str()).or_default() += 1;
        });
    }

    async fn terminate(&self, process: &mut Process, fate: Fate) {
        if process.has_ended().is_some() {
            return self.died(process, fate);
        }
        process.terminate();
        self.stays_alive(process, ENDS_WITHIN).await;
        match process.has_ended() {
            Some(status) if status.success() => self.note(|tally| tally.orderly_ends += 1),
            status => self.problem(format!("asked to end, it ended with {status:?}")),
        }
        // It was no kill.
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    fn look_for_panics(&self, process: &Process) {
        if process.logged().contains("panicked") {
            self.problem("a process panicked".to_owned());
        }
    }

    fn note(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap());
    }

    fn problem(&self, what: String) {
        self.note(|tally| tally.problems.push(what));
    }
}

/// What the fail points of a process are told.
fn plan(fate: Fate, bad_weather: bool) -> String {
    let mut plan = Vec::new();
    if let Fate::DiesAt(step, time) = fate {
        plan.push(format!("{}=abort@{time}", step.as_str()));
        if step == Step::KeptPushApplied {
            plan.push("push.written=30%error".to_owned());
        }
    }
    if bad_weather {
        plan.push(BAD_WEATHER.to_owned());
    }
    plan.join(";")
}
