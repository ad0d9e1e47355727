//! RTP header extensions in their one-byte and two-byte forms (RFC 8285): wire format.

use thiserror::Error;

use crate::rtp::packet::{HEADER_LEN, View};

/// The profile identifier of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xBEDE;
/// The profile identifier of the two-byte form, its four application bits zero (RFC 8285 §4.3).
const TWO_BYTE: u16 = 0x1000;
/// The highest identifier of the one-byte form; 15 is reserved (RFC 8285 §4.2).
pub const MAX_ONE_BYTE_ID: u8 = 14;
/// The most data of an element in the one-byte form.
pub const MAX_ONE_BYTE_DATA: usize = 16;
/// The most data of an element in the two-byte form.
pub const MAX_TWO_BYTE_DATA: usize = 255;

/// One element of a header extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// The local identifier that `a=extmap` gave the extension, 1 to 14, or to 255 in the two-byte
    /// form.
    pub id: u8,
    /// The extension's data: 1 to 16 bytes, or 0 to 255 in the two-byte form.
    pub data: &'a [u8],
}

/// The elements of a packet's header extension, in order; allocates nothing.
///
/// Ends early where the bytes stop making sense: what came before still counts, as RFC 8285 §4.2
/// wants of reserved identifiers. A header extension of another form has no elements.
///
/// ```
/// use sidetone::rtp::extension::{AudioLevel, Elements};
/// use sidetone::rtp::packet::View;
///
/// // One word in the one-byte form: audio level under identifier 1, voice at -30 dBov, padding.
/// let mut packet = vec![0x90, 0, 0, 7, 0, 0, 0, 160, 0, 0, 0xCA, 0xFE];
/// packet.extend([0xBE, 0xDE, 0, 1, 0x10, 0x80 | 30, 0, 0]);
/// let view = View::parse(&packet)?;
/// let element = Elements::of(&view).find(|element| element.id == 1).expect("it is there");
/// let level = AudioLevel::parse(element.data).expect("one byte");
/// assert_eq!((level.voice, level.level), (true, 30));
/// # Ok::<(), sidetone::rtp::packet::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    two_bytes: bool,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements of a received packet.
    #[inline]
    pub fn of(packet: &View<'a>) -> Self {
        match packet.extension() {
            Some((profile, words)) => Self::new(profile, words),
            None => Self::new(0, &[]),
        }
    }

    /// The elements in `words`, whose form `profile` tells.
    #[inline]
    pub fn new(profile: u16, words: &'a [u8]) -> Self {
        let two_bytes = profile & 0xFFF0 == TWO_BYTE;
        let known = two_bytes || profile == ONE_BYTE;
        Self {
            two_bytes,
            rest: if known { words } else { &[] },
        }
    }

    /// Takes one head off: identifier, length of the data, and what follows. `None` ends it all.
    #[inline]
    fn head(&self) -> Option<(u8, usize, &'a [u8])> {
        if self.two_bytes {
            let [id, len, rest @ ..] = self.rest else {
                return None;
            };
            return Some((*id, usize::from(*len), rest));
        }
        let (&head, rest) = self.rest.split_first()?;
        // Identifier 15 ends it, and so does 0 with a length (RFC 8285 §4.2).
        let (id, len) = (head >> 4, head & 0x0F);
        let ends = id > MAX_ONE_BYTE_ID || (id == 0 && len != 0);
        (!ends).then(|| (id, usize::from(len) + 1, rest))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        while let [0, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let split = self
            .head()
            .and_then(|(id, len, rest)| Some((id, rest.split_at_checked(len)?)));
        let Some((id, (data, rest))) = split else {
            self.rest = &[];
            return None;
        };
        self.rest = rest;
        Some(Element { id, data })
    }
}

/// An element was not written: it does not fit the form or the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the header extension's element does not fit")]
pub struct DoesNotFit;

