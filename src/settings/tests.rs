//! One table with everything right, one with everything wrong, and texts that stand for something else.

use secrecy::ExposeSecret;

use super::*;

fn reader(text: &str) -> SettingsReader {
    SettingsReader::new(text.parse().unwrap())
}

fn problems(reader: SettingsReader) -> Vec<String> {
    reader.into_problems().into_iter().map(|problem| format!("{} {}", problem.key, problem.problem)).collect()
}

#[test]
fn what_the_getters_ask_for_is_read_and_nothing_is_left() {
    let mut reader = reader(
        r#"
        secret = "12345"
        base_url = "https://sms.example.com:443"
        auth = "wsse"
        hours = -5
        signed = true
        words = ["a", "b"]
        keys = [{ name = "x" }, { name = "y" }]
        [management]
        domain = "d"
        "#,
    );
    assert_eq!(reader.required_secret("secret").expose_secret(), "12345");
    assert_eq!(reader.required_url("base_url").as_str(), "https://sms.example.com/");
    assert_eq!(reader.choice("auth", &["aksk", "wsse"], "aksk"), "wsse");
    assert_eq!(reader.choice("digest", &["hex", "raw"], "hex"), "hex");
    assert_eq!(reader.integer_or("hours", 8, -12..=14), -5);
    assert!(reader.boolean_or("signed", false));
    assert_eq!(reader.list("words"), ["a", "b"]);
    assert_eq!(reader.tables("keys", |entry| entry.required_string("name")), ["x", "y"]);
    assert_eq!(reader.table("management", |entry| entry.required_string("domain")).as_deref(), Some("d"));
    assert_eq!(reader.table("other", |entry| entry.required_string("domain")), None);
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn every_problem_is_told_with_its_own_key() {
    let mut reader = reader(
        r#"
        number = 5
        url = "ftp://x"
        auth = "basic"
        big = 99
        words = ["a", 1]
        surprise = "!"
        keys = [{ name = "x" }, { nome = "y" }]
        "#,
    );
    reader.required_secret("number");
    reader.required_secret("absent");
    reader.required_url("url");
    reader.choice("auth", &["aksk", "wsse"], "aksk");
    reader.integer_or("big", 1_u16, 1..=60);
    reader.list("words");
    reader.tables("keys", |entry| entry.required_string("name"));
    assert_eq!(
        problems(reader),
        [
            "number must be text in quotes, not a whole number",
            "absent is missing",
            "url must be an address that begins with http:// or https://",
            "auth must be one of aksk, wsse",
            "big must be between 1 and 60",
            "words[1] must be text in quotes, not a whole number",
            "keys[1].name is missing",
            "keys[1].nome is not a known key",
            "surprise is not a known key",
        ]
    );
}

#[test]
fn a_text_is_read_as_what_the_key_wants() {
    let mut reader = reader(
        r#"
        seconds = "5"
        alarm = "12.5"
        signed = "true"
        words = "a, b"
        list = '["a, b"]'
        rotating = '["old", "new"]'
        single = "007"
        management = '{ domain = "d" }'
        "#,
    );
    assert_eq!(reader.integer_or("seconds", 1_u64, 1..=60), 5);
    assert_eq!(reader.optional_number("alarm"), Some(12.5));
    assert!(reader.boolean_or("signed", false));
    assert_eq!(reader.list("words"), ["a", "b"]);
    assert_eq!(reader.list("list"), ["a, b"]);
    assert_eq!(reader.secrets("rotating").len(), 2);
    assert_eq!(reader.secrets("single")[0].expose_secret(), "007");
    assert_eq!(reader.table("management", |entry| entry.required_string("domain")).as_deref(), Some("d"));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn a_text_in_a_file_is_no_number() {
    let mut reader =
        SettingsReader::at("seconds = \"5\"".parse().unwrap(), "dispatch".into(), Texts::Only(Rc::default()));
    reader.integer_or("seconds", 1_u64, 1..=60);
    assert_eq!(problems(reader), ["dispatch.seconds must be a whole number"]);
}

#[test]
fn values_are_not_in_debug_output() {
    assert!(!format!("{:?}", reader("secret = \"hunter2\"")).contains("hunter2"));
}
