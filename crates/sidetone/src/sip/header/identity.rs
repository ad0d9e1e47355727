//! Who a caller is by a signature: Identity (RFC 8224 §4). It is read and passed on; nothing here fetches
//! the certificate or checks the signature.

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::lex::{self, MAX_VALUE_BYTES};
use crate::sip::uri::Uri;

/// One value of Identity.
///
/// ```
/// use sidetone::sip::header::identity::SignedIdentity;
/// let identity = SignedIdentity::parse("eyJhbGc.eyJvcmln.rq3pj==;info=<https://biloxi.example/cert>;ppt=shaken")?;
/// assert_eq!(identity.info.as_str(), "https://biloxi.example/cert");
/// assert_eq!(identity.ppt.as_deref(), Some("shaken"));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIdentity {
    /// The signature, with its header and payload unless they are left out.
    pub digest: String,
    /// Where the certificate is; anybody can name any place.
    pub info: Uri,
    /// The algorithm; `None` means ES256.
    pub algorithm: Option<String>,
    /// The extension of PASSporT, such as `shaken`.
    pub ppt: Option<String>,
}

impl SignedIdentity {
    /// Parses one value.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains(char::is_control) {
            return Err(Problem::Syntax("control character"));
        }
        Self::from_value(Bytes::copy_from_slice(text.as_bytes()))
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        const SYNTAX: Problem = Problem::Syntax("no signature with parameters");
        if raw.len() > MAX_VALUE_BYTES {
            return Err(Problem::TooLong);
        }
        let text = std::str::from_utf8(&raw).map_err(|_| SYNTAX)?;
        let (digest, mut rest) = text.split_once(';').ok_or(SYNTAX)?;
        let digest = digest.trim();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./+=".contains(&b);
        if digest.is_empty() || !digest.bytes().all(plain) {
            return Err(SYNTAX);
        }
        let (mut info, mut algorithm, mut ppt) = (None, None, None);
        loop {
            let (name, value) = rest.split_once('=').ok_or(SYNTAX)?;
            let (name, value) = (name.trim(), value.trim_start());
            let end = match value.strip_prefix('<') {
                Some(inside) => inside.find('>').ok_or(SYNTAX)? + 2,
                None => lex::find_outside(value.as_bytes(), 0, b';'),
            };
            let (value, after) = value.split_at(end);
            match name.to_ascii_lowercase().as_str() {
                "info" if info.is_none() => {
                    let inside = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
                    info = Some(Uri::parse(inside.ok_or(SYNTAX)?)?);
                }
                "alg" if algorithm.is_none() => algorithm = Some(token(value)?),
                "ppt" if ppt.is_none() => ppt = Some(token(value)?),
                "info" | "alg" | "ppt" => return Err(Problem::Repeated),
                name if lex::is_token(name.as_bytes()) => {}
                _ => return Err(SYNTAX),
            }
            match after.trim() {
                "" => break,
                after => rest = after.strip_prefix(';').ok_or(SYNTAX)?,
            }
        }
        Ok(Self {
            digest: digest.to_owned(),
            info: info.ok_or(Problem::Syntax("no info"))?,
            algorithm,
            ppt,
        })
    }
}

fn token(value: &str) -> Result<String, Problem> {
    let value = lex::unquote(value.trim().as_bytes());
    match lex::is_token(value.as_bytes()) {
        true => Ok(value.into_owned()),
        false => Err(Problem::Syntax("parameter is no token")),
    }
}

impl fmt::Display for SignedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};info=<{}>", self.digest, self.info)?;
        if let Some(algorithm) = &self.algorithm {
            write!(f, ";alg={algorithm}")?;
        }
        match &self.ppt {
            Some(ppt) => write!(f, ";ppt={ppt}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back_and_broken_ones_are_refused() {
        let text = "..sig-_==;info=<https://a.example/c;x=1>;alg=ES256;ppt=shaken";
        let parsed = SignedIdentity::parse(text).unwrap();
        assert_eq!(parsed.to_string(), text);
        let spaced = "..sig-_== ; info = <https://a.example/c;x=1> ;x=y; ppt=\"shaken\";alg=ES256";
        assert_eq!(SignedIdentity::parse(spaced), Ok(parsed));
        for bad in [
            "",
            "a",
            "a;",
            ";info=<https://a>",
            "a b;info=<https://a>",
            "a;info=https://a",
            "a;info=<https://a",
            "a;info=<https://a>x",
            "a;info=<https://a>;info=<https://b>",
            "a;alg=ES256",
            "a;info=<https://a>;alg=a b",
            "a;info=<https://a>\r\nX: y",
        ] {
            assert!(SignedIdentity::parse(bad).is_err(), "{bad:?}");
        }
    }
}
