//! Values of a template held against what the providers of the plan have registered, before anything is stored. Refused is only
//! what every step of the plan would fail on.
//!
//! A driver answers from what it knows; nobody is asked and nobody waits. What is not known yet is let through, and the provider
//! decides when the message is sent.

use crate::{
    api::{
        json_body::push_token,
        problem::{FieldError, ProblemCode},
        state::Loaded,
    },
    domain::{content::Content, life::Plan},
    providers::ParamFault,
    routing,
};

/// What is known to be wrong, by the first provider of the plan, where no provider of it would take the values: one that would
/// makes the message worth a try. `place` is the pointer of the object that the template stands in.
pub fn template_faults(content: &Content, plan: &Plan, loaded: &Loaded, place: &str) -> Vec<FieldError> {
    refusal(faults_of_steps(content, plan, loaded, place))
}

/// The faults of the first step, if every step has some.
pub fn refusal(of_steps: Vec<Vec<FieldError>>) -> Vec<FieldError> {
    if of_steps.iter().any(Vec::is_empty) { Vec::new() } else { of_steps.into_iter().next().unwrap_or_default() }
}

/// What is known to be wrong for each step of the plan, in its order. Nothing is wrong where a step needs no such template, or
/// where nothing is known of it.
pub fn faults_of_steps(content: &Content, plan: &Plan, loaded: &Loaded, place: &str) -> Vec<Vec<FieldError>> {
    let template = content.template.as_ref().and_then(|used| loaded.config.templates.get(&used.name));
    let of_step = |provider: &str| {
        let bound = routing::bind(content, template, provider)?;
        let names = &template?.bindings.get(provider)?.params;
        let faults = loaded.providers.get(provider)?.check_template(&bound);
        Some(faults.into_iter().map(|fault| field_error(fault, names, place)).collect())
    };
    plan.steps.iter().map(|step| of_step(&step.provider).unwrap_or_default()).collect()
}

fn field_error(fault: ParamFault, names: &[String], place: &str) -> FieldError {
    let mut pointer = format!("{place}/template");
    if let Some(name) = fault.index.and_then(|index| names.get(index)) {
        pointer.push_str("/params");
        push_token(&mut pointer, name);
    }
    FieldError::at(pointer, ProblemCode::TemplateParamsInvalid, fault.detail)
}
