//! The fields of a batch and of its recipients, as a request gives them: types, lengths and bounds.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Array, Ref, RefOr, Schema, schema::AdditionalProperties},
};

use crate::{
    api::{
        field_reader::{FieldReader, Problems},
        messages::{
            content_fields::{
                ContentFields, MAP_ENTRIES, MAP_VALUE_LENGTH, METADATA_NAME_LENGTH, NAME_LENGTH, REFERENCE_LENGTH,
                TEXT_LENGTH, metadata_schema, string_map_schema,
            },
            draft::{ONE_CONTENT, check_exclusions},
        },
        problem::ProblemCode,
    },
    domain::content::{Category, Channel},
};

/// Recipients of one batch.
pub const RECIPIENTS: usize = 1000;
/// Characters of what stands for a number, none of which has more: one that is wrong comes back as it was given, but not as a novel.
const NUMBER_LENGTH: usize = 32;

/// The body of `POST /v1/batches`: the shared fields and the recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFields {
    /// What holds for all messages.
    pub shared: ContentFields,
    /// For whom.
    pub recipients: Vec<Recipient>,
}

/// One recipient of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
pub struct Recipient {
    /// E.164, with `+`. What is no possible number becomes a message in `failed`, with its first 32 characters, and spoils nothing.
    #[schema(examples("+84901234567"))]
    pub to: String,
    /// Instead of the batch's `text`.
    #[schema(min_length = 1, max_length = 1600, nullable = false)]
    pub text: Option<String>,
    /// Values for the batch's `template`, in addition to its own `params` and before those.
    #[schema(schema_with = params_schema)]
    pub params: Option<BTreeMap<String, String>>,
    /// Instead of the batch's.
    #[schema(min_length = 1, max_length = 128, nullable = false)]
    pub client_reference: Option<String>,
    /// Instead of the batch's.
    #[schema(schema_with = metadata_schema)]
    pub metadata: Option<BTreeMap<String, String>>,
}

impl BatchFields {
    /// Reads a body; what is wrong is noted and left out.
    pub fn read(body: &Value, problems: &mut Problems) -> Self {
        let Some(mut reader) = FieldReader::new(body, String::new(), problems) else { return Self::default() };
        reader.require("recipients");
        let entries = reader.array("recipients", RECIPIENTS).unwrap_or_default();
        let shared = ContentFields::read(&mut reader);
        check_exclusions(&mut reader);
        // A text of one recipient shows that the others were forgotten, one by one; without any the batch has nothing to say.
        let says = |key| reader.has(key);
        let (text, template) = (says("text"), says("template"));
        let own_texts = entries.iter().any(|(_, entry)| entry.get("text").is_some());
        if !text && !template && !own_texts {
            reader.fault("text", ProblemCode::Required, ONE_CONTENT);
        }
        reader.finish();
        let form = Form { template, text_needed: !text && !template && own_texts };
        let recipients =
            entries.into_iter().map(|(pointer, entry)| Recipient::read(entry, pointer, form, problems)).collect();
        Self { shared, recipients }
    }
}

/// What a recipient's entry has to fit.
#[derive(Debug, Clone, Copy)]
struct Form {
    template: bool,
    text_needed: bool,
}

impl Recipient {
    fn read(entry: &Value, pointer: String, form: Form, problems: &mut Problems) -> Self {
        let Some(mut reader) = FieldReader::new(entry, pointer, problems) else { return Self::default() };
        reader.require("to");
        if form.template && reader.has("text") {
            reader.fault("text", ProblemCode::MutuallyExclusive, ONE_CONTENT);
        }
        if !form.template && reader.has("params") {
            reader.fault(
                "params",
                ProblemCode::MutuallyExclusive,
                "Params are for a template, and the batch has none.",
            );
        }
        if form.text_needed {
            reader.require("text");
        }
        let recipient = Self {
            // Whatever it is: what is no number is this recipient's own fault.
            to: reader.string("to").unwrap_or_default().chars().take(NUMBER_LENGTH).collect(),
            text: reader.text("text", TEXT_LENGTH),
            params: reader.string_map("params", MAP_ENTRIES, NAME_LENGTH, MAP_VALUE_LENGTH),
            client_reference: reader.text("client_reference", REFERENCE_LENGTH),
            metadata: reader.string_map("metadata", MAP_ENTRIES, METADATA_NAME_LENGTH, MAP_VALUE_LENGTH),
        };
        reader.finish();
        recipient
    }
}

fn params_schema() -> RefOr<Schema> {
    string_map_schema("Values by name, in addition to those of the batch and before them.", NAME_LENGTH)
}

/// The document's description of a body: the shared fields and the recipients.
#[derive(Debug, Clone, Copy)]
pub struct BatchCreate;

impl ToSchema for BatchCreate {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Category".into(), Category::schema()));
        schemas.push(("Channel".into(), Channel::schema()));
        schemas.push(("Recipient".into(), Recipient::schema()));
    }
}

impl PartialSchema for BatchCreate {
    fn schema() -> RefOr<Schema> {
        let mut fields = ContentFields::object();
        let mut recipients = Array::new(Ref::from_schema_name("Recipient"));
        recipients.min_items = Some(1);
        recipients.max_items = Some(RECIPIENTS);
        fields.properties.insert("recipients".into(), Schema::Array(recipients).into());
        fields.required = vec!["recipients".into()];
        fields.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        fields.description = Some(
            "One message to each recipient. `text` or `template`; without either, each recipient brings its own `text`."
                .into(),
        );
        Schema::Object(fields).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::error::ApiError;

    fn faults(body: &Value) -> Vec<(String, ProblemCode)> {
        let mut problems = Problems::default();
        BatchFields::read(body, &mut problems);
        let Err(ApiError::Invalid(errors)) = problems.check() else { return Vec::new() };
        errors.into_iter().map(|error| (error.pointer.unwrap_or_default(), error.code)).collect()
    }

    fn fault(pointer: &str, code: ProblemCode) -> Vec<(String, ProblemCode)> {
        vec![(pointer.to_owned(), code)]
    }

    #[test]
    fn a_batch_needs_something_to_say_to_everybody() {
        let to = "+99900000001";
        for (body, expected) in [
            (json!({ "text": "hi", "recipients": [{ "to": to }] }), vec![]),
            (json!({ "recipients": [{ "to": to, "text": "hi" }] }), vec![]),
            (json!({ "text": "hi", "recipients": [{ "to": to, "text": "you" }, { "to": to }] }), vec![]),
            (json!({ "recipients": [{ "to": to }] }), fault("/text", ProblemCode::Required)),
            (
                json!({ "recipients": [{ "to": to, "text": "hi" }, { "to": to }] }),
                fault("/recipients/1/text", ProblemCode::Required),
            ),
            (
                json!({ "template": { "name": "a" }, "recipients": [{ "to": to, "text": "hi" }] }),
                fault("/recipients/0/text", ProblemCode::MutuallyExclusive),
            ),
            (
                json!({ "text": "hi", "recipients": [{ "to": to, "params": {} }] }),
                fault("/recipients/0/params", ProblemCode::MutuallyExclusive),
            ),
        ] {
            assert_eq!(faults(&body), expected, "{body}");
        }
    }

    #[test]
    fn params_of_a_recipient_are_told_from_none() {
        let mut problems = Problems::default();
        let body = json!({ "template": { "name": "a" }, "recipients": [{ "to": "1" }, { "to": "2", "params": {} }] });
        let read = BatchFields::read(&body, &mut problems);
        assert!(problems.is_empty());
        assert_eq!((read.recipients[0].params.is_some(), read.recipients[1].params.is_some()), (false, true));
    }
}
