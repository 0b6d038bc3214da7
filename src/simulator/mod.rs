//! The carriers' side of the wire: Huawei Cloud Message & SMS, NxCloud SMS from a DID number and voice OTP as one server.
//!
//! It checks signatures, refuses what the vendors' documents refuse, and pushes reports and inbound messages back. Tests,
//! demonstrations and benchmarks talk to it. It shares no code with the drivers: two readings of the documents that were
//! made apart and agree are worth more than one. It has no prices and no TLS, and templates' texts only where they were
//! registered with it.
//!
//! # Numbers that choose what happens
//!
//! The last six digits of a recipient choose, the same for all three protocols (`0360970002` for voice). All other numbers
//! are accepted and delivered. `special_numbers = false` turns this off.
//!
//! | ends in | what happens |
//! | --- | --- |
//! | `970001` | delivered |
//! | `970002` | reported as not delivered |
//! | `970003` | reported as expired |
//! | `970004` | no report ever; polls are pending for ever |
//! | `970005` | the report comes before the answer |
//! | `970006` | reports doubled and out of order: the intermediate one after the final one |
//! | `970007` | three parts, the second one not delivered |
//! | `970008` | three parts, all delivered, out of order |
//! | `970009` | a status that no document has: `ZZ:9999` |
//! | `970010` | expired by the platform itself (Huawei: `source` 1, no `updateTime`) |
//! | `970011` | delivered, reported after 5 s (voice: pending four times) |
//! | `970012` | an intermediate report first (voice: pending twice) |
//! | `970020` | accepted, then the connection is closed in place of an answer |
//! | `970021` | not accepted, and the connection is closed |
//! | `970022` | accepted, answered after 30 s |
//! | `970023` | accepted, answered after 1 s |
//! | `970024` | accepted, answered 200 with a body that cannot be read |
//! | `970025` | accepted, the answer breaks off in the middle |
//! | `970026` | accepted, answered 200 with an empty body |
//! | `970030`, `970031` | 429 with `Retry-After: 1`, and without |
//! | `970032`, `970033` | 503 with `Retry-After: 1`, and without |
//! | `970034` | 500, not accepted |
//! | `970035`, `970036` | 502 and 504, accepted all the same |
//! | `970037`, `970038` | 302, 404 |
//! | `970040` | the first call is throttled (Huawei: E200015, others 429), later ones are taken |
//! | `970041` | accepted, answered without an id (Huawei: without the number's entry) |
//! | `98NNNN` | answered with the documented code whose last four digits these are: `980503` is E000503, `980015` E200015, `982001` 12001, `981102` 1102. Negative codes are `99` and two digits: `989901` is -1, `989908` -8 |
//!
//! In a Huawei call for many numbers, the first one that spoils an answer spoils it for the call; a status that belongs to
//! one number (E2…) stays with it. A Huawei template id whose last six digits are those of such a status (`…200028`) gives
//! it to all its numbers.
//!
//! # Scripts
//!
//! A [`Script`] says the same in full for the next calls that match, before numbers and chance. Over HTTP:
//!
//! - `POST /_control/script` `{"match": {"provider": "huawei", "to": "+852…"}, "times": 1, "behaviour": {…}}`
//! - `POST /_control/inbound` `{"provider": "nxcloud", "from": "…", "to": "…", "text": "…"}`
//! - `GET /_control/calls`, `GET /_control/pushes` with `provider`, `to` (calls), `limit`
//! - `GET /_control/counts`, `GET /_control/doubles`, `GET /_control/idle` (answers once nothing waits to be pushed)
//! - `POST /_control/management/review` `{"id": "…", "status": "REVIEW_PASSED", "note": "…"}` decides about an application, a
//!   signature or a template; `/fate` has the next management call behave in a certain way (`{"login": true, "behaviour": {…}}`:
//!   the next login); `/revoke` ends all tokens; `GET /_control/management` shows logins and calls
//! - `GET` and `POST /_control/settings` (what is named changes), `POST /_control/reset`

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::{sync::DropGuard, task::TaskTracker};

use self::{push::Pusher, world::World};

mod answer;
mod args;
mod behaviour;
mod control;
mod faults;
mod huawei;
mod ledger;
mod nxcloud;
mod options;
mod push;
mod recent;
mod script;
mod sdk_hmac;
mod server;
mod voice;
mod world;
mod wsse;

