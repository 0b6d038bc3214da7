//! Which PostgreSQL programs this machine has, and which of them fit a cluster.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{PrivatePostgresError, place::Account};

/// The oldest major version that the gateway's SQL is written for.
pub(super) const OLDEST: u32 = 14;

/// Where packages put the programs: a directory, what the names in it begin with, and what follows below.
const USUAL_PLACES: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                   // PGDG's RPMs
    ("/usr/libexec", "postgresql", ""),                          // Alpine
    ("/usr/local", "pgsql", "bin"),                              // built from source
    ("/opt/homebrew/opt", "postgresql", "bin"),                  // Homebrew on ARM
    ("/usr/local/opt", "postgresql", "bin"),                     // Homebrew on Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),     // Homebrew on Linux
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
];

/// One installed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// Where `postgres` and `initdb` lie.
    pub(super) bin: PathBuf,
    /// Their major version.
    pub(super) major: u32,
}

/// What the account can run: what PATH says first, then the newest.
pub(super) fn installed(account: Option<Account>) -> Vec<Programs> {
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    look(on_path, USUAL_PLACES.into_iter().flat_map(beside).collect(), account)
}

fn look(on_path: Vec<PathBuf>, elsewhere: Vec<PathBuf>, account: Option<Account>) -> Vec<Programs> {
    let mut seen = HashSet::new();
    let mut found = |directories: Vec<PathBuf>| -> Vec<Programs> {
        let real = directories.iter().filter_map(|directory| real_bin(directory));
        real.filter(|bin| seen.insert(bin.clone())).filter_map(|bin| examine(bin, account)).collect()
    };
    let mut programs = found(on_path);
    let mut others = found(elsewhere);
    others.sort_by_key(|programs| std::cmp::Reverse(programs.major));
    programs.append(&mut others);
    programs
}

/// The programs for a cluster of this major version; for a new cluster, the first.
pub(super) fn choose<'a>(
    installed: &'a [Programs],
    cluster: &Path,
    major: Option<u32>,
) -> Result<&'a Programs, PrivatePostgresError> {
    let Some(first) = installed.first() else { return Err(PrivatePostgresError::NotInstalled) };
    let Some(needed) = major else { return Ok(first) };
    installed.iter().find(|programs| programs.major == needed).ok_or_else(|| PrivatePostgresError::OtherVersion {
        cluster: cluster.to_owned(),
        needed,
        found: installed.iter().map(|programs| programs.major).collect(),
    })
}

fn beside((parent, prefix, below): (&str, &str, &str)) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|e| e.path().join(below))
        .collect()
}

/// Follows a link to `postgres` to where its sibling programs are.
fn real_bin(directory: &Path) -> Option<PathBuf> {
    let bin = fs::canonicalize(directory.join("postgres")).ok()?.parent()?.to_owned();
    bin.join("initdb").exists().then_some(bin)
}

fn examine(bin: PathBuf, account: Option<Account>) -> Option<Programs> {
    let mut command = Command::new(bin.join("postgres"));
    let output = Account::run_as(account, &mut command).arg("--version").output().ok()?;
    let major = major_in(&String::from_utf8_lossy(&output.stdout))?;
    (major >= OLDEST).then_some(Programs { bin, major })
}

/// Of `postgres (PostgreSQL) 15.18 (Debian …)` or `… 18beta1`, the 15 or 18.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(majors: &[u32]) -> Vec<Programs> {
        majors.iter().map(|&major| Programs { bin: PathBuf::from(format!("/pg/{major}")), major }).collect()
    }

    #[test]
    fn a_new_cluster_takes_the_first_programs() {
        let installed = programs(&[15, 17]);
        assert_eq!(choose(&installed, Path::new("c"), None).unwrap().major, 15);
    }

    #[test]
    fn a_cluster_takes_programs_of_its_own_version() {
        let installed = programs(&[17, 15]);
        assert_eq!(choose(&installed, Path::new("c"), Some(15)).unwrap().major, 15);
    }

    #[test]
    fn a_cluster_without_fitting_programs_is_refused_with_both_versions() {
        let installed = programs(&[17, 15]);
        let error = choose(&installed, Path::new("/data/cluster"), Some(16)).unwrap_err().to_string();
        assert!(error.contains("/data/cluster was made by PostgreSQL 16") && error.contains("[17, 15]"), "{error}");
    }

    #[test]
    fn a_machine_without_programs_is_told_how_to_get_them_and_how_to_do_without() {
        let installed = look(vec![PathBuf::from("/nowhere")], vec![], None);
        let error = choose(&installed, Path::new("c"), None).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql") && error.contains("database.url"), "{error}");
    }

    #[test]
    fn versions_are_read_as_every_packager_writes_them() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("postgres (Homebrew)", None),
        ] {
            assert_eq!(major_in(text), major, "{text}");
        }
    }

    #[test]
    fn a_link_is_followed_to_its_siblings_and_counted_once() {
        let account = Account::unprivileged().unwrap();
        let real = installed(account);
        let links = env::temp_dir().join(format!("sms-gateway-links-{}", std::process::id()));
        fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(real[0].bin.join("postgres"), links.join("postgres")).unwrap();
        let found = look(vec![links.clone()], vec![real[0].bin.clone()], account);
        fs::remove_dir_all(links).unwrap();
        assert_eq!(found, [real[0].clone()]);
    }
}
