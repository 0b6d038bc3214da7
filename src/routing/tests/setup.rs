//! A configuration with one provider of each kind, and a message to send through it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::{
        App, Config, Database, Dispatch, Limits, LogFormat, OptOut, PrefixVelocity, ProviderSection, RateRule,
        Retention, Role, Route, RouteMatch, RouteStep, Server, Telemetry,
    },
    domain::{
        capabilities::{Capabilities, ContentRule, Reports},
        content::{Category, Channel, Content, TemplateUse},
        error_code::ErrorCode,
        life::{Failover, OnUnknown, Plan},
        phone_number::PhoneNumber,
        template::{Binding, Param, Template},
    },
    routing::{Decision, NoPlan, RouteRequest, decide},
};

pub(super) fn config(routes: Vec<Route>) -> Config {
    let mut config = Config {
        server: Server {
            listen: ([127, 0, 0, 1], 8080).into(),
            callback_listen: None,
            public_url: None,
            trusted_proxies: vec![],
            secret_key: vec![],
            spool_dir: None,
            spool_max_bytes: 0,
        },
        database: Database { url: None, data_dir: "data".into(), max_connections: 16, allow_unsafe_durability: false },
        dispatch: Dispatch { lease: Duration::from_secs(30), max_attempts: 4, hold_on_start: false },
        retention: Retention { messages_days: 90 },
        opt_out: OptOut { stop: vec![], start: vec![] },
        limits: Limits {
            otp_per_number: RateRule { count: 5, per: Duration::from_mins(10) },
            prefix_velocity: PrefixVelocity::Off,
            max_segments: 10,
        },
        telemetry: Telemetry { log_format: LogFormat::Json, otlp_endpoint: None },
        providers: BTreeMap::new(),
        templates: BTreeMap::new(),
        routes,
        apps: BTreeMap::from([("shop".to_owned(), app(None)), ("fallback".to_owned(), app(Some("last")))]),
        first_start: false,
    };
    for (name, from, senders, countries) in [
        ("sandbox", None, &[][..], None),
        ("nx", Some("8615088888888"), &["8615099999999", "ACME"][..], None),
        ("nx_cn", Some("8615088888888"), &[][..], Some("CN")),
        ("huawei", Some("isms1"), &[][..], None),
        ("voice", None, &[][..], None),
    ] {
        config.providers.insert(name.to_owned(), section(from, senders, countries));
    }
    config
}

pub(super) fn app(default_route: Option<&str>) -> App {
    App {
        role: Role::App,
        keys: vec![],
        test_keys: vec![],
        webhook_url: None,
        webhook_secret: vec![],
        webhook_events: vec![],
        callback_hosts: vec![],
        inbound_numbers: vec![],
        default_route: default_route.map(Into::into),
        rate_per_second: None,
        daily_limit: None,
        countries: None,
        routes: None,
        providers: None,
        templates: None,
        senders: None,
        max_segments: None,
    }
}

pub(super) fn section(from: Option<&str>, senders: &[&str], country: Option<&str>) -> ProviderSection {
    ProviderSection {
        driver: "any".into(),
        from: from.map(Into::into),
        senders: senders.iter().map(|&sender| sender.into()).collect(),
        countries: country.map(|country| vec![country.into()]),
        daily_limit: None,
        balance_alarm: None,
        callback_token: vec![],
        callback_allow: vec![],
        rate_per_second: None,
        max_in_flight: 32,
        timeout: Duration::from_secs(10),
        report_window: None,
        settings: toml::Table::new(),
    }
}

pub(super) fn capabilities(channel: Channel, content: ContentRule) -> Capabilities {
    Capabilities {
        channel,
        content,
        max_text_characters: None,
        max_recipients_per_call: 1,
        max_call_bytes: 65_536,
        reports: Reports::Push,
        inbound: false,
        balance: false,
        echoes_reference: false,
        report_url_per_call: false,
        heuristic_match: false,
        countries: None,
        test_numbers: false,
        breaker_exempt: false,
        registrations: vec![],
        clock_tolerance: None,
    }
}

