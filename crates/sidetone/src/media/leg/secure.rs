//! The secure stage of a leg: what stands between the socket and everything that reads packets.

use crate::srtp::key::Keying;
use crate::srtp::session::{Session, Spent};
use crate::srtp::stats::SrtpStats;
use crate::time::Instant;

/// The most that protection adds to a packet: tag, index and identifier.
const MAX_TRAILER: usize = 16 + 4 + 16;

/// Protects a leg's packets where keys were agreed on, and lets them pass otherwise.
#[derive(Debug, Default)]
pub(super) struct Secure {
    session: Option<Session>,
    /// Old keys on their way out of the media thread.
    spent: Spent,
}

impl Secure {
    pub(super) fn new(keying: Option<&Keying>) -> Self {
        Self {
            session: keying.cloned().map(Session::new),
            spent: Spent::default(),
        }
    }

    /// Takes over the keys of `update`, and leaves in it what they replace.
    pub(super) fn renew(&mut self, now: Instant, update: &mut Self) {
        match (&mut self.session, update.session.take()) {
            (Some(session), Some(next)) => update.spent = session.renew(now, next),
            (_, next) => update.session = std::mem::replace(&mut self.session, next),
        }
    }

    /// Whether packets are not protected.
    pub(super) fn is_off(&self) -> bool {
        self.session.is_none()
    }

    /// Opens a received RTP packet; `None` where it is not the peer's.
    #[inline]
    pub(super) fn open_rtp<'a>(&mut self, now: Instant, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some(session) = &mut self.session else {
            return Some(packet);
        };
        let length = session.unprotect_rtp(now, packet).ok()?;
        packet.get(..length)
    }

    /// Opens a received RTCP packet; `None` where it is not the peer's.
    pub(super) fn open_rtcp<'a>(&mut self, now: Instant, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some(session) = &mut self.session else {
            return Some(packet);
        };
        let length = session.unprotect_rtcp(now, packet).ok()?;
        packet.get(..length)
    }

    /// The part of `buf` that a packet may fill, so that its trailer finds room.
    #[inline]
    pub(super) fn room<'a>(&self, buf: &'a mut [u8]) -> &'a mut [u8] {
        let trailer = if self.session.is_some() {
            MAX_TRAILER
        } else {
            0
        };
        let end = buf.len().saturating_sub(trailer);
        &mut buf[..end]
    }

    /// Protects the RTP packet in `buf[..length]`; `None` where it must not be sent.
    #[inline]
    pub(super) fn seal_rtp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        match &mut self.session {
            Some(session) => session.protect_rtp(buf, length).ok(),
            None => Some(length),
        }
    }

    /// Protects the RTCP packet in `buf[..length]`; `None` where it must not be sent.
    pub(super) fn seal_rtcp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        match &mut self.session {
            Some(session) => session.protect_rtcp(buf, length).ok(),
            None => Some(length),
        }
    }

    /// What was counted; `None` where packets are not protected.
    pub(super) fn stats(&self) -> Option<SrtpStats> {
        self.session.as_ref().map(Session::stats)
    }
}
