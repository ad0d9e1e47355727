//! Which header fields are carried from one call to the other, and under which names and values.

use thiserror::Error;

use crate::sip::header::Name;
use crate::sip::message::Message;

/// Header fields carried from one message at most.
const MAX_ROWS: usize = 64;

/// What they may come to, in bytes.
const MAX_BYTES: usize = 32 * 1024;

/// Rules that one table may hold.
const MAX_RULES: usize = 256;

/// End to end by their meaning, and harmless to carry: they say nothing of the way that the message
/// took.
const END_TO_END: [&str; 16] = [
    "Accept-Language",
    "Alert-Info",
    "Answer-Mode",
    "Call-Info",
    "Error-Info",
    "Geolocation",
    "Organization",
    "P-Early-Media",
    "Priority",
    "Privacy",
    "Request-Disposition",
    "Resource-Priority",
    "Retry-After",
    "Subject",
    "User-to-User",
    "Warning",
];

/// Who calls, as somebody in between vouches for it: only worth anything, and only to be told, among
/// those who trust each other (RFC 3325 §5, RFC 5806, RFC 7044).
const VOUCHED: [&str; 6] = [
    "Diversion",
    "History-Info",
    "Identity",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Reply-To",
];

/// What belongs to one call or one hop alone. Such fields are never carried: each side has its own.
const HOP_BY_HOP: [&str; 52] = [
    "Accept",
    "Accept-Encoding",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Event",
    "Expires",
    "Flow-Timer",
    "From",
    "Info-Package",
    "In-Reply-To",
    "Join",
    "Max-Forwards",
    "MIME-Version",
    "Min-Expires",
    "Min-SE",
    "P-Access-Network-Info",
    "P-Charging-Vector",
    "Path",
    "Proxy-Authenticate",
    "Proxy-Authentication-Info",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "Reason",
    "Record-Route",
    "Recv-Info",
    "Refer-Sub",
    "Refer-To",
    "Referred-By",
    "Replaces",
    "Require",
    "Route",
    "RSeq",
    "Security-Client",
    "Security-Server",
    "Security-Verify",
    "Service-Route",
    "Session-Expires",
    "Subscription-State",
    "Supported",
    "Target-Dialog",
    "Via",
];

/// The rest of what is never carried.
const NEVER: [&str; 9] = [
    "Server",
    "Session-ID",
    "SIP-ETag",
    "SIP-If-Match",
    "Timestamp",
    "To",
    "Unsupported",
    "User-Agent",
    "WWW-Authenticate",
];

/// A rule that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The name is no token.
    #[error("`{0}` is no name of a header field")]
    Name(String),
    /// The field belongs to one call or one hop alone: Via, Contact, From, Call-ID and the like.
    #[error("{0} belongs to one side of the call alone")]
    HopByHop(String),
    /// The value holds a control character.
    #[error("the value of {0} holds a control character")]
    Value(String),
    /// More than 256 rules.
    #[error("more than 256 rules")]
    TooMany,
}

/// What becomes of one header field.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Pass,
    Strip,
    Rename(String),
}

/// Which header fields of one call's messages go into those of the other call.
///
/// The default carries what is end to end by its meaning and tells nothing of the network behind
/// (Subject, Alert-Info, Call-Info, User-to-User, Priority, Privacy, Resource-Priority,
/// Warning, Retry-After and the like), and nothing else: no unknown field, nothing that vouches for
/// who calls. Fields of one hop or one dialog (Via, Route, Contact, From, To, Call-ID, CSeq, what
/// describes the body or the software) are never carried, whatever the rules say. Reason is: where a
/// call ends, the other ends for the same reason. So is each party's half of Session-ID (RFC 7989).
///
/// ```
/// use sidetone::b2bua::headers::HeaderRules;
///
/// let rules = HeaderRules::default()
///     .pass("X-Account")?
///     .strip("Subject")?
///     .rename("X-Old-Ticket", "X-Ticket")?
///     .set("X-Gateway", "west-1")?;
/// assert!(HeaderRules::default().pass("Via").is_err());
/// assert!(HeaderRules::default().set("X-A", "a\r\nVia: b").is_err());
/// # Ok::<(), sidetone::b2bua::headers::RuleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRules {
    rules: Vec<(String, Fate)>,
    others: Fate,
    set: Vec<(String, String)>,
}

