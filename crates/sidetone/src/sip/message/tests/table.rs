//! Every header field of RFC 3261 and of the RFCs beside it has a type: it is read, written in one
//! canonical form, and read again as the same.

use std::fmt::Display;

use bytes::Bytes;

use crate::sip::header::{HeaderError, Name, known_names};
use crate::sip::message::Message;

/// What a message's typed accessor makes of a header field, printed.
type Read = fn(&Message) -> Result<Vec<String>, HeaderError>;

fn all<T: Display>(
    values: impl Iterator<Item = Result<T, HeaderError>>,
) -> Result<Vec<String>, HeaderError> {
    values.map(|value| Ok(value?.to_string())).collect()
}

fn one<T: Display>(value: Result<Option<T>, HeaderError>) -> Result<Vec<String>, HeaderError> {
    Ok(value?.iter().map(ToString::to_string).collect())
}

fn sure<T: Display>(value: Result<T, HeaderError>) -> Result<Vec<String>, HeaderError> {
    Ok(vec![value?.to_string()])
}

fn text(value: Option<String>) -> Result<Vec<String>, HeaderError> {
    Ok(value.into_iter().collect())
}

fn tokens<'a>(values: impl Iterator<Item = &'a str>) -> Result<Vec<String>, HeaderError> {
    Ok(values.map(str::to_owned).collect())
}

/// One header field.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    Read,
);

