//! What is registered: records as they are shown, and the one lock around them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};

use super::{Behaviour, Fates, ManagementCall};
use crate::domain::Timestamp;

/// Calls that are remembered.
const KEPT: usize = 1000;

/// A record as their answers show it.
pub(super) type Record = Map<String, Value>;

/// Everything that is registered, and who may look at it.
#[derive(Debug, Default)]
pub(in crate::simulator) struct Registry(Mutex<Inner>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub apps: Vec<Record>,
    pub signatures: Vec<Record>,
    pub templates: Vec<Record>,
    pub files: Vec<Record>,
    /// When each ends, and whether it is one of a project.
    tokens: HashMap<String, (Timestamp, bool)>,
    logins: u64,
    calls: Vec<ManagementCall>,
    fates: Fates,
    login_fates: Fates,
}

/// There is nothing to be reviewed under this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing is registered under this id")]
pub struct ReviewRefused;

impl Registry {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_token(&self, expires_at: Timestamp, of_project: bool) -> String {
        let value = format!("MIIF{}", hex::encode(rand::random::<[u8; 24]>()));
        let mut inner = self.lock();
        inner.logins += 1;
        inner.tokens.insert(value.clone(), (expires_at, of_project));
        value
    }

    pub(super) fn token(&self, value: &str) -> Option<(Timestamp, bool)> {
        self.lock().tokens.get(value).copied()
    }

    pub(super) fn saw(&self, call: ManagementCall) {
        let mut inner = self.lock();
        if inner.calls.len() < KEPT {
            inner.calls.push(call);
        }
    }

    pub(super) fn next_fate(&self) -> Behaviour {
        self.lock().fates.pop_front().unwrap_or_default()
    }

    pub(super) fn next_login_fate(&self) -> Behaviour {
        self.lock().login_fates.pop_front().unwrap_or_default()
    }

    /// Decides how the next call goes, or the next login.
    pub(in crate::simulator) fn decide(&self, login: bool, behaviour: Behaviour) {
        let mut inner = self.lock();
        if login { inner.login_fates.push_back(behaviour) } else { inner.fates.push_back(behaviour) }
    }

    /// Every token that was issued stops to hold.
    pub(in crate::simulator) fn revoke_tokens(&self) {
        self.lock().tokens.clear();
    }

    /// How often somebody logged in.
    pub(in crate::simulator) fn logins(&self) -> u64 {
        self.lock().logins
    }

    /// The calls that came in, oldest first.
    pub(in crate::simulator) fn calls(&self) -> Vec<ManagementCall> {
        self.lock().calls.clone()
    }

    /// What a reviewer decides about an application, a signature or a template.
    pub(in crate::simulator) fn review(&self, id: &str, status: &str, note: &str) -> Result<(), ReviewRefused> {
        let mut inner = self.lock();
        let Inner { apps, signatures, templates, .. } = &mut *inner;
        let find = |list: &mut Vec<Record>, field: &str| -> bool {
            let Some(record) = list.iter_mut().find(|record| record["id"] == id) else { return false };
            record.insert(field.to_owned(), status.into());
            if field == "flow_status" {
                record.insert("review_desc".to_owned(), note.into());
            }
            if status == "REVIEW_PASSED" {
                record.insert("channel_num".to_owned(), "csms100000001".into());
            }
            true
        };
        let found = find(apps, "status") || find(signatures, "status") || find(templates, "flow_status");
        found.then_some(()).ok_or(ReviewRefused)
    }

    /// The kinds of the variables of a template that is approved.
    pub(in crate::simulator) fn kinds(&self, template_id: &str) -> Option<Vec<String>> {
        let inner = self.lock();
        let approved = |record: &&Record| record["template_id"] == template_id && record["flow_status"] == "Adopted";
        let template = inner.templates.iter().find(approved)?;
        Some(placeholders(template["template_content"].as_str()?))
    }

    /// Forgets everything.
    pub(in crate::simulator) fn reset(&self) {
        *self.lock() = Inner::default();
    }
}

/// What stands between `${` and `}`.
pub(super) fn placeholders(text: &str) -> Vec<String> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| part.split_once('}')).map(|(word, _)| word.to_owned()).collect()
}
