use super::*;
use crate::domain::{
    error_code::ErrorCode,
    verdict::{FailoverAllowed, Scope, Verdict},
};

/// A provider with a clock.
struct Story {
    availability: Availability,
    now: Timestamp,
}

fn answer(status: NeutralStatus, error: Option<ErrorCode>, code: &str, scope: Scope) -> Answer {
    Answer {
        verdict: Verdict {
            status,
            error,
            category: error.map(ErrorCode::category),
            retryable: false,
            failover: FailoverAllowed::Yes,
            retry_here: false,
            resend_allowed: true,
            scope,
        },
        provider_code: Some(code.to_owned()),
        provider_message_id: None,
        segments: None,
        retry_after: None,
        not_connected: false,
        found_again: false,
        split_to: None,
    }
}

fn taken() -> Answer {
    answer(NeutralStatus::Sent, None, "0", Scope::None)
}

fn no_money() -> Answer {
    answer(NeutralStatus::Failed, Some(ErrorCode::InsufficientBalance), "1102", Scope::Account)
}

fn bad_number() -> Answer {
    answer(NeutralStatus::Failed, Some(ErrorCode::RecipientInvalid), "9006", Scope::Message)
}

fn broken() -> Answer {
    answer(NeutralStatus::Unknown, Some(ErrorCode::SubmissionUnconfirmed), "http_500", Scope::Provider)
}

fn busy(seconds: u64) -> Answer {
    let busy = answer(NeutralStatus::Failed, Some(ErrorCode::ProviderRateLimited), "http_429", Scope::Provider);
    Answer { retry_after: Some(Duration::from_secs(seconds)), ..busy }
}

impl Story {
    fn new() -> Self {
        Self::with_tolerance(None)
    }