impl Default for HeaderRules {
    fn default() -> Self {
        let pass = |name: &&str| ((*name).to_owned(), Fate::Pass);
        Self {
            rules: END_TO_END.iter().map(pass).collect(),
            ..Self::nothing()
        }
    }
}

impl HeaderRules {
    /// Carries nothing.
    pub fn nothing() -> Self {
        Self {
            rules: Vec::new(),
            others: Fate::Strip,
            set: Vec::new(),
        }
    }

    /// Carries besides what vouches for who calls (P-Asserted-Identity, P-Preferred-Identity,
    /// Identity, Diversion, History-Info, Reply-To): for two sides that trust each other.
    #[must_use]
    pub fn trusting(mut self) -> Self {
        for name in VOUCHED {
            self.put(name, Fate::Pass);
        }
        self
    }

    /// Carries unknown fields too, and all that no rule names.
    #[must_use]
    pub fn pass_others(mut self) -> Self {
        self.others = Fate::Pass;
        self
    }

    /// Carries a field.
    ///
    /// # Errors
    /// [`RuleError`] where it can never be carried.
    pub fn pass(self, name: &str) -> Result<Self, RuleError> {
        self.rule(name, Fate::Pass)
    }

    /// Leaves a field out.
    ///
    /// # Errors
    /// [`RuleError::Name`] where it is no name, [`RuleError::TooMany`].
    pub fn strip(self, name: &str) -> Result<Self, RuleError> {
        self.rule(name, Fate::Strip)
    }

    /// Carries a field under another name.
    ///
    /// # Errors
    /// [`RuleError`] where one of the two can never be carried.
    pub fn rename(self, from: &str, to: &str) -> Result<Self, RuleError> {
        let to = carriable(to)?.to_owned();
        self.rule(from, Fate::Rename(to))
    }

    /// Writes a field with this value, in place of what the other side sent under that name.
    ///
    /// # Errors
    /// [`RuleError`] where it can never be carried, or the value holds a control character.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, RuleError> {
        let name = carriable(name)?.to_owned();
        if value.chars().any(char::is_control) {
            return Err(RuleError::Value(name));
        }
        self = self.rule(&name, Fate::Strip)?;
        self.set.retain(|(other, _)| !same(other, &name));
        self.set.push((name, value.to_owned()));
        Ok(self)
    }

    /// What of a message is carried to the other side, name and value, in the order of the message.
    /// Values with control characters are left out, and what is beyond 64 fields or 32 KiB.
    pub fn apply(&self, message: &Message) -> Vec<(String, String)> {
        let mut carried = self.set.clone();
        let mut bytes = 0;
        for header in message.headers() {
            let name = header.name.as_str();
            let name = match self.fate(name) {
                Fate::Strip => continue,
                Fate::Pass => name,
                Fate::Rename(to) => to.as_str(),
            };
            let text = header.text();
            if text.chars().any(|c| c.is_control() && c != '\t') {
                continue;
            }
            bytes += name.len() + text.len();
            if carried.len() >= MAX_ROWS || bytes > MAX_BYTES {
                break;
            }
            carried.push((name.to_owned(), text.into_owned()));
        }
        carried
    }

    fn fate(&self, name: &str) -> &Fate {
        if is_local(name) {
            return &Fate::Strip;
        }
        let rule = self.rules.iter().rev().find(|(other, _)| same(other, name));
        rule.map_or(&self.others, |(_, fate)| fate)
    }

    fn rule(mut self, name: &str, fate: Fate) -> Result<Self, RuleError> {
        let name = match fate {
            Fate::Strip => token(name)?,
            Fate::Pass | Fate::Rename(_) => carriable(name)?,
        };
        if self.rules.len() >= MAX_RULES {
            return Err(RuleError::TooMany);
        }
        self.put(name, fate);
        Ok(self)
    }

    fn put(&mut self, name: &str, fate: Fate) {
        self.rules.retain(|(other, _)| !same(other, name));
        self.rules.push((name.to_owned(), fate));
    }
}

/// Whether two names mean the same field, compact forms included.
fn same(a: &str, b: &str) -> bool {
    Name::Other(a) == Name::Other(b)
}

fn is_local(name: &str) -> bool {
    HOP_BY_HOP.iter().chain(&NEVER).any(|own| same(own, name))
}

fn token(name: &str) -> Result<&str, RuleError> {
    match Name::parse(name) {
        Some(_) => Ok(name),
        None => Err(RuleError::Name(name.to_owned())),
    }
}

