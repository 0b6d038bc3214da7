//! Unclear outcomes: what may follow them, and what settles them.

use super::*;

fn resending() -> Story {
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.hand_over(&unclear());
    story
}

#[test]
fn an_unclear_message_is_held_until_its_window_closes() {
    let mut story = Story::with(Failover::OnUndelivered);
    story.hand_over(&unclear());
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    assert_eq!(story.error(), Some(ErrorCode::SubmissionUnconfirmed));
    for _ in 0..10 {
        story.tick_after(WINDOW.as_secs() / 11);
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None));
    }
    story.tick_after(WINDOW.as_secs());
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
}

#[test]
fn an_unclear_message_is_final_at_once_when_no_evidence_can_come() {
    let no_id = {
        let verdict = verdict(NeutralStatus::Unknown, Some(ErrorCode::DeliveryUnconfirmed));
        answer(verdict)
    };
    let mut story = Story::alone();
    story.evidence = EvidenceRule { window: WINDOW, first_poll: Some(Duration::from_secs(5)), without_id: false };
    let number = story.hand_over(&no_id);
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
    assert_eq!((story.attempt(number).evidence_until, story.attempt(number).next_poll_at), (None, None));
}

#[test]
fn an_unclear_message_with_an_id_is_asked_about() {
    let mut story = Story::alone();
    story.evidence = EvidenceRule { window: WINDOW, first_poll: Some(Duration::from_secs(5)), without_id: false };
    story.hand_over(&Answer { provider_message_id: Some("native".into()), ..unclear() });
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    story.later(5);
    assert!(story.life.due_poll(story.now).is_some());
}

#[test]
fn a_late_report_settles_an_unknown_even_after_it_became_final() {
    let cases = [
        (NeutralStatus::Delivered, MessageStatus::Delivered),
        (NeutralStatus::Undelivered, MessageStatus::Undelivered),
        (NeutralStatus::Expired, MessageStatus::Expired),
    ];
    for (said, status) in cases {
        let mut story = Story::alone();
        let number = story.hand_over(&unclear());
        story.tick_after(WINDOW.as_secs());
        assert_eq!(story.at(), (MessageStatus::Unknown, true));
        assert_eq!(story.report(number, &report(said)), Absorbed::Applied);
        assert_eq!(story.at(), (status, true));
    }
}

#[test]
fn a_loss_that_is_reported_when_an_unknown_is_final_leads_nowhere() {
    let mut story = Story::with(Failover::OnUndelivered);
    story.evidence.window = Duration::from_mins(1);
    let number = story.hand_over(&unclear());
    story.tick_after(60);
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
    story.report(number, &report(NeutralStatus::Undelivered));
    assert!(story.now < story.life.expires_at, "it is not the validity that forbids it");
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Undelivered, true), None));
}

#[test]
fn a_loss_reported_while_an_unknown_is_open_leads_on_where_the_route_says_so() {
    let mut story = Story::with(Failover::OnUndelivered);
    let number = story.hand_over(&unclear());
    story.report(number, &report(NeutralStatus::Undelivered));
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(1)));
}

#[test]
fn a_route_that_says_resend_hands_over_once_more_after_15_seconds() {
    let mut story = resending();
    assert_eq!(story.life.next_timer(story.now), Some(story.now + RESEND_AFTER));
    story.tick_after(14);
    assert_eq!((story.waits_for(), story.life.possible_duplicate), (None, false));
    story.tick_after(1);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(0)));
    assert!(story.life.possible_duplicate);
    assert_eq!(story.life.decisions.last().unwrap().kind, DecisionKind::Resend);
    story.hand_over(&unclear());
    story.tick_after(60);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None), "once is enough");
}

#[test]
fn a_resend_comes_even_where_no_evidence_can() {
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.evidence.without_id = false;
    story.hand_over(&unclear());
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    story.tick_after(15);
    assert_eq!(story.waits_for(), Some(0));
    story.hand_over(&unclear());
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
}

#[test]
fn a_resend_does_not_come_when_the_validity_ends_first() {
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.life.expires_at = story.now + Duration::from_secs(10);
    story.evidence.without_id = false;
    story.hand_over(&unclear());
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
    story.tick_after(15);
    assert_eq!((story.waits_for(), story.life.possible_duplicate), (None, false));
}

#[test]
fn an_outcome_that_says_it_was_taken_is_no_reason_to_hand_over_again() {
    let taken_without_id = answer(verdict(NeutralStatus::Unknown, Some(ErrorCode::DeliveryUnconfirmed)));
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.hand_over(&taken_without_id);
    story.tick_after(15);
    assert_eq!(story.waits_for(), None);
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.hand_over(&taken());
    story.tick_after(WINDOW.as_secs());
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, true), None));
}

