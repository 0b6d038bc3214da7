//! Steps at which a test lets the process die, fail or wait.
//!
//! What a crash leaves behind depends on the step that it comes after. Each step that matters has a name, and a build with the
//! feature `fail-points` does at it what the variable [`VARIABLE`] says. Without the feature nothing is read and nothing is
//! left of a step in the program.
//!
//! `SMS_GATEWAY_FAIL_POINTS="accept.committed=3%abort;call.begins=delay(50);record.written=error@5"`: for each step an action,
//! with a probability before it if it shall not always happen, and `@5` behind it if only the fifth time counts.
//!
//! | action | does |
//! | --- | --- |
//! | `abort` | ends the process as `kill -9` does |
//! | `error` | the step fails, as when the database or the network fails there |
//! | `delay(MS)` | the step waits so many milliseconds; nothing else does |

/// What the steps are told by.
pub const VARIABLE: &str = "SMS_GATEWAY_FAIL_POINTS";

/// A step that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A request was read; nothing of it is written.
    AcceptRead,
    /// A message and its key are written and not committed.
    AcceptWritten,
    /// A message is durable and not answered.
    AcceptCommitted,
    /// Attempts are written and not committed.
    ClaimWritten,
    /// Attempts are durable; nothing was sent to the provider.
    ClaimCommitted,
    /// A call is about to be made; its lease was looked at.
    CallBegins,
    /// A call has ended; what came of it is known in memory only.
    CallAnswered,
    /// What came of calls is written and not committed.
    RecordWritten,
    /// What came of calls is durable.
    RecordCommitted,
    /// A push was read; nothing of it is written.
    PushRead,
    /// A push and its reports are written and applied, and not committed.
    PushWritten,
    /// A push is durable and not answered.
    PushCommitted,
    /// A push that was kept before is applied and not committed.
    KeptPushApplied,
    /// What time brought (leases that ran out, validity) is written and not committed.
    SweepWritten,
    /// What time brought is durable.
    SweepCommitted,
    /// A provider is about to be asked about an attempt; the next question is noted already.
    PollBegins,
    /// A provider has said what became of an attempt; nothing of it is written.
    PollAnswered,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::AcceptRead,
        Self::AcceptWritten,
        Self::AcceptCommitted,
        Self::ClaimWritten,
        Self::ClaimCommitted,
        Self::CallBegins,
        Self::CallAnswered,
        Self::RecordWritten,
        Self::RecordCommitted,
        Self::PushRead,
        Self::PushWritten,
        Self::PushCommitted,
        Self::KeptPushApplied,
        Self::SweepWritten,
        Self::SweepCommitted,
        Self::PollBegins,
        Self::PollAnswered,
    ];

    /// Its name in the variable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptRead => "accept.read",
            Self::AcceptWritten => "accept.written",
            Self::AcceptCommitted => "accept.committed",
            Self::ClaimWritten => "claim.written",
            Self::ClaimCommitted => "claim.committed",
            Self::CallBegins => "call.begins",
            Self::CallAnswered => "call.answered",
            Self::RecordWritten => "record.written",
            Self::RecordCommitted => "record.committed",
            Self::PushRead => "push.read",
            Self::PushWritten => "push.written",
            Self::PushCommitted => "push.committed",
            Self::KeptPushApplied => "kept_push.applied",
            Self::SweepWritten => "sweep.written",
            Self::SweepCommitted => "sweep.committed",
            Self::PollBegins => "poll.begins",
            Self::PollAnswered => "poll.answered",
        }
    }
}

/// A step that was made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this step was made to fail")]
pub struct MadeToFail;

#[cfg(feature = "fail-points")]
pub use armed::{Malformed, arm, reach};

/// Nothing happens in a build without the feature.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn reach(_: Step) -> std::future::Ready<Result<(), MadeToFail>> {
    std::future::ready(Ok(()))
}

