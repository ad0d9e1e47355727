//! What of early media the network lets through: P-Early-Media (RFC 5009).

use std::fmt;

use crate::sip::header::Problem;
use crate::sip::lex;

/// Which way early media may flow, seen from who says so (RFC 5009 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Both ways.
    SendRecv,
    /// From who says so to the other.
    SendOnly,
    /// From the other to who says so.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Flow {
    /// The value as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether who says so may be heard.
    pub fn lets_send(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }
}

/// The P-Early-Media header field.
///
/// ```
/// use sidetone::sip::header::early_media::{EarlyMedia, Flow};
/// let parsed = EarlyMedia::parse("SendOnly, gated")?;
/// assert_eq!(parsed.flow, Some(Flow::SendOnly));
/// assert_eq!(parsed.to_string(), "sendonly, gated");
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EarlyMedia {
    /// Which way early media may flow; the last one where several stand there.
    pub flow: Option<Flow>,
    /// Whether a gate of the network opens and closes it.
    pub gated: bool,
    /// In an INVITE: that the caller understands this header field.
    pub supported: bool,
}

/// The most values that are looked at.
const MAX_VALUES: usize = 16;

impl EarlyMedia {
    /// That the caller understands this header field.
    pub const SUPPORTED: Self = Self {
        flow: None,
        gated: false,
        supported: true,
    };

    /// That early media may flow so.
    pub fn flowing(flow: Flow) -> Self {
        Self {
            flow: Some(flow),
            ..Self::default()
        }
    }

    /// Parses `em-param *( "," em-param )`; values that are not known are left out.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where a value is no token.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_value(text.as_bytes())
    }

    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        let mut found = Self::default();
        for value in raw.split(|&b| b == b',').take(MAX_VALUES) {
            let value = lex::trim(value);
            if !lex::is_token(value) {
                return Err(Problem::Syntax("value is no token"));
            }
            let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
            let flows = [
                Flow::SendRecv,
                Flow::SendOnly,
                Flow::RecvOnly,
                Flow::Inactive,
            ];
            let flow = flows.into_iter().find(|flow| is(flow.as_str()));
            found.flow = flow.or(found.flow);
            found.gated |= is("gated");
            found.supported |= is("supported");
        }
        Ok(found)
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for EarlyMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = [
            self.flow.map(Flow::as_str),
            self.gated.then_some("gated"),
            self.supported.then_some("supported"),
        ];
        let values: Vec<&str> = values.into_iter().flatten().collect();
        f.write_str(&values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_and_unknown_ones_are_left_out() {
        let parsed = EarlyMedia::parse("supported , x-ours,inactive,gated").unwrap();
        assert_eq!(parsed.to_string(), "inactive, gated, supported");
        assert_eq!(EarlyMedia::parse(&parsed.to_string()).unwrap(), parsed);
        assert!(EarlyMedia::parse("x").unwrap().is_empty());
        for bad in ["", ",", "a b", "sendrecv\r\nX: y"] {
            assert!(EarlyMedia::parse(bad).is_err(), "{bad:?}");
        }
    }
}