pub use self::{
    args::{Fault, SimulatorArgs, Template},
    behaviour::{Behaviour, Ending, Protocol, ScriptedReport},
    control::{Counts, InboundRefused},
    faults::FaultRates,
    huawei::management::{ManagementCall, ReviewRefused},
    ledger::{Accepted, Double, ProtocolCounts},
    options::{
        HuaweiAccount, Keep, ManagementAccount, NxcloudAccount, Region, Settings, SimulatorOptions, VoiceAccount,
        VoiceAnswer,
    },
    push::{InboundPush, PushCounts, PushRecord},
    script::{Match, Script},
};

/// A running simulator. It stops when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    world: Arc<World>,
    tasks: TaskTracker,
    _stop_when_dropped: DropGuard,
}

impl Simulator {
    /// Listens and serves. Port 0 takes a free one; see [`Simulator::addr`].
    pub async fn start(listen: SocketAddr, options: SimulatorOptions) -> io::Result<Self> {
        let pusher = Pusher::new(options.keep).map_err(io::Error::other)?;
        let world = Arc::new(World::new(options, pusher));
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let tasks = TaskTracker::new();
        tasks.spawn(server::run(listener, Arc::clone(&world), tasks.clone()));
        tasks.spawn(Arc::clone(&world).run_pushes());
        let stop_when_dropped = world.stopping.clone().drop_guard();
        Ok(Self { addr, world, tasks, _stop_when_dropped: stop_when_dropped })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The `base_url` that a provider is configured with.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops: no new connections, open ones end within a second, pushes that wait are given up.
    pub async fn stop(self) {
        self.world.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Has the next calls that match behave in a certain way.
    pub fn script(&self, script: Script) {
        self.world.scripts.add(script);
    }

    /// Has the next call for one recipient behave in a certain way.
    pub fn next_for(&self, to: &str, behaviour: Behaviour) {
        let matching = Match { to: Some(to.to_owned()), ..Match::default() };
        self.script(Script { matching, times: 1, behaviour });
    }

    /// Has an inbound message pushed; answers its id.
    pub fn push_inbound(&self, inbound: InboundPush) -> Result<String, InboundRefused> {
        control::schedule_inbound(&self.world, inbound)
    }

    /// Changes settings.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::clone(&self.world.settings.load());
        change(&mut settings);
        self.world.settings.store(Arc::new(settings));
    }

    /// The messages that were accepted, oldest first.
    pub fn accepted(&self) -> Vec<Arc<Accepted>> {
        self.world.ledger.accepted()
    }

    /// How often a content ([`Accepted::content`]) was accepted for a recipient, as the call wrote it.
    pub fn times_accepted(&self, provider: Protocol, to: &str, content: &str) -> u32 {
        self.world.ledger.times_accepted(provider, to, content)
    }

    /// Each acceptance beyond the first of the same content for the same recipient; the last thousand.
    pub fn doubles(&self) -> Vec<Double> {
        self.world.ledger.doubles()
    }

    /// The pushes that were made, oldest first.
    pub fn pushes(&self) -> Vec<PushRecord> {
        self.world.pusher.records()
    }

    /// All counters.
    pub fn counts(&self) -> Counts {
        control::count(&self.world)
    }

    /// Decides about an application, a signature or a template at Huawei, in its words.
    pub fn review(&self, id: &str, status: &str, note: &str) -> Result<(), ReviewRefused> {
        self.world.management.review(id, status, note)
    }

    /// Has the next management call behave in a certain way.
    pub fn next_management(&self, behaviour: Behaviour) {
        self.world.management.decide(false, behaviour);
    }

    /// Has the next login behave in a certain way.
    pub fn next_login(&self, behaviour: Behaviour) {
        self.world.management.decide(true, behaviour);
    }

    /// Ends all tokens of the management side at once.
    pub fn revoke_tokens(&self) {
        self.world.management.revoke_tokens();
    }

    /// How often somebody got a token.
    pub fn logins(&self) -> u64 {
        self.world.management.logins()
    }

    /// Logins and calls of the management side, oldest first.
    pub fn management_calls(&self) -> Vec<ManagementCall> {
        self.world.management.calls()
    }

    /// Waits until nothing waits to be pushed.
    pub async fn idle(&self) {
        self.world.pusher.idle().await;
    }

    /// Forgets everything that was scripted, seen and counted, and takes back the first settings.
    pub fn reset(&self) {
        self.world.reset();
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
