//! Redundant audio: several encodings in one packet (RFC 2198): wire format.

/// Blocks in a packet at most, the primary one included; more are refused.
pub const MAX_BLOCKS: usize = 4;

/// The longest redundant block: its length has ten bits.
pub const MAX_REDUNDANT_LEN: usize = 1_023;

/// The farthest back that a redundant block reaches, in ticks: its offset has fourteen bits.
pub const MAX_OFFSET: u32 = 16_383;

/// Bytes in front of a redundant block's data, and in front of the primary one's.
const REDUNDANT_HEADER: usize = 4;

/// Why a payload is no redundant audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedError {
    /// A header or a block goes beyond the end.
    #[error("a block of redundant audio goes beyond the packet")]
    Truncated,
    /// More than [`MAX_BLOCKS`].
    #[error("more than {MAX_BLOCKS} blocks of redundant audio")]
    TooMany,
}

/// One encoding inside a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block<'a> {
    /// The payload type of the encoding.
    pub payload_type: u8,
    /// How far before the packet's own timestamp it begins, in ticks; 0 for the primary one.
    pub offset: u32,
    /// The encoding.
    pub data: &'a [u8],
}

/// The encodings of one packet, as sent: the oldest first, the primary one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks<'a> {
    blocks: [Block<'a>; MAX_BLOCKS],
    count: usize,
}

impl<'a> Blocks<'a> {
    /// Reads the payload of a packet.
    ///
    /// ```
    /// use sidetone::rtp::red::Blocks;
    /// // One byte of payload type 8 from 160 ticks ago, then two of now.
    /// let payload = [0x88, 0x02, 0x80, 0x01, 0x08, 0xD5, 0xD5, 0xD5];
    /// let blocks = Blocks::parse(&payload)?;
    /// assert_eq!(blocks.as_slice()[0].offset, 160);
    /// assert_eq!(blocks.as_slice()[1].data, [0xD5, 0xD5]);
    /// # Ok::<(), sidetone::rtp::red::RedError>(())
    /// ```
    ///
    /// # Errors
    /// [`RedError`]: drop the packet.
    pub fn parse(payload: &'a [u8]) -> Result<Self, RedError> {
        let mut blocks = [Block::default(); MAX_BLOCKS];
        let mut lengths = [0; MAX_BLOCKS];
        let mut rest = payload;
        let mut count = 0;
        loop {
            let block = blocks.get_mut(count).ok_or(RedError::TooMany)?;
            let (&first, after) = rest.split_first().ok_or(RedError::Truncated)?;
            block.payload_type = first & 0x7F;
            if first & 0x80 == 0 {
                rest = after;
                break;
            }
            let (&[a, b, c], after) = after.split_first_chunk().ok_or(RedError::Truncated)?;
            let bits = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
            block.offset = bits >> 10;
            lengths[count] = (bits & 0x3FF) as usize;
            rest = after;
            count += 1;
        }
        for (block, length) in blocks.iter_mut().zip(lengths).take(count) {
            let (data, after) = rest.split_at_checked(length).ok_or(RedError::Truncated)?;
            block.data = data;
            rest = after;
        }
        blocks[count].data = rest;
        Ok(Self {
            blocks,
            count: count + 1,
        })
    }

    /// The blocks, 1 to [`MAX_BLOCKS`].
    pub fn as_slice(&self) -> &[Block<'a>] {
        &self.blocks[..self.count]
    }
}

/// Writes redundant blocks, the oldest first, and the primary one into `out`, and returns the bytes;
/// `None` where they do not fit, or a redundant one is longer or older than its header can say.
pub fn emit(redundant: &[Block<'_>], primary: Block<'_>, out: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    for block in redundant {
        if block.data.len() > MAX_REDUNDANT_LEN || block.offset > MAX_OFFSET {
            return None;
        }
        let bits = block.offset << 10 | block.data.len() as u32;
        let [_, a, b, c] = bits.to_be_bytes();
        let header = out.get_mut(at..at + REDUNDANT_HEADER)?;
        header.copy_from_slice(&[0x80 | block.payload_type, a, b, c]);
        at += REDUNDANT_HEADER;
    }
    *out.get_mut(at)? = primary.payload_type & 0x7F;
    at += 1;
    for block in redundant.iter().chain([&primary]) {
        let room = out.get_mut(at..at + block.data.len())?;
        room.copy_from_slice(block.data);
        at += block.data.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let block = |payload_type, offset, data| Block {
            payload_type,
            offset,
            data,
        };
        let long = [7; MAX_REDUNDANT_LEN];
        let old = [block(111, 1_920, &long[..]), block(0, MAX_OFFSET, &[])];
        let now = block(111, 0, &[1, 2, 3][..]);
        let mut out = [0; 1_500];
        for redundant in [&old[..], &old[..1], &[]] {
            let length = emit(redundant, now, &mut out).unwrap();
            let blocks = Blocks::parse(&out[..length]).unwrap();
            let expected: Vec<_> = redundant.iter().copied().chain([now]).collect();
            assert_eq!(blocks.as_slice(), expected);
            for cut in 0..length - 3 {
                assert!(Blocks::parse(&out[..cut]).is_err(), "{cut} of {length}");
            }
        }
        assert_eq!(emit(&old, now, &mut out[..1_000]), None);
        let far = [block(0, MAX_OFFSET + 1, &[][..])];
        assert_eq!(emit(&far, now, &mut out), None);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let too_many = [0x80; 4 * MAX_BLOCKS + 1];
        assert_eq!(Blocks::parse(&too_many), Err(RedError::TooMany));
        for payload in [
            &[][..],
            &[0x80],
            &[0x80, 0, 0],
            &[0x80, 0, 0, 0],
            &[0x80, 0, 0x03, 0xFF, 0, 1, 2],
        ] {
            assert_eq!(
                Blocks::parse(payload),
                Err(RedError::Truncated),
                "{payload:?}"
            );
        }
        assert_eq!(Blocks::parse(&[8]).unwrap().as_slice().len(), 1);
    }
}
