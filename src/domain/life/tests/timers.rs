//! What time brings: windows that close, polls, and steps that wait their seconds.

use super::*;

#[test]
fn without_a_report_in_its_window_a_sent_message_is_unknown_for_good() {
    let mut story = Story::alone();
    story.hand_over(&taken());
    assert_eq!(story.life.next_timer(story.now), Some(story.now + WINDOW));
    story.tick_after(WINDOW.as_secs() - 1);
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    story.tick_after(1);
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
    assert_eq!(story.error(), Some(ErrorCode::DeliveryUnconfirmed));
}

#[test]
fn each_wait_between_polls_is_one_and_a_half_times_the_last() {
    let first = Duration::from_secs(4);
    let mut story = Story::alone();
    story.evidence.first_poll = Some(first);
    let number = story.hand_over(&taken());
    for wait in [4.0, 6.0, 9.0, 13.5, 20.25] {
        assert!(story.life.due_poll(story.now).is_none(), "not before {wait} s");
        assert_eq!(story.life.next_timer(story.now), Some(story.now + Duration::from_secs_f64(wait)));
        story.now += Duration::from_secs_f64(wait);
        assert_eq!(story.life.due_poll(story.now).map(|attempt| attempt.number), Some(number));
        story.life.polled(number, first, story.now);
    }
    assert_eq!(story.attempt(number).polls, 5);
}

#[test]
fn nobody_is_asked_about_an_attempt_that_is_settled_or_whose_window_has_closed() {
    let polled = || {
        let mut story = Story::alone();
        story.evidence.first_poll = Some(Duration::from_secs(5));
        story.hand_over(&taken());
        story
    };
    let mut settled = polled();
    settled.report(1, &report(NeutralStatus::Delivered));
    let mut over = polled();
    over.tick_after(WINDOW.as_secs());
    for mut story in [settled, over] {
        story.later(WINDOW.as_secs());
        assert!(story.life.due_poll(story.now).is_none());
        story.life.polled(1, Duration::from_secs(5), story.now);
        assert_eq!(story.attempt(1).next_poll_at, None);
    }
}

#[test]
fn a_step_with_after_seconds_begins_when_the_one_before_has_no_final_report_by_then() {
    for (what, answer) in [("sent", taken()), ("unknown", unclear())] {
        let mut story = Story::of(plan(&[None, Some(45)]));
        story.hand_over(&answer);
        assert_eq!(story.life.next_timer(story.now), Some(story.now + Duration::from_secs(45)), "{what}");
        story.tick_after(44);
        assert_eq!(story.waits_for(), None, "{what}");
        story.tick_after(1);
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(1)), "{what}");
        story.hand_over(&taken());
        assert_eq!(story.at(), (MessageStatus::Sent, false), "{what}");
    }
}

#[test]
fn a_step_with_after_seconds_also_begins_when_a_report_said_only_that_nobody_knows() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    let number = story.hand_over(&taken());
    story.report(number, &report(NeutralStatus::Unknown));
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    story.tick_after(45);
    assert_eq!(story.waits_for(), Some(1));
}

#[test]
fn a_step_with_after_seconds_does_not_begin_where_the_route_never_goes_on() {
    let mut story = Story::of(Plan { failover: Failover::Never, ..plan(&[None, Some(45)]) });
    story.hand_over(&taken());
    story.tick_after(46);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Sent, false), None));
}

#[test]
fn a_step_with_after_seconds_does_not_begin_after_a_final_report() {
    for status in [NeutralStatus::Delivered, NeutralStatus::Undelivered, NeutralStatus::Expired] {
        let mut story = Story::of(plan(&[None, Some(45)]));
        let number = story.hand_over(&taken());
        story.report(number, &report(status));
        assert!(story.life.is_final());
        story.tick_after(46);
        assert_eq!(story.waits_for(), None, "{status:?}");
    }
}

#[test]
fn a_step_with_after_seconds_does_not_begin_after_the_validity() {
    let mut late = Story::of(plan(&[None, Some(45)]));
    late.hand_over(&taken());
    late.now = late.life.expires_at;
    late.life.tick(late.now);
    let mut too_long = Story::of(plan(&[None, Some(3000)]));
    too_long.hand_over(&taken());
    too_long.tick_after(3000);
    for story in [late, too_long] {
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Sent, false), None));
    }
}

#[test]
fn an_unclear_message_that_still_has_a_step_to_go_on_to_is_not_final() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.evidence.without_id = false;
    story.hand_over(&unclear());
    assert_eq!(story.at(), (MessageStatus::Unknown, false), "no evidence can come, but the next step will");
    story.tick_after(VALIDITY.as_secs());
    assert_eq!(story.at(), (MessageStatus::Unknown, true), "nobody looked in time");
}

#[test]
fn a_step_with_after_seconds_does_not_wait_for_the_retries_of_the_one_before() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.hand_over(&Answer { retry_after: Some(Duration::from_secs(40)), ..busy() });
    story.hand_over(&Answer { retry_after: Some(Duration::from_secs(40)), ..busy() });
    assert_eq!(story.life.next_timer(story.now), Some(start_of_time() + Duration::from_secs(45)));
    story.tick_after(5);
    assert_eq!((story.waits_for(), story.life.send.unwrap().due), (Some(1), story.now));
}

#[test]
fn a_message_whose_later_step_is_open_keeps_the_windows_of_the_earlier_one() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.hand_over(&taken());
    story.tick_after(45);
    story.hand_over(&taken());
    story.tick_after(WINDOW.as_secs() - 45);
    assert_eq!(story.attempt(1).status, AttemptStatus::Unknown);
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    story.tick_after(45);
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
}

#[test]
fn a_clock_that_goes_back_does_not_revive_a_message() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.evidence.without_id = false;
    story.hand_over(&unclear());
    story.tick_after(VALIDITY.as_secs());
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
    story.now = start_of_time();
    story.tick_after(50);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, true), None));
}

#[test]
fn who_opted_out_gets_no_further_hand_over_whatever_would_lead_to_one() {
    let mut waiting = Story::alone();
    waiting.life.opted_out(waiting.now);
    assert_eq!(waiting.at(), (MessageStatus::Failed, true));
    assert_eq!(waiting.error(), Some(ErrorCode::RecipientOptedOut));
    let mut between = Story::of(plan(&[None, Some(45)]));
    between.hand_over(&taken());
    between.life.opted_out(between.now);
    assert_eq!(between.at(), (MessageStatus::Sent, false), "nothing waits: nothing is stopped");
    between.tick_after(45);
    assert_eq!(between.waits_for(), Some(1));
    between.life.opted_out(between.now);
    assert_eq!(between.at(), (MessageStatus::Sent, false), "what was sent stays");
    between.tick_after(45);
    assert_eq!(between.waits_for(), None, "and it does not come back");
    between.report(1, &report(NeutralStatus::Undelivered));
    assert_eq!(between.at(), (MessageStatus::Undelivered, true));
}

#[test]
fn content_is_kept_only_while_it_may_be_needed_again() {
    let mut last = Story::alone();
    assert!(last.life.needs_content(), "it waits");
    last.hand_over(&taken());
    assert!(!last.life.needs_content(), "nothing follows any more");
    let mut unclear_one = Story::alone();
    unclear_one.hand_over(&unclear());
    assert!(unclear_one.life.needs_content(), "its text may tell which report is about it");
    let mut with_next = Story::of(plan(&[None, Some(45)]));
    with_next.hand_over(&taken());
    assert!(with_next.life.needs_content(), "the next step may be taken");
    with_next.report(1, &report(NeutralStatus::Delivered));
    assert!(!with_next.life.needs_content());
}
