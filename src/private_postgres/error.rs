//! What can keep the private PostgreSQL from running, said so that the reader knows what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePostgresError {
    /// No usable programs on this machine.
    #[error(
        "no PostgreSQL {oldest} or newer was found, neither on PATH nor in the usual places: install it (Debian and Ubuntu: \
         apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17), or set \
         database.url to a server that runs already",
        oldest = super::programs::OLDEST
    )]
    NotInstalled,
    /// The cluster needs programs of another major version.
    #[error(
        "the cluster {} was made by PostgreSQL {needed}, and this machine has {found:?}: install PostgreSQL {needed}, or move \
         the data with pg_upgrade", cluster.display()
    )]
    OtherVersion {
        /// Where the cluster is.
        cluster: PathBuf,
        /// The major version that made it.
        needed: u32,
        /// The major versions at hand.
        found: Vec<u32>,
    },
    /// Another process holds the directory.
    #[error("another gateway uses the data directory {}", .0.display())]
    InUse(PathBuf),
    /// PostgreSQL does not run as root, and there is nobody to run it as.
    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody`; set database.url"
    )]
    NoAccount,
    /// The account cannot get to its own cluster.
    #[error("user {uid} cannot enter {}, where its PostgreSQL cluster lies: open the directories above it (chmod o+x)", home.display())]
    ShutOut {
        /// Where the cluster is.
        home: PathBuf,
        /// Who cannot enter it.
        uid: u32,
    },
    /// The directory for the socket cannot be trusted.
    #[error("{} must be a directory that only user {uid} can enter, since PostgreSQL's socket goes there", sockets.display())]
    UnsafeSockets {
        /// The directory.
        sockets: PathBuf,
        /// Whose it should be.
        uid: u32,
    },
    /// Even the short place for the socket is too long.
    #[error("the path of the socket, {}, is longer than 107 bytes: choose a shorter TMPDIR", .0.display())]
    SocketPathTooLong(PathBuf),
    /// Servers of an earlier run are still there.
    #[error("PostgreSQL servers of an earlier run do not end: {0:?}")]
    Leftovers(Vec<i32>),
    /// initdb refused.
    #[error("initdb failed ({status}): {output}")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// The server ended while starting.
    #[error("PostgreSQL did not start ({status}); the end of {}: {tail}", log.display())]
    NotStarted {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The server takes for ever to start.
    #[error("PostgreSQL is not ready after {seconds} s; its log is {}", log.display())]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// The server ended under us.
    #[error("the private PostgreSQL ended by itself ({0})")]
    Died(ExitStatus),
    /// No thread to keep the server on.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
    /// The thread that keeps the server ended first.
    #[error("the thread that keeps the private PostgreSQL ended")]
    ThreadEnded,
    /// The operating system refused.
    #[error("{doing}: {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl PrivatePostgresError {
    /// For `map_err`: what failed, and on what.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
