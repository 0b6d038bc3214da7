//! Where the cluster lies and whose it is: directories, the account that PostgreSQL runs as, and the lock on all of it.
//!
//! PostgreSQL refuses to run as root. A gateway that runs as root gives the cluster to an unprivileged account, and root itself
//! never writes inside a directory that this account owns, since a link laid there would make root write elsewhere.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{Gid, Uid, User, chown};
use sha2::{Digest, Sha256};

use super::{PORT, PrivatePostgresError};

/// Where clusters lie that the account could not reach in their data directory.
pub(super) const ELSEWHERE: &str = "/var/lib/sms-gateway";
/// The room for a path in `sockaddr_un`, less the closing zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Whom PostgreSQL runs as, where that is not ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// None: we are not root, and PostgreSQL runs as we do.
    pub(super) fn unprivileged() -> Result<Option<Self>, PrivatePostgresError> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        user.map(|user| Some(Self { uid: user.uid, gid: user.gid })).ok_or(PrivatePostgresError::NoAccount)
    }

    /// A program of PostgreSQL, run as this account, with nothing of our environment that could lead it elsewhere.
    pub(super) fn run_as(account: Option<Self>, command: &mut Command) -> &mut Command {
        // In its own process group Ctrl-C reaches only the gateway, which still needs the database to drain.
        command.env_clear().env("LC_ALL", "C").env("PATH", env::var_os("PATH").unwrap_or_default());
        command.current_dir("/").process_group(0);
        if let Some(account) = account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
        command
    }

    fn owner_of(metadata: &fs::Metadata) -> Self {
        Self { uid: Uid::from_raw(metadata.uid()), gid: Gid::from_raw(metadata.gid()) }
    }

    /// Can it pass through this directory and all above it? Its supplementary groups are dropped, so these bits are all it has.
    fn can_enter(self, directory: &Path) -> bool {
        directory.ancestors().all(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|metadata| {
                let bit = match () {
                    () if metadata.uid() == self.uid.as_raw() => 0o100,
                    () if metadata.gid() == self.gid.as_raw() => 0o010,
                    () => 0o001,
                };
                metadata.mode() & bit != 0
            })
        })
    }
}

/// The cluster's place, held against other gateways until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory that belongs to the account: the cluster and, where the path is short enough, the socket.
    pub(super) home: PathBuf,
    /// The directory of the socket.
    pub(super) sockets: PathBuf,
    /// The server's log, beside the account's directory.
    pub(super) log: PathBuf,
    /// Whom the server runs as.
    pub(super) account: Option<Account>,
    _lock: File,
}

impl Place {
    /// Locks `data_dir` and prepares the cluster's directories.
    pub(super) fn take(data_dir: &Path) -> Result<Self, PrivatePostgresError> {
        let cannot = PrivatePostgresError::io;
        fs::create_dir_all(data_dir).map_err(cannot("cannot create the data directory", data_dir))?;
        let data_dir = fs::canonicalize(data_dir).map_err(cannot("cannot resolve the data directory", data_dir))?;
        let lock = lock(&data_dir)?;
        let (home, account) = settle(&data_dir)?;
        let uid = account.map_or(Uid::effective(), |account| account.uid).as_raw();
        if account.is_some_and(|account| !account.can_enter(&home)) {
            return Err(PrivatePostgresError::ShutOut { home, uid });
        }
        let sockets = sockets_for(&home, account, uid)?;
        Ok(Self { log: data_dir.join("postgres.log"), home, sockets, account, _lock: lock })
    }

    /// The directory of the cluster itself.
    pub(super) fn cluster(&self) -> PathBuf {
        self.home.join("cluster")
    }

    /// Where a cluster is made before it gets its name.
    pub(super) fn unfinished_cluster(&self) -> PathBuf {
        self.home.join("cluster.new")
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.sockets)
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

fn lock(data_dir: &Path) -> Result<File, PrivatePostgresError> {
    let path = data_dir.join("postgres.lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(PrivatePostgresError::io("cannot open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PrivatePostgresError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(PrivatePostgresError::io("cannot lock", &path)(source)),
    }
}

/// Finds or makes the account's directory: where a cluster is already, it stays, and so does its owner.
fn settle(data_dir: &Path) -> Result<(PathBuf, Option<Account>), PrivatePostgresError> {
    let here = data_dir.join("postgres");
    let Some(account) = Account::unprivileged()? else {
        make_private(&here, None)?;
        return Ok((here, None));
    };
    let elsewhere = Path::new(ELSEWHERE).join(name_of(data_dir));
    let has_cluster = |home: &Path| home.join("cluster").exists();
    let home = if has_cluster(&here) || (!has_cluster(&elsewhere) && account.can_enter(data_dir)) {
        here
    } else {
        // Not what a strict umask makes of it: others must be able to pass.
        fs::create_dir_all(ELSEWHERE)
            .and_then(|()| fs::set_permissions(ELSEWHERE, fs::Permissions::from_mode(0o755)))
            .map_err(PrivatePostgresError::io("cannot create", Path::new(ELSEWHERE)))?;
        tracing::warn!(
            data_dir = %data_dir.display(), cluster = %elsewhere.display(),
            "the account that runs PostgreSQL cannot enter the data directory: the cluster lies elsewhere"
        );
        elsewhere
    };
    let owner = make_private(&home, Some(account))?;
    let home = fs::canonicalize(&home).map_err(PrivatePostgresError::io("cannot resolve", &home))?;
    Ok((home, Some(owner)))
}

/// A directory that only the account can enter; tells whose it is.
fn make_private(directory: &Path, account: Option<Account>) -> Result<Account, PrivatePostgresError> {
    let attempt = || -> io::Result<Account> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let metadata = fs::symlink_metadata(directory)?;
        match account {
            // New, or left by a start that was killed before it gave the directory away.
            Some(account) if metadata.is_dir() && metadata.uid() == 0 => {
                chown(directory, Some(account.uid), Some(account.gid))?;
                Ok(account)
            }
            Some(_) | None => Ok(Account::owner_of(&metadata)),
        }
    };
    attempt().map_err(PrivatePostgresError::io("cannot make a private directory", directory))
}

/// The account's directory, unless a socket there would have too long a path.
fn sockets_for(home: &Path, account: Option<Account>, uid: u32) -> Result<PathBuf, PrivatePostgresError> {
    let too_long = |directory: &Path| socket_in(directory).as_os_str().len() > LONGEST_SOCKET_PATH;
    if !too_long(home) {
        return Ok(home.to_owned());
    }
    let sockets = env::temp_dir().join(format!("sms-gateway-{}", name_of(home)));
    if too_long(&sockets) {
        return Err(PrivatePostgresError::SocketPathTooLong(socket_in(&sockets)));
    }
    make_private(&sockets, account)?;
    // Anybody can make a directory under /tmp, under this very name too.
    let safe = fs::symlink_metadata(&sockets).is_ok_and(|m| m.is_dir() && m.uid() == uid && m.mode() & 0o777 == 0o700);
    safe.then_some(sockets.clone()).ok_or(PrivatePostgresError::UnsafeSockets { sockets, uid })
}

/// One short name per path.
pub(super) fn name_of(path: &Path) -> String {
    let mut name = hex::encode(Sha256::digest(path.as_os_str().as_bytes()));
    name.truncate(16);
    name
}