/// Writes a header extension behind an RTP header already in the buffer.
///
/// The one-byte form is taken unless an element needs the other, so elements of long data or high
/// identifiers come first.
///
/// ```
/// use sidetone::rtp::extension::{AudioLevel, Writer};
/// use sidetone::rtp::packet::{HEADER_LEN, Header, View};
///
/// let mut packet = [0u8; 64];
/// Header::default().emit(&mut packet);
/// let mut writer = Writer::new(&mut packet);
/// writer.element(1, &AudioLevel { voice: false, level: 127 }.emit())?;
/// let payload_at = writer.finish();
/// assert_eq!(payload_at, HEADER_LEN + 8);
/// assert_eq!(View::parse(&packet).expect("valid").header_len(), payload_at);
/// # Ok::<(), sidetone::rtp::extension::DoesNotFit>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    packet: &'a mut [u8],
    end: usize,
    two_bytes: bool,
}

impl<'a> Writer<'a> {
    /// A writer behind the fixed header at the start of `packet`, which has no contributing sources.
    pub fn new(packet: &'a mut [u8]) -> Self {
        Self {
            packet,
            end: HEADER_LEN + 4,
            two_bytes: false,
        }
    }

    /// Appends an element.
    ///
    /// # Errors
    /// [`DoesNotFit`] where identifier or data are beyond the form that the first element chose, or
    /// the buffer is full; the extension stays as it was.
    pub fn element(&mut self, id: u8, data: &[u8]) -> Result<(), DoesNotFit> {
        let fits_one_byte = matches!(id, 1..=MAX_ONE_BYTE_ID)
            && matches!(data.len(), 1..=MAX_ONE_BYTE_DATA)
            && !self.two_bytes;
        let is_first = self.end == HEADER_LEN + 4;
        let two_bytes = !fits_one_byte;
        let impossible = id == 0 || data.len() > MAX_TWO_BYTE_DATA;
        if impossible || (two_bytes && !self.two_bytes && !is_first) {
            return Err(DoesNotFit);
        }
        let head = if two_bytes { 2 } else { 1 };
        let end = self.end + head + data.len();
        // Room for the padding as well.
        if end.next_multiple_of(4) > self.packet.len() {
            return Err(DoesNotFit);
        }
        let room = &mut self.packet[self.end..end];
        if two_bytes {
            room[..2].copy_from_slice(&[id, data.len() as u8]);
        } else {
            room[0] = (id << 4) | (data.len() - 1) as u8;
        }
        room[head..].copy_from_slice(data);
        self.two_bytes = two_bytes;
        self.end = end;
        Ok(())
    }

    /// Pads the extension and announces it in the header; returns where the payload begins. Without
    /// an element, there is no extension.
    pub fn finish(self) -> usize {
        let start = HEADER_LEN + 4;
        if self.end == start {
            return HEADER_LEN;
        }
        let end = self.end.next_multiple_of(4);
        self.packet[self.end..end].fill(0);
        let profile = if self.two_bytes { TWO_BYTE } else { ONE_BYTE };
        let words = ((end - start) / 4) as u16;
        self.packet[HEADER_LEN..HEADER_LEN + 2].copy_from_slice(&profile.to_be_bytes());
        self.packet[HEADER_LEN + 2..start].copy_from_slice(&words.to_be_bytes());
        self.packet[0] |= 0x10;
        end
    }
}

/// The client-to-mixer audio level of one packet (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender believes that the packet holds voice. Means nothing where `vad=off` was agreed.
    pub voice: bool,
    /// The level in −dBov: 0 is the loudest, 127 silence.
    pub level: u8,
}

impl AudioLevel {
    /// Digital silence without voice.
    pub const SILENCE: Self = Self {
        voice: false,
        level: 127,
    };

