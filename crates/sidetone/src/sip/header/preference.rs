//! What a peer would like best: values with a quality, and how urgent a call is (RFC 3261 §20.2, §20.3,
//! §20.26).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::value::Parameterized;
use crate::sip::lex;

/// One value of Accept-Language or Accept-Encoding: a language range or a content coding, and how much
/// it is liked.
///
/// ```
/// use sidetone::sip::header::preference::Preference;
/// let german = Preference::parse("de-AT;q=0.8")?;
/// assert_eq!((german.value(), german.quality()), ("de-AT", 800));
/// assert!(Preference::parse("en")?.takes("en-GB"));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    value: String,
    quality: u16,
}

impl Preference {
    /// Parses one value, a token with parameters.
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
        let token = value.raw_value();
        if !lex::is_token(token) {
            return Err(Problem::Syntax("value is no token"));
        }
        let quality = match value.param("q") {
            None => 1_000,
            Some(text) => thousandths(&text).ok_or(Problem::OutOfRange)?,
        };
        Ok(Self {
            value: String::from_utf8_lossy(token).into_owned(),
            quality,
        })
    }

    /// The language range or coding; `*` is any.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How much it is liked, from 0, not at all, to 1,000.
    pub fn quality(&self) -> u16 {
        self.quality
    }

    /// Whether this range takes in a language: the same, a part of it, or any (RFC 4647 §3.3.1).
    pub fn takes(&self, language: &str) -> bool {
        let range = self.value.as_str();
        let head = language.get(..range.len());
        range == "*"
            || head.is_some_and(|head| head.eq_ignore_ascii_case(range))
                && matches!(language.as_bytes().get(range.len()), None | Some(b'-'))
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)?;
        match self.quality {
            1_000 => Ok(()),
            quality => {
                let digits = format!("{quality:03}");
                write!(f, ";q=0.{}", digits.trim_end_matches('0'))?;
                f.write_str(if quality == 0 { "0" } else { "" })
            }
        }
    }
}

/// A quality value: 0 to 1 with three digits at most behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let part: u16 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

/// How urgent the caller says that the call is; it says nothing to the network (RFC 3261 §20.26).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// Life, limb or property is in danger.
    Emergency,
    /// `urgent`.
    Urgent,
    /// `normal`.
    Normal,
    /// `non-urgent`.
    NonUrgent,
    /// Another word.
    Other(String),
}

impl Priority {
    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where it is no token.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_value(text.as_bytes())
    }

    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        if !lex::is_token(raw) {
            return Err(Problem::Syntax("value is no token"));
        }
        let text = String::from_utf8_lossy(raw);
        let known = [Self::Emergency, Self::Urgent, Self::Normal, Self::NonUrgent];
        let mut known = known.into_iter();
        let found = known.find(|known| known.as_str().eq_ignore_ascii_case(&text));
        Ok(found.unwrap_or_else(|| Self::Other(text.into_owned())))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Emergency => "emergency",
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::NonUrgent => "non-urgent",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities_are_three_digits() {
        for (text, quality, printed) in [
            ("gzip", 1_000, "gzip"),
            ("da;q=1.000", 1_000, "da"),
            ("en-gb ; q=0.8", 800, "en-gb;q=0.8"),
            ("*;q=0", 0, "*;q=0.0"),
            ("x;q=0.005;y=1", 5, "x;q=0.005"),
        ] {
            let parsed = Preference::parse(text).unwrap();
            assert_eq!(
                (parsed.quality(), parsed.to_string()),
                (quality, printed.to_owned())
            );
            assert_eq!(Preference::parse(printed), Ok(parsed));
        }
        for bad in [
            "",
            ";q=1",
            "a b",
            "en;q=2",
            "en;q=1.1",
            "en;q=0.1234",
            "en;q=-1",
            "en;q=.5",
        ] {
            assert!(Preference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_take_in_what_begins_with_them() {
        let range = |text| Preference::parse(text).unwrap();
        assert!(range("*").takes("fr") && range("de").takes("DE") && range("de").takes("de-CH"));
        assert!(!range("de-CH").takes("de") && !range("de").takes("den") && !range("d").takes("é"));
    }

    #[test]
    fn priorities_are_words() {
        assert_eq!(Priority::parse("EMERGENCY"), Ok(Priority::Emergency));
        assert_eq!(
            Priority::parse("Non-Urgent").unwrap().to_string(),
            "non-urgent"
        );
        assert_eq!(Priority::parse("mine").unwrap().as_str(), "mine");
        assert!(Priority::parse("a b").is_err() && Priority::parse("").is_err());
    }
}
