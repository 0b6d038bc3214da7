//! Making a cluster, starting a server on it, and telling when it is ready.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::unistd::Pid;

use super::{
    PORT, PrivatePostgresError, USER,
    place::{Account, Place},
    programs::Programs,
};

/// Long, because a server that recovers from a crash replays its log first.
const READY_WITHIN: Duration = Duration::from_mins(5);

/// What differs from PostgreSQL's defaults. The command line outranks the cluster's own file, so that nothing left in that file
/// can take the durability away or open a port.
pub const SETTINGS: [&str; 19] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=100",
    // Each number that codes are counted for is locked while that is done; a batch has a thousand.
    "max_locks_per_transaction=256",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    // The data lies on a disk that does not seek, and the plans are small.
    "random_page_cost=1.1",
    "jit=off",
    // Queues make dead rows all the time.
    "autovacuum_naptime=10s",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_checkpoints=off",
    // Statements and the details of errors may hold numbers and texts of messages.
    "log_error_verbosity=terse",
    "log_min_error_statement=panic",
    "log_statement=none",
];

/// The major version that made a cluster; none where there is no cluster.
pub(super) fn major_of(cluster: &Path) -> Result<Option<u32>, PrivatePostgresError> {
    let path = cluster.join("PG_VERSION");
    let cannot_read = PrivatePostgresError::io("cannot read the version of the cluster", &path);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error| cannot_read(io::Error::other(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !cluster.exists() => Ok(None),
        Err(error) => Err(cannot_read(error)),
    }
}

/// Makes the cluster under another name first, so that a start that is killed half-way leaves none rather than half of one.
pub(super) fn create_cluster(place: &Place, programs: &Programs) -> Result<(), PrivatePostgresError> {
    let (cluster, unfinished) = (place.cluster(), place.unfinished_cluster());
    tracing::info!(cluster = %cluster.display(), "making a PostgreSQL cluster");
    let mut command = Command::new(programs.bin.join("initdb"));
    Account::run_as(place.account, &mut command).arg("--pgdata").arg(&unfinished).args(["--username", USER]);
    // Whoever can enter the socket's directory is the account itself or root.
    command.args(["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C", "--data-checksums"]);
    end_with_this_thread(&mut command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(PrivatePostgresError::io("cannot run initdb in", &programs.bin))?;
    if !output.status.success() {
        let output_text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(PrivatePostgresError::Initdb { status: output.status, output: output_text });
    }
    fs::rename(&unfinished, &cluster)
        .and_then(|()| File::open(&place.home)?.sync_all())
        .map_err(PrivatePostgresError::io("cannot give the new cluster its name", &cluster))
}

/// A server that takes connections.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(super) fn start(place: &Place, programs: &Programs) -> Result<Self, PrivatePostgresError> {
        let log = open_log(&place.log).map_err(PrivatePostgresError::io("cannot write the log", &place.log))?;
        let mut command = Command::new(programs.bin.join("postgres"));
        Account::run_as(place.account, &mut command).arg("-D").arg(place.cluster()).arg("-k").arg(&place.sockets);
        command.args(["-p", &PORT.to_string()]).args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        end_with_this_thread(&mut command);
        let cannot_run = PrivatePostgresError::io("cannot run postgres in", &programs.bin);
        let mut server = Self { child: command.spawn().map_err(cannot_run)? };
        match server.wait_until_ready(place) {
            Ok(()) => Ok(server),
            Err(error) => {
                let _ = server.child.kill().and_then(|()| server.child.wait());
                Err(error)
            }
        }
    }

    /// Its process.
    #[expect(clippy::cast_possible_wrap, reason = "the kernel's process ids fit")]
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Blocks until it has ended.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    fn wait_until_ready(&mut self, place: &Place) -> Result<(), PrivatePostgresError> {
        let status_file = place.cluster().join("postmaster.pid");
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let exited = self.child.try_wait().map_err(PrivatePostgresError::io("cannot watch", &status_file))?;
            if let Some(status) = exited {
                return Err(PrivatePostgresError::NotStarted {
                    status,
                    log: place.log.clone(),
                    tail: tail(&place.log),
                });
            }
            if fs::read_to_string(&status_file).is_ok_and(|text| says_ready(&text, self.child.id())) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(PrivatePostgresError::NotReady { seconds: READY_WITHIN.as_secs(), log: place.log.clone() });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `postmaster.pid` has the process id in its first line and, as the eighth and last, what the server is doing.
fn says_ready(status_file: &str, pid: u32) -> bool {
    let mut lines = status_file.lines();
    lines.next().is_some_and(|first| first.trim() == pid.to_string())
        && lines.nth(6).is_some_and(|last| last.trim() == "ready")
}

/// The log of the run before is kept beside it: it may say why that ended.
fn open_log(path: &Path) -> io::Result<File> {
    match fs::rename(path, path.with_extension("log.1")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// The program gets SIGINT, a fast shutdown, when the thread that starts it ends, be it by kill -9.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the signal can only be asked for by the child, between fork and exec")]
fn end_with_this_thread(command: &mut Command) {
    use nix::{
        sys::{prctl, signal::Signal},
        unistd::{getpid, getppid},
    };
    let parent = getpid();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGINT)?;
        // Killed before the signal was asked for: it will never come.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: `ask` only makes two system calls, both allowed after a fork. It runs after setuid, which would clear the signal.
    unsafe { command.pre_exec(ask) };
}

/// There is no such signal here: a server outlives a gateway that is killed outright, and the next start says so.
#[cfg(not(target_os = "linux"))]
fn end_with_this_thread(_: &mut Command) {}
