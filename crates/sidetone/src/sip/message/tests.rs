//! Tests of parsing, validating and building messages.

mod table;

use super::*;
use crate::sip::header::address::NameAddr;
use crate::sip::message::build::{BuildError, RequestBuilder, ResponseBuilder};
use crate::sip::message::validate::Reject;

const HEAD: &str = "OPTIONS sip:bob@biloxi.example SIP/2.0\r\n";
const ROWS: [&str; 6] = [
    "Via: SIP/2.0/UDP pc33.example;branch=z9hG4bKhjhs8",
    "From: <sip:alice@atlanta.example>;tag=1928301774",
    "To: <sip:bob@biloxi.example>",
    "Call-ID: a84b4c76e66710",
    "CSeq: 63104 OPTIONS",
    "Max-Forwards: 70",
];

fn parse(text: impl AsRef<[u8]>) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_ref())).expect("a message")
}

/// A good request with `rows` before its own, and `body`.
fn request_with(rows: &str, body: &str) -> Message {
    parse(format!("{HEAD}{rows}{}\r\n\r\n{body}", ROWS.join("\r\n")))
}

fn defect(message: &Message) -> Option<Defect> {
    message.validate().err().map(|reject| reject.defect)
}

fn answer(message: &Message) -> Option<u16> {
    message
        .validate()
        .err()
        .and_then(|reject| reject.status)
        .map(|status| status.code())
}

#[test]
fn what_is_no_sip_is_told_apart() {
    let error = |text: &[u8]| Message::parse(Bytes::copy_from_slice(text)).err();
    assert_eq!(error(b""), Some(ParseError::Empty));
    assert_eq!(error(b"\r\n\r\n"), Some(ParseError::Empty));
    assert_eq!(
        error(&[b'x'; MAX_MESSAGE_BYTES + 1]),
        Some(ParseError::TooLarge)
    );
    for junk in [
        "\0\0\0\0",
        "GET / HTTP/1.1\r\n\r\n",
        "SIP/2.0\r\n\r\n",
        "INVITE sip:a\r\n\r\n",
        "x",
    ] {
        assert_eq!(error(junk.as_bytes()), Some(ParseError::NotSip), "{junk:?}");
    }
}

#[test]
fn line_breaks_before_and_bytes_after_a_message_are_ignored() {
    let text = format!("\r\n\r\n{HEAD}{}\r\nl: 3\r\n\r\nabcdef", ROWS.join("\r\n"));
    let message = parse(text);
    assert_eq!(message.validate(), Ok(()));
    assert_eq!(&message.body()[..], b"abc");
    assert!(message.as_bytes().starts_with(b"OPTIONS") && message.as_bytes().ends_with(b"abc"));
    assert_eq!(
        &request_with("", "all the rest").body()[..],
        b"all the rest"
    );
}

#[test]
fn content_length_cannot_lie() {
    for (rows, expected) in [
        ("Content-Length: 4\r\n", None),
        ("Content-Length: 0\r\n", None),
        ("Content-Length: 5\r\n", Some(Defect::ShortBody)),
        ("Content-Length: 99999999999\r\n", Some(Defect::ShortBody)),
        (
            "Content-Length: 18446744073709551616\r\n",
            Some(Defect::ContentLength),
        ),
        ("Content-Length: -1\r\n", Some(Defect::ContentLength)),
        ("Content-Length: +4\r\n", Some(Defect::ContentLength)),
        ("Content-Length: 0x4\r\n", Some(Defect::ContentLength)),
        ("Content-Length: 4 4\r\n", Some(Defect::ContentLength)),
        ("Content-Length: 4, 4\r\n", Some(Defect::ContentLength)),
        ("Content-Length:\r\n", Some(Defect::ContentLength)),
        (
            "Content-Length: 4\r\nl: 2\r\n",
            Some(Defect::RepeatedContentLength),
        ),
        (
            "Content-Length: 4\r\nl: 4\r\n",
            Some(Defect::RepeatedContentLength),
        ),
    ] {
        let message = request_with(rows, "abcd");
        assert_eq!(defect(&message), expected, "{rows:?}");
        assert_eq!(answer(&message), expected.map(|_| 400), "{rows:?}");
    }
}

