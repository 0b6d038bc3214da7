//! `sms-gateway send` and `sms-gateway messages`, as people use them: the built program against a running gateway.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    TestGateway,
    gateway::{BANK, Folder, OPS, SHOP, free_address, string},
};

/// Only a test that fails waits so long for a line.
const PATIENCE: Duration = Duration::from_secs(20);

const ROUTES: &str = r#"
[providers.sandbox_backup]
driver = "sandbox"
[routes.all]
steps = [{ provider = "sandbox" }, { provider = "sandbox_backup" }]
[templates.parcel]
text = "Your parcel waits at {{place}}."
category = "transactional"
params = [{ name = "place" }]
"#;

/// The program in a folder of its own, with an environment that says nothing.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sms-gateway"));
    command.current_dir(folder).env_clear().stdin(Stdio::null()).args(arguments);
    command
}

/// The program, told where the gateway is and whose key to use.
fn told(gateway: &TestGateway, key: &str, arguments: &[&str]) -> Command {
    let mut command = program(&std::env::temp_dir(), arguments);
    command.env("SMS_GATEWAY_URL", format!("http://{}", gateway.gateway.address())).env("SMS_GATEWAY_KEY", key);
    command
}

/// Its exit code and what it wrote.
async fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_message_is_followed_to_its_end_which_is_the_exit_code() {
    let gateway = TestGateway::start(ROUTES).await;
    for (to, code, status, says) in [
        ("+99900000001", 0, "delivered", ""),
        ("+99900000002", 3, "undelivered", "recipient_unreachable: "),
        ("+99900000003", 3, "failed", "recipient_invalid: "),
        ("+99900000007", 0, "delivered", ""),
    ] {
        let (ended, out, err) = run(told(&gateway, SHOP, &["send", to, "hello", "--follow"])).await;
        assert_eq!((ended, err.as_str()), (code, ""), "{to}: {out}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("msg_") && lines[0].contains(to), "{out}");
        assert!(lines[1].contains("created") && out.contains("attempt.started"), "{out}");
        assert!(lines.contains(&status) && out.contains(says), "{out}");
        assert!(!out.contains('\u{1b}'), "no colours where nobody looks: {out}");
    }
}

#[tokio::test]
async fn without_following_it_says_that_the_message_is_accepted() {
    let gateway = TestGateway::start(ROUTES).await;
    let (code, out, _) = run(told(&gateway, SHOP, &["send", "+99900000001", "hello"])).await;
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    let id = out.split_whitespace().next().unwrap();
    assert_eq!(gateway.wait_for_end(id, "delivered").await["text"], "hello");
}

#[tokio::test]
async fn everything_that_can_be_asked_for_reaches_the_api() {
    let gateway = TestGateway::start(ROUTES).await;
    let arguments = "send +99900000001 --template parcel --param place=5 --channel sms \
                     --provider sandbox --validity 600 --sensitive --idempotency-key once --json";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let (code, out, err) = run(told(&gateway, SHOP, &arguments)).await;
    assert_eq!(code, 0, "{err}");
    let message: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((string(&message["template"]["name"]), message["sensitive"].as_bool()), ("parcel", Some(true)));
    let (_, again, _) = run(told(&gateway, SHOP, &arguments)).await;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["id"], message["id"], "the same key is the same message");
    let (_, other, _) = run(told(&gateway, SHOP, &arguments[..arguments.len() - 3])).await;
    assert!(other.starts_with("msg_") && !other.contains(string(&message["id"])), "each run has a key of its own");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_with_its_place() {
    let gateway = TestGateway::start(ROUTES).await;
    let (code, out, err) = run(told(&gateway, SHOP, &["send", "12345", "hello", "--route", "nowhere"])).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("422, validation_failed") && err.contains("/to: ") && err.contains("/route: "), "{err}");
    assert!(err.contains("request req_"), "{err}");
    let (code, _, err) = run(told(&gateway, "sgw_live_nobody", &["messages"])).await;
    assert_eq!(code, 1);
    assert!(err.contains("401, unauthenticated"), "{err}");
    let (code, ..) = run(told(&gateway, SHOP, &["send", "+99900000001"])).await;
    assert_eq!(code, 2, "neither a text nor a template");
}

