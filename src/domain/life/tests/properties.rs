//! Whatever happens to a message, in whatever order: what always holds.

use proptest::{prelude::*, sample::Index};

use super::*;

/// Something that may happen.
#[derive(Debug, Clone)]
enum Event {
    Start,
    Answer(Box<Answer>),
    /// The hand-over that waits is waited for, begun and answered.
    HandOver(Box<Answer>),
    /// An answer that comes again, or after the lease ran out.
    LateAnswer(Index, Box<Answer>),
    Report(Index, Box<Report>),
    TimePasses(u64),
    LeaseRunsOut,
    ValidityIsLookedAt,
    ProviderIsMissing,
    Cancel,
    Poll,
}

fn any_failover_allowed() -> impl Strategy<Value = FailoverAllowed> {
    prop_oneof![Just(FailoverAllowed::Yes), Just(FailoverAllowed::OtpOnly), Just(FailoverAllowed::No)]
}

fn any_answer() -> impl Strategy<Value = Box<Answer>> {
    let kind = prop_oneof![
        4 => Just(taken()),
        1 => Just(busy()),
        1 => Just(not_connected()),
        4 => Just(unclear()),
        1 => Just(answer(verdict(NeutralStatus::Unknown, Some(ErrorCode::DeliveryUnconfirmed)))),
        2 => any_failover_allowed().prop_map(refused),
        1 => (1_u16..9).prop_map(|limit| Answer { split_to: Some(limit), ..refused(FailoverAllowed::Yes) }),
    ];
    (kind, prop::option::weighted(0.2, 0_u64..300), any::<bool>()).prop_map(|(answer, wait, id)| {
        let provider_message_id = if id { Some("native".to_owned()) } else { answer.provider_message_id.clone() };
        Box::new(Answer { retry_after: wait.map(Duration::from_secs), provider_message_id, ..answer })
    })
}

fn any_report() -> impl Strategy<Value = Box<Report>> {
    // A delivery ends the story, so most reports say something else.
    let status = prop_oneof![
        2 => Just(NeutralStatus::Sent),
        1 => Just(NeutralStatus::Delivered),
        3 => Just(NeutralStatus::Undelivered),
        1 => Just(NeutralStatus::Failed),
        1 => Just(NeutralStatus::Expired),
        2 => Just(NeutralStatus::Unknown),
    ];
    (status, 1_u16..4, 1_u16..4, any_failover_allowed(), any::<bool>()).prop_map(
        |(status, number, of, failover, id)| {
            let mut report = part(status, number, of);
            report.verdict.failover = failover;
            report.target.provider_message_id = id.then(|| "native".to_owned());
            Box::new(report)
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Start),
        4 => any_answer().prop_map(Event::Answer),
        6 => any_answer().prop_map(Event::HandOver),
        1 => (any::<Index>(), any_answer()).prop_map(|(which, answer)| Event::LateAnswer(which, answer)),
        4 => (any::<Index>(), any_report()).prop_map(|(which, report)| Event::Report(which, report)),
        4 => (0_u64..60).prop_map(Event::TimePasses),
        1 => Just(Event::LeaseRunsOut),
        1 => Just(Event::ValidityIsLookedAt),
        1 => Just(Event::ProviderIsMissing),
        1 => Just(Event::Cancel),
        1 => Just(Event::Poll),
    ]
}

prop_compose! {
    fn any_story()(
        steps in prop::collection::vec(prop::option::of(1_u32..200), 1..4),
        failover in prop_oneof![Just(Failover::Never), Just(Failover::OnRejection), Just(Failover::OnUndelivered)],
        on_unknown in prop_oneof![Just(OnUnknown::Hold), Just(OnUnknown::Resend)],
        category in prop_oneof![Just(Category::Otp), Just(Category::Transactional)],
        validity in prop_oneof![10_u64..300, 300_u64..3000],
        window in 10_u64..2000,
        first_poll in prop::option::of(1_u64..10),
        without_id in any::<bool>(),
        ahead in prop::option::of(1_u64..60),
    ) -> Story {
        let mut story = Story::of(Plan { failover, on_unknown, ..plan(&steps) });
        story.life.category = category;
        story.life.expires_at = story.now + Duration::from_secs(validity);
        story.evidence = EvidenceRule {
            window: Duration::from_secs(window),
            first_poll: first_poll.map(Duration::from_secs),
            without_id,
        };
        if let Some(ahead) = ahead {
            let at = story.now + Duration::from_secs(ahead);
            story.life.send_at = Some(at);
            story.life.send = Some(HandOver { due: at, ..story.came_from });
            story.life.status = MessageStatus::Scheduled;
        }
        story
    }
}