/// Variants of a header field name that another parser could read as `X-Auth`, and whether ours
/// takes them for it; those not taken make the message invalid or name something else.
#[test]
fn a_header_name_cannot_be_disguised() {
    let same = [
        "X-Auth: y",
        "x-auth: y",
        "X-AUTH:y",
        "X-Auth : y",
        "X-Auth\t:\ty",
        "X-Auth:\r\n y",
    ];
    for row in same {
        let message = request_with(&format!("{row}\r\n"), "");
        assert_eq!(message.validate(), Ok(()), "{row:?}");
        assert_eq!(
            message.header(Name::Other("X-Auth")).expect("found").text(),
            "y",
            "{row:?}"
        );
        assert!(
            message
                .print()
                .windows(9)
                .any(|w| w.eq_ignore_ascii_case(b"X-Auth: y")),
            "{row:?}"
        );
    }
    let refused = [
        "X-Auth\0: y",
        "X-Auth\x0b: y",
        "X-Auth\x0c: y",
        "X-Auth\r: y",
        "X-Auth\n: y",
        "X-Auth\r\n: y",
        "\0X-Auth: y",
        "\x7fX-Auth: y",
        "X\0-Auth: y",
        "X -Auth: y",
        "X\t-Auth: y",
        "X-Auth y",
        "X-Auth",
        "X-Auth; : y",
        "X-Auth\u{a0}: y",
        "X-\u{410}uth: y",
        "\u{feff}X-Auth: y",
        "(X-Auth): y",
        "<X-Auth>: y",
        "\"X-Auth\": y",
        "X-Auth=: y",
        "X-Auth@: y",
        ": y",
        " : y",
        "X-Auth[]: y",
        "X-Auth/: y",
        "X-Auth\\: y",
        "X-Auth,X: y",
        "{X-Auth}: y",
        "X-Auth?: y",
        "X-Auth\x1b[0m: y",
        "X-Auth:\ry",
        "X-Auth: \0y",
        "X-Auth: y\x08",
    ];
    for row in refused {
        let message = request_with(&format!("A: b\r\n{row}\r\n"), "");
        // A line that begins with white space continues the one before it, and is that alone.
        if row.starts_with(' ') {
            assert_eq!(message.header(Name::Other("A")).expect("A").text(), "b : y");
            continue;
        }
        assert_eq!(answer(&message), Some(400), "{row:?}");
    }
}

#[test]
fn control_bytes_are_refused_wherever_they_stand() {
    for byte in (0..0x20).chain([0x7f]).filter(|b| !b"\t\r\n".contains(b)) {
        let message = request_with(&format!("Subject: a{}b\r\n", char::from(byte)), "");
        assert_eq!(defect(&message), Some(Defect::ControlByte), "{byte:#x}");
        let line = format!(
            "OPTIONS sip:a{} SIP/2.0\r\n{}\r\n\r\n",
            char::from(byte),
            ROWS.join("\r\n")
        );
        assert_eq!(answer(&parse(line)), Some(400), "{byte:#x}");
    }
    assert_eq!(
        defect(&request_with("S: a\rb\r\n", "")),
        Some(Defect::BareCarriageReturn)
    );
    assert_eq!(
        defect(&request_with("S: a\n", "")),
        Some(Defect::BareLineFeed)
    );
    assert_eq!(defect(&request_with("S: a\tb\r\n", "\0\r\x01")), None);
    // A quoted pair may hold one, but not outside of quotes.
    assert_eq!(defect(&request_with("S: \"a\\\x07\"\r\n", "")), None);
    assert_eq!(
        defect(&request_with("S: a\\\x07\r\n", "")),
        Some(Defect::ControlByte)
    );
}

