//! Tests of URI parsing and comparison.

use super::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn all_parts_are_found() {
    let uri = uri("sip:al%20ice:se%3Acret@[2001:db8::10]:5070;lr;transport=TCP?Subject=a%20b&x=");
    assert_eq!(uri.user(), Some("al%20ice"));
    assert_eq!(uri.user_decoded().as_deref(), Some("al ice"));
    assert_eq!(uri.password(), Some("se%3Acret"));
    assert_eq!(uri.host(), "[2001:db8::10]");
    assert_eq!(uri.host_ip(), "2001:db8::10".parse().ok());
    assert_eq!(uri.port(), Some(5070));
    assert!(uri.is_loose_router());
    assert_eq!(uri.param("Transport").as_deref(), Some("TCP"));
    assert_eq!(uri.headers(), Some("Subject=a%20b&x="));
    assert!(uri.without_headers().as_str().ends_with("transport=TCP"));
    assert_eq!(uri.detach(), uri);
    assert_eq!(Uri::parse("sip:*21#@pbx").unwrap().user(), Some("*21#"));
    assert_eq!(Uri::parse("sip:pbx_01:5070").unwrap().host(), "pbx_01");
}

#[test]
fn reserved_bytes_in_the_user_are_kept() {
    let text = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com";
    let uri = uri(text);
    assert_eq!(
        uri.user(),
        Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*")
    );
    assert_eq!(uri.host(), "example.com");
    assert_eq!(uri.to_string(), text);
}

#[test]
fn broken_uris_are_refused_with_the_part_that_breaks_them() {
    let cases = [
        ("example.com", UriError::Scheme),
        (":x", UriError::Scheme),
        ("1a:x", UriError::Scheme),
        (" sip:a@b", UriError::Scheme),
        ("sip:@b", UriError::User),
        ("sip:a b@c", UriError::User),
        ("sip:a%4@c", UriError::User),
        ("sip:", UriError::Host),
        ("sip:a@", UriError::Host),
        ("sip:2001:db8::10", UriError::Host),
        ("sip:a@[2001:db8:::10]", UriError::Host),
        ("sip:a@[2001:db8:::1:192.0.2.1]", UriError::Host),
        ("sip:a@[2001::db8:::192.0.2.1]", UriError::Host),
        ("sip:a@[::1", UriError::Host),
        ("sip:a@-b", UriError::Host),
        ("sip:a@b..c", UriError::Host),
        ("sip:a@1.2.3", UriError::Host),
        ("sip:a@1.2.3.400", UriError::Host),
        ("sip:a@b>", UriError::Host),
        ("sip:a@b:", UriError::Port),
        ("sip:a@b:65536", UriError::Port),
        ("sip:a@b:-1", UriError::Port),
        ("sip:a@b; lr", UriError::Parameter),
        ("sip:a@b;", UriError::Parameter),
        ("sip:a@b;x=", UriError::Parameter),
        ("sip:a@b;x=1;X=2", UriError::Parameter),
        ("sip:a@b;x=1;y;x", UriError::Parameter),
        ("sip:a@b;x=1;%78=2", UriError::Parameter),
        ("sip:a@b?", UriError::Headers),
        ("sip:a@b?x", UriError::Headers),
        ("sip:a@b?x=\r\n", UriError::Headers),
        ("tel:", UriError::User),
        ("tel:+1 234", UriError::User),
        ("http://a b", UriError::Opaque),
        ("urn:", UriError::Opaque),
    ];
    for (text, error) in cases {
        assert_eq!(Uri::parse(text).err(), Some(error), "{text:?}");
    }
    assert_eq!(
        Uri::parse(&format!("sip:{}", "a".repeat(2100))).err(),
        Some(UriError::TooLong)
    );
}

/// As baresip 1.0 writes it.
#[test]
fn the_very_same_parameter_twice_means_what_it_means_once() {
    let twice = uri("sip:a@b;transport=tls;lr;transport=tls");
    assert_eq!(twice.param("transport").as_deref(), Some("tls"));
    assert!(twice.is_equivalent(&uri("sip:a@b;transport=tls")));
    assert!(!twice.is_equivalent(&uri("sip:a@b;transport=tcp")));
    assert_eq!(twice.to_string(), "sip:a@b;transport=tls;lr;transport=tls");
}

#[test]
fn other_schemes_stay_opaque() {
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme(), Scheme::Other);
    let tel = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!(tel.scheme(), Scheme::Tel);
    assert_eq!(tel.user(), Some("+1-201-555-0123"));
    assert!(tel.is_equivalent(&uri("tel:+12015550123;phone-context=EXAMPLE.com")));
}

/// The examples of RFC 3261 §19.1.4.
#[test]
fn equivalence_follows_the_rfc_examples() {
    let same = [
        (
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp",
        ),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;newparam=5",
        ),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::0:1]", "sip:a@[2001:DB8::1]"),
        (
            "sip:a@[2001:db8:::192.0.2.1]",
            "sip:a@[2001:db8::192.0.2.1]",
        ),
    ];
    for (a, b) in same {
        assert!(uri(a).is_equivalent(&uri(b)), "{a} and {b}");
        assert!(uri(b).is_equivalent(&uri(a)), "{b} and {a}");
    }
    let different = [
        (
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP",
        ),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        (
            "sip:bob@biloxi.com",
            "sip:bob@biloxi.com:6000;transport=tcp",
        ),
        (
            "sip:carol@chicago.com",
            "sip:carol@chicago.com?Subject=next%20meeting",
        ),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        (
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off",
        ),
        ("sip:a@b.example", "sips:a@b.example"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
    ];
    for (a, b) in different {
        assert!(!uri(a).is_equivalent(&uri(b)), "{a} and {b}");
    }
}
