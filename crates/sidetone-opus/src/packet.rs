//! The framing of an Opus packet, checked before libopus sees it (RFC 6716 §3).

/// The longest payload that is looked at: 120 ms in six frames of 20 ms at their largest.
pub const MAX_PACKET: usize = 6 * MAX_FRAME;

/// The largest frame (RFC 6716 §3.4, R2).
const MAX_FRAME: usize = 1_275;

/// The most audio in a packet, in samples of 48 kHz: 120 ms (R5).
const MAX_SAMPLES: u32 = 5_760;

/// What the first byte of a packet says (RFC 6716 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Samples of one frame at 48 kHz.
    pub frame_samples: u32,
    /// Frames in the packet, at least 1.
    pub frames: u32,
    /// Whether it is coded in stereo.
    pub stereo: bool,
}

impl Framing {
    /// Reads and checks the framing of a whole packet by requirements R1 to R7 of RFC 6716 §3.4;
    /// `None` for what no Opus packet is.
    ///
    /// ```
    /// use sidetone_opus::packet::Framing;
    /// // SILK, wide band, one frame of 20 ms, mono.
    /// let framing = Framing::read(&[9 << 3, 1, 2, 3]).unwrap();
    /// assert_eq!(framing.samples(), 960);
    /// assert_eq!(Framing::read(&[]), None);
    /// ```
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (&toc, rest) = packet.split_first()?;
        let frame_samples = frame_samples(toc >> 3);
        let frames = match toc & 3 {
            0 => (rest.len() <= MAX_FRAME).then_some(1),
            1 => (rest.len().is_multiple_of(2) && rest.len() / 2 <= MAX_FRAME).then_some(2),
            2 => {
                let (first, rest) = frame_length(rest)?;
                let second = rest.len().checked_sub(first)?;
                (first <= MAX_FRAME && second <= MAX_FRAME).then_some(2)
            }
            _ => count_of_many(rest, frame_samples),
        }?;
        Some(Self {
            frame_samples,
            frames,
            stereo: toc & 4 != 0,
        })
    }

    /// Audio in the packet, in samples of 48 kHz; at most 5,760.
    pub fn samples(self) -> u32 {
        self.frame_samples * self.frames
    }
}

/// Samples of 48 kHz in a frame of this configuration (RFC 6716 table 2).
fn frame_samples(config: u8) -> u32 {
    match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// A frame's length in one or two bytes, and what follows (RFC 6716 §3.2.1).
fn frame_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(second) * 4 + usize::from(first), rest))
}

/// The frames of a code 3 packet (RFC 6716 §3.2.5).
fn count_of_many(bytes: &[u8], frame_samples: u32) -> Option<u32> {
    let (&head, mut rest) = bytes.split_first()?;
    let frames = u32::from(head & 0x3F);
    if frames == 0 || frames * frame_samples > MAX_SAMPLES {
        return None;
    }
    if head & 0x40 != 0 {
        let mut padding = 0;
        loop {
            let (&length, after) = rest.split_first()?;
            rest = after;
            if length < 255 {
                padding += usize::from(length);
                break;
            }
            padding += 254;
        }
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    if head & 0x80 == 0 {
        let count = frames as usize;
        let even = rest.len().is_multiple_of(count) && rest.len() / count <= MAX_FRAME;
        return even.then_some(frames);
    }
    let mut coded = 0;
    for _ in 1..frames {
        let (length, after) = frame_length(rest)?;
        coded += length;
        rest = after;
        if length > MAX_FRAME {
            return None;
        }
    }
    let last = rest.len().checked_sub(coded)?;
    (last <= MAX_FRAME).then_some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_have_the_lengths_of_table_2() {
        for (config, samples) in [
            (0, 480),
            (3, 2_880),
            (11, 2_880),
            (12, 480),
            (15, 960),
            (16, 120),
            (31, 960),
        ] {
            assert_eq!(frame_samples(config), samples, "{config}");
        }
    }

    #[test]
    fn bad_framing_is_refused() {
        let bad: [&[u8]; 9] = [
            &[],
            &[0x79, 1],          // two equal frames of half a byte
            &[0x7A],             // no length
            &[0x7A, 5, 1, 2],    // a first frame beyond the end
            &[0x7B],             // no count
            &[0x7B, 0],          // no frames
            &[0x7B, 7],          // 140 ms
            &[0x7B, 0x41, 9, 1], // padding beyond the end
            &[0x7B, 0x82, 255],  // half a length
        ];
        for packet in bad {
            assert_eq!(Framing::read(packet), None, "{packet:?}");
        }
        assert!(Framing::read(&vec![0x78; 1_276]).is_some());
        assert_eq!(Framing::read(&vec![0x78; 1_277]), None);
    }

    #[test]
    fn it_judges_as_libopus_does() {
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut accepted = 0;
        for _ in 0..200_000 {
            let length = 1 + (next() % 40) as usize;
            let mut packet: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            if next() % 2 == 0 && length > 1 {
                packet[1] &= 0xC7;
            }
            let ours = Framing::read(&packet).map(|f| f.samples() as usize);
            let theirs = crate::libopus::samples_by_library(&packet);
            assert_eq!(ours, theirs, "{packet:?}");
            accepted += usize::from(ours.is_some());
        }
        assert!((20_000..180_000).contains(&accepted), "{accepted}");
    }
}
