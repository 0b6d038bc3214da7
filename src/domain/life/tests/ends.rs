//! Ends that no provider decides: cancel, validity. And that an end stays one.

use super::*;

#[test]
fn what_no_provider_has_can_be_canceled() {
    for (what, begun) in [("never handed over", None), ("refused for now", Some(busy()))] {
        let mut story = Story::alone();
        if let Some(answer) = begun {
            story.hand_over(&answer);
        }
        assert!(story.life.cancel(story.now), "{what}");
        assert_eq!(story.at(), (MessageStatus::Canceled, true), "{what}");
        assert_eq!((story.waits_for(), story.life.error.clone()), (None, None), "{what}");
        let decisions = story.life.decisions.len();
        assert!(story.life.cancel(story.now), "repeating it is harmless");
        assert_eq!(story.life.decisions.len(), decisions);
    }
}

#[test]
fn a_scheduled_message_can_be_canceled() {
    let mut story = Story::alone();
    let at = story.now + Duration::from_mins(1);
    story.life.send_at = Some(at);
    story.life.send = Some(HandOver { due: at, ..story.came_from });
    assert!(story.life.cancel(story.now));
    assert_eq!(story.at(), (MessageStatus::Canceled, true));
}

#[test]
fn what_a_provider_has_or_may_have_cannot_be_canceled() {
    let sending = {
        let mut story = Story::alone();
        story.start();
        story
    };
    let after = |answer: &Answer| {
        let mut story = Story::alone();
        story.hand_over(answer);
        story
    };
    let waits_after_silence = {
        let mut story = Story::of(plan(&[None, Some(45)]));
        story.hand_over(&taken());
        story.tick_after(45);
        assert_eq!(story.at(), (MessageStatus::Queued, false));
        story
    };
    let waits_after_doubt = {
        let mut story = Story::alone().on_unknown(OnUnknown::Resend);
        story.hand_over(&unclear());
        story.tick_after(15);
        assert_eq!(story.at(), (MessageStatus::Queued, false));
        story
    };
    let cases = [sending, after(&taken()), after(&unclear()), waits_after_silence, waits_after_doubt];
    for mut story in cases {
        let before = story.clone();
        assert!(!story.life.cancel(story.now));
        assert_eq!(story.life, before.life);
    }
}

#[test]
fn a_message_that_failed_cannot_be_canceled() {
    let mut story = Story::alone();
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert!(!story.life.cancel(story.now));
    assert_eq!(story.at(), (MessageStatus::Failed, true));
}

#[test]
fn a_message_that_no_provider_took_in_time_is_expired_with_the_last_code() {
    let mut story = Story::alone();
    story.hand_over(&Answer { provider_code: Some("E2".into()), ..busy() });
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Expired, true));
    let error = story.life.error.unwrap();
    assert_eq!((error.code, error.retryable, error.provider_code.as_deref()), (ErrorCode::Expired, true, Some("E2")));
}

#[test]
fn the_validity_ends_only_what_waits_and_not_before_its_time() {
    let mut story = Story::alone();
    story.life.validity_over(story.now);
    assert_eq!(story.at(), (MessageStatus::Queued, false), "not before its time");
    story.start();
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Sending, false), "a call is being made");
    story.answer(1, &taken());
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Sent, false), "a provider has it");
}

#[test]
fn when_the_validity_ends_before_the_next_step_the_earlier_attempts_say_how_it_stands() {
    let mut silent = Story::of(plan(&[None, Some(45)]));
    silent.hand_over(&taken());
    silent.tick_after(45);

    let mut doubtful = Story::of(plan(&[None, Some(45)]));
    doubtful.hand_over(&unclear());
    doubtful.tick_after(45);

    let mut lost = Story::with(Failover::OnUndelivered);
    let number = lost.hand_over(&taken());
    lost.report(number, &report(NeutralStatus::Undelivered));

    let cases = [
        (silent, (MessageStatus::Sent, false)),
        (doubtful, (MessageStatus::Unknown, false)),
        (lost, (MessageStatus::Undelivered, true)),
    ];
    for (mut story, expected) in cases {
        assert_eq!(story.at(), (MessageStatus::Queued, false));
        story.validity_ends();
        assert_eq!(story.at(), expected);
        assert_eq!(story.waits_for(), None);
    }
}

#[test]
fn an_end_stays_whatever_comes_late() {
    let canceled = {
        let mut story = Story::alone();
        story.hand_over(&busy());
        story.life.cancel(story.now);
        story
    };
    let expired = {
        let mut story = Story::alone();
        story.hand_over(&busy());
        story.validity_ends();
        story
    };
    let failed = {
        let mut story = Story::alone();
        story.hand_over(&refused(FailoverAllowed::Yes));
        story
    };
    for mut story in [canceled, expired, failed] {
        let (end, at) = (story.life.status, story.life.completed_at);
        story.later(1);
        story.answer(1, &refused(FailoverAllowed::Yes));
        story.lease_runs_out();
        story.life.tick(story.now);
        story.validity_ends();
        assert_eq!(story.report(1, &report(NeutralStatus::Delivered)), Absorbed::Ignored);
        assert_eq!((story.life.status, story.life.completed_at), (end, at));
    }
}

#[test]
fn a_message_born_failed_keeps_its_cause() {
    let mut story = Story::alone();
    story.life.status = MessageStatus::Failed;
    story.life.send = None;
    story.life.completed_at = Some(story.now);
    story.life.error = Some(Cause::own(ErrorCode::DuplicateMessage, false));
    story.tick_after(60);
    story.lease_runs_out();
    assert_eq!(story.at(), (MessageStatus::Failed, true));
    assert_eq!(story.error(), Some(ErrorCode::DuplicateMessage));
}

#[test]
fn a_message_that_the_gateway_gives_up_fails_where_nobody_has_it() {
    let mut story = Story::with(Failover::OnRejection);
    story.life.give_up(story.now);
    assert_eq!((story.at(), story.error()), ((MessageStatus::Failed, true), Some(ErrorCode::InternalError)));
}

#[test]
fn a_message_that_the_gateway_gives_up_is_unknown_where_a_provider_has_it_or_may_have_it() {
    type Begin = fn(&mut Story) -> u16;
    let sending = |story: &mut Story| story.start();
    let sent = |story: &mut Story| story.hand_over(&taken());
    let in_doubt = |story: &mut Story| story.hand_over(&unclear());
    let cases: [(Begin, ErrorCode); 3] = [
        (sending, ErrorCode::SubmissionUnconfirmed),
        (sent, ErrorCode::DeliveryUnconfirmed),
        (in_doubt, ErrorCode::SubmissionUnconfirmed),
    ];
    for (begin, error) in cases {
        let mut story = Story::of(plan(&[None, Some(45)])).on_unknown(OnUnknown::Resend);
        let number = begin(&mut story);
        story.life.give_up(story.now);
        assert_eq!((story.at(), story.error()), ((MessageStatus::Unknown, true), Some(error)));
        assert_eq!(story.waits_for(), None);
        story.report(number, &report(NeutralStatus::Delivered));
        assert_eq!(story.at(), (MessageStatus::Delivered, true), "a late report still counts");
    }
}