fn carriable(name: &str) -> Result<&str, RuleError> {
    match is_local(token(name)?) {
        true => Err(RuleError::HopByHop(name.to_owned())),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n\
             From: <sip:a@10.0.0.1>;tag=1\r\nTo: <sip:b@192.0.2.2>\r\nCall-ID: r@10.0.0.1\r\n\
             CSeq: 7 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:a@10.0.0.1>\r\n\
             User-Agent: phone/1.0\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn carried(rules: &HeaderRules, headers: &str) -> Vec<String> {
        let rows = rules.apply(&invite(headers)).into_iter();
        rows.map(|(name, value)| format!("{name}: {value}"))
            .collect()
    }

    #[test]
    fn by_default_only_what_is_end_to_end_goes_through() {
        let headers = "Subject: hello\r\nX-Internal: 10.0.0.7\r\nP-Asserted-Identity: <sip:a@10.0.0.1>\r\n\
            Record-Route: <sip:10.0.0.9;lr>\r\nUser-to-User: 56;encoding=hex\r\ns2: x\r\n";
        assert_eq!(
            carried(&HeaderRules::default(), headers),
            ["Subject: hello", "User-to-User: 56;encoding=hex"]
        );
        assert!(carried(&HeaderRules::nothing(), headers).is_empty());
        assert!(
            carried(&HeaderRules::default().trusting(), headers)
                .iter()
                .any(|row| row.starts_with("P-Asserted-Identity"))
        );
    }

    #[test]
    fn rules_pass_strip_rename_and_set() {
        let rules = HeaderRules::default()
            .pass("x-account")
            .and_then(|rules| rules.strip("s"))
            .and_then(|rules| rules.rename("X-Old", "X-New"))
            .and_then(|rules| rules.set("X-Gateway", "west"))
            .unwrap();
        let headers =
            "Subject: hello\r\nX-Account: 7\r\nX-Old: 1\r\nX-Gateway: forged\r\nX-Z: 2\r\n";
        assert_eq!(
            carried(&rules, headers),
            ["X-Gateway: west", "X-Account: 7", "X-New: 1"]
        );
    }

    #[test]
    fn nothing_of_one_hop_can_ever_be_let_through() {
        for name in HOP_BY_HOP
            .iter()
            .chain(&NEVER)
            .chain(&["v", "i", "f", "t", "m", "k", "x"])
        {
            let rules = HeaderRules::default();
            assert!(
                matches!(rules.clone().pass(name), Err(RuleError::HopByHop(_))),
                "{name}"
            );
            assert!(rules.clone().set(name, "x").is_err(), "{name}");
            assert!(rules.clone().rename("X-A", name).is_err(), "{name}");
            assert!(rules.rename(name, "X-A").is_err(), "{name}");
        }
        let all = HeaderRules::default().trusting().pass_others();
        let rows = all.apply(&invite(
            "X-A: 1\r\nServer: x\r\nReason: SIP\r\nFrom : <sip:x@y>\r\n",
        ));
        assert_eq!(rows, [("X-A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_would_inject_is_refused_or_left_out() {
        let rules = HeaderRules::default();
        for value in ["a\r\nX: y", "a\nb", "a\0b", "\u{85}"] {
            let set = rules.clone().set("X-A", value);
            assert_eq!(set, Err(RuleError::Value("X-A".into())), "{value:?}");
        }
        for name in ["", "X A", "X:A", "X\r\nA", "\u{e9}"] {
            assert!(
                matches!(rules.clone().pass(name), Err(RuleError::Name(_))),
                "{name:?}"
            );
            assert!(
                matches!(rules.clone().strip(name), Err(RuleError::Name(_))),
                "{name:?}"
            );
        }
        let passing = rules.pass_others();
        for row in ["Subject: a\rb\r\n", "X-A: a\u{0}b\r\n", "X-B: a\u{7f}\r\n"] {
            assert!(carried(&passing, row).is_empty(), "{row:?}");
        }
    }

    #[test]
    fn what_is_carried_is_bounded() {
        let many = "X-A: 1\r\n".repeat(200);
        let passing = HeaderRules::default().pass_others();
        assert_eq!(passing.apply(&invite(&many)).len(), MAX_ROWS);
        let large = format!("X-A: {}\r\n", "x".repeat(8_000)).repeat(6);
        let sum: usize = passing
            .apply(&invite(&large))
            .iter()
            .map(|(_, v)| v.len())
            .sum();
        assert!(sum <= MAX_BYTES, "{sum}");
    }
}
