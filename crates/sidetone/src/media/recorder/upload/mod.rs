//! The upload of complete recordings to a store of objects, with a queue that survives restarts.

pub mod backoff;
pub mod clerk;
pub mod ticket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use thiserror::Error;

/// Which recordings are uploaded, and what becomes of them here.
///
/// A recording gets a ticket as soon as its files are complete and on the disk; the ticket tells how far its upload
/// has come, so that a restart goes on where a killed engine stopped. It goes when the store has everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadConfig {
    /// Where tickets lie: a directory of this engine alone, on the disk of the recordings or another.
    pub queue: PathBuf,
    /// A recording below this directory is named by its path from there, any other by its file's name.
    pub root: PathBuf,
    /// What stands before that in its object's name. Default nothing.
    pub prefix: String,
    /// Bytes of a part: what is sent again at most after a crash, and what one upload takes of memory. S3 wants
    /// 5 MiB at least. Default 8 MiB.
    pub part: u64,
    /// Uploads at once. Default 2.
    pub workers: usize,
    /// What becomes of the files here. Default they stay.
    pub after: After,
}

impl UploadConfig {
    /// Tickets in `queue`, for recordings below `root`.
    pub fn new(queue: impl Into<PathBuf>, root: impl Into<PathBuf>) -> Self {
        Self {
            queue: queue.into(),
            root: root.into(),
            prefix: String::new(),
            part: 8 << 20,
            workers: 2,
            after: After::Keep,
        }
    }

    /// The name of the object that a recording becomes; `None` where its path cannot be one.
    pub fn key_of(&self, audio: &Path) -> Option<String> {
        let inner = audio.strip_prefix(&self.root).ok();
        let name = inner.unwrap_or(Path::new(audio.file_name()?));
        let parts: Option<Vec<&str>> = name.iter().map(|part| part.to_str()).collect();
        let key = format!("{}{}", self.prefix, parts?.join("/"));
        is_key(&key).then_some(key)
    }
}

/// Whether a key names one object below a store's root and nothing else.
pub fn is_key(key: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\\']);
    key.len() <= 1_024 && key.split('/').all(is_plain)
}

/// What becomes of a recording's files when the store has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum After {
    /// They stay.
    #[default]
    Keep,
    /// They are removed. Their label counts for the objects from then on, which the store has to keep.
    Remove,
}

/// How recordings are uploaded, and where to.
#[derive(Clone)]
pub struct Upload {
    /// How.
    pub config: UploadConfig,
    /// The store that takes them.
    pub store: Arc<dyn Store>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.config).finish()
    }
}

/// A store of objects, as far as uploads need one. Calls may take as long as the network does; they come from
/// threads of their own.
pub trait Store: Send + Sync {
    /// Begins an upload in parts, and gives its name.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn begin(&self, key: &str) -> Result<String, StoreError>;

    /// Takes a part; the same part may come again. Gives what the store calls it.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] where the upload has ended or is too old.
    fn put(&self, key: &str, upload: &str, part: Part<'_>) -> Result<String, StoreError>;

    /// Makes the object of its parts: it is there as a whole or not at all.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), StoreError>;

    /// The length of an object; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    fn length(&self, key: &str) -> Result<Option<u64>, StoreError>;
}

/// A part of an object.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its number, from 0.
    pub index: usize,
    /// Where it belongs in the object.
    pub offset: u64,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// What a store said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It knows no such upload: it has been completed, or given up.
    #[error("the store knows no such upload")]
    Unknown,
    /// Something else; it is tried again later.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Why a recording is not uploaded yet.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The store could not take it; it is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk here could not be read or written; it is tried again.
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
    /// The recording is not there any more, or its ticket makes no sense: it is given up, and the ticket set aside.
    #[error("nothing is there to be uploaded")]
    Gone,
}

#[cfg(test)]
mod tests;
