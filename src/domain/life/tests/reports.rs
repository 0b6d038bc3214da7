//! Delivery reports: early, late, doubled, in parts, about earlier attempts.

use super::*;

const LOST: [(NeutralStatus, MessageStatus); 3] = [
    (NeutralStatus::Undelivered, MessageStatus::Undelivered),
    (NeutralStatus::Failed, MessageStatus::Undelivered),
    (NeutralStatus::Expired, MessageStatus::Expired),
];

/// The second hand-over waits, or is being made, since the first was lost.
fn on_the_second_step(begun: bool) -> Story {
    let mut story = Story::with(Failover::OnUndelivered);
    let first = story.hand_over(&taken());
    story.report(first, &report(NeutralStatus::Undelivered));
    if begun {
        story.start();
    }
    story
}

#[test]
fn a_report_ends_a_sent_message_with_what_it_says() {
    for (said, status) in LOST.into_iter().chain([(NeutralStatus::Delivered, MessageStatus::Delivered)]) {
        let mut story = Story::alone();
        let number = story.hand_over(&taken());
        assert_eq!(story.report(number, &report(said)), Absorbed::Applied);
        assert_eq!(story.at(), (status, true), "{said:?}");
        let attempt = story.attempt(number);
        assert_eq!((attempt.completed_at, attempt.evidence_until), (Some(story.now), None));
        let code = story.life.error.as_ref().and_then(|cause| cause.provider_code.clone());
        assert_eq!(code, (said != NeutralStatus::Delivered).then(|| format!("{said:?}")));
    }
}

#[test]
fn a_report_that_nothing_is_known_leaves_the_window_open() {
    let mut story = Story::alone();
    let number = story.hand_over(&taken());
    story.report(number, &report(NeutralStatus::Unknown));
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    story.report(number, &report(NeutralStatus::Delivered));
    assert_eq!(story.at(), (MessageStatus::Delivered, true));
}

#[test]
fn the_same_report_again_changes_nothing() {
    let every = [NeutralStatus::Sent, NeutralStatus::Delivered, NeutralStatus::Undelivered, NeutralStatus::Unknown];
    for status in every {
        for report in [report(status), part(status, 1, 2)] {
            let report = Report { price: Some("0.05".into()), ..report };
            let mut story = Story::with(Failover::OnUndelivered);
            let number = story.hand_over(&taken());
            story.report(number, &report);
            story.life.attempts[0].changed = Changed::No;
            let once = story.life.clone();
            assert_eq!(story.report(number, &report), Absorbed::Ignored, "{report:?}");
            assert_eq!(story.life, once, "nothing is to be written either: {report:?}");
        }
    }
}

#[test]
fn a_report_about_no_attempt_is_ignored() {
    let mut story = Story::alone();
    story.hand_over(&taken());
    assert_eq!(story.report(9, &report(NeutralStatus::Delivered)), Absorbed::Ignored);
    assert_eq!(story.at(), (MessageStatus::Sent, false));
}

#[test]
fn a_report_that_it_was_accepted_decides_nothing_but_is_noted() {
    let mut story = Story::alone();
    let number = story.hand_over(&Answer { provider_message_id: None, ..taken() });
    let target = ReportTarget { provider_message_id: Some("native".into()), ..ReportTarget::default() };
    let accepted = Report { target, ..report(NeutralStatus::Sent) };
    assert_eq!(story.report(number, &accepted), Absorbed::Applied);
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    assert_eq!(story.attempt(number).provider_message_id.as_deref(), Some("native"));
}

#[test]
fn a_report_may_come_before_the_answer() {
    for (said, status) in LOST.into_iter().chain([(NeutralStatus::Delivered, MessageStatus::Delivered)]) {
        for late in [taken(), unclear()] {
            let mut story = Story::alone();
            let number = story.start();
            story.report(number, &report(said));
            assert_eq!(story.at(), (status, true));
            story.answer(number, &Answer { provider_message_id: Some("late".into()), ..late });
            assert_eq!(story.at(), (status, true));
            assert_eq!(story.attempt(number).provider_message_id.as_deref(), Some("late"));
        }
    }
}