    /// Reads an element's data, which is one byte (RFC 6464 §3); `None` where it is not.
    #[inline]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let &[byte] = data else {
            return None;
        };
        Some(Self {
            voice: byte & 0x80 != 0,
            level: byte & 0x7F,
        })
    }

    /// The element's data; a level above 127 is sent as 127.
    #[inline]
    pub fn emit(&self) -> [u8; 1] {
        [(u8::from(self.voice) << 7) | self.level.min(127)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::packet::Header;

    fn read(profile: u16, words: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let elements = Elements::new(profile, words);
        elements.map(|e| (e.id, e.data.to_vec())).collect()
    }

    #[test]
    fn the_examples_of_the_rfc_read() {
        // RFC 8285 §4.2: three elements of 1, 2 and 4 bytes with padding between.
        let one = [
            0x10, 0xA1, 0x21, 0xB1, 0xB2, 0, 0, 0x33, 0xC1, 0xC2, 0xC3, 0xC4,
        ];
        let wanted = vec![
            (1, vec![0xA1]),
            (2, vec![0xB1, 0xB2]),
            (3, vec![0xC1, 0xC2, 0xC3, 0xC4]),
        ];
        assert_eq!(read(0xBEDE, &one), wanted);
        // RFC 8285 §4.3: the first of length 0.
        let two = [1, 0, 2, 1, 0xB1, 0, 3, 4, 0xC1, 0xC2, 0xC3, 0xC4];
        let wanted = vec![
            (1, vec![]),
            (2, vec![0xB1]),
            (3, vec![0xC1, 0xC2, 0xC3, 0xC4]),
        ];
        for profile in [0x1000, 0x1005, 0x100F] {
            assert_eq!(read(profile, &two), wanted);
        }
    }

    #[test]
    fn nonsense_ends_the_elements_and_keeps_those_before() {
        let first = (1, vec![0xA1]);
        for tail in [
            &[0xF0, 1, 2][..],   // the reserved identifier
            &[0x03, 1, 2, 3, 4], // padding with a length
            &[0x2F, 1, 2, 3],    // more data than there is
            &[0x20],             // no data at all
        ] {
            let words = [&[0x10, 0xA1][..], tail, &[0x10, 9]].concat();
            assert_eq!(read(0xBEDE, &words)[0], first);
            let cut = &words[..2 + tail.len()];
            assert_eq!(read(0xBEDE, cut), std::slice::from_ref(&first), "{tail:x?}");
        }
        assert_eq!(read(0x1000, &[1, 200, 0]), []);
        assert_eq!(read(0x1000, &[1]), []);
        assert_eq!(read(0xABCD, &[0x10, 0xA1]), [], "another form");
        assert_eq!(read(0xBEDE, &[0; 64]), [], "nothing but padding");
    }

    #[test]
    fn written_elements_read_back_in_the_form_they_need() {
        let cases: [&[(u8, &[u8])]; 5] = [
            &[(1, &[30])],
            &[(14, &[1; 16]), (2, &[7, 8])],
            &[(15, &[1]), (1, &[2])],
            &[(3, &[]), (200, &[9; 255])],
            &[(1, &[5; 17])],
        ];
        for elements in cases {
            let mut packet = [0xAA; 400];
            Header::default().emit(&mut packet);
            let mut writer = Writer::new(&mut packet);
            for (id, data) in elements {
                writer.element(*id, data).unwrap();
            }
            let end = writer.finish();
            let view = View::parse(&packet).unwrap();
            assert_eq!(view.header_len(), end);
            let read: Vec<_> = Elements::of(&view).map(|e| (e.id, e.data)).collect();
            assert_eq!(read, elements);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_extension_as_it_was() {
        let mut packet = [0; HEADER_LEN + 8];
        let mut writer = Writer::new(&mut packet);
        assert_eq!(writer.element(0, &[1]), Err(DoesNotFit));
        assert_eq!(writer.element(1, &[0; 256]), Err(DoesNotFit));
        assert_eq!(writer.element(1, &[0; 4]), Err(DoesNotFit), "no room");
        writer.element(1, &[7]).unwrap();
        assert_eq!(writer.element(15, &[]), Err(DoesNotFit), "the other form");
        assert_eq!(writer.finish(), HEADER_LEN + 8);
        for len in 0..HEADER_LEN + 8 {
            let mut short = vec![0; len];
            assert_eq!(Writer::new(&mut short).element(1, &[7]), Err(DoesNotFit));
        }
        let mut none = [0x80; HEADER_LEN];
        assert_eq!(Writer::new(&mut none).finish(), HEADER_LEN);
        assert_eq!(none[0], 0x80);
    }

    #[test]
    fn levels_read_back() {
        for byte in 0..=255 {
            let level = AudioLevel::parse(&[byte]).unwrap();
            assert_eq!(level.emit(), [byte]);
        }
        assert_eq!(AudioLevel::parse(&[]), None);
        assert_eq!(AudioLevel::parse(&[1, 2]), None);
    }
}
