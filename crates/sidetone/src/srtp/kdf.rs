//! Session keys from a master key (RFC 3711 §4.3), without periodic re-derivation.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use zeroize::Zeroizing;

use crate::srtp::key::MasterKey;

/// The labels of RTP's three session keys (RFC 3711 §4.3.1).
pub(super) const RTP: Labels = Labels {
    encryption: 0,
    authentication: 1,
    salt: 2,
};

/// The labels of RTCP's three session keys (RFC 3711 §4.3.2).
pub(super) const RTCP: Labels = Labels {
    encryption: 3,
    authentication: 4,
    salt: 5,
};

/// What each session key of a protocol is derived by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels {
    pub(super) encryption: u8,
    pub(super) authentication: u8,
    pub(super) salt: u8,
}

/// The first `N` bytes of the key stream that `label` chooses: AES in counter mode over the master
/// key, whatever the suite's own transform (RFC 3711 §4.3.3, RFC 6188 §3, RFC 7714 §11).
pub(super) fn derive<const N: usize>(master: &MasterKey, label: u8) -> Zeroizing<[u8; N]> {
    match master.key() {
        key if key.len() == 16 => stream(&Aes128::new_from_slice(key), master.salt(), label),
        key => stream(&Aes256::new_from_slice(key), master.salt(), label),
    }
}

fn stream<const N: usize, C: BlockCipherEncrypt>(
    cipher: &Result<C, aes::cipher::InvalidLength>,
    salt: &[u8; 14],
    label: u8,
) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    // `MasterKey` holds keys of 16 and 32 bytes alone.
    let Ok(cipher) = cipher else {
        debug_assert!(false, "a key of an impossible length");
        return out;
    };
    let mut counter = [0; 16];
    counter[..14].copy_from_slice(salt);
    counter[7] ^= label;
    for (index, part) in out.chunks_mut(16).enumerate() {
        counter[15] = index as u8;
        let mut block = aes::cipher::Block::<C>::default();
        block.copy_from_slice(&counter);
        cipher.encrypt_block(&mut block);
        part.copy_from_slice(&block[..part.len()]);
    }
    out
}

#[cfg(test)]
mod tests;
