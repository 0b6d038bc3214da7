//! One try to deliver one event: where to, with what, and what its answer means.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use url::Url;

use super::{
    line::LineState,
    post::{Answer, Poster},
    record::{Entry, Switch},
    schedule, sign,
};
use crate::{
    api::events::answer::Event,
    config::{App, Config},
    dispatch::Engine,
    domain::{Timestamp, event::DeliveryStatus},
    store::{
        deliveries::{Claimed, Line, Tried},
        events::{StoredEvent, Subject},
    },
};

/// What came of the call itself.
enum Outcome {
    /// There is nowhere to send it.
    Nowhere,
    /// Nothing was sent, and nothing ever will be.
    Never(&'static str),
    /// Nothing was sent this time.
    Held(&'static str),
    /// It was sent.
    Sent(Url, Result<Answer, String>),
}

/// Tries it, and says what is to be written down.
pub(super) async fn deliver(
    engine: &Engine,
    poster: &Poster,
    state: &LineState,
    line: &Line,
    claimed: Claimed,
) -> Entry {
    let began = engine.clock().now();
    let config = engine.live().config.clone();
    // Where and why is told by the panic itself. Without an end it would come back each time that the lease runs out.
    let outcome = AssertUnwindSafe(attempt(&config, poster, &claimed, began))
        .catch_unwind()
        .await
        .unwrap_or(Outcome::Never("the program failed at it"));
    let now = engine.clock().now();
    let entry = judge(line, &claimed, outcome, began, now);
    // What was not sent says nothing about the receiver.
    if entry.tried.url.is_some() {
        if entry.tried.delivery == DeliveryStatus::Delivered {
            // Somebody has to look again.
            if state.taken(now) {
                engine.tell();
            }
        } else {
            state.not_taken(now, entry.paused_until);
        }
    }
    entry
}

async fn attempt(config: &Config, poster: &Poster, claimed: &Claimed, now: Timestamp) -> Outcome {
    let event = &claimed.event;
    let Some(app) = config.apps.get(&event.app) else { return Outcome::Nowhere };
    let Some(url) = address(app, event) else { return Outcome::Nowhere };
    if claimed.is_off {
        return Outcome::Nowhere;
    }
    if matches!(event.subject, Subject::Gone) {
        return Outcome::Never("what it is about is no longer kept");
    }
    if !app.allows_host_of(&url) {
        return Outcome::Held("the host is not among callback_hosts");
    }
    let Ok(body) = serde_json::to_vec(&Event::from(event.clone())) else {
        return Outcome::Never("it cannot be written");
    };
    let Some(headers) = headers(app, event, now, &body) else { return Outcome::Never("it cannot be signed") };
    let answer = poster.post(&url, headers, body, now).await;
    Outcome::Sent(url, answer)
}

/// Where it goes as things stand.
fn address(app: &App, event: &StoredEvent) -> Option<Url> {
    match &event.callback_url {
        Some(own) => Url::parse(own).ok(),
        None => app.webhook_url.clone(),
    }
}

fn headers(app: &App, event: &StoredEvent, now: Timestamp, body: &[u8]) -> Option<HeaderMap> {
    let (id, timestamp) = (event.id.to_string(), now.timestamp());
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_str(&id).ok()?);
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    if let Some(signature) = sign::signature(&app.webhook_secret, &id, timestamp, body) {
        headers.insert("webhook-signature", HeaderValue::from_str(&signature).ok()?);
    }
    Some(headers)
}

fn judge(line: &Line, claimed: &Claimed, outcome: Outcome, began: Timestamp, now: Timestamp) -> Entry {
    let mut entry = Entry {
        tried: Tried {
            event: claimed.event.id,
            lease: claimed.lease,
            delivery: DeliveryStatus::Skipped,
            next: None,
            tries: claimed.tries,
            url: None,
            at: began,
            status_code: None,
            error: None,
        },
        app: line.app.clone(),
        receiver: line.receiver.clone(),
        switch: None,
        paused_until: None,
    };
    let error = match outcome {
        Outcome::Nowhere => return entry,
        Outcome::Never(why) => {
            (entry.tried.delivery, entry.tried.error) = (DeliveryStatus::Failed, Some(why.to_owned()));
            return entry;
        }
        Outcome::Held(why) => why.to_owned(),
        Outcome::Sent(url, answer) => {
            entry.tried.url = Some(url.as_str().to_owned());
            match answer {
                Ok(answer) => {
                    entry.tried.status_code = Some(answer.status);
                    match heard(&mut entry, claimed, url, answer, now) {
                        Some(error) => error,
                        None => return entry,
                    }
                }
                Err(error) => error,
            }
        }
    };
    entry.tried.error = Some(error);
    again(&mut entry, claimed, began, now);
    entry
}

/// What an answer says. An error is told when it is to be tried again.
fn heard(entry: &mut Entry, claimed: &Claimed, url: Url, answer: Answer, now: Timestamp) -> Option<String> {
    match answer.status {
        200..300 => {
            entry.tried.delivery = DeliveryStatus::Delivered;
            entry.switch = claimed.asked_for.then(|| Switch::On(url.into()));
            return None;
        }
        410 => {
            entry.tried.delivery = DeliveryStatus::Failed;
            entry.tried.error = Some("the receiver wants no more".to_owned());
            entry.switch = Some(Switch::Off(url.into()));
            return None;
        }
        429 | 503 => {
            let pause = answer.retry_after.map(|pause| pause.min(schedule::LONGEST_PAUSE));
            entry.paused_until = pause.map(|pause| now + pause);
        }
        _ => {}
    }
    Some(match answer.status {
        300..400 => "redirects are not followed".to_owned(),
        status => format!("the receiver answered {status}"),
    })
}

/// When it is tried again, if it is. Before its time it was tried for the receiver's sake: its turn stays, and that was none of its
/// tries.
fn again(entry: &mut Entry, claimed: &Claimed, began: Timestamp, now: Timestamp) {
    let due = if claimed.due > began {
        Some(claimed.due)
    } else {
        entry.tried.tries = claimed.tries.saturating_add(1);
        schedule::after(entry.tried.tries).map(|gap| now + gap)
    };
    entry.tried.next = due.map(|due| entry.paused_until.map_or(due, |until| due.max(until)));
    entry.tried.delivery = if due.is_some() { DeliveryStatus::Pending } else { DeliveryStatus::Failed };
}
