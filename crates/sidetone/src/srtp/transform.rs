//! The framing of protected packets: what is encrypted, what is authenticated, and where tags stand.

use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128, Aes256};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::srtp::error::{ProtectError, UnprotectError};
use crate::srtp::hmac::HmacSha1;
use crate::srtp::kdf::{self, Labels};
use crate::srtp::key::MasterKey;

/// Bytes of an RTCP packet that stay readable: its first header and sender.
pub(super) const RTCP_CLEAR: usize = 8;

/// The bit beside the SRTCP index that says that the packet is encrypted (RFC 3711 §3.4).
pub(super) const ENCRYPTED: u32 = 1 << 31;

/// Bytes of the tag of GCM (RFC 7714 §13).
const GCM_TAG: usize = 16;

/// Bytes of a tag that HMAC-SHA1 makes for RTCP, whatever the suite (RFC 4568 §6.2.2).
const RTCP_TAG: usize = 10;

/// Largest packet that can be tried with a key that may be the wrong one.
pub(super) const MAX_TRIAL: usize = 2048;

/// The session keys of one protocol under one master key.
pub(super) struct Transform {
    cipher: Cipher,
    rtp_tag: usize,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it lives in a box with its context"
)]
enum Cipher {
    Counter {
        aes: Aes,
        salt: Zeroizing<[u8; 14]>,
        mac: HmacSha1,
    },
    Gcm {
        key: LessSafeKey,
        salt: Zeroizing<[u8; 12]>,
    },
}

/// Key schedules, wiped when dropped.
enum Aes {
    Short(Aes128),
    Long(Aes256),
}

/// Where a packet stands in its stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) ssrc: u32,
    /// RTP: rollover counter and sequence number. RTCP: the SRTCP index.
    pub(super) index: u64,
}

impl Transform {
    pub(super) fn new(master: &MasterKey, labels: Labels) -> Self {
        let suite = master.suite();
        let cipher = if suite.is_aead() {
            Cipher::Gcm {
                key: gcm_key(master, labels),
                salt: kdf::derive(master, labels.salt),
            }
        } else {
            Cipher::Counter {
                aes: Aes::new(master, labels),
                salt: kdf::derive(master, labels.salt),
                mac: HmacSha1::new(&kdf::derive(master, labels.authentication)),
            }
        };
        Self {
            cipher,
            rtp_tag: suite.rtp_overhead(),
        }
    }

    /// Protects the RTP packet in the first `length` bytes of `buf`, whose payload begins at
    /// `header`, and returns its new length.
    #[inline]
    pub(super) fn protect_rtp(
        &self,
        buf: &mut [u8],
        header: usize,
        length: usize,
        place: Place,
        mki: &[u8],
    ) -> Result<usize, ProtectError> {
        let total = length + mki.len() + self.rtp_tag;
        let buf = buf.get_mut(..total).ok_or(ProtectError::Room)?;
        match &self.cipher {
            Cipher::Counter { aes, salt, mac } => {
                aes.apply(&counter(salt, place), &mut buf[header..length]);
                let code = mac.code(&buf[..length], &rollover(place));
                buf[length..length + mki.len()].copy_from_slice(mki);
                buf[length + mki.len()..].copy_from_slice(&code[..self.rtp_tag]);
            }
            Cipher::Gcm { key, salt } => {
                let (clear, rest) = buf.split_at_mut(header);
                let (text, trailer) = rest.split_at_mut(length - header);
                let tag = key
                    .seal_in_place_separate_tag(rtp_nonce(salt, place), Aad::from(&*clear), text)
                    .map_err(|_| ProtectError::Malformed)?;
                trailer[..GCM_TAG].copy_from_slice(tag.as_ref());
                trailer[GCM_TAG..].copy_from_slice(mki);
            }
        }
        Ok(total)
    }

    /// Checks and decrypts an RTP packet, whose identifier has been checked, and returns its new
    /// length. Where `trial` is given, a packet that fails stays as it was.
    #[inline]
    pub(super) fn unprotect_rtp(
        &self,
        packet: &mut [u8],
        header: usize,
        place: Place,
        mki_len: usize,
        trial: Option<&mut [u8]>,
    ) -> Result<usize, UnprotectError> {
        let length = packet
            .len()
            .checked_sub(mki_len + self.rtp_tag)
            .filter(|length| *length >= header)
            .ok_or(UnprotectError::Malformed)?;
        match &self.cipher {
            Cipher::Counter { aes, salt, mac } => {
                let (text, trailer) = packet.split_at_mut(length);
                let code = mac.code(text, &rollover(place));
                check_tag(&code[..self.rtp_tag], &trailer[mki_len..])?;
                aes.apply(&counter(salt, place), &mut text[header..]);
            }
            Cipher::Gcm { key, salt } => {
                let (clear, rest) = packet.split_at_mut(header);
                let sealed = &mut rest[..length - header + GCM_TAG];
                open(key, rtp_nonce(salt, place), clear, sealed, trial)?;
            }
        }
        Ok(length)
    }

