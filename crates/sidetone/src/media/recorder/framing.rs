//! How a packet of Opus is framed (RFC 6716 §3), as far as it is put into a file as it is.

/// Samples of 48 kHz in a packet of a recording: 20 ms.
pub(super) const PACKET: u32 = 960;
/// The largest frame (RFC 6716 §3.4, R2).
const MOST_FRAME: usize = 1_275;
/// Frames of a packet at most: 120 ms of 2.5 ms each.
const MOST_FRAMES: usize = 48;

/// The frames of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames<'a> {
    /// The first byte, which says what they are and how they are packed.
    toc: u8,
    /// What follows it before the lengths of the frames.
    count: &'a [u8],
    /// The lengths that the packet has room for, in its own coding.
    lengths: &'a [u8],
    frames: [&'a [u8]; MOST_FRAMES],
    len: usize,
    padding: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Reads a whole packet; `None` where it is none.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (&toc, rest) = packet.split_first()?;
        let mut read = Self {
            toc,
            count: &[],
            lengths: &[],
            frames: [&[]; MOST_FRAMES],
            len: 1,
            padding: &[],
        };
        match toc & 3 {
            0 => read.frames[0] = rest,
            1 => read.take_equal(rest, 2)?,
            2 => {
                let (first, after) = length(rest)?;
                read.lengths = rest.get(..rest.len() - after.len())?;
                let (first, second) = after.split_at_checked(first)?;
                (read.frames[0], read.frames[1]) = (first, second);
                read.len = 2;
            }
            _ => read.take_many(rest)?,
        }
        let is_long = |frame: &&[u8]| frame.len() > MOST_FRAME;
        let fits = !read.iter().any(|frame| is_long(&frame));
        (fits && read.samples() <= 6 * PACKET).then_some(read)
    }

    fn take_equal(&mut self, bytes: &'a [u8], count: usize) -> Option<()> {
        let each = bytes.len() / count;
        let fits = each * count == bytes.len();
        for (place, number) in self.frames.get_mut(..count)?.iter_mut().zip(0..) {
            *place = bytes.get(number * each..(number + 1) * each)?;
        }
        self.len = count;
        fits.then_some(())
    }

    /// RFC 6716 §3.2.5.
    fn take_many(&mut self, bytes: &'a [u8]) -> Option<()> {
        let (&head, mut rest) = bytes.split_first()?;
        let count = usize::from(head & 0x3F);
        if !(1..=MOST_FRAMES).contains(&count) {
            return None;
        }
        if head & 0x40 != 0 {
            let mut padding = 0;
            loop {
                let (&more, after) = rest.split_first()?;
                rest = after;
                padding += usize::from(more.min(254));
                if more < 255 {
                    break;
                }
            }
            let (own, filler) = rest.split_at_checked(rest.len().checked_sub(padding)?)?;
            self.count = bytes.get(..bytes.len() - rest.len())?;
            (rest, self.padding) = (own, filler);
        } else {
            self.count = bytes.get(..1)?;
        }
        if head & 0x80 == 0 {
            return self.take_equal(rest, count);
        }
        let lengths = rest;
        let mut sizes = [0; MOST_FRAMES];
        for size in sizes.get_mut(..count - 1)? {
            (*size, rest) = length(rest)?;
        }
        self.lengths = lengths.get(..lengths.len() - rest.len())?;
        for (place, size) in self.frames.iter_mut().zip(sizes).take(count - 1) {
            (*place, rest) = rest.split_at_checked(size)?;
        }
        *self.frames.get_mut(count - 1)? = rest;
        self.len = count;
        Some(())
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.frames.iter().take(self.len).copied()
    }

    /// How long it plays, in samples of 48 kHz.
    pub(super) fn samples(&self) -> u32 {
        frame_samples(self.toc) * self.len as u32
    }

    /// Whether each of its frames could be a packet of a recording alone.
    pub(super) fn are_packets(&self) -> bool {
        frame_samples(self.toc) == PACKET
    }

    /// Each frame as a packet of its own, in `room`.
    pub(super) fn each(&self, room: &mut [u8; 1 + MOST_FRAME], take: &mut dyn FnMut(&[u8])) {
        for frame in self.iter() {
            room[0] = self.toc & !3;
            let length = 1 + frame.len();
            if let Some(place) = room.get_mut(1..length) {
                place.copy_from_slice(frame);
            }
            take(room.get(..length).unwrap_or_default());
        }
    }

    /// Appends the packet with its length in it (RFC 6716 appendix B).
    pub(super) fn delimit(&self, out: &mut Vec<u8>) {
        out.push(self.toc);
        out.extend_from_slice(self.count);
        out.extend_from_slice(self.lengths);
        let last = self.iter().last().unwrap_or_default();
        match last.len() {
            n @ 0..252 => out.push(n as u8),
            n => {
                let low = 252 + (n & 3);
                out.extend([low as u8, ((n - low) / 4) as u8]);
            }
        }
        for frame in self.iter() {
            out.extend_from_slice(frame);
        }
        out.extend_from_slice(self.padding);
    }
}

