//! The files of the spool: appended to and synchronised by one process each, read by whoever gets hold of their lock.
//!
//! A file is locked (`flock`) by the process that writes it, so that no other one replays it meanwhile; the system gives the lock
//! back when the process is gone. What a file says is not known here. All calls block.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::frame;

/// A file that is as long as this gets no more frames, so that a replay takes it in pieces.
const FILE_BYTES: u64 = 8 * 1024 * 1024;
const WRITTEN: &str = "spool";
const DAMAGED: &str = "damaged";

/// Appends to a folder.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    /// All files that wait for their replay take at most so much, those of other processes included.
    limit: u64,
    used: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
}

impl Writer {
    /// Nothing is made or opened yet.
    pub(super) fn new(folder: PathBuf, limit: u64) -> Self {
        let mut writer = Self { folder, limit, used: 0, open: None };
        writer.measure();
        writer
    }

    /// Makes the folder and writes, so that a folder that cannot be used is known before it is needed.
    pub(super) fn try_out(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(format!("{}.try", std::process::id()));
        // It may be left over from a process that died just here.
        fs::write(&path, frame::head())?;
        fs::remove_file(&path)
    }

    /// Appends contents, as many as there is room for, and says how many. They are durable then.
    pub(super) fn append(&mut self, contents: &[&[u8]], name: Uuid) -> io::Result<usize> {
        let (mut bytes, mut fitting) = (Vec::new(), 0);
        for content in contents {
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_add(frame::size(content));
            if content.len() > frame::LONGEST || self.used.saturating_add(size) > self.limit {
                break;
            }
            frame::push(&mut bytes, content);
            fitting += 1;
        }
        if fitting > 0 {
            // After a failure nobody knows what stands at the end of the file: nothing more is written to it.
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.create(name)?,
            };
            open.file.write_all(&bytes)?;
            open.file.sync_data()?;
            let written = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.used = self.used.saturating_add(written);
            open.length += written;
            self.open = Some(open).filter(|open| open.length < FILE_BYTES);
        }
        Ok(fitting)
    }

    fn create(&self, name: Uuid) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // Under its name only when it is locked: nobody shall take it for a file that was left behind.
        let draft = self.folder.join(format!("{name}.new"));
        let mut file = create(&draft)?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(&frame::head())?;
        file.sync_all()?;
        fs::rename(&draft, self.folder.join(name.to_string()).with_extension(WRITTEN))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Open { file, length: 0 })
    }

    /// Lets go of the file that is being written, so that it can be replayed. False when there is none.
    pub(super) fn close(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// How much room is taken, as far as this process knows.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Looks how much room is taken.
    pub(super) fn measure(&mut self) -> u64 {
        let sizes = waiting(&self.folder).unwrap_or_default().into_iter().filter_map(|path| fs::metadata(path).ok());
        self.used = sizes.map(|file| file.len()).sum();
        self.used
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// The files that wait for their replay, oldest first; also those that somebody still writes.
pub(super) fn waiting(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == WRITTEN) {
            paths.push(path);
        }
    }
    // Their names are ids, which sort by age.
    paths.sort();
    Ok(paths)
}

/// A file that is ours until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    path: PathBuf,
    pub bytes: Vec<u8>,
    _lock: File,
}

impl Taken {
    /// Takes hold of a file. None when somebody else has it, or has just done away with it.
    pub(super) fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if file.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(Self { path, bytes, _lock: file }))
    }

    /// Everything in it is stored.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Everything that can be read is stored; what is left is for people to look at. Gives back where it is.
    pub(super) fn set_aside(self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension(DAMAGED);
        fs::rename(&self.path, &aside)?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::private_file::tests::Folder;

    fn writer(folder: &Folder) -> Writer {
        Writer::new(folder.0.join("spool"), 1000)
    }

    fn taken(folder: &Folder) -> Vec<Taken> {
        let paths = waiting(&folder.0.join("spool")).unwrap();
        paths.into_iter().filter_map(|path| Taken::take(path).unwrap()).collect()
    }

    #[test]
    fn what_was_appended_is_found_when_the_writer_let_go_and_not_before() {
        let folder = Folder::new();
        let mut writer = writer(&folder);
        assert_eq!(writer.append(&[b"one", b"two"], Uuid::now_v7()).unwrap(), 2);
        assert_eq!(writer.append(&[b"three"], Uuid::now_v7()).unwrap(), 1);
        assert!(taken(&folder).is_empty(), "it is still written");
        assert!(writer.close());
        let files = taken(&folder);
        assert_eq!(frame::read(&files[0].bytes).contents, [&b"one"[..], b"two", b"three"]);
        assert!(taken(&folder).is_empty(), "two replays do not take the same file");
    }

    #[test]
    fn only_the_owner_may_read() {
        let folder = Folder::new();
        writer(&folder).append(&[b"one"], Uuid::now_v7()).unwrap();
        let path = waiting(&folder.0.join("spool")).unwrap().remove(0);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn beyond_the_limit_nothing_is_taken_until_files_are_gone() {
        let folder = Folder::new();
        let mut writer = writer(&folder);
        let content = [7_u8; 400];
        assert_eq!(writer.append(&[&content, &content, &content], Uuid::now_v7()).unwrap(), 2);
        assert_eq!(writer.append(&[&content], Uuid::now_v7()).unwrap(), 0);
        assert_eq!(self::writer(&folder).append(&[&content], Uuid::now_v7()).unwrap(), 0, "another process");
        writer.close();
        taken(&folder).remove(0).remove().unwrap();
        assert_eq!(writer.measure(), 0);
        assert_eq!(writer.append(&[&content], Uuid::now_v7()).unwrap(), 1);
    }

    #[test]
    fn what_is_set_aside_is_not_found_again() {
        let folder = Folder::new();
        let mut writer = writer(&folder);
        writer.append(&[b"one"], Uuid::now_v7()).unwrap();
        writer.close();
        let aside = taken(&folder).remove(0).set_aside().unwrap();
        assert!(aside.exists() && waiting(&folder.0.join("spool")).unwrap().is_empty());
        assert_eq!(writer.measure(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let folder = Folder::new();
        fs::write(folder.0.join("spool"), "a file").unwrap();
        let mut writer = writer(&folder);
        assert!(writer.try_out().is_err());
        assert!(writer.append(&[b"one"], Uuid::now_v7()).is_err());
    }
}
