//! Huawei's management API: what an operator registers there before anything can be sent.
//!
//! Here a call is put together, given a token and repeated once with a new one when the old is refused. One file for each
//! resource says what is asked and how the answer reads; `token` logs in, `fault` says what a refusal means, `fields` reads
//! values whatever type they come in. Sending knows nothing of it.
//!
//! Calls: <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0060.html>.

mod applications;
mod countries;
mod fault;
mod fields;
mod files;
pub mod known;
mod shape;
mod signatures;
mod templates;
mod token;
pub mod variables;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, atomic::AtomicUsize},
};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Method, header};
use serde_json::Value;

use self::token::{Token, Tokens};
use super::{settings, sign::percent_encode};
use crate::{
    clock::Clock,
    domain::registration::{
        Application, ApplicationInput, ApplicationQuota, FileUpload, ProviderCountry, ProviderFile, ProviderTemplate,
        ProviderTemplateInput, Region, Signature, SignatureInput,
    },
    providers::{
        http::{Answer, Http},
        registrations::{
            ApplicationQuery, Listed, Order, RegistrationError, RegistrationErrorKind, Registrations, SignatureQuery,
            Slice, TemplateQuery, TemplateShape,
        },
    },
};

/// No id of theirs is longer; they are UUIDs.
const LONGEST_ID: usize = 128;

/// The management API of one project.
#[derive(Debug)]
pub struct Management {
    http: Http,
    settings: settings::Management,
    tokens: Tokens,
    /// The ids of applications by their keys, which is all that signatures and templates tell of theirs.
    application_ids: Mutex<HashMap<String, String>>,
    /// Which spelling of the path of template variables was understood last.
    spelling: AtomicUsize,
}

/// What a call is about; decides what "there is no such thing" is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Application,
    Signature,
    Template,
    File,
    Country,
}

/// A call before it is signed and sent.
#[derive(Debug, Clone)]
struct Request<'a> {
    about: Subject,
    method: Method,
    /// Below the project's own path.
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    content_type: String,
    body: Bytes,
}

impl<'a> Request<'a> {
    fn new(about: Subject, method: Method, path: impl Into<Vec<&'a str>>) -> Self {
        let content_type = "application/json".to_owned();
        Self { about, method, path: path.into(), query: Vec::new(), content_type, body: Bytes::new() }
    }

    fn get(about: Subject, path: impl Into<Vec<&'a str>>) -> Self {
        Self::new(about, Method::GET, path)
    }

    fn query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into();
        self
    }

    /// Path and query, each part encoded by itself so that no value can leave its place. None for an id that cannot be one.
    fn target(&self, project_id: &str) -> Option<String> {
        let mut target = String::from("/v2");
        for segment in [project_id, "msgsms"].iter().chain(&self.path) {
            // A client or a proxy would walk along these two, however they were encoded before.
            if segment.is_empty() || segment.len() > LONGEST_ID || matches!(*segment, "." | "..") {
                return None;
            }
            target.push('/');
            percent_encode(segment.as_bytes(), &mut target);
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            percent_encode(name.as_bytes(), &mut target);
            target.push('=');
            percent_encode(value.as_bytes(), &mut target);
        }
        Some(target)
    }
}

impl Management {
    /// A client that asks nothing until it is asked.
    pub fn new(settings: settings::Management, http: Http, clock: Clock) -> Self {
        let tokens = Tokens::new(settings.clone(), http.clone(), clock);
        Self { http, settings, tokens, application_ids: Mutex::default(), spelling: AtomicUsize::new(0) }
    }

    /// Makes a call; null where the answer has no body. A token that is refused is replaced once.
    async fn call(&self, request: Request<'_>) -> Result<Value, RegistrationError> {
        let missing = || RegistrationError::new(RegistrationErrorKind::NotFound);
        let target = request.target(&self.settings.project_id).ok_or_else(missing)?;
        let token = self.tokens.current().await?;
        let mut answer = self.send(&request, &target, &token).await?;
        if answer.status == 401 {
            let token = self.tokens.instead_of(&token).await?;
            answer = self.send(&request, &target, &token).await?;
        }
        fault::read(request.about, &answer)
    }

    async fn send(&self, request: &Request<'_>, target: &str, token: &Token) -> Result<Answer, RegistrationError> {
        let endpoint = &self.settings.endpoint;
        let base = format!("{}{}", endpoint.origin().ascii_serialization(), endpoint.path().trim_end_matches('/'));
        let builder = self
            .http
            .request(request.method.clone(), &format!("{base}{target}"))
            .header(header::CONTENT_TYPE, &request.content_type)
            .header(header::ACCEPT, "application/json")
            .header("X-Auth-Token", token.header()?)
            .body(request.body.clone());
        self.http.send(builder).await.map_err(fault::transport)
    }

