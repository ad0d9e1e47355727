//! Signed references to call data that is too much for a message: who made them is proven, and they
//! expire.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::sip::header::user_to_user::unhex;
use crate::sip::lex;
use crate::time::{Duration, WallTime};

/// The scheme of the URIs.
pub(crate) const SCHEME: &str = "call-data:";

/// The longest name of data in a store, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The least bytes of a key.
const MIN_KEY_BYTES: usize = 16;

/// The store's answer to [`DataStore::put`]: under which name the data is found.
pub type Stored<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// The store's answer to [`DataStore::get`]: the data.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>>;

/// Where call data waits for those who get a reference to it: a database, a cache that nodes share.
///
/// It is asked only for names out of references that were signed with the engine's key and have not
/// expired.
pub trait DataStore: Send + Sync + fmt::Debug {
    /// Keeps `data` until `expires`, and names it: 1 to 128 letters, digits, `-`, `_` or `.`. `None`
    /// where it cannot.
    fn put(&self, data: Vec<u8>, expires: WallTime) -> Stored<'_>;

    /// What is kept under `id`; `None` where there is nothing.
    fn get<'a>(&'a self, id: &'a str) -> Fetched<'a>;
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The key is shorter than 16 bytes.
    #[error("the key for references is shorter than 16 bytes")]
    Key,
    /// The name is no name.
    #[error("the name of stored data is 1 to 128 letters, digits, -, _ or .")]
    Id,
    /// It is not of the form of a reference.
    #[error("not a reference to call data")]
    Broken,
    /// Nobody who has the key has signed it.
    #[error("the reference is not signed by us")]
    Signature,
    /// It is too old.
    #[error("the reference has expired")]
    Expired,
}

/// The key by which engines know each other's references; wiped when dropped, and never shown.
#[derive(Clone)]
pub struct ReferenceKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for ReferenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceKey").finish_non_exhaustive()
    }
}

impl ReferenceKey {
    /// A key of at least 16 bytes that nobody can guess; all nodes that understand each other's
    /// references have the same.
    ///
    /// # Errors
    /// [`ReferenceError::Key`] where it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, ReferenceError> {
        match secret.len() >= MIN_KEY_BYTES {
            true => Ok(Self(Zeroizing::new(secret.to_vec()))),
            false => Err(ReferenceError::Key),
        }
    }

    /// The reference to what is stored as `id`, good until `expires`:
    /// `call-data:ID;expires=SECONDS;mac=HEX`, signed by HMAC-SHA-256.
    ///
    /// ```
    /// use sidetone::call::data::reference::{ReferenceError, ReferenceKey};
    /// use sidetone::time::{Duration, WallTime};
    /// let key = ReferenceKey::new(b"0123456789abcdef")?;
    /// let now = WallTime::from_unix_nanos(0);
    /// let uri = key.sign("case-4711", now + Duration::from_secs(60))?;
    /// assert_eq!(key.verify(&uri, now)?, "case-4711");
    /// let late = now + Duration::from_secs(61);
    /// assert_eq!(key.verify(&uri, late), Err(ReferenceError::Expired));
    /// # Ok::<(), ReferenceError>(())
    /// ```
    ///
    /// # Errors
    /// [`ReferenceError::Id`] where the name is none.
    pub fn sign(&self, id: &str, expires: WallTime) -> Result<String, ReferenceError> {
        if !is_id(id) {
            return Err(ReferenceError::Id);
        }
        let signed = format!("{id};expires={}", seconds(expires));
        let code = self.mac(&signed).finalize().into_bytes();
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{SCHEME}{signed};mac={code}"))
    }

    /// The name in a reference that was signed with this key and is good at `now`.
    ///
    /// # Errors
    /// [`ReferenceError`] says what is wrong with it.
    pub fn verify<'a>(&self, uri: &'a str, now: WallTime) -> Result<&'a str, ReferenceError> {
        let broken = ReferenceError::Broken;
        let rest = uri.strip_prefix(SCHEME).ok_or(broken)?;
        let (signed, code) = rest.rsplit_once(";mac=").ok_or(broken)?;
        let (id, expires) = signed.split_once(";expires=").ok_or(broken)?;
        let expires = lex::number(expires.as_bytes(), u64::MAX).ok_or(broken)?;
        let code = unhex(code.as_bytes()).ok_or(broken)?;
        if !is_id(id) {
            return Err(ReferenceError::Id);
        }
        // Compared in constant time.
        self.mac(signed)
            .verify_slice(&code)
            .map_err(|_| ReferenceError::Signature)?;
        match seconds(now) <= expires {
            true => Ok(id),
            false => Err(ReferenceError::Expired),
        }
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        // A key of any length will do.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        let mut mac = mac.unwrap_or_else(|_| Hmac::new(&Default::default()));
        mac.update(signed.as_bytes());
        mac
    }
}

/// How data travels by reference: the store, the key, and for how long references are good.
#[derive(Debug, Clone)]
pub struct References {
    /// Where the data waits.
    pub store: std::sync::Arc<dyn DataStore>,
    /// What references are signed with.
    pub key: ReferenceKey,
    /// How long a reference is good: as long as it may take until the call is transferred. Default by
    /// [`References::new`] one hour.
    pub lifetime: Duration,
}

impl References {
    /// References of one hour into `store`.
    pub fn new(store: std::sync::Arc<dyn DataStore>, key: ReferenceKey) -> Self {
        Self {
            store,
            key,
            lifetime: Duration::from_secs(3_600),
        }
    }
}

fn seconds(time: WallTime) -> u64 {
    time.as_unix_nanos() / 1_000_000_000
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_with_the_key_counts() {
        let key = ReferenceKey::new(&[7; 16]).unwrap();
        let now = WallTime::from_unix_nanos(5_000_000_000);
        let uri = key.sign("a-1", now).unwrap();
        assert!(crate::sip::uri::Uri::parse(&uri).is_ok(), "{uri}");
        assert_eq!(key.verify(&uri, now), Ok("a-1"));
        let other = ReferenceKey::new(&[8; 16]).unwrap();
        assert_eq!(other.verify(&uri, now), Err(ReferenceError::Signature));
        for (from, to) in [
            ("a-1", "a-2"),
            ("expires=5", "expires=6"),
            ("expires=5", "expires=05"),
        ] {
            let forged = uri.replace(from, to);
            assert_eq!(key.verify(&forged, now), Err(ReferenceError::Signature));
        }
        for broken in [
            "",
            "call-data:",
            "call-data:a",
            "http:a;expires=1;mac=00",
            &uri[..uri.len() - 1],
        ] {
            assert_eq!(
                key.verify(broken, now),
                Err(ReferenceError::Broken),
                "{broken}"
            );
        }
        assert_eq!(key.sign("a;b", now), Err(ReferenceError::Id));
        assert!(ReferenceKey::new(&[7; 15]).is_err());
        assert!(!format!("{key:?}").contains('7'));
    }
}