#[test]
fn a_report_that_nothing_is_known_waits_for_the_answer_which_opens_the_window() {
    let mut story = Story::alone();
    let number = story.start();
    assert_eq!(story.report(number, &report(NeutralStatus::Unknown)), Absorbed::BeforeAnswer);
    assert_eq!(story.at(), (MessageStatus::Sending, false));
    story.answer(number, &taken());
    assert_eq!(story.at(), (MessageStatus::Sent, false));
    assert_eq!(story.report(number, &report(NeutralStatus::Unknown)), Absorbed::Applied);
    assert_eq!(story.at(), (MessageStatus::Unknown, false));
    story.report(number, &report(NeutralStatus::Delivered));
    assert_eq!(story.at(), (MessageStatus::Delivered, true));
}

#[test]
fn a_report_before_a_lost_answer_shows_that_the_provider_has_it() {
    let target = ReportTarget { provider_message_id: Some("native".into()), ..ReportTarget::default() };
    let accepted = Report { target, ..report(NeutralStatus::Sent) };
    for lease in [false, true] {
        let mut story = Story::alone().on_unknown(OnUnknown::Resend);
        let number = story.start();
        story.report(number, &accepted);
        if lease {
            story.lease_runs_out();
        } else {
            story.answer(number, &unclear());
        }
        assert_eq!(
            (story.at(), story.error()),
            ((MessageStatus::Unknown, false), Some(ErrorCode::DeliveryUnconfirmed))
        );
        story.tick_after(15);
        assert_eq!(story.waits_for(), None);
    }
}

#[test]
fn a_delivery_of_an_earlier_attempt_delivers_a_message_that_waits_for_its_next_step() {
    let mut silent = Story::of(plan(&[None, Some(45)]));
    silent.hand_over(&taken());
    silent.tick_after(45);
    for mut story in [silent, on_the_second_step(false)] {
        assert_eq!(story.at(), (MessageStatus::Queued, false));
        assert_eq!(story.report(1, &report(NeutralStatus::Delivered)), Absorbed::Applied);
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Delivered, true), None));
    }
}

#[test]
fn a_delivery_of_an_earlier_attempt_delivers_a_message_that_is_being_sent_whatever_the_answer() {
    for answer in [taken(), busy(), refused(FailoverAllowed::Yes), unclear()] {
        let mut story = on_the_second_step(true);
        story.report(1, &report(NeutralStatus::Delivered));
        assert_eq!(story.at(), (MessageStatus::Delivered, true));
        let at = story.life.completed_at;
        story.later(1);
        story.answer(2, &answer);
        assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Delivered, true), None));
        assert_eq!(story.life.completed_at, at);
    }
}

#[test]
fn a_loss_of_an_earlier_attempt_changes_nothing_while_a_later_one_is_being_sent() {
    let mut story = Story::of(Plan { failover: Failover::OnUndelivered, ..plan(&[None, Some(45), None]) });
    let first = story.hand_over(&taken());
    story.tick_after(45);
    story.start();
    story.report(first, &report(NeutralStatus::Undelivered));
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Sending, false), None));
}

#[test]
fn a_report_about_another_attempt_after_the_end_is_recorded_with_that_attempt_only() {
    let mut story = Story::of(plan(&[None, Some(45)]));
    story.hand_over(&taken());
    story.tick_after(45);
    story.hand_over(&taken());
    story.report(1, &report(NeutralStatus::Delivered));
    assert_eq!(story.report(2, &report(NeutralStatus::Undelivered)), Absorbed::Ignored);
    assert_eq!(story.attempt(2).status, AttemptStatus::Undelivered);
    assert_eq!((story.at(), story.life.error.clone()), ((MessageStatus::Delivered, true), None));
}

