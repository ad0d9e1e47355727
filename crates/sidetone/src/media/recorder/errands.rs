//! What is still to be done for a recording that is complete: to have its record stamped, to upload it, to delete it when
//! its time is over.
//!
//! Each has a queue of its own, so that an authority that is out of reach holds up no upload.

use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::Disk;
use crate::media::recorder::expiry::{self, ExpiryConfig};
use crate::media::recorder::stamp::{self, StampConfig};
use crate::media::recorder::storage::{News, StorageEvent};
use crate::media::recorder::upload::{self, UploadConfig};

/// Which errands there are. Default none.
#[derive(Debug, Clone, Default)]
pub struct Errands {
    /// How records are stamped.
    pub stamp: Option<StampConfig>,
    /// How recordings are uploaded.
    pub upload: Option<UploadConfig>,
    /// How recordings are deleted when their time is over.
    pub expiry: Option<ExpiryConfig>,
}

/// A complete recording has not got its ticket.
#[derive(Debug, thiserror::Error)]
pub enum Unqueued {
    /// For its stamp.
    #[error("not queued to be stamped: {0}")]
    Stamp(io::Error),
    /// For its upload.
    #[error("not queued to be uploaded: {0}")]
    Upload(io::Error),
    /// For its deletion.
    #[error("not queued to be deleted: {0}")]
    Expiry(io::Error),
}

impl Unqueued {
    /// The news of it.
    pub fn told(self, path: PathBuf) -> StorageEvent {
        match self {
            Self::Stamp(error) => StorageEvent::Stamp(News::Lost {
                path,
                error: error.to_string(),
            }),
            Self::Upload(error) => StorageEvent::Upload(News::Lost {
                path,
                error: error.to_string(),
            }),
            Self::Expiry(error) => StorageEvent::Expiry(News::Lost {
                path,
                error: error.to_string(),
            }),
        }
    }
}

impl Errands {
    /// Gives a complete recording its tickets, which are on the disk then.
    ///
    /// # Errors
    /// [`Unqueued`]: the disk failed.
    pub fn enqueue<D: Disk>(
        &self,
        disk: &D,
        audio: &Path,
        is_sealed: bool,
    ) -> Result<(), Unqueued> {
        if let Some(config) = self.stamp.as_ref().filter(|_| is_sealed) {
            stamp::clerk::enqueue(disk, config, audio).map_err(Unqueued::Stamp)?;
        }
        // The upload last: what has a ticket for it is known to be complete.
        if let Some(config) = &self.upload {
            let queued = upload::clerk::enqueue(disk, config, audio, is_sealed);
            return queued.map_err(Unqueued::Upload);
        }
        // What is uploaded is queued for its deletion when the store has it, and not before.
        match &self.expiry {
            Some(config) => expiry::enqueue(disk, config, audio).map_err(Unqueued::Expiry),
            None => Ok(()),
        }
    }
}
