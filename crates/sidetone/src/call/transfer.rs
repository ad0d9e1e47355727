//! What a REFER asks for, and how its NOTIFYs tell of it (RFC 3515, RFC 4488, RFC 3420).

use crate::call::data::carriage::{self, Brought, PURPOSE};
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::header::reference::Reference;
use crate::sip::header::user_to_user::UserToUser;
use crate::sip::header::value::Replaces;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::uri::{Uri, UriError};

/// What the other party asks for with REFER: to call somebody in place of the call that it has.
///
/// Where it points is the other party's wish, and calls may cost money: check it before it is
/// accepted.
#[derive(Debug, Clone)]
pub struct Referral {
    target: String,
    replaces: Option<Replaces>,
    referred_by: Option<String>,
    user_to_user: Vec<UserToUser>,
    data: Brought,
    sequence: u32,
    news: bool,
}

impl Referral {
    /// Reads a REFER; the error is the status to refuse it with.
    pub(crate) fn read(request: &Message) -> Result<Self, u16> {
        let refer_to = request.refer_to().map_err(|_| 400_u16)?.ok_or(400_u16)?;
        let uri = refer_to.uri();
        if !uri.is_sip() {
            return Err(416);
        }
        // A call is all that is made of a REFER (RFC 3515 §2.4.2).
        let method = uri.param("method");
        if method.is_some_and(|method| method != "INVITE") {
            return Err(501);
        }
        let replaces = match uri.header("Replaces") {
            Some(text) => Some(Replaces::parse(&text).map_err(|_| 400_u16)?),
            None => None,
        };
        let referred_by = request.header(Name::ReferredBy);
        let referred_by = referred_by.map(|header| header.text().into_owned());
        if let Some(by) = &referred_by {
            NameAddr::parse(by).map_err(|_| 400_u16)?;
        }
        let uui = uri.header("User-to-User");
        let uui = uui.and_then(|text| UserToUser::parse(&text).ok());
        let sub = request.parameterized(Name::ReferSub).ok().flatten();
        Ok(Self {
            target: uri.without_headers().to_string(),
            replaces,
            referred_by,
            data: data_of(uri, uui.as_ref()),
            user_to_user: uui.filter(|it| !is_data(it)).into_iter().collect(),
            sequence: request.cseq().map_or(0, |cseq| cseq.number()),
            news: !sub.is_some_and(|sub| sub.is("false")),
        })
    }

    /// The URI to be called, without header fields.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the call shall take the place of another one at the target (attended transfer).
    pub fn is_attended(&self) -> bool {
        self.replaces.is_some()
    }

    /// Who is said to have asked for it, by Referred-By (RFC 3892): the other party's own claim.
    pub fn referred_by(&self) -> Option<&str> {
        self.referred_by.as_deref()
    }

    /// What the call to the target shall tell the target's program (RFC 7433).
    pub fn user_to_user(&self) -> &[UserToUser] {
        &self.user_to_user
    }

    /// The call data that goes along.
    pub(crate) fn data(&self) -> &Brought {
        &self.data
    }

    pub(crate) fn replaces(&self) -> Option<&Replaces> {
        self.replaces.as_ref()
    }

    pub(crate) fn referred_by_header(&self) -> Option<&str> {
        self.referred_by.as_deref()
    }

    /// Whether the other party wants to be told how it goes (RFC 4488).
    pub(crate) fn wants_news(&self) -> bool {
        self.news
    }

    /// The Event of the NOTIFYs.
    pub(crate) fn event(&self) -> String {
        format!("refer;id={}", self.sequence)
    }
}

fn is_data(value: &UserToUser) -> bool {
    value.purpose().eq_ignore_ascii_case(PURPOSE)
}

/// The call data in the URI of a Refer-To.
fn data_of(uri: &Uri, value: Option<&UserToUser>) -> Brought {
    if let Some(value) = value.filter(|value| is_data(value)) {
        return carriage::decoded(value.data());
    }
    let reference = uri.header("Call-Info");
    let reference = reference.and_then(|text| Reference::parse(&text).ok());
    reference.map_or(Brought::Nothing, |reference| carriage::referred(&reference))
}

