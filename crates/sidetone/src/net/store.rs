//! A directory as the store that recordings are uploaded to: another disk, or a network's.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::DiskFile;
use crate::media::recorder::upload::{Part, Store, StoreError, is_key};

/// A store of objects in a directory. An object that is on its way is a file whose name ends in `.part`; it gets its
/// own name when it is whole and on the disk.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
}

/// Uploads of one object at once, those that nobody completes included.
const MOST: u32 = 1_000;

impl DirectoryStore {
    /// Objects below `root`, which is made with the first of them. Files and directories are for their owner only.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        match is_key(name) {
            true => Ok(self.root.join(name)),
            false => Err(StoreError::Failed(format!("{name:?} is no object's name"))),
        }
    }

    fn open(&self, upload: &str) -> Result<File, StoreError> {
        let path = self.path(upload)?;
        let opened = OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(unless_known)
    }
}

impl Store for DirectoryStore {
    fn begin(&self, key: &str) -> Result<String, StoreError> {
        for n in 0..MOST {
            let upload = format!("{key}.{n}.part");
            match create(&self.path(&upload)?) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|_| upload).map_err(failed),
            }
        }
        Err(StoreError::Failed(format!(
            "too many parts of {key} are left"
        )))
    }

    fn put(&self, _key: &str, upload: &str, part: Part<'_>) -> Result<String, StoreError> {
        let mut file = self.open(upload)?;
        file.write_at(part.offset, part.bytes).map_err(failed)?;
        Ok(format!("{:08x}", crc32c::crc32c(part.bytes)))
    }

    fn complete(&self, key: &str, upload: &str, _tags: &[String]) -> Result<(), StoreError> {
        let path = self.path(key)?;
        self.open(upload)?.sync_all().map_err(failed)?;
        std::fs::rename(self.path(upload)?, &path).map_err(unless_known)?;
        // Without its name on the disk the object would be gone after a power loss, and its source too.
        let directory = path.parent().unwrap_or(&self.root);
        match cfg!(unix) {
            true => File::open(directory)
                .and_then(|it| it.sync_all())
                .map_err(failed),
            false => Ok(()),
        }
    }

    fn length(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match std::fs::metadata(self.path(key)?) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A new file, and the directories above it.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut directories = DirBuilder::new();
    options.write(true).create_new(true);
    directories.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        options.mode(0o600);
        directories.mode(0o700);
    }
    if let Some(parent) = path.parent() {
        directories.create(parent)?;
    }
    options.open(path)
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn unless_known(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Unknown,
        _ => failed(error),
    }
}