    /// Where the identifier stands in an RTP packet of this length.
    pub(super) fn rtp_mki(&self, packet_len: usize, mki_len: usize) -> Option<usize> {
        let after = match self.cipher {
            Cipher::Counter { .. } => self.rtp_tag,
            Cipher::Gcm { .. } => 0,
        };
        packet_len.checked_sub(after + mki_len)
    }

    /// Protects the RTCP packet in the first `length` bytes of `buf` and returns its new length.
    pub(super) fn protect_rtcp(
        &self,
        buf: &mut [u8],
        length: usize,
        place: Place,
        mki: &[u8],
    ) -> Result<usize, ProtectError> {
        let total = length + 4 + mki.len() + self.rtcp_tag();
        let buf = buf.get_mut(..total).ok_or(ProtectError::Room)?;
        let word = (ENCRYPTED | place.index as u32).to_be_bytes();
        match &self.cipher {
            Cipher::Counter { aes, salt, mac } => {
                aes.apply(&counter(salt, place), &mut buf[RTCP_CLEAR..length]);
                buf[length..length + 4].copy_from_slice(&word);
                let code = mac.code(&buf[..length + 4], &[]);
                let (identifier, tag) = buf[length + 4..].split_at_mut(mki.len());
                identifier.copy_from_slice(mki);
                tag.copy_from_slice(&code[..RTCP_TAG]);
            }
            Cipher::Gcm { key, salt } => {
                let clear = rtcp_clear(buf, word);
                let (text, trailer) = buf[RTCP_CLEAR..].split_at_mut(length - RTCP_CLEAR);
                let tag = key
                    .seal_in_place_separate_tag(rtcp_nonce(salt, place), Aad::from(clear), text)
                    .map_err(|_| ProtectError::Malformed)?;
                let (tag_at, after) = trailer.split_at_mut(GCM_TAG);
                tag_at.copy_from_slice(tag.as_ref());
                after[..4].copy_from_slice(&word);
                after[4..].copy_from_slice(mki);
            }
        }
        Ok(total)
    }

    /// Checks and decrypts an RTCP packet, whose index word and identifier have been read, and
    /// returns its new length. Where `trial` is given, a packet that fails stays as it was.
    pub(super) fn unprotect_rtcp(
        &self,
        packet: &mut [u8],
        place: Place,
        mki_len: usize,
        trial: Option<&mut [u8]>,
    ) -> Result<usize, UnprotectError> {
        let length = packet
            .len()
            .checked_sub(4 + mki_len + self.rtcp_tag())
            .filter(|length| *length >= RTCP_CLEAR)
            .ok_or(UnprotectError::Malformed)?;
        match &self.cipher {
            Cipher::Counter { aes, salt, mac } => {
                let (text, trailer) = packet.split_at_mut(length + 4);
                let code = mac.code(text, &[]);
                check_tag(&code[..RTCP_TAG], &trailer[mki_len..])?;
                aes.apply(&counter(salt, place), &mut text[RTCP_CLEAR..length]);
            }
            Cipher::Gcm { key, salt } => {
                let clear = rtcp_clear(packet, (ENCRYPTED | place.index as u32).to_be_bytes());
                let sealed = &mut packet[RTCP_CLEAR..length + GCM_TAG];
                open(key, rtcp_nonce(salt, place), &clear, sealed, trial)?;
            }
        }
        Ok(length)
    }

    /// Where the index word and the identifier stand in an RTCP packet of this length.
    pub(super) fn rtcp_trailer(&self, packet_len: usize, mki_len: usize) -> Option<(usize, usize)> {
        let after = match self.cipher {
            Cipher::Counter { .. } => RTCP_TAG,
            Cipher::Gcm { .. } => 0,
        };
        let mki = packet_len.checked_sub(after + mki_len)?;
        Some((mki.checked_sub(4)?, mki))
    }

    fn rtcp_tag(&self) -> usize {
        match self.cipher {
            Cipher::Counter { .. } => RTCP_TAG,
            Cipher::Gcm { .. } => GCM_TAG,
        }
    }
}

