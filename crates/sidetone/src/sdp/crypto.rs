//! The `a=crypto` attribute of SDES (RFC 4568): wire format.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Most `a=crypto` lines of one media description that are read.
pub const MAX_CRYPTO: usize = 16;

/// The longest master key identifier read, in bytes; RFC 4568 allows 128, which nobody needs.
pub const MAX_MKI: u8 = 16;

/// Padding is written, and may be missing in what is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A crypto suite by its registered name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CryptoSuite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568 §6.2.1), which everybody has.
    AesCm128HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32` (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80` (RFC 6188 §4).
    AesCm256HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32` (RFC 6188 §4).
    AesCm256HmacSha1_32,
    /// `AEAD_AES_128_GCM` (RFC 7714 §14.1).
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM` (RFC 7714 §14.1).
    AeadAes256Gcm,
}

impl CryptoSuite {
    /// Every suite, the strongest first.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm256HmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AesCm128HmacSha1_32,
    ];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of this name, case ignored, since some peers do not keep to the registered one.
    pub fn from_name(name: &str) -> Option<Self> {
        let is_it = |suite: &Self| suite.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    /// Bytes of the master key.
    pub fn key_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            _ => 14,
        }
    }
}

/// A master key identifier (RFC 4568 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    /// The number.
    pub value: u128,
    /// The bytes that it takes in a packet, 1 to [`MAX_MKI`].
    pub length: u8,
}

/// One `a=crypto` line (RFC 4568 §4): a suite, and the key that its sender will send with.
///
/// Its key is wiped when it is dropped, compared in constant time, and not shown by [`fmt::Debug`];
/// [`Crypto::to_value`] alone writes it.
///
/// ```
/// use sidetone::sdp::crypto::{Crypto, CryptoSuite};
///
/// let text = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4";
/// let crypto = Crypto::parse(text)?;
/// assert_eq!(crypto.suite, CryptoSuite::AesCm128HmacSha1_80);
/// assert_eq!(crypto.lifetime, Some(1 << 20));
/// assert_eq!(*crypto.to_value(), text);
/// # Ok::<(), sidetone::sdp::crypto::CryptoError>(())
/// ```
#[derive(Clone)]
pub struct Crypto {
    /// The number that an answer names its choice by, at most nine digits.
    pub tag: u32,
    /// The suite.
    pub suite: CryptoSuite,
    /// The packets that the key may protect; `None` where the suite's own limit holds.
    pub lifetime: Option<u64>,
    /// The identifier that its packets carry.
    pub mki: Option<Mki>,
    secret: Zeroizing<Vec<u8>>,
}

/// Why an `a=crypto` line is not taken. The others of the description may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// It is not what RFC 4568 §9.1 describes, or its key has the wrong length.
    #[error("malformed crypto attribute")]
    Syntax,
    /// A suite that the library has not.
    #[error("unknown crypto suite")]
    Suite,
    /// A session parameter that must be understood and is not, or that weakens protection:
    /// `UNENCRYPTED_…`, `UNAUTHENTICATED_SRTP`, `FEC_…`, `KDR` (RFC 4568 §6.3).
    #[error("session parameter is not supported")]
    Parameter,
    /// Several master keys in one line, or a long identifier.
    #[error("several keys or a long identifier in a crypto attribute")]
    Keys,
}

impl Crypto {
    /// A line with `secret`, the master key followed by the master salt; `None` where it has not the
    /// length that `suite` wants.
    pub fn new(tag: u32, suite: CryptoSuite, secret: Zeroizing<Vec<u8>>) -> Option<Self> {
        let fits = secret.len() == suite.key_len() + suite.salt_len();
        fits.then_some(Self {
            tag,
            suite,
            lifetime: None,
            mki: None,
            secret,
        })
    }

    /// Reads the attribute's value.
    ///
    /// # Errors
    /// [`CryptoError`]: leave this line out.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().and_then(number_of_nine_digits);
        let tag = tag.ok_or(CryptoError::Syntax)?;
        let suite = words.next().ok_or(CryptoError::Syntax)?;
        let suite = CryptoSuite::from_name(suite).ok_or(CryptoError::Suite)?;
        let keys = words.next().ok_or(CryptoError::Syntax)?;
        for parameter in words {
            check_parameter(parameter)?;
        }
        if keys.contains(';') {
            return Err(CryptoError::Keys);
        }
        let (method, key) = keys.split_once(':').ok_or(CryptoError::Syntax)?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(CryptoError::Syntax);
        }
        let mut parts = key.split('|');
        let secret = parts.next().ok_or(CryptoError::Syntax)?;
        let secret = BASE64.decode(secret).map_err(|_| CryptoError::Syntax)?;
        let made = Self::new(tag, suite, Zeroizing::new(secret));
        let mut made = made.ok_or(CryptoError::Syntax)?;
        for part in parts {
            match part.split_once(':') {
                Some((value, length)) if made.mki.is_none() => {
                    made.mki = Some(read_mki(value, length)?);
                }
                None if made.lifetime.is_none() && made.mki.is_none() => {
                    made.lifetime = Some(read_lifetime(part)?);
                }
                _ => return Err(CryptoError::Syntax),
            }
        }
        Ok(made)
    }

    /// The attribute's value, key and all.
    pub fn to_value(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(BASE64.encode(&*self.secret));
        let mut text = format!("{} {} inline:{}", self.tag, self.suite.name(), *secret);
        match self.lifetime {
            Some(packets) if packets.is_power_of_two() => {
                text.push_str(&format!("|2^{}", packets.trailing_zeros()));
            }
            Some(packets) => text.push_str(&format!("|{packets}")),
            None => {}
        }
        if let Some(mki) = self.mki {
            text.push_str(&format!("|{}:{}", mki.value, mki.length));
        }
        Zeroizing::new(text)
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        &self.secret[..self.suite.key_len()]
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        &self.secret[self.suite.key_len()..]
    }

    /// Whether the other line has the same key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.secret.ct_eq(&other.secret).into()
    }

    /// The same key under another tag.
    pub fn tagged(&self, tag: u32) -> Self {
        Self {
            tag,
            ..self.clone()
        }
    }
}

