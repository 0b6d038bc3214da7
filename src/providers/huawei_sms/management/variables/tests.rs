//! Every kind of variable with values that fit and values that do not, and where the kinds come from.

use super::*;
use crate::domain::registration::{Native, ReviewStatus};

fn template(text: &str, listed: &[(u32, &str, u32)]) -> ProviderTemplate {
    let variable = |(index, kind, length): &(u32, &str, u32)| TemplateVariable {
        index: *index,
        kind: (*kind).to_owned(),
        length: (*length > 0).then_some(*length),
        description: None,
    };
    ProviderTemplate {
        id: "1".into(),
        name: "n".into(),
        application_id: None,
        region: Some(Region::Intl),
        text: text.into(),
        category: Some(Category::Transactional),
        signature_id: None,
        country_ids: None,
        universal: false,
        description: None,
        provider_template_id: Some("t".into()),
        status: ReviewStatus::Approved,
        review_note: None,
        variables: Some(listed.iter().map(variable).collect()),
        created_at: None,
        native: Native::new(),
    }
}

fn fits(word: &str, length: Option<u32>, value: &str) -> bool {
    check(&[of_word(word, length)], &[value.to_owned()]).is_empty()
}

#[test]
fn every_kind_takes_what_it_should_and_nothing_else() {
    let twenty = "x".repeat(20);
    let twenty_one = "x".repeat(21);
    #[rustfmt::skip]
    let table: &[(&str, &[&str], &[&str])] = &[
        ("NUM_6", &["1", "000000", "123456"], &["", "1234567", "1a2b3c", "-1", "１２", " 12"]),
        ("TXT_6", &["a", "Tür 12", "'quote", "公园东门六字"], &["", "1234567", "{a}", "a}"]),
        ("DATE", &["2017/07/01", "2017/7/1", "2024/2/29"], &["", "2017-07-01", "2017/13/01", "2023/2/29", "17/7/1", "2017/07/001", "+017/07/01"]),
        ("TIME", &["09:30", "23:59:59", "00:00"], &["", "24:00", "9:30", "09:60", "23:59:60", "0930", "09:30:00:00"]),
        ("URL_20", &["https://a.example/b"], &["", "https://a.example /b", "https://a.example/bcde"]),
        ("PHONE", &["12345", "010-1234567", "+8613812345678"], &["", "12345-", "1234567890123456", "12a4"]),
        ("CHARDIGIT", &["a_1", &twenty], &["", "a-1", &twenty_one, "ä"]),
        ("TEXT", &["hello there", &twenty], &["", "a.b", "a。", "it's", "<b>", "{x}", &twenty_one]),
        ("MONEY", &["12.50", "一百"], &[""]),
        ("DATETIME", &["2026-03-01 09:30"], &[""]),
        ("LONGTEXT", &["a. b"], &[""]),
    ];
    for (word, good, bad) in table {
        for value in *good {
            assert!(fits(word, None, value), "{word} takes {value:?}");
        }
        for value in *bad {
            assert!(!fits(word, None, value), "{word} does not take {value:?}");
        }
    }
}

#[test]
fn a_length_beside_the_kind_holds_like_one_in_it() {
    for word in ["NUM", "TXT", "URL", "CHARDIGIT", "TEXT", "NEWTEXT"] {
        assert!(fits(word, Some(3), "123") && !fits(word, Some(3), "1234"), "{word}");
    }
}

#[test]
fn the_number_of_values_must_be_that_of_the_variables() {
    let variables = of_template(&template("You have ${NUM_5} parcels at ${TXT_6}", &[])).unwrap();
    let count =
        |values: &[&str]| check(&variables, &values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    assert_eq!(count(&["3", "gate"]), []);
    for values in [&[][..], &["3"], &["3", "gate", "x"]] {
        assert_eq!(count(values).iter().map(|fault| fault.index).collect::<Vec<_>>(), [None], "{values:?}");
    }
    assert_eq!(count(&["three", "gate"])[0].index, Some(0));
    assert_eq!(count(&["three", "the main gate"]).len(), 2);
}

#[test]
fn a_template_without_variables_takes_no_values_if_huawei_says_that_it_has_none() {
    let mut template = template("Test", &[]);
    assert_eq!(of_template(&template), None, "nothing is known");
    template.native.insert("has_variable".into(), "Yes".into());
    assert_eq!(of_template(&template), None);
    template.native.insert("has_variable".into(), "No".into());
    let variables = of_template(&template).unwrap();
    assert_eq!(check(&variables, &[]), []);
    assert_eq!(check(&variables, &["1".into()]).len(), 1);
}

#[test]
fn numbers_take_their_kind_from_the_list() {
    let found = of_template(&template("${1} and ${2}", &[(1, "NUM", 4), (2, "URL", 99)])).unwrap();
    assert_eq!(found, [Variable { kind: Kind::Number, max: Some(4) }, Variable { kind: Kind::Url, max: Some(99) }]);
}

#[test]
fn numbers_that_are_not_those_of_places_say_nothing() {
    for text in ["${2} and ${1}", "${1} and ${1}", "${2} and ${3}", "${1} ${2} ${1}"] {
        assert_eq!(of_template(&template(text, &[(1, "NUM", 4), (2, "URL", 99)])), None, "{text}");
    }
}

#[test]
fn without_placeholders_the_list_alone_counts() {
    let found = of_template(&template("hidden", &[(1, "${NUM_6}", 0)])).unwrap();
    assert_eq!(found, [Variable { kind: Kind::Number, max: Some(6) }]);
}

#[test]
fn a_number_without_a_list_takes_anything() {
    let found = of_template(&template("Your code is ${1}", &[])).unwrap();
    assert_eq!(found, [Variable { kind: Kind::Other, max: None }]);
}

#[test]
fn a_text_and_a_list_that_contradict_each_other_say_nothing() {
    assert_eq!(of_template(&template("${NUM_6} ${TXT_3}", &[(1, "NUM", 6)])), None);
}

#[test]
fn a_code_of_a_mainland_template_has_six_characters_at_most_where_the_list_does_not_say() {
    for (length, max) in [(0, 6), (20, 20), (4, 4)] {
        let mut mainland = template("Your code is ${1}", &[(1, "CHARDIGIT", length)]);
        (mainland.region, mainland.category) = (Some(Region::Cn), Some(Category::Otp));
        assert_eq!(of_template(&mainland).unwrap()[0].max, Some(max));
    }
}