#[test]
fn a_final_status_is_not_changed_by_a_report_that_says_otherwise() {
    let ends = [NeutralStatus::Delivered, NeutralStatus::Undelivered, NeutralStatus::Expired];
    for first in ends {
        for second in ends {
            let mut story = Story::alone();
            let number = story.hand_over(&taken());
            story.report(number, &report(first));
            let end = story.life.clone();
            assert_eq!(story.report(number, &report(second)), Absorbed::Ignored);
            assert_eq!(story.life, end, "{first:?}, then {second:?}");
        }
    }
}

#[test]
fn a_carrier_that_delivered_knows_better_than_the_refusal() {
    let refused_once = || {
        let mut story = Story::with(Failover::OnRejection);
        story.hand_over(&refused(FailoverAllowed::Yes));
        story
    };
    let mut story = refused_once();
    assert_eq!(story.report(1, &part(NeutralStatus::Delivered, 1, 2)), Absorbed::Applied);
    assert_eq!(story.at(), (MessageStatus::Queued, false), "one part of two is not all");
    story.report(1, &part(NeutralStatus::Delivered, 2, 2));
    assert_eq!(story.at(), (MessageStatus::Delivered, true));
    let mut story = refused_once();
    story.report(1, &report(NeutralStatus::Undelivered));
    assert_eq!(story.attempt(1).status, AttemptStatus::Failed, "anything less is noise");
}

#[test]
fn a_long_message_is_delivered_when_every_part_is() {
    let mut story = Story::alone();
    let number = story.hand_over(&taken());
    for (index, seen) in [3, 1, 3, 1].into_iter().enumerate() {
        let first_time = index < 2;
        let expected = if first_time { Absorbed::Applied } else { Absorbed::Ignored };
        assert_eq!(story.report(number, &part(NeutralStatus::Delivered, seen, 3)), expected);
        assert_eq!(story.at(), (MessageStatus::Sent, false));
    }
    story.report(number, &part(NeutralStatus::Delivered, 2, 3));
    assert_eq!(story.at(), (MessageStatus::Delivered, true));
    assert_eq!(story.attempt(number).segments, Some(3));
}

#[test]
fn the_first_negative_part_decides() {
    let mut story = Story::alone();
    let number = story.hand_over(&taken());
    story.report(number, &part(NeutralStatus::Delivered, 1, 3));
    story.report(number, &part(NeutralStatus::Undelivered, 2, 3));
    assert_eq!(story.at(), (MessageStatus::Undelivered, true));
    story.report(number, &part(NeutralStatus::Delivered, 3, 3));
    assert_eq!(story.at(), (MessageStatus::Undelivered, true));
}

#[test]
fn part_numbers_that_make_no_sense_do_not_lose_a_delivery() {
    for (number, of) in [(0, 0), (0, 1), (2, 1)] {
        let mut story = Story::alone();
        story.hand_over(&taken());
        story.report(1, &part(NeutralStatus::Delivered, number, of));
        assert_eq!(story.at(), (MessageStatus::Delivered, true), "part {number} of {of}");
    }
    let mut story = Story::alone();
    story.hand_over(&taken());
    story.report(1, &part(NeutralStatus::Delivered, 7, 2));
    assert_eq!((story.at(), story.attempt(1).parts_delivered.len()), ((MessageStatus::Sent, false), 0));
}

#[test]
fn the_price_and_the_segments_of_a_report_are_kept() {
    let mut story = Story::alone();
    let number = story.hand_over(&taken());
    let delivered = Report { price: Some("0.05".into()), segments: Some(2), ..report(NeutralStatus::Delivered) };
    story.report(number, &delivered);
    let attempt = story.attempt(number);
    assert_eq!((attempt.price.as_deref(), attempt.segments), (Some("0.05"), Some(2)));
}
