//! The built binary as a newcomer and an operator meet it: its subcommands, and `serve` with no configuration at all.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::config::KeyHash;

use crate::support::{
    Client, TestDatabase,
    gateway::{Folder, free_address, string},
};

/// A private PostgreSQL has to be made first, on a machine that may be busy.
const START: Duration = Duration::from_secs(90);

/// The binary in a folder of its own, with an environment that says nothing.
fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sms-gateway"));
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null());
    command
}

/// A folder that an unprivileged PostgreSQL may enter.
fn folder() -> Folder {
    let folder = Folder::new();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What a process writes, line by line, so that its pipe never fills.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}

/// A gateway in a process of its own. It is killed when it is dropped.
struct Process {
    child: Child,
    client: Client,
    /// What stands in `keys.toml`.
    keys: String,
    /// The lines that it printed.
    printed: mpsc::Receiver<String>,
}

impl Process {
    /// Starts `serve` without a configuration, except for a port that no other test uses.
    async fn start(folder: &Path) -> Self {
        let address = free_address();
        let mut command = binary(folder);
        command.env("SMS_GATEWAY__SERVER__LISTEN", address.to_string());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let client = Client::new(format!("http://{address}"));
        let until = Instant::now() + START;
        while client.request(Method::GET, "/healthz").send().await.is_err() {
            if Instant::now() > until || child.try_wait().unwrap().is_some() {
                drop(child.kill());
                panic!("it did not start:\n{}", log.iter().collect::<Vec<_>>().join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let keys = fs::read_to_string(folder.join("data/keys.toml")).unwrap();
        Self { child, client, keys, printed }
    }

    /// The key of one of the two apps of the first start.
    fn key(&self, app: &str) -> &str {
        let line = self.keys.lines().find_map(|line| line.strip_prefix(&format!("{app} = ")));
        line.unwrap().trim_matches('"')
    }

    /// Sends to a test number and waits for the end.
    async fn send(&self, to: &str) -> Value {
        let key = self.key("demo");
        let answer = self.client.post(key, "/v1/messages", &json!({ "to": to, "text": "hello" })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let path = answer.header("location").to_owned();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let message = self.client.get(key, &path).await.json;
            if message["final"] == true {
                return message;
            }
            assert!(Instant::now() < until, "{message}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end: the exit code, or the signal that ended it.
    fn end(&mut self, within: Duration) -> Result<i32, i32> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().ok_or_else(|| status.signal().unwrap());
            }
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn without_any_configuration_it_serves_keeps_what_it_has_and_survives_being_killed() {
    let folder = folder();
    let mut first = Process::start(&folder.0).await;
    let keys = folder.0.join("data/keys.toml");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let printed = [(); 2].map(|()| first.printed.recv_timeout(Duration::from_secs(10)).unwrap());
    assert_eq!(first.keys.trim(), printed.join("\n"));
    assert!(first.key("demo").starts_with("sgw_live_") && first.key("operator").starts_with("sgw_live_"));
    assert_eq!(fs::metadata(folder.0.join("data/secret.key")).unwrap().permissions().mode() & 0o777, 0o600);

    assert!(folder.0.join("data/postgres").is_dir(), "the database lies where the gateway was started");

    let delivered = first.send("+99900000001").await;
    assert_eq!(string(&delivered["status"]), "delivered");
    let second_step = first.send("+99900000007").await;
    assert_eq!((string(&second_step["status"]), string(&second_step["provider"])), ("delivered", "sandbox_backup"));
    let seen = first.client.get(first.key("operator"), "/v1/messages").await;
    assert_eq!(seen.json["data"].as_array().unwrap().len(), 2);

    first.signal(Signal::SIGKILL);
    assert_eq!(first.end(Duration::from_secs(10)), Err(9));
    let mut second = Process::start(&folder.0).await;
    assert_eq!(second.keys, first.keys, "the keys are those of the first start");
    let path = format!("/v1/messages/{}", string(&delivered["id"]));
    assert_eq!(second.client.get(second.key("demo"), &path).await.json, delivered);
    assert_eq!(string(&second.send("+99900000001").await["status"]), "delivered");

    second.signal(Signal::SIGTERM);
    assert_eq!(second.end(Duration::from_secs(20)), Ok(0));
    let elsewhere = second.client.request(Method::GET, "/healthz").send().await;
    assert!(elsewhere.is_err(), "nobody listens any more");
}

#[test]
fn a_new_key_is_printed_with_the_hash_that_belongs_to_it() {
    let folder = folder();
    for (arguments, prefix) in [(vec!["key"], "sgw_live_"), (vec!["key", "--test"], "sgw_test_")] {
        let (code, printed, _) = output(binary(&folder.0).args(&arguments));
        let lines: Vec<&str> = printed.lines().collect();
        let [key, hash] = lines.as_slice() else { panic!("{printed}") };
        let key = key.strip_prefix("key: ").unwrap();
        assert!(code == Some(0) && key.starts_with(prefix) && key.len() >= prefix.len() + 43, "{printed}");
        assert_eq!(hash.strip_prefix("hash: ").unwrap(), KeyHash::of(key).to_string());
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn the_document_is_printed() {
    let folder = folder();
    let (code, printed, _) = output(binary(&folder.0).arg("openapi"));
    assert_eq!(code, Some(0));
    assert!(printed.starts_with("openapi: 3.1.0") && printed.contains("/v1/messages/{message_id}/events"));
}

fn write(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.0.join("gateway.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn check_tells_every_problem_with_its_key_and_fails() {
    let folder = folder();
    write(
        &folder,
        r#"
        [server]
        listen = "nowhere"
        secret_kee = "x"
        [providers.nx]
        driver = "nxcloud_did"
        access_key = "x"
        algorithm = "crc"
        [providers.other]
        driver = "no_such"
        [routes.all]
        steps = [{ provider = "missing" }]
        [apps.shop]
        keys = ["plain"]
        default_route = "missing"
        [dispatch]
        lease_seconds = 12
        "#,
    );
    let (code, printed, _) = output(binary(&folder.0).arg("check"));
    assert_eq!(code, Some(1), "{printed}");
    for key in [
        "server.listen",
        "server.secret_kee",
        "providers.nx.access_secret",
        "providers.nx.algorithm",
        "providers.other.driver",
        "routes.all.steps[0].provider",
        "apps.shop.keys",
        "apps.shop.default_route",
        "dispatch.lease_seconds",
    ] {
        let told = printed.lines().filter(|line| line.starts_with(key)).count();
        assert_eq!(told, 1, "{key} in\n{printed}");
    }
    let (code, _, error) = output(&mut binary(&folder.0));
    assert_eq!(code, Some(1), "serve does not start with it either: {error}");
    assert!(error.contains("server.secret_kee"), "{error}");
}

#[test]
fn check_finds_nothing_wrong_with_no_configuration_and_with_the_environment_over_it() {
    let folder = folder();
    assert_eq!(output(binary(&folder.0).arg("check")).0, Some(0));
    let (code, printed, _) = output(binary(&folder.0).arg("check").env("SMS_GATEWAY__DISPATCH__LEASE_SECONDS", "soon"));
    assert_eq!(code, Some(1));
    assert!(printed.contains("dispatch.lease_seconds"), "{printed}");
    let (code, printed, _) = output(binary(&folder.0).arg("check").env("DATABASE_URL", "postgres://localhost/x"));
    assert_eq!(code, Some(1), "a shared database needs a shared secret: {printed}");
    assert!(printed.contains("server.secret_key"), "{printed}");
}

#[test]
fn a_configuration_that_is_named_must_be_there() {
    let folder = folder();
    for arguments in [["--config", "missing.toml", "check"], ["check", "--config", "missing.toml"]] {
        let (code, printed, _) = output(binary(&folder.0).args(arguments));
        assert!(code == Some(1) && printed.contains("missing.toml"), "{printed}");
    }
    let (code, printed, _) = output(binary(&folder.0).arg("check").env("SMS_GATEWAY_CONFIG", "missing.toml"));
    assert!(code == Some(1) && printed.contains("missing.toml"), "{printed}");
}

#[tokio::test]
async fn migrate_makes_the_tables_and_ends_and_an_unsafe_server_is_refused_unless_allowed() {
    let (folder, database) = (folder(), TestDatabase::empty().await);
    let (code, _, error) = output(binary(&folder.0).arg("migrate").env("DATABASE_URL", database.url()));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("fsync"), "{error}");
    let mut migrate = binary(&folder.0);
    migrate.arg("migrate").env("DATABASE_URL", database.url());
    migrate.env("SMS_GATEWAY__DATABASE__ALLOW_UNSAFE_DURABILITY", "true");
    for _ in 0..2 {
        let (code, _, error) = output(&mut migrate);
        assert_eq!(code, Some(0), "{error}");
    }
    assert_eq!(database.count("select 1 from messages").await, 0);
}

#[test]
fn what_it_does_not_know_is_refused() {
    let folder = folder();
    for arguments in [vec!["dance"], vec!["serve", "--role", "both"], vec!["migrate", "--hold"]] {
        assert_eq!(output(binary(&folder.0).args(&arguments)).0, Some(2), "{arguments:?}");
    }
}
