//! The torture messages of RFC 4475 and RFC 5118: what each is, and what is answered to it.

use std::path::Path;

use bytes::Bytes;
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;
use sidetone::sip::message::build::ResponseBuilder;
use sidetone::sip::status::StatusCode;

/// What is expected of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Well-formed, and nothing in the message itself asks for a refusal.
    Valid,
    /// Well-formed, but this status is the answer of any user agent.
    Refused(u16),
    /// Malformed, and this status is the answer.
    Invalid(u16),
    /// Malformed, and nothing is answered.
    Silent,
}

use Verdict::{Invalid, Refused, Silent, Valid};

/// File, section, verdict. What a user agent answers to the valid ones beyond the message itself
/// (405, 415, 420, 501 …) is tested where the user agent is.
const CASES: [(&str, &str, Verdict); 61] = [
    ("rfc4475/wsinv", "3.1.1.1", Valid),
    ("rfc4475/intmeth", "3.1.1.2", Valid),
    ("rfc4475/esc01", "3.1.1.3", Valid),
    ("rfc4475/escnull", "3.1.1.4", Valid),
    ("rfc4475/esc02", "3.1.1.5", Valid),
    ("rfc4475/lwsdisp", "3.1.1.6", Valid),
    ("rfc4475/longreq", "3.1.1.7", Valid),
    ("rfc4475/dblreq", "3.1.1.8", Valid),
    ("rfc4475/semiuri", "3.1.1.9", Valid),
    ("rfc4475/transports", "3.1.1.10", Valid),
    ("rfc4475/mpart01", "3.1.1.11", Valid),
    ("rfc4475/unreason", "3.1.1.12", Valid),
    ("rfc4475/noreason", "3.1.1.13", Valid),
    ("rfc4475/badinv01", "3.1.2.1", Invalid(400)),
    ("rfc4475/clerr", "3.1.2.2", Invalid(400)),
    ("rfc4475/ncl", "3.1.2.3", Invalid(400)),
    ("rfc4475/scalar02", "3.1.2.4", Invalid(400)),
    ("rfc4475/scalarlg", "3.1.2.5", Silent),
    ("rfc4475/quotbal", "3.1.2.6", Invalid(400)),
    ("rfc4475/ltgtruri", "3.1.2.7", Invalid(400)),
    ("rfc4475/lwsruri", "3.1.2.8", Invalid(400)),
    ("rfc4475/lwsstart", "3.1.2.9", Invalid(400)),
    ("rfc4475/trws", "3.1.2.10", Invalid(400)),
    ("rfc4475/escruri", "3.1.2.11", Invalid(400)),
    ("rfc4475/baddate", "3.1.2.12", Invalid(400)),
    ("rfc4475/regbadct", "3.1.2.13", Invalid(400)),
    ("rfc4475/badaspec", "3.1.2.14", Invalid(400)),
    ("rfc4475/baddn", "3.1.2.15", Invalid(400)),
    ("rfc4475/badvers", "3.1.2.16", Invalid(505)),
    ("rfc4475/mismatch01", "3.1.2.17", Invalid(400)),
    ("rfc4475/mismatch02", "3.1.2.18", Invalid(400)),
    ("rfc4475/bigcode", "3.1.2.19", Silent),
    // Taken as an RFC 2543 branch, so nothing is wrong with the message itself.
    ("rfc4475/badbranch", "3.2.1", Valid),
    ("rfc4475/insuf", "3.3.1", Invalid(400)),
    ("rfc4475/unkscm", "3.3.2", Refused(416)),
    ("rfc4475/novelsc", "3.3.3", Refused(416)),
    ("rfc4475/unksm2", "3.3.4", Valid),
    ("rfc4475/bext01", "3.3.5", Valid),
    ("rfc4475/invut", "3.3.6", Valid),
    ("rfc4475/regaut01", "3.3.7", Valid),
    ("rfc4475/multi01", "3.3.8", Invalid(400)),
    ("rfc4475/mcl01", "3.3.9", Invalid(400)),
    // The transport drops it, since its Via is not ours.
    ("rfc4475/bcast", "3.3.10", Valid),
    ("rfc4475/zeromf", "3.3.11", Valid),
    ("rfc4475/cparam01", "3.3.12", Valid),
    ("rfc4475/cparam02", "3.3.13", Valid),
    ("rfc4475/regescrt", "3.3.14", Valid),
    ("rfc4475/sdp01", "3.3.15", Valid),
    ("rfc4475/inv2543", "3.4.1", Valid),
    ("rfc5118/ipv6-good", "4.1", Valid),
    ("rfc5118/ipv6-bad", "4.2", Invalid(400)),
    ("rfc5118/port-ambiguous", "4.3", Valid),
    ("rfc5118/port-unambiguous", "4.4", Valid),
    ("rfc5118/via-received-param-with-delim", "4.5", Valid),
    ("rfc5118/via-received-param-no-delim", "4.5", Valid),
    ("rfc5118/ipv6-in-sdp", "4.6", Valid),
    ("rfc5118/mult-ip-in-header", "4.7", Valid),
    ("rfc5118/mult-ip-in-sdp", "4.8", Valid),
    ("rfc5118/ipv4-mapped-ipv6", "4.9", Valid),
    ("rfc5118/ipv6-bug-abnf-3-colons", "4.10", Valid),
    ("rfc5118/ipv6-correct-abnf-2-colons", "4.10", Valid),
];

