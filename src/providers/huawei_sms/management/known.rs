//! The variables of templates that are in use, asked for in the background the first time a template is used and again now and
//! then. Whoever sends never waits for it: a template that is not known yet is not found fault with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::TimeDelta;

use super::{
    Management,
    variables::{self, Variable},
};
use crate::{
    clock::Clock,
    domain::{Timestamp, template::BoundTemplate},
    providers::{
        ParamFault,
        registrations::{RegistrationError, Registrations, Slice, TemplateQuery},
    },
};

/// What is known is asked for again after so long: a template that was rejected may come back with other variables.
const FRESH: TimeDelta = TimeDelta::minutes(10);
/// What could not be asked for is tried again after so long.
const RETRY: TimeDelta = TimeDelta::minutes(1);
/// What is older is not known any more, should nobody answer for so long: it may have changed.
const STALE: TimeDelta = TimeDelta::minutes(20);

/// The variables of templates by the id that messages are sent with.
#[derive(Debug, Clone)]
pub struct KnownTemplates {
    management: Arc<Management>,
    clock: Clock,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    ask_again: Timestamp,
    /// And when they were told.
    variables: Option<(Timestamp, Vec<Variable>)>,
}

impl KnownTemplates {
    /// Nothing is known yet.
    pub fn new(management: Arc<Management>, clock: Clock) -> Self {
        Self { management, clock, entries: Arc::default() }
    }

    /// What is known to be wrong with these values.
    pub fn check(&self, bound: &BoundTemplate) -> Vec<ParamFault> {
        let Some(id) = &bound.template_id else { return Vec::new() };
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(id.clone()).or_insert(Entry { ask_again: now, variables: None });
        if entry.ask_again <= now {
            entry.ask_again = now + RETRY;
            self.ask(id.clone());
        }
        let known = entry.variables.as_ref().filter(|(told, _)| now - *told < STALE);
        known.map_or_else(Vec::new, |(_, variables)| variables::check(variables, &bound.params))
    }

    fn ask(&self, id: String) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let known = self.clone();
        runtime.spawn(async move {
            match known.fetch(&id).await {
                Ok(found) => {
                    let now = known.clock.now();
                    let entry = Entry { ask_again: now + FRESH, variables: found.map(|found| (now, found)) };
                    known.entries.lock().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
                }
                Err(error) => tracing::warn!(%error, "the variables of a template could not be asked for"),
            }
        });
    }

    /// None for a template that the account does not have, or whose variables cannot be told.
    async fn fetch(&self, id: &str) -> Result<Option<Vec<Variable>>, RegistrationError> {
        let slice = Slice { limit: 10, ..Slice::default() };
        let query = TemplateQuery { slice, provider_template_id: Some(id.to_owned()), ..TemplateQuery::default() };
        let listed = super::templates::find(&self.management, &query).await?;
        let same = listed.entries.into_iter().find(|template| template.provider_template_id.as_deref() == Some(id));
        let Some(listed) = same else { return Ok(None) };
        let template = self.management.template(&listed.id).await?;
        Ok(variables::of_template(&template))
    }
}
