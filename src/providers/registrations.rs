//! Managing what is registered with a provider: the one interface that a driver fills where its provider has such an API.
//!
//! It has nothing to do with sending, and no message ever waits for it. A driver asks the provider and translates; whether an
//! operator may ask at all, and how a failure is told, is decided above.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{ProviderError, error::shown};
use crate::domain::{
    Timestamp,
    content::Category,
    registration::{
        Application, ApplicationInput, ApplicationQuota, ApplicationStatus, FileUpload, ProviderCountry, ProviderFile,
        ProviderTemplate, ProviderTemplateInput, Region, ReviewStatus, Signature, SignatureInput,
    },
};

/// What can be asked of a provider about its registrations.
#[async_trait]
pub trait Registrations: fmt::Debug + Send + Sync {
    /// Applications, a page of them.
    async fn applications(&self, query: &ApplicationQuery) -> Result<Listed<Application>, RegistrationError>;
    /// How many applications there may be in a region.
    async fn application_quota(&self, region: Region) -> Result<ApplicationQuota, RegistrationError>;
    /// One application.
    async fn application(&self, id: &str) -> Result<Application, RegistrationError>;
    /// Makes an application. The answer holds its secret.
    async fn create_application(&self, input: &ApplicationInput) -> Result<Application, RegistrationError>;
    /// Changes an application.
    async fn update_application(&self, id: &str, input: &ApplicationInput) -> Result<Application, RegistrationError>;

    /// Signatures, a page of them.
    async fn signatures(&self, query: &SignatureQuery) -> Result<Listed<Signature>, RegistrationError>;
    /// One signature.
    async fn signature(&self, id: &str) -> Result<Signature, RegistrationError>;
    /// Applies for a signature.
    async fn create_signature(&self, input: &SignatureInput) -> Result<Signature, RegistrationError>;
    /// Changes a signature and applies for it again.
    async fn update_signature(&self, id: &str, input: &SignatureInput) -> Result<Signature, RegistrationError>;
    /// Deletes a signature.
    async fn delete_signature(&self, id: &str) -> Result<(), RegistrationError>;
    /// Applies for activating a signature.
    async fn activate_signature(&self, id: &str) -> Result<Signature, RegistrationError>;

    /// Templates, a page of them, without their variables.
    async fn templates(&self, query: &TemplateQuery) -> Result<Listed<ProviderTemplate>, RegistrationError>;
    /// One template with its variables.
    async fn template(&self, id: &str) -> Result<ProviderTemplate, RegistrationError>;
    /// Applies for a template.
    async fn create_template(&self, input: &ProviderTemplateInput) -> Result<ProviderTemplate, RegistrationError>;
    /// Changes a template and applies for it again.
    async fn update_template(
        &self,
        id: &str,
        input: &ProviderTemplateInput,
    ) -> Result<ProviderTemplate, RegistrationError>;
    /// Deletes a template.
    async fn delete_template(&self, id: &str) -> Result<(), RegistrationError>;

    /// A template in the gateway's own terms: its text and its values under names.
    fn shape(&self, template: &ProviderTemplate) -> TemplateShape;

    /// Uploads a document.
    async fn upload_file(&self, file: &FileUpload) -> Result<ProviderFile, RegistrationError>;
    /// What is known of a document.
    async fn file(&self, id: &str) -> Result<ProviderFile, RegistrationError>;

    /// The countries and regions that the provider sends to, by name where one is given.
    async fn countries(&self, name: Option<&str>) -> Result<Vec<ProviderCountry>, RegistrationError>;
}

/// A template of a provider as the gateway would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateShape {
    /// With `{{name}}` where a value goes.
    pub text: String,
    /// The values in the provider's order.
    pub params: Vec<ParamShape>,
}

/// A value of a template as the gateway would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamShape {
    /// Its name.
    pub name: String,
    /// At most so many characters.
    pub max_length: Option<u32>,
    /// What the whole value must look like.
    pub pattern: Option<String>,
}

/// Which part of a list, in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    /// Made at this time or later.
    pub created_after: Option<Timestamp>,
    /// Made before this time.
    pub created_before: Option<Timestamp>,
    /// By the time they were made; none: as the provider likes.
    pub order: Option<Order>,
    /// So many are passed over.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// By the time of making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Which applications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplicationQuery {
    /// Which part of the list.
    pub slice: Slice,
    /// Sending there.
    pub region: Option<Region>,
    /// Of this name.
    pub name: Option<String>,
    /// In this state.
    pub status: Option<ApplicationStatus>,
}

/// Which signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureQuery {
    /// Which part of the list.
    pub slice: Slice,
    /// Of this name.
    pub name: Option<String>,
    /// For this use.
    pub category: Option<Category>,
    /// In this state.
    pub status: Option<ReviewStatus>,
    /// Of the application with this name.
    pub application_name: Option<String>,
    /// With this id of the provider's beside the record's.
    pub signature_id: Option<String>,
}

/// Which templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateQuery {
    /// Which part of the list.
    pub slice: Slice,
    /// Sent there.
    pub region: Option<Region>,
    /// Of this name.
    pub name: Option<String>,
    /// For this use.
    pub category: Option<Category>,
    /// In this state.
    pub status: Option<ReviewStatus>,
    /// Of the application with this name.
    pub application_name: Option<String>,
    /// Of the application with this key.
    pub application_key: Option<String>,
    /// With the signature of this name.
    pub signature_name: Option<String>,
    /// With this id to send with.
    pub provider_template_id: Option<String>,
    /// With variables, or without.
    pub has_variables: Option<bool>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// How many the whole list has.
    pub total: u64,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistrationErrorKind {
    /// The provider refuses what it was sent.
    Invalid,
    /// What the path names is not there.
    NotFound,
    /// What the path names is not in a state that allows it, or is there already.
    Conflict,
    /// The provider refuses our account.
    AccessDenied,
    /// Too many calls.
    Busy,
    /// The provider failed, or what it answered cannot be read.
    Failed,
    /// It was not reached at all.
    NotConnected,
    /// It did not answer in time.
    TimedOut,
}

/// Why a call about registrations did not go well.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind:?}{}", code.as_deref().map(shown).unwrap_or_default())]
pub struct RegistrationError {
    /// What kind.
    pub kind: RegistrationErrorKind,
    /// The provider's code, verbatim.
    pub code: Option<String>,
    /// The provider's words.
    pub message: Option<String>,
    /// Not again before so long.
    pub retry_after: Option<Duration>,
    /// What lies beneath, where no answer came.
    #[source]
    pub source: Option<Arc<ProviderError>>,
}

impl RegistrationError {
    /// Without anything that the provider said.
    pub fn new(kind: RegistrationErrorKind) -> Self {
        Self { kind, code: None, message: None, retry_after: None, source: None }
    }
}
