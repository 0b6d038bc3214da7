//! The built program as a process of its own, which tests kill, stop and start again on a database that stays.
//!
//! A [`Site`] is what outlives a process: the database, the carriers and the configuration. Where a step cannot be met by
//! chance, a [`Brake`] holds the database at it, so that the process can be killed there.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::{
    config::KeyHash,
    simulator::{Simulator, SimulatorOptions},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgConnectOptions};

use super::{
    Answer, Client, TestDatabase,
    gateway::{Folder, OPS, SHOP, free_address},
};

/// How long a test waits for what must come; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_mins(1);
const PACE: Duration = Duration::from_millis(20);
/// Names another binary to test than the one that was built with the tests.
const BINARY: &str = "SMS_GATEWAY_BINARY";
/// The advisory lock that a brake at the commit waits for.
const BRAKE: i64 = 7_305_815;

/// What stays when a process is killed.
pub struct Site {
    pub database: TestDatabase,
    pub simulator: Simulator,
    config: PathBuf,
    /// Where the site's own process listens.
    pub address: SocketAddr,
    folder: Folder,
}

impl Site {
    /// A configuration, laid after a basis with short leases. `SIMULATOR` and `GATEWAY` in it stand for their addresses.
    pub async fn new(config: &str) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        Self::reaching(database, &url, config).await
    }

    /// The same, with the gateway's own way to a database.
    pub async fn reaching(database: TestDatabase, url: &str, config: &str) -> Self {
        Self::with(database, url, config, SimulatorOptions::default()).await
    }

    /// With carriers that are not the ordinary ones.
    #[cfg(feature = "fail-points")]
    pub async fn with_simulator(config: &str, options: SimulatorOptions) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        Self::with(database, &url, config, options).await
    }

    async fn with(database: TestDatabase, url: &str, config: &str, options: SimulatorOptions) -> Self {
        let (folder, address) = (Folder::new(), free_address());
        let simulator = Simulator::start((Ipv4Addr::LOCALHOST, 0).into(), options).await.unwrap();
        let config = format!("{}{config}", basis(url, address, &folder))
            .replace("SIMULATOR", &simulator.base_url())
            .replace("GATEWAY", &format!("http://{address}"));
        let path = folder.0.join("gateway.toml");
        std::fs::write(&path, config).unwrap();
        Self { database, simulator, config: path, address, folder }
    }

    /// Writes more into the configuration file, while processes run on it.
    pub fn append_to_config(&self, text: &str) {
        let before = std::fs::read_to_string(&self.config).unwrap();
        std::fs::write(&self.config, before + text).unwrap();
    }

    /// Nothing can be kept outside the database: where the spool would be there is a file.
    pub fn block_spool(&self) {
        std::fs::write(self.folder.0.join("spool"), "").unwrap();
    }

    /// The files that the spool holds, by their kind.
    pub fn spooled(&self, kind: &str) -> usize {
        let files = std::fs::read_dir(self.folder.0.join("spool")).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|found| found == kind)).count()
    }

    /// Cuts the last byte off the newest file of the spool, as a crash in the middle of a write would.
    pub fn tear_spool(&self) {
        let files = std::fs::read_dir(self.folder.0.join("spool")).unwrap().flatten().map(|file| file.path());
        // The names sort by age, and only what was written last can be torn.
        let newest = files
            .filter(|file| file.extension().is_some_and(|found| found == "spool"))
            .max()
            .expect("something was spooled");
        let file = std::fs::OpenOptions::new().write(true).open(newest).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    }

    /// Changes what stands in the configuration file.
    pub fn replace_in_config(&self, before: &str, after: &str) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(before), "{before} does not stand in the configuration");
        std::fs::write(&self.config, text.replace(before, after)).unwrap();
    }

    /// Starts a process at the site's own address.
    pub async fn start(&self) -> Process {
        self.start_at(self.address, &[]).await
    }

    /// Starts a process at the site's own address, with more in its environment.
    pub async fn start_with(&self, environment: &[(&str, &str)]) -> Process {
        self.start_at(self.address, environment).await
    }

    /// Starts a process beside the one at the site's own address.
    pub async fn start_beside(&self) -> Process {
        self.start_at(free_address(), &[]).await
    }

    /// Starts a process where another one was.
    pub async fn start_again(&self, killed: &Process) -> Process {
        self.start_at(killed.address, &[]).await
    }

    async fn start_at(&self, address: SocketAddr, environment: &[(&str, &str)]) -> Process {
        let mut process = self.launch(address, environment);
        process.become_ready().await.unwrap_or_else(|status| panic!("it ended with {status}"));
        process
    }

    /// Starts a process and waits for nothing.
    pub fn launch(&self, address: SocketAddr, environment: &[(&str, &str)]) -> Process {
        let log = self.folder.0.join(format!("{address}.log"));
        let written = || std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        // A release build, say, for what measures.
        let binary = std::env::var(BINARY).unwrap_or_else(|_| env!("CARGO_BIN_EXE_sms-gateway").to_owned());
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(&self.config)
            .env_remove("DATABASE_URL")
            .env("SMS_GATEWAY__SERVER__LISTEN", address.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(written())
            .stderr(written())
            .spawn()
            .unwrap();
        Process { child, address, client: Client::new(format!("http://{address}")), log, launched: Instant::now() }
    }

    /// A connection to the database.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&PgConnectOptions::from_str(self.database.url()).unwrap()).await.unwrap()
    }

    /// Runs a statement.
    pub async fn run(&self, sql: &str) {
        run(&mut self.connect().await, sql).await;
    }

    /// Pauses a provider before a process starts: what is accepted for it waits in the queue.
    pub async fn pause(&self, provider: &str) {
        self.run(&format!(
            "insert into provider_switches (provider, enabled, changed_at) values ('{provider}', false, now())"
        ))
        .await;
    }

    /// Resumes all providers; processes follow within a second.
    pub async fn resume(&self) {
        self.run("update provider_switches set enabled = true").await;
    }

    /// Takes hold of a whole table, so that nothing is written to it; it can still be read.
    pub async fn hold_table(&self, table: &str) -> Brake {
        let mut connection = self.connect().await;
        run(&mut connection, &format!("begin; lock table {table} in exclusive mode")).await;
        Brake { connection, watch: self.connect().await, release: "rollback".to_owned() }
    }

    /// Holds commits that did something (`insert on queue`, `update on queue`) to a row for which `when` holds.
    pub async fn hold_commits(&self, of: &str, when: &str) -> Brake {
        let mut connection = self.connect().await;
        let sql = format!(
            "create function brake() returns trigger language plpgsql as
                 $$ begin perform pg_advisory_xact_lock_shared({BRAKE}); return null; end $$;
             create constraint trigger brake after {of} deferrable initially deferred
                 for each row when ({when}) execute function brake();
             select pg_advisory_lock({BRAKE})"
        );
        run(&mut connection, &sql).await;
        Brake { connection, watch: self.connect().await, release: format!("select pg_advisory_unlock({BRAKE})") }
    }

    /// Cuts all connections of the gateway to the database. Says how many there were.
    pub async fn cut_connections(&self) -> i64 {
        // The order matters: without the inner query it might cut its own connection before it looks whose it is.
        let cut = "select pid from (select pid from pg_stat_activity where datname = current_database()
                   and application_name = 'sms-gateway' offset 0) as open where pg_terminate_backend(pid)";
        self.database.count(cut).await
    }

    /// Lets the leases of a process that is gone run out.
    pub async fn let_leases_run_out(&self) {
        self.run("update queue set lease_until = now() - interval '1 second' where lease is not null").await;
    }

    /// Waits until a query finds so many rows.
    pub async fn until_rows(&self, query: &str, expected: i64) {
        eventually(query, async || (self.database.count(query).await == expected).then_some(())).await;
    }
}