#[test]
fn a_header_without_end_is_refused() {
    let whole = format!("{HEAD}{}\r\n\r\n", ROWS.join("\r\n"));
    assert_eq!(parse(&whole).validate(), Ok(()));
    for end in HEAD.len()..whole.len() {
        let message = parse(&whole[..end]);
        assert!(message.validate().is_err(), "cut at {end}");
    }
}

#[test]
fn every_mandatory_header_is_missed_and_still_answered() {
    for (missing, row) in ROWS.iter().enumerate().take(5) {
        let others = ROWS.iter().enumerate().filter(|(n, _)| *n != missing);
        let rows: Vec<_> = others.map(|(_, row)| *row).collect();
        let message = parse(format!("{HEAD}{}\r\n\r\n", rows.join("\r\n")));
        let name = row.split(':').next().expect("a name");
        let Some(Defect::Header(error)) = defect(&message) else {
            panic!("{name}")
        };
        assert_eq!((error.header, error.problem), (name, Problem::Missing));
        let expected = if name == "Via" { None } else { Some(400) };
        assert_eq!(answer(&message), expected, "{name}");
    }
}

#[test]
fn a_header_that_may_stand_once_may_not_stand_twice() {
    let rows = [
        "f: <sip:eve@e.example>;tag=2",
        "t: <sip:eve@e.example>",
        "i: other",
        "CSEQ: 63104 OPTIONS",
        "max-forwards: 70",
    ];
    for row in rows {
        let message = request_with(&format!("{row}\r\n"), "");
        let Some(Defect::Header(error)) = defect(&message) else {
            panic!("{row}")
        };
        assert_eq!(error.problem, Problem::Repeated, "{row}");
    }
    let twice = request_with("c: a/b\r\nContent-Type: a/b\r\n", "x");
    assert_eq!(answer(&twice), Some(400));
    assert_eq!(
        defect(&request_with(
            "X-A: 1\r\nX-A: 1\r\nAllow: A\r\nAllow: B\r\n",
            ""
        )),
        None
    );
}

#[test]
fn numbers_keep_their_bounds() {
    for (row, number) in [
        ("Max-Forwards: 255", 255),
        ("Max-Forwards: 0", 0),
        ("Max-Forwards: 007", 7),
    ] {
        let text = format!("{HEAD}{row}\r\n{}\r\n\r\n", ROWS[..5].join("\r\n"));
        assert_eq!(parse(text).max_forwards(), Ok(Some(number)), "{row}");
    }
    for bad in ["256", "-1", "1 2", "", "99999999999999999999", "1.0", "0x1"] {
        let text = format!(
            "{HEAD}Max-Forwards: {bad}\r\n{}\r\n\r\n",
            ROWS[..5].join("\r\n")
        );
        assert_eq!(answer(&parse(text)), Some(400), "{bad:?}");
    }
    let with_cseq = |value: &str| {
        let rows = ROWS.join("\r\n").replace("63104 OPTIONS", value);
        parse(format!("{HEAD}{rows}\r\n\r\n"))
    };
    assert_eq!(with_cseq("2147483647 OPTIONS").validate(), Ok(()));
    assert_eq!(answer(&with_cseq("2147483648 OPTIONS")), Some(400));
    assert_eq!(defect(&with_cseq("1 INVITE")), Some(Defect::CSeqMethod));
    assert_eq!(defect(&with_cseq("1 options")), Some(Defect::CSeqMethod));
}

#[test]
fn sizes_are_bounded() {
    let many = "Q: y\r\n".repeat(10_000);
    assert_eq!(
        defect(&request_with(&many, "")),
        Some(Defect::TooManyHeaders)
    );
    let most = "X-A: y\r\n".repeat(MAX_HEADERS - ROWS.len());
    assert_eq!(defect(&request_with(&most, "")), None);
    let long = format!("X: {}\r\n", "y".repeat(MAX_HEADER_BYTES + 1));
    assert_eq!(defect(&request_with(&long, "")), Some(Defect::LongHeader));
    let folded = format!("X: y\r\n{}", format!(" {}\r\n", "y".repeat(1000)).repeat(9));
    assert_eq!(defect(&request_with(&folded, "")), Some(Defect::LongHeader));
    let uri = "a".repeat(60_000);
    let line = format!("OPTIONS sip:{uri} SIP/2.0\r\n{}\r\n\r\n", ROWS.join("\r\n"));
    assert_eq!(answer(&parse(line)), Some(414));
    let name = format!("{}: y\r\n", "x".repeat(60_000));
    assert_eq!(defect(&request_with(&name, "")), Some(Defect::LongHeader));
}

