//! What an earlier run may have left: servers that still end, or were orphaned, and files that name processes long gone.
//!
//! Called under the lock, so no living gateway owns any of it.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{PrivatePostgresError, place::Place};

/// Ends the servers of an earlier run and removes what they left.
pub(super) fn clear(place: &Place) -> Result<(), PrivatePostgresError> {
    let (cluster, unfinished) = (place.cluster(), place.unfinished_cluster());
    end_servers_in(&unfinished)?;
    end_servers_in(&cluster)?;
    let cannot_remove = |path: &Path| PrivatePostgresError::io("cannot remove what an earlier run left", path);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(cannot_remove(&unfinished))?;
    }
    // PostgreSQL would refuse to start if the process ids in these happen to be alive as something else.
    let socket = place.socket();
    let socket_lock = socket.with_file_name(format!("{}.lock", socket.file_name().unwrap_or_default().display()));
    for path in [cluster.join("postmaster.pid"), socket, socket_lock] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot_remove(&path)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// First as the gateway would have, then less politely; a server may be writing its last checkpoint.
fn end_servers_in(cluster: &Path) -> Result<(), PrivatePostgresError> {
    let steps = [(Signal::SIGINT, 20), (Signal::SIGQUIT, 5), (Signal::SIGKILL, 5)];
    for (signal, patience) in steps {
        let servers = servers_in(cluster);
        if servers.is_empty() {
            return Ok(());
        }
        tracing::warn!(?servers, %signal, "ending PostgreSQL servers of an earlier run");
        for pid in servers {
            let _ = kill(pid, signal);
        }
        let deadline = Instant::now() + Duration::from_secs(patience);
        while Instant::now() < deadline && !servers_in(cluster).is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let rest = servers_in(cluster);
    if rest.is_empty() {
        Ok(())
    } else {
        Err(PrivatePostgresError::Leftovers(rest.iter().map(|p| p.as_raw()).collect()))
    }
}

/// Processes that are `postgres` and work in this directory, as every process of a server does. Empty where there is no /proc.
pub(super) fn servers_in(cluster: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let servers = processes.filter(|process| {
        let link = |name: &str| fs::read_link(process.path().join(name)).ok();
        // An operator's shell may stand there as well.
        let is_postgres = || {
            link("exe")
                .is_some_and(|exe| exe.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres")))
        };
        link("cwd").is_some_and(|cwd| cwd == cluster) && is_postgres()
    });
    servers.filter_map(|process| process.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}