fn bytes(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/torture")
        .join(format!("{name}.dat"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

fn message(name: &str) -> Message {
    Message::parse(bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn verdict(message: &Message) -> Verdict {
    match message.validate() {
        Ok(()) => Valid,
        Err(reject) => match reject.status {
            None => Silent,
            Some(status) if reject.is_malformed() => Invalid(status.code()),
            Some(status) => Refused(status.code()),
        },
    }
}

/// What a policy would look at: the start line, and every header field by its meaning.
fn policy_view(message: &Message) -> String {
    let typed = [
        format!("{:?}", message.kind()),
        format!("{:?}", message.from()),
        format!("{:?}", message.to()),
        format!("{:?}", message.call_id()),
        format!("{:?}", message.cseq()),
        format!("{:?}", message.vias().collect::<Vec<_>>()),
        format!("{:?}", message.contacts().collect::<Vec<_>>()),
        format!("{:?}", message.routes().collect::<Vec<_>>()),
        format!("{:?}", message.record_routes().collect::<Vec<_>>()),
        format!("{:?}", message.max_forwards()),
        format!("{:?}", message.content_type()),
        format!("{:?}", message.validate()),
        format!("{:?}", message.body()),
    ];
    let rows: Vec<String> = message
        .headers()
        .map(|header| format!("{}={}", header.name, header.text()))
        .collect();
    format!("{}\n{}", typed.join("\n"), rows.join("\n"))
}

#[test]
fn every_message_gets_its_verdict() {
    let wrong: Vec<String> = CASES
        .iter()
        .map(|(name, section, expected)| (name, section, *expected, message(name)))
        .filter(|(_, _, expected, message)| verdict(message) != *expected)
        .map(|(name, section, expected, message)| {
            format!(
                "{name} (§{section}): expected {expected:?}, got {:?}",
                message.validate()
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_left_out() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let count = |sub: &str| {
        let entries = std::fs::read_dir(dir.join(sub)).expect("the corpus is there");
        entries
            .filter(|e| {
                e.as_ref()
                    .is_ok_and(|e| e.path().extension() == Some("dat".as_ref()))
            })
            .count()
    };
    assert_eq!((count("rfc4475"), count("rfc5118")), (49, 12));
    assert_eq!(CASES.len(), 49 + 12);
}

#[test]
fn printed_again_nothing_means_anything_else() {
    for (name, ..) in CASES {
        let first = message(name);
        // Printing repairs what stands between the fields, so only what is valid is compared.
        if first.validate().is_err_and(|reject| reject.is_malformed()) {
            continue;
        }
        let printed = first.print();
        let second = Message::parse(printed.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(policy_view(&first), policy_view(&second), "{name}");
        assert_eq!(
            second.print(),
            printed,
            "{name}: printing is no fixed point"
        );
    }
}

#[test]
fn every_refused_request_can_be_answered() {
    for (name, _, expected) in CASES {
        let (Invalid(code) | Refused(code)) = expected else {
            continue;
        };
        let request = message(name);
        let status = StatusCode::new(code).expect("a status");
        let response = ResponseBuilder::for_request(&request, status)
            .source("198.51.100.7:4242".parse().expect("an address"))
            .to_tag("t1")
            .build()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(response.status(), Some(status), "{name}");
        let received = response.top_via_lenient().expect("a Via").received();
        assert_eq!(received, "198.51.100.7".parse().ok(), "{name}");
        assert!(
            response.as_bytes().len() < 2 * request.as_bytes().len() + 200,
            "{name}"
        );
        for row in [Name::CallId, Name::CSeq, Name::From] {
            let text = |m: &Message| m.header(row).map(|h| h.text().into_owned());
            assert_eq!(text(&request), text(&response), "{name}: {row}");
        }
    }
}

#[test]
fn a_name_that_needs_quotes_is_bad_also_with_the_empty_line() {
    let mut whole = bytes("rfc4475/baddn").to_vec();
    whole.extend_from_slice(b"\r\n");
    let message = Message::parse(whole.into()).expect("a message");
    let reject = message.validate().expect_err("an invalid message");
    assert!(reject.to_string().starts_with("From: "), "{reject}");
}

#[test]
fn wsinv_is_understood_in_full() {
    let message = message("rfc4475/wsinv");
    let uri = message.request_uri().expect("a URI");
    assert_eq!(
        (uri.user(), uri.host()),
        (Some("vivekg"), "chair-dnrc.example.com")
    );
    assert_eq!(
        uri.params().next().map(|p| p.name),
        Some(&b"unknownparam"[..])
    );
    let from = message.from().expect("From");
    assert_eq!(from.display_name().as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(from.tag(), Some("98asjd8"));
    assert_eq!(message.to().expect("To").tag(), Some("1918181833n"));
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    let cseq = message.cseq().expect("CSeq");
    assert_eq!((cseq.number(), cseq.method().as_str()), (9, "INVITE"));
    let vias: Vec<_> = message.vias().map(|via| via.expect("a Via")).collect();
    let hops: Vec<_> = vias
        .iter()
        .map(|via| (via.transport(), via.host(), via.branch()))
        .collect();
    assert_eq!(
        hops,
        [
            ("UDP", "192.0.2.2", Some("390skdjuw")),
            ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")),
            ("UDP", "192.168.255.111", Some("z9hG4bK30239")),
        ]
    );
    assert_eq!(message.header(Name::Subject).expect("Subject").text(), "");
    let contact = message.contact().expect("Contact");
    assert_eq!(
        contact.display_name().as_deref(),
        Some("Quoted string \"\"")
    );
    assert_eq!(contact.param("q").as_deref(), Some("0.33"));
    assert_eq!(contact.param("newparam").as_deref(), Some("newvalue"));
    let unusual = message.header(Name::Other("UnknownHeaderWithUnusualValue"));
    assert_eq!(unusual.expect("the header").text(), ";;,,;;,;");
    let folded = message
        .header(Name::Other("NewFangledHeader"))
        .expect("the header");
    assert_eq!(folded.text(), "newfangled value continued newfangled value");
    assert_eq!(message.body().len(), 150);
    assert!(
        message
            .routes()
            .next()
            .expect("a Route")
            .expect("valid")
            .uri()
            .is_loose_router()
    );
}

#[test]
fn odd_but_legal_values_are_kept() {
    let intmeth = message("rfc4475/intmeth");
    assert_eq!(
        intmeth.method().map(|m| m.as_str()),
        Some("!interesting-Method0123456789_*+`.%indeed'~")
    );
    assert_eq!(
        intmeth.to().expect("To").display_name().as_deref(),
        Some("BEL:\u{fffd} NUL:\u{fffd} DEL:\u{fffd}")
    );
    assert_eq!(
        intmeth.from().expect("From").tag(),
        Some("_token~1'+`*%!-.")
    );

    let esc01 = message("rfc4475/esc01");
    let uri = esc01.request_uri().expect("a URI");
    assert_eq!(uri.user_decoded().as_deref(), Some("sips:user@example.com"));
    assert_eq!(
        esc01.to().expect("To").uri().user_decoded().as_deref(),
        Some("user")
    );

    let escnull = message("rfc4475/escnull");
    let users: Vec<_> = escnull
        .contacts()
        .map(|c| {
            c.expect("valid")
                .uri()
                .user_decoded()
                .map(|user| user.into_owned())
        })
        .collect();
    assert_eq!(users, [Some("\0".to_owned()), Some("\0\0".to_owned())]);

    let esc02 = message("rfc4475/esc02");
    assert_eq!(esc02.method().map(|m| m.as_str()), Some("RE%47IST%45R"));
    assert_eq!(
        esc02.from().expect("From").display_name().as_deref(),
        Some("%Z%45")
    );

    let semiuri = message("rfc4475/semiuri");
    let uri = semiuri.request_uri().expect("a URI");
    assert_eq!(
        uri.user_decoded().as_deref(),
        Some("user;par=u@example.net")
    );
    assert_eq!(uri.params().count(), 0);

    let transports = message("rfc4475/transports");
    let names: Vec<_> = transports
        .vias()
        .map(|via| via.expect("valid").transport().to_owned())
        .collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);

    let dblreq = message("rfc4475/dblreq");
    assert_eq!(dblreq.method().map(|m| m.as_str()), Some("REGISTER"));
    assert!(dblreq.body().is_empty() && dblreq.as_bytes().ends_with(b"\r\n\r\n"));

    let mpart01 = message("rfc4475/mpart01");
    let content_type = mpart01.content_type().expect("valid").expect("present");
    assert!(content_type.is("multipart", "mixed"));
    assert_eq!(
        content_type.param("boundary").as_deref(),
        Some("7a9cbec02ceef655")
    );

    assert!(
        message("rfc4475/unreason")
            .reason_phrase()
            .starts_with("= 2**3 * 5**2 но сто")
    );
    assert_eq!(message("rfc4475/noreason").reason_phrase(), "");

    let longreq = message("rfc4475/longreq");
    assert_eq!(longreq.vias().count(), 34);
    assert!(longreq.contact().expect("Contact").tag().is_none());
}

#[test]
fn header_and_uri_parameters_are_told_apart() {
    let outside = message("rfc4475/cparam01").contact().expect("Contact");
    assert!(outside.params().named("unknownparam").is_some());
    assert_eq!(outside.uri().params().count(), 0);
    let inside = message("rfc4475/cparam02").contact().expect("Contact");
    assert!(inside.uri().param("unknownparam").is_some());
    assert_eq!(inside.params().count(), 0);
    let escaped = message("rfc4475/regescrt").contact().expect("Contact");
    assert_eq!(
        escaped.uri().headers(),
        Some("Route=%3Csip:sip.example.com%3E")
    );
}

#[test]
fn ipv6_addresses_and_ports_are_told_apart() {
    let ambiguous = message("rfc5118/port-ambiguous")
        .request_uri()
        .expect("a URI");
    assert_eq!(ambiguous.host_ip(), "2001:db8::10:5070".parse().ok());
    assert_eq!(ambiguous.port(), None);
    let clear = message("rfc5118/port-unambiguous")
        .request_uri()
        .expect("a URI");
    assert_eq!(
        (clear.host_ip(), clear.port()),
        ("2001:db8::10".parse().ok(), Some(5070))
    );
    for name in ["with-delim", "no-delim"] {
        let via = message(&format!("rfc5118/via-received-param-{name}"))
            .top_via()
            .expect("a Via");
        assert_eq!(via.received(), "2001:db8::9:255".parse().ok(), "{name}");
    }
    let mapped = message("rfc5118/ipv4-mapped-ipv6")
        .top_via()
        .expect("a Via");
    assert_eq!(
        (mapped.host_ip(), mapped.port()),
        ("::ffff:192.0.2.10".parse().ok(), Some(19823))
    );
    for name in ["bug-abnf-3-colons", "correct-abnf-2-colons"] {
        let uri = message(&format!("rfc5118/ipv6-{name}"))
            .request_uri()
            .expect("a URI");
        assert_eq!(uri.host_ip(), "2001:db8::192.0.2.1".parse().ok(), "{name}");
    }
}
