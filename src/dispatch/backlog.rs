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

/// How long the oldest message that waits has waited, by provider and class.
#[derive(Debug, Default)]
pub(super) struct Backlog(HashMap<(String, Category), Duration>);

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
        let waits = oldest.into_iter().map(|oldest| {
            let wait = (now - oldest.due).to_std().unwrap_or_default();
            ((oldest.provider, oldest.category), wait)
        });
        self.shared.backlog.store(std::sync::Arc::new(Backlog(waits.collect())));
        Ok(())
    }

    /// How long a message of this class may expect to wait for a provider: as long as the oldest that is served before it.
    pub fn expected_wait(&self, provider: &str, category: Category) -> Duration {
        let backlog = self.shared.backlog.load();
        let before: &[Category] = match category {
            Category::Otp => &[Category::Otp],
            Category::Transactional => &[Category::Otp, Category::Transactional],
            Category::Marketing => &[Category::Otp, Category::Transactional, Category::Marketing],
        };
        let wait = |class: &Category| backlog.0.get(&(provider.to_owned(), *class)).copied();
        before.iter().filter_map(wait).max().unwrap_or_default()
    }
}