pub(super) fn drivers() -> BTreeMap<&'static str, Capabilities> {
    let nx = Capabilities { max_text_characters: Some(100), ..capabilities(Channel::Sms, ContentRule::Text) };
    let voice = capabilities(Channel::Voice, ContentRule::Digits { max: 6 });
    BTreeMap::from([
        ("sandbox", Capabilities { test_numbers: true, ..capabilities(Channel::Sms, ContentRule::Text) }),
        ("nx", nx.clone()),
        ("nx_cn", nx),
        ("huawei", capabilities(Channel::Sms, ContentRule::BoundTemplate)),
        ("voice", Capabilities { countries: Some(vec!["VN".into()]), ..voice }),
    ])
}

pub(super) fn step(provider: &str) -> RouteStep {
    RouteStep { provider: provider.into(), from: None, after_seconds: None }
}

pub(super) fn route(name: &str, matches: RouteMatch, providers: &[&str]) -> Route {
    Route {
        name: name.into(),
        priority: 100,
        matches,
        steps: providers.iter().map(|provider| step(provider)).collect(),
        failover: Failover::OnUndelivered,
        on_unknown: OnUnknown::Resend,
    }
}

/// A message with everything it may be asked with; each test changes what it is about.
pub(super) struct Asked {
    pub(super) app: &'static str,
    pub(super) test: bool,
    pub(super) to: &'static str,
    pub(super) category: Category,
    pub(super) channel: Option<Channel>,
    pub(super) from: Option<&'static str>,
    pub(super) route: Option<&'static str>,
    pub(super) provider: Option<&'static str>,
    pub(super) content: Content,
    pub(super) template: Option<Template>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            app: "shop",
            test: false,
            to: "+84901234567",
            category: Category::Transactional,
            channel: None,
            from: None,
            route: None,
            provider: None,
            content: Content { text: Some("123456".into()), template: None },
            template: None,
        }
    }
}

impl Asked {
    pub(super) fn decide(&self, config: &Config) -> Result<Decision, NoPlan> {
        let (drivers, to) = (drivers(), PhoneNumber::parse(self.to).unwrap());
        let country = to.country();
        let request = RouteRequest {
            app: self.app,
            test: self.test,
            to: &to,
            country: country.as_deref(),
            category: self.category,
            channel: self.channel,
            from: self.from,
            route: self.route,
            provider: self.provider,
            content: &self.content,
            template: self.template.as_ref(),
        };
        decide(&request, config, &|name| drivers.get(name))
    }

    pub(super) fn route(&self, config: &Config) -> Result<Option<String>, ErrorCode> {
        self.decide(config).map(|decision| decision.plan.route).map_err(|none| none.code)
    }

    /// The providers of the plan, when the one route has these.
    pub(super) fn through(&self, providers: &[&str]) -> Result<Vec<String>, ErrorCode> {
        let decision = self.decide(&config(vec![route("only", RouteMatch::default(), providers)]));
        let names = |plan: Plan| plan.steps.into_iter().map(|step| step.provider).collect();
        decision.map(|decision| names(decision.plan)).map_err(|none| none.code)
    }
}

pub(super) fn text(text: &str) -> Content {
    Content { text: Some(text.into()), template: None }
}

pub(super) fn otp(text: Option<&str>, bindings: &[(&str, Binding)]) -> (Content, Option<Template>) {
    let params = BTreeMap::from([("code".to_owned(), "4711".to_owned()), ("name".to_owned(), "Ann".to_owned())]);
    let template = Template {
        text: text.map(Into::into),
        category: Category::Otp,
        validity_period: None,
        params: ["code", "name"].map(|name| Param::new(name.into(), None, None).unwrap()).into(),
        bindings: bindings.iter().map(|(provider, binding)| ((*provider).into(), binding.clone())).collect(),
    };
    let rendered = template.render(&params).unwrap();
    let used = TemplateUse { name: "otp".into(), params };
    (Content { text: rendered, template: Some(used) }, Some(template))
}

pub(super) fn binding(template_id: Option<&str>, params: &[&str], from: Option<&str>) -> Binding {
    let params = params.iter().map(|&name| name.into()).collect();
    Binding { template_id: template_id.map(Into::into), params, signature: None, from: from.map(Into::into) }
}