#[test]
fn silence_is_kept_where_nobody_may_be_answered() {
    let ack = parse(format!("{HEAD}{}\r\n\r\n", ROWS.join("\r\n")).replace("OPTIONS", "ACK"));
    assert_eq!(ack.validate(), Ok(()));
    let bad_ack =
        parse(format!("{HEAD}{}\r\n\r\n", ROWS[..4].join("\r\n")).replace("OPTIONS", "ACK"));
    assert!(matches!(
        bad_ack.validate(),
        Err(Reject { status: None, .. })
    ));
    let response = parse("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\n");
    assert!(matches!(
        response.validate(),
        Err(Reject { status: None, .. })
    ));
    for line in [
        "SIP/2.0 99 x",
        "SIP/2.0 700 x",
        "SIP/2.0 0200 OK",
        "SIP/2.0 2 OK",
        "SIP/2.0  200",
    ] {
        let message = parse(format!("{line}\r\n{}\r\n\r\n", ROWS.join("\r\n")));
        assert!(
            matches!(message.validate(), Err(Reject { status: None, .. })),
            "{line}"
        );
    }
    assert_eq!(
        parse(format!("SIP/2.0 200\r\n{}\r\n\r\n", ROWS.join("\r\n"))).validate(),
        Ok(())
    );
}

#[test]
fn other_versions_and_schemes_get_their_own_status() {
    let text = |line: &str| parse(format!("{line}\r\n{}\r\n\r\n", ROWS.join("\r\n")));
    assert_eq!(answer(&text("OPTIONS sip:a SIP/3.0")), Some(505));
    assert_eq!(text("OPTIONS sip:a sip/2.0").validate(), Ok(()));
    assert_eq!(answer(&text("OPTIONS mailto:a@b SIP/2.0")), Some(416));
    assert_eq!(text("OPTIONS tel:+12015550123 SIP/2.0").validate(), Ok(()));
    assert_eq!(answer(&text("OPTIONS sip:a?Route=b SIP/2.0")), Some(400));
    assert_eq!(answer(&text("OPTIONS  SIP/2.0")), Some(400));
    assert_eq!(answer(&text("OPTIONS sip:a\tb SIP/2.0")), Some(400));
}

#[test]
fn lists_run_over_rows_commas_and_folds() {
    let message = request_with(
        "Route: <sip:a;lr>,\r\n <sip:b,c@h;lr>\r\nRoute:\"x, <y>\" <sip:d;lr>\r\nSupported: a,,\r\n\tb\r\n\
         k:\r\nRequire: c\r\nRecord-Route: <sip:z;lr>\r\nm: <sip:q@q>;q=\"a,b\", sip:r@r\r\n",
        "",
    );
    assert_eq!(message.validate(), Ok(()));
    let routes: Vec<_> = message
        .routes()
        .map(|route| route.expect("valid"))
        .collect();
    let uris: Vec<_> = routes.iter().map(|route| route.uri().as_str()).collect();
    assert_eq!(uris, ["sip:a;lr", "sip:b,c@h;lr", "sip:d;lr"]);
    assert_eq!(message.supported().collect::<Vec<_>>(), ["a", "b"]);
    assert!(message.require().has("C") && !message.require().has("d"));
    assert_eq!(message.contacts().count(), 2);
    for bad in [
        "Route: sip:a;lr\r\n",
        "Route: <sip:a>,,<sip:b>\r\n",
        "Route:\r\n",
        "Via: x,\r\n",
    ] {
        assert_eq!(answer(&request_with(bad, "")), Some(400), "{bad:?}");
    }
}