/// Something that holds the database at a step.
pub struct Brake {
    connection: PgConnection,
    watch: PgConnection,
    release: String,
}

impl Brake {
    /// Waits until the gateway waits at the step: in a statement that begins like this.
    pub async fn reached(&mut self, statement: &str) {
        let waiting = format!(
            "select count(*) from pg_locks l join pg_stat_activity a using (pid)
             where not l.granted and a.datname = current_database() and a.application_name = 'sms-gateway'
               and a.query ilike '{statement}%'"
        );
        eventually(statement, async || {
            let row = sqlx::raw_sql(AssertSqlSafe(waiting.clone())).fetch_one(&mut self.watch).await.unwrap();
            (row.get::<i64, _>(0) > 0).then_some(())
        })
        .await;
    }

    /// Lets go, and waits until what was held has ended one way or the other.
    pub async fn release(mut self) {
        run(&mut self.connection, &self.release).await;
        let open = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle'
                    and pid <> pg_backend_pid()";
        eventually("nothing is left over", async || {
            let row = sqlx::raw_sql(open).fetch_one(&mut self.watch).await.unwrap();
            (row.get::<i64, _>(0) == 0).then_some(())
        })
        .await;
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Waits until something comes of it.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "it never came true: {what}");
        tokio::time::sleep(PACE).await;
    }
}

