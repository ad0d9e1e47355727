//! The deletion of recordings whose time is over: each that has a label gets a ticket, which waits until the label's date.
//!
//! A ticket is one line; its name begins with the second from which on it is due, so that one look at the directory's
//! names tells whether there is something to do:
//!
//! ```text
//! 1795305600-call-7-9f3c….due: sidetone-due 1 audio=…
//! ```
//!
//! It decides nothing: what is believed is the label in the recording's signed record
//! ([`delete`]).

use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::{Disk, read_all};
use crate::media::recorder::retention::{DeletionError, Label, delete, is_deleted};
use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::{SigningKey, quote_whole, unquote};
use crate::media::recorder::upload::ticket::{rewrite, ticket_path, tickets};
use crate::media::recorder::verify::{Record, VerifyingKey, field};
use crate::time::{Duration, WallTime};

const MAGIC: &str = "sidetone-due 1 ";
/// The end of a ticket's name.
pub const SUFFIX: &str = "due";
/// The largest ticket and the largest record that are read.
const MOST: (u64, u64) = (64 << 10, 1 << 30);

/// Has recordings deleted when the date of their label has come, with a proof of it in their place. What has no label stays
/// for ever, and what is uploaded stays until the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiryConfig {
    /// Where tickets lie: a directory of this engine alone, which lasts as long as the recordings.
    pub queue: PathBuf,
    /// What the proof says why. Default `its time is over`.
    pub reason: String,
    /// Keys that recordings were signed by earlier, beside the present one. Default none.
    pub known: Vec<VerifyingKey>,
    /// How often the queue is looked at, which reads the names of all that wait. Default 10 minutes.
    pub look: Duration,
}

impl ExpiryConfig {
    /// Tickets in `queue`.
    pub fn new(queue: impl Into<PathBuf>) -> Self {
        Self {
            queue: queue.into(),
            reason: "its time is over".to_owned(),
            known: Vec::new(),
            look: Duration::from_secs(600),
        }
    }
}

/// A recording that has been deleted since its time was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// What it was; the proof lies beside it
    /// ([`proof_path`](crate::media::recorder::retention::proof_path)).
    pub audio: PathBuf,
}

/// Why a recording is not deleted although it is due.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpiryError {
    /// The disk failed; it is tried again.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Its record is not proven, or its ticket makes no sense: it stays, and the ticket is set aside.
    #[error("not deleted: {0}")]
    Gone(&'static str),
}

/// Gives a complete recording a ticket, which is on the disk then, if its record has a label.
///
/// # Errors
/// The record cannot be read, or the ticket not be made.
pub fn enqueue<D: Disk>(disk: &D, config: &ExpiryConfig, audio: &Path) -> io::Result<()> {
    let record = match disk.open(&seal_path(audio)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => read_all(&mut opened?, MOST.1)?,
    };
    match Record::parse(&record).label {
        Some(label) => enqueue_until(disk, config, audio, &label),
        None => Ok(()),
    }
}

fn enqueue_until<D: Disk>(
    disk: &D,
    config: &ExpiryConfig,
    audio: &Path,
    label: &Label,
) -> io::Result<()> {
    let name = audio.to_str().map(quote_whole);
    let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let line = format!("{MAGIC}audio={name}\n");
    let due = label.not_before.as_unix_nanos().div_ceil(1_000_000_000);
    let plain = ticket_path(&config.queue, audio, SUFFIX);
    let plain = plain.file_name().unwrap_or_default().to_string_lossy();
    // As many digits for all, so that names stand in the order of time.
    let path = config.queue.join(format!("{due:011}-{plain}"));
    rewrite(disk, &path, line.as_bytes())?;
    disk.sync_directory(&config.queue)
}

/// The tickets that are due, the oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn due<D: Disk>(disk: &D, config: &ExpiryConfig, now: WallTime) -> io::Result<Vec<PathBuf>> {
    let now = now.as_unix_nanos() / 1_000_000_000;
    let is_due = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let due = name.split_once('-').and_then(|(due, _)| due.parse().ok());
        due.is_some_and(|due: u64| due <= now)
    };
    let mut all = tickets(disk, &config.queue, SUFFIX)?;
    all.retain(is_due);
    Ok(all)
}

/// What a ticket says: the recording.
pub fn read_ticket(bytes: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let told = text.strip_prefix(MAGIC)?;
    Some(PathBuf::from(unquote(field(told, "audio")?)))
}

/// Deletes the recording of a ticket if its label allows it at `now`, and the ticket; `None` where the label says a later
/// date than the ticket, which is made anew then.
///
/// # Errors
/// [`ExpiryError`]. Whatever it is, and wherever a crash ends it, it can be tried again.
pub fn attend<D: Disk>(
    disk: &D,
    config: &ExpiryConfig,
    key: &SigningKey,
    ticket: &Path,
    now: WallTime,
) -> Result<Option<Expired>, ExpiryError> {
    let bytes = read_all(&mut disk.open(ticket)?, MOST.0)?;
    let Some(audio) = read_ticket(&bytes) else {
        return set_aside(disk, ticket, &bytes, "its ticket makes no sense");
    };
    let mut known = config.known.clone();
    known.extend(VerifyingKey::of(key));
    let expired = match delete(disk, &audio, now, &config.reason, key, &known) {
        Ok(()) => Some(Expired { audio }),
        // A crash came before its ticket had gone.
        Err(DeletionError::Unproven) if is_deleted(disk, &audio)? => Some(Expired { audio }),
        Err(DeletionError::Unproven) => {
            return set_aside(disk, ticket, &bytes, "its record is not proven");
        }
        Err(DeletionError::Kept { label }) => {
            enqueue_until(disk, config, &audio, &label)?;
            None
        }
        Err(DeletionError::Disk(error)) => return Err(error.into()),
    };
    disk.remove(ticket)?;
    disk.sync_directory(&config.queue)?;
    Ok(expired)
}

/// Keeps a ticket that nothing can be done for, under a name that nobody looks for.
fn set_aside<D: Disk>(
    disk: &D,
    ticket: &Path,
    bytes: &[u8],
    why: &'static str,
) -> Result<Option<Expired>, ExpiryError> {
    rewrite(disk, &ticket.with_extension("gone"), bytes)?;
    disk.remove(ticket)?;
    Err(ExpiryError::Gone(why))
}

#[cfg(test)]
mod tests;
