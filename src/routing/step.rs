//! Can this provider carry this message, and from which sender?

use super::{Candidate, RouteRequest, StepReason, bind};
use crate::{
    config::ProviderSection,
    domain::{
        capabilities::{Capabilities, ContentRule},
        error_code::ErrorCode,
        life::Step,
        template::{Binding, digits_to_read},
    },
};

/// A step, and what was thought of it.
pub(super) struct Judged {
    pub(super) step: Step,
    pub(super) reason: StepReason,
}

/// The sender of a call: what the request or the route's step names, else what the template's binding names (it belongs to
/// the registered signature), else the provider's own.
pub fn sender_for(step: &Step, binding: Option<&Binding>, section: &ProviderSection) -> Option<String> {
    let bound = || binding.and_then(|binding| binding.from.clone());
    step.from.clone().or_else(bound).or_else(|| section.from.clone())
}

/// Holds one step of a route against the message. The first reason found is the one that is told.
pub(super) fn judge(
    request: &RouteRequest<'_>,
    candidate: Candidate<'_>,
    section: &ProviderSection,
    capabilities: &Capabilities,
) -> Judged {
    let binding = request.template.and_then(|template| template.bindings.get(candidate.provider));
    let sender = allowed_sender(request.from.or(candidate.from), binding, section, capabilities);
    let reason = if request.test {
        // A test key is there to try requests out, on a provider that takes anything.
        None
    } else if request.channel.is_some_and(|channel| channel != capabilities.channel) {
        Some(ErrorCode::ContentUnsupported)
    } else if !reaches(request, section, capabilities) {
        Some(ErrorCode::DestinationNotAllowed)
    } else if sender.is_err() {
        Some(ErrorCode::SenderNotAllowed)
    } else {
        cannot_carry(request, candidate.provider, capabilities)
    };
    let step = Step {
        provider: candidate.provider.to_owned(),
        channel: capabilities.channel,
        from: sender.unwrap_or_else(|asked| Some(asked.to_owned())),
        after_seconds: candidate.after_seconds,
    };
    let from = sender_for(&step, binding, section);
    let reason = StepReason {
        provider: candidate.provider.to_owned(),
        channel: capabilities.channel,
        from,
        usable: reason.is_none(),
        reason,
    };
    Judged { step, reason }
}

/// A list of countries is a promise to send nowhere else, so a number without a country is not on it.
fn reaches(request: &RouteRequest<'_>, section: &ProviderSection, capabilities: &Capabilities) -> bool {
    let on = |list: Option<&[String]>| {
        list.is_none_or(|list| list.iter().any(|country| Some(country.as_str()) == request.country))
    };
    (capabilities.test_numbers || !request.to.is_test())
        && on(section.countries.as_deref())
        && on(capabilities.countries.as_deref())
}

/// The sender that was asked for, as the provider writes it, if the provider may use it.
fn allowed_sender<'a>(
    asked: Option<&'a str>,
    binding: Option<&Binding>,
    section: &ProviderSection,
    capabilities: &Capabilities,
) -> Result<Option<String>, &'a str> {
    let Some(asked) = asked else { return Ok(None) };
    let bound = binding.and_then(|binding| binding.from.as_ref());
    let mut own = section.from.iter().chain(&section.senders).chain(bound).peekable();
    // Nothing leaves the sandbox, so it may speak for anyone until it is told otherwise.
    if capabilities.test_numbers && own.peek().is_none() {
        return Ok(Some(asked.to_owned()));
    }
    own.find(|own| same_sender(own, asked)).map(|own| Some(own.clone())).ok_or(asked)
}

/// Providers write numbers of their own without `+`, the API writes them with it.
fn same_sender(own: &str, asked: &str) -> bool {
    fn bare(text: &str) -> &str {
        text.strip_prefix('+').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or(text)
    }
    bare(own) == bare(asked)
}

fn cannot_carry(request: &RouteRequest<'_>, provider: &str, capabilities: &Capabilities) -> Option<ErrorCode> {
    let bound = bind(request.content, request.template, provider);
    let text = request.content.text.as_deref();
    let carries = match capabilities.content {
        // The sandbox also takes templates that only other providers know the text of: it sends nothing anyway.
        ContentRule::Text => text.is_some() || capabilities.test_numbers,
        ContentRule::BoundTemplate => bound.as_ref().is_some_and(|bound| bound.template_id.is_some()),
        ContentRule::Digits { max } => digits_to_read(text, bound.as_ref(), max).is_some(),
    };
    let limit = capabilities.max_text_characters.filter(|_| capabilities.content == ContentRule::Text);
    let longest = limit.and_then(|limit| usize::try_from(limit).ok());
    if !carries {
        Some(ErrorCode::ContentUnsupported)
    } else if text.zip(longest).is_some_and(|(text, longest)| text.chars().count() > longest) {
        Some(ErrorCode::ContentTooLong)
    } else {
        None
    }
}