impl Aes {
    fn new(master: &MasterKey, labels: Labels) -> Self {
        if master.key().len() == 16 {
            let key: Zeroizing<[u8; 16]> = kdf::derive(master, labels.encryption);
            Self::Short(Aes128::new(&(*key).into()))
        } else {
            let key: Zeroizing<[u8; 32]> = kdf::derive(master, labels.encryption);
            Self::Long(Aes256::new(&(*key).into()))
        }
    }

    /// Encrypts or decrypts `data` by the key stream that begins at `counter`.
    #[inline]
    fn apply(&self, counter: &[u8; 16], data: &mut [u8]) {
        let counter = counter.into();
        match self {
            Self::Short(aes) => CtrCore::<&Aes128, Ctr128BE>::inner_iv_init(aes, counter)
                .apply_keystream_partial(data.into()),
            Self::Long(aes) => CtrCore::<&Aes256, Ctr128BE>::inner_iv_init(aes, counter)
                .apply_keystream_partial(data.into()),
        }
    }
}

fn gcm_key(master: &MasterKey, labels: Labels) -> LessSafeKey {
    let key = if master.key().len() == 16 {
        let key: Zeroizing<[u8; 16]> = kdf::derive(master, labels.encryption);
        UnboundKey::new(&AES_128_GCM, &*key)
    } else {
        let key: Zeroizing<[u8; 32]> = kdf::derive(master, labels.encryption);
        UnboundKey::new(&AES_256_GCM, &*key)
    };
    LessSafeKey::new(key.expect("the key has the algorithm's length"))
}

/// Where the key stream of a packet begins (RFC 3711 §4.1.1).
#[inline]
fn counter(salt: &[u8; 14], place: Place) -> [u8; 16] {
    let salt = salt
        .iter()
        .fold(0, |all, byte| all << 8 | u128::from(*byte));
    let value = salt << 16 ^ u128::from(place.ssrc) << 64 ^ u128::from(place.index) << 16;
    value.to_be_bytes()
}

/// The rollover counter as it is authenticated (RFC 3711 §4.2).
#[inline]
fn rollover(place: Place) -> [u8; 4] {
    ((place.index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 §8.1.
#[inline]
fn rtp_nonce(salt: &[u8; 12], place: Place) -> Nonce {
    nonce(salt, u128::from(place.ssrc) << 48 ^ u128::from(place.index))
}

/// RFC 7714 §9.1.
#[inline]
fn rtcp_nonce(salt: &[u8; 12], place: Place) -> Nonce {
    nonce(salt, u128::from(place.ssrc) << 48 ^ u128::from(place.index))
}

#[inline]
fn nonce(salt: &[u8; 12], value: u128) -> Nonce {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&value.to_be_bytes()[4..]);
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// What GCM authenticates of an RTCP packet without encrypting it (RFC 7714 §9.2).
fn rtcp_clear(packet: &[u8], word: [u8; 4]) -> [u8; RTCP_CLEAR + 4] {
    let mut clear = [0; RTCP_CLEAR + 4];
    clear[..RTCP_CLEAR].copy_from_slice(&packet[..RTCP_CLEAR]);
    clear[RTCP_CLEAR..].copy_from_slice(&word);
    clear
}

#[inline]
fn check_tag(made: &[u8], received: &[u8]) -> Result<(), UnprotectError> {
    if bool::from(made.ct_eq(received)) {
        Ok(())
    } else {
        Err(UnprotectError::Authentication)
    }
}

/// Opens `sealed`, text and tag, in place. The library wipes the text where the tag does not fit, so
/// a trial goes by way of `trial`, where it has the room.
#[inline]
fn open(
    key: &LessSafeKey,
    nonce: Nonce,
    clear: &[u8],
    sealed: &mut [u8],
    trial: Option<&mut [u8]>,
) -> Result<(), UnprotectError> {
    let length = sealed.len() - GCM_TAG;
    let opened = match trial.and_then(|trial| trial.get_mut(..length)) {
        None => key
            .open_in_place(nonce, Aad::from(clear), sealed)
            .map(|_| ()),
        Some(trial) => {
            let (text, tag) = sealed.split_at_mut(length);
            key.open_separate_gather(nonce, Aad::from(clear), text, tag, trial)
                .map(|()| text.copy_from_slice(trial))
        }
    };
    opened.map_err(|_| UnprotectError::Authentication)
}

#[cfg(test)]
mod tests;
