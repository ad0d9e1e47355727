//! Checking and opening what we receive.

use subtle::ConstantTimeEq;

use crate::srtp::error::UnprotectError;
use crate::srtp::kdf;
use crate::srtp::key::MasterKey;
use crate::srtp::replay::{Window, estimate};
use crate::srtp::transform::{ENCRYPTED, MAX_TRIAL, Place, RTCP_CLEAR, Transform};

/// Sources kept track of under one key, each way and each for RTP and RTCP. Only packets that
/// authenticate take a place, and none is given up for another, since that would let its packets be
/// replayed.
pub(super) const MAX_SOURCES: usize = 32;

/// The receiving context of one master key.
pub(super) struct Inbound {
    master: MasterKey,
    rtp: Receiving,
    rtcp: Receiving,
    /// Where packets are opened that may not fit the key; only GCM needs it.
    trial: Box<[u8]>,
}

/// One protocol's keys and streams.
struct Receiving {
    transform: Transform,
    streams: Vec<Stream>,
    packets: u64,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    window: Window,
}

/// What is known of a packet before it is tried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guess {
    /// Another key may fit: a packet that fails must stay as it was.
    pub(super) keep: bool,
    /// The rollover counter that the source has reached under the key before.
    pub(super) rollover: Option<u64>,
}

impl Inbound {
    pub(super) fn new(master: MasterKey) -> Self {
        let trial = if master.suite().is_aead() {
            MAX_TRIAL
        } else {
            0
        };
        Self {
            rtp: Receiving::new(&master, kdf::RTP),
            rtcp: Receiving::new(&master, kdf::RTCP),
            master,
            trial: vec![0; trial].into(),
        }
    }

    pub(super) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The rollover counter of the highest packet of `ssrc`.
    pub(super) fn rollover(&self, ssrc: u32) -> Option<u64> {
        let stream = self.rtp.streams.iter().find(|s| s.ssrc == ssrc)?;
        Some(stream.window.highest() >> 16)
    }

    #[inline]
    pub(super) fn unprotect_rtp(
        &mut self,
        packet: &mut [u8],
        guess: Guess,
    ) -> Result<usize, UnprotectError> {
        let header = header_len(packet).ok_or(UnprotectError::Malformed)?;
        let ssrc = ssrc_at(packet, 8).ok_or(UnprotectError::Malformed)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let mki = self.master.mki();
        if !mki.is_empty() {
            let at = self.rtp.transform.rtp_mki(packet.len(), mki.len());
            check_mki(packet, at, mki)?;
        }
        self.rtp.check_life(self.master.lifetime())?;
        let mki_len = mki.len();
        let Receiving {
            transform, streams, ..
        } = &mut self.rtp;
        let length = match streams.iter_mut().find(|s| s.ssrc == ssrc) {
            Some(stream) => {
                let index =
                    estimate(stream.window.highest(), sequence).ok_or(UnprotectError::Expired)?;
                if stream.window.has(index) {
                    return Err(UnprotectError::Replayed);
                }
                let place = Place { ssrc, index };
                let trial = guess.keep.then_some(&mut *self.trial);
                let length = transform.unprotect_rtp(packet, header, place, mki_len, trial)?;
                stream.window.take(index);
                length
            }
            None => {
                let (length, index) =
                    self.try_first(packet, header, ssrc, sequence, guess.rollover)?;
                self.rtp.streams.push(Stream {
                    ssrc,
                    window: Window::new(index),
                });
                length
            }
        };
        self.rtp.packets += 1;
        Ok(length)
    }

