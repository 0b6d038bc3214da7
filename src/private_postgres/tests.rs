//! Against real servers: each test has a directory and a server of its own and leaves neither behind.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, getpgid},
};
use sqlx::{Connection, PgConnection, Row};

use super::{
    PrivatePostgres, PrivatePostgresError,
    leftovers::servers_in,
    place::{Account, ELSEWHERE, name_of},
};

/// A directory that vanishes with the test, together with servers that a failing test left in it.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sms-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = fs::canonicalize(env::temp_dir()).unwrap().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn cluster(&self) -> PathBuf {
        self.0.join("postgres/cluster")
    }

    fn server(&self) -> Option<Pid> {
        let status_file = fs::read_to_string(self.cluster().join("postmaster.pid")).ok()?;
        status_file.lines().next()?.parse().ok().map(Pid::from_raw)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        for pid in servers_in(&self.cluster()) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn connect(postgres: &PrivatePostgres) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options()).await.unwrap()
}

async fn ask(connection: &mut PgConnection, sql: &'static str) -> String {
    sqlx::raw_sql(sql).fetch_one(connection).await.unwrap().get(0)
}

/// The kernel tells nobody but the parent that a process has ended: looks again and again, within reason.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn the_server_is_durable_and_listens_on_nothing_but_its_socket() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let mut connection = connect(&postgres).await;
    for (sql, expected) in [
        ("show fsync", "on"),
        ("show synchronous_commit", "on"),
        ("show full_page_writes", "on"),
        ("show listen_addresses", ""),
        ("show data_checksums", "on"),
        ("show server_encoding", "UTF8"),
    ] {
        assert_eq!(ask(&mut connection, sql).await, expected, "{sql}");
    }
    assert_eq!(fs::metadata(data.0.join("postgres")).unwrap().mode() & 0o777, 0o700);
    connection.close().await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn the_url_connects_to_the_same_server() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    assert_eq!(ask(&mut connection, "select current_user::text").await, "sms_gateway");
    connection.close().await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn the_server_never_runs_as_root_and_has_a_process_group_of_its_own() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let server = data.server().unwrap();
    assert_ne!(fs::metadata(format!("/proc/{server}")).unwrap().uid(), 0);
    assert_eq!(getpgid(Some(server)).unwrap(), server);
    postgres.stop().await;
}

#[tokio::test]
async fn stop_ends_every_process_and_keeps_the_data() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let mut connection = connect(&postgres).await;
    sqlx::raw_sql("create table kept as select 'still here' as what").execute(&mut connection).await.unwrap();
    postgres.stop().await;
    assert_eq!(servers_in(&data.cluster()), []);

    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    assert_eq!(ask(&mut connect(&postgres).await, "select what from kept").await, "still here");
    postgres.stop().await;
}

#[tokio::test]
async fn a_first_start_that_was_killed_half_way_does_not_spoil_the_next() {
    let data = DataDir::new();
    PrivatePostgres::start(&data.0).await.unwrap().stop().await;
    // As initdb leaves it when it is killed: a directory without its last files, under the unfinished name.
    fs::rename(data.cluster(), data.0.join("postgres/cluster.new")).unwrap();
    fs::remove_file(data.0.join("postgres/cluster.new/PG_VERSION")).unwrap();

    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    assert_eq!(ask(&mut connect(&postgres).await, "select 'new'").await, "new");
    assert!(!data.0.join("postgres/cluster.new").exists());
    postgres.stop().await;
}

#[test]
fn the_server_outlives_the_threads_that_asked_for_it() {
    let data = DataDir::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let postgres = first.block_on(async { tokio::spawn(start_in(data.0.clone())).await.unwrap() });
    drop(first);
    runtime().block_on(async {
        assert_eq!(ask(&mut connect(&postgres).await, "select 'alive'").await, "alive");
        postgres.stop().await;
    });
}

async fn start_in(path: PathBuf) -> PrivatePostgres {
    PrivatePostgres::start(&path).await.unwrap()
}

#[tokio::test]
async fn files_that_name_a_process_which_is_something_else_by_now_do_not_keep_it_from_starting() {
    let data = DataDir::new();
    PrivatePostgres::start(&data.0).await.unwrap().stop().await;
    // Of the server's own account and not its parent: PostgreSQL itself sees through those two.
    let mut other = Command::new("/bin/sleep");
    let account = Account::unprivileged().unwrap();
    let mut other = Account::run_as(account, &mut other).arg("300").spawn().unwrap();
    let (cluster, sockets) = (data.cluster(), data.0.join("postgres"));
    let lock = format!("{}\n{}\n1700000000\n5432\n{}\n", other.id(), cluster.display(), sockets.display());
    fs::write(cluster.join("postmaster.pid"), &lock).unwrap();
    fs::write(sockets.join(".s.PGSQL.5432.lock"), &lock).unwrap();

    let started = PrivatePostgres::start(&data.0).await;
    other.kill().and_then(|()| other.wait()).unwrap();
    let postgres = started.unwrap();
    assert_eq!(ask(&mut connect(&postgres).await, "select 'alive'").await, "alive");
    postgres.stop().await;
}