/// A running program. It is killed when it is dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    pub client: Client,
    log: PathBuf,
    launched: Instant,
}

impl Process {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The most memory that it ever had, in bytes.
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Waits until it is ready, and says how long that took since it was launched; or how it ended before.
    pub async fn become_ready(&mut self) -> Result<Duration, ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self.client.request(Method::GET, "/readyz").send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return Ok(self.launched.elapsed());
            }
            if let Some(status) = self.has_ended() {
                return Err(status);
            }
            assert!(Instant::now() < until, "it does not become ready");
            tokio::time::sleep(PACE).await;
        }
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it where it stands. All its threads have stopped when this returns.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let stopped = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("it ends", async || self.child.try_wait().unwrap()).await
    }

    /// Posts a text as the shop. None when no answer comes.
    pub async fn post(&self, key: &str, to: &str, text: &str) -> Option<Answer> {
        post(&self.client, key, to, text).await
    }

    /// Posts a text that must be taken. Gives back its id.
    pub async fn text(&self, to: &str, text: &str) -> String {
        let answer = self.client.post(SHOP, "/v1/messages", &json!({ "to": to, "text": text })).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// A message as an operator sees it.
    pub async fn message(&self, id: &str) -> Value {
        let answer = self.client.get(OPS, &format!("/v1/messages/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// Waits until it has taken note of what came of a call.
    pub async fn call_ended(&self) {
        eventually("a call has ended", async || {
            self.client.get("", "/metrics").await.text.contains("sms_gateway_attempts_total").then_some(())
        })
        .await;
    }

    /// Waits until a message has a status.
    pub async fn wait_for_status(&self, id: &str, status: &str) -> Value {
        let mut last = Value::Null;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            last = self.message(id).await;
            if last["status"] == status {
                return last;
            }
            tokio::time::sleep(PACE).await;
        }
        panic!("it never became {status}: {last:#}");
    }

    /// Pushes to `nx` as its carrier would. None when no answer comes.
    pub async fn push_receipt(&self, receipt: String) -> Option<u16> {
        push_receipt(&self.client, receipt).await
    }
}

/// Posts a text as the shop. None when no answer comes.
pub async fn post(client: &Client, key: &str, to: &str, text: &str) -> Option<Answer> {
    let request = client.request(Method::POST, "/v1/messages").bearer_auth(SHOP).header("idempotency-key", key);
    let response = request.json(&json!({ "to": to, "text": text })).send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.ok()?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Some(Answer { status, headers, text, json })
}

/// Pushes to `nx` as its carrier would. None when no answer comes.
pub async fn push_receipt(client: &Client, receipt: String) -> Option<u16> {
    let answer = client.request(Method::POST, "/callbacks/nx/nx-token").body(receipt).send().await.ok()?;
    Some(answer.status().as_u16())
}

impl Drop for Process {
    #[expect(clippy::print_stdout, reason = "what the process logged belongs to the failure of its test")]
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            println!("the last lines of the process:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

fn basis(database_url: &str, listen: SocketAddr, folder: &Folder) -> String {
    let hash = |key: &str| KeyHash::of(key).to_string();
    format!(
        r#"
[server]
listen = "{listen}"
public_url = "http://{listen}"
secret_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[database]
url = "{}"
data_dir = "{}"
max_connections = 8
allow_unsafe_durability = true
[dispatch]
lease_seconds = 7
[providers.sandbox]
driver = "sandbox"
timeout_seconds = 1
[apps.shop]
keys = ["{}"]
[apps.ops]
role = "operator"
keys = ["{}"]
"#,
        database_url,
        folder.0.display(),
        hash(SHOP),
        hash(OPS),
    )
}
