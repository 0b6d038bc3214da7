//! What a template refuses, and what it makes of its values.

use proptest::prelude::*;

use super::*;

fn param(name: &str, max_length: Option<usize>, pattern: Option<&str>) -> Param {
    Param::new(name.into(), max_length, pattern).unwrap()
}

fn binding(params: &[&str]) -> Binding {
    let params = params.iter().map(|&name| name.into()).collect();
    Binding { template_id: Some("t1".into()), params, signature: None, from: None }
}

fn template(text: Option<&str>, params: Vec<Param>) -> Template {
    let text = text.map(Into::into);
    Template { text, category: Category::Otp, validity_period: None, params, bindings: BTreeMap::new() }
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn values_take_the_place_of_their_names() {
    let template =
        template(Some("{{name}}, {{code}} and {{code}}!"), vec![param("name", None, None), param("code", None, None)]);
    let rendered = template.render(&values(&[("name", "Ann"), ("code", "12")]));
    assert_eq!(rendered, Ok(Some("Ann, 12 and 12!".into())));
}

#[test]
fn a_value_is_never_read_as_a_template() {
    let template = template(Some("{{a}}{{b}}"), vec![param("a", None, None), param("b", None, None)]);
    for (a, b) in [("{{b}}", "secret"), ("{{", "b}}"), ("{{a}}", "}}")] {
        assert_eq!(template.render(&values(&[("a", a), ("b", b)])), Ok(Some(format!("{a}{b}"))));
    }
}

#[test]
fn a_template_without_a_text_still_checks_its_values() {
    let template = template(None, vec![param("code", None, None)]);
    assert_eq!(template.render(&values(&[("code", "1")])), Ok(None));
    assert!(template.render(&values(&[])).is_err());
}

#[test]
fn values_that_do_not_fit_are_all_named() {
    let template = template(
        Some("{{code}} {{name}}"),
        vec![param("code", None, Some("[0-9]{4,6}")), param("name", Some(3), None), param("place", None, None)],
    );
    let problems = template.check(&values(&[("code", "12"), ("name", "Anna"), ("extra", "1")]));
    let named: Vec<_> = problems.iter().map(|problem| (problem.param.as_str(), problem.code)).collect();
    assert_eq!(named, [("code", "invalid"), ("name", "too_long"), ("place", "required"), ("extra", "unknown_field")]);
    assert_eq!(problems[0].detail, "must match [0-9]{4,6}");
}

#[test]
fn each_value_is_held_against_its_param() {
    let digits = Some("[0-9]{4,6}");
    for (name, max_length, pattern, value, code) in [
        ("fits", None, digits, "1234", None),
        ("more behind it", None, digits, "1234567", Some("invalid")),
        ("something before it", None, digits, "a1234", Some("invalid")),
        ("a line end behind it", None, digits, "1234\n", Some("invalid")),
        ("another line that fits", None, Some("(?m)^[0-9]+$"), "x\n12", Some("invalid")),
        ("the second choice, whole", None, Some("a|ab"), "ab", None),
        ("part of a choice", None, Some("a|b"), "ax", Some("invalid")),
        ("empty where the pattern allows it", None, Some(".*"), "", None),
        ("characters count, not bytes", Some(2), None, "码码", None),
        ("one character too many", Some(2), None, "码码码", Some("too_long")),
        ("NUL", None, None, "a\0", Some("invalid")),
        ("NUL that the pattern allows", None, Some("(?s).*"), "\0", Some("invalid")),
    ] {
        let template = template(None, vec![param("p", max_length, pattern)]);
        let problems = template.check(&values(&[("p", value)]));
        assert_eq!(problems.first().map(|problem| problem.code), code, "{name}");
    }
}

#[test]
fn a_problem_never_repeats_the_value() {
    let template = template(None, vec![param("code", Some(4), Some("[0-9]+"))]);
    for value in ["99887766", "geheim", "ge\0heim"] {
        let problems = template.check(&values(&[("code", value)]));
        assert_eq!(problems.len(), 1);
        assert!(!format!("{problems:?}").contains(value));
    }
}

#[test]
fn a_pattern_cannot_break_out_of_its_anchors() {
    for pattern in ["a)|(?:b", "(", "a)|(b"] {
        assert!(Param::new("p".into(), None, Some(pattern)).is_err(), "{pattern}");
    }
}

#[test]
fn a_template_that_cannot_work_says_where() {
    let good = || param("code", None, None);
    let bound = |params: &[&str]| BTreeMap::from([("voice".to_owned(), binding(params))]);
    for (template, key) in [
        (template(Some("{{code"), vec![good()]), "text"),
        (template(Some("{{other}}"), vec![good()]), "text"),
        (template(None, vec![good()]), "text"),
        (template(None, vec![good(), good()]), "params[1].name"),
        (template(None, vec![param("Code", None, None)]), "params[0].name"),
        (template(None, vec![param("code", Some(0), None)]), "params[0].max_length"),
    ] {
        let keys: Vec<_> = template.problems().into_iter().map(|problem| problem.key).collect();
        assert!(keys.iter().any(|found| found == key), "{template:?}: {keys:?}");
    }
    let wrong = Template { bindings: bound(&["code", "other"]), ..template(None, vec![good()]) };
    let expected =
        TemplateProblem { key: "bindings.voice.params[1]".into(), problem: "other is not among the params".into() };
    assert_eq!(wrong.problems(), [expected]);
}

#[test]
fn a_template_that_works_has_no_problems() {
    assert_eq!(template(Some("Your code is {{code}}"), vec![param("code", Some(6), Some("[0-9]+"))]).problems(), []);
    let bound = BTreeMap::from([("huawei".to_owned(), binding(&["code"]))]);
    assert_eq!(Template { bindings: bound, ..template(None, vec![param("code", None, None)]) }.problems(), []);
}

#[test]
fn codes_are_sensitive_and_live_shorter() {
    for (category, configured, seconds, sensitive) in [
        (Category::Otp, None, 600, true),
        (Category::Transactional, None, 14_400, false),
        (Category::Marketing, None, 14_400, false),
        (Category::Otp, Some(60), 60, true),
        (Category::Marketing, Some(60), 60, false),
    ] {
        let template = Template { category, validity_period: configured, ..template(Some("x"), vec![]) };
        assert_eq!((template.validity(), template.sensitive()), (seconds, sensitive), "{category}");
    }
}

#[test]
fn a_binding_puts_the_values_in_the_provider_s_order() {
    let bound = binding(&["b", "a", "b"]).bind(&values(&[("a", "1"), ("b", "2"), ("c", "3")])).unwrap();
    assert_eq!(bound.params, ["2", "1", "2"]);
    assert_eq!(bound.template_id.as_deref(), Some("t1"));
    assert_eq!(binding(&["a", "gone"]).bind(&values(&[("a", "1")])), None);
}

#[test]
fn digits_are_read_from_the_one_value_or_the_text() {
    for (text, params, digits) in [
        (Some("123456"), None, Some("123456")),
        (Some("123456"), Some(vec![]), Some("123456")),
        (Some("Your code is 1"), Some(vec!["42"]), Some("42")),
        (None, Some(vec!["42"]), Some("42")),
        (Some("1234567"), None, None),
        (Some(""), None, None),
        (Some("12 34"), None, None),
        (Some("١٢٣"), None, None),
        (Some("42"), Some(vec!["no"]), None),
        (Some("42"), Some(vec!["1", "2"]), None),
        (None, Some(vec![]), None),
        (None, None, None),
    ] {
        let bound = params.clone().map(|params| BoundTemplate {
            template_id: None,
            params: params.into_iter().map(Into::into).collect(),
            signature: None,
        });
        assert_eq!(digits_to_read(text, bound.as_ref(), 6), digits, "{text:?} {params:?}");
    }
}

proptest! {
    #[test]
    fn rendering_keeps_every_value_whole(before in "[^{}\0]{0,10}", value in "[^\0]{0,30}", after in "[^{}\0]{0,10}") {
        let template = template(Some(&(before.clone() + "{{v}}" + &after)), vec![param("v", None, None)]);
        prop_assert_eq!(template.problems(), []);
        prop_assert_eq!(template.render(&values(&[("v", &value)])), Ok(Some(before + &value + &after)));
    }
}
