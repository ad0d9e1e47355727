//! Tests: session descriptions, read and printed.

use super::*;

/// Descriptions as real programs write them.
const BARESIP: &str = "v=0\r\no=- 3945678901 2108765432 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n\
    t=0 0\r\na=tool:baresip 1.0.0\r\nm=audio 10040 RTP/AVP 0 8 101\r\nb=AS:125\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\na=rtcp:10041\r\na=sendrecv\r\na=label:1\r\na=rtcp-rsize\r\na=ssrc:1234 cname:sip:a@b\r\n\
    a=ptime:20\r\na=minptime:20\r\n";

const SIPP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.1.1\r\ns=-\r\n\
    c=IN IP4 127.0.1.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

const LINPHONE: &str = "v=0\r\no=me 1234 4321 IN IP4 192.168.1.2\r\ns=Talk\r\nc=IN IP4 192.168.1.2\r\n\
    t=0 0\r\na=ice-pwd:abcdefabcdefabcdefabcdef\r\na=ice-ufrag:abcdef00\r\na=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n\
    a=record:off\r\nm=audio 7078 RTP/AVP 96 97 98 0 8 18 101 99 100\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\na=rtpmap:97 speex/16000\r\na=fmtp:97 vbr=on\r\na=rtpmap:98 speex/8000\r\n\
    a=fmtp:98 vbr=on\r\na=fmtp:18 annexb=yes\r\na=rtpmap:101 telephone-event/48000\r\n\
    a=rtpmap:99 telephone-event/16000\r\na=rtpmap:100 telephone-event/8000\r\na=rtcp-fb:* trr-int 5000\r\n\
    a=rtcp-fb:* ccm tmmbr\r\nm=video 9078 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";

#[test]
fn real_descriptions_read() {
    let baresip = SessionDescription::parse(BARESIP.as_bytes()).unwrap();
    let audio = &baresip.media[0];
    assert_eq!((audio.port, audio.protocol.as_str()), (10040, "RTP/AVP"));
    assert_eq!(audio.value("rtcp"), Some("10041"));
    let names: Vec<_> = audio.rtp_formats().iter().map(Format::to_string).collect();
    assert_eq!(
        names,
        ["0 PCMU/8000", "8 PCMA/8000", "101 telephone-event/8000"]
    );
    assert_eq!(audio.rtp_formats()[2].fmtp.as_deref(), Some("0-15"));

    let linphone = SessionDescription::parse(LINPHONE.as_bytes()).unwrap();
    assert_eq!(linphone.media.len(), 2);
    let formats = linphone.media[0].rtp_formats();
    assert_eq!(formats.len(), 9);
    assert_eq!((formats[0].channels, formats[0].clock_rate), (2, 48_000));
    assert_eq!(formats[5].to_string(), "18 G729/8000");
    assert_eq!(formats[5].fmtp.as_deref(), Some("annexb=yes"));

    let sipp = SessionDescription::parse(SIPP.as_bytes()).unwrap();
    assert_eq!(sipp.origin.username, "user1");
    assert_eq!(sipp.to_string(), SIPP.replace("\r\n    ", "\r\n"));
}

