//! The digest itself: algorithms, secrets and the response to a challenge (RFC 7616 §3.4).

use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A digest algorithm, the weakest first (RFC 8760 §2.2). Its session variants (`-sess`) are not
/// used by SIP servers and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5: broken as a hash, still what most telephones speak.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl Algorithm {
    /// The algorithm of a token, case ignored; no token means MD5 (RFC 7616 §3.3).
    ///
    /// ```
    /// use sidetone::sip::auth::digest::Algorithm;
    /// assert_eq!(Algorithm::from_token(None), Some(Algorithm::Md5));
    /// assert_eq!(Algorithm::from_token(Some("sha-256")), Some(Algorithm::Sha256));
    /// assert_eq!(Algorithm::from_token(Some("MD5-sess")), None);
    /// ```
    pub fn from_token(token: Option<&str>) -> Option<Self> {
        let Some(token) = token else {
            return Some(Self::Md5);
        };
        let all = [Self::Md5, Self::Sha256, Self::Sha512_256];
        all.into_iter()
            .find(|algorithm| algorithm.token().eq_ignore_ascii_case(token))
    }

    /// Its token in a header field.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The hash of all `parts` with a colon between them, in hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> Zeroizing<String> {
        match self {
            Self::Md5 => joined::<Md5>(parts),
            Self::Sha256 => joined::<Sha256>(parts),
            Self::Sha512_256 => joined::<Sha512_256>(parts),
        }
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> Zeroizing<String> {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    Zeroizing::new(hex(&hash.finalize()))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// What a user and the server share. Its memory is wiped when it is dropped, and its `Debug` form
/// shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself; serves every algorithm.
    Password(Zeroizing<String>),
    /// The hash of `username:realm:password` in hexadecimal (RFC 7616 §3.4.2), which serves one
    /// algorithm; whoever has it can sign in as well as with the password.
    Hashed {
        /// The algorithm that it serves.
        algorithm: Algorithm,
        /// The hash.
        ha1: Zeroizing<String>,
    },
}

impl Secret {
    /// A password.
    pub fn password(password: impl Into<String>) -> Self {
        Self::Password(Zeroizing::new(password.into()))
    }

    /// A stored hash of `username:realm:password`, in hexadecimal.
    pub fn hashed(algorithm: Algorithm, ha1: impl Into<String>) -> Self {
        let mut ha1 = ha1.into();
        ha1.make_ascii_lowercase();
        Self::Hashed {
            algorithm,
            ha1: Zeroizing::new(ha1),
        }
    }

    /// Whether it serves this algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Password(_) => true,
            Self::Hashed { algorithm: own, .. } => *own == algorithm,
        }
    }

    fn ha1(&self, algorithm: Algorithm, user: &str, realm: &str) -> Option<Zeroizing<String>> {
        match self {
            Self::Password(password) => {
                let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
                Some(algorithm.hash(&parts))
            }
            Self::Hashed { ha1, .. } => self.serves(algorithm).then(|| ha1.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Secret::Password(..)",
            Self::Hashed { .. } => "Secret::Hashed(..)",
        })
    }
}

/// Everything that a response is computed over, but the secret.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The user.
    pub username: &'a str,
    /// The realm.
    pub realm: &'a str,
    /// The server's nonce.
    pub nonce: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// The URI as the credentials give it.
    pub uri: &'a str,
    /// The quality of protection, where there is one.
    pub protection: Option<Protecting<'a>>,
}

/// The part of a response that goes with a quality of protection (RFC 7616 §3.4.1).
#[derive(Debug, Clone, Copy)]
pub struct Protecting<'a> {
    /// The client's nonce.
    pub cnonce: &'a str,
    /// The nonce count.
    pub count: u32,
    /// The body, with `auth-int`; `None` with `auth`.
    pub body: Option<&'a [u8]>,
}

