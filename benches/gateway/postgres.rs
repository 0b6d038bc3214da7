//! A PostgreSQL server of the run's own, set up as the gateway's private one is: everything durable, a socket and no port.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, User},
};
use sms_gateway::private_postgres::SETTINGS;

use super::process::{Process, output_of};

const USER: &str = "sms_gateway";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    home: PathBuf,
}

impl Postgres {
    /// Makes a cluster below a directory and starts a server on it.
    pub fn start(below: &Path) -> Result<Self> {
        let (programs, home) = (programs()?, below.join("postgres"));
        fs::create_dir(&home)?;
        let account = account()?;
        if let Some(user) = &account {
            chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let as_account = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.env_clear().env("LC_ALL", "C").current_dir("/");
            if let Some(user) = &account {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command
        };
        let cluster = home.join("cluster");
        let arguments = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"];
        output_of(as_account("initdb").arg("--pgdata").arg(&cluster).args(arguments))?;
        let mut server = as_account("postgres");
        server.arg("-D").arg(&cluster).arg("-k").arg(&home).args(SETTINGS.iter().flat_map(|one| ["-c", one]));
        let process = Process::start(&mut server, &below.join("postgres.log"), Signal::SIGINT)?;
        let mut postgres = Self { process, programs, home };
        while postgres.sql("postgres", "select 1").is_err() {
            postgres.process.check()?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(postgres)
    }

    /// The server's process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What `database.url` is set to.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost/{database}?host={}", self.home.display())
    }

    /// Runs some SQL and gives back what it answers, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let arguments = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql];
        Ok(output_of(self.client("psql", database).args(arguments))?.trim().to_owned())
    }

    /// A client program, told where the server is.
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGHOST", &self.home).env("PGUSER", USER).env("PGDATABASE", database);
        command
    }

    /// Its version, as it says it.
    pub fn version(&self) -> Result<String> {
        Ok(output_of(Command::new(self.programs.join("postgres")).arg("--version"))?.trim().to_owned())
    }
}

/// Whom the server runs as, where that is not ourselves: PostgreSQL refuses to run as root.
fn account() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    User::from_name("postgres")?.context("PostgreSQL does not run as root, and there is no user postgres").map(Some)
}

/// The newest version installed.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for place in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let bin = entry.path().join("bin");
            let version = entry.file_name().to_string_lossy().trim_start_matches("postgresql@").parse();
            if bin.join("initdb").exists() {
                found.push((version.unwrap_or(0), bin));
            }
        }
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&on_path).filter(|bin| bin.join("initdb").exists()).map(|bin| (0, bin)));
    found.sort();
    let Some((_, bin)) = found.pop() else { bail!("PostgreSQL is not installed") };
    Ok(bin)
}