    /// A source not heard before: its rollover counter is zero, or one where its first packets were
    /// lost just before the wrap (RFC 3711 §3.3.1), or goes on from the key before.
    fn try_first(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        sequence: u16,
        rollover: Option<u64>,
    ) -> Result<(usize, u64), UnprotectError> {
        if self.rtp.streams.len() >= MAX_SOURCES {
            return Err(UnprotectError::TooManySources);
        }
        let wrapped = (sequence < 0x8000).then_some(1);
        let went_on = rollover.map(|r| [r, r + 1]).into_iter().flatten();
        let mki_len = self.master.mki().len();
        for rollover in [0].into_iter().chain(wrapped).chain(went_on) {
            let index = rollover << 16 | u64::from(sequence);
            let place = Place { ssrc, index };
            let trial = Some(&mut *self.trial);
            let transform = &self.rtp.transform;
            match transform.unprotect_rtp(packet, header, place, mki_len, trial) {
                Ok(length) => return Ok((length, index)),
                Err(UnprotectError::Authentication) => {}
                Err(error) => return Err(error),
            }
        }
        Err(UnprotectError::Authentication)
    }

    pub(super) fn unprotect_rtcp(
        &mut self,
        packet: &mut [u8],
        guess: Guess,
    ) -> Result<usize, UnprotectError> {
        let mki = self.master.mki();
        let trailer = self.rtcp.transform.rtcp_trailer(packet.len(), mki.len());
        let (word_at, mki_at) = trailer.ok_or(UnprotectError::Malformed)?;
        let word = ssrc_at(packet, word_at).ok_or(UnprotectError::Malformed)?;
        let ssrc = ssrc_at(packet, RTCP_CLEAR - 4).ok_or(UnprotectError::Malformed)?;
        // UNENCRYPTED_SRTCP is never agreed on.
        if word & ENCRYPTED == 0 || word_at < RTCP_CLEAR {
            return Err(UnprotectError::Malformed);
        }
        check_mki(packet, Some(mki_at), mki)?;
        self.rtcp.check_life(self.master.lifetime())?;
        let index = u64::from(word & !ENCRYPTED);
        let known = self.rtcp.streams.iter().position(|s| s.ssrc == ssrc);
        match known {
            Some(at) if self.rtcp.streams[at].window.has(index) => {
                return Err(UnprotectError::Replayed);
            }
            None if self.rtcp.streams.len() >= MAX_SOURCES => {
                return Err(UnprotectError::TooManySources);
            }
            _ => {}
        }
        let place = Place { ssrc, index };
        let trial = guess.keep.then_some(&mut *self.trial);
        let length = self
            .rtcp
            .transform
            .unprotect_rtcp(packet, place, mki.len(), trial)?;
        match known {
            Some(at) => self.rtcp.streams[at].window.take(index),
            None => self.rtcp.streams.push(Stream {
                ssrc,
                window: Window::new(index),
            }),
        }
        self.rtcp.packets += 1;
        Ok(length)
    }
}

impl Receiving {
    fn new(master: &MasterKey, labels: kdf::Labels) -> Self {
        Self {
            transform: Transform::new(master, labels),
            streams: Vec::with_capacity(MAX_SOURCES),
            packets: 0,
        }
    }

    fn check_life(&self, lifetime: u64) -> Result<(), UnprotectError> {
        if self.packets < lifetime {
            Ok(())
        } else {
            Err(UnprotectError::Expired)
        }
    }
}

fn check_mki(packet: &[u8], at: Option<usize>, mki: &[u8]) -> Result<(), UnprotectError> {
    let at = at.ok_or(UnprotectError::Malformed)?;
    let held = packet.get(at..at + mki.len());
    let held = held.ok_or(UnprotectError::Malformed)?;
    if bool::from(held.ct_eq(mki)) {
        Ok(())
    } else {
        Err(UnprotectError::Authentication)
    }
}

/// Bytes before an RTP packet's payload, which are never encrypted. The payload itself cannot be
/// judged yet: its padding is encrypted.
#[inline]
pub(super) fn header_len(packet: &[u8]) -> Option<usize> {
    let first = packet.first()?;
    let fixed = 12 + usize::from(first & 0x0F) * 4;
    let length = if first & 0x10 == 0 {
        fixed
    } else {
        let words = packet.get(fixed + 2..fixed + 4)?;
        fixed + 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4
    };
    (first >> 6 == 2 && length <= packet.len()).then_some(length)
}

/// The four bytes at `at`, as a number.
#[inline]
pub(super) fn ssrc_at(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}