impl Inputs<'_> {
    /// The response to a challenge in hexadecimal; `None` where the secret does not serve the
    /// algorithm.
    ///
    /// ```
    /// use sidetone::sip::auth::digest::{Algorithm, Inputs, Protecting, Secret};
    /// // The example of RFC 7616 §3.9.1.
    /// let inputs = Inputs {
    ///     algorithm: Algorithm::Sha256,
    ///     username: "Mufasa",
    ///     realm: "http-auth@example.org",
    ///     nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    ///     method: "GET",
    ///     uri: "/dir/index.html",
    ///     protection: Some(Protecting {
    ///         cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    ///         count: 1,
    ///         body: None,
    ///     }),
    /// };
    /// assert_eq!(
    ///     inputs.response(&Secret::password("Circle of Life")).as_deref(),
    ///     Some("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    /// );
    /// ```
    pub fn response(&self, secret: &Secret) -> Option<String> {
        let ha1 = secret.ha1(self.algorithm, self.username, self.realm)?;
        Some(self.response_with(&ha1))
    }

    /// Whether `response` is the one that `secret` makes, found in a time that tells nothing.
    pub fn verify(&self, secret: &Secret, response: &str) -> bool {
        let Some(expected) = self.response(secret) else {
            return false;
        };
        let given = response.to_ascii_lowercase();
        bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
    }

    fn response_with(&self, ha1: &str) -> String {
        let (method, uri) = (self.method.as_bytes(), self.uri.as_bytes());
        let nonce = self.nonce.as_bytes();
        let Some(protection) = &self.protection else {
            let ha2 = self.algorithm.hash(&[method, uri]);
            let parts = [ha1.as_bytes(), nonce, ha2.as_bytes()];
            return self.algorithm.hash(&parts).to_string();
        };
        let (qop, ha2) = match protection.body {
            None => ("auth", self.algorithm.hash(&[method, uri])),
            Some(body) => {
                let body = self.algorithm.hash(&[body]);
                let parts = [method, uri, body.as_bytes()];
                ("auth-int", self.algorithm.hash(&parts))
            }
        };
        let count = format!("{:08x}", protection.count);
        let parts = [
            ha1.as_bytes(),
            nonce,
            count.as_bytes(),
            protection.cnonce.as_bytes(),
            qop.as_bytes(),
            ha2.as_bytes(),
        ];
        self.algorithm.hash(&parts).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(algorithm: Algorithm) -> Inputs<'static> {
        Inputs {
            algorithm,
            username: "Mufasa",
            realm: "http-auth@example.org",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            method: "GET",
            uri: "/dir/index.html",
            protection: Some(Protecting {
                cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                count: 1,
                body: None,
            }),
        }
    }

    #[test]
    fn rfc_7616_example_with_md5() {
        let secret = Secret::password("Circle of Life");
        let response = inputs(Algorithm::Md5).response(&secret);
        assert_eq!(
            response.as_deref(),
            Some("8ca523f5e9506fed4657c9700eebdbec")
        );
    }

    #[test]
    fn rfc_2617_example() {
        let inputs = Inputs {
            algorithm: Algorithm::Md5,
            username: "Mufasa",
            realm: "testrealm@host.com",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            method: "GET",
            uri: "/dir/index.html",
            protection: Some(Protecting {
                cnonce: "0a4f113b",
                count: 1,
                body: None,
            }),
        };
        let secret = Secret::hashed(Algorithm::Md5, "939E7578ED9E3C518A452ACEE763BCE9");
        let response = inputs.response(&secret).unwrap();
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
        assert!(inputs.verify(&Secret::password("Circle Of Life"), &response));
        assert!(!inputs.verify(&Secret::password("Circle of Life"), &response));
        assert!(!inputs.verify(&secret, &response[1..]));
    }

    #[test]
    fn every_input_changes_the_response() {
        let secret = Secret::password("p");
        let base = inputs(Algorithm::Sha512_256);
        let response = base.response(&secret);
        let body = Protecting {
            body: Some(b"x"),
            ..base.protection.unwrap()
        };
        let other_body = Protecting {
            body: Some(b"y"),
            ..body
        };
        let count = Protecting {
            count: 2,
            ..base.protection.unwrap()
        };
        let mut all = vec![response];
        for protection in [None, Some(body), Some(other_body), Some(count)] {
            all.push(Inputs { protection, ..base }.response(&secret));
        }
        all.push(
            Inputs {
                method: "PUT",
                ..base
            }
            .response(&secret),
        );
        all.push(Inputs { uri: "/", ..base }.response(&secret));
        all.push(Inputs { nonce: "", ..base }.response(&secret));
        all.push(inputs(Algorithm::Sha256).response(&secret));
        for (index, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(index));
        }
    }

    #[test]
    fn a_hash_serves_its_algorithm_only_and_shows_nothing() {
        let secret = Secret::hashed(Algorithm::Sha256, "abcd");
        assert_eq!(inputs(Algorithm::Md5).response(&secret), None);
        assert!(!format!("{secret:?}").contains("abcd"));
        assert!(!format!("{:?}", Secret::password("hush")).contains("hush"));
    }
}
