//! When a message goes on to the next step: refusals, losses, providers that are not there.

use super::*;

const MODES: [Failover; 3] = [Failover::Never, Failover::OnRejection, Failover::OnUndelivered];

/// Does a code let a message of this class go on?
fn code_allows(allowed: FailoverAllowed, category: Category) -> bool {
    match allowed {
        FailoverAllowed::Yes => true,
        FailoverAllowed::OtpOnly => category == Category::Otp,
        FailoverAllowed::No => false,
    }
}

fn each_case(mut check: impl FnMut(Story, FailoverAllowed, &str)) {
    for mode in MODES {
        for allowed in [FailoverAllowed::Yes, FailoverAllowed::OtpOnly, FailoverAllowed::No] {
            for category in [Category::Otp, Category::Transactional, Category::Marketing] {
                let mut story = Story::with(mode);
                story.life.category = category;
                check(story, allowed, &format!("{mode:?}, {allowed:?}, {category:?}"));
            }
        }
    }
}

#[test]
fn after_a_refusal_the_route_and_the_code_and_the_class_must_all_allow_the_next_step() {
    each_case(|mut story, allowed, case| {
        let goes_on = story.life.plan.failover != Failover::Never && code_allows(allowed, story.life.category);
        story.hand_over(&refused(allowed));
        let expected = if goes_on { (MessageStatus::Queued, false) } else { (MessageStatus::Failed, true) };
        assert_eq!((story.at(), story.waits_for()), (expected, goes_on.then_some(1)), "{case}");
    });
}

#[test]
fn after_a_loss_the_route_must_say_on_undelivered_and_the_code_and_the_class_must_allow_it() {
    each_case(|mut story, allowed, case| {
        let goes_on = story.life.plan.failover == Failover::OnUndelivered && code_allows(allowed, story.life.category);
        let number = story.hand_over(&taken());
        let lost = report(NeutralStatus::Undelivered);
        let lost = Report { verdict: Verdict { failover: allowed, ..lost.verdict }, ..lost };
        assert_eq!(story.report(number, &lost), Absorbed::Applied);
        let expected = if goes_on { (MessageStatus::Queued, false) } else { (MessageStatus::Undelivered, true) };
        assert_eq!((story.at(), story.waits_for()), (expected, goes_on.then_some(1)), "{case}");
    });
}

#[test]
fn after_a_loss_that_comes_when_the_validity_is_over_nothing_follows() {
    let mut story = Story::with(Failover::OnUndelivered);
    let number = story.hand_over(&taken());
    story.now = story.life.expires_at;
    story.report(number, &report(NeutralStatus::Undelivered));
    assert_eq!(story.at(), (MessageStatus::Undelivered, true));
}

#[test]
fn a_refusal_after_a_loss_leaves_the_message_undelivered() {
    let mut story = Story::with(Failover::OnUndelivered);
    let first = story.hand_over(&taken());
    story.report(first, &report(NeutralStatus::Undelivered));
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert_eq!(story.at(), (MessageStatus::Undelivered, true));
    assert_eq!(story.error(), Some(ErrorCode::RecipientUnreachable));
}

#[test]
fn a_provider_that_is_not_there_is_passed_over_for_the_next() {
    let mut story = Story::with(Failover::OnRejection);
    assert!(story.life.step_unavailable("the provider is paused", story.now));
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Queued, false), Some(1)));
    assert!(story.life.attempts.is_empty());
    assert_eq!(story.life.decisions[0].kind, DecisionKind::StepPassedOver);
    assert!(!story.life.step_unavailable("the provider is paused", story.now), "nothing is left after the last step");
    assert_eq!(story.waits_for(), Some(1));
}

#[test]
fn a_route_that_never_goes_on_waits_for_a_provider_that_is_not_there() {
    let mut story = Story::with(Failover::Never);
    assert!(!story.life.step_unavailable("the provider is paused", story.now));
    assert_eq!(story.waits_for(), Some(0));
    story.validity_ends();
    assert_eq!(story.at(), (MessageStatus::Expired, true));
}

#[test]
fn a_route_that_never_goes_on_has_no_next_step_whatever_its_steps() {
    let life = Story::of(Plan { failover: Failover::Never, ..plan(&[None, None]) }).life;
    assert!(!life.has_next_step());
}

#[test]
fn a_step_that_was_used_or_passed_over_is_not_gone_back_to() {
    let mut story = Story::of(plan(&[None, None, None]));
    story.hand_over(&refused(FailoverAllowed::Yes));
    assert!(story.life.has_next_step());
    assert!(story.life.step_unavailable("the provider is paused", story.now));
    story.hand_over(&refused(FailoverAllowed::Yes));
    let steps: Vec<u16> = story.life.attempts.iter().map(|attempt| attempt.step).collect();
    assert_eq!(steps, [0, 2]);
    assert_eq!(story.at(), (MessageStatus::Failed, true));
}

#[test]
fn the_latest_hand_over_decides_whether_a_loss_leads_on() {
    // The second step began because the first was silent.
    let begun = || {
        let mut story = Story::of(Plan { failover: Failover::OnUndelivered, ..plan(&[None, Some(45), None]) });
        let first = story.hand_over(&taken());
        story.tick_after(45);
        let second = story.hand_over(&taken());
        (story, first, second)
    };
    let lost = report(NeutralStatus::Undelivered);

    let (mut story, first, second) = begun();
    story.report(first, &lost);
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Sent, false), None), "the second is still open");
    story.report(second, &lost);
    assert_eq!(story.waits_for(), Some(2));

    let (mut story, first, second) = begun();
    story.report(second, &lost);
    assert_eq!(story.waits_for(), Some(2), "the first was given up already");
    story.report(first, &lost);
    assert_eq!(story.waits_for(), Some(2));
}

#[test]
fn a_loss_of_an_earlier_attempt_does_not_lead_on_while_a_later_hand_over_is_unclear() {
    let mut story = Story::of(Plan { failover: Failover::OnUndelivered, ..plan(&[None, Some(45), None]) });
    let first = story.hand_over(&taken());
    story.tick_after(45);
    story.hand_over(&unclear());
    story.report(first, &report(NeutralStatus::Undelivered));
    assert_eq!((story.at(), story.waits_for()), ((MessageStatus::Unknown, false), None));
}
