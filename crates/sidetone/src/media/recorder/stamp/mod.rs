//! Time stamps of recordings by somebody else (RFC 3161): that a record existed at a moment, whoever holds our keys.
//!
//! What is stamped is the SHA-256 of the whole record that seals a recording (`NAME.wav.seal`), its signature included;
//! the authority's answer lies beside it as it came (`NAME.wav.seal.tsr`), so that others can check it without us:
//!
//! ```text
//! openssl ts -verify -data call.wav.seal -in call.wav.seal.tsr -CAfile authorities.pem
//! ```

pub mod answer;
pub mod certificate;
pub mod clerk;
pub mod der;
pub mod request;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::hash;
use crate::time::{Duration, WallTime};

/// The largest answer that is read, in bytes. With a chain of certificates they have some 6 kB.
pub const MOST_ANSWER: usize = 256 << 10;

/// Which recordings are stamped, and by whose word. Sealed recordings are, as soon as they are complete.
///
/// A recording has a ticket from then until its stamp lies beside it, so that a restart goes on where a killed engine
/// stopped, and an authority that cannot be reached for a week is asked again after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StampConfig {
    /// Where tickets lie: a directory of this engine alone.
    pub queue: PathBuf,
    /// The certificates of those whose authorities are believed. An answer of any other is refused.
    pub roots: Vec<CertificateDer<'static>>,
    /// The policy that is asked for, as an object identifier (`1.2.3.4`). Default the authority's own.
    pub policy: Option<String>,
}

impl StampConfig {
    /// Tickets in `queue`; believed are authorities whose certificates come from `roots`.
    pub fn new(queue: impl Into<PathBuf>, roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            queue: queue.into(),
            roots,
            policy: None,
        }
    }
}

/// How recordings are stamped, and who is asked.
#[derive(Clone)]
pub struct Stamping {
    /// How.
    pub config: StampConfig,
    /// The way to the authority.
    pub authority: Arc<dyn Authority>,
}

impl fmt::Debug for Stamping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stamping").field(&self.config).finish()
    }
}

/// The way to a time-stamping authority. Calls may take as long as the network does; they come from a thread of
/// their own.
pub trait Authority: Send + Sync {
    /// Brings it a request, and its answer back: by HTTP a POST of `application/timestamp-query`, answered by
    /// `application/timestamp-reply` (RFC 3161 §3.4). What is longer than [`MOST_ANSWER`] need not be read on.
    ///
    /// # Errors
    /// It cannot be reached, or says something else; it is asked again later.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>>;
}

/// What an authority has said of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// When the record existed.
    pub time: WallTime,
    /// How far its clock may be off; `None` where its policy says that.
    pub accuracy: Option<Duration>,
    /// The stamp's number at its authority, in hexadecimal.
    pub serial: String,
    /// The policy that it was made under, as an object identifier.
    pub policy: String,
    /// Who made it: the subject of the certificate.
    pub authority: String,
}

/// Why an answer is no stamp of a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StampError {
    /// It is no answer in the form of RFC 3161, or holds what that does not allow.
    #[error("not a time stamp: {0}")]
    Form(&'static str),
    /// The authority refuses (RFC 3161 §2.4.2).
    #[error("the authority refuses: status {status}, {text:?}")]
    Refused {
        /// Its PKIStatus.
        status: u64,
        /// Its words, at most 200 bytes.
        text: String,
    },
    /// It is a stamp of something else.
    #[error("a time stamp of something else")]
    Other,
    /// It answers another request.
    #[error("the answer to another request")]
    Nonce,
    /// It was made under another policy than was asked for.
    #[error("a time stamp under the policy {0}")]
    Policy(String),
    /// It is not what its authority has signed.
    #[error("the time stamp was altered")]
    Altered,
    /// Its certificate may not stamp: it must have that purpose and no other (RFC 3161 §2.3).
    #[error("signed by a certificate that is not for time stamps")]
    Purpose,
    /// Its certificate comes from nobody who is believed, or was not valid at the time.
    #[error("signed by a certificate that is not trusted: {0}")]
    Untrusted(String),
}

impl From<::der::Error> for StampError {
    fn from(_: ::der::Error) -> Self {
        Self::Form("not well encoded")
    }
}

/// What is stamped of a record: its SHA-256, whatever chains it.
pub fn imprint(record: &[u8]) -> [u8; 32] {
    hash(record)
}

/// Where the stamp of a recording lies.
pub fn stamp_path(audio: &Path) -> PathBuf {
    let mut name = seal_path(audio).into_os_string();
    name.push(".tsr");
    name.into()
}

#[cfg(test)]
mod tests;