/// Name and document; a value as it may stand on the wire; its canonical form; one that is refused, or
/// left out of a list of tokens; the accessor.
const TABLE: &[Row] = &[
    (
        "Accept",
        "3261 20.1",
        "application/sdp;level=1 , */*",
        &["application/sdp;level=1", "*/*"],
        "sdp",
        |m| all(m.accept()),
    ),
    (
        "Accept-Encoding",
        "3261 20.2",
        "gzip;q=1.0, *;q=0.50",
        &["gzip", "*;q=0.5"],
        "gzip;q=7",
        |m| all(m.accept_encoding()),
    ),
    (
        "Accept-Language",
        "3261 20.3",
        "da, en-gb;q=0.8",
        &["da", "en-gb;q=0.8"],
        "a b",
        |m| all(m.accept_language()),
    ),
    (
        "Alert-Info",
        "3261 20.4",
        "<urn:alert:source:internal>",
        &["<urn:alert:source:internal>"],
        "urn:x",
        |m| all(m.alert_info()),
    ),
    (
        "Allow",
        "3261 20.5",
        "INVITE , ACK",
        &["INVITE", "ACK"],
        "a b",
        |m| tokens(m.allow()),
    ),
    (
        "Authentication-Info",
        "3261 20.6",
        "nextnonce = \"4\"",
        &["nextnonce=\"4\""],
        "x",
        |m| one(m.authentication_info()),
    ),
    (
        "Authorization",
        "3261 20.7",
        "Digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"sip:a\",response=\"0\"",
        &["Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=\"0\""],
        "Basic x",
        |m| all(m.credentials(Name::Authorization)),
    ),
    ("Call-ID", "3261 20.8", "a@b", &["a@b"], "a b", |m| {
        sure(m.call_id())
    }),
    (
        "Call-Info",
        "3261 20.9",
        "<http://a.example/p.jpg>;purpose=icon",
        &["<http://a.example/p.jpg>;purpose=icon"],
        "x",
        |m| all(m.call_info()),
    ),
    (
        "Contact",
        "3261 20.10",
        "\"A\" <sip:a@b>;q=0.7, sip:c@d",
        &["\"A\" <sip:a@b>;q=0.7", "sip:c@d"],
        "<sip:",
        |m| all(m.contacts()),
    ),
    (
        "Content-Disposition",
        "3261 20.11",
        "session;handling=optional",
        &["session;handling=optional"],
        "a b",
        |m| one(m.content_disposition()),
    ),
    (
        "Content-Encoding",
        "3261 20.12",
        "gzip, tar",
        &["gzip", "tar"],
        "a b",
        |m| tokens(m.content_encoding()),
    ),
    (
        "Content-Language",
        "3261 20.13",
        "fr, en-gb",
        &["fr", "en-gb"],
        "a b",
        |m| tokens(m.content_language()),
    ),
    ("Content-Length", "3261 20.14", "007", &["7"], "-7", |m| {
        one(m.content_length())
    }),
    (
        "Content-Type",
        "3261 20.15",
        "text/html; charset=ISO-8859-4",
        &["text/html; charset=ISO-8859-4"],
        "text",
        |m| one(m.content_type()),
    ),
    (
        "CSeq",
        "3261 20.16",
        "0009   INVITE",
        &["9 INVITE"],
        "9",
        |m| sure(m.cseq()),
    ),
    (
        "Date",
        "3261 20.17",
        "Sat, 13 Nov 2010 23:29:00 GMT",
        &["Sat, 13 Nov 2010 23:29:00 GMT"],
        "Sat, 13 Nov 2010 23:29:00 EST",
        |m| one(m.date()),
    ),
    (
        "Error-Info",
        "3261 20.18",
        "<sip:not-in-service@a.example>",
        &["<sip:not-in-service@a.example>"],
        "x",
        |m| all(m.error_info()),
    ),
    ("Expires", "3261 20.19", "05", &["5"], "soon", |m| {
        one(m.expires())
    }),
    (
        "From",
        "3261 20.20",
        "A <sip:a@b>;tag=1",
        &["A <sip:a@b>;tag=1"],
        "<",
        |m| sure(m.from()),
    ),
    (
        "In-Reply-To",
        "3261 20.21",
        "70710@a, 17320@b",
        &["70710@a", "17320@b"],
        "a b",
        |m| all(m.in_reply_to()),
    ),
    ("Max-Forwards", "3261 20.22", "06", &["6"], "256", |m| {
        one(m.max_forwards())
    }),
    ("Min-Expires", "3261 20.23", "060", &["60"], "x", |m| {
        one(m.min_expires())
    }),
    ("MIME-Version", "3261 20.24", "1.0", &["1.0"], "", |m| {
        text(m.mime_version())
    }),
    (
        "Organization",
        "3261 20.25",
        "Boxes by Bob",
        &["Boxes by Bob"],
        "",
        |m| text(m.organization()),
    ),
    (
        "Priority",
        "3261 20.26",
        "Non-Urgent",
        &["non-urgent"],
        "a b",
        |m| one(m.priority()),
    ),
    (
        "Proxy-Authenticate",
        "3261 20.27",
        "Digest realm=\"r\",nonce=\"n\"",
        &["Digest realm=\"r\", nonce=\"n\""],
        "Basic x",
        |m| all(m.challenges(Name::ProxyAuthenticate)),
    ),
    (
        "Proxy-Authorization",
        "3261 20.28",
        "Digest username=\"a\",realm=\"r\",nonce=\"n\",uri=\"sip:a\",response=\"0\"",
        &["Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:a\", response=\"0\""],
        "Basic x",
        |m| all(m.credentials(Name::ProxyAuthorization)),
    ),
    ("Proxy-Require", "3261 20.29", "foo", &["foo"], "a b", |m| {
        tokens(m.proxy_require())
    }),
    (
        "Record-Route",
        "3261 20.30",
        "<sip:a;lr>,<sip:b;lr>",
        &["<sip:a;lr>", "<sip:b;lr>"],
        "sip:a",
        |m| all(m.record_routes()),
    ),
    (
        "Reply-To",
        "3261 20.31",
        "Bob <sip:bob@a.example>",
        &["Bob <sip:bob@a.example>"],
        "<",
        |m| one(m.reply_to()),
    ),
    ("Require", "3261 20.32", "100rel", &["100rel"], "a b", |m| {
        tokens(m.require())
    }),
    (
        "Retry-After",
        "3261 20.33",
        "120 (in a meeting) ;duration=60",
        &["120;duration=60"],
        "x",
        |m| one(m.retry_after()),
    ),
    (
        "Route",
        "3261 20.34",
        "<sip:a;lr>",
        &["<sip:a;lr>"],
        "sip:a",
        |m| all(m.routes()),
    ),
    ("Server", "3261 20.35", "Home v2", &["Home v2"], "", |m| {
        text(m.agent())
    }),
    (
        "Subject",
        "3261 20.36",
        "Need more boxes",
        &["Need more boxes"],
        "",
        |m| text(m.subject()),
    ),
    (
        "Supported",
        "3261 20.37",
        "100rel",
        &["100rel"],
        "a b",
        |m| tokens(m.supported()),
    ),
    (
        "Timestamp",
        "3261 20.38",
        "54.5\t1",
        &["54.5 1"],
        "x",
        |m| one(m.timestamp()),
    ),
    (
        "To",
        "3261 20.39",
        "sip:a@b;tag=1",
        &["sip:a@b;tag=1"],
        "<",
        |m| sure(m.to()),
    ),
    ("Unsupported", "3261 20.40", "foo", &["foo"], "a b", |m| {
        tokens(m.unsupported())
    }),
    (
        "User-Agent",
        "3261 20.41",
        "Softphone Beta1.5",
        &["Softphone Beta1.5"],
        "",
        |m| text(m.agent()),
    ),
    (
        "Via",
        "3261 20.42",
        "SIP/2.0/UDP a;branch=z9hG4bK1",
        &["SIP/2.0/UDP a;branch=z9hG4bK1"],
        "SIP/2.0",
        |m| all(m.vias()),
    ),
    (
        "Warning",
        "3261 20.43",
        "307 isi.edu  \"a \\\"b\\\"\"",
        &["307 isi.edu \"a \\\"b\\\"\""],
        "x",
        |m| all(m.warnings()),
    ),
    (
        "WWW-Authenticate",
        "3261 20.44",
        "Digest realm=\"r\",nonce=\"n\"",
        &["Digest realm=\"r\", nonce=\"n\""],
        "Basic x",
        |m| all(m.challenges(Name::WwwAuthenticate)),
    ),
    (
        "RAck",
        "3262 7.2",
        "776656  1 INVITE",
        &["776656 1 INVITE"],
        "1",
        |m| one(m.rack()),
    ),
    ("RSeq", "3262 7.1", "0988", &["988"], "0", |m| one(m.rseq())),
    (
        "Privacy",
        "3323 4.2",
        "id; critical",
        &["id;critical"],
        "a b",
        |m| sure(m.privacy()),
    ),
    (
        "P-Asserted-Identity",
        "3325 9.1",
        "\"A\" <sip:a@b>, tel:+1",
        &["\"A\" <sip:a@b>", "tel:+1"],
        "<",
        |m| all(m.asserted_identities()),
    ),
    (
        "P-Preferred-Identity",
        "3325 9.2",
        "sip:a@b",
        &["sip:a@b"],
        "<",
        |m| all(m.preferred_identities()),
    ),
    (
        "Reason",
        "3326 2",
        "SIP;cause=200;text=\"elsewhere\"",
        &["SIP;cause=200;text=\"elsewhere\""],
        "\"",
        |m| all(m.reasons()),
    ),
    ("Path", "3327 4", "<sip:p;lr>", &["<sip:p;lr>"], "<", |m| {
        all(m.addresses(Name::Path))
    }),
    (
        "Refer-To",
        "3515 2.1",
        "<sip:a@b?Replaces=1>",
        &["<sip:a@b?Replaces=1>"],
        "<",
        |m| one(m.refer_to()),
    ),
    (
        "Service-Route",
        "3608 5",
        "<sip:p;lr>",
        &["<sip:p;lr>"],
        "<",
        |m| all(m.addresses(Name::ServiceRoute)),
    ),
    (
        "Accept-Contact",
        "3841 9.2",
        "*;audio;require",
        &["*;audio;require"],
        ";",
        |m| all(m.parameterized_all(Name::AcceptContact)),
    ),
    (
        "Reject-Contact",
        "3841 9.2",
        "*;video",
        &["*;video"],
        ";",
        |m| all(m.parameterized_all(Name::RejectContact)),
    ),
    (
        "Request-Disposition",
        "3841 9.1",
        "proxy, no-fork",
        &["proxy", "no-fork"],
        ";",
        |m| all(m.parameterized_all(Name::RequestDisposition)),
    ),
    (
        "Replaces",
        "3891 6.1",
        "a@b;from-tag=1;to-tag=2",
        &["a@b;to-tag=2;from-tag=1"],
        "a@b",
        |m| one(m.replaces()),
    ),
    (
        "Referred-By",
        "3892 3",
        "<sip:a@b>;cid=\"1@b\"",
        &["<sip:a@b>;cid=\"1@b\""],
        "<",
        |m| one(m.referred_by()),
    ),
    (
        "SIP-ETag",
        "3903 11.3",
        "dx200xyz",
        &["dx200xyz"],
        ";",
        |m| one(m.parameterized(Name::SipETag)),
    ),
    (
        "SIP-If-Match",
        "3903 11.3",
        "dx200xyz",
        &["dx200xyz"],
        ";",
        |m| one(m.parameterized(Name::SipIfMatch)),
    ),
    (
        "Join",
        "3911 7.1",
        "a@b;from-tag=1;to-tag=2",
        &["a@b;to-tag=2;from-tag=1"],
        "a@b",
        |m| one(m.join()),
    ),
    (
        "Session-Expires",
        "4028 4",
        "0090 ;refresher=UAS",
        &["90;refresher=uas"],
        "x",
        |m| one(m.session_expires()),
    ),
    ("Min-SE", "4028 5", "0120;x", &["120"], "x", |m| {
        one(m.min_se())
    }),
    ("Refer-Sub", "4488 4", "false", &["false"], ";", |m| {
        one(m.parameterized(Name::ReferSub))
    }),
    (
        "P-Early-Media",
        "5009 8",
        "sendrecv, gated",
        &["sendrecv, gated"],
        "a b",
        |m| one(m.early_media()),
    ),
    ("Flow-Timer", "5626 10", "0120", &["120"], "x", |m| {
        one(m.flow_timer())
    }),
    (
        "Diversion",
        "5806 9",
        "<sip:a@b>;reason=user-busy",
        &["<sip:a@b>;reason=user-busy"],
        "<",
        |m| all(m.diversions()),
    ),
    ("Info-Package", "6086 7.1", "dtmf", &["dtmf"], ";", |m| {
        one(m.parameterized(Name::InfoPackage))
    }),
    (
        "Recv-Info",
        "6086 7.1",
        "dtmf, x",
        &["dtmf", "x"],
        ";",
        |m| all(m.parameterized_all(Name::RecvInfo)),
    ),
    (
        "Event",
        "6665 8.2.1",
        "presence;id=1",
        &["presence;id=1"],
        "a b",
        |m| one(m.event()),
    ),
    (
        "Allow-Events",
        "6665 8.2.2",
        "dialog,presence",
        &["dialog", "presence"],
        "a b",
        |m| tokens(m.allow_events()),
    ),
    (
        "Subscription-State",
        "6665 8.2.3",
        "active;expires=60",
        &["active;expires=60"],
        ";",
        |m| one(m.parameterized(Name::SubscriptionState)),
    ),
    (
        "History-Info",
        "7044 5",
        "<sip:a@b>;index=1",
        &["<sip:a@b>;index=1"],
        "<sip:a@b>",
        |m| all(m.history()),
    ),
    (
        "User-to-User",
        "7433 4.1",
        "56a390;encoding=hex",
        &["56a390;encoding=hex"],
        "\"",
        |m| all(m.user_to_user()),
    ),
    (
        "Session-ID",
        "7989 5",
        "ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2",
        &["ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2"],
        "x",
        |m| one(m.session_id()),
    ),
    (
        "Identity",
        "8224 4",
        "a.b.c;info=<https://a.example/c>;alg=ES256",
        &["a.b.c;info=<https://a.example/c>;alg=ES256"],
        ";",
        |m| all(m.identities()),
    ),
];