impl Story {
    fn in_flight(&self) -> Option<u16> {
        self.life.attempts.iter().find(|it| it.status == AttemptStatus::Sending).map(|it| it.number)
    }

    fn one_of_the_attempts(&self, which: Index) -> Option<u16> {
        (!self.life.attempts.is_empty()).then(|| self.life.attempts[which.index(self.life.attempts.len())].number)
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Start => self.starts(),
            Event::Answer(answer) => {
                if let Some(number) = self.in_flight() {
                    self.answer(number, answer);
                }
            }
            Event::HandOver(answer) => {
                if let Some(send) = self.life.send {
                    self.now = self.now.max(send.due);
                    self.starts();
                    self.happens(&Event::Answer(answer.clone()));
                }
            }
            Event::LateAnswer(which, answer) => {
                if let Some(number) =
                    self.one_of_the_attempts(*which).filter(|number| Some(*number) != self.in_flight())
                {
                    self.answer(number, answer);
                }
            }
            Event::Report(which, report) => {
                if let Some(number) = self.one_of_the_attempts(*which) {
                    self.reported_twice(number, report);
                }
            }
            Event::TimePasses(seconds) => self.tick_after(*seconds),
            Event::LeaseRunsOut => self.lease_runs_out(),
            Event::ValidityIsLookedAt => self.life.validity_over(self.now),
            Event::ProviderIsMissing => {
                self.life.step_unavailable("the provider is paused", self.now);
            }
            Event::Cancel => {
                self.life.cancel(self.now);
            }
            Event::Poll => {
                if let Some(number) = self.life.due_poll(self.now).map(|attempt| attempt.number) {
                    self.life.polled(number, Duration::from_secs(5), self.now);
                }
            }
        }
    }

    fn reported_twice(&mut self, number: u16, report: &Report) {
        self.report(number, report);
        let once = self.life.clone();
        assert_ne!(self.report(number, report), Absorbed::Applied, "the second time it is no news");
        assert_eq!(self.life, once, "a report that comes twice counts once");
    }

    /// Begins what waits, and checks that it may begin.
    fn starts(&mut self) {
        let before = self.life.clone();
        if self.try_start().is_none() {
            assert_eq!(self.life, before);
            return;
        }
        assert!(self.now < before.expires_at, "nothing is handed over after the validity");
        assert!(before.send.unwrap().due <= self.now, "nothing is handed over before it is due");
        assert!(!before.is_final() && self.in_flight().is_some());
        if let Some(last) = before.attempts.last() {
            self.follows(&before, last);
        }
    }

    /// A new hand-over follows a definite outcome, or the route asked for it: `after_seconds`, or once `resend`.
    fn follows(&mut self, before: &Life, last: &Attempt) {
        match last.status {
            AttemptStatus::Failed | AttemptStatus::Undelivered | AttemptStatus::Expired => return,
            AttemptStatus::Sending | AttemptStatus::Delivered => panic!("nothing follows {}", last.status),
            AttemptStatus::Sent | AttemptStatus::Unknown => {}
        }
        let step = self.came_from.step;
        let first = before.attempts.iter().find(|attempt| attempt.step == last.step).unwrap();
        let wait = before.step(last.step + 1).and_then(|step| step.after_seconds);
        let timed = before.plan.failover != Failover::Never
            && step > last.step
            && wait.is_some_and(|seconds| first.started_at + Duration::from_secs(seconds.into()) <= self.now);
        if timed {
            return;
        }
        assert_eq!(before.plan.on_unknown, OnUnknown::Resend, "attempt {} may have been taken", last.number);
        assert_eq!(last.error.as_ref().map(|cause| cause.code), Some(ErrorCode::SubmissionUnconfirmed));
        assert!(last.answered_at.unwrap() + RESEND_AFTER <= self.now);
        assert!(self.life.possible_duplicate);
        self.resends += 1;
        assert_eq!(self.resends, 1, "once more is once");
    }

    /// What holds at any time.
    fn holds(&self, before: &Life) {
        let life = &self.life;
        let has = |status| life.attempts.iter().any(|attempt| attempt.status == status);
        if before.status != life.status {
            let from = before.status;
            let through_queued = from == MessageStatus::Scheduled && MessageStatus::Queued.may_become(life.status);
            assert!(from.may_become(life.status) || through_queued, "{from} became {}", life.status);
        }
        if before.is_final() {
            assert!(before.status == life.status || before.status == MessageStatus::Unknown, "an end is an end");
            assert_eq!(before.completed_at, life.completed_at);
        }
        assert!(!life.status.is_end() || life.is_final(), "{} without a time", life.status);
        assert!(!life.is_final() || life.status.is_end() || life.status == MessageStatus::Unknown);
        assert!(!life.is_final() || life.send.is_none(), "nothing waits after the end");
        assert_eq!(has(AttemptStatus::Delivered), life.status == MessageStatus::Delivered);
        if life.is_final() && life.status != MessageStatus::Delivered {
            assert!(!has(AttemptStatus::Sending) && !has(AttemptStatus::Sent), "an open attempt is no end");
            assert_eq!(has(AttemptStatus::Unknown), life.status == MessageStatus::Unknown);
        }
        let sending = life.attempts.iter().filter(|attempt| attempt.status == AttemptStatus::Sending).count();
        assert!(sending == 0 || (sending == 1 && life.attempts.last().unwrap().status == AttemptStatus::Sending));
    }

    /// Nobody does anything any more: time alone must end it.
    fn runs_out(&mut self) {
        let last_call = self.now.max(self.life.expires_at) + self.evidence.window;
        for _ in 0..200 {
            if self.life.is_final() {
                assert!(self.now <= last_call, "it ended, but late");
                return;
            }
            let before = self.life.clone();
            if self.in_flight().is_some() {
                self.lease_runs_out();
            } else if self.life.next_timer(self.now).is_none_or(|at| at > self.life.expires_at) && before.send.is_some()
            {
                self.validity_ends();
            } else {
                while let Some(number) = self.life.due_poll(self.now).map(|attempt| attempt.number) {
                    self.life.polled(number, Duration::from_secs(5), self.now);
                }
                self.now = self.now.max(self.life.next_timer(self.now).expect("something ends it"));
                self.life.tick(self.now);
            }
            self.holds(&before);
        }
        panic!("it never ends: {:?}", self.life);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_change_is_allowed_and_the_message_ends(
        mut story in any_story(),
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        for event in &events {
            let before = story.life.clone();
            story.happens(event);
            story.holds(&before);
        }
        story.runs_out();
    }

    #[test]
    fn the_parts_of_a_delivered_message_may_come_in_any_order_and_twice(
        order in Just((1..=4_u16).chain(1..=4).collect::<Vec<_>>()).prop_shuffle(),
        noise in prop::collection::vec((any::<Index>(), prop_oneof![Just(NeutralStatus::Sent), Just(NeutralStatus::Unknown)]), 0..4),
    ) {
        let mut reports: Vec<Report> = order.iter().map(|number| part(NeutralStatus::Delivered, *number, 4)).collect();
        for (place, status) in noise {
            reports.insert(place.index(reports.len()), report(status));
        }
        let mut story = Story::alone();
        story.hand_over(&taken());
        for report in &reports {
            story.report(1, report);
        }
        prop_assert_eq!(story.at(), (MessageStatus::Delivered, true));
    }

    #[test]
    fn one_lost_part_loses_a_message_in_whatever_order_the_parts_come(
        order in Just((1..=4_u16).collect::<Vec<_>>()).prop_shuffle(),
        lost in 1_u16..=4,
        before_the_answer in 0_usize..=4,
    ) {
        let mut story = Story::alone();
        let number = story.start();
        for (place, which) in order.iter().enumerate() {
            if place == before_the_answer {
                story.answer(number, &taken());
            }
            let status = if *which == lost { NeutralStatus::Undelivered } else { NeutralStatus::Delivered };
            story.report(number, &part(status, *which, 4));
        }
        prop_assert_eq!(story.at(), (MessageStatus::Undelivered, true));
    }

    #[test]
    fn a_delivery_wins_in_whatever_order_while_the_message_is_not_final(
        order in Just(vec![
            NeutralStatus::Sent,
            NeutralStatus::Unknown,
            NeutralStatus::Undelivered,
            NeutralStatus::Expired,
            NeutralStatus::Delivered,
        ]).prop_shuffle(),
        answered in 0_usize..=5,
        on_unclear in any::<bool>(),
    ) {
        // There is a next step, and what is lost goes on to it; so nothing but the delivery is an end.
        let mut story = Story::with(Failover::OnUndelivered);
        let number = story.start();
        for (place, status) in order.iter().enumerate() {
            if place == answered {
                story.answer(number, &if on_unclear { unclear() } else { taken() });
            }
            story.report(number, &report(*status));
        }
        prop_assert_eq!(story.at(), (MessageStatus::Delivered, true));
    }
}
