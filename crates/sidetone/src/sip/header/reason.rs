//! Why a request or response was sent: Reason (RFC 3326, RFC 6432).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::value::Parameterized;
use crate::sip::lex;

/// Characters of a reason's text that are kept.
const MAX_TEXT: usize = 128;

/// One value of the Reason header field.
///
/// ```
/// use sidetone::sip::header::reason::Reason;
/// let elsewhere = Reason::completed_elsewhere();
/// assert_eq!(elsewhere.to_string(), "SIP;cause=200;text=\"Call completed elsewhere\"");
/// assert!(Reason::parse("SIP ;cause=200")?.is_completed_elsewhere());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    protocol: String,
    cause: Option<u16>,
    text: Option<String>,
}

impl Reason {
    /// A SIP status as the reason. Control characters are taken out of the text, and what is beyond
    /// 128 characters.
    pub fn sip(status: u16, text: &str) -> Self {
        Self::of("SIP", status, text)
    }

    /// A cause value of ITU-T Q.850 as the reason; the text as for [`Reason::sip`].
    pub fn q850(cause: u8, text: &str) -> Self {
        Self::of("Q.850", cause.into(), text)
    }

    /// Somebody else has answered: phones that rang do not show a missed call.
    pub fn completed_elsewhere() -> Self {
        Self::sip(200, "Call completed elsewhere")
    }

    fn of(protocol: &str, cause: u16, text: &str) -> Self {
        let text = clean(text);
        Self {
            protocol: protocol.to_owned(),
            cause: Some(cause),
            text: (!text.is_empty()).then_some(text),
        }
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
        let protocol = value.value();
        if !lex::is_token(protocol.as_bytes()) {
            return Err(Problem::Syntax("protocol is no token"));
        }
        let cause = match value.params().named("cause").and_then(|param| param.value) {
            Some(digits) => {
                Some(lex::number(digits, u16::MAX.into()).ok_or(Problem::OutOfRange)? as u16)
            }
            None => None,
        };
        Ok(Self {
            protocol: protocol.into_owned(),
            cause,
            text: value.param("text").map(|text| clean(&text)),
        })
    }

    /// `SIP`, `Q.850` or another protocol.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The cause in that protocol's numbers.
    pub fn cause(&self) -> Option<u16> {
        self.cause
    }

    /// The cause in words.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Whether this says that somebody else has answered.
    pub fn is_completed_elsewhere(&self) -> bool {
        self.is_of("SIP") && self.cause == Some(200)
    }

    /// Whether this is a reason in the numbers of `protocol`.
    pub fn is_of(&self, protocol: &str) -> bool {
        self.protocol.eq_ignore_ascii_case(protocol)
    }
}

/// `text` without control characters, cut where it is too long.
fn clean(text: &str) -> String {
    let text = text.chars().filter(|c| !c.is_control());
    text.take(MAX_TEXT).collect()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, ";text=\"{text}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_reads_back() {
        let parsed = Reason::parse("Q.850 ;cause=16 ;text=\"Terminated\"").unwrap();
        assert_eq!(parsed.to_string(), "Q.850;cause=16;text=\"Terminated\"");
        assert_eq!(parsed, Reason::q850(16, "Terminated"));
        let strange = Reason::sip(486, "a \"b\\\r\nX: y;,");
        assert_eq!(strange.text(), Some("a \"b\\X: y;,"));
        assert_eq!(Reason::parse(&strange.to_string()).unwrap(), strange);
        assert_eq!(
            Reason::sip(200, &"x".repeat(999)).text().unwrap().len(),
            128
        );
        for bad in [
            "",
            "a b",
            "Q.850;cause=70000",
            "Q.850;cause=x",
            ";cause=1",
            "SIP;cause=1\r\nX: y",
        ] {
            assert!(Reason::parse(bad).is_err(), "{bad:?}");
        }
    }
}