/// Takes a packet that has its length in it off the beginning of `bytes`, and appends it to `out` as it was without.
pub(super) fn undelimit<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&toc, mut rest) = bytes.split_first()?;
    let (mut count, mut padding, mut varies) = (1, 0, false);
    let begun = rest;
    match toc & 3 {
        0 => {}
        1 => count = 2,
        2 => (count, varies) = (2, true),
        _ => {
            let (&head, after) = rest.split_first()?;
            rest = after;
            count = usize::from(head & 0x3F);
            varies = head & 0x80 != 0;
            let mut goes_on = head & 0x40 != 0;
            while goes_on {
                let (&more, after) = rest.split_first()?;
                rest = after;
                padding += usize::from(more.min(254));
                goes_on = more == 255;
            }
        }
    }
    if !(1..=MOST_FRAMES).contains(&count) {
        return None;
    }
    let mut coded = 0;
    for _ in 1..if varies { count } else { 1 } {
        let (size, after) = length(rest)?;
        (coded, rest) = (coded + size, after);
    }
    let head = begun.get(..begun.len() - rest.len())?;
    let (last, after) = length(rest)?;
    let sound = if varies { coded + last } else { last * count };
    let (body, rest) = after.split_at_checked(sound + padding)?;
    out.push(toc);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    Some(rest)
}

/// A packet without data that lasts 20 ms, like the one that begins with `toc`: a decoder makes up what is missing
/// (RFC 7845 §4.1). Frames of 40 and 60 ms have no such packet: there it is one of 20 ms frames of the same layer.
pub(super) fn nothing_like(toc: u8) -> ([u8; 2], usize) {
    let form = toc & !3;
    match frame_samples(toc) {
        120 => ([form | 3, 8], 2),
        240 => ([form | 3, 4], 2),
        480 => ([form | 1, 0], 1),
        PACKET => ([form, 0], 1),
        _ => ([form & !0x18 | 0x08, 0], 1),
    }
}

/// Samples of 48 kHz in a frame that this byte tells of (RFC 6716 table 2).
fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config & 3)],
        12..16 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

/// A frame's length in one or two bytes, and what follows (RFC 6716 §3.2.1).
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(second) * 4 + usize::from(first), rest))
}

/// Takes any bytes for a packet, and checks that what is made of it is read back.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Some(rest) = undelimit(bytes, &mut out) {
        assert!(rest.len() < bytes.len(), "nothing was taken");
    }
    let Some(frames) = Frames::read(bytes) else {
        return;
    };
    let mut delimited = Vec::new();
    frames.delimit(&mut delimited);
    delimited.push(7);
    out.clear();
    assert_eq!(undelimit(&delimited, &mut out), Some(&[7][..]));
    assert_eq!(out, bytes, "not what it was");
    let mut samples = 0;
    frames.each(&mut [0; 1 + MOST_FRAME], &mut |packet| {
        samples += Frames::read(packet).map_or(0, |it| it.samples());
    });
    assert_eq!(samples, frames.samples());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_packet_of_any_form_is_the_same_after_a_length_was_put_in_and_taken_out() {
        let mut rng = Rng::new(7);
        let mut read = 0;
        for _ in 0..20_000 {
            let length = 1 + (rng.next_u64() % 60) as usize;
            let mut packet: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            if let Some(count) = packet.get_mut(1) {
                *count &= 0xC7;
            }
            read += usize::from(Frames::read(&packet).is_some());
            fuzz(&packet);
        }
        assert!(read > 5_000, "{read}");
        let long = vec![9 << 3; 1_000];
        fuzz(&long);
    }

    #[test]
    fn what_is_missing_lasts_as_long_as_a_packet() {
        for config in 0..32 {
            let (bytes, length) = nothing_like(config << 3 | 4);
            let frames = Frames::read(&bytes[..length]).expect("a packet");
            assert_eq!(frames.samples(), PACKET);
            assert!(frames.iter().all(<[u8]>::is_empty));
        }
    }

    #[test]
    fn a_long_packet_of_short_frames_is_taken_apart() {
        // Hybrid, 20 ms a frame, three of them of 2, 1 and 3 bytes.
        let packet = [15 << 3 | 3, 0x83, 2, 1, 10, 11, 20, 30, 31, 32];
        let frames = Frames::read(&packet).expect("a packet");
        assert!(frames.are_packets() && frames.samples() == 3 * PACKET);
        let mut apart = Vec::new();
        frames.each(&mut [0; 1 + MOST_FRAME], &mut |it| apart.push(it.to_vec()));
        assert_eq!(apart, [&[120, 10, 11][..], &[120, 20], &[120, 30, 31, 32]]);
    }
}
