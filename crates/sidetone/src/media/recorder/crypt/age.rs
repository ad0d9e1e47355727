//! The age format (<https://age-encryption.org/v1>) for X25519 recipients, as far as a recording's key needs it: files
//! of less than 64 KiB, which any age program reads and writes.
//!
//! The primitives are `aws-lc-rs`'s. The `age` crate would do as well, and brings sixty crates (translations,
//! passphrases, plugins) for these two functions.

use std::{fmt, io};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::media::recorder::crypt::bech32;

const VERSION: &str = "age-encryption.org/v1";
const LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const STANZA: &str = "-> X25519 ";
/// The longest file that is read or written here: one chunk of 64 KiB is the last.
const MOST: usize = 64 * 1_024;
/// Recipients of one file at most.
pub const MAX_RECIPIENTS: usize = 20;
const TAG: usize = 16;

/// What a file cannot be decrypted or encrypted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgeError {
    /// A recipient is `age1…` and an identity `AGE-SECRET-KEY-1…`, and this is not.
    #[error("not a key of age")]
    Key,
    /// It is no age file, or longer than 64 KiB.
    #[error("not a short age file")]
    Format,
    /// It is for others.
    #[error("not for this identity")]
    NotForUs,
    /// It has been altered.
    #[error("altered")]
    Altered,
    /// The system gave no random numbers.
    #[error("no random numbers")]
    Random,
    /// There are none, or more than [`MAX_RECIPIENTS`].
    #[error("1 to {MAX_RECIPIENTS} recipients")]
    Recipients,
}

