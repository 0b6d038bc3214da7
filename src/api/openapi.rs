//! The document of the API, made from the handlers themselves, and the answers that many of them share.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::{
        Content, Header, Object, Ref, RefOr, Response, ResponseBuilder, Schema,
        schema::{ArrayItems, ComponentsBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    events::answer::Event,
    problem::{FieldError, Problem, ProblemCode},
};

/// The frame of the document; paths come from the router.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "SMS gateway", description = DESCRIPTION),
    components(schemas(Problem, FieldError, ProblemCode, Event)),
    modifiers(&Shared),
    security(("apiKey" = [])),
    tags(
        (name = "Messages", description = "Send one message, read it, follow it, cancel it."),
        (name = "Batches", description = "The same or personalised content to many recipients."),
        (name = "Inbound messages", description = "Messages that arrived on our numbers."),
        (name = "Suppressions", description = "Recipients that opted out."),
        (name = "Events", description = "What webhooks deliver, with the state of their delivery."),
        (name = "Templates", description = "The gateway's own templates, bound to each provider's registered ones."),
        (name = "Routes", description = "Which providers carry which messages, in what order."),
        (name = "Providers", description = "Capabilities, health and balance."),
        (name = "Provider registrations", description = "What is registered with a provider: applications, signatures, templates, documents."),
        (name = "Apps", description = "Client applications and their webhooks."),
        (name = "Operations", description = "Health and metrics."),
    ),
)]
pub struct Document;

const DESCRIPTION: &str = "One interface for SMS and voice one-time codes, whichever provider carries them.\n\n\
    Names are `snake_case`, times RFC 3339 in UTC, numbers E.164 with `+`, money a decimal number as text. Ids carry a \
    prefix and sort by age. Within `/v1` things are only added: ignore fields that you do not know, and treat an unknown \
    `status` by its `final`. Every error is `application/problem+json` with a stable `code`, and every answer has an \
    `X-Request-Id`. `x-role` names the role that a key needs; operators may do what apps may, auditors only read.";

/// What is sent to apps, written by hand: the generator knows only what is served.
const WEBHOOKS: &str = include_str!("webhooks.yaml");

/// The document as YAML, as it is committed and served.
pub fn yaml(document: &utoipa::openapi::OpenApi) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(format!("{}\n{WEBHOOKS}", document.to_yaml()?.trim_end()))
}

/// Lets the entries of pages be what has a schema already. Written out in each page they are types of their own in clients, to
/// which no function for the thing itself applies.
pub fn name_entries(document: &mut utoipa::openapi::OpenApi) {
    let Some(components) = &mut document.components else { return };
    let known: BTreeSet<String> = components.schemas.keys().cloned().collect();
    for (name, schema) in &mut components.schemas {
        let Some(entry) = name.strip_prefix("Page_").filter(|entry| known.contains(*entry)) else { continue };
        if let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(data))) = page.properties.get_mut("data")
        {
            data.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(entry).into()));
        }
    }
}

struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(|| ComponentsBuilder::new().build());
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "`Authorization: Bearer sgw_live_…`. Keys that begin `sgw_test_` send through the sandbox only.",
        ));
        components.add_security_scheme("apiKey", SecurityScheme::Http(scheme.build()));
        for (_, name, description) in PROBLEMS {
            components.responses.insert((*name).into(), problem_response(name, description).into());
        }
    }
}

