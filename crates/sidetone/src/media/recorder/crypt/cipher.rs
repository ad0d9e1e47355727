//! How a recording's bytes are encrypted where they stand: AES-256 in counter mode.
//!
//! The byte at offset `n` of the samples is encrypted by the key stream's byte `n`, whose counter begins at
//! zero, so that a file can be cut off, recovered and read from anywhere without the key's help, and by
//! `openssl enc -d -aes-256-ctr` with an IV of zero. No place is ever written twice with something else. Texts
//! of the timeline have counters of their own, which begin with 1 and the text's number. That nothing was changed is
//! what the seal over the encrypted bytes proves; there is no encryption without one.

use std::fmt;

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr128BE;
use zeroize::Zeroizing;

/// The key of one recording; wiped when it is dropped, and never shown.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// A key of these bytes, which must be random and used for this recording alone.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Encrypts or decrypts samples as they are stored, the first of which stands at `offset` behind the header.
    pub fn samples(&self, offset: u64, bytes: &mut [u8]) {
        self.stream([0; 16], offset).apply_keystream(bytes);
    }

    /// Encrypts or decrypts the text of this number.
    pub(crate) fn text(&self, number: u64, bytes: &mut [u8]) {
        let mut counter = [0; 16];
        counter[0] = 1;
        counter[4..12].copy_from_slice(&number.to_be_bytes());
        self.stream(counter, 0).apply_keystream(bytes);
    }

    fn stream(&self, counter: [u8; 16], offset: u64) -> Ctr128BE<Aes256> {
        let mut stream = Ctr128BE::<Aes256>::new((&*self.0).into(), &counter.into());
        stream.seek(offset);
        stream
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

/// What files begin with, and what they begin with where they are encrypted.
const MARKS: [([u8; 4], [u8; 4]); 4] = [
    (*b"RIFF", *b"SIDE"),
    (*b"RF64", *b"SID6"),
    (*b"fLaC", *b"SIDF"),
    (*b"OggS", *b"SIDO"),
];

/// Makes a file's head say that what follows is encrypted, so that no program plays noise: `RIFF` becomes `SIDE`,
/// `RF64` `SID6`, `fLaC` `SIDF`, and the first `OggS` `SIDO`.
pub fn mark(head: &mut [u8]) {
    exchange(head, MARKS);
}

/// Takes the mark off a head again; whether it had one.
pub fn unmark(head: &mut [u8]) -> bool {
    exchange(head, MARKS.map(|(clear, marked)| (marked, clear)))
}

fn exchange(head: &mut [u8], words: [([u8; 4], [u8; 4]); 4]) -> bool {
    let Some(first) = head.first_chunk_mut::<4>() else {
        return false;
    };
    let word = words.iter().find(|(word, _)| word == first);
    if let Some((_, other)) = word {
        *first = *other;
    }
    word.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_decrypted_alone_and_texts_are_apart() {
        let key = DataKey::new([7; 32]);
        let plain: Vec<u8> = (0..1_000).map(|n| n as u8).collect();
        let mut stored = plain.clone();
        let (first, rest) = stored.split_at_mut(333);
        key.samples(0, first);
        key.samples(333, rest);
        assert_ne!(stored, plain);
        let mut part = stored[500..700].to_vec();
        key.samples(500, &mut part);
        assert_eq!(part, plain[500..700]);
        let mut texts = [[0; 40]; 3];
        key.text(0, &mut texts[0]);
        key.text(1, &mut texts[1]);
        key.samples(0, &mut texts[2]);
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
        assert_eq!(format!("{key:?}"), "DataKey");
    }
}
