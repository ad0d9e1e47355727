//! The audio level of packets in their headers (RFC 6464): told of ours, read of the peer's.

use crate::media::frame::Frame;
use crate::rtp::extension::{AudioLevel, Elements, Writer};
use crate::rtp::packet::{HEADER_LEN, View};

/// Bytes that the extension may add to a packet: its head, and an element of either form, padded.
const ROOM: usize = 8;

/// Measures what is sent, and keeps what the peer last told.
#[derive(Debug, Default)]
pub(super) struct Levels {
    squares: f64,
    samples: u32,
    /// The level of the peer's latest packet.
    pub(super) received: Option<AudioLevel>,
}

/// How loud a frame is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loudness {
    squares: f64,
    samples: u32,
}

impl Loudness {
    pub(super) fn of(frame: &Frame) -> Self {
        let samples = frame.samples();
        let squares = samples.iter().map(|&s| i64::from(s) * i64::from(s));
        Self {
            squares: squares.sum::<i64>() as f64,
            samples: samples.len() as u32,
        }
    }
}

impl Levels {
    /// Forgets what was measured: it is not sent after all.
    pub(super) fn forget(&mut self) {
        (self.squares, self.samples) = (0.0, 0);
    }

    /// Takes note of a frame that will be sent.
    pub(super) fn measure(&mut self, frame: &Frame) {
        self.add(Loudness::of(frame));
    }

    /// Takes note of how loud a frame is that will be sent.
    pub(super) fn add(&mut self, loudness: Loudness) {
        self.squares += loudness.squares;
        self.samples += loudness.samples;
    }

    /// Puts the level of what was measured into the packet in `buf[..length]`, and returns its new
    /// length. A packet without room for it stays as it is.
    pub(super) fn insert(&mut self, id: u8, buf: &mut [u8], length: usize) -> usize {
        let level = AudioLevel {
            voice: false,
            level: dbov(self.squares / f64::from(self.samples.max(1))),
        };
        self.forget();
        if id == 0 || length < HEADER_LEN || length + ROOM > buf.len() {
            return length;
        }
        buf.copy_within(HEADER_LEN..length, HEADER_LEN + ROOM);
        let mut writer = Writer::new(buf);
        // One byte under any identifier fits both forms.
        let _ = writer.element(id, &level.emit());
        let start = writer.finish();
        debug_assert_eq!(start, HEADER_LEN + ROOM);
        length + ROOM
    }

    /// Reads the level that a packet of the peer tells; one without keeps the last.
    pub(super) fn read(&mut self, id: u8, voice: bool, packet: &View<'_>) {
        let mut elements = Elements::of(packet).filter(|element| element.id == id);
        if let Some(level) = elements.find_map(|element| AudioLevel::parse(element.data)) {
            self.received = Some(AudioLevel {
                voice: level.voice && voice,
                ..level
            });
        }
    }
}

/// The level of samples of this mean square, in −dBov (RFC 6464 §3).
fn dbov(mean_square: f64) -> u8 {
    let level = -10.0 * (mean_square / (32_768.0 * 32_768.0)).log10();
    // Silence is infinitely low.
    level.round().clamp(0.0, 127.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::SampleRate;
    use crate::rtp::packet::Header;

    #[test]
    fn levels_are_those_of_the_samples() {
        for (peak, expected) in [(32_767, 0), (3_277, 20), (33, 60), (0, 127)] {
            let mut frame = Frame::silence(SampleRate::HZ_8000);
            frame.samples_mut().fill(peak);
            let mut levels = Levels::default();
            levels.measure(&frame);
            for id in [1, 14, 15, 200] {
                let mut buf = [7; HEADER_LEN + 160 + ROOM];
                Header::default().emit(&mut buf);
                levels.measure(&frame);
                let length = levels.insert(id, &mut buf, HEADER_LEN + 160);
                let view = View::parse(&buf[..length]).unwrap();
                assert_eq!(view.payload(), [7; 160]);
                let mut peer = Levels::default();
                peer.read(id, true, &view);
                let level = peer.received.unwrap();
                assert_eq!((level.level, level.voice), (expected, false));
                peer.received = None;
                peer.read(id - 1, true, &view);
                assert_eq!(peer.received, None);
            }
        }
    }

    #[test]
    fn a_packet_without_room_stays_as_it_is() {
        let mut buf = [0x80; HEADER_LEN + 160 + ROOM - 1];
        let length = Levels::default().insert(1, &mut buf, HEADER_LEN + 160);
        assert_eq!((length, buf), (HEADER_LEN + 160, [0x80; HEADER_LEN + 167]));
    }
}