#[tokio::test]
async fn where_nobody_listens_it_says_what_to_do() {
    let folder = Folder::new();
    let url = format!("http://{}", free_address());
    let (code, _, err) = run(program(&folder.0, &["messages", "--url", &url, "--key", SHOP])).await;
    assert_eq!(code, 1);
    assert!(err.contains(&url) && err.contains("sms-gateway serve") && err.contains("--url"), "{err}");
    let (code, _, err) = run(program(&folder.0, &["messages", "--url", &url])).await;
    assert_eq!(code, 1);
    assert!(err.contains("no API key") && err.contains("keys.toml"), "{err}");
}

#[tokio::test]
async fn beside_a_local_gateway_nothing_has_to_be_said() {
    let (gateway, folder) = (TestGateway::start(ROUTES).await, Folder::new());
    std::fs::create_dir(folder.0.join("data")).unwrap();
    std::fs::write(folder.0.join("data/keys.toml"), format!("demo = \"{SHOP}\"\noperator = \"{OPS}\"\n")).unwrap();
    let listen = format!("[server]\nlisten = \"{}\"\n", gateway.gateway.address());
    std::fs::write(folder.0.join("gateway.toml"), listen).unwrap();
    let (code, out, err) = run(program(&folder.0, &["send", "+99900000001", "hello", "--follow"])).await;
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test]
async fn messages_are_listed_by_filters_and_one_is_shown_with_its_timeline() {
    let gateway = TestGateway::start(ROUTES).await;
    let fine = gateway.text("+99900000001", "\u{1b}[2Jhello").await;
    let lost = gateway.text("+99900000002", "hello").await;
    gateway.wait_for_end(&fine, "delivered").await;
    gateway.wait_for_end(&lost, "undelivered").await;
    let (code, out, _) = run(told(&gateway, SHOP, &["messages"])).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{out}");
    assert!(lines[0].starts_with("ID ") && lines[1].starts_with(&lost) && lines[2].starts_with(&fine), "{out}");
    assert!(lines[1].contains("undelivered") && lines[1].ends_with("recipient_unreachable"), "{out}");
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{out}");
    let arguments = ["messages", "--status", "delivered", "--status", "failed", "--to", "+99900000001", "--json"];
    let (_, out, _) = run(told(&gateway, SHOP, &arguments)).await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["id"], Value::from(fine.clone()));
    let (_, out, _) = run(told(&gateway, SHOP, &["messages", "--limit", "1"])).await;
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, out, _) = run(told(&gateway, SHOP, &["messages", &fine])).await;
    assert_eq!(code, 0);
    for part in ["delivered", "+99900000001", " [2Jhello", "created", "attempt.sent", "report.applied"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains('\u{1b}'), "a text does not command the terminal: {out}");
    let (code, _, err) = run(told(&gateway, BANK, &["messages", &fine])).await;
    assert_eq!(code, 1);
    assert!(err.contains("404, not_found"), "{err}");
}

/// A program that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_list_that_is_followed_tells_what_is_new_and_what_changes() {
    let gateway = TestGateway::start(ROUTES).await;
    let before = gateway.text("+99900000001", "before").await;
    gateway.wait_for_end(&before, "delivered").await;
    let mut child = Running(told(&gateway, SHOP, &["messages", "--follow"]).stdout(Stdio::piped()).spawn().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let read = BufReader::new(child.0.stdout.take().unwrap());
    std::thread::spawn(move || read.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut next = async || tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap();
    assert!(next().await.starts_with("ID "));
    assert!(next().await.starts_with(&before));
    let new = gateway.text("+99900000004", "new").await;
    let sent = loop {
        let line = next().await;
        assert!(line.starts_with(&new), "nothing else has changed: {line}");
        if line.contains("unknown") {
            break line;
        }
    };
    assert!(sent.contains("+99900000004"), "{sent}");
}

#[tokio::test]
async fn following_can_end_before_the_message_does() {
    let gateway = TestGateway::start(ROUTES).await;
    let later = (gateway.clock.now() + chrono::TimeDelta::hours(1)).to_rfc3339();
    let arguments =
        ["send", "+99900000001", "hello", "--category", "marketing", "--send-at", &later, "--follow", "--timeout", "1"];
    let (code, out, err) = run(told(&gateway, SHOP, &arguments)).await;
    assert_eq!((code, err.as_str()), (4, ""), "{out}");
    assert!(out.trim_end().ends_with("scheduled (not final)"), "{out}");
}