/// Status, name and meaning of every error answer.
const PROBLEMS: &[(&str, &str, &str)] = &[
    ("400", "BadRequest", "The body is not JSON, or a header is malformed (`malformed_request`)."),
    ("401", "Unauthenticated", "No key, or an unknown one (`unauthenticated`)."),
    ("403", "Forbidden", "The key's role or app may not do this (`forbidden`)."),
    (
        "404",
        "NotFound",
        "No such thing, or another app's (`not_found`); or the provider cannot do it (`capability_unsupported`).",
    ),
    ("408", "BodyTimeout", "The body did not arrive in time (`request_timeout`)."),
    ("409", "Conflict", "`idempotency_key_in_progress`, `not_cancelable` or `conflict`."),
    ("413", "PayloadTooLarge", "`payload_too_large`."),
    ("415", "UnsupportedMediaType", "`unsupported_media_type`."),
    (
        "422",
        "ValidationFailed",
        "Understood but refused: the code of the only error, `validation_failed` for several (see `errors`), or `idempotency_key_reused`.",
    ),
    (
        "429",
        "RateLimited",
        "`rate_limited`, `quota_exceeded` or `recipient_rate_limited`. Nothing was done; safe to repeat later.",
    ),
    (
        "502",
        "ProviderError",
        "`provider_error`; `provider_code` and `provider_message` say what the provider answered.",
    ),
    ("503", "Unavailable", "`unavailable`. Nothing was done; safe to repeat later."),
    ("504", "ProviderTimeout", "`provider_timeout`."),
];

fn problem_response(name: &str, description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response =
        ResponseBuilder::new().description(description).content("application/problem+json", content).build();
    if matches!(name, "RateLimited" | "Unavailable") {
        let mut seconds = Header::default();
        seconds.description = Some("Seconds to wait.".into());
        seconds.schema = Some(Schema::Object(Object::with_type(Type::Integer)).into());
        response.headers.insert("Retry-After".into(), seconds.into());
    }
    response
}

fn references(statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let wanted = PROBLEMS.iter().filter(|(status, _, _)| statuses.contains(status));
    wanted.map(|(status, name, _)| ((*status).into(), RefOr::Ref(Ref::from_response_name(*name)))).collect()
}

macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)*;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    references(&[$($status),*])
                }
            }
        )*
    };
}

problem_sets! {
    /// How reading one thing can fail.
    ReadProblems: "401" "403" "404" "503";
    /// How reading a list can fail.
    ListProblems: "401" "403" "422" "503";
    /// How reading what belongs to one thing can fail.
    PartProblems: "401" "403" "404" "422" "503";
    /// How changing one thing can fail.
    ChangeProblems: "400" "401" "403" "404" "408" "413" "415" "422" "503";
    /// How canceling one thing can fail.
    CancelProblems: "401" "403" "404" "409" "503";
    /// How looking at what would be sent can fail.
    PreviewProblems: "400" "401" "408" "413" "415" "422" "503";
    /// How sending can fail.
    CreateProblems: "400" "401" "403" "408" "409" "413" "415" "422" "429" "503";
    /// How changing what somebody else may have changed can fail besides.
    ConflictProblem: "409";
    /// How reading a body can fail besides.
    BodyProblems: "400" "408" "413" "415";
    /// How asking a provider can fail besides.
    ProviderProblems: "502" "504";
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::api::router;

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let generated = yaml(&router::document()).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == generated,
            "openapi.yaml is not current; write it with `sms-gateway openapi > openapi.yaml`"
        );
    }

    #[test]
    fn the_entries_of_a_page_are_named() {
        let document = serde_json::to_value(router::document()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas.iter().filter(|(name, _)| name.starts_with("Page_")) {
            let entry = schema["properties"]["data"]["items"]["$ref"].as_str();
            assert_eq!(entry, Some(format!("#/components/schemas/{}", &name[5..]).as_str()), "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(router::document()).unwrap();
        let text = document.to_string();
        let references: BTreeSet<&str> = text.split("\"#/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!references.is_empty());
        for reference in references {
            assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_call_under_v1_needs_a_key_and_says_so() {
        let document = serde_json::to_value(router::document()).unwrap();
        assert_eq!(document["security"][0]["apiKey"], serde_json::json!([]));
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let open = operation.get("security").is_some();
                assert_eq!(open, !path.starts_with("/v1/"), "{method} {path}");
                assert!(open || operation["responses"]["401"].is_object(), "{method} {path}");
            }
        }
    }
}