#[tokio::test]
async fn a_second_gateway_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let error = PrivatePostgres::start(&data.0).await.unwrap_err();
    assert!(matches!(&error, PrivatePostgresError::InUse(path) if *path == data.0), "{error}");
    assert_eq!(ask(&mut connect(&postgres).await, "select 'alive'").await, "alive");
    postgres.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_shorter_one() {
    let data = DataDir::new();
    let deep = data.0.join("d".repeat(120));
    let postgres = PrivatePostgres::start(&deep).await.unwrap();
    assert_eq!(ask(&mut connect(&postgres).await, "select 'alive'").await, "alive");
    postgres.stop().await;
    let sockets = env::temp_dir().join(format!("sms-gateway-{}", name_of(&deep.join("postgres"))));
    assert!(fs::remove_dir(sockets).is_ok());
}

#[tokio::test]
async fn a_cluster_of_a_version_that_is_not_installed_is_refused_untouched() {
    let data = DataDir::new();
    fs::create_dir_all(data.cluster()).unwrap();
    fs::write(data.cluster().join("PG_VERSION"), "99\n").unwrap();
    let error = PrivatePostgres::start(&data.0).await.unwrap_err();
    assert!(matches!(error, PrivatePostgresError::OtherVersion { needed: 99, .. }), "{error}");
    assert_eq!(fs::read_dir(data.cluster()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_death_of_the_server_is_told() {
    let data = DataDir::new();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let died = tokio::spawn(postgres.died());
    kill(data.server().unwrap(), Signal::SIGKILL).unwrap();
    let error = died.await.unwrap();
    assert!(matches!(error, PrivatePostgresError::Died(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let data = DataDir::new();
    PrivatePostgres::start(&data.0).await.unwrap().stop().await;
    fs::write(data.cluster().join("postgresql.auto.conf"), "no_such_setting = 1\n").unwrap();
    let error = PrivatePostgres::start(&data.0).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn root_in_a_place_that_the_account_cannot_enter_keeps_the_cluster_elsewhere() {
    if !Uid::effective().is_root() {
        return;
    }
    let data = DataDir::new();
    fs::set_permissions(&data.0, fs::Permissions::from_mode(0o700)).unwrap();
    let elsewhere = Path::new(ELSEWHERE).join(name_of(&data.0));
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let mut connection = connect(&postgres).await;
    sqlx::raw_sql("create table kept as select 'still here' as what").execute(&mut connection).await.unwrap();
    postgres.stop().await;
    assert!(elsewhere.join("cluster").exists() && !data.cluster().exists());

    // It stays there, also when the way is open later on.
    fs::set_permissions(&data.0, fs::Permissions::from_mode(0o755)).unwrap();
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    let kept = ask(&mut connect(&postgres).await, "select what from kept").await;
    postgres.stop().await;
    fs::remove_dir_all(elsewhere).unwrap();
    assert_eq!(kept, "still here");
}

/// This test binary, started once more as the gateway that will be killed.
struct Gateway(Child);

const GATEWAY_DATA: &str = "SMS_GATEWAY_TEST_PRIVATE_POSTGRES";

impl Gateway {
    fn start(data: &DataDir) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "private_postgres::tests::as_a_gateway", "--nocapture"]).env(GATEWAY_DATA, &data.0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("server is ready")), "the other gateway did not start");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Does nothing unless [`Gateway::start`] runs it: then it has a server until it is killed, or until its test is.
#[test]
fn as_a_gateway() {
    let Some(data) = env::var_os(GATEWAY_DATA) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _postgres = runtime.block_on(PrivatePostgres::start(Path::new(&data))).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "server is ready").unwrap();
    out.flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_server_ends_with_a_gateway_that_is_killed() {
    let data = DataDir::new();
    let gateway = Gateway::start(&data);
    assert_ne!(servers_in(&data.cluster()), []);
    gateway.kill();
    eventually("every process of the server has ended", || servers_in(&data.cluster()).is_empty());
}

#[tokio::test]
async fn gateway_and_server_killed_together_start_again_with_what_was_committed() {
    let data = DataDir::new();
    let gateway = Gateway::start(&data);
    let url = format!("postgres://sms_gateway@localhost/postgres?host={}", data.0.join("postgres").display());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create table kept as select 'still here' as what").execute(&mut connection).await.unwrap();
    kill(data.server().unwrap(), Signal::SIGKILL).unwrap();
    gateway.kill();
    assert!(data.cluster().join("postmaster.pid").exists());

    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    assert_eq!(ask(&mut connect(&postgres).await, "select what from kept").await, "still here");
    postgres.stop().await;
}

#[tokio::test]
async fn a_server_that_still_runs_without_its_gateway_is_ended_first() {
    let data = DataDir::new();
    PrivatePostgres::start(&data.0).await.unwrap().stop().await;
    let mut orphan = start_without_gateway(&data);
    eventually("the orphan runs", || data.server().is_some());
    let postgres = PrivatePostgres::start(&data.0).await.unwrap();
    assert!(orphan.wait().is_ok());
    assert_eq!(ask(&mut connect(&postgres).await, "select 'alive'").await, "alive");
    postgres.stop().await;
}

fn start_without_gateway(data: &DataDir) -> Child {
    let account = Account::unprivileged().unwrap();
    let programs = super::programs::installed(account);
    let mut command = Command::new(programs[0].bin.join("postgres"));
    Account::run_as(account, &mut command).arg("-D").arg(data.cluster()).args(["-h", "", "-k"]);
    command.arg(data.0.join("postgres")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
