//! The fields that messages and batches share, as a request gives them: types, lengths and bounds, nothing that needs the
//! configuration. What they mean for one app is [`super::draft`]'s.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use url::Url;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        AllOf, Object, OneOf, Ref, RefOr, Schema,
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use crate::{
    api::{field_reader::FieldReader, problem::ProblemCode},
    domain::content::{Category, Channel, TemplateUse},
};

/// Characters of a free text.
pub const TEXT_LENGTH: usize = 1600;
/// Characters of a sender.
pub const SENDER_LENGTH: usize = 21;
/// Characters of an app's own id for a message.
pub const REFERENCE_LENGTH: usize = 128;
/// Characters of a callback address.
pub const CALLBACK_URL_LENGTH: usize = 1024;
/// Entries of metadata, and of a template's params.
pub const MAP_ENTRIES: usize = 20;
/// Characters of a name in metadata.
pub const METADATA_NAME_LENGTH: usize = 40;
/// Characters of a value in metadata, and of a template's param.
pub const MAP_VALUE_LENGTH: usize = 500;
/// Seconds of the shortest validity.
pub const MIN_VALIDITY: u32 = 10;
/// Seconds of the longest validity.
pub const MAX_VALIDITY: u32 = 259_200;

/// Characters of a template's name, a route's or a provider's, and of a param's.
pub const NAME_LENGTH: usize = 63;

/// What both a message and a batch can say.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
pub struct ContentFields {
    /// Free text. For voice, the digits to be read out.
    #[schema(min_length = 1, max_length = 1600, nullable = false)]
    pub text: Option<String>,
    /// One of the gateway's templates, with its values. Not with `text`.
    #[schema(schema_with = template_schema)]
    pub template: Option<TemplateUse>,
    /// For free text; a template has its own. Without it: `transactional`.
    #[schema(schema_with = category_schema)]
    pub category: Option<Category>,
    /// Restricts the route to this channel. Without it the route decides.
    #[schema(schema_with = channel_schema)]
    pub channel: Option<Channel>,
    /// Sender: number, sender id or the provider's channel number. Without it the route decides.
    #[schema(min_length = 1, max_length = 21, nullable = false)]
    pub from: Option<String>,
    /// A named route. Not with `provider`.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$", nullable = false)]
    pub route: Option<String>,
    /// This provider only, no failover. Not with `route`.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$", nullable = false)]
    pub provider: Option<String>,
    /// Not before this time; at most 30 days ahead. Up to five minutes ago means now.
    #[schema(nullable = false)]
    pub send_at: Option<DateTime<Utc>>,
    /// Seconds, from `send_at` or now, in which the gateway may hand the message to a provider; then it is `expired`. Without
    /// it the template's own, else 600 for `otp` and 14400 for others.
    #[schema(minimum = 10, maximum = 259_200, nullable = false)]
    pub validity_period: Option<u32>,
    /// Where this message's events go instead of the app's webhook. Its host must be among the app's `callback_hosts`.
    #[schema(value_type = Option<String>, format = "uri", max_length = 1024, nullable = false)]
    pub callback_url: Option<Url>,
    /// The app's own id for it. Need not be unique.
    #[schema(min_length = 1, max_length = 128, nullable = false)]
    pub client_reference: Option<String>,
    /// The app's own data, given back as it is.
    #[schema(schema_with = metadata_schema)]
    pub metadata: BTreeMap<String, String>,
    /// Text and params are never shown or logged, and are erased when the message is final. Always so for category `otp`.
    #[schema(nullable = false)]
    pub sensitive: Option<bool>,
}

impl ContentFields {
    /// Reads them; what is wrong is noted with the reader and left out.
    pub fn read(reader: &mut FieldReader<'_, '_>) -> Self {
        Self {
            text: reader.text("text", TEXT_LENGTH),
            template: read_template(reader),
            category: reader.parsed("category", "otp, transactional or marketing"),
            channel: reader.parsed("channel", "sms or voice"),
            from: reader.text("from", SENDER_LENGTH),
            route: reader.text("route", NAME_LENGTH),
            provider: reader.text("provider", NAME_LENGTH),
            send_at: reader.timestamp("send_at"),
            validity_period: reader.integer("validity_period", MIN_VALIDITY, MAX_VALIDITY),
            callback_url: read_callback_url(reader),
            client_reference: reader.text("client_reference", REFERENCE_LENGTH),
            metadata: reader
                .string_map("metadata", MAP_ENTRIES, METADATA_NAME_LENGTH, MAP_VALUE_LENGTH)
                .unwrap_or_default(),
            sensitive: reader.boolean("sensitive"),
        }
    }
}

