//! The clerk of time stamps: makes tickets for records that are complete, and has them stamped.
//!
//! A ticket is one line, and holds all that is needed: the recording may have been moved elsewhere meanwhile.
//!
//! ```text
//! sidetone-stamp 1 audio=… record=…
//! ```

use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::{Disk, read_all};
use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::{hex, quote_whole, unhex, unquote};
use crate::media::recorder::stamp::answer::{Asked, check};
use crate::media::recorder::stamp::request::{Nonce, request};
use crate::media::recorder::stamp::{
    Authority, Stamp, StampConfig, StampError, imprint, stamp_path,
};
use crate::media::recorder::upload::ticket::{rewrite, ticket_path, tickets};
use crate::media::recorder::verify::field;

const MAGIC: &str = "sidetone-stamp 1 ";
/// The end of a ticket's name.
pub const SUFFIX: &str = "stamp";
/// The largest ticket and the largest record that are read.
const MOST: (u64, u64) = (64 << 10, 1 << 30);

/// A record that has been stamped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The recording.
    pub audio: PathBuf,
    /// What was said of its record.
    pub stamp: Stamp,
}

/// Why a record is not stamped yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttendError {
    /// The authority could not be asked, or the disk here failed; it is tried again.
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// What came is no stamp of the record; it is tried again.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// The ticket makes no sense: it is set aside.
    #[error("nothing is there to be stamped")]
    Gone,
}

/// Gives a sealed recording that is complete a ticket, which is on the disk then.
///
/// # Errors
/// The record cannot be read, or the ticket not be made.
pub fn enqueue<D: Disk>(disk: &D, config: &StampConfig, audio: &Path) -> io::Result<()> {
    let record = read_all(&mut disk.open(&seal_path(audio))?, MOST.1)?;
    let name = audio.to_str().map(quote_whole);
    let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let line = format!("{MAGIC}audio={name} record={}\n", hex(&imprint(&record)));
    rewrite(
        disk,
        &ticket_path(&config.queue, audio, SUFFIX),
        line.as_bytes(),
    )?;
    disk.sync_directory(&config.queue)
}

/// What a ticket says: the recording, and the SHA-256 of its record.
pub fn read_ticket(bytes: &[u8]) -> Option<(PathBuf, [u8; 32])> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let told = text.strip_prefix(MAGIC)?;
    let audio = PathBuf::from(unquote(field(told, "audio")?));
    Some((audio, unhex(field(told, "record")?)?))
}

/// The tickets that wait, in the order of their names.
///
/// # Errors
/// The directory cannot be read.
pub fn waiting<D: Disk>(disk: &D, config: &StampConfig) -> io::Result<Vec<PathBuf>> {
    tickets(disk, &config.queue, SUFFIX)
}

/// Has the record of a ticket stamped: afterwards the answer lies beside it, on the disk. The ticket stays until
/// [`settle`].
///
/// # Errors
/// [`AttendError`]. Whatever it is, and wherever a crash ends it, it can be tried again.
pub fn attend<D: Disk>(
    disk: &D,
    config: &StampConfig,
    authority: &dyn Authority,
    ticket: &Path,
) -> Result<Stamped, AttendError> {
    let bytes = read_all(&mut disk.open(ticket)?, MOST.0)?;
    let Some((audio, digest)) = read_ticket(&bytes) else {
        rewrite(disk, &ticket.with_extension("gone"), &bytes)?;
        disk.remove(ticket)?;
        return Err(AttendError::Gone);
    };
    let mut drawn = [0; 8];
    disk.draw(&mut drawn)?;
    let nonce = Nonce::new(drawn);
    let policy = config.policy.as_deref();
    let answer = authority.ask(&request(&digest, Some(&nonce), policy)?)?;
    let asked = Asked {
        digest: &digest,
        nonce: Some(&nonce),
        policy,
    };
    let stamp = check(&answer, &asked, &config.roots)?;
    let path = stamp_path(&audio);
    rewrite(disk, &path, &answer)?;
    disk.sync_directory(path.parent().unwrap_or(Path::new(".")))?;
    Ok(Stamped { audio, stamp })
}

/// Removes the ticket of a record that has its stamp.
///
/// # Errors
/// The disk failed.
pub fn settle<D: Disk>(disk: &D, config: &StampConfig, ticket: &Path) -> io::Result<()> {
    disk.remove(ticket)?;
    disk.sync_directory(&config.queue)
}
