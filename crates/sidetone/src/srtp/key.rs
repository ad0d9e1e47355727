//! Master keys: what a key exchange agrees on, kept secret and wiped.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::srtp::error::KeyError;
use crate::srtp::suite::Suite;

/// The longest master key identifier taken, in bytes. RFC 4568 allows 128; nobody needs them.
pub const MAX_MKI: usize = 16;

/// The packets that a key may protect where nothing less is agreed (RFC 3711 §9.2).
pub(super) const MAX_RTP_PACKETS: u64 = 1 << 48;

/// A master key with its salt, for one direction.
///
/// Never printed, compared in constant time, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    suite: Suite,
    key: [u8; 32],
    salt: [u8; 14],
    mki: [u8; MAX_MKI],
    mki_len: usize,
    lifetime: u64,
}

impl MasterKey {
    /// A key and salt for `suite`, without an identifier, for as long as the suite allows.
    ///
    /// # Errors
    /// [`KeyError::Length`] where either has not the suite's length.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != suite.key_len() || salt.len() != suite.salt_len() {
            return Err(KeyError::Length);
        }
        let mut made = Self {
            suite,
            key: [0; 32],
            salt: [0; 14],
            mki: [0; MAX_MKI],
            mki_len: 0,
            lifetime: MAX_RTP_PACKETS,
        };
        made.key[..key.len()].copy_from_slice(key);
        made.salt[..salt.len()].copy_from_slice(salt);
        Ok(made)
    }

    /// The key under an identifier that every packet carries (RFC 3711 §3.1).
    ///
    /// # Errors
    /// [`KeyError::Identifier`] where it is empty or longer than [`MAX_MKI`].
    pub fn with_mki(mut self, mki: &[u8]) -> Result<Self, KeyError> {
        if mki.is_empty() || mki.len() > MAX_MKI {
            return Err(KeyError::Identifier);
        }
        self.mki[..mki.len()].copy_from_slice(mki);
        self.mki_len = mki.len();
        Ok(self)
    }

    /// The key for at most so many packets of RTP, and as many of RTCP (RFC 3711 §8.1); a number
    /// above what RFC 3711 §9.2 allows counts as that.
    ///
    /// # Errors
    /// [`KeyError::Lifetime`] where it is zero.
    pub fn with_lifetime(mut self, packets: u64) -> Result<Self, KeyError> {
        if packets == 0 {
            return Err(KeyError::Lifetime);
        }
        self.lifetime = packets.min(MAX_RTP_PACKETS);
        Ok(self)
    }

    /// The suite that it is for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.suite.key_len()]
    }

    /// The salt, filled up with zeros to 14 bytes (RFC 7714 §11).
    pub(super) fn salt(&self) -> &[u8; 14] {
        &self.salt
    }

    pub(super) fn mki(&self) -> &[u8] {
        &self.mki[..self.mki_len]
    }

    pub(super) fn lifetime(&self) -> u64 {
        self.lifetime
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        let secret = self.key.ct_eq(&other.key) & self.salt.ct_eq(&other.salt);
        self.suite == other.suite
            && self.mki() == other.mki()
            && self.lifetime == other.lifetime
            && bool::from(secret)
    }
}

impl Eq for MasterKey {}

/// Shows the suite, never the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

/// Both directions' keys: what SDES or DTLS-SRTP agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keying {
    /// What we protect with.
    pub local: MasterKey,
    /// What the peer protects with.
    pub remote: MasterKey,
}
