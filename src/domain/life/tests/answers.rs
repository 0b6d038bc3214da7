//! What an answer to a call does: taken, refused, tried again.

use super::*;

#[test]
fn a_taken_message_is_sent_and_its_report_window_opens() {
    let mut story = Story::alone();
    let number = story.hand_over(&taken());
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    assert_eq!(story.life.sent_at, Some(story.now));
    assert_eq!(story.attempt(number).evidence_until, Some(story.now + WINDOW));
}

#[test]
fn a_refusal_with_nothing_left_fails_the_message_with_the_cause_and_the_code() {
    let mut story = Story::alone();
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert_eq!(story.at(), (MessageStatus::Failed, true));
    assert_eq!(story.life.completed_at, Some(story.now));
    assert_eq!(story.error(), Some(ErrorCode::ProviderRejected));
    assert_eq!(story.life.error.unwrap().provider_code.as_deref(), Some("E1"));
}

#[test]
fn what_is_marked_retry_here_is_tried_on_the_same_provider_until_the_tries_are_used_up() {
    let mut story = Story::with(Failover::Never);
    for _ in 1..RETRY.max_attempts {
        story.hand_over(&busy());
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(0)));
    }
    story.hand_over(&busy());
    assert_eq!(story.at(), (MessageStatus::Failed, true));
    assert_eq!(story.life.attempts.len(), usize::from(RETRY.max_attempts));
    assert_eq!(story.error(), Some(ErrorCode::ProviderRateLimited));
}

#[test]
fn when_the_tries_are_used_up_the_next_step_begins_with_tries_of_its_own() {
    let mut story = Story::with(Failover::OnRejection);
    for _ in 0..RETRY.max_attempts {
        story.hand_over(&busy());
    }
    assert_eq!(story.waits_for(), Some(1));
    assert_eq!(story.life.send.unwrap().tries, 0);
    for _ in 0..RETRY.max_attempts {
        assert_eq!(story.waits_for(), Some(1));
        story.hand_over(&busy());
    }
    assert_eq!(story.at(), (MessageStatus::Failed, true));
}

#[test]
fn the_wait_starts_at_a_second_doubles_and_stays_around_a_minute() {
    let mut story = Story::alone();
    story.life.expires_at = story.now + Duration::from_hours(24);
    for base in [1_u64, 2, 4, 8, 16, 32, 60, 60, 60] {
        story.hand_over(&not_connected());
        let least = Duration::from_secs(base);
        assert!(story.wait() >= least && story.wait() < least.mul_f64(1.25), "{:?} for {base} s", story.wait());
    }
}

#[test]
fn messages_that_failed_together_come_back_apart() {
    let wait_of = |id: u128| {
        let mut story = Story::alone();
        story.life.id = MessageId(Uuid::from_u128(id));
        story.hand_over(&busy());
        story.wait()
    };
    assert_ne!(wait_of(1), wait_of(2));
}

#[test]
fn a_wait_that_the_provider_asks_for_is_kept() {
    let mut story = Story::alone();
    story.hand_over(&Answer { retry_after: Some(Duration::from_secs(50)), ..busy() });
    assert_eq!(story.wait(), Duration::from_secs(50));
}

#[test]
fn a_long_wait_is_waited_for_only_where_there_is_no_next_step() {
    let minutes = |seconds| Answer { retry_after: Some(Duration::from_secs(seconds)), ..busy() };
    let cases = [
        ("a minute is waited for", Story::with(Failover::OnRejection), 60, Some(0)),
        ("more is not, with a next step", Story::with(Failover::OnRejection), 61, Some(1)),
        ("more is, without one", Story::alone(), 61, Some(0)),
        ("more is, where the route never goes on", Story::with(Failover::Never), 61, Some(0)),
    ];
    for (what, mut story, seconds, waits_for) in cases {
        story.hand_over(&minutes(seconds));
        assert_eq!(story.waits_for(), waits_for, "{what}");
    }
}

#[test]
fn a_try_that_did_not_connect_is_never_counted() {
    let mut story = Story::alone();
    for _ in 0..RETRY.max_attempts * 2 {
        story.hand_over(&not_connected());
        assert_eq!(story.life.send.unwrap().tries, 0);
    }
    assert_eq!(story.at(), (MessageStatus::Queued, false));
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Expired, true));
}

#[test]
fn tries_that_did_not_connect_do_not_use_up_those_of_answers() {
    let mut story = Story::alone();
    story.hand_over(&busy());
    story.hand_over(&not_connected());
    assert_eq!(story.life.send.unwrap().tries, 1);
}

#[test]
fn a_provider_that_cannot_be_connected_is_tried_on_however_long_the_waits_have_become() {
    let mut story = Story::with(Failover::OnRejection);
    story.life.expires_at = story.now + Duration::from_hours(24);
    for _ in 0..20 {
        story.hand_over(&not_connected());
        assert_eq!(story.waits_for(), Some(0));
    }
}

