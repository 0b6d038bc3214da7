//! Values of a template held against what the providers of the plan have registered, before anything is stored.
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

/// What is known to be wrong, by the first provider of the plan that has something to say. `place` is the pointer of the
/// object that the template stands in.
pub fn template_faults(content: &Content, plan: &Plan, loaded: &Loaded, place: &str) -> Vec<FieldError> {
    let template = content.template.as_ref().and_then(|used| loaded.config.templates.get(&used.name));
    let Some(template) = template else { return Vec::new() };
    let faults = plan.steps.iter().filter_map(|step| {
        let bound = routing::bind(content, Some(template), &step.provider)?;
        let faults = loaded.providers.get(&step.provider)?.check_template(&bound);
        let names = &template.bindings.get(&step.provider)?.params;
        Some(faults.into_iter().map(|fault| field_error(fault, names, place)).collect::<Vec<_>>())
    });
    faults.into_iter().find(|faults| !faults.is_empty()).unwrap_or_default()
}

fn field_error(fault: ParamFault, names: &[String], place: &str) -> FieldError {
    let mut pointer = format!("{place}/template");
    if let Some(name) = fault.index.and_then(|index| names.get(index)) {
        pointer.push_str("/params");
        push_token(&mut pointer, name);
    }
    FieldError::at(pointer, ProblemCode::TemplateParamsInvalid, fault.detail)
}