/// The value of a Refer-To for `target`, with the dialog to be replaced and further header fields of
/// the call that is to be made.
///
/// # Errors
/// It would be longer than a URI may be.
pub(crate) fn refer_to(
    target: &Uri,
    replaces: Option<&Replaces>,
    further: &[(String, String)],
) -> Result<String, UriError> {
    let mut uri = target.without_headers();
    if let Some(replaces) = replaces {
        uri = uri.with_header("Replaces", &replaces.to_string())?;
    }
    for (name, value) in further {
        uri = uri.with_header(name, value)?;
    }
    Ok(format!("<{uri}>"))
}

/// The body of a NOTIFY: the status line of the call that was made (RFC 3420).
pub(crate) fn sipfrag(status: u16) -> String {
    let phrase = StatusCode::new(status).map_or("", StatusCode::reason_phrase);
    format!("SIP/2.0 {status} {phrase}\r\n")
}

/// The status in the body of a NOTIFY; `None` where there is none.
pub(crate) fn status_of(body: &[u8]) -> Option<u16> {
    let rest = body.strip_prefix(b"SIP/2.0 ")?;
    let (digits, rest) = rest.split_at_checked(3)?;
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
    StatusCode::new(code).map(StatusCode::code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn refer(headers: &str) -> Result<Referral, u16> {
        let text = format!(
            "REFER sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:b@192.0.2.2>;tag=2\r\nCall-ID: r\r\n\
             CSeq: 7 REFER\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Referral::read(&Message::parse(Bytes::from(text)).unwrap())
    }

    #[test]
    fn a_referral_is_read_or_refused_by_its_fault() {
        let blind = refer("Refer-To: \"C\" <sip:c@192.0.2.3?Subject=x>\r\n").unwrap();
        assert_eq!(blind.target(), "sip:c@192.0.2.3");
        assert!(!blind.is_attended() && blind.wants_news());
        assert_eq!(blind.event(), "refer;id=7");
        let attended = refer(
            "Refer-To: <sip:c@192.0.2.3?Replaces=k%40x%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n\
             Refer-Sub: false\r\nReferred-By: <sip:a@192.0.2.1>\r\n",
        )
        .unwrap();
        assert_eq!(
            attended.replaces().unwrap().to_string(),
            "k@x;to-tag=1;from-tag=2"
        );
        assert!(!attended.wants_news());
        assert_eq!(attended.referred_by(), Some("<sip:a@192.0.2.1>"));
        for (headers, status) in [
            ("", 400),
            ("Refer-To: <tel:+123>\r\n", 416),
            ("Refer-To: <sip:c@h;method=BYE>\r\n", 501),
            ("Refer-To: <sip:c@h?Replaces=x>\r\n", 400),
            ("Refer-To: <sip:c@h?Replaces=x%0D%0AEvil%3A1>\r\n", 400),
            ("Refer-To: <sip:c@h>\r\nReferred-By: ;;;\r\n", 400),
        ] {
            assert_eq!(refer(headers).map(|_| ()), Err(status), "{headers}");
        }
    }

    #[test]
    fn what_is_escaped_reads_back() {
        let replaces = Replaces::parse("a%b;c@d;to-tag=1;from-tag=2");
        assert!(replaces.is_err(), "a semicolon is no part of a Call-ID");
        let replaces = Replaces::parse("a%b@d;to-tag=1;from-tag=2").unwrap();
        let target = Uri::parse("sip:c@192.0.2.3:5070;transport=tcp").unwrap();
        let read = refer(&format!(
            "Refer-To: {}\r\n",
            refer_to(&target, Some(&replaces), &[]).unwrap()
        ));
        let read = read.unwrap();
        assert_eq!(read.replaces(), Some(&replaces));
        assert_eq!(read.target(), target.as_str());
    }

    #[test]
    fn fragments_tell_a_status() {
        for status in [100, 180, 200, 486, 603] {
            assert_eq!(status_of(sipfrag(status).as_bytes()), Some(status));
        }
        for bad in [
            "",
            "SIP/2.0",
            "SIP/2.0 99",
            "SIP/2.0 2000 X",
            "SIP/2.0 700",
            "HTTP/1.1 200",
        ] {
            assert_eq!(status_of(bad.as_bytes()), None, "{bad}");
        }
    }
}