/// A message with one header field: a response where only those have it.
fn message(name: &str, value: &str) -> Message {
    let start = match name {
        "Server" => "SIP/2.0 200 OK",
        _ => "OPTIONS sip:a SIP/2.0",
    };
    let bytes = format!("{start}\r\n{name}: {value}\r\n\r\n");
    Message::parse(Bytes::from(bytes)).expect("a message")
}

#[test]
fn every_header_is_read_as_its_type_and_written_in_one_form() {
    for (name, section, wire, canonical, _, read) in TABLE {
        let found = read(&message(name, wire));
        let found = found.unwrap_or_else(|error| panic!("{name} ({section}): {error}"));
        assert_eq!(found, *canonical, "{name} ({section})");
        let again = read(&message(name, &found.join(", ")));
        assert_eq!(
            again.as_deref(),
            Ok(&found[..]),
            "{name} ({section}): printed again"
        );
    }
}

#[test]
fn every_broken_header_is_told_or_left_out() {
    for (name, section, _, _, broken, read) in TABLE {
        let found = read(&message(name, broken));
        let nothing = found
            .as_ref()
            .is_ok_and(|found| found.iter().all(String::is_empty));
        assert!(found.is_err() || nothing, "{name} ({section}): {found:?}");
    }
}

#[test]
fn the_table_has_every_name_that_is_known_and_every_section_of_rfc_3261() {
    let named = |name: &&&str| TABLE.iter().all(|(of_table, ..)| of_table != *name);
    let missing: Vec<_> = known_names().iter().filter(named).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    assert_eq!(TABLE.len(), known_names().len());
    for section in 1..=44 {
        let section = format!("3261 20.{section}");
        let found = TABLE
            .iter()
            .filter(|(_, of_table, ..)| *of_table == section);
        assert_eq!(found.count(), 1, "{section}");
    }
    for (name, ..) in TABLE {
        assert!(
            !matches!(Name::parse(name), None | Some(Name::Other(_))),
            "{name}"
        );
    }
}