    /// The id of the application with this key, asked for by its name once and then known.
    async fn application_id(&self, key: Option<&str>, name: Option<&str>) -> Option<String> {
        let (key, name) = (key?, name?);
        let known = || self.application_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known().get(key).cloned() {
            return Some(id);
        }
        let slice = Slice { limit: 100, ..Slice::default() };
        let query = ApplicationQuery { slice, name: Some(name.to_owned()), ..ApplicationQuery::default() };
        let found = match applications::list(self, &query).await {
            Ok(found) => found.entries,
            Err(error) => {
                tracing::warn!(%error, "an application could not be asked for; what belongs to it is shown without");
                return None;
            }
        };
        let of_key = |application: &Application| Some((application.key.clone()?, application.id.clone()));
        known().extend(found.iter().filter_map(of_key));
        known().get(key).cloned()
    }
}

/// The parameters that all lists have.
fn slice_query(slice: &Slice) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", slice.limit.to_string()), ("offset", slice.offset.to_string())];
    if let Some(order) = slice.order {
        let word = match order {
            Order::Ascending => "asc",
            Order::Descending => "desc",
        };
        query.extend([("sort_key", "create_time".to_owned()), ("sort_dir", word.to_owned())]);
    }
    if let Some(after) = slice.created_after {
        query.push(("start_time", fields::written_not_before(after)));
    }
    if let Some(before) = slice.created_before {
        query.push(("end_time", fields::written_before(before)));
    }
    query
}

fn push<T: ToString>(query: &mut Vec<(&'static str, String)>, name: &'static str, value: Option<T>) {
    query.extend(value.map(|value| (name, value.to_string())));
}

#[async_trait]
impl Registrations for Management {
    async fn applications(&self, query: &ApplicationQuery) -> Result<Listed<Application>, RegistrationError> {
        applications::list(self, query).await
    }

    async fn application_quota(&self, region: Region) -> Result<ApplicationQuota, RegistrationError> {
        applications::count(self, region).await
    }

    async fn application(&self, id: &str) -> Result<Application, RegistrationError> {
        applications::get(self, id).await
    }

    async fn create_application(&self, input: &ApplicationInput) -> Result<Application, RegistrationError> {
        applications::create(self, input).await
    }

    async fn update_application(&self, id: &str, input: &ApplicationInput) -> Result<Application, RegistrationError> {
        applications::update(self, id, input).await
    }

    async fn signatures(&self, query: &SignatureQuery) -> Result<Listed<Signature>, RegistrationError> {
        signatures::list(self, query).await
    }

    async fn signature(&self, id: &str) -> Result<Signature, RegistrationError> {
        signatures::get(self, id).await
    }

    async fn create_signature(&self, input: &SignatureInput) -> Result<Signature, RegistrationError> {
        signatures::create(self, input).await
    }

    async fn update_signature(&self, id: &str, input: &SignatureInput) -> Result<Signature, RegistrationError> {
        signatures::update(self, id, input).await
    }

    async fn delete_signature(&self, id: &str) -> Result<(), RegistrationError> {
        self.call(Request::new(Subject::Signature, Method::DELETE, ["signatures", id])).await.map(drop)
    }

    async fn activate_signature(&self, id: &str) -> Result<Signature, RegistrationError> {
        self.call(Request::new(Subject::Signature, Method::PUT, ["signatures", id, "active"])).await?;
        signatures::get(self, id).await
    }

    async fn templates(&self, query: &TemplateQuery) -> Result<Listed<ProviderTemplate>, RegistrationError> {
        templates::list(self, query).await
    }

    async fn template(&self, id: &str) -> Result<ProviderTemplate, RegistrationError> {
        templates::get(self, id).await
    }

    async fn create_template(&self, input: &ProviderTemplateInput) -> Result<ProviderTemplate, RegistrationError> {
        templates::create(self, input).await
    }

    async fn update_template(
        &self,
        id: &str,
        input: &ProviderTemplateInput,
    ) -> Result<ProviderTemplate, RegistrationError> {
        templates::update(self, id, input).await
    }

    async fn delete_template(&self, id: &str) -> Result<(), RegistrationError> {
        self.call(Request::new(Subject::Template, Method::DELETE, ["templates", id])).await.map(drop)
    }

    fn shape(&self, template: &ProviderTemplate) -> TemplateShape {
        shape::of(template)
    }

    async fn upload_file(&self, file: &FileUpload) -> Result<ProviderFile, RegistrationError> {
        files::upload(self, file).await
    }

    async fn file(&self, id: &str) -> Result<ProviderFile, RegistrationError> {
        files::get(self, id).await
    }

    async fn countries(&self, name: Option<&str>) -> Result<Vec<ProviderCountry>, RegistrationError> {
        countries::list(self, name).await
    }
}

#[cfg(test)]
mod tests;
