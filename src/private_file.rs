//! Small files with secrets that the gateway makes for itself: readable by their owner only, and never seen half written.
//!
//! Two processes that start at the same time end up with the same content: the first one wins, the other one reads it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// What was found, or put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file was there.
    Found,
    /// The file was made by this call.
    Made,
}

/// Reads a file, or makes it with mode 0600 (and its folder with 0711) if there is none.
pub fn read_or_make(path: &Path, content: impl FnOnce() -> String) -> io::Result<(String, Origin)> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path, content()),
        found => found.map(|text| (text, Origin::Found)),
    }
}

fn make(path: &Path, content: String) -> io::Result<(String, Origin)> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    // Nobody else can list it, but the account of the private PostgreSQL can pass to what is its own.
    DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    write(&draft, &content)?;
    // Unlike a rename, a link fails when the name is taken: nobody's secret is replaced.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::read_to_string(path).map(|text| (text, Origin::Found))
        }
        Err(error) => Err(error),
        Ok(()) => {
            File::open(folder)?.sync_all()?;
            Ok((content, Origin::Made))
        }
    }
}

fn write(draft: &Path, content: &str) -> io::Result<()> {
    // A draft can only be left over from a process that died with the same id.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;

    /// A folder of a test's own, removed with it.
    #[derive(Debug)]
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("sms-gateway-{}", uuid::Uuid::now_v7()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_made_once_and_only_its_owner_may_read_it() {
        let folder = Folder::new();
        let path = folder.0.join("data/secret");
        assert_eq!(read_or_make(&path, || "one".into()).unwrap(), ("one".into(), Origin::Made));
        assert_eq!(read_or_make(&path, || "two".into()).unwrap(), ("one".into(), Origin::Found));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.0.join("data")).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn whoever_comes_second_gets_what_the_first_one_made() {
        let folder = Folder::new();
        let path = folder.0.join("secret");
        let made = read_or_make(&path, || {
            fs::write(&path, "of another process").unwrap();
            "mine".into()
        });
        assert_eq!(made.unwrap(), ("of another process".into(), Origin::Found));
    }
}
