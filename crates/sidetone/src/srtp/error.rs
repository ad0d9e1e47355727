//! Why a packet cannot be protected or taken.

use thiserror::Error;

/// Why key material cannot be used; always the caller's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key or the salt has not the suite's length.
    #[error("the key or the salt has not the length that its suite wants")]
    Length,
    /// The identifier is empty or longer than [`MAX_MKI`](super::key::MAX_MKI).
    #[error("the master key identifier is empty or too long")]
    Identifier,
    /// A lifetime of no packet at all.
    #[error("the master key may protect no packet")]
    Lifetime,
}

/// Why a packet of ours cannot be sent. It must not be sent unprotected either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtectError {
    /// The buffer has no room for the trailer.
    #[error("no room for the trailer")]
    Room,
    /// It is no RTP or RTCP packet.
    #[error("malformed packet")]
    Malformed,
    /// Its sequence number does not follow those sent before under this key: sending it might use a
    /// key stream twice.
    #[error("the sequence number was used already")]
    Reused,
    /// The key has protected as many packets as it may (RFC 3711 §9.2).
    #[error("the key's lifetime is over")]
    Expired,
    /// More of our own sources than are kept track of.
    #[error("too many sources under one key")]
    TooManySources,
}

/// Why a received packet is dropped. None of these is a reason to end a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnprotectError {
    /// Too short, or not what it should be: RTCP that is not encrypted counts too.
    #[error("malformed packet")]
    Malformed,
    /// The tag does not fit: forged, damaged, or made with another key.
    #[error("authentication failed")]
    Authentication,
    /// Seen before, or too old to tell.
    #[error("replayed")]
    Replayed,
    /// The key has protected as many packets as it may (RFC 3711 §9.2).
    #[error("the key's lifetime is over")]
    Expired,
    /// More authenticated sources than are kept track of.
    #[error("too many sources under one key")]
    TooManySources,
}
