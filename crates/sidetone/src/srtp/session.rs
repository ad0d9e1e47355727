//! The protection of one RTP session: both directions, and the change of keys.

use std::fmt;

use crate::srtp::error::{ProtectError, UnprotectError};
use crate::srtp::inbound::{Guess, Inbound, ssrc_at};
use crate::srtp::key::Keying;
use crate::srtp::outbound::Outbound;
use crate::srtp::stats::SrtpStats;
use crate::time::{Duration, Instant};

/// How long the peer's key before the present one is still taken: packets on their way, and a peer
/// that learns late that its offer was accepted.
pub const OVERLAP: Duration = Duration::from_secs(5);

/// Protects what is sent and opens what is received, in place.
///
/// Neither method allocates. State for a source is made only when one of its packets has
/// authenticated, and for at most 32 sources. About 4 kB, and 4 kB more while two keys overlap.
///
/// ```
/// use sidetone::rtp::packet::{HEADER_LEN, Header};
/// use sidetone::srtp::key::{Keying, MasterKey};
/// use sidetone::srtp::session::Session;
/// use sidetone::srtp::suite::Suite;
/// use sidetone::time::Instant;
///
/// let ours = MasterKey::new(Suite::AesCm128HmacSha1_80, &[1; 16], &[2; 14])?;
/// let theirs = MasterKey::new(Suite::AesCm128HmacSha1_80, &[3; 16], &[4; 14])?;
/// let mut here = Session::new(Keying { local: ours.clone(), remote: theirs.clone() });
/// let mut there = Session::new(Keying { local: theirs, remote: ours });
///
/// let mut packet = [0; HEADER_LEN + 160 + 10];
/// Header { sequence: 7, ..Header::default() }.emit(&mut packet);
/// let length = here.protect_rtp(&mut packet, HEADER_LEN + 160)?;
/// assert_eq!(length, packet.len());
/// let length = there.unprotect_rtp(Instant::ZERO, &mut packet)?;
/// assert_eq!(packet[HEADER_LEN..length], [0; 160]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    outbound: Box<Outbound>,
    inbound: Box<Inbound>,
    previous: Option<Box<Inbound>>,
    previous_until: Instant,
    stats: SrtpStats,
}

/// What a change of keys has left over, to be wiped and freed away from the media thread.
#[derive(Default)]
pub struct Spent {
    _outbound: Option<Box<Outbound>>,
    _inbound: Option<Box<Inbound>>,
    _previous: Option<Box<Inbound>>,
}

impl Session {
    /// A session by these keys. Derives eight session keys: some microseconds, a few allocations.
    pub fn new(keying: Keying) -> Self {
        Self {
            outbound: Box::new(Outbound::new(keying.local)),
            inbound: Box::new(Inbound::new(keying.remote)),
            previous: None,
            previous_until: Instant::ZERO,
            stats: SrtpStats::default(),
        }
    }

    /// Protects the RTP packet in the first `length` bytes of `buf` and returns its new length.
    ///
    /// # Errors
    /// [`ProtectError`]: the packet must not be sent. It may be half encrypted.
    #[inline]
    pub fn protect_rtp(&mut self, buf: &mut [u8], length: usize) -> Result<usize, ProtectError> {
        let protected = self.outbound.protect_rtp(buf, length);
        self.count_sent(protected)
    }

