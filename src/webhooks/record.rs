//! Writing down what came of tries, many in one commit.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    dispatch::Engine,
    domain::{Timestamp, event::DeliveryStatus},
    error_chain::chain,
    store::{
        Db, StoreError,
        deliveries::{self, Tried},
    },
};

const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How often a group is tried while the process ends. What is not written down is sent again when its lease is over.
const TRIES_AT_THE_END: u32 = 5;

/// What came of one try, and what it says about its receiver.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub tried: Tried,
    pub app: String,
    pub receiver: String,
    /// The address that is to be switched.
    pub switch: Option<Switch>,
    /// It asked not to be called before this.
    pub paused_until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Switch {
    /// It answered 410.
    Off(String),
    /// It took what somebody asked for.
    On(String),
}

pub(super) async fn record(engine: &Engine, mut group: Vec<Entry>) {
    group.iter().for_each(count);
    // Rows are locked in this order by everybody.
    group.sort_by_key(|entry| entry.tried.event);
    write_down(engine, group).await;
}

async fn write_down(engine: &Engine, group: Vec<Entry>) {
    let (group, mut tries_at_the_end) = (Arc::new(group), 0);
    loop {
        let of_unit = group.clone();
        let written =
            Db::unit(&engine.db().work, move |connection| Box::pin(async move { write(connection, &of_unit).await }));
        let Err(error) = written.await else { return };
        tracing::error!(error = chain(&error), "what came of webhooks was not written down");
        tries_at_the_end += u32::from(engine.stopping());
        if error.lies_with_the_data() && group.len() > 1 {
            // What no row can hold must not keep the others back.
            for entry in group.iter() {
                Box::pin(write_down(engine, vec![entry.clone()])).await;
            }
            return;
        }
        if error.lies_with_the_data() || tries_at_the_end >= TRIES_AT_THE_END {
            return;
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

async fn write(connection: &mut sqlx::PgConnection, group: &[Entry]) -> Result<(), StoreError> {
    let tried: Vec<Tried> = group.iter().map(|entry| entry.tried.clone()).collect();
    deliveries::record(&mut *connection, &tried).await?;
    // One row each, in the same order wherever that is done.
    let (mut switches, mut pauses) = (BTreeMap::new(), BTreeMap::new());
    for entry in group {
        let line = (entry.app.as_str(), entry.receiver.as_str());
        match &entry.switch {
            Some(Switch::Off(url)) => note_switch(&mut switches, entry, line, url, true),
            Some(Switch::On(url)) => note_switch(&mut switches, entry, line, url, false),
            None => {}
        }
        if let Some(until) = entry.paused_until {
            let longest = pauses.entry(line).or_insert(until);
            *longest = until.max(*longest);
        }
    }
    for ((app, url), (at, off, receiver)) in switches {
        if off {
            deliveries::switch_off(&mut *connection, (app, receiver), url, at).await?;
        } else {
            deliveries::switch_on(&mut *connection, app, url).await?;
        }
    }
    for ((app, receiver), until) in pauses {
        deliveries::pause(&mut *connection, app, receiver, until).await?;
    }
    Ok(())
}

/// The last answer of an address counts.
fn note_switch<'a>(
    switches: &mut BTreeMap<(&'a str, &'a str), (Timestamp, bool, &'a str)>,
    entry: &Entry,
    (app, receiver): (&'a str, &'a str),
    url: &'a str,
    off: bool,
) {
    let new = (entry.tried.at, off, receiver);
    let last = switches.entry((app, url)).or_insert(new);
    *last = new.max(*last);
}

fn count(entry: &Entry) {
    let outcome = match entry.tried.delivery {
        DeliveryStatus::Delivered => "delivered",
        DeliveryStatus::Pending => "retried",
        DeliveryStatus::Failed => "failed",
        DeliveryStatus::Skipped => "skipped",
    };
    let app = entry.app.clone();
    metrics::counter!("sms_gateway_webhook_deliveries_total", "app" => app, "outcome" => outcome).increment(1);
}
