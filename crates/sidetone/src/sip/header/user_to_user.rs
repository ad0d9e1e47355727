//! What one party's programs tell the other's: User-to-User (RFC 7433).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::value::Parameterized;
use crate::sip::lex;

/// The most bytes that one value holds. Gateways to the ISDN carry 128.
pub const MAX_DATA_BYTES: usize = 2 * 1024;

/// The package that a value without a purpose belongs to (RFC 7434).
const ISDN: &str = "isdn-uui";

/// One value of the User-to-User header field.
///
/// ```
/// use sidetone::sip::header::user_to_user::UserToUser;
/// let value = UserToUser::hex(b"VIP")?.with_purpose("x-desk")?;
/// assert_eq!(value.to_string(), "564950;encoding=hex;purpose=x-desk");
/// assert_eq!(UserToUser::parse("564950;encoding=hex")?.data(), b"VIP");
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserToUser {
    data: Vec<u8>,
    is_hex: bool,
    purpose: Option<String>,
    content: Option<String>,
}

impl UserToUser {
    /// Any bytes, written in hexadecimal: what every peer understands.
    ///
    /// # Errors
    /// [`Problem::TooLong`] beyond [`MAX_DATA_BYTES`].
    pub fn hex(data: &[u8]) -> Result<Self, Problem> {
        Self::bounded(data.to_vec(), true)
    }

    /// Text, written as a quoted string.
    ///
    /// # Errors
    /// [`Problem::TooLong`] beyond [`MAX_DATA_BYTES`], [`Problem::Syntax`] for control characters.
    pub fn text(text: &str) -> Result<Self, Problem> {
        if text.contains(char::is_control) {
            return Err(Problem::Syntax("control character"));
        }
        Self::bounded(text.as_bytes().to_vec(), false)
    }

    fn bounded(data: Vec<u8>, is_hex: bool) -> Result<Self, Problem> {
        if data.len() > MAX_DATA_BYTES {
            return Err(Problem::TooLong);
        }
        Ok(Self {
            data,
            is_hex,
            purpose: None,
            content: None,
        })
    }

    /// The same for a package (RFC 7433 §4.2).
    ///
    /// # Errors
    /// [`Problem::Syntax`] where the name is no token.
    pub fn with_purpose(mut self, purpose: &str) -> Result<Self, Problem> {
        self.purpose = Some(token(purpose)?);
        Ok(self)
    }

    /// The same with what kind of data it is.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where the name is no token.
    pub fn with_content(mut self, content: &str) -> Result<Self, Problem> {
        self.content = Some(token(content)?);
        Ok(self)
    }

    /// Parses one value.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_parameterized(&Parameterized::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::from_parameterized(&Parameterized::from_value(raw)?)
    }

    fn from_parameterized(value: &Parameterized) -> Result<Self, Problem> {
        let raw = value.raw_value();
        let quoted = raw.first() == Some(&b'"');
        if quoted && lex::quoted_end(raw, 0) != Some(raw.len()) {
            return Err(Problem::Syntax("text beyond the quotes"));
        }
        if !quoted && !lex::is_token(raw) {
            return Err(Problem::Syntax("neither token nor quoted string"));
        }
        let named = |name: &str| value.param(name).map(|text| token(&text)).transpose();
        let (purpose, content) = (named("purpose")?, named("content")?);
        let is_hex = match value.param("encoding") {
            Some(encoding) if encoding.eq_ignore_ascii_case("hex") => true,
            Some(_) => return Err(Problem::Syntax("unknown encoding")),
            // The ISDN's package knows no other encoding (RFC 7434 §6).
            None => {
                !quoted
                    && purpose
                        .as_deref()
                        .is_none_or(|p| p.eq_ignore_ascii_case(ISDN))
            }
        };
        let text = lex::unquote(raw);
        let data = match is_hex {
            true => unhex(text.as_bytes()).ok_or(Problem::Syntax("not hexadecimal"))?,
            false => text.into_owned().into_bytes(),
        };
        Ok(Self {
            purpose,
            content,
            ..Self::bounded(data, is_hex)?
        })
    }

    /// The data, decoded.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The package that it belongs to; `isdn-uui` where none is named.
    pub fn purpose(&self) -> &str {
        self.purpose.as_deref().unwrap_or(ISDN)
    }

    /// What kind of data it is, where that is said.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }
}

impl fmt::Display for UserToUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_hex {
            for byte in &self.data {
                write!(f, "{byte:02x}")?;
            }
            // A value may not be empty.
            f.write_str(if self.data.is_empty() { "\"\"" } else { "" })?;
            f.write_str(";encoding=hex")?;
        } else {
            let text = String::from_utf8_lossy(&self.data);
            let text = text.replace(char::is_control, " ");
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "\"{text}\"")?;
        }
        if let Some(purpose) = &self.purpose {
            write!(f, ";purpose={purpose}")?;
        }
        if let Some(content) = &self.content {
            write!(f, ";content={content}")?;
        }
        Ok(())
    }
}

fn token(text: &str) -> Result<String, Problem> {
    match lex::is_token(text.as_bytes()) {
        true => Ok(text.to_owned()),
        false => Err(Problem::Syntax("parameter is no token")),
    }
}

/// The bytes of an even number of hexadecimal digits.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_read_back() {
        for value in [
            UserToUser::hex(b"").unwrap(),
            UserToUser::hex(&[0, 13, 10, 255]).unwrap(),
            UserToUser::hex(&[7; MAX_DATA_BYTES]).unwrap(),
            UserToUser::text("a \"b\\, c;d").unwrap(),
            UserToUser::text("x").unwrap().with_content("y").unwrap(),
        ] {
            let value = value.with_purpose("x-p").unwrap();
            assert_eq!(UserToUser::parse(&value.to_string()).unwrap(), value);
        }
        let isdn = UserToUser::parse("04C81031").unwrap();
        assert_eq!(
            (isdn.data(), isdn.purpose()),
            (&[4, 0xc8, 0x10, 0x31][..], ISDN)
        );
    }

    #[test]
    fn what_is_broken_or_too_long_is_refused() {
        let long = "00".repeat(MAX_DATA_BYTES + 1);
        for bad in [
            "",
            ";encoding=hex",
            "0;encoding=hex",
            "xy",
            "\"a\"b",
            "a;encoding=zip",
            "00;purpose=\"a b\"",
            &long,
        ] {
            assert!(UserToUser::parse(bad).is_err(), "{bad:?}");
        }
        assert!(UserToUser::text("a\r\nX: y").is_err());
        assert!(UserToUser::hex(b"a").unwrap().with_purpose("a;b").is_err());
        assert_eq!(
            UserToUser::hex(&[0; MAX_DATA_BYTES + 1]),
            Err(Problem::TooLong)
        );
    }
}