#[test]
fn odd_but_readable_descriptions_read() {
    for (name, text) in [
        (
            "bare line feeds",
            "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
        ),
        (
            "no last line end",
            "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0",
        ),
        (
            "only what matters",
            "v=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        (
            "attributes before time",
            "v=0\r\na=sendrecv\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        ),
        (
            "media address after attributes",
            "v=0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=ptime:20\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        (
            "blank lines and trailing spaces",
            "\r\nv=0\r\n\r\nc=IN IP4 192.0.2.1  \r\nm=audio 4000 RTP/AVP 0 \r\n\r\n",
        ),
        (
            "unknown lines",
            "v=0\r\nx=what\r\nc=IN IP4 192.0.2.1\r\nnonsense\r\nm=audio 4000 RTP/AVP 0\r\ny=9\r\n",
        ),
        (
            "doubled spaces",
            "v=0\r\nc=IN  IP4   192.0.2.1\r\nm=audio  4000  RTP/AVP  0\r\n",
        ),
        (
            "time to live",
            "v=0\r\nc=IN IP4 192.0.2.1/127\r\nm=audio 4000/2 RTP/AVP 0\r\n",
        ),
        (
            "not UTF-8",
            "v=0\r\ns=caf\u{e9}\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
        ),
        (
            "odd origin",
            "v=0\r\no=  x y IN IP4 nowhere\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
        ),
        (
            "negative origin",
            "v=0\r\no=a -1 99999999999999999999999 IN IP4 0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
        ),
        (
            "null at the end",
            "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n\0",
        ),
    ] {
        let mut bytes = text.as_bytes().to_vec();
        if name == "not UTF-8" {
            bytes = text.chars().map(|c| c as u8).collect();
        }
        let description = SessionDescription::parse(&bytes).expect(name);
        let media = &description.media[0];
        assert_eq!(media.port, 4000, "{name}");
        let address = Connection::Ip("192.0.2.1".parse().unwrap());
        assert_eq!(description.connection_of(media), Some(&address), "{name}");
        assert_eq!(media.rtp_formats(), [Format::pcmu()], "{name}");
    }
}

#[test]
fn what_is_no_description_is_refused() {
    for (text, error) in [
        ("", ParseError::Version),
        ("\r\n\r\n", ParseError::Version),
        ("hello", ParseError::Version),
        ("v=1\r\n", ParseError::Version),
        ("o=- 1 1 IN IP4 192.0.2.1\r\nv=0\r\n", ParseError::Version),
        ("v=0\r\nc=IN IP4\r\n", ParseError::Line(2)),
        ("v=0\r\nm=audio\r\n", ParseError::Line(2)),
        ("v=0\r\nm=audio 4000\r\n", ParseError::Line(2)),
        (
            "v=0\r\n\r\nm=audio 65536 RTP/AVP 0\r\n",
            ParseError::Line(3),
        ),
        ("v=0\r\nm=audio -1 RTP/AVP 0\r\n", ParseError::Line(2)),
        ("v=0\r\nm= 4000 RTP/AVP 0\r\n", ParseError::Line(2)),
        ("v=0\r\nm=video 0 RTP/AVP 0\r1\r\n", ParseError::Line(2)),
        ("v=0\r\nm=video 0 RTP\u{b}AVP 0\r\n", ParseError::Line(2)),
        ("v=0\r\nm=video 0 RTP/\u{e9} 0\r\n", ParseError::Line(2)),
        ("v=0\r\nc=IN IP4 \u{1}1.1.1.1\r\n", ParseError::Line(2)),
    ] {
        assert_eq!(
            SessionDescription::parse(text.as_bytes()),
            Err(error),
            "{text:?}"
        );
    }
}

#[test]
fn hostile_sizes_are_refused_or_cut() {
    let long = format!("v=0\r\na={}\r\n", "x".repeat(MAX_LEN));
    let many = format!("v=0\r\n{}", "a=x\n".repeat(MAX_LINES));
    let media = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\n".repeat(MAX_MEDIA + 1));
    for text in [long, many, media] {
        assert_eq!(
            SessionDescription::parse(text.as_bytes()),
            Err(ParseError::TooLarge)
        );
    }
    let formats = format!("v=0\r\nm=audio 1 RTP/AVP{}\r\n", " 0".repeat(5000));
    let description = SessionDescription::parse(formats.as_bytes()).unwrap();
    assert_eq!(description.media[0].formats.len(), MAX_FORMATS);
}

#[test]
fn names_and_nonsense_are_kept_as_they_are() {
    for address in ["host.example", "999.1.1.1", "$", "::ffff:zz"] {
        let text = format!("v=0\r\nc=IN IP4 {address}\r\n");
        let description = SessionDescription::parse(text.as_bytes()).unwrap();
        assert_eq!(
            description.connection,
            Some(Connection::Other(address.to_owned()))
        );
    }
}

#[test]
fn attributes_belong_to_session_or_media() {
    let text = b"v=0\r\na=sendonly\r\na=x:1\r\nm=audio 1 RTP/AVP 0\r\nm=audio 2 RTP/AVP 0\r\na=inactive\r\na=x:2\r\na= bad\r\n";
    let description = SessionDescription::parse(text).unwrap();
    assert_eq!(description.value("x"), Some("1"));
    assert_eq!(description.media[1].value("x"), Some("2"));
    assert!(!description.media[0].has("x"));
    assert_eq!(
        description.direction_of(&description.media[0]),
        Direction::SendOnly
    );
    assert_eq!(
        description.direction_of(&description.media[1]),
        Direction::Inactive
    );
}

#[test]
fn every_prefix_and_flipped_bit_is_survived_and_prints_stably() {
    for text in [BARESIP, SIPP, LINPHONE] {
        for len in 0..text.len() {
            let _ = SessionDescription::parse(&text.as_bytes()[..len]);
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(description) = SessionDescription::parse(&bytes) {
                let printed = description.to_string();
                let again = SessionDescription::parse(printed.as_bytes());
                assert_eq!(again.map(|d| d.to_string()), Ok(printed));
            }
        }
    }
}

/// Why the `sdp` crate does not read for us; if one of these changes, think again.
#[test]
fn the_sdp_crate_refuses_what_peers_send() {
    let base = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    let accepts = |text: &str| {
        let mut cursor = std::io::Cursor::new(text.as_bytes());
        sdp::description::session::SessionDescription::unmarshal(&mut cursor).is_ok()
    };
    assert!(accepts(&format!("{base}m=audio 4000 RTP/AVP 0\r\n")));
    for (name, text) in [
        (
            "no time",
            base.replace("t=0 0\r\n", "") + "m=audio 4000 RTP/AVP 0\r\n",
        ),
        (
            "attribute before time",
            base.replace("t=0", "a=x\r\nt=0") + "m=audio 4000 RTP/AVP 0\r\n",
        ),
        ("messages", format!("{base}m=message 4000 TCP/MSRP *\r\n")),
        (
            "unknown line",
            format!("{base}x=1\r\nm=audio 4000 RTP/AVP 0\r\n"),
        ),
        ("signed version", base.replace(" 1 1 ", " 1 -1 ")),
    ] {
        assert!(!accepts(&text), "{name}");
        assert!(SessionDescription::parse(text.as_bytes()).is_ok(), "{name}");
    }
}
