//! One row for each rule of routing.

use super::*;
use crate::domain::{life::Step, template::Binding};

mod setup;

use setup::{Asked, binding, config, otp, route, section, text};

/// The providers of a plan, or why there is none.
type Through = Result<&'static [&'static str], ErrorCode>;

/// How providers get a template.
type Bindings = Vec<(&'static str, Binding)>;

#[test]
fn a_route_matches_when_all_its_conditions_hold() {
    let vn_otp = || RouteMatch {
        countries: vec!["VN".into(), "LA".into()],
        categories: vec![Category::Otp],
        ..RouteMatch::default()
    };
    let prefix = |prefix: &str| RouteMatch { prefixes: vec!["+1".into(), prefix.into()], ..RouteMatch::default() };
    let apps = |app: &str| RouteMatch { apps: vec![app.into()], ..RouteMatch::default() };
    let sms = || RouteMatch { channels: vec![Channel::Sms], ..RouteMatch::default() };
    let (otp, sms_only, voice_only) = (Category::Otp, Some(Channel::Sms), Some(Channel::Voice));
    for (name, conditions, asked, matches) in [
        ("no condition", RouteMatch::default(), Asked::default(), true),
        ("both of two", vn_otp(), Asked { category: otp, ..Asked::default() }, true),
        ("one of two", vn_otp(), Asked::default(), false),
        ("another country", vn_otp(), Asked { category: otp, to: "+8615512345678", ..Asked::default() }, false),
        ("no country", vn_otp(), Asked { category: otp, to: "+99900000001", ..Asked::default() }, false),
        ("one of two prefixes", prefix("+8490"), Asked::default(), true),
        ("another prefix", prefix("+8436"), Asked::default(), false),
        ("the app", apps("shop"), Asked::default(), true),
        ("another app", apps("crm"), Asked::default(), false),
        ("a channel where the request names none", sms(), Asked::default(), true),
        ("the channel", sms(), Asked { channel: sms_only, ..Asked::default() }, true),
        ("another channel", sms(), Asked { channel: voice_only, ..Asked::default() }, false),
    ] {
        let result = asked.route(&config(vec![route("only", conditions, &["sandbox"])]));
        assert_eq!(result, if matches { Ok(Some("only".into())) } else { Err(ErrorCode::NoRoute) }, "{name}");
    }
}

#[test]
fn the_provider_comes_before_the_route_before_the_match_before_the_default() {
    let crm = RouteMatch { apps: vec!["crm".into()], ..RouteMatch::default() };
    let laos = RouteMatch { countries: vec!["LA".into()], ..RouteMatch::default() };
    let routes = || {
        vec![
            route("other", crm.clone(), &["nx"]),
            route("first", RouteMatch { countries: vec!["VN".into()], ..RouteMatch::default() }, &["nx"]),
            route("second", RouteMatch { countries: vec!["VN".into()], ..RouteMatch::default() }, &["nx"]),
            route("last", laos.clone(), &["nx"]),
        ]
    };
    let elsewhere = "+8615512345678";
    for (name, asked, expected) in [
        ("the provider", Asked { provider: Some("nx"), route: Some("second"), ..Asked::default() }, Ok(None)),
        (
            "the named route, though it does not match",
            Asked { route: Some("last"), ..Asked::default() },
            Ok(Some("last")),
        ),
        ("the first that matches", Asked::default(), Ok(Some("first"))),
        ("the app's default", Asked { app: "fallback", to: elsewhere, ..Asked::default() }, Ok(Some("last"))),
        ("a match before the default", Asked { app: "fallback", ..Asked::default() }, Ok(Some("first"))),
        ("nothing", Asked { to: elsewhere, ..Asked::default() }, Err(ErrorCode::NoRoute)),
        ("an unknown route", Asked { route: Some("gone"), ..Asked::default() }, Err(ErrorCode::NoRoute)),
        ("an unknown provider", Asked { provider: Some("gone"), ..Asked::default() }, Err(ErrorCode::NoRoute)),
    ] {
        assert_eq!(asked.route(&config(routes())), expected.map(|route| route.map(Into::into)), "{name}");
    }
}

#[test]
fn a_route_whose_steps_cannot_carry_it_is_not_replaced_by_the_next_route() {
    let routes =
        vec![route("first", RouteMatch::default(), &["huawei"]), route("second", RouteMatch::default(), &["nx"])];
    let none = Asked::default().decide(&config(routes)).unwrap_err();
    assert_eq!((none.code, none.route.as_deref()), (ErrorCode::ContentUnsupported, Some("first")));
}

#[test]
fn steps_that_cannot_carry_the_message_are_passed_over() {
    let all = ["nx", "nx_cn", "huawei", "voice"];
    let long = "a".repeat(101);
    let cases: Vec<(&str, Asked, Through)> = vec![
        ("digits to Vietnam", Asked::default(), Ok(&["nx", "voice"])),
        ("digits to China", Asked { to: "+8615512345678", ..Asked::default() }, Ok(&["nx", "nx_cn"])),
        ("digits to no country", Asked { to: "+80012345678", ..Asked::default() }, Ok(&["nx"])),
        ("seven digits", Asked { content: text("1234567"), ..Asked::default() }, Ok(&["nx"])),
        ("words", Asked { content: text("Code 1"), ..Asked::default() }, Ok(&["nx"])),
        ("too long a text", Asked { content: text(&long), ..Asked::default() }, Err(ErrorCode::ContentUnsupported)),
        ("one channel", Asked { channel: Some(Channel::Voice), ..Asked::default() }, Ok(&["voice"])),
        ("the other channel", Asked { channel: Some(Channel::Sms), ..Asked::default() }, Ok(&["nx"])),
        ("the provider's sender", Asked { from: Some("8615088888888"), ..Asked::default() }, Ok(&["nx"])),
        ("one of its others", Asked { from: Some("ACME"), ..Asked::default() }, Ok(&["nx"])),
        ("in E.164 form", Asked { from: Some("+8615099999999"), ..Asked::default() }, Ok(&["nx"])),
        ("nobody's sender", Asked { from: Some("OTHER"), ..Asked::default() }, Err(ErrorCode::ContentUnsupported)),
        ("a name is no number", Asked { from: Some("+ACME"), ..Asked::default() }, Err(ErrorCode::ContentUnsupported)),
        ("a test number", Asked { to: "+99900000001", ..Asked::default() }, Err(ErrorCode::DestinationNotAllowed)),
    ];
    for (name, asked, expected) in cases {
        let expected = expected.map(|names| names.iter().map(|&name| name.into()).collect::<Vec<String>>());
        assert_eq!(asked.through(&all), expected, "{name}");
    }
}

#[test]
fn templates_go_where_they_are_bound_or_can_be_written_out() {
    let all = ["nx", "huawei", "voice"];
    let (t, code) = (Some("t1"), &["code"][..]);
    let cases: Vec<(&str, Option<&str>, Bindings, Through)> = vec![
        ("a text, no binding", Some("Code {{code}}"), vec![], Ok(&["nx"])),
        ("a text of digits", Some("{{code}}"), vec![], Ok(&["nx", "voice"])),
        ("bound, with a text", Some("Code {{code}}"), vec![("huawei", binding(t, code, None))], Ok(&["nx", "huawei"])),
        ("bound, without a text", None, vec![("huawei", binding(t, code, None))], Ok(&["huawei"])),
        ("bound without an id", None, vec![("huawei", binding(None, code, None))], Err(ErrorCode::ContentUnsupported)),
        (
            "the digits of a value",
            Some("Code {{code}}"),
            vec![("voice", binding(None, code, None))],
            Ok(&["nx", "voice"]),
        ),
        ("a value that is not digits", Some("{{code}}"), vec![("voice", binding(None, &["name"], None))], Ok(&["nx"])),
        ("no value, so the text", Some("{{code}}"), vec![("voice", binding(None, &[], None))], Ok(&["nx", "voice"])),
        ("no value, a text of words", Some("Code {{code}}"), vec![("voice", binding(None, &[], None))], Ok(&["nx"])),
        (
            "a value that was never given",
            None,
            vec![("huawei", binding(t, &["gone"], None))],
            Err(ErrorCode::ContentUnsupported),
        ),
    ];
    for (name, text, bindings, expected) in cases {
        let (content, template) = otp(text, &bindings);
        let expected = expected.map(|names| names.iter().map(|&name| name.into()).collect::<Vec<String>>());
        assert_eq!(Asked { content, template, ..Asked::default() }.through(&all), expected, "{name}");
    }
}

#[test]
fn a_binding_s_sender_may_be_named() {
    let (content, template) = otp(None, &[("huawei", binding(Some("t1"), &["code"], Some("csms9")))]);
    let asked = Asked { content, template, from: Some("csms9"), ..Asked::default() };
    assert_eq!(asked.through(&["huawei"]), Ok(vec!["huawei".into()]));
}

#[test]
fn a_route_step_s_sender_is_held_against_the_provider_too() {
    for (step_from, asked_from, expected) in [
        (Some("ACME"), None, Ok(Some("ACME"))),
        (Some("ACME"), Some("+8615088888888"), Ok(Some("8615088888888"))),
        (Some("OTHER"), None, Err(ErrorCode::ContentUnsupported)),
        (None, None, Ok(None)),
    ] {
        let mut only = route("only", RouteMatch::default(), &["nx"]);
        only.steps[0].from = step_from.map(Into::into);
        let decision = Asked { from: asked_from, ..Asked::default() }.decide(&config(vec![only]));
        let from = decision.map(|decision| decision.plan.steps[0].from.clone()).map_err(|none| none.code);
        assert_eq!(from, expected.map(|from| from.map(Into::into)), "{step_from:?} {asked_from:?}");
    }
}

#[test]
fn test_numbers_go_to_sandboxes_only() {
    let asked = Asked { to: "+99900000001", ..Asked::default() };
    assert_eq!(asked.through(&["nx", "sandbox", "voice"]), Ok(vec!["sandbox".into()]));
    let named = Asked { provider: Some("nx"), ..asked };
    assert_eq!(named.route(&config(vec![])), Err(ErrorCode::DestinationNotAllowed));
}

#[test]
fn the_sandbox_takes_any_number_sender_and_template_as_long_as_nobody_restricts_it() {
    let (content, template) = otp(None, &[("huawei", binding(Some("t1"), &["code"], None))]);
    let asked =
        || Asked { from: Some("ANY"), content: content.clone(), template: template.clone(), ..Asked::default() };
    assert_eq!(asked().through(&["sandbox"]), Ok(vec!["sandbox".into()]));
    let mut restricted = config(vec![route("only", RouteMatch::default(), &["sandbox"])]);
    restricted.providers.insert("sandbox".into(), section(Some("ACME"), &[], None));
    assert_eq!(asked().route(&restricted), Err(ErrorCode::ContentUnsupported));
    restricted.providers.insert("sandbox".into(), section(None, &[], Some("HK")));
    assert_eq!(asked().route(&restricted), Err(ErrorCode::ContentUnsupported));
}

#[test]
fn a_test_key_leads_to_the_sandbox_whatever_else_is_asked() {
    let asked = Asked {
        test: true,
        channel: Some(Channel::Voice),
        from: Some("ANY"),
        route: Some("gone"),
        provider: Some("nx"),
        ..Asked::default()
    };
    let plan = asked.decide(&config(vec![])).unwrap().plan;
    let from = Some("ANY".into());
    let step = Step { provider: "sandbox".into(), channel: Channel::Sms, from, after_seconds: None };
    assert_eq!(plan, Plan { route: None, steps: vec![step], failover: Failover::Never, on_unknown: OnUnknown::Hold });
}

#[test]
fn a_named_provider_is_a_plan_of_one_step() {
    let asked = Asked { provider: Some("nx"), ..Asked::default() };
    let plan = asked.decide(&config(vec![route("only", RouteMatch::default(), &["sandbox", "nx"])])).unwrap().plan;
    assert_eq!((plan.steps.len(), plan.steps[0].provider.as_str()), (1, "nx"));
    assert_eq!((plan.route, plan.failover, plan.on_unknown), (None, Failover::Never, OnUnknown::Hold));
}

#[test]
fn the_plan_keeps_the_route_s_rules_and_what_its_steps_wait_for() {
    let mut only = route("only", RouteMatch::default(), &["nx", "huawei", "voice"]);
    only.steps[2].after_seconds = Some(45);
    let plan = Asked::default().decide(&config(vec![only])).unwrap().plan;
    assert_eq!((plan.failover, plan.on_unknown), (Failover::OnUndelivered, OnUnknown::Resend));
    let waits: Vec<_> =
        plan.steps.iter().map(|step| (step.provider.as_str(), step.channel, step.after_seconds)).collect();
    assert_eq!(waits, [("nx", Channel::Sms, None), ("voice", Channel::Voice, Some(45))]);
}

#[test]
fn a_step_that_becomes_the_first_waits_for_nothing() {
    let mut only = route("only", RouteMatch::default(), &["huawei", "voice"]);
    only.steps[1].after_seconds = Some(45);
    let plan = Asked::default().decide(&config(vec![only])).unwrap().plan;
    assert_eq!(plan.steps[0].after_seconds, None);
}

#[test]
fn every_step_is_explained() {
    let (content, template) = otp(Some("Code {{code}}"), &[("huawei", binding(Some("t1"), &["code"], Some("csms9")))]);
    let asked = Asked { content, template, ..Asked::default() };
    let decision = asked.decide(&config(vec![route(
        "only",
        RouteMatch::default(),
        &["nx_cn", "voice", "nx", "huawei", "sandbox"],
    )]));
    let considered = decision.unwrap().considered;
    let rows: Vec<_> = considered
        .iter()
        .map(|step| (step.provider.as_str(), step.from.as_deref(), step.usable, step.reason))
        .collect();
    assert_eq!(
        rows,
        [
            ("nx_cn", Some("8615088888888"), false, Some(ErrorCode::DestinationNotAllowed)),
            ("voice", None, false, Some(ErrorCode::ContentUnsupported)),
            ("nx", Some("8615088888888"), true, None),
            ("huawei", Some("csms9"), true, None),
            ("sandbox", None, true, None),
        ]
    );
}

#[test]
fn the_reason_names_what_is_wrong_with_the_step() {
    for (name, asked, provider, reason) in [
        ("channel", Asked { channel: Some(Channel::Voice), ..Asked::default() }, "nx", ErrorCode::ContentUnsupported),
        ("country", Asked::default(), "nx_cn", ErrorCode::DestinationNotAllowed),
        ("sender", Asked { from: Some("OTHER"), ..Asked::default() }, "nx", ErrorCode::SenderNotAllowed),
        ("no binding", Asked::default(), "huawei", ErrorCode::ContentUnsupported),
        ("length", Asked { content: text(&"码".repeat(101)), ..Asked::default() }, "nx", ErrorCode::ContentTooLong),
    ] {
        let none = Asked { provider: Some(provider), ..asked }.decide(&config(vec![])).unwrap_err();
        assert_eq!((none.considered.len(), none.considered[0].reason), (1, Some(reason)), "{name}");
    }
    assert_eq!(Asked { content: text(&"码".repeat(100)), ..Asked::default() }.through(&["nx"]), Ok(vec!["nx".into()]));
}

#[test]
fn the_sender_is_the_step_s_else_the_binding_s_else_the_provider_s() {
    let all = [Some("step"), Some("bound"), Some("own")];
    for (given, expected) in [
        (all, Some("step")),
        ([None, Some("bound"), Some("own")], Some("bound")),
        ([None, None, Some("own")], Some("own")),
        ([None, None, None], None),
    ] {
        let [of_step, of_binding, own] = given;
        let from = of_step.map(Into::into);
        let step = Step { provider: "nx".into(), channel: Channel::Sms, from, after_seconds: None };
        let bound = binding(None, &[], of_binding);
        assert_eq!(sender_for(&step, Some(&bound), &section(own, &[], None)).as_deref(), expected);
    }
}
