//! The hash functions that records are chained by.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use sm3::Digest as _;
use sm3::Sm3;

/// A link of a record's chain, or the hash of a chunk.
pub type Link = [u8; 32];

/// By what a record is chained: both give 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Digest {
    /// SHA-256 (FIPS 180-4).
    #[default]
    Sha256,
    /// SM3 (GB/T 32905-2016, ISO/IEC 10118-3), where Chinese rules demand it. It takes several times as long.
    Sm3,
}

impl Digest {
    /// The word that stands for it in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sm3 => "sm3",
        }
    }

    /// The digest of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sm3]
            .into_iter()
            .find(|digest| digest.name() == name)
    }

    pub(super) fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Context::new(&SHA256)),
            Self::Sm3 => Hasher::Sm3(Box::new(Sm3::new())),
        }
    }

    /// The hash of `parts`, one behind the other.
    pub(super) fn hash(self, parts: &[&[u8]]) -> Link {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }
}

/// A hash in the making.
pub(super) enum Hasher {
    Sha256(Context),
    Sm3(Box<Sm3>),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(context) => context.update(bytes),
            Self::Sm3(state) => state.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Link {
        let mut link = [0; 32];
        match self {
            Self::Sha256(context) => link.copy_from_slice(context.finish().as_ref()),
            Self::Sm3(state) => link.copy_from_slice(&state.finalize()),
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::recorder::seal::hex;

    #[test]
    fn the_standards_own_examples() {
        // FIPS 180-4 and GB/T 32905-2016, A.1: "abc".
        let abc: [&[u8]; 2] = [b"a", b"bc"];
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sm3 = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
        assert_eq!(hex(&Digest::Sha256.hash(&abc)), sha);
        assert_eq!(hex(&Digest::Sm3.hash(&abc)), sm3);
        for digest in [Digest::Sha256, Digest::Sm3] {
            assert_eq!(Digest::named(digest.name()), Some(digest));
        }
        assert_eq!(Digest::named("md5"), None);
    }
}