    fn with_tolerance(tolerance: Option<Duration>) -> Self {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        Self { availability: Availability::new("p", false, tolerance, 8), now }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// A call of one message. True when its answer found only what was known.
    fn call(&self, answer: Answer) -> bool {
        let mut answers = [answer];
        self.availability.note(&mut answers, None, self.now);
        answers[0].found_again
    }

    fn clock_reads(&self, ahead: i64) {
        self.availability.note(&mut [taken()], Some(TimeDelta::seconds(ahead)), self.now);
    }

    fn why(&self) -> Option<Unavailable> {
        self.availability.unavailable(self.now)
    }

    fn pass(&self) -> Pass {
        self.availability.pass(0, self.now)
    }

    /// So long until a probe is let through, which then is.
    fn next_probe(&mut self) -> u64 {
        for waited in 0..100 {
            if matches!(self.pass(), Pass::Probe(_)) {
                self.availability.probed(self.now);
                return waited;
            }
            self.later(1);
        }
        panic!("no probe ever");
    }
}

#[test]
fn an_open_breaker_lets_one_probe_a_second_through_and_closes_when_that_goes_well() {
    let mut story = Story::new();
    for _ in 0..5 {
        story.call(broken());
    }
    assert_eq!((story.why(), story.pass()), (Some(Unavailable::BreakerOpen), Pass::Over(Unavailable::BreakerOpen)));
    for _ in 0..10 {
        assert_eq!(story.next_probe(), 1);
        story.call(broken());
    }
    story.call(taken());
    assert_eq!(story.why(), None);
}

#[test]
fn a_provider_that_is_back_gets_one_call_at_once_then_two_then_four() {
    let mut story = Story::new();
    for _ in 0..5 {
        story.call(broken());
    }
    story.next_probe();
    story.call(taken());
    let mut rooms = Vec::new();
    for _ in 0..8 {
        let Pass::Open(room) = story.pass() else { panic!("{:?}", story.pass()) };
        rooms.push(room);
        story.call(taken());
    }
    assert_eq!(rooms, [1, 2, 2, 4, 4, 4, 4, 8]);
}

#[test]
fn calls_in_flight_take_from_the_room_and_without_room_the_line_waits() {
    let mut story = Story::new();
    assert_eq!(story.availability.pass(3, story.now), Pass::Open(5));
    assert_eq!(story.availability.pass(8, story.now), Pass::Wait);
    for _ in 0..5 {
        story.call(broken());
    }
    story.next_probe();
    story.call(taken());
    assert_eq!(story.availability.pass(1, story.now), Pass::Wait);
}

#[test]
fn one_fault_of_the_account_pauses_the_provider_until_a_message_is_taken() {
    let mut story = Story::new();
    assert!(!story.call(no_money()), "the first one did not know");
    assert_eq!(story.why(), Some(Unavailable::AccountFault));
    story.next_probe();
    story.call(bad_number());
    assert_eq!(story.why(), Some(Unavailable::AccountFault), "a refusal does not show that there is money again");
    story.call(taken());
    assert_eq!(story.why(), None);
}

#[test]
fn what_only_finds_the_known_fault_again_is_marked_and_anything_else_is_not() {
    let story = Story::new();
    story.call(no_money());
    assert!(story.call(no_money()));
    for other in [bad_number(), taken(), broken()] {
        assert!(!story.call(other));
    }
    let story = Story::new();
    story.call(no_money());
    let locked_out = answer(NeutralStatus::Failed, Some(ErrorCode::ProviderAuthFailed), "1003", Scope::Account);
    assert!(!story.call(locked_out.clone()), "another code is news");
    assert!(story.call(locked_out));
}

#[test]
fn a_refusal_that_may_lie_with_the_message_is_never_called_known() {
    let story = Story::new();
    let refused = answer(NeutralStatus::Failed, Some(ErrorCode::ProviderRejected), "-1", Scope::Provider);
    for _ in 0..10 {
        assert!(!story.call(refused.clone()));
    }
    assert_eq!(story.why(), Some(Unavailable::BreakerOpen));
}

#[test]
fn probes_that_find_the_same_fault_of_the_account_come_ever_more_rarely() {
    let mut story = Story::new();
    story.call(no_money());
    let waits: Vec<u64> = (0..6)
        .map(|_| {
            let waited = story.next_probe();
            story.call(no_money());
            waited
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
}

#[test]
fn whoever_resumes_a_provider_has_the_next_message_try_at_once() {
    let mut story = Story::new();
    story.call(no_money());
    (0..5).for_each(|_| {
        story.next_probe();
        story.call(no_money());
    });
    story.availability.try_again();
    assert_eq!(story.pass(), Pass::Probe(Unavailable::AccountFault));
    story.call(busy(3600));
    assert_eq!(story.why(), Some(Unavailable::Throttled));
    story.availability.try_again();
    assert_ne!(story.why(), Some(Unavailable::Throttled));
}

#[test]
fn a_throttle_holds_for_as_long_as_was_asked_without_a_probe_and_ends_by_itself() {
    let mut story = Story::new();
    story.call(busy(600));
    assert_eq!(story.pass(), Pass::Over(Unavailable::Throttled));
    assert_eq!(story.availability.condition(story.now).until, Some(story.now + Duration::from_mins(10)));
    story.later(599);
    assert_eq!((story.why(), story.pass()), (Some(Unavailable::Throttled), Pass::Wait));
    story.later(1);
    assert_eq!((story.why(), story.pass()), (None, Pass::Open(1)), "and it is ramped up");
    assert_eq!(story.availability.condition(story.now).changed_at, Some(story.now));
}

#[test]
fn a_short_throttle_is_waited_for_and_a_long_one_passed_over() {
    for (seconds, pass) in [(60, Pass::Wait), (61, Pass::Over(Unavailable::Throttled))] {
        let story = Story::new();
        story.call(busy(seconds));
        assert_eq!(story.pass(), pass, "{seconds}");
    }
}

#[test]
fn one_number_of_many_that_is_throttled_throttles_the_provider() {
    let story = Story::new();
    let throttle = story.availability.note(&mut [taken(), busy(600), taken()], None, story.now);
    assert_eq!(throttle.map(|throttle| throttle.until), Some(story.now + Duration::from_mins(10)));
    let again = story.availability.note(&mut [busy(30)], None, story.now);
    assert_eq!(again, None, "a shorter one changes nothing");
}

#[test]
fn a_throttle_of_another_process_is_followed_and_its_lifting_too() {
    let story = Story::new();
    let shared = Throttle { until: story.now + Duration::from_mins(10), cause: None };
    story.availability.follow_throttle(Some(shared));
    assert_eq!(story.why(), Some(Unavailable::Throttled));
    story.availability.follow_throttle(None);
    assert_eq!(story.why(), None);
}

#[test]
fn a_throttle_that_is_not_written_down_yet_is_not_taken_for_lifted() {
    let story = Story::new();
    story.call(busy(600));
    story.availability.follow_throttle(None);
    assert_eq!(story.why(), Some(Unavailable::Throttled));
}

#[test]
fn a_clock_that_is_off_pauses_where_the_scheme_would_soon_refuse_and_a_probe_ends_it() {
    let story = Story::with_tolerance(Some(Duration::from_secs(45)));
    for ahead in [44, -44, 21] {
        story.clock_reads(ahead);
        assert_eq!(story.why(), None, "{ahead}");
    }
    for ahead in [45, -45, 86_400] {
        story.clock_reads(ahead);
        assert_eq!(story.why(), Some(Unavailable::ClockOff), "{ahead}");
    }
    story.clock_reads(1);
    assert_eq!(story.why(), None);
}

#[test]
fn a_clock_that_is_off_is_nothing_to_a_provider_without_signatures() {
    let story = Story::new();
    story.clock_reads(1_000_000);
    assert_eq!(story.why(), None);
}

#[test]
fn faults_of_messages_open_nothing() {
    let story = Story::new();
    for _ in 0..100 {
        story.call(bad_number());
    }
    assert_eq!((story.why(), story.pass()), (None, Pass::Open(8)));
}

#[test]
fn only_an_operator_keeps_calls_from_an_exempt_provider() {
    let exempt = Availability::new("sandbox", true, None, 8);
    let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
    for bad in [no_money(), broken(), busy(600)] {
        (0..10).for_each(|_| assert_eq!(exempt.note(&mut [bad.clone()], None, now), None));
    }
    assert_eq!(exempt.unavailable(now), None);
    exempt.pause(true);
    assert_eq!(exempt.unavailable(now), Some(Unavailable::Paused));
}
