//! What an INVITE and its answers say of a call beside who calls whom: identities, diversions,
//! references, reasons.

use crate::sip::agent::command::Headers;
use crate::sip::header::address::NameAddr;
use crate::sip::header::diversion::Diversion;
use crate::sip::header::early_media::EarlyMedia;
use crate::sip::header::history::HistoryEntry;
use crate::sip::header::privacy::Privacy;
use crate::sip::header::reason::Reason;
use crate::sip::header::reference::Reference;
use crate::sip::header::user_to_user::UserToUser;
use crate::sip::header::{HeaderError, Known, Name};
use crate::sip::message::Message;

/// The most values of each kind, read and sent; those beyond are left out of what is read.
pub const MAX_VALUES: usize = 20;

/// The header fields that only peers within the trust domain may bring or see.
pub(crate) const TRUSTED_ONLY: [Known; 3] = [
    Known::PAssertedIdentity,
    Known::PPreferredIdentity,
    Known::PEarlyMedia,
];

/// What is said of a call beside who calls whom.
///
/// All of it is the other party's own claim, but for `asserted`, which is read from and sent to peers of
/// the trust domain only ([`Config::trust`](crate::engine::config::Config::trust)).
///
/// ```
/// use sidetone::call::details::Details;
/// use sidetone::sip::header::privacy::Privacy;
/// let details = Details {
///     asserted: vec!["\"Alice\" <sip:+4930123@carrier.example>".parse()?],
///     privacy: Privacy::ID,
///     ..Details::default()
/// };
/// assert!(!details.is_empty());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Who the network says the sender is: at most a SIP URI and a telephone number (RFC 3325).
    /// Towards peers outside the trust domain it is left out.
    pub asserted: Vec<NameAddr>,
    /// As whom the sender wishes to be asserted (RFC 3325 §9.2). Sent within the trust domain only.
    pub preferred: Vec<NameAddr>,
    /// What the sender wants kept from others (RFC 3323). A caller who hides his identity is shown as
    /// anonymous in From, unless a From was asked for.
    pub privacy: Privacy,
    /// From whom the call was diverted, the latest first (RFC 5806). Private ones are sent within the
    /// trust domain only.
    pub diversions: Vec<Diversion>,
    /// The targets that the call was sent to so far, the first first (RFC 7044). Private ones are
    /// anonymous outside the trust domain.
    pub history: Vec<HistoryEntry>,
    /// What programs tell each other (RFC 7433). Where the engine carries call data in it, that is
    /// added.
    pub user_to_user: Vec<UserToUser>,
    /// More about the sender: its picture, its card.
    pub call_info: Vec<Reference>,
    /// How the recipient shall be alerted (RFC 7462).
    pub alert_info: Vec<Reference>,
    /// Why: of answers that refuse (RFC 3326, RFC 6432), or of an INVITE.
    pub reasons: Vec<Reason>,
    /// What of early media is let through (RFC 5009). Sent within the trust domain only.
    pub early_media: Option<EarlyMedia>,
}

impl Details {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What `message` says, and how many values were broken or too many, which are left out.
    pub(crate) fn read(message: &Message, trusted: bool) -> (Self, u64) {
        let mut left_out = 0;
        let mut details = Self {
            privacy: count(message.privacy(), &mut left_out).unwrap_or_default(),
            diversions: take(message.diversions(), &mut left_out),
            history: take(message.history(), &mut left_out),
            user_to_user: take(message.user_to_user(), &mut left_out),
            call_info: take(message.call_info(), &mut left_out),
            alert_info: take(message.alert_info(), &mut left_out),
            reasons: take(message.reasons(), &mut left_out),
            ..Self::default()
        };
        if trusted {
            details.asserted = take_identities(message.asserted_identities(), &mut left_out);
            details.preferred = take_identities(message.preferred_identities(), &mut left_out);
            details.early_media = count(message.early_media(), &mut left_out).flatten();
        }
        (details, left_out)
    }

    /// The header fields that say so to a peer; `None` where there are more values of a kind than
    /// [`MAX_VALUES`], or more than a SIP URI and a number asserted.
    pub(crate) fn headers(&self, trusted: bool) -> Option<Headers> {
        let mut headers = Writer::default();
        headers.identities(Name::PAssertedIdentity, &self.asserted)?;
        headers.identities(Name::PPreferredIdentity, &self.preferred)?;
        let early_media = self.early_media.filter(|it| !it.is_empty());
        headers.rows(Name::PEarlyMedia, early_media.iter())?;
        if !trusted {
            headers.0.clear();
        }
        if !self.privacy.without(Privacy::UNKNOWN).is_empty() {
            headers.rows(Name::Privacy, [self.privacy].iter())?;
        }
        let shown = |diversion: &&Diversion| trusted || !diversion.is_private();
        headers.rows(Name::Diversion, self.diversions.iter().filter(shown))?;
        headers.rows(Name::HistoryInfo, self.history_for(trusted).iter())?;
        headers.rows(Name::UserToUser, self.user_to_user.iter())?;
        headers.rows(Name::CallInfo, self.call_info.iter())?;
        headers.rows(Name::AlertInfo, self.alert_info.iter())?;
        headers.rows(Name::Reason, self.reasons.iter())?;
        Some(headers.0)
    }