impl PartialEq for Crypto {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag
            && self.suite == other.suite
            && self.lifetime == other.lifetime
            && self.mki == other.mki
            && self.has_key_of(other)
    }
}

impl Eq for Crypto {}

/// Shows everything but the key.
impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("tag", &self.tag)
            .field("suite", &self.suite)
            .field("lifetime", &self.lifetime)
            .field("mki", &self.mki)
            .finish_non_exhaustive()
    }
}

fn number_of_nine_digits(text: &str) -> Option<u32> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `2^n`, or a number.
fn read_lifetime(text: &str) -> Result<u64, CryptoError> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => power
            .parse()
            .ok()
            .and_then(|power: u32| 1_u64.checked_shl(power)),
        None => text.parse().ok(),
    };
    packets.filter(|n| *n > 0).ok_or(CryptoError::Syntax)
}

fn read_mki(value: &str, length: &str) -> Result<Mki, CryptoError> {
    let length: u8 = length.parse().map_err(|_| CryptoError::Syntax)?;
    let value: u128 = value.parse().map_err(|_| CryptoError::Keys)?;
    if length == 0 || length > MAX_MKI {
        return Err(CryptoError::Keys);
    }
    if length < MAX_MKI && value >> (u32::from(length) * 8) != 0 {
        return Err(CryptoError::Syntax);
    }
    Ok(Mki { value, length })
}

/// What may stand after the keys: extensions that say of themselves that they may be ignored, the
/// hint at a window, and the default written out (RFC 4568 §6.3).
fn check_parameter(parameter: &str) -> Result<(), CryptoError> {
    let harmless = parameter.starts_with('-')
        || parameter == "KDR=0"
        || parameter
            .strip_prefix("WSH=")
            .is_some_and(|size| size.parse::<u32>().is_ok());
    harmless.then_some(()).ok_or(CryptoError::Parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn read(rest: &str) -> Result<Crypto, CryptoError> {
        Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}{rest}"))
    }

    #[test]
    fn what_peers_send() {
        for (rest, lifetime, mki) in [
            ("", None, None),
            ("|2^20", Some(1 << 20), None),
            ("|1048577", Some(1_048_577), None),
            ("|2^31|1:1", Some(1 << 31), Some((1, 1))),
            ("|66051:4", None, Some((66_051, 4))),
            (" WSH=128 -later=7 KDR=0", None, None),
        ] {
            let crypto = read(rest).expect(rest);
            assert_eq!(crypto.lifetime, lifetime, "{rest}");
            assert_eq!(crypto.mki.map(|m| (m.value, m.length)), mki, "{rest}");
            assert_eq!((crypto.key().len(), crypto.salt().len()), (16, 14));
        }
        let lower = format!("7 aes_cm_128_hmac_sha1_32 INLINE:{KEY}");
        assert_eq!(Crypto::parse(&lower).map(|c| c.tag), Ok(7));
    }

    #[test]
    fn what_is_refused() {
        for (rest, error) in [
            (" UNENCRYPTED_SRTP", CryptoError::Parameter),
            (" UNENCRYPTED_SRTCP", CryptoError::Parameter),
            (" UNAUTHENTICATED_SRTP", CryptoError::Parameter),
            (" KDR=1", CryptoError::Parameter),
            (" FEC_ORDER=FEC_SRTP", CryptoError::Parameter),
            (" SOMETHING_NEW", CryptoError::Parameter),
            (";inline:abc", CryptoError::Keys),
            ("|1:17", CryptoError::Keys),
            ("|1:0", CryptoError::Keys),
            ("|256:1", CryptoError::Syntax),
            ("|2^64", CryptoError::Syntax),
            ("|0", CryptoError::Syntax),
            ("|x", CryptoError::Syntax),
            ("|1:1|2:1", CryptoError::Syntax),
            ("A", CryptoError::Syntax),
            ("AAAA", CryptoError::Syntax),
        ] {
            assert_eq!(read(rest), Err(error), "{rest}");
        }
        for (text, error) in [
            ("", CryptoError::Syntax),
            ("1", CryptoError::Syntax),
            (
                "1234567890 AES_CM_128_HMAC_SHA1_80 inline:",
                CryptoError::Syntax,
            ),
            ("+1 AES_CM_128_HMAC_SHA1_80 inline:", CryptoError::Syntax),
            ("1 F8_128_HMAC_SHA1_80 inline:", CryptoError::Suite),
            ("1 AES_CM_128_HMAC_SHA1_80", CryptoError::Syntax),
            (
                "1 AES_CM_128_HMAC_SHA1_80 outline:AAAA",
                CryptoError::Syntax,
            ),
            ("1 AEAD_AES_128_GCM inline:AAAA", CryptoError::Syntax),
        ] {
            assert_eq!(Crypto::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_suite_is_written_and_read() {
        for suite in CryptoSuite::ALL {
            let secret: Vec<u8> = (0..suite.key_len() + suite.salt_len())
                .map(|n| n as u8)
                .collect();
            let made = Crypto::new(3, suite, Zeroizing::new(secret)).expect("length");
            assert_eq!(Crypto::parse(&made.to_value()), Ok(made));
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", read("|2^20").expect("valid"));
        assert!(!shown.contains(KEY) && !shown.contains("89"), "{shown}");
    }
}
