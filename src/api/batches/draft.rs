//! From the body of a batch to its messages: what is wrong with the request is told at once; what is wrong with one recipient
//! makes its message `failed` and spoils nothing else.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::fields::{BatchFields, Recipient};
use crate::{
    api::{
        error::ApiError,
        field_reader::Problems,
        messages::{
            compose::{new_message, route, to_insert},
            draft::{MessageDraft, Rules, Terms, check_destination, compose, find_template},
            template_check::template_faults,
        },
        state::{ApiState, Loaded},
    },
    dispatch::batches::BatchInsert,
    domain::{
        batch::NewBatch,
        content::{Content, TemplateUse},
        error_code::ErrorCode,
        ids::{BatchId, MessageId},
        life::{Cause, Failover, OnUnknown, Plan},
        message::NewMessage,
        phone_number::PhoneNumber,
        segments::Measure,
        template::Template,
    },
    keys::Identity,
    store::messages::Failed,
};

/// A batch whose request was understood and allowed.
#[derive(Debug)]
pub struct BatchDraft<'a> {
    fields: BatchFields,
    template: Option<&'a Template>,
    terms: Terms,
    rules: Rules<'a>,
}

impl<'a> BatchDraft<'a> {
    /// Reads the body of `POST /v1/batches`.
    pub fn read(body: &Value, rules: Rules<'a>) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let fields = BatchFields::read(body, &mut problems);
        let template = find_template(&fields.shared, rules, &mut problems);
        let terms = Terms::of(&fields.shared, template, rules, &mut problems);
        // A text for all that is too long is a fault of the request and not of a recipient.
        compose(fields.shared.text.clone(), None, None, "", rules, &mut problems);
        problems.check()?;
        Ok(Self { fields, template, terms, rules })
    }

    /// Makes its messages, each with its route.
    pub fn compose(self, state: &ApiState, identity: &Identity, loaded: &Loaded) -> Result<BatchInsert, ApiError> {
        let Self { fields: BatchFields { shared, recipients }, template, terms, rules } = self;
        let now = rules.now;
        let batch = NewBatch {
            id: BatchId::new(now),
            app: identity.app.clone(),
            test: identity.test,
            client_reference: shared.client_reference,
            metadata: shared.metadata,
            callback_url: terms.callback_url.clone().map(String::from),
            send_at: terms.send_at,
            total: u16::try_from(recipients.len()).unwrap_or(u16::MAX),
            created_at: now,
        };
        let common = Common { text: shared.text, used: shared.template, template, terms, rules };
        let mut insert = BatchInsert { batch, messages: Vec::new(), failed: Vec::new() };
        let mut taken: HashSet<PhoneNumber> = HashSet::new();
        // In the order of the recipients, also while others make ids of other moments.
        let mut ids: Vec<MessageId> = recipients.iter().map(|_| MessageId::new(now)).collect();
        ids.sort_unstable();
        for (recipient, id) in recipients.into_iter().zip(ids) {
            let (draft, planned) = common.plan(recipient, &insert.batch, &taken, identity, loaded);
            let batch_id = Some(insert.batch.id);
            match planned {
                Ok(plan) => {
                    taken.insert(draft.to.clone());
                    let message = NewMessage { id, ..new_message(draft, plan, identity, batch_id, now) };
                    insert.messages.push(to_insert(state, message)?);
                }
                Err((code, route)) => {
                    let (channel, from) = (draft.terms.channel, draft.terms.from.clone());
                    let plan =
                        Plan { route, steps: Vec::new(), failover: Failover::Never, on_unknown: OnUnknown::Hold };
                    let message = NewMessage { id, ..new_message(draft, plan, identity, batch_id, now) };
                    insert.failed.push(Failed { message, cause: Cause::own(code, false), channel, from });
                }
            }
        }
        Ok(insert)
    }
}

/// What holds for all recipients.
struct Common<'a> {
    text: Option<String>,
    used: Option<TemplateUse>,
    template: Option<&'a Template>,
    terms: Terms,
    rules: Rules<'a>,
}

/// Why a message cannot be sent, and the route that was found, if any.
type Unsendable = (ErrorCode, Option<String>);

impl Common<'_> {
    /// The message of one recipient, and how it will go; or why it cannot.
    fn plan(
        &self,
        recipient: Recipient,
        batch: &NewBatch,
        taken: &HashSet<PhoneNumber>,
        identity: &Identity,
        loaded: &Loaded,
    ) -> (MessageDraft, Result<Plan, Unsendable>) {
        let Recipient { to, text, params, client_reference, metadata } = recipient;
        let number = PhoneNumber::parse(&to);
        let country = number.as_ref().ok().and_then(PhoneNumber::country);
        let mut problems = Problems::default();
        if let Ok(number) = &number {
            check_destination(number, country.as_deref(), self.rules, &mut problems);
        }
        let (content, measure) = self.content(text, params, &mut problems);
        let draft = MessageDraft {
            // One that is none is shown as it was given.
            to: number.clone().unwrap_or_else(|_| PhoneNumber::from_stored(to)),
            country,
            content,
            measure,
            terms: self.terms.clone(),
            client_reference: client_reference.or_else(|| batch.client_reference.clone()),
            metadata: metadata.unwrap_or_else(|| batch.metadata.clone()),
        };
        let planned = match (number, problems.first()) {
            (Err(_), _) => Err((ErrorCode::RecipientInvalid, None)),
            (Ok(number), _) if taken.contains(&number) => Err((ErrorCode::DuplicateMessage, None)),
            // Problems of a message and the causes of a failure that an app can see coming have the same names.
            (Ok(_), Some(code)) => Err((code.as_str().parse().unwrap_or(ErrorCode::RequestInvalid), None)),
            (Ok(_), None) => match route(&draft, identity, loaded) {
                Ok(decision) if !template_faults(&draft.content, &decision.plan, loaded, "").is_empty() => {
                    Err((ErrorCode::TemplateParamsInvalid, decision.plan.route))
                }
                Ok(decision) => Ok(decision.plan),
                Err(none) => Err((none.code, none.route)),
            },
        };
        (draft, planned)
    }

    fn content(
        &self,
        text: Option<String>,
        params: Option<BTreeMap<String, String>>,
        problems: &mut Problems,
    ) -> (Content, Option<Measure>) {
        let used = self.used.clone().map(|mut used| {
            used.params.extend(params.unwrap_or_default());
            used
        });
        compose(text.or_else(|| self.text.clone()), used, self.template, "", self.rules, problems)
    }
}