#[test]
fn a_whole_call_that_was_refused_is_split_without_counting_a_try() {
    let mut story = Story::alone();
    story.hand_over(&Answer { split_to: Some(62), ..refused(FailoverAllowed::Yes) });
    let send = story.life.send.unwrap();
    assert_eq!((send.step, send.tries, send.group_limit, send.due), (0, 0, Some(62), story.now));
    assert_eq!(story.at(), (MessageStatus::Queued, false));
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert_eq!(story.at(), (MessageStatus::Failed, true), "a call of one is condemned");
}

#[test]
fn the_limit_of_a_split_does_not_follow_to_the_next_provider() {
    let mut story = Story::with(Failover::OnRejection);
    story.hand_over(&Answer { split_to: Some(1), ..refused(FailoverAllowed::Yes) });
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert_eq!(story.waits_for(), Some(1));
    assert_eq!(story.life.send.unwrap().group_limit, None);
}

#[test]
fn a_hand_over_does_not_begin_before_it_is_due() {
    let mut story = Story::alone();
    story.hand_over(&busy());
    assert_eq!(story.try_start(), None);
    assert!(story.life.send.is_some(), "and is not lost");
}

#[test]
fn no_hand_over_begins_when_the_validity_is_over() {
    let mut story = Story::alone();
    story.now = story.life.expires_at;
    assert_eq!(story.try_start(), None);
    assert_eq!(story.at(), (MessageStatus::Queued, false));
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Expired, true));
}

#[test]
fn the_same_answer_written_down_twice_changes_nothing() {
    for answer in [taken(), busy(), refused(FailoverAllowed::Yes), unclear()] {
        let mut story = Story::with(Failover::OnRejection);
        let number = story.hand_over(&answer);
        let once = story.life.clone();
        story.answer(number, &answer);
        let mut twice = story.life.clone();
        twice.attempts[0].changed = once.attempts[0].changed;
        assert_eq!(twice, once, "{answer:?}");
    }
}

#[test]
fn a_message_that_waits_for_its_time_is_scheduled_and_then_sent() {
    let mut story = Story::alone();
    let at = story.now + Duration::from_mins(1);
    story.life.send_at = Some(at);
    story.life.send = Some(HandOver { due: at, ..story.came_from });
    story.life.tick(story.now);
    assert_eq!(story.at(), (MessageStatus::Scheduled, false));
    assert_eq!(story.try_start(), None);
    story.tick_after(60);
    assert_eq!(story.at(), (MessageStatus::Queued, false));
    story.start();
    assert_eq!(story.at(), (MessageStatus::Sending, false));
}

fn known_fault() -> Answer {
    let fault = verdict(NeutralStatus::Failed, Some(ErrorCode::InsufficientBalance));
    Answer { found_again: true, ..answer(fault) }
}

#[test]
fn a_message_that_only_met_a_known_fault_waits_on_where_it_has_nowhere_else_to_go() {
    let mut story = Story::alone();
    story.life.expires_at = story.now + Duration::from_hours(24);
    for _ in 0..20 {
        story.hand_over(&known_fault());
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(0)));
    }
    assert_eq!(story.life.send.unwrap().tries, 0, "none of them is counted");
    story.hand_over(&Answer { found_again: false, ..known_fault() });
    assert_eq!(story.at(), (MessageStatus::Failed, true));
}

#[test]
fn a_message_that_met_a_known_fault_goes_on_at_once_where_it_can() {
    let mut story = Story::with(Failover::OnRejection);
    story.hand_over(&known_fault());
    assert_eq!((story.waits_for(), story.wait()), (Some(1), Duration::ZERO));
}

#[test]
fn a_message_that_found_a_dead_provider_still_dead_goes_on_where_it_can() {
    let mut story = Story::with(Failover::OnRejection);
    story.hand_over(&Answer { not_connected: true, ..known_fault() });
    assert_eq!(story.waits_for(), Some(1));
}

/// The gateway panics while it prepares the message.
fn panics(story: &mut Story) {
    story.now = story.now.max(story.life.send.unwrap().due);
    story.life.preparation_panicked(AttemptId(Uuid::from_u128(1)), CallId(Uuid::from_u128(2)), story.now);
}

#[test]
fn a_message_that_cannot_be_prepared_three_times_fails_with_an_internal_error() {
    let mut story = Story::with(Failover::OnUndelivered);
    for tried in 1..=2 {
        panics(&mut story);
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(0)), "{tried}");
        assert!(story.wait() >= Duration::from_secs(1), "not at once");
    }
    panics(&mut story);
    assert_eq!((story.at(), story.error()), ((MessageStatus::Failed, true), Some(ErrorCode::InternalError)));
    assert_eq!(story.life.attempts.len(), 3);
}

#[test]
fn what_went_wrong_before_does_not_count_as_a_fault_of_our_own() {
    let mut story = Story::alone();
    for _ in 0..3 {
        story.hand_over(&busy());
    }
    panics(&mut story);
    assert_eq!(story.at(), (MessageStatus::Queued, false));
    story.hand_over(&taken());
    assert_eq!(story.at(), (MessageStatus::Sent, false));
}

#[test]
fn a_message_that_cannot_be_prepared_for_its_next_step_stays_what_its_first_attempt_made_it() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.hand_over(&unclear());
    story.tick_after(45);
    (0..3).for_each(|_| panics(&mut story));
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
}