impl ContentFields {
    /// The document's description of them, to which a request adds its own.
    pub fn object() -> Object {
        match Self::schema() {
            RefOr::T(Schema::Object(object)) => object,
            // The derived schema of a struct is an object.
            RefOr::T(_) | RefOr::Ref(_) => Object::with_type(Type::Object),
        }
    }
}

fn read_template(reader: &mut FieldReader<'_, '_>) -> Option<TemplateUse> {
    let mut inner = reader.object("template")?;
    inner.require("name");
    let name = inner.text("name", NAME_LENGTH);
    let params = if inner.has("params") {
        inner.string_map("params", MAP_ENTRIES, NAME_LENGTH, MAP_VALUE_LENGTH)
    } else {
        Some(BTreeMap::new())
    };
    inner.finish();
    // Params that could not be read are noted already; without them the template would complain once more.
    Some(TemplateUse { name: name?, params: params? })
}

fn read_callback_url(reader: &mut FieldReader<'_, '_>) -> Option<Url> {
    let text = reader.text("callback_url", CALLBACK_URL_LENGTH)?;
    let url = Url::parse(&text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    });
    if url.is_none() {
        let detail = "An address that begins with http:// or https:// is expected, without a user.";
        reader.fault("callback_url", ProblemCode::Invalid, detail);
    }
    url
}

fn template_schema() -> RefOr<Schema> {
    let mut object = Object::with_type(Type::Object);
    object.required.push("name".into());
    let mut name = Object::with_type(Type::String);
    name.pattern = Some("^[a-z][a-z0-9_]{0,62}$".into());
    object.properties.insert("name".into(), Schema::Object(name).into());
    object.properties.insert("params".into(), string_map_schema("Values by name.", NAME_LENGTH));
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    Schema::Object(object).into()
}

fn category_schema() -> RefOr<Schema> {
    Ref::from_schema_name("Category").into()
}

fn channel_schema() -> RefOr<Schema> {
    Ref::from_schema_name("Channel").into()
}

/// The document's description of metadata.
pub fn metadata_schema() -> RefOr<Schema> {
    string_map_schema("The app's own data, given back as it is.", METADATA_NAME_LENGTH)
}

/// The document's description of an object of strings.
pub fn string_map_schema(description: &str, name_length: usize) -> RefOr<Schema> {
    let mut name = Object::with_type(Type::String);
    name.max_length = Some(name_length);
    let mut value = Object::with_type(Type::String);
    value.max_length = Some(MAP_VALUE_LENGTH);
    let mut map = Object::with_type(Type::Object);
    map.description = Some(description.into());
    map.max_properties = Some(MAP_ENTRIES);
    map.property_names = Some(Box::new(Schema::Object(name)));
    map.additional_properties = Some(Box::new(AdditionalProperties::RefOr(Schema::Object(value).into())));
    Schema::Object(map).into()
}

/// The body of `POST /v1/messages`: the shared fields and `to`, with exactly one of `text` and `template`.
#[derive(Debug, Clone, Copy)]
pub struct MessageCreate;

impl ToSchema for MessageCreate {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Category".into(), Category::schema()));
        schemas.push(("Channel".into(), Channel::schema()));
    }
}

impl PartialSchema for MessageCreate {
    fn schema() -> RefOr<Schema> {
        let mut fields = ContentFields::object();
        let mut to = Object::with_type(Type::String);
        to.description = Some("E.164, with `+`.".into());
        to.pattern = Some(r"^\+[1-9][0-9]{6,14}$".into());
        to.examples = vec!["+84901234567".into()];
        fields.properties.insert("to".into(), Schema::Object(to).into());
        fields.required = vec!["to".into()];
        fields.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        fields.description = None;
        let mut one = OneOf::new();
        for name in ["text", "template"] {
            let mut object = Object::new();
            object.schema_type = SchemaType::AnyValue;
            object.required.push(name.into());
            one.items.push(Schema::Object(object).into());
        }
        let mut both = AllOf::new();
        both.description = Some("One message to one recipient; exactly one of `text` and `template`.".into());
        both.items = vec![Schema::Object(fields).into(), Schema::OneOf(one).into()];
        Schema::AllOf(both).into()
    }
}
