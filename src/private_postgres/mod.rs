//! The PostgreSQL that the gateway brings up for itself where no `database.url` is given.
//!
//! A newcomer starts one program and has a real, durable database: the machine's own PostgreSQL programs run as a child on a
//! socket below `data_dir`, and end with the gateway however that ends. Nothing is downloaded, and nothing here knows what is
//! stored. On Linux the server also ends when the gateway is killed outright; elsewhere only a regular end takes it along.

mod error;
mod leftovers;
mod place;
mod programs;
mod server;
#[cfg(test)]
mod tests;

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::{oneshot, watch};
use url::form_urlencoded::byte_serialize;

pub use self::error::PrivatePostgresError;
pub use self::server::SETTINGS;
use self::{place::Place, server::Server};

const USER: &str = "sms_gateway";
const DATABASE: &str = "postgres";
const PORT: u16 = 5432;
/// A fast shutdown writes a checkpoint; the gateway's own end has 30 s in all.
const FAST_STOP: Duration = Duration::from_secs(10);
const IMMEDIATE_STOP: Duration = Duration::from_secs(5);

/// A running PostgreSQL server that belongs to this process.
#[derive(Debug)]
pub struct PrivatePostgres {
    sockets: PathBuf,
    pid: Pid,
    exited: watch::Receiver<Option<ExitStatus>>,
}

impl PrivatePostgres {
    /// Starts the server whose cluster belongs to `data_dir`, making the cluster first where there is none.
    ///
    /// Returns when the server takes connections.
    pub async fn start(data_dir: &Path) -> Result<Self, PrivatePostgresError> {
        let data_dir = data_dir.to_owned();
        let (started, starting) = oneshot::channel();
        // The parent-death signal comes when the thread that forked ends, so the server gets a thread that lives as long as it.
        std::thread::Builder::new()
            .name("private-postgres".to_owned())
            .spawn(move || keep(&data_dir, started))
            .map_err(PrivatePostgresError::Thread)?;
        starting.await.unwrap_or(Err(PrivatePostgresError::ThreadEnded))
    }

    /// How to connect.
    pub fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.sockets)
            .port(PORT)
            .username(USER)
            .database(DATABASE)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a URL, for people and other programs: `postgres://USER@localhost/DATABASE?host=DIRECTORY`.
    pub fn url(&self) -> String {
        let directory: String = byte_serialize(self.sockets.as_os_str().as_bytes()).collect();
        format!("postgres://{USER}@localhost/{DATABASE}?host={}", directory.replace('+', "%20"))
    }

    /// Waits until the server has ended by itself; it does not come back.
    pub fn died(&self) -> impl Future<Output = PrivatePostgresError> + Send + use<> {
        let mut exited = self.exited.clone();
        async move {
            let status = exited.wait_for(Option::is_some).await.ok().and_then(|status| *status);
            status.map_or(PrivatePostgresError::ThreadEnded, PrivatePostgresError::Died)
        }
    }

    /// Ends the server and returns when its process is gone. Close the pools first.
    pub async fn stop(mut self) {
        for (signal, patience) in [
            (Signal::SIGINT, FAST_STOP),
            (Signal::SIGQUIT, IMMEDIATE_STOP),
            // What a kill leaves undone, the next start recovers from the log.
            (Signal::SIGKILL, IMMEDIATE_STOP),
        ] {
            self.signal(signal);
            if tokio::time::timeout(patience, self.exited.wait_for(Option::is_some)).await.is_ok() {
                return;
            }
            tracing::warn!(%signal, "the private PostgreSQL does not end");
        }
    }

    fn signal(&self, signal: Signal) {
        // Reaped already: the pid may be somebody else's by now.
        if self.exited.borrow().is_none() {
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.signal(Signal::SIGINT);
    }
}

/// The life of the server, on its own thread.
fn keep(data_dir: &Path, started: oneshot::Sender<Result<PrivatePostgres, PrivatePostgresError>>) {
    let (place, mut server) = match launch(data_dir) {
        Ok(launched) => launched,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let (exit, exited) = watch::channel(None);
    // Nobody waits any more: the value comes back, is dropped, and its Drop ends the server.
    let _ = started.send(Ok(PrivatePostgres { sockets: place.sockets.clone(), pid: server.pid(), exited }));
    let status = server.wait();
    // Before anybody hears of the end: the next start must find the lock free.
    drop(place);
    if let Ok(status) = status {
        exit.send_replace(Some(status));
    }
}

fn launch(data_dir: &Path) -> Result<(Place, Server), PrivatePostgresError> {
    let place = Place::take(data_dir)?;
    let programs = programs::installed(place.account);
    let cluster = place.cluster();
    let programs = programs::choose(&programs, &cluster, server::major_of(&cluster)?)?;
    leftovers::clear(&place)?;
    if !cluster.exists() {
        server::create_cluster(&place, programs)?;
    }
    let server = Server::start(&place, programs)?;
    tracing::info!(cluster = %cluster.display(), major = programs.major, "private PostgreSQL runs");
    Ok((place, server))
}