#[test]
fn a_star_contact_stands_alone() {
    let star = request_with("Contact: *\r\n", "");
    assert!(star.has_star_contact() && star.contacts().next().is_none());
    assert_eq!(star.validate(), Ok(()));
    let both = request_with("Contact: *\r\nContact: <sip:a@b>\r\n", "");
    assert!(!both.has_star_contact());
    assert_eq!(answer(&both), Some(400));
}

#[test]
fn builders_refuse_what_would_inject() {
    let uri: Uri = "sip:bob@biloxi.example?Subject=x".parse().expect("a URI");
    let build = |name, value: &str| {
        RequestBuilder::new(Method::Invite, &uri)
            .header(name, value)
            .build()
    };
    for bad in ["a\r\nX: y", "a\rb", "a\nb", "a\0b", "a\x1bb", "\x7f"] {
        let error = build(Name::Subject, bad).expect_err("refused");
        assert_eq!(
            error,
            BuildError::ControlByte {
                header: "Subject".to_owned()
            },
            "{bad:?}"
        );
    }
    assert_eq!(
        build(Name::Other("a b"), "x").expect_err("refused"),
        BuildError::Name
    );
    assert_eq!(
        build(Name::Other("a:\r\nb"), "x").expect_err("refused"),
        BuildError::Name
    );
    let good = build(Name::Other("X-A"), "été\t\u{1f642}").expect("built");
    assert_eq!(
        good.header(Name::Other("x-a")).expect("found").text(),
        "été\t\u{1f642}"
    );
    assert_eq!(
        good.request_uri().expect("a URI").as_str(),
        "sip:bob@biloxi.example"
    );
    let big = RequestBuilder::new(Method::Invite, &uri).body("a/b", vec![0; MAX_MESSAGE_BYTES]);
    assert_eq!(big.build().expect_err("refused"), BuildError::TooLarge);
    let type_ = RequestBuilder::new(Method::Invite, &uri).body("a/b\r\nX: y", "x");
    assert!(matches!(type_.build(), Err(BuildError::ControlByte { .. })));
}

#[test]
fn bodies_get_their_true_length() {
    let uri: Uri = "sip:b".parse().expect("a URI");
    let message = RequestBuilder::new(Method::Info, &uri)
        .header(Name::ContentLength, "99")
        .body("application/dtmf-relay", "Signal=1\r\n")
        .build()
        .expect("built");
    assert_eq!(message.content_length(), Ok(Some(10)));
    assert!(
        message
            .content_type()
            .expect("valid")
            .expect("there")
            .is("application", "dtmf-relay")
    );
    assert_eq!(&message.body()[..], b"Signal=1\r\n");
}

#[test]
fn a_response_goes_back_the_way_the_request_came() {
    let text = "INVITE sip:b SIP/2.0\r\n\
        v: SIP/2.0/UDP proxy.example;rport;branch=z9hG4bK1 , SIP/2.0/UDP pc;branch=z9hG4bK2\r\n\
        Via: SIP/2.0/TCP far;branch=z9hG4bK3\r\n\
        f: <sip:a@a>;tag=1\r\nt:\r\n \"B\" <sip:b@b>\r\ni: 7\r\nCSeq: 1 INVITE\r\n\
        Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n\r\n";
    let request = parse(text);
    let build = |status| {
        let builder = ResponseBuilder::for_request(&request, status);
        builder
            .source("192.0.2.9:5099".parse().expect("an address"))
            .to_tag("x1")
            .build()
    };
    let ringing = build(StatusCode::RINGING).expect("built");
    assert_eq!(ringing.validate(), Ok(()));
    let vias: Vec<_> = ringing.vias().map(|via| via.expect("valid")).collect();
    let branches: Vec<_> = vias.iter().filter_map(|via| via.branch()).collect();
    assert_eq!(branches, ["z9hG4bK1", "z9hG4bK2", "z9hG4bK3"]);
    assert_eq!(vias[0].received(), "192.0.2.9".parse().ok());
    assert_eq!((vias[0].rport(), vias[1].received()), (Some(5099), None));
    assert_eq!(ringing.to().expect("To").tag(), Some("x1"));
    assert_eq!(ringing.record_routes().count(), 3);
    for status in [StatusCode::TRYING, StatusCode::BUSY_HERE] {
        assert_eq!(build(status).expect("built").record_routes().count(), 0);
    }
    let again = ResponseBuilder::for_request(&ringing, StatusCode::OK).build();
    assert_eq!(again.expect_err("refused"), BuildError::NotARequest);
    let phrase = ResponseBuilder::for_request(&request, StatusCode::OK).reason_phrase("a\r\nb");
    assert!(matches!(
        phrase.build(),
        Err(BuildError::ControlByte { .. })
    ));
    let tag = ResponseBuilder::for_request(&request, StatusCode::OK).to_tag("a b");
    assert_eq!(tag.build().expect_err("refused"), BuildError::Tag);
}

