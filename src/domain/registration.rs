//! What is registered with a provider: applications, signatures, templates, documents, and the countries it reaches.
//!
//! These are neutral shapes, the same for whichever provider has such things. Fields that only one provider knows travel in
//! `native` under that provider's own names, both ways. What a provider calls them on the wire is its driver's.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::content::{Category, text_enum};

/// The provider's other fields, with its own names.
pub type Native = Map<String, Value>;

/// Where an application sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The Chinese mainland.
    Cn,
    /// Everywhere else.
    Intl,
}

text_enum!(Region { Cn = "cn", Intl = "intl" });

/// How far the provider has got with a signature or a template. `processing` is also what stands for a word that the provider
/// has and this list has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewStatus {
    /// Somebody looks at it.
    InReview,
    /// Approved, and being set up.
    Processing,
    /// Can be used.
    Approved,
    /// Refused; may be changed and handed in again.
    Rejected,
    /// Has to be activated before it can be used.
    Inactive,
}

text_enum!(ReviewStatus {
    InReview = "in_review",
    Processing = "processing",
    Approved = "approved",
    Rejected = "rejected",
    Inactive = "inactive",
});

/// How an application is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationStatus {
    /// Being made.
    Pending,
    /// Waits for resources.
    Processing,
    /// Can be used.
    Active,
    /// Suspended by the provider.
    Suspended,
}

text_enum!(ApplicationStatus {
    Pending = "pending",
    Processing = "processing",
    Active = "active",
    Suspended = "suspended",
});

/// What a signature is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureSource {
    /// A company or public institution.
    Company,
    /// A registered website.
    Website,
    /// An app.
    App,
    /// A mini program or official account.
    MiniProgram,
    /// A shop on a trading platform.
    Shop,
    /// A trademark.
    Trademark,
}

text_enum!(SignatureSource {
    Company = "company",
    Website = "website",
    App = "app",
    MiniProgram = "mini_program",
    Shop = "shop",
    Trademark = "trademark",
});

impl SignatureSource {
    /// Does it have to be proved where the name stands?
    pub const fn needs_detail(self) -> bool {
        match self {
            Self::Website | Self::App | Self::MiniProgram | Self::Shop => true,
            Self::Company | Self::Trademark => false,
        }
    }
}

/// A secret that is shown to whoever made it, and to nobody else: not in debug output, not in logs.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct ShownOnce(pub String);

impl fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// What an application is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Where it sends to.
    pub region: Region,
    /// Where inbound messages are pushed; mainland only. Left out, the gateway sets its own callback address where the provider
    /// is configured for the mainland and `server.public_url` and a `callback_token` are there.
    #[schema(format = "uri", max_length = 1024)]
    pub inbound_url: Option<String>,
    /// The provider's other fields, passed on as they are.
    #[schema(value_type = Object, required = false)]
    pub native: Native,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Application {
    /// The provider's id of the record.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it sends to.
    pub region: Option<Region>,
    /// Where inbound messages are pushed.
    pub inbound_url: Option<String>,
    /// Its key, public.
    pub key: Option<String>,
    /// Its secret; only in the answer that creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub secret: Option<ShownOnce>,
    /// How it is doing; absent where the provider did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub status: Option<ApplicationStatus>,
    /// The channel number to send from, international.
    pub sender: Option<String>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub updated_at: Option<DateTime<Utc>>,
    /// The provider's other fields.
    #[schema(value_type = Object)]
    pub native: Native,
}

/// How many applications there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApplicationQuota {
    /// So many may be made.
    pub total: u64,
    /// So many are there.
    pub used: u64,
}

/// What a signature is applied for with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureInput {
    /// What recipients read.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// The record of the application it is for.
    #[schema(min_length = 1, max_length = 128)]
    pub application_id: String,
    /// What it is used for.
    pub category: Category,
    /// What it is the name of.
    pub source: SignatureSource,
    /// Where that can be seen; needed for `website`, `app`, `mini_program` and `shop`.
    #[schema(max_length = 1024)]
    pub source_detail: Option<String>,
    /// Are rights of others involved?
    pub third_party: bool,
    /// For whoever reviews it.
    #[schema(max_length = 1024)]
    pub description: Option<String>,
    /// The business licence, uploaded before.
    #[schema(max_length = 128)]
    pub licence_file_id: Option<String>,
    /// The power of attorney, uploaded before.
    #[schema(max_length = 128)]
    pub power_of_attorney_file_id: Option<String>,
    /// The provider's other fields, passed on as they are.
    #[schema(value_type = Object, required = false)]
    pub native: Native,
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Signature {
    /// The provider's id of the record.
    pub id: String,
    /// What recipients read.
    pub name: String,
    /// The record of its application; null where the provider does not tell and it cannot be found out.
    pub application_id: Option<String>,
    /// What it is used for.
    pub category: Option<Category>,
    /// What it is the name of.
    pub source: Option<SignatureSource>,
    /// Where that can be seen.
    pub source_detail: Option<String>,
    /// Are rights of others involved?
    pub third_party: Option<bool>,
    /// For whoever reviews it.
    pub description: Option<String>,
    /// The business licence.
    pub licence_file_id: Option<String>,
    /// The power of attorney.
    pub power_of_attorney_file_id: Option<String>,
    /// How far the provider has got with it.
    pub status: ReviewStatus,
    /// The channel number to send from, once it is approved.
    pub sender: Option<String>,
    /// When it was applied for.
    pub created_at: Option<DateTime<Utc>>,
    /// The provider's other fields.
    #[schema(value_type = Object)]
    pub native: Native,
}