#[cfg(feature = "fail-points")]
mod armed {
    use std::{
        str::FromStr,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::{MadeToFail, Step};

    static PLAN: OnceLock<Vec<Point>> = OnceLock::new();

    /// A part of the variable that says nothing known.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("{part}: {problem}")]
    pub struct Malformed {
        part: String,
        problem: &'static str,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Action {
        Abort,
        Error,
        Delay(Duration),
    }

    #[derive(Debug)]
    struct Point {
        step: Step,
        action: Action,
        /// Between 0 and 1.
        probability: f64,
        /// Only this time counts, from 1.
        only: Option<u64>,
        reached: AtomicU64,
    }

    impl FromStr for Point {
        type Err = Malformed;

        fn from_str(part: &str) -> Result<Self, Malformed> {
            let malformed = |problem| Malformed { part: part.to_owned(), problem };
            let (name, what) = part.split_once('=').ok_or_else(|| malformed("it must be STEP=ACTION"))?;
            let step = Step::ALL.into_iter().find(|step| step.as_str() == name.trim());
            let (probability, what) = match what.split_once('%') {
                None => (1.0, what),
                Some((percent, what)) => {
                    let percent = percent.trim().parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
                    let percent = percent.ok_or_else(|| malformed("the probability must be from 0 to 100"))?;
                    (percent / 100.0, what)
                }
            };
            let (action, only) = match what.split_once('@') {
                None => (what, None),
                Some((action, time)) => {
                    let time = time.trim().parse().ok().filter(|time| *time > 0);
                    (action, Some(time.ok_or_else(|| malformed("the time after @ must be a number from 1"))?))
                }
            };
            Ok(Self {
                step: step.ok_or_else(|| malformed("there is no such step"))?,
                action: read_action(action.trim()).ok_or_else(|| malformed("there is no such action"))?,
                probability,
                only,
                reached: AtomicU64::new(0),
            })
        }
    }

    fn read_action(text: &str) -> Option<Action> {
        match text {
            "abort" => Some(Action::Abort),
            "error" => Some(Action::Error),
            _ => {
                let length = text.strip_prefix("delay(")?.strip_suffix(')')?.parse().ok()?;
                Some(Action::Delay(Duration::from_millis(length)))
            }
        }
    }

    impl Point {
        /// Does it happen this time?
        fn strikes(&self) -> bool {
            let time = self.reached.fetch_add(1, Ordering::Relaxed) + 1;
            self.only.is_none_or(|only| only == time)
                && (self.probability >= 1.0 || rand::random::<f64>() < self.probability)
        }
    }

    fn read(text: &str) -> Result<Vec<Point>, Malformed> {
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
    }

    /// Takes the plan of this process, once and before anything starts.
    pub fn arm(text: &str) -> Result<(), Malformed> {
        let points = read(text)?;
        if !points.is_empty() {
            tracing::warn!(plan = text, "fail points are armed: this process will die or fail on purpose");
        }
        // A second plan is nobody's: only `main` calls this.
        PLAN.get_or_init(|| points);
        Ok(())
    }

    /// A step is reached: dies, fails or waits if the plan says so.
    pub async fn reach(step: Step) -> Result<(), MadeToFail> {
        for point in PLAN.get().into_iter().flatten().filter(|point| point.step == step) {
            if !point.strikes() {
                continue;
            }
            match point.action {
                Action::Abort => die(step),
                Action::Error => return Err(MadeToFail),
                Action::Delay(length) => tokio::time::sleep(length).await,
            }
        }
        Ok(())
    }

    fn die(step: Step) -> ! {
        tracing::warn!(step = step.as_str(), "the process dies here on purpose");
        let _ = kill(Pid::this(), Signal::SIGKILL);
        // Not reached, unless the signal could not be sent.
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_names_steps_actions_probabilities_and_times() {
            let plan = read("accept.committed=3%abort; call.begins=delay(50);record.written=error@5;").unwrap();
            let told: Vec<_> = plan.iter().map(|it| (it.step, it.action, it.probability, it.only)).collect();
            assert_eq!(
                told,
                [
                    (Step::AcceptCommitted, Action::Abort, 0.03, None),
                    (Step::CallBegins, Action::Delay(Duration::from_millis(50)), 1.0, None),
                    (Step::RecordWritten, Action::Error, 1.0, Some(5)),
                ]
            );
        }

        #[test]
        fn what_is_not_known_is_an_error() {
            for (text, problem) in [
                ("accept", "it must be STEP=ACTION"),
                ("accept.forgotten=abort", "there is no such step"),
                ("accept.read=explode", "there is no such action"),
                ("accept.read=delay(soon)", "there is no such action"),
                ("accept.read=200%abort", "the probability must be from 0 to 100"),
                ("accept.read=abort@0", "the time after @ must be a number from 1"),
            ] {
                assert_eq!(read(text).unwrap_err().problem, problem, "{text}");
            }
        }

        #[test]
        fn only_the_named_time_strikes() {
            let plan = read("push.read=error@3").unwrap();
            assert_eq!([(); 5].map(|()| plan[0].strikes()), [false, false, true, false, false]);
        }

        #[test]
        fn a_probability_strikes_about_as_often_as_it_says() {
            let plan = read("push.read=25%error").unwrap();
            let struck = (0..10_000).filter(|_| plan[0].strikes()).count();
            assert!((2_000..3_000).contains(&struck), "{struck}");
        }

        #[test]
        fn no_two_steps_share_a_name() {
            let names: std::collections::BTreeSet<_> = Step::ALL.iter().map(|step| step.as_str()).collect();
            assert_eq!(names.len(), Step::ALL.len());
        }
    }
}
