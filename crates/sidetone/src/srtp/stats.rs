//! Counters of protection.

use crate::srtp::error::UnprotectError;

/// What a [`Session`](super::session::Session) has counted; RTP and RTCP together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SrtpStats {
    /// Packets protected.
    pub protected: u64,
    /// Packets that could not be protected, and were not sent.
    pub unsent: u64,
    /// Packets that authenticated.
    pub accepted: u64,
    /// Of those, under the key before the present one.
    pub accepted_previous: u64,
    /// Packets whose tag did not fit.
    pub auth_failed: u64,
    /// Packets seen before, or too old to tell.
    pub replayed: u64,
    /// Packets after the end of the key's lifetime.
    pub expired: u64,
    /// Packets of sources beyond those kept track of.
    pub too_many_sources: u64,
    /// Packets too short, or RTCP that was not encrypted.
    pub malformed: u64,
    /// Times a key was replaced by another, either way.
    pub rekeyed: u32,
}

impl SrtpStats {
    pub(super) fn refuse(&mut self, error: UnprotectError) {
        match error {
            UnprotectError::Malformed => self.malformed += 1,
            UnprotectError::Authentication => self.auth_failed += 1,
            UnprotectError::Replayed => self.replayed += 1,
            UnprotectError::Expired => self.expired += 1,
            UnprotectError::TooManySources => self.too_many_sources += 1,
        }
    }
}
