//! From a message to the providers that will be tried, in order.
//!
//! The decision is made once, when the message is accepted, and is pure: it reads the configuration and what the drivers
//! say of themselves, never a provider's health or a clock. A paused provider or an open breaker is met at the call, where
//! it is a reason to go on to the next step. Nor is anything checked here that an app may or may not name; the request
//! was held against that before.

use crate::{
    config::{Config, Route, RouteMatch},
    domain::{
        capabilities::Capabilities,
        content::{Category, Channel, Content},
        error_code::ErrorCode,
        life::{Failover, OnUnknown, Plan},
        phone_number::PhoneNumber,
        template::{BoundTemplate, Template},
    },
};

mod step;

pub use step::sender_for;

/// The provider that messages of test keys go to, whatever else they ask for. It is always configured.
pub const TEST_PROVIDER: &str = "sandbox";

/// What routing needs to know of a message.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// Whose it is.
    pub app: &'a str,
    /// Was it asked for with a test key?
    pub test: bool,
    /// For whom.
    pub to: &'a PhoneNumber,
    /// The recipient's country, as [`PhoneNumber::country`] says.
    pub country: Option<&'a str>,
    /// The template's category, or the one the request gives for its text.
    pub category: Category,
    /// Only on this channel.
    pub channel: Option<Channel>,
    /// From this sender.
    pub from: Option<&'a str>,
    /// By this route.
    pub route: Option<&'a str>,
    /// By this provider alone.
    pub provider: Option<&'a str>,
    /// What it says, as rendered.
    pub content: &'a Content,
    /// The template that the content names.
    pub template: Option<&'a Template>,
}

/// What drivers say of themselves, by the provider's name.
pub type CapabilitiesOf<'c> = &'c dyn Fn(&str) -> Option<&'c Capabilities>;

/// How a message will go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The steps that can carry it.
    pub plan: Plan,
    /// All steps of the route, with the reason where one is passed over.
    pub considered: Vec<StepReason>,
}

/// No provider can carry a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", code.message())]
pub struct NoPlan {
    /// `no_route`, `content_unsupported` or `destination_not_allowed`.
    pub code: ErrorCode,
    /// The route that was found; none when there was none or the request named a provider.
    pub route: Option<String>,
    /// All steps of that route, each with the reason why it is passed over.
    pub considered: Vec<StepReason>,
}

/// What was thought of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReason {
    /// Which provider.
    pub provider: String,
    /// The channel it sends on.
    pub channel: Channel,
    /// The sender it would use.
    pub from: Option<String>,
    /// Is it part of the plan?
    pub usable: bool,
    /// Why not.
    pub reason: Option<ErrorCode>,
}

/// A step before it is known whether it can be used.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    provider: &'a str,
    from: Option<&'a str>,
    after_seconds: Option<u32>,
}

/// Where the steps come from.
struct Candidates<'a> {
    route: Option<&'a str>,
    steps: Vec<Candidate<'a>>,
    failover: Failover,
    on_unknown: OnUnknown,
}

/// Decides which providers a message goes to, in which order.
///
/// The first of these that applies: the sandbox for a test key, the request's provider, its route, the first route whose
/// conditions hold, the app's default route. Of its steps those are left out that cannot carry the message. Steps whose
/// provider does not exist are not even considered; a validated configuration has none.
pub fn decide(
    request: &RouteRequest<'_>,
    config: &Config,
    capabilities: CapabilitiesOf<'_>,
) -> Result<Decision, NoPlan> {
    let Some(candidates) = candidates(request, config) else {
        return Err(NoPlan { code: ErrorCode::NoRoute, route: None, considered: Vec::new() });
    };
    let (mut considered, mut steps) = (Vec::new(), Vec::new());
    for candidate in &candidates.steps {
        let known = config.providers.get(candidate.provider).zip(capabilities(candidate.provider));
        let Some((section, capabilities)) = known else { continue };
        let judged = step::judge(request, *candidate, section, capabilities);
        if judged.reason.usable {
            steps.push(judged.step);
        }
        considered.push(judged.reason);
    }
    let route = candidates.route.map(str::to_owned);
    let Some(first) = steps.first_mut() else {
        return Err(NoPlan { code: why_none(request, &considered), route, considered });
    };
    // What it should have waited for is not part of the plan.
    first.after_seconds = None;
    let plan = Plan { route, steps, failover: candidates.failover, on_unknown: candidates.on_unknown };
    Ok(Decision { plan, considered })
}

/// What a provider gets of a message's template: its own template with the values in its own order. None when the message
/// has no template, or the template no binding for this provider, or the binding wants a value that the message lacks.
pub fn bind(content: &Content, template: Option<&Template>, provider: &str) -> Option<BoundTemplate> {
    let values = &content.template.as_ref()?.params;
    template?.bindings.get(provider)?.bind(values)
}

fn candidates<'a>(request: &RouteRequest<'a>, config: &'a Config) -> Option<Candidates<'a>> {
    let named = if request.test { Some(TEST_PROVIDER) } else { request.provider };
    if let Some(provider) = named {
        let steps = vec![Candidate { provider, from: None, after_seconds: None }];
        return Some(Candidates { route: None, steps, failover: Failover::Never, on_unknown: OnUnknown::Hold });
    }
    let by_name = |name: &str| config.routes.iter().find(|route| route.name == name);
    let route = match request.route {
        Some(name) => by_name(name)?,
        None => config.routes.iter().find(|route| holds(&route.matches, request)).or_else(|| {
            let default = config.apps.get(request.app)?.default_route.as_deref()?;
            by_name(default)
        })?,
    };
    Some(of_route(route))
}

fn of_route(route: &Route) -> Candidates<'_> {
    let steps = route.steps.iter().map(|step| Candidate {
        provider: &step.provider,
        from: step.from.as_deref(),
        after_seconds: step.after_seconds,
    });
    Candidates {
        route: Some(&route.name),
        steps: steps.collect(),
        failover: route.failover,
        on_unknown: route.on_unknown,
    }
}

/// All given conditions must hold. The channel is a condition only where the request names one: without it the route
/// decides, and may well have steps on both.
fn holds(conditions: &RouteMatch, request: &RouteRequest<'_>) -> bool {
    fn any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
        list.is_empty() || list.iter().any(fits)
    }
    any(&conditions.apps, |app| app == request.app)
        && any(&conditions.countries, |country| Some(country.as_str()) == request.country)
        && any(&conditions.prefixes, |prefix| request.to.as_str().starts_with(prefix.as_str()))
        && any(&conditions.categories, |category| *category == request.category)
        && request.channel.is_none_or(|channel| any(&conditions.channels, |listed| *listed == channel))
}

/// A test number that no step may take is a wrong destination; everything else is told by its steps.
fn why_none(request: &RouteRequest<'_>, considered: &[StepReason]) -> ErrorCode {
    let destination = |step: &StepReason| step.reason == Some(ErrorCode::DestinationNotAllowed);
    if considered.is_empty() {
        ErrorCode::NoRoute
    } else if request.to.is_test() && considered.iter().all(destination) {
        ErrorCode::DestinationNotAllowed
    } else {
        ErrorCode::ContentUnsupported
    }
}

#[cfg(test)]
mod tests;
