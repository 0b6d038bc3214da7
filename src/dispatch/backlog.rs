//! The backlog of each provider in seconds: what is taken in now waits behind it.
//!
//! It is read about once a second and over all processes, so it is a little late, as a limit of overload may be. A provider that
//! is paused or down has none: messages are to wait for it, or go on to their next step.

use std::{collections::HashMap, time::Duration};

use super::Engine;
use crate::{
    domain::content::Category,
    store::{StoreError, backlog},
};

/// How long the oldest message of each app that waits has waited, by provider.
#[derive(Debug, Default)]
pub(super) struct Backlog(HashMap<String, Vec<(Category, String, Duration)>>);

impl Engine {
    /// Looks how long what waits has waited. Whoever runs an engine calls this about every second.
    pub async fn follow_backlog(&self) -> Result<(), StoreError> {
        let live = self.live();
        let now = self.clock().now();
        let sending = live.providers.iter().filter(|(_, provider)| provider.availability.unavailable(now).is_none());
        let providers: Vec<String> = sending.map(|(name, _)| name.clone()).collect();
        let oldest = if self.is_held() {
            Vec::new()
        } else {
            self.db()
                .read(move |connection| Box::pin(async move { backlog::oldest(connection, &providers, now).await }))
                .await?
        };
        let mut waits = Backlog::default();
        for oldest in oldest {
            let wait = (now - oldest.due).to_std().unwrap_or_default();
            waits.0.entry(oldest.provider).or_default().push((oldest.category, oldest.app, wait));
        }
        self.shared.backlog.store(std::sync::Arc::new(waits));
        Ok(())
    }

    /// How long a message of this class and app may expect to wait for a provider: as long as the oldest that is served before
    /// it. In its own class that is what its own app has waiting, since the others take turns with it.
    pub fn expected_wait(&self, provider: &str, category: Category, app: &str) -> Duration {
        let backlog = self.shared.backlog.load();
        let waiting = backlog.0.get(provider).map(Vec::as_slice).unwrap_or_default();
        let before =
            waiting.iter().filter(|(class, of, _)| *class < category || (*class == category && of.as_str() == app));
        before.map(|(.., wait)| *wait).max().unwrap_or_default()
    }
}