/// What a template is applied for with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderTemplateInput {
    /// Its name.
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// The record of the application it is for.
    #[schema(min_length = 1, max_length = 128)]
    pub application_id: String,
    /// Where it is sent to.
    pub region: Region,
    /// With the provider's own variables.
    #[schema(min_length = 1, max_length = 2000, examples("Your code is ${NUM_6}."))]
    pub text: String,
    /// What it is used for. Without it: `transactional`.
    #[schema(required = false)]
    pub category: Category,
    /// The record of its signature; mainland only.
    #[schema(max_length = 128)]
    pub signature_id: Option<String>,
    /// The countries it is sent to, by the provider's ids; needed for `intl`.
    #[schema(required = false, max_items = 300)]
    pub country_ids: Vec<u32>,
    /// May it be used with any signature?
    #[schema(required = false)]
    pub universal: bool,
    /// For whoever reviews it.
    #[schema(max_length = 1024)]
    pub description: Option<String>,
    /// The provider's other fields, passed on as they are.
    #[schema(value_type = Object, required = false)]
    pub native: Native,
}

/// A template as it is registered with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderTemplate {
    /// The provider's id of the record. Not the one to send with.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The record of its application; null where the provider does not tell and it cannot be found out.
    pub application_id: Option<String>,
    /// Where it is sent to.
    pub region: Option<Region>,
    /// With the provider's own variables.
    pub text: String,
    /// What it is used for.
    pub category: Option<Category>,
    /// The record of its signature.
    pub signature_id: Option<String>,
    /// The countries it is sent to, where the provider lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub country_ids: Option<Vec<u32>>,
    /// May it be used with any signature?
    pub universal: bool,
    /// For whoever reviews it.
    pub description: Option<String>,
    /// The id to send with, which a binding's `template_id` names.
    pub provider_template_id: Option<String>,
    /// How far the provider has got with it.
    pub status: ReviewStatus,
    /// What the reviewer said.
    pub review_note: Option<String>,
    /// What it takes, in order; only where a single template is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub variables: Option<Vec<TemplateVariable>>,
    /// When it was applied for.
    pub created_at: Option<DateTime<Utc>>,
    /// The provider's other fields.
    #[schema(value_type = Object)]
    pub native: Native,
}

/// A variable of a template that is registered with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TemplateVariable {
    /// Its place, from 1.
    pub index: u32,
    /// The provider's word for what it takes.
    #[serde(rename = "type")]
    #[schema(examples("NUM", "TXT", "URL"))]
    pub kind: String,
    /// At most so many characters.
    pub length: Option<u32>,
    /// What it is for.
    pub description: Option<String>,
}

/// A document to be uploaded.
#[derive(Clone, PartialEq, Eq)]
pub struct FileUpload {
    /// What it is called.
    pub name: String,
    /// Its media type, as whoever uploads it says.
    pub media_type: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The very bytes.
    pub content: bytes::Bytes,
}

impl fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Licences are nobody's business.
        f.debug_struct("FileUpload").field("bytes", &self.content.len()).finish_non_exhaustive()
    }
}

/// A document that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderFile {
    /// The provider's id of it.
    pub id: String,
    /// What it is called.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// What it is.
    pub description: Option<String>,
    /// When it was uploaded.
    pub updated_at: Option<DateTime<Utc>>,
    /// The provider's other fields.
    #[schema(value_type = Object)]
    pub native: Native,
}

/// A country or region that a provider sends to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderCountry {
    /// The provider's id of it, which a template's `country_ids` name; null where the provider leaves it out.
    pub id: Option<String>,
    /// In English, else in Chinese.
    pub name: String,
    /// The provider's other fields.
    #[schema(value_type = Object)]
    pub native: Native,
}