    /// The history as a peer may see it (RFC 7044 §10.1).
    fn history_for(&self, trusted: bool) -> Vec<HistoryEntry> {
        let all = self.privacy.hides_history();
        let seen = |entry: &HistoryEntry| match !trusted && (all || entry.is_private()) {
            true => entry.anonymous(),
            false => Some(entry.clone()),
        };
        self.history.iter().filter_map(seen).collect()
    }
}

#[derive(Default)]
struct Writer(Headers);

impl Writer {
    fn rows<T: ToString>(
        &mut self,
        name: Name<'static>,
        values: impl Iterator<Item = T>,
    ) -> Option<()> {
        for (index, value) in values.enumerate() {
            if index >= MAX_VALUES {
                return None;
            }
            self.0.push((name.as_str().to_owned(), value.to_string()));
        }
        Some(())
    }

    fn identities(&mut self, name: Name<'static>, identities: &[NameAddr]) -> Option<()> {
        let telephones = identities.iter().filter(|it| !it.uri().is_sip()).count();
        if telephones > 1 || identities.len() - telephones > 1 {
            return None;
        }
        self.rows(name, identities.iter())
    }
}

/// The values that can be read, [`MAX_VALUES`] at most.
fn take<T>(values: impl Iterator<Item = Result<T, HeaderError>>, left_out: &mut u64) -> Vec<T> {
    let mut taken = Vec::new();
    for value in values {
        match value {
            Ok(value) if taken.len() < MAX_VALUES => taken.push(value),
            _ => *left_out += 1,
        }
    }
    taken
}

/// The first SIP URI and the first number (RFC 3325 §9.1).
fn take_identities(
    values: impl Iterator<Item = Result<NameAddr, HeaderError>>,
    left_out: &mut u64,
) -> Vec<NameAddr> {
    let mut taken: Vec<NameAddr> = Vec::new();
    for identity in take(values, left_out) {
        let same = |other: &NameAddr| other.uri().is_sip() == identity.uri().is_sip();
        match taken.iter().any(same) {
            true => *left_out += 1,
            false => taken.push(identity.detach()),
        }
    }
    taken
}

fn count<T>(value: Result<T, HeaderError>, left_out: &mut u64) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(_) => {
            *left_out += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn invite(headers: &str) -> Message {
        let text = format!(
            "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>\r\nCall-ID: r\r\n\
             CSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a message")
    }

    const ALL: &str = "P-Asserted-Identity: \"A, B\" <sip:a@c>, tel:+1\r\n\
        P-Preferred-Identity: <sip:x@c>\r\nPrivacy: id;history\r\n\
        Diversion: <sip:d@c>;reason=user-busy, <sip:e@c>;privacy=full\r\n\
        History-Info: <sip:b@c>;index=1, <sip:b2@c?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1\r\n\
        User-to-User: 00ff;encoding=hex;purpose=x\r\nCall-Info: <http://h/x>;purpose=icon\r\n\
        Alert-Info: <urn:alert:source:internal>\r\nP-Early-Media: supported\r\n\
        Reason: SIP;cause=302;text=\"Moved\", Q.850;cause=16\r\n";

    #[test]
    fn within_the_domain_everything_is_read_and_sent() {
        let (details, left_out) = Details::read(&invite(ALL), true);
        assert_eq!(left_out, 0);
        assert_eq!(details.asserted.len(), 2);
        assert_eq!(details.reasons.len(), 2);
        let headers = details.headers(true).expect("within bounds");
        let printed: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        assert_eq!(Details::read(&invite(&printed), true), (details, 0));
    }

    #[test]
    fn outside_the_domain_identities_are_neither_believed_nor_told() {
        let (details, _) = Details::read(&invite(ALL), false);
        assert!(details.asserted.is_empty() && details.preferred.is_empty());
        assert!(details.early_media.is_none() && details.diversions.len() == 2);
        let (details, _) = Details::read(&invite(ALL), true);
        let headers = details.headers(false).expect("within bounds");
        let all = format!("{headers:?}");
        for secret in ["P-", "tel:", "sip:e@c", "sip:b@c", "sip:b2@c"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert!(all.contains("anonymous.invalid>;index=1.1;mp=1"), "{all}");
        assert!(all.contains("id;history") && all.contains("sip:d@c"));
    }

    #[test]
    fn what_is_broken_or_too_much_is_left_out_and_counted() {
        let many = "Diversion: <sip:d@c>\r\n".repeat(MAX_VALUES + 3);
        let broken = "Reason: ;;\r\nSession-ID: x\r\nPrivacy: a b\r\nP-Asserted-Identity: <sip:a@c>, <sip:b@c>\r\n";
        let (details, left_out) = Details::read(&invite(&format!("{many}{broken}")), true);
        assert_eq!((details.diversions.len(), left_out), (MAX_VALUES, 6));
        assert_eq!(details.asserted.len(), 1);
        let mut more = details.clone();
        more.diversions.push(details.diversions[0].clone());
        assert_eq!(more.headers(true), None);
        let mut two = details.clone();
        two.asserted.push(details.asserted[0].clone());
        assert_eq!(two.headers(true), None);
    }
}