    /// Protects the RTCP packet in the first `length` bytes of `buf` and returns its new length.
    ///
    /// # Errors
    /// [`ProtectError`]: the packet must not be sent. It may be half encrypted.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], length: usize) -> Result<usize, ProtectError> {
        let protected = self.outbound.protect_rtcp(buf, length);
        self.count_sent(protected)
    }

    /// Checks and decrypts a received RTP packet and returns its new length.
    ///
    /// # Errors
    /// [`UnprotectError`]: drop the packet, whose bytes mean nothing any more.
    #[inline]
    pub fn unprotect_rtp(
        &mut self,
        now: Instant,
        packet: &mut [u8],
    ) -> Result<usize, UnprotectError> {
        let Some(previous) = overlapping(&mut self.previous, self.previous_until, now) else {
            let opened = self.inbound.unprotect_rtp(packet, Guess::default());
            return self.count_received(opened);
        };
        let guess = Guess {
            keep: true,
            rollover: ssrc_at(packet, 8).and_then(|ssrc| previous.rollover(ssrc)),
        };
        let opened = match self.inbound.unprotect_rtp(packet, guess) {
            Err(error) => {
                let opened = previous.unprotect_rtp(packet, Guess::default());
                self.stats.accepted_previous += u64::from(opened.is_ok());
                opened.map_err(|_| error)
            }
            opened => opened,
        };
        self.count_received(opened)
    }

    /// Checks and decrypts a received RTCP packet and returns its new length.
    ///
    /// # Errors
    /// [`UnprotectError`]: drop the packet, whose bytes mean nothing any more.
    pub fn unprotect_rtcp(
        &mut self,
        now: Instant,
        packet: &mut [u8],
    ) -> Result<usize, UnprotectError> {
        let Some(previous) = overlapping(&mut self.previous, self.previous_until, now) else {
            let opened = self.inbound.unprotect_rtcp(packet, Guess::default());
            return self.count_received(opened);
        };
        let guess = Guess {
            keep: true,
            rollover: None,
        };
        let opened = match self.inbound.unprotect_rtcp(packet, guess) {
            Err(error) => {
                let opened = previous.unprotect_rtcp(packet, Guess::default());
                self.stats.accepted_previous += u64::from(opened.is_ok());
                opened.map_err(|_| error)
            }
            opened => opened,
        };
        self.count_received(opened)
    }

    /// Takes over the keys of `next`, a session that has not been used. A direction whose key stays
    /// the same goes on undisturbed; the peer's old key is taken for [`OVERLAP`] longer.
    ///
    /// Neither allocates nor frees.
    pub fn renew(&mut self, now: Instant, next: Self) -> Spent {
        let mut spent = Spent::default();
        if next.outbound.master() == self.outbound.master() {
            spent._outbound = Some(next.outbound);
        } else {
            let old = std::mem::replace(&mut self.outbound, next.outbound);
            self.outbound.go_on_from(&old);
            spent._outbound = Some(old);
            self.stats.rekeyed += 1;
        }
        if next.inbound.master() == self.inbound.master() {
            spent._inbound = Some(next.inbound);
        } else {
            let old = std::mem::replace(&mut self.inbound, next.inbound);
            spent._previous = self.previous.replace(old);
            self.previous_until = now + OVERLAP;
            self.stats.rekeyed += 1;
        }
        spent
    }

    /// Counters since construction.
    pub fn stats(&self) -> SrtpStats {
        self.stats
    }

    fn count_sent(&mut self, sent: Result<usize, ProtectError>) -> Result<usize, ProtectError> {
        match sent {
            Ok(_) => self.stats.protected += 1,
            Err(_) => self.stats.unsent += 1,
        }
        sent
    }

    fn count_received(
        &mut self,
        opened: Result<usize, UnprotectError>,
    ) -> Result<usize, UnprotectError> {
        match opened {
            Ok(_) => self.stats.accepted += 1,
            Err(error) => self.stats.refuse(error),
        }
        opened
    }
}

/// The peer's key before, while its packets are still taken.
fn overlapping(
    previous: &mut Option<Box<Inbound>>,
    until: Instant,
    now: Instant,
) -> Option<&mut Inbound> {
    previous.as_deref_mut().filter(|_| now < until)
}

/// Shows what was counted, never a key.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("sending", self.outbound.master())
            .field("receiving", self.inbound.master())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Shows nothing: it holds keys.
impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spent")
    }
}

#[cfg(test)]
mod tests;
