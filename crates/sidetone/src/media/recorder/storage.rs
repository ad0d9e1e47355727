//! What signalling asks of the storage threads and what they report.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::id::RecordingId;
use crate::media::codec::Codec;
use crate::media::recorder::Feed;
use crate::media::recorder::crypt::age::Recipient;
use crate::media::recorder::digest::Digest;
use crate::media::recorder::expiry::Expired;
use crate::media::recorder::layout::Format;
use crate::media::recorder::retention::Label;
use crate::media::recorder::seal::SigningKey;
use crate::media::recorder::stamp::clerk::Stamped;
use crate::media::recorder::track::Tracks;
use crate::media::recorder::upload::clerk::Uploaded;
use crate::media::recorder::writer::{RecordError, Report};
use crate::time::WallTime;

/// How a recording is sealed.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// A number that no other recording has, drawn at random.
    pub id: u128,
    /// What chains its record.
    pub digest: Digest,
    /// When the recording began.
    pub started: WallTime,
    /// How long it must be kept.
    pub label: Option<Label>,
    /// Who can read it, where it is to be encrypted: at most
    /// [`MAX_RECIPIENTS`](crate::media::recorder::crypt::age::MAX_RECIPIENTS).
    pub recipients: Vec<Recipient>,
    /// The key that signs it; without one tampering with a single chunk is found, but not that all of it
    /// was made anew.
    pub key: Option<SigningKey>,
}

/// Signalling to storage.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageCommand {
    /// Writes a new file from what the feed gives, until its tap and those that joined are gone.
    Open {
        /// The recording, named again in every event about it.
        recording: RecordingId,
        /// The file to make. It must not exist; missing directories above it are made. The caller
        /// builds the name from identifiers that the engine minted, never from the network.
        path: PathBuf,
        /// The channels of the file.
        tracks: Tracks,
        /// What file it is.
        format: Format,
        /// The codec of a file of Opus.
        opus: Option<Arc<dyn Codec>>,
        /// How it is sealed, if it is: its record lies beside the file, its name followed by `.seal`. A file of
        /// pages ([`Format::is_paged`]) has to be.
        sealing: Option<Box<Sealing>>,
        /// The storage side of the recording's tap.
        feed: Box<Feed>,
    },
    /// Writes what another leg gives into a recording that is open.
    Join {
        /// The recording; where it is over the feed is let go.
        recording: RecordingId,
        /// The storage side of the leg's tap, at the recording's rate.
        feed: Box<Feed>,
    },
}

/// Storage to signalling.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageEvent {
    /// The file exists and is being written.
    Opened {
        /// The recording.
        recording: RecordingId,
    },
    /// Nothing more is written; the call goes on. The last event about the recording.
    ///
    /// What was written until then stays on disk and is a valid file, where the disk allows.
    Failed {
        /// The recording.
        recording: RecordingId,
        /// What the system said.
        error: StorageError,
    },
    /// The tap is gone, everything it gave is in the file, the disk has it, the file is closed. The last
    /// event about the recording.
    Closed {
        /// The recording.
        recording: RecordingId,
        /// What the file holds.
        report: Report,
    },
    /// The journal is not kept: until [`Guarded`](Self::Guarded) a crash may cost recordings more than a
    /// second. They go on.
    Unguarded {
        /// Why.
        error: StorageError,
    },
    /// The journal is kept again.
    Guarded,
    /// The disk has less room than new recordings need: they fail until [`Space`](Self::Space). Those that run
    /// go on.
    LowSpace {
        /// Bytes that are free.
        free: u64,
    },
    /// There is room again.
    Space {
        /// Bytes that are free.
        free: u64,
    },
    /// A recording's upload stands differently.
    Upload(UploadNews),
    /// A recording's time stamp stands differently.
    Stamp(StampNews),
    /// The deletion of recordings whose time is over stands differently.
    Expiry(ExpiryNews),
}

/// How uploads of recordings stand.
pub type UploadNews = News<Uploaded>;

/// How time stamps of recordings stand.
pub type StampNews = News<Stamped>;

/// How the deletion of recordings stands whose time is over.
pub type ExpiryNews = News<Expired>;

/// How something stands that is done for recordings when they are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News<T> {
    /// It is done for one: the store has the recording and its record, a stamp lies beside it, or it is deleted.
    Done(T),
    /// Those who are asked for it fail, or the disk does: it is tried again after pauses that grow up to 5 minutes, until
    /// [`Works`](Self::Works). Told once for all recordings that wait.
    Fails {
        /// What went wrong.
        error: String,
    },
    /// It has succeeded after it had failed.
    Works,
    /// It will not be done for one: the recording is not there any more, or could not be queued.
    Lost {
        /// The recording, or its ticket.
        path: PathBuf,
        /// What went wrong.
        error: String,
    },
}

/// Why a recording could not be made or carried on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The file or a directory above it could not be made: it exists, or permission is missing.
    #[error("cannot create the recording: {message}")]
    Create {
        /// The system's kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// The file could not be written: the disk is full or broken.
    #[error("cannot write the recording: {message}")]
    Write {
        /// The system's kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// The journal could not be written.
    #[error("cannot write the journal: {message}")]
    Journal {
        /// The system's kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// The journal's disk does not keep up.
    #[error("the journal's disk does not keep up")]
    Slow,
    /// The disk has less room than the configuration wants for a new recording.
    #[error("too little room: {free} bytes are free")]
    LowSpace {
        /// Bytes that are free.
        free: u64,
    },
    /// As many recordings are open as the configuration allows.
    #[error("too many recordings are open")]
    Full,
}

impl StorageError {
    /// The error of making the file.
    pub fn create(error: &io::Error) -> Self {
        Self::Create {
            kind: error.kind(),
            message: error.to_string(),
        }
    }

    /// The error of committing the journal.
    pub fn journal(error: &io::Error) -> Self {
        Self::Journal {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

impl From<RecordError> for StorageError {
    fn from(RecordError::Write(error): RecordError) -> Self {
        Self::Write {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}