#[test]
fn evidence_that_the_provider_has_it_prevents_a_resend() {
    let cases = [report(NeutralStatus::Sent), report(NeutralStatus::Unknown), part(NeutralStatus::Delivered, 1, 2)];
    for evidence in cases {
        let mut story = resending();
        story.later(5);
        assert_eq!(story.report(1, &evidence), Absorbed::Applied);
        assert_eq!(story.at(), (MessageStatus::Unknown, false));
        assert_eq!(story.error(), Some(ErrorCode::DeliveryUnconfirmed), "the hand-over is clear by now");
        story.tick_after(10);
        assert_eq!(story.waits_for(), None, "{evidence:?}");
    }
}

#[test]
fn evidence_withdraws_a_resend_that_has_not_begun() {
    let waiting = || {
        let mut story = resending();
        story.tick_after(15);
        assert_eq!(story.waits_for(), Some(0));
        story
    };
    let cases = [
        (NeutralStatus::Sent, (MessageStatus::Unknown, false)),
        (NeutralStatus::Unknown, (MessageStatus::Unknown, false)),
        (NeutralStatus::Undelivered, (MessageStatus::Undelivered, true)),
        (NeutralStatus::Delivered, (MessageStatus::Delivered, true)),
    ];
    for (said, expected) in cases {
        let mut story = waiting();
        story.report(1, &report(said));
        assert_eq!((story.at(), story.waits_for()), (expected, None), "{said:?}");
        assert!(!story.life.possible_duplicate, "{said:?}");
    }
    let mut story = waiting();
    story.life.plan = plan(&[None, None]);
    assert!(story.life.step_unavailable("the provider is paused", story.now));
    story.report(1, &report(NeutralStatus::Sent));
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None), "passed over in between");
    let mut story = waiting();
    story.answer(1, &taken());
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None), "a late answer");
}

#[test]
fn a_refused_later_attempt_does_not_end_a_message_with_an_unclear_one() {
    let mut story = resending();
    story.tick_after(15);
    story.hand_over(&refused(FailoverAllowed::No));
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    assert_eq!(story.report(1, &report(NeutralStatus::Delivered)), Absorbed::Applied);
    assert_eq!(story.at(), (MessageStatus::Delivered, true));
}

#[test]
fn a_refused_later_attempt_does_not_end_a_message_with_an_open_one() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.hand_over(&taken());
    story.tick_after(45);
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    story.tick_after(WINDOW.as_secs());
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
}

#[test]
fn a_next_step_after_an_unclear_hand_over_may_be_a_duplicate() {
    for (answer, possible) in [(unclear(), true), (taken(), false)] {
        let mut story = Story::of(plan(&[None, Some(45)]));
        story.hand_over(&answer);
        story.tick_after(45);
        assert_eq!((story.waits_for(), story.life.possible_duplicate), (Some(1), false), "it has not begun");
        story.start();
        assert_eq!(story.life.possible_duplicate, possible);
    }
}

#[test]
fn a_lease_that_runs_out_leaves_the_message_unknown() {
    let mut story = Story::with(Failover::OnUndelivered);
    let number = story.start();
    story.later(30);
    story.lease_runs_out();
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    assert_eq!(story.error(), Some(ErrorCode::SubmissionUnconfirmed));
    assert_eq!(story.attempt(number).answered_at, Some(story.now));
    assert_eq!(story.attempt(number).evidence_until, Some(story.now + WINDOW));
}

#[test]
fn a_lease_that_runs_out_where_no_evidence_can_come_is_the_end() {
    let mut story = Story::alone();
    story.evidence.without_id = false;
    story.start();
    story.later(30);
    story.lease_runs_out();
    assert_eq!(story.at(), (MessageStatus::Unknown, true));
}

#[test]
fn the_15_seconds_of_a_resend_begin_when_the_lease_has_run_out() {
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    story.start();
    story.later(30);
    story.lease_runs_out();
    story.tick_after(14);
    assert_eq!(story.waits_for(), None);
    story.tick_after(1);
    assert_eq!(story.waits_for(), Some(0));
}

#[test]
fn an_answer_after_the_lease_ran_out_leaves_only_its_id() {
    for answer in [taken(), busy(), refused(FailoverAllowed::Yes), unclear()] {
        let mut story = Story::with(Failover::OnRejection);
        let number = story.start();
        story.later(30);
        story.lease_runs_out();
        story.answer(number, &Answer { provider_message_id: Some("late".into()), ..answer });
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None));
        assert_eq!(story.attempt(number).provider_message_id.as_deref(), Some("late"));
    }
}

#[test]
fn what_the_provider_forbids_to_repeat_is_not_handed_over_again_though_the_route_says_so() {
    let mut story = Story::alone().on_unknown(OnUnknown::Resend);
    let forbidden = Verdict { resend_allowed: false, ..unclear().verdict };
    story.hand_over(&Answer { verdict: forbidden, ..unclear() });
    story.tick_after(16);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None));
    assert!(!story.life.possible_duplicate);
}
