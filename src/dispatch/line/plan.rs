//! Making calls out of messages: by the bindings and senders of this moment, within the provider's limits.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{HandedOver, LEASE_MARGIN, Prepared, since_boot};
use crate::{
    config::Config,
    dispatch::{Engine, LiveProvider},
    domain::{
        Timestamp,
        capabilities::Capabilities,
        content::Content,
        ids::{AttemptId, CallId},
    },
    providers::{Call, Submission},
    routing,
    secrets::Secrets,
    store::life::{Lease, StoredContent, StoredMessage},
};

/// Makes calls out of messages.
pub(in crate::dispatch) struct Planner {
    pub(super) engine: Engine,
    pub(super) config: Arc<Config>,
    pub(in crate::dispatch) provider: Arc<LiveProvider>,
    pub(super) now: Timestamp,
    pub(super) not_after: Duration,
    /// At most so many.
    pub(super) calls: usize,
}

impl Planner {
    pub(in crate::dispatch) fn new(engine: &Engine, provider: &Arc<LiveProvider>, lease: Lease, calls: usize) -> Self {
        let not_after = (since_boot() + lease.length).saturating_sub(provider.section.timeout + LEASE_MARGIN);
        let (config, now) = (engine.live().config.clone(), engine.clock().now());
        Self { engine: engine.clone(), config, provider: provider.clone(), now, not_after, calls }
    }

    /// Opens an attempt for each message that finds a place in one of the calls. The others are given back: as they
    /// were, or with an attempt that is over because they could not be prepared.
    pub(in crate::dispatch) fn plan(&self, due: Vec<StoredMessage>) -> (Vec<Prepared>, Vec<StoredMessage>) {
        let mut open: Vec<Draft> = Vec::new();
        let mut left = Vec::new();
        for mut message in due {
            // One message that cannot be prepared must not keep the others from being sent, now and for ever.
            let placed = catch_unwind(AssertUnwindSafe(|| self.place(&mut open, &mut message)));
            match placed {
                Ok(Some((place, ready))) => open[place].add(message, ready),
                Ok(None) => left.push(message),
                Err(_) => {
                    tracing::error!(message = %message.life.id, "a message could not be prepared");
                    message.life.preparation_panicked(AttemptId::new(self.now), CallId::new(self.now), self.now);
                    left.push(message);
                }
            }
        }
        (open.into_iter().filter(|draft| !draft.submissions.is_empty()).map(|draft| self.finish(draft)).collect(), left)
    }

    /// Finds a place for a message in one of the calls, and opens its attempt.
    fn place(&self, open: &mut Vec<Draft>, message: &mut StoredMessage) -> Option<(usize, Ready)> {
        let ready = self.prepare(message)?;
        let place = match open.iter().position(|draft| draft.takes(&ready, self.provider.capabilities())) {
            Some(place) => place,
            None if open.len() < self.calls => {
                open.push(Draft::new(&ready, self.now));
                open.len() - 1
            }
            None => return None,
        };
        message.life.start_attempt(ready.submission.attempt_id, open[place].call_id, &ready.sender, self.now)?;
        Some((place, ready))
    }

    /// What the provider gets of a message, by the bindings and senders of this moment.
    fn prepare(&self, message: &StoredMessage) -> Option<Ready> {
        let send = message.life.send?;
        let step = message.life.step(send.step)?;
        // Content that cannot be opened goes out as nothing, and the driver refuses that: no route can mend a lost key.
        let content = open(self.engine.secrets(), message).unwrap_or_default();
        let template = content.template.as_ref().and_then(|used| self.config.templates.get(&used.name));
        let binding = template.and_then(|template| template.bindings.get(&self.provider.name));
        let sender = routing::sender_for(step, binding, &self.provider.section).unwrap_or_default();
        let submission = Submission {
            attempt_id: AttemptId::new(self.now),
            attempt_number: message.life.next_number(),
            to: message.to.clone(),
            binding: routing::bind(&content, template, &self.provider.name),
            text: content.text,
        };
        Some(Ready { submission, sender, group_limit: send.group_limit })
    }

    fn finish(&self, draft: Draft) -> Prepared {
        let reference = draft.call_id.to_string();
        let report_url =
            self.provider.capabilities().report_url_per_call.then(|| self.report_url(&reference)).flatten();
        Prepared {
            call: Call { reference, from: draft.sender, report_url, submissions: draft.submissions },
            sent_for: draft.sent_for,
            not_after: self.not_after,
        }
    }

    /// The address for reports of one call: it names the call and proves that we made it.
    fn report_url(&self, reference: &str) -> Option<String> {
        let base = self.config.server.public_url.as_ref()?.as_str().trim_end_matches('/').to_owned();
        let mac = self.engine.secrets().callback_mac(&format!("{}/{reference}", self.provider.name));
        Some(format!("{base}/callbacks/{}/{reference}.{mac}", self.provider.name))
    }
}

/// The content of a message, readable.
fn open(secrets: &Secrets, message: &StoredMessage) -> Option<Content> {
    match &message.content {
        StoredContent::Plain(content) => Some(content.clone()),
        StoredContent::Sealed(sealed) => {
            let opened = secrets.open(sealed, message.life.id.0.as_bytes()).ok()?;
            serde_json::from_slice(&opened).ok()
        }
        StoredContent::Erased => None,
    }
}

struct Ready {
    submission: Submission,
    sender: String,
    group_limit: Option<u16>,
}

/// A call that is being filled.
struct Draft {
    call_id: CallId,
    sender: String,
    group_limit: Option<u16>,
    weight: usize,
    numbers: HashSet<String>,
    submissions: Vec<Submission>,
    sent_for: Vec<HandedOver>,
}

impl Draft {
    fn new(first: &Ready, now: Timestamp) -> Self {
        Self {
            call_id: CallId::new(now),
            sender: first.sender.clone(),
            group_limit: first.group_limit,
            weight: 0,
            numbers: HashSet::new(),
            submissions: Vec::new(),
            sent_for: Vec::new(),
        }
    }

    /// Is there room? The same sender, no number twice, within the provider's limits.
    fn takes(&self, ready: &Ready, capabilities: &Capabilities) -> bool {
        let most = self.group_limit.map_or(usize::MAX, usize::from).min(capabilities.max_recipients_per_call);
        self.sender == ready.sender
            && self.group_limit == ready.group_limit
            && self.submissions.len() < most
            && self.weight + self.weight_of(&ready.submission) <= capabilities.max_call_bytes
            && !self.numbers.contains(ready.submission.to.as_str())
    }

    fn weight_of(&self, submission: &Submission) -> usize {
        submission.weight_after(self.submissions.last())
    }

    fn add(&mut self, mut message: StoredMessage, Ready { submission, .. }: Ready) {
        // The call has it now; whoever writes down the answer needs none.
        message.content = StoredContent::Erased;
        self.weight += self.weight_of(&submission);
        self.numbers.insert(submission.to.as_str().to_owned());
        self.sent_for.push(HandedOver { message: Box::new(message), attempt: submission.attempt_id });
        self.submissions.push(submission);
    }
}
