//! What a message would become if it were sent now: its size, and each step of its route with the reason why it would be passed
//! over. Nothing is stored and no key is used up.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    compose::{route, waits_too_long},
    content_fields::MessageCreate,
    draft::{MessageDraft, Rules},
    template_check::{faults_of_steps, refusal},
};
use crate::{
    api::{auth::MayRead, error::ApiError, json_body::JsonBody, openapi::PreviewProblems, state::ApiState},
    dispatch::availability::Unavailable,
    domain::{
        Timestamp,
        content::Channel,
        error_code::ErrorCode,
        life::{Failover, Plan},
        segments::{Encoding, non_gsm_characters},
    },
    keys::Identity,
    routing::{NoPlan, StepReason},
};

/// What a message would become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Preview {
    /// As rendered; null when sensitive, or when only the provider knows the template's text.
    pub text: Option<String>,
    /// How the text is written on the air.
    #[schema(required = true)]
    pub encoding: Option<Encoding>,
    /// Septets for `gsm7`, UTF-16 units for `ucs2`.
    #[schema(required = true, minimum = 0)]
    pub characters: Option<usize>,
    /// Into how many parts the network splits it.
    #[schema(required = true, minimum = 1)]
    pub segments: Option<u16>,
    /// What made it `ucs2`, each once; empty when sensitive.
    pub non_gsm_characters: Vec<String>,
    /// The route that matches.
    #[schema(required = true)]
    pub route: Option<String>,
    /// The providers that would be tried, in order, and why one would be passed over. None is usable: the message itself would be
    /// refused, or wait, as `warnings` says.
    pub steps: Vec<PreviewStep>,
    /// What is worth to know, for people.
    pub warnings: Vec<String>,
}

/// One step of a route, as things are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PreviewStep {
    /// Which provider.
    pub provider: String,
    /// The channel it sends on.
    pub channel: Channel,
    /// The sender it would use.
    pub from: Option<String>,
    /// Would it be tried?
    pub usable: bool,
    /// Why not.
    pub reason: Option<ErrorCode>,
}

