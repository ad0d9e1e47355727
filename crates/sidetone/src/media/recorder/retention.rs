//! How long recordings must be kept, and their deletion afterwards, with a proof of it.
//!
//! The proof is a text that stays in the recording's place (`NAME.wav.deleted`):
//!
//! ```text
//! sidetone-deletion 1 id=… started=… label=… until=… deleted=… reason=… record=…
//! signature key=… ed25519=…
//! ```
//!
//! `record` is the SHA-256 of the recording's record, as it was when its signature had been verified. The signature is
//! over the first line with its line feed.

use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::{Disk, read_all};
use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::{SigningKey, hash, hex, quote, unhex, unquote};
use crate::media::recorder::stamp::stamp_path;
use crate::media::recorder::upload::ticket::rewrite;
use crate::media::recorder::verify::{
    Record, Signature, VerifyingKey, field, judge_record, judge_signature, number,
};
use crate::time::WallTime;

const MAGIC: &str = "sidetone-deletion 1 ";
/// The largest record that is read.
const MOST: u64 = 1 << 30;

/// How long a recording must be kept: part of its record, and signed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What rule it is kept by, such as `mifid-5y`.
    pub name: String,
    /// When it may be deleted.
    pub not_before: WallTime,
}

/// A deletion that was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The recording's number.
    pub id: u128,
    /// When it had begun.
    pub started: WallTime,
    /// How long it had to be kept.
    pub label: Option<Label>,
    /// When it was deleted.
    pub deleted: WallTime,
    /// Why.
    pub reason: String,
    /// The SHA-256 of its record.
    pub record: [u8; 32],
    /// What the proof's signature is worth.
    pub signature: Signature,
}

/// Why a recording was not deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeletionError {
    /// Its record is missing, altered, incomplete, or not signed by a known key: who knows how long it must be
    /// kept.
    #[error("its record is not proven")]
    Unproven,
    /// It must be kept.
    #[error("it must be kept as {}", label.name)]
    Kept {
        /// How long.
        label: Label,
    },
    /// The disk failed. Deleting it again goes on where this stopped.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// Where the proof of a recording's deletion lies.
pub fn proof_path(audio: &Path) -> PathBuf {
    let mut name = audio.as_os_str().to_owned();
    name.push(".deleted");
    name.into()
}

/// Deletes a recording, its record and its time stamp, unless its label says that it must be kept, and leaves a proof signed by
/// `key`. Its record must be whole and signed by one of `known`, for the label is believed. The proof is on the disk
/// before anything is removed.
///
/// # Errors
/// [`DeletionError`].
pub fn delete<D: Disk>(
    disk: &D,
    audio: &Path,
    now: WallTime,
    reason: &str,
    key: &SigningKey,
    known: &[VerifyingKey],
) -> Result<(), DeletionError> {
    let seal = seal_path(audio);
    let record = match disk.open(&seal) {
        Ok(mut file) => read_all(&mut file, MOST)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DeletionError::Unproven);
        }
        Err(error) => return Err(error.into()),
    };
    let line = prove(&record, now, reason, known)?;
    let proof = format!("{line}{}\n", key.sign(line.as_bytes()));
    let path = proof_path(audio);
    // One may be left by a deletion that was interrupted.
    rewrite(disk, &path, proof.as_bytes())?;
    let directory = audio.parent().unwrap_or(Path::new("."));
    disk.sync_directory(directory)?;
    // The record last: without it the deletion could not be taken up again.
    for path in [audio, &stamp_path(audio), &seal] {
        match disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    disk.sync_directory(directory)?;
    Ok(())
}

/// Whether a recording was deleted, as far as a proof in its place says so.
///
/// # Errors
/// The disk failed.
pub fn is_deleted<D: Disk>(disk: &D, audio: &Path) -> io::Result<bool> {
    let is_there = |path: &Path| match disk.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    Ok(is_there(&proof_path(audio))? && !is_there(&seal_path(audio))?)
}

/// The line that says what is deleted, if it may be.
fn prove(
    record: &[u8],
    now: WallTime,
    reason: &str,
    known: &[VerifyingKey],
) -> Result<String, DeletionError> {
    let parsed = Record::parse(record);
    let opening = parsed.opening.filter(|_| parsed.is_whole());
    let opening = opening.ok_or(DeletionError::Unproven)?;
    if !matches!(judge_record(&parsed, known), Signature::Valid { .. }) {
        return Err(DeletionError::Unproven);
    }
    let label = parsed.label.as_ref();
    if let Some(label) = label.filter(|label| now < label.not_before) {
        let label = label.clone();
        return Err(DeletionError::Kept { label });
    }
    let label = label.map_or_else(String::new, |label| {
        let until = label.not_before.as_unix_nanos();
        format!(" label={} until={until}", quote(&label.name))
    });
    Ok(format!(
        "{MAGIC}id={:032x} started={}{label} deleted={} reason={} record={}\n",
        opening.id,
        opening.started.as_unix_nanos(),
        now.as_unix_nanos(),
        quote(reason),
        hex(&hash(record)),
    ))
}

/// Reads a proof; `None` where it is none.
pub fn verify_deletion(proof: &[u8], known: &[VerifyingKey]) -> Option<Deletion> {
    let text = std::str::from_utf8(proof).ok()?;
    let (line, rest) = text.split_once('\n')?;
    let told = line.strip_prefix(MAGIC)?;
    let label = field(told, "label").map(|name| {
        Some(Label {
            name: unquote(name),
            not_before: WallTime::from_unix_nanos(number(told, "until")?),
        })
    });
    let label = match label {
        Some(label) => Some(label?),
        None => None,
    };
    let signed = rest
        .strip_prefix("signature ")
        .and_then(|it| it.strip_suffix('\n'));
    let signature = match signed {
        Some(it) => {
            let bytes = unhex(field(it, "ed25519")?)?;
            let message = text.get(..line.len() + 1)?;
            judge_signature(
                field(it, "key")?.to_owned(),
                &bytes,
                message.as_bytes(),
                known,
            )
        }
        None => Signature::Missing,
    };
    Some(Deletion {
        id: u128::from_str_radix(field(told, "id")?, 16).ok()?,
        started: WallTime::from_unix_nanos(number(told, "started")?),
        label,
        deleted: WallTime::from_unix_nanos(number(told, "deleted")?),
        reason: unquote(field(told, "reason")?),
        record: unhex(field(told, "record")?)?,
        signature,
    })
}

#[cfg(test)]
mod tests;
