//! Redundancy in what is sent: each packet carries copies of those before it (RFC 2198).

use crate::media::leg::config::{Redundancy, RedundancyFormat};
use crate::rtp::red::{self, Block, MAX_REDUNDANT_LEN};

/// Copies in a packet at most.
pub(super) const MAX_GENERATIONS: usize = 3;

/// Percent of loss from which copies are sent, and below which no more.
const BEGIN: f32 = 2.0;
const END: f32 = 0.5;

/// A payload that was sent.
#[derive(Debug, Clone)]
struct Kept {
    timestamp: u32,
    length: usize,
    data: Box<[u8]>,
}

/// Keeps what was sent and wraps what is sent next.
#[derive(Debug)]
pub(super) struct Copies {
    payload_type: u8,
    /// Payload type of the codec inside.
    inner: u8,
    when: Redundancy,
    active: bool,
    /// The newest first, as many as `count`.
    kept: Vec<Kept>,
    count: usize,
    primary: Box<[u8]>,
}

impl Copies {
    /// Copies of packets of payload type `inner`; `None` where none are ever sent.
    pub(super) fn new(format: Option<RedundancyFormat>, inner: u8) -> Option<Self> {
        let format = format?;
        let generations = usize::from(format.generations).clamp(1, MAX_GENERATIONS);
        let kept = Kept {
            timestamp: 0,
            length: 0,
            data: vec![0; MAX_REDUNDANT_LEN].into(),
        };
        (format.when != Redundancy::Off).then_some(Self {
            payload_type: format.send_payload_type?,
            inner,
            when: format.when,
            active: format.when == Redundancy::Always,
            kept: vec![kept; generations],
            count: 0,
            primary: vec![0; 1_500].into(),
        })
    }

    /// Whether the other makes the same packets.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let of = |own: &Self| (own.payload_type, own.inner, own.when, own.kept.len());
        of(self) == of(other)
    }

    /// Whether copies are sent now.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Begins and ends as the loss, in percent, asks for.
    pub(super) fn steer(&mut self, loss: f32) {
        if self.when == Redundancy::OnLoss {
            self.active = loss >= if self.active { END } else { BEGIN };
        }
    }

    /// Other packets take part in the numbering: what was kept is not the one before the next.
    pub(super) fn forget(&mut self) {
        self.count = 0;
    }

    /// Wraps the payload in the first `length` bytes of `buf`, which was made for `timestamp`, with
    /// copies of those before it. The new length and the payload type; as it was where there is
    /// nothing to copy, or no room.
    pub(super) fn wrap(&mut self, timestamp: u32, buf: &mut [u8], length: usize) -> (usize, u8) {
        let wrapped = self.try_wrap(timestamp, buf, length);
        self.keep(timestamp, buf, length, wrapped.is_some());
        match wrapped {
            Some(length) => (length, self.payload_type),
            None => (length, self.inner),
        }
    }

    fn try_wrap(&mut self, timestamp: u32, buf: &mut [u8], length: usize) -> Option<usize> {
        if !self.active || self.count == 0 {
            return None;
        }
        let primary = self.primary.get_mut(..length)?;
        primary.copy_from_slice(buf.get(..length)?);
        let mut blocks = [Block::default(); MAX_GENERATIONS];
        let kept = self.kept[..self.count].iter().rev();
        for (block, kept) in blocks.iter_mut().zip(kept) {
            *block = Block {
                payload_type: self.inner,
                offset: timestamp.wrapping_sub(kept.timestamp),
                data: &kept.data[..kept.length],
            };
        }
        let primary = Block {
            payload_type: self.inner,
            offset: 0,
            data: primary,
        };
        let written = red::emit(&blocks[..self.count], primary, buf);
        if written.is_none() {
            // Too old or too long: what it overwrote is put back.
            buf[..length].copy_from_slice(primary.data);
        }
        written
    }

    /// Keeps the payload for the next packet.
    fn keep(&mut self, timestamp: u32, buf: &[u8], length: usize, wrapped: bool) {
        let payload = if wrapped { &self.primary[..] } else { buf };
        if length > MAX_REDUNDANT_LEN || payload.len() < length {
            self.count = 0;
            return;
        }
        self.kept.rotate_right(1);
        let newest = &mut self.kept[0];
        newest.timestamp = timestamp;
        newest.length = length;
        newest.data[..length].copy_from_slice(&payload[..length]);
        self.count = (self.count + 1).min(self.kept.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::red::Blocks;

    fn copies(when: Redundancy, generations: u8) -> Copies {
        let format = RedundancyFormat {
            send_payload_type: Some(97),
            receive_payload_types: [None; 2],
            when,
            generations,
        };
        Copies::new(Some(format), 8).unwrap()
    }

    fn send(copies: &mut Copies, number: u8) -> (u8, Vec<u8>) {
        let mut buf = [0; 1_400];
        buf[..160].fill(number);
        let (length, payload_type) = copies.wrap(u32::from(number) * 160, &mut buf, 160);
        (payload_type, buf[..length].to_vec())
    }

    #[test]
    fn each_packet_carries_those_before_it() {
        let mut copies = copies(Redundancy::Always, 2);
        assert_eq!(
            send(&mut copies, 1),
            (8, vec![1; 160]),
            "nothing to copy yet"
        );
        send(&mut copies, 2);
        let (payload_type, payload) = send(&mut copies, 3);
        assert_eq!(payload_type, 97);
        let blocks = Blocks::parse(&payload).unwrap();
        let read: Vec<_> = blocks
            .as_slice()
            .iter()
            .map(|b| (b.offset, b.data[0]))
            .collect();
        assert_eq!(read, [(320, 1), (160, 2), (0, 3)]);
        copies.forget();
        assert_eq!(send(&mut copies, 4).0, 8);
        // Farther back than an offset can say.
        assert_eq!(send(&mut copies, 200), (8, vec![200; 160]));
    }

    #[test]
    fn loss_begins_and_ends_it() {
        let mut copies = copies(Redundancy::OnLoss, 1);
        for (loss, payload_type) in [(0.0, 8), (1.9, 8), (2.0, 97), (0.6, 97), (0.4, 8), (1.0, 8)] {
            send(&mut copies, 1);
            copies.steer(loss);
            assert_eq!(send(&mut copies, 2).0, payload_type, "{loss} %");
        }
    }
}