#[test]
fn a_tag_of_the_request_is_kept() {
    let rows = ROWS.join("\r\n").replace(
        "<sip:bob@biloxi.example>",
        "<sip:bob@biloxi.example>;tag=old",
    );
    let request = parse(format!("{HEAD}{rows}\r\n\r\n"));
    let response = ResponseBuilder::for_request(&request, StatusCode::OK)
        .to_tag("new")
        .build();
    assert_eq!(
        response.expect("built").to().expect("To").tag(),
        Some("old")
    );
}

#[test]
fn injections_of_a_broken_request_do_not_pass_into_its_answer() {
    let rows = ROWS
        .join("\r\n")
        .replace("a84b4c76e66710", "a\rX-Evil: y\0");
    let request = parse(format!("{HEAD}{rows}\r\n\r\n"));
    assert_eq!(answer(&request), Some(400));
    let response = ResponseBuilder::for_request(&request, StatusCode::BAD_REQUEST)
        .build()
        .expect("built");
    assert!(
        response
            .as_bytes()
            .iter()
            .all(|b| !b.is_ascii_control() || b"\r\n".contains(b))
    );
    assert!(response.header(Name::Other("X-Evil")).is_none());
    assert_eq!(
        response.header(Name::CallId).expect("Call-ID").text(),
        "a X-Evil: y"
    );
}

#[test]
fn values_outlive_their_message_without_holding_it() {
    let message = request_with("Contact: \"A\" <sip:a@[::1]:5070;lr>;x=1\r\n", "");
    let contact: NameAddr = message.contact().expect("Contact").detach();
    let via = message.top_via().expect("Via").detach();
    drop(message);
    assert_eq!(contact.uri().port(), Some(5070));
    assert_eq!(contact.param("x").as_deref(), Some("1"));
    assert_eq!(via.branch(), Some("z9hG4bKhjhs8"));
}

#[test]
fn broken_header_fields_that_only_inform_condemn_nothing() {
    let rows = "Allow: a b\r\nAccept: *\r\nReason: \"\r\nWarning: x\r\nSupported: a b\r\n\
        User-Agent: (((\r\nSubject: \"\r\nRetry-After: soon\r\n";
    let request = request_with(rows, "");
    assert_eq!(request.validate(), Ok(()));
    assert!(request.reasons().next().expect("one").is_err());
    assert!(request.warnings().next().expect("one").is_err());
    assert!(request.accept().next().expect("one").is_err());
    assert!(request.retry_after().is_err());
    assert_eq!(request.allow().count(), 0);
    let response = format!(
        "SIP/2.0 200 OK\r\n{rows}Date: x\r\nDate: y\r\n{}\r\n\r\n",
        ROWS.join("\r\n")
    );
    assert_eq!(parse(response).validate(), Ok(()));
    for bad in [
        "Require: a b\r\n",
        "Expires: soon\r\n",
        "Event: \r\n",
        "Refer-To: x\r\n",
        "Date: x\r\n",
    ] {
        assert_eq!(answer(&request_with(bad, "")), Some(400), "{bad:?}");
    }
}
