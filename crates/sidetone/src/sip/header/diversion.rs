//! From whom a call was diverted, and why: Diversion (RFC 5806).

use std::fmt;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::header::address::NameAddr;
use crate::sip::lex;
use crate::sip::uri::Uri;

/// Why a call was diverted (RFC 5806 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DivertedFor {
    /// Nothing is said, or a reason that is not known here.
    Unknown,
    /// The party was busy.
    UserBusy,
    /// The party did not answer.
    NoAnswer,
    /// The party is not reached at all now.
    Unavailable,
    /// All calls are diverted.
    Unconditional,
    /// So the time of day wants it.
    TimeOfDay,
    /// The party does not want to be disturbed.
    DoNotDisturb,
    /// The party sent this call elsewhere while it rang.
    Deflection,
    /// The party is somewhere else.
    FollowMe,
    /// The party's device is out of service.
    OutOfService,
    /// The party is away.
    Away,
}

const REASONS: [(&str, DivertedFor); 11] = [
    ("unknown", DivertedFor::Unknown),
    ("user-busy", DivertedFor::UserBusy),
    ("no-answer", DivertedFor::NoAnswer),
    ("unavailable", DivertedFor::Unavailable),
    ("unconditional", DivertedFor::Unconditional),
    ("time-of-day", DivertedFor::TimeOfDay),
    ("do-not-disturb", DivertedFor::DoNotDisturb),
    ("deflection", DivertedFor::Deflection),
    ("follow-me", DivertedFor::FollowMe),
    ("out-of-service", DivertedFor::OutOfService),
    ("away", DivertedFor::Away),
];

impl DivertedFor {
    /// The parameter's value.
    pub fn as_str(self) -> &'static str {
        let found = REASONS.iter().find(|(_, reason)| *reason == self);
        found.map_or("unknown", |(name, _)| name)
    }

    fn parse(text: &str) -> Self {
        let found = REASONS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map_or(Self::Unknown, |(_, reason)| *reason)
    }

    /// What a final SIP status says of the reason (RFC 6044 §6).
    pub fn of_status(status: u16) -> Self {
        match status {
            486 | 600 => Self::UserBusy,
            408 | 480 => Self::NoAnswer,
            301 | 302 => Self::Unconditional,
            404 | 503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// One value of the Diversion header field: a party that the call was diverted from. The latest
/// diversion stands first.
///
/// ```
/// use sidetone::sip::header::diversion::{DivertedFor, Diversion};
/// let from = "sip:6001@pbx.example".parse()?;
/// let diversion = Diversion::new(&from, DivertedFor::UserBusy)?;
/// assert_eq!(diversion.to_string(), "<sip:6001@pbx.example>;reason=user-busy;counter=1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion(NameAddr);

impl Diversion {
    /// One diversion from `uri` for `reason`.
    ///
    /// # Errors
    /// [`Problem::TooLong`] where the value would be longer than 8 KiB.
    pub fn new(uri: &Uri, reason: DivertedFor) -> Result<Self, Problem> {
        let address = NameAddr::new(&uri.without_headers())
            .with_param("reason", Some(reason.as_str()))?
            .with_param("counter", Some("1"))?;
        Ok(Self(address))
    }

    /// Parses one value.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::checked(NameAddr::parse(text)?)
    }

    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        Self::checked(NameAddr::from_value(raw)?)
    }

    fn checked(address: NameAddr) -> Result<Self, Problem> {
        for name in ["counter", "limit"] {
            let value = address.params().named(name).and_then(|param| param.value);
            if value.is_some_and(|digits| lex::number(digits, 999).is_none()) {
                return Err(Problem::OutOfRange);
            }
        }
        Ok(Self(address.detach()))
    }

    /// The party that the call was diverted from.
    pub fn address(&self) -> &NameAddr {
        &self.0
    }

    /// Why.
    pub fn reason(&self) -> DivertedFor {
        let reason = self.0.param("reason");
        reason.map_or(DivertedFor::Unknown, |text| DivertedFor::parse(&text))
    }

    /// How many diversions this one stands for; 1 where nothing is said.
    pub fn counter(&self) -> u16 {
        self.number("counter").unwrap_or(1)
    }

    /// How many diversions the call may undergo, where that is said.
    pub fn limit(&self) -> Option<u16> {
        self.number("limit")
    }

    /// Whether the party wants its name or its address kept from others.
    pub fn is_private(&self) -> bool {
        let privacy = self.0.param("privacy");
        privacy.is_some_and(|value| !value.eq_ignore_ascii_case("off"))
    }

    /// The same, to be kept from others.
    ///
    /// # Errors
    /// As [`Diversion::new`].
    pub fn private(&self) -> Result<Self, Problem> {
        Ok(Self(self.0.with_param("privacy", Some("full"))?))
    }

    fn number(&self, name: &str) -> Option<u16> {
        let value = self.0.params().named(name)?.value?;
        lex::number(value, 999).map(|number| number as u16)
    }
}

impl fmt::Display for Diversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_bounded() {
        let parsed =
            Diversion::parse("Bob <sip:b@h>;reason=No-Answer;counter=3;limit=5;privacy=full;x=1")
                .unwrap();
        assert_eq!(parsed.reason(), DivertedFor::NoAnswer);
        assert_eq!((parsed.counter(), parsed.limit()), (3, Some(5)));
        assert!(parsed.is_private());
        let plain = Diversion::parse("<tel:+123>;reason=\"strange\";privacy=off").unwrap();
        assert_eq!(plain.reason(), DivertedFor::Unknown);
        assert_eq!((plain.counter(), plain.is_private()), (1, false));
        assert!(plain.private().unwrap().is_private());
        for bad in [
            "",
            "x",
            "<sip:b@h>;counter=x",
            "<sip:b@h>;counter=1000",
            "<sip:b@h>;limit=-1",
            "<sip:b@h>\r\nX: y",
        ] {
            assert!(Diversion::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_reason_reads_back() {
        let uri = "sip:a@b?Subject=x".parse().unwrap();
        for (name, reason) in REASONS {
            let made = Diversion::new(&uri, reason).unwrap();
            assert_eq!(Diversion::parse(&made.to_string()).unwrap(), made);
            assert_eq!((made.reason(), reason.as_str()), (reason, name));
        }
    }
}
