//! Protecting what we send.

use crate::srtp::error::ProtectError;
use crate::srtp::inbound::{MAX_SOURCES, header_len, ssrc_at};
use crate::srtp::kdf;
use crate::srtp::key::MasterKey;
use crate::srtp::replay::{Window, estimate};
use crate::srtp::transform::{Place, RTCP_CLEAR, Transform};

/// SRTCP indices have 31 bits (RFC 3711 §3.4), which also bounds a key's life (§9.2).
pub(super) const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

/// The sending context of one master key.
pub(super) struct Outbound {
    master: MasterKey,
    rtp: Transform,
    rtcp: Transform,
    /// Each source of ours and the indices that it has sent: packets that are passed on may come in
    /// another order than they were numbered in.
    sources: Vec<(u32, Window)>,
    packets: u64,
    /// The index that was sent last. Zero is never sent: others count from one, too.
    rtcp_index: u32,
    /// The index that the key before sent last.
    rtcp_before: u32,
}

impl Outbound {
    pub(super) fn new(master: MasterKey) -> Self {
        Self {
            rtp: Transform::new(&master, kdf::RTP),
            rtcp: Transform::new(&master, kdf::RTCP),
            master,
            sources: Vec::with_capacity(MAX_SOURCES),
            packets: 0,
            rtcp_index: 0,
            rtcp_before: 0,
        }
    }

    pub(super) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Goes on with the indices of the key before: a change of keys resets neither the rollover counter
    /// (RFC 3711 §3.3.1) nor the index of SRTCP (§3.4). It also keeps a key that comes back from using
    /// its stream twice.
    pub(super) fn go_on_from(&mut self, before: &Self) {
        self.sources.extend_from_slice(&before.sources);
        self.rtcp_index = before.rtcp_index;
        self.rtcp_before = before.rtcp_index;
    }

    #[inline]
    pub(super) fn protect_rtp(
        &mut self,
        buf: &mut [u8],
        length: usize,
    ) -> Result<usize, ProtectError> {
        let packet = buf.get(..length).ok_or(ProtectError::Malformed)?;
        let header = header_len(packet).ok_or(ProtectError::Malformed)?;
        let ssrc = ssrc_at(packet, 8).ok_or(ProtectError::Malformed)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        if self.packets >= self.master.lifetime() {
            return Err(ProtectError::Expired);
        }
        let full = self.sources.len() >= MAX_SOURCES;
        let known = self.sources.iter_mut().find(|(known, _)| *known == ssrc);
        let index = match &known {
            Some((_, sent)) => {
                let index = estimate(sent.highest(), sequence).ok_or(ProtectError::Expired)?;
                // A key stream must never be used twice (RFC 3711 §9.1).
                if sent.has(index) {
                    return Err(ProtectError::Reused);
                }
                index
            }
            None => u64::from(sequence),
        };
        if known.is_none() && full {
            return Err(ProtectError::TooManySources);
        }
        let place = Place { ssrc, index };
        let mki = self.master.mki();
        let length = self.rtp.protect_rtp(buf, header, length, place, mki)?;
        match known {
            Some((_, sent)) => sent.take(index),
            None => self.sources.push((ssrc, Window::new(index))),
        }
        self.packets += 1;
        Ok(length)
    }

    pub(super) fn protect_rtcp(
        &mut self,
        buf: &mut [u8],
        length: usize,
    ) -> Result<usize, ProtectError> {
        let packet = buf.get(..length).ok_or(ProtectError::Malformed)?;
        let ssrc = ssrc_at(packet, RTCP_CLEAR - 4).ok_or(ProtectError::Malformed)?;
        let packets = self.rtcp_index - self.rtcp_before;
        if self.rtcp_index >= MAX_RTCP_INDEX || u64::from(packets) >= self.master.lifetime() {
            return Err(ProtectError::Expired);
        }
        let index = self.rtcp_index + 1;
        let place = Place {
            ssrc,
            index: u64::from(index),
        };
        let mki = self.master.mki();
        let length = self.rtcp.protect_rtcp(buf, length, place, mki)?;
        self.rtcp_index = index;
        Ok(length)
    }
}