/// The public key of somebody who may read.
///
/// ```
/// use sidetone::media::recorder::crypt::age::Recipient;
///
/// let text = "age1sv0vq0n89u7kmnucvd7c0r8gar04ghdu254nxrv0xla45rpjwudqcl9rlm";
/// assert_eq!(Recipient::parse(text).map(|it| it.to_string()), Ok(text.to_owned()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// A key as `age-keygen` prints it: `age1…`.
    ///
    /// # Errors
    /// [`AgeError::Key`].
    pub fn parse(text: &str) -> Result<Self, AgeError> {
        bech32::decode("age", text).map(Self).ok_or(AgeError::Key)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode("age", &self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The secret key of a reader; wiped when it is dropped, and never shown.
#[derive(Clone)]
pub struct Identity(Zeroizing<[u8; 32]>);

impl Identity {
    /// A key as `age-keygen` writes it: `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// [`AgeError::Key`].
    pub fn parse(text: &str) -> Result<Self, AgeError> {
        let bytes = bech32::decode("age-secret-key-", text).ok_or(AgeError::Key)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The first key of a file of `age-keygen`, beside its comments.
    ///
    /// # Errors
    /// [`AgeError::Key`].
    pub fn read(file: &str) -> Result<Self, AgeError> {
        let mut lines = file.lines().map(str::trim);
        let key = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        Self::parse(key.ok_or(AgeError::Key)?)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`AgeError::Key`]: the library refused it.
    pub fn recipient(&self) -> Result<Recipient, AgeError> {
        public(&self.0).map(Recipient)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Fills bytes with what nobody can guess.
pub type Draw<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// Encrypts up to 64 KiB for every recipient, with secrets drawn by `draw`.
///
/// # Errors
/// [`AgeError::Recipients`], [`AgeError::Format`] where it is too long, or [`AgeError::Key`] for a recipient that
/// nobody can be.
pub fn encrypt(
    recipients: &[Recipient],
    plain: &[u8],
    draw: Draw<'_>,
) -> Result<Vec<u8>, AgeError> {
    if !(1..=MAX_RECIPIENTS).contains(&recipients.len()) {
        return Err(AgeError::Recipients);
    }
    if plain.len() > MOST {
        return Err(AgeError::Format);
    }
    let file_key = random::<16>(draw)?;
    let mut head = format!("{VERSION}\n");
    for recipient in recipients {
        let secret = random::<32>(draw)?;
        let share = public(&secret)?;
        let wrap = wrap_key(&secret, &recipient.0, &share, &recipient.0)?;
        let mut wrapped = file_key.to_vec();
        seal(&wrap, [0; 12], &mut wrapped)?;
        let text = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        head.push_str(&format!("{STANZA}{}\n{}\n", text(&share), text(&wrapped)));
    }
    head.push_str("---");
    let code = hmac::sign(&header_key(&file_key)?, head.as_bytes());
    head.push_str(&format!(" {}\n", STANDARD_NO_PAD.encode(code.as_ref())));
    let salt = random::<16>(draw)?;
    let mut payload = plain.to_vec();
    let key = payload_key(&file_key, &salt)?;
    seal(&key, LAST, &mut payload)?;
    Ok([head.as_bytes(), salt.as_slice(), &payload].concat())
}

/// Decrypts a file of up to 64 KiB.
///
/// # Errors
/// [`AgeError`].
pub fn decrypt(identity: &Identity, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let head = Head::parse(file).ok_or(AgeError::Format)?;
    let own = public(&identity.0)?;
    let open = |(share, wrapped): &([u8; 32], [u8; 32])| {
        let wrap = wrap_key(&identity.0, share, share, &own).ok()?;
        let mut wrapped = Zeroizing::new(*wrapped);
        let plain = unseal(&wrap, [0; 12], wrapped.as_mut_slice())?;
        Some(Zeroizing::new(<[u8; 16]>::try_from(plain).ok()?))
    };
    let file_key = head.stanzas.iter().find_map(open);
    let file_key = file_key.ok_or(AgeError::NotForUs)?;
    let key = header_key(&file_key)?;
    hmac::verify(&key, head.signed, &head.code).map_err(|_| AgeError::Altered)?;
    let (salt, payload) = head.rest.split_first_chunk().ok_or(AgeError::Format)?;
    if payload.len() > MOST + TAG {
        return Err(AgeError::Format);
    }
    let mut payload = Zeroizing::new(payload.to_vec());
    let key = payload_key(&file_key, salt)?;
    let plain = unseal(&key, LAST, &mut payload).ok_or(AgeError::Altered)?;
    Ok(Zeroizing::new(plain.to_vec()))
}

/// The nonce of a first chunk that is the last.
const LAST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A file's header.
struct Head<'a> {
    /// Share and wrapped key of each X25519 recipient.
    stanzas: Vec<([u8; 32], [u8; 32])>,
    /// What its code is over, and the code.
    signed: &'a [u8],
    code: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(file: &'a [u8]) -> Option<Self> {
        let mut at = 0;
        let mut line = || {
            let rest = file.get(at..)?;
            let end = rest.iter().take(MOST).position(|&b| b == b'\n')?;
            at += end + 1;
            Some((
                at - end - 1,
                at,
                std::str::from_utf8(rest.get(..end)?).ok()?,
            ))
        };
        let (.., version) = line()?;
        if version != VERSION {
            return None;
        }
        let mut stanzas = Vec::new();
        // Whose stanza the lines are of: a share for one of ours, nothing for another kind.
        let mut share: Option<[u8; 32]> = None;
        loop {
            let (from, next, text) = line()?;
            if let Some(code) = text.strip_prefix("--- ") {
                return Some(Self {
                    stanzas,
                    signed: file.get(..from + 3)?,
                    code: STANDARD_NO_PAD.decode(code).ok()?,
                    rest: file.get(next..)?,
                });
            }
            if text.starts_with("-> ") {
                let own = text.strip_prefix(STANZA);
                share = own.and_then(unbase64);
            } else if let Some(share) = share.take() {
                if stanzas.len() >= MAX_RECIPIENTS {
                    return None;
                }
                stanzas.push((share, unbase64(text)?));
            }
        }
    }
}

fn unbase64(text: &str) -> Option<[u8; 32]> {
    STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn random<const N: usize>(draw: Draw<'_>) -> Result<Zeroizing<[u8; N]>, AgeError> {
    let mut bytes = Zeroizing::new([0; N]);
    draw(bytes.as_mut_slice()).map_err(|_| AgeError::Random)?;
    Ok(bytes)
}

fn public(secret: &[u8; 32]) -> Result<[u8; 32], AgeError> {
    let key = PrivateKey::from_private_key(&X25519, secret).map_err(|_| AgeError::Key)?;
    let public = key.compute_public_key().map_err(|_| AgeError::Key)?;
    public.as_ref().try_into().map_err(|_| AgeError::Key)
}

/// The key that wraps a file's key: of what one side's secret and the other's public key agree on.
fn wrap_key(
    secret: &[u8; 32],
    other: &[u8; 32],
    share: &[u8; 32],
    recipient: &[u8; 32],
) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let key = PrivateKey::from_private_key(&X25519, secret).map_err(|_| AgeError::Key)?;
    let salt = [*share, *recipient].concat();
    let other = UnparsedPublicKey::new(&X25519, other);
    agree(&key, other, AgeError::Key, |shared| {
        derive(shared, &salt, LABEL)
    })
}

fn header_key(file_key: &[u8; 16]) -> Result<hmac::Key, AgeError> {
    let key = derive(file_key, &[], b"header")?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
}

fn payload_key(file_key: &[u8; 16], salt: &[u8; 16]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    derive(file_key, salt, b"payload")
}

/// How long what is derived shall be.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let mut key = Zeroizing::new([0; 32]);
    let info = [info];
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    let expanded = extracted.expand(&info, Bytes(32));
    let filled = expanded.and_then(|okm| okm.fill(key.as_mut_slice()));
    filled.map_err(|_| AgeError::Key)?;
    Ok(key)
}

fn chacha(key: &[u8; 32]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(
        UnboundKey::new(&CHACHA20_POLY1305, key).ok()?,
    ))
}

fn seal(key: &[u8; 32], nonce: [u8; 12], bytes: &mut Vec<u8>) -> Result<(), AgeError> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let key = chacha(key).ok_or(AgeError::Key)?;
    let sealed = key.seal_in_place_append_tag(nonce, Aad::empty(), bytes);
    sealed.map_err(|_| AgeError::Format)
}

fn unseal<'b>(key: &[u8; 32], nonce: [u8; 12], bytes: &'b mut [u8]) -> Option<&'b [u8]> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = chacha(key)?
        .open_in_place(nonce, Aad::empty(), bytes)
        .ok()?;
    Some(plain)
}

#[cfg(test)]
mod tests;
