//! A PostgreSQL server that belongs to one test, durable, which it may stop, crash and start again.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::unistd::{Uid, User};
use tokio::process::Command;
use url::Url;

use super::gateway::Folder;

/// A server of a test's own. It is ended when it is dropped.
pub struct OwnPostgres {
    folder: Folder,
    programs: PathBuf,
}

impl OwnPostgres {
    /// Makes a cluster and starts a server on it.
    pub async fn start() -> Self {
        let server = Self { folder: Folder::new(), programs: programs() };
        Self::own(&server.folder.0);
        let data = server.folder.0.join("data");
        server
            .run("initdb", &["-D", path(&data), "-U", "sms_gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
            .await;
        server.start_again().await;
        server
    }

    /// Where it is found.
    pub fn url(&self) -> Url {
        let url = format!("postgres://sms_gateway@localhost/postgres?host={}", self.folder.0.display());
        Url::parse(&url).unwrap()
    }

    /// Gives a folder to the account that the server runs as.
    pub fn own(folder: &Path) {
        if let Some(user) = account() {
            chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
    }

    /// Ends it: `fast`, or `immediate`, which leaves what a crash leaves.
    pub async fn stop(&self, mode: &str) {
        self.run("pg_ctl", &["-D", path(&self.folder.0.join("data")), "-w", "-m", mode, "stop"]).await;
    }

    /// Starts it and waits until it takes connections.
    pub async fn start_again(&self) {
        let options = format!("-c listen_addresses= -k {} -c max_connections=60", self.folder.0.display());
        let (data, log) = (self.folder.0.join("data"), self.folder.0.join("log"));
        self.run("pg_ctl", &["-D", path(&data), "-w", "-l", path(&log), "-o", &options, "start"]).await;
    }

    async fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = command(&self.programs.join(program));
        let status = command.args(arguments).stdout(Stdio::null()).status().await.unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let mut command = command(&self.programs.join("pg_ctl")).into_std();
        command.args(["-D", path(&self.folder.0.join("data")), "-m", "immediate", "-w", "stop"]);
        // It may be stopped already.
        drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// A disk with little room, which goes with its test.
pub struct SmallDisk(Folder);

impl SmallDisk {
    /// One that servers of tests may write to. None, with a word, where nothing may be mounted.
    #[expect(clippy::print_stdout, reason = "a test that did not run shall say so")]
    pub fn mount() -> Option<Self> {
        let folder = Folder::new();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&folder.0).stderr(Stdio::null());
        if !mount.status().is_ok_and(|status| status.success()) {
            println!("skipped: no file system may be mounted here");
            return None;
        }
        OwnPostgres::own(&folder.0);
        Some(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0.0
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.0.join("filler")).unwrap();
        let block = [1; 4096];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    }

    /// Makes room again.
    pub fn make_room(&self) {
        std::fs::remove_file(self.0.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server that has files there is ended before or after; a lazy unmount takes both.
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0.0).status());
    }
}

/// A server refuses to run as root.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = account() {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid), "--init-groups".to_owned()]);
        command.arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Root's stand-in.
fn account() -> Option<User> {
    Uid::effective().is_root().then(|| User::from_name("postgres").unwrap().unwrap())
}

/// The newest that is installed.
fn programs() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    for installed in ["/usr/lib/postgresql", "/opt/homebrew/opt"] {
        let versions = std::fs::read_dir(installed).into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    folders.into_iter().find(|folder| folder.join("initdb").exists()).expect("PostgreSQL is installed")
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