/// See what a message would become, without sending it
///
/// Takes the body of `POST /v1/messages` and refuses with `422` what is wrong in itself. What depends on routes and providers is
/// in the answer: a message that no provider can carry is previewed too, with the reason at each step.
#[utoipa::path(
    post, path = "/v1/preview", operation_id = "previewMessage", tag = "Messages",
    request_body(content = MessageCreate),
    responses((status = 200, description = "The preview.", body = Preview), PreviewProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn preview(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    JsonBody(body): JsonBody,
) -> Result<Json<Preview>, ApiError> {
    Ok(Json(look_ahead(&state, &identity, &body).await?))
}

async fn look_ahead(state: &ApiState, identity: &Identity, body: &Value) -> Result<Preview, ApiError> {
    let (loaded, now) = (state.loaded.load(), state.clock.now());
    let app = loaded.config.apps.get(&identity.app).ok_or(ApiError::Unauthenticated)?;
    let draft = MessageDraft::read(body, Rules { config: &loaded.config, app, now })?;
    let mut warnings = of_content(&draft, identity);
    let (steps, route) = match route(&draft, identity, &loaded) {
        Ok(decision) => {
            let mut steps = as_of_now(state, decision.considered, now, &mut warnings);
            warnings.extend(of_plan(state, identity, &draft, &decision.plan, &steps));
            let template = draft.content.template.as_ref().map(|used| used.name.as_str());
            // A test key's messages never leave, and so nobody is asked.
            if !identity.test
                && state.engine.has_opted_out(&identity.app, draft.to.as_str(), &decision.plan, template).await?
            {
                for step in steps.iter_mut().filter(|step| step.usable) {
                    (step.usable, step.reason) = (false, Some(ErrorCode::RecipientOptedOut));
                }
                warnings.push("It would be refused: recipient_opted_out: The recipient has opted out.".to_owned());
            }
            let of_steps = faults_of_steps(&draft.content, &decision.plan, &loaded, "");
            let told =
                of_steps.iter().zip(&decision.plan.steps).filter_map(|(faults, step)| Some((faults.first()?, step)));
            warnings.extend(told.map(|(fault, step)| format!("{} would refuse it: {}", step.provider, fault.detail)));
            if !refusal(of_steps).is_empty() {
                warnings.push("It would be refused: no step of its route takes these values.".to_owned());
            }
            (steps, decision.plan.route)
        }
        Err(none) => {
            warnings.push(of_no_plan(&none));
            (none.considered.into_iter().map(PreviewStep::from).collect(), none.route)
        }
    };
    Ok(shown(draft, steps, route, warnings))
}

fn shown(draft: MessageDraft, steps: Vec<PreviewStep>, route: Option<String>, warnings: Vec<String>) -> Preview {
    let (measure, sensitive) = (draft.measure, draft.terms.sensitive);
    let text = draft.content.text.filter(|_| !sensitive);
    let non_gsm = text.as_deref().map(non_gsm_characters).unwrap_or_default();
    Preview {
        text,
        encoding: measure.map(|measure| measure.encoding),
        characters: measure.map(|measure| measure.characters),
        segments: measure.map(|measure| measure.segments),
        non_gsm_characters: non_gsm.into_iter().map(String::from).collect(),
        route,
        steps,
        warnings,
    }
}

impl From<StepReason> for PreviewStep {
    fn from(considered: StepReason) -> Self {
        let StepReason { provider, channel, from, usable, reason } = considered;
        Self { provider, channel, from, usable, reason }
    }
}

/// The steps with what is known of their providers at this moment.
fn as_of_now(
    state: &ApiState,
    considered: Vec<StepReason>,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Vec<PreviewStep> {
    let live = state.engine.live();
    let look = |considered: StepReason| {
        let mut step = PreviewStep::from(considered);
        let provider = live.providers.get(&step.provider).filter(|_| step.usable);
        if let Some(why) = provider.and_then(|provider| provider.availability.unavailable(now)) {
            warnings.push(format!("{}: {}.", step.provider, why.told()));
            (step.usable, step.reason) = (false, Some(reason_of(why)));
        }
        step
    };
    considered.into_iter().map(look).collect()
}

fn reason_of(why: Unavailable) -> ErrorCode {
    match why {
        Unavailable::Throttled => ErrorCode::ProviderRateLimited,
        Unavailable::Paused | Unavailable::ClockOff | Unavailable::AccountFault | Unavailable::BreakerOpen => {
            ErrorCode::ProviderUnavailable
        }
    }
}

fn of_content(draft: &MessageDraft, identity: &Identity) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(measure) = draft.measure {
        if measure.encoding == Encoding::Ucs2 {
            let text = draft.content.text.as_deref().filter(|_| !draft.terms.sensitive).unwrap_or_default();
            let found: Vec<String> = non_gsm_characters(text).into_iter().map(|found| format!("`{found}`")).collect();
            let because = if found.is_empty() { String::new() } else { format!(" because of {}", found.join(", ")) };
            warnings.push(format!("It is UCS-2{because}: a segment holds 70 characters instead of 160."));
        }
        if measure.segments > 1 {
            warnings.push(format!("It takes {} segments, and each is charged.", measure.segments));
        }
    }
    if identity.test {
        warnings.push("This is a test key: the message would go to the sandbox only.".to_owned());
    }
    warnings
}

fn of_no_plan(none: &NoPlan) -> String {
    format!("It would be refused: {}: {}", none.code.as_str(), none.code.message())
}

fn of_plan(
    state: &ApiState,
    identity: &Identity,
    draft: &MessageDraft,
    plan: &Plan,
    steps: &[PreviewStep],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let usable = steps.iter().filter(|step| step.usable).count();
    if usable == 0 {
        warnings.push("No provider is there at the moment: it would wait until its validity ends.".to_owned());
    }
    if usable > 1 && plan.failover == Failover::Never {
        warnings.push("The route never goes on: only the first of its steps that can be used is tried.".to_owned());
    }
    if state.engine.is_held() {
        warnings.push("All sending is held: it would wait until an operator releases it.".to_owned());
    }
    let validity = std::time::Duration::from_secs(draft.terms.validity_period.into());
    if waits_too_long(state, &identity.app, plan, draft.terms.category, validity, draft.terms.send_at).is_some() {
        warnings
            .push("At the moment it would be refused: more waits for this route than can be sent in time.".to_owned());
    }
    warnings
}
