//! Tests: offers and answers.

use super::*;
use crate::sdp::attribute::EventSet;

fn local(address: &str, port: u16, formats: &[Format]) -> LocalMedia {
    LocalMedia::new(address.parse().unwrap(), port, formats.to_vec())
}

fn us() -> LocalMedia {
    local("192.0.2.9", 9000, &[Format::pcmu(), Format::pcma()])
}

fn socket(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// A description with one session address and these media lines.
fn text(media: &str) -> String {
    format!(
        "v=0\r\no=peer 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{}",
        media.replace('\n', "\r\n")
    )
}

fn answer_to(
    offer: &str,
    local: &LocalMedia,
) -> Result<(SessionDescription, Agreed), NegotiationError> {
    let mut negotiator = Negotiator::new(1);
    negotiator.handle_offer(offer.as_bytes())?;
    let (answer, agreed) = negotiator.answer(local)?;
    assert_eq!(negotiator.state(), State::Stable);
    understood_by_others(&answer);
    Ok((
        SessionDescription::parse(answer.as_bytes()).unwrap(),
        agreed,
    ))
}

fn agreed_on(media: &str) -> Agreed {
    answer_to(&text(media), &us()).unwrap().1
}

fn fault_of(media: &str) -> NegotiationError {
    answer_to(&text(media), &us()).unwrap_err()
}

/// An independent reader must understand what we print.
fn understood_by_others(text: &str) {
    let mut cursor = std::io::Cursor::new(text.as_bytes());
    let read = sdp::description::session::SessionDescription::unmarshal(&mut cursor).unwrap();
    assert_eq!(read.marshal(), text);
}

fn payload_types(formats: &[AgreedFormat]) -> Vec<u8> {
    let own = formats.iter().map(|format| &format.own);
    own.map(|format| format.payload_type).collect()
}

#[test]
fn rfc_3264_section_10_1() {
    // The offer of Alice and the answer of Bob: one audio with one codec out of three; two video
    // streams refused here, since we do audio.
    let offer = text(
        "m=audio 49170 RTP/AVP 0 8 97\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n\
         a=rtpmap:97 iLBC/8000\nm=video 51372 RTP/AVP 31 32\na=rtpmap:31 H261/90000\n\
         a=rtpmap:32 MPV/90000\n",
    );
    let bob = local("192.0.2.9", 49_174, &[Format::pcmu()]);
    let (answer, agreed) = answer_to(&offer, &bob).unwrap();
    assert_eq!(agreed.remote_rtp, socket("192.0.2.1:49170"));
    assert_eq!(agreed.remote_rtcp, socket("192.0.2.1:49171"));
    assert_eq!(agreed.send, Format::pcmu());
    assert_eq!(payload_types(&agreed.receive), [0]);
    assert_eq!(agreed.telephone_event, None);
    assert_eq!(answer.media.len(), 2);
    assert_eq!(
        (answer.media[0].port, answer.media[0].formats.as_slice()),
        (49_174, &["0".to_owned()][..])
    );
    assert_eq!(
        (answer.media[1].port, answer.media[1].kind.as_str()),
        (0, "video")
    );
}

#[test]
fn rfc_3264_section_10_2_one_of_n_codecs() {
    let offer = text(
        "m=audio 62986 RTP/AVP 0 4 18\na=rtpmap:0 PCMU/8000\na=rtpmap:4 G723/8000\n\
         a=rtpmap:18 G729/8000\na=inactive\n",
    );
    let (answer, agreed) = answer_to(
        &offer,
        &local(
            "192.0.2.9",
            54_344,
            &[Format::new(4, "G723", 8000), Format::pcmu()],
        ),
    )
    .unwrap();
    assert_eq!(answer.media[0].formats, ["0", "4"], "the offerer's order");
    assert_eq!(agreed.direction, Direction::Inactive);
    assert_eq!(answer.media[0].direction(), Some(Direction::Inactive));
}

#[test]
fn rfc_4317_section_2_1_and_2_4() {
    // §2.1: audio and video offered, both codecs known; §2.4: the answer holds the audio.
    let mut alice = Negotiator::new(7);
    let ours = local(
        "192.0.2.9",
        49_170,
        &[
            Format::pcmu(),
            Format::pcma(),
            Format::new(97, "iLBC", 8000),
        ],
    );
    let offer = alice.offer(&ours).unwrap();
    understood_by_others(&offer);
    let bob = "v=0\r\no=bob 2808844564 2808844564 IN IP4 host.biloxi.example.com\r\ns=\r\n\
        c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49172 RTP/AVP 97\r\na=rtpmap:97 iLBC/8000\r\na=sendonly\r\n";
    let agreed = alice.handle_answer(bob.as_bytes()).unwrap();
    assert_eq!(agreed.send.encoding, "iLBC");
    assert_eq!(agreed.direction, Direction::ReceiveOnly);
    assert!(agreed.held);
    assert_eq!(agreed.remote_rtp, socket("192.0.2.1:49172"));
}

#[test]
fn rfc_4317_section_2_2_dtmf_under_other_numbers() {
    // §2.2 and §4.2 in spirit: numbers may differ by direction.
    let mut alice = Negotiator::new(7);
    let offer = alice.offer(&us()).unwrap();
    assert!(
        offer.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"),
        "{offer}"
    );
    let bob =
        text("m=audio 49172 RTP/AVP 0 97\na=rtpmap:97 Telephone-Event/8000\na=fmtp:97 0-11\n");
    let agreed = alice.handle_answer(bob.as_bytes()).unwrap();
    let event = agreed.telephone_event.unwrap();
    assert_eq!(
        (event.send_payload_type, event.receive_payload_type),
        (97, 101)
    );
    assert!(event.events.contains(11) && !event.events.contains(12));
    assert_eq!(payload_types(&agreed.receive), [0, 101]);
}

#[test]
fn codecs_match_by_name_clock_and_channels() {
    let agreed = agreed_on(
        "m=audio 4000 RTP/AVP 120 121\na=rtpmap:120 pcma/16000\na=rtpmap:121 pcma/8000\n",
    );
    assert_eq!(agreed.send.payload_type, 121, "the offerer's number");
    assert_eq!(agreed.receive[0].own.payload_type, 121);
    let stereo = "m=audio 4000 RTP/AVP 120\na=rtpmap:120 PCMU/8000/2\n";
    assert_eq!(fault_of(stereo), NegotiationError::NoCommonFormat);
    // A static number may be given another meaning; then it has that one.
    let agreed =
        agreed_on("m=audio 4000 RTP/AVP 0 8\na=rtpmap:0 PCMA/8000\na=rtpmap:8 PCMU/8000\n");
    assert_eq!(
        (agreed.send.payload_type, agreed.send.encoding.as_str()),
        (0, "PCMA")
    );
    // Numbers without meaning, and those beyond seven bits, are passed over.
    let agreed = agreed_on("m=audio 4000 RTP/AVP 99 128 -1 x 8\n");
    assert_eq!(payload_types(&agreed.receive), [8]);
}

#[test]
fn the_order_of_either_decides() {
    let offer = text("m=audio 4000 RTP/AVP 8 0\n");
    let (_, agreed) = answer_to(&offer, &us()).unwrap();
    assert_eq!(agreed.send, Format::pcma());
    let own = LocalMedia {
        preference: Preference::Own,
        ..us()
    };
    let (answer, agreed) = answer_to(&offer, &own).unwrap();
    assert_eq!(agreed.send, Format::pcmu());
    assert_eq!(answer.media[0].formats, ["0", "8"]);
}

#[test]
fn telephone_event_follows_the_codecs_clock_or_falls_back() {
    let opus = Format {
        channels: 2,
        ..Format::new(111, "opus", 48_000)
    };
    let ours = local("192.0.2.9", 9000, &[opus, Format::pcmu()]);
    let media = "m=audio 4000 RTP/AVP 96 0 100 101 102\na=rtpmap:96 opus/48000/2\n\
         a=rtpmap:100 telephone-event/8000\na=rtpmap:101 telephone-event/48000\n\
         a=rtpmap:102 telephone-event/16000\n";
    let (answer, agreed) = answer_to(&text(media), &ours).unwrap();
    let event = agreed.telephone_event.unwrap();
    assert_eq!((event.send_payload_type, event.clock_rate), (101, 48_000));
    assert_eq!(answer.media[0].formats, ["96", "0", "100", "101"]);
    assert_eq!(
        event.events,
        EventSet::DIGITS,
        "none given means the digits"
    );

    let only_8000 = "m=audio 4000 RTP/AVP 96 100\na=rtpmap:96 opus/48000/2\na=rtpmap:100 telephone-event/8000\n";
    let event = answer_to(&text(only_8000), &ours)
        .unwrap()
        .1
        .telephone_event
        .unwrap();
    assert_eq!((event.send_payload_type, event.clock_rate), (100, 8000));

    let other = "m=audio 4000 RTP/AVP 96 100\na=rtpmap:96 opus/48000/2\na=rtpmap:100 telephone-event/16000\n";
    assert_eq!(
        answer_to(&text(other), &ours).unwrap().1.telephone_event,
        None
    );

    let none = LocalMedia {
        telephone_event: false,
        ..ours
    };
    let (answer, agreed) = answer_to(&text(media), &none).unwrap();
    assert_eq!(agreed.telephone_event, None);
    assert_eq!(answer.media[0].formats, ["96", "0"]);
}

#[test]
fn comfort_noise_is_no_codec() {
    let ours = local(
        "192.0.2.9",
        9000,
        &[Format::pcmu(), Format::new(13, "CN", 8000)],
    );
    let (answer, agreed) = answer_to(&text("m=audio 4000 RTP/AVP 13 0\n"), &ours).unwrap();
    assert_eq!(agreed.send, Format::pcmu());
    assert_eq!(answer.media[0].formats, ["13", "0"]);
    let alone = answer_to(&text("m=audio 4000 RTP/AVP 13\n"), &ours);
    assert_eq!(alone.unwrap_err(), NegotiationError::NoCommonFormat);
    let events = "m=audio 4000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000\n";
    assert_eq!(fault_of(events), NegotiationError::NoCommonFormat);
}

#[test]
fn directions_never_exceed_what_both_allow() {
    use Direction::{Inactive, ReceiveOnly, SendOnly, SendReceive};
    let all = [SendReceive, SendOnly, ReceiveOnly, Inactive];
    for theirs in all {
        for wanted in all {
            let offer = text(&format!("m=audio 4000 RTP/AVP 0\na={}\n", theirs.name()));
            let ours = LocalMedia {
                direction: wanted,
                ..us()
            };
            let (answer, agreed) = answer_to(&offer, &ours).unwrap();
            assert_eq!(
                agreed.direction.sends(),
                wanted.sends() && theirs.receives()
            );
            assert_eq!(
                agreed.direction.receives(),
                wanted.receives() && theirs.sends()
            );
            assert_eq!(answer.media[0].direction(), Some(agreed.direction));
            assert_eq!(agreed.held, !theirs.receives());
        }
    }
}

#[test]
fn hold_in_the_old_style() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let (answer, agreed) = answer_to(offer, &us()).unwrap();
    assert_eq!((agreed.remote_rtp, agreed.remote_rtcp), (None, None));
    assert!(agreed.held);
    assert_eq!(agreed.direction, Direction::ReceiveOnly);
    assert_eq!(answer.media[0].port, 9000);
    let six = offer.replace("IP4 0.0.0.0", "IP6 ::");
    assert!(answer_to(&six, &us()).unwrap().1.held);
}

#[test]
fn rtcp_goes_where_the_peer_says() {
    for (media, rtcp, mux) in [
        ("m=audio 4000 RTP/AVP 0\n", socket("192.0.2.1:4001"), false),
        (
            "m=audio 4000 RTP/AVP 0\na=rtcp:5000\n",
            socket("192.0.2.1:5000"),
            false,
        ),
        (
            "m=audio 4000 RTP/AVP 0\na=rtcp:5000 IN IP4 192.0.2.1\n",
            socket("192.0.2.1:5000"),
            false,
        ),
        // Reports to a third party would make us its flooder.
        (
            "m=audio 4000 RTP/AVP 0\na=rtcp:5000 IN IP4 198.51.100.7\n",
            None,
            false,
        ),
        (
            "m=audio 4000 RTP/AVP 0\na=rtcp:5000\na=rtcp-mux\n",
            socket("192.0.2.1:4000"),
            true,
        ),
        ("m=audio 65535 RTP/AVP 0\n", None, false),
        (
            "m=audio 4000 RTP/AVP 0\na=rtcp:0\n",
            socket("192.0.2.1:4001"),
            false,
        ),
    ] {
        let (answer, agreed) = answer_to(&text(media), &us()).unwrap();
        assert_eq!(
            (agreed.remote_rtcp, agreed.rtcp_mux),
            (rtcp, mux),
            "{media}"
        );
        assert_eq!(answer.media[0].has("rtcp-mux"), mux);
    }
    let separate = LocalMedia {
        rtcp_mux: false,
        rtcp_port: 9500,
        ..us()
    };
    let (answer, agreed) =
        answer_to(&text("m=audio 4000 RTP/AVP 0\na=rtcp-mux\n"), &separate).unwrap();
    assert!(!agreed.rtcp_mux && !answer.media[0].has("rtcp-mux"));
    assert_eq!(answer.media[0].value("rtcp"), Some("9500"));
}

#[test]
fn mux_is_ours_only_if_we_offered_it() {
    for (offered, answered, expected) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let mut negotiator = Negotiator::new(1);
        let offer = negotiator
            .offer(&LocalMedia {
                rtcp_mux: offered,
                ..us()
            })
            .unwrap();
        assert_eq!(offer.contains("a=rtcp-mux\r\n"), offered);
        let flag = if answered { "a=rtcp-mux\n" } else { "" };
        let answer = text(&format!("m=audio 4000 RTP/AVP 0\n{flag}"));
        assert_eq!(
            negotiator
                .handle_answer(answer.as_bytes())
                .unwrap()
                .rtcp_mux,
            expected
        );
    }
}

#[test]
fn packet_times_are_honoured_within_bounds() {
    for (lines, expected) in [
        ("", None),
        ("a=ptime:30\n", Some(30)),
        ("a=ptime:20.0\n", Some(20)),
        ("a=ptime:60\na=maxptime:40\n", Some(40)),
        ("a=maxptime:10\n", Some(10)),
        ("a=maxptime:150\n", None),
        ("a=ptime:0\n", None),
        ("a=ptime:nonsense\n", None),
        ("a=ptime:1\n", Some(10)),
        ("a=ptime:99999999\n", Some(120)),
    ] {
        let agreed = agreed_on(&format!("m=audio 4000 RTP/AVP 0\n{lines}"));
        assert_eq!(agreed.ptime, expected.map(Duration::from_millis), "{lines}");
    }
}

#[test]
fn the_first_acceptable_audio_is_taken_and_the_rest_mirrored() {
    let media = "m=video 5000 RTP/AVP 96\na=rtpmap:96 VP8/90000\n\
        m=audio 5002 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n\
        m=audio 0 RTP/AVP 0\nm=audio 5004 RTP/AVP 18\nm=audio 5006 RTP/AVP 8\n\
        m=audio 5008 RTP/AVP 0\nm=image 5010 udptl t38\nm=message 5012 TCP/MSRP *\n";
    let mut negotiator = Negotiator::new(1);
    negotiator.handle_offer(text(media).as_bytes()).unwrap();
    let (answer, agreed) = negotiator.answer(&us()).unwrap();
    assert_eq!(agreed.remote_rtp, socket("192.0.2.1:5006"));
    let answer = SessionDescription::parse(answer.as_bytes()).unwrap();
    let lines: Vec<_> = answer
        .media
        .iter()
        .map(|m| {
            format!(
                "{} {} {} {}",
                m.kind,
                m.port,
                m.protocol,
                m.formats.join(" ")
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "video 0 RTP/AVP 96",
            "audio 0 RTP/SAVP 0",
            "audio 0 RTP/AVP 0",
            "audio 0 RTP/AVP 18",
            "audio 9000 RTP/AVP 8",
            "audio 0 RTP/AVP 0",
            "image 0 udptl t38",
            "message 0 TCP/MSRP *",
        ]
    );
    // Our own later offer keeps number, order and kinds.
    let again = negotiator.offer(&us()).unwrap();
    let again = SessionDescription::parse(again.as_bytes()).unwrap();
    let kinds = |d: &SessionDescription| {
        d.media
            .iter()
            .map(|m| (m.kind.clone(), m.port == 0))
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&again), kinds(&answer));
}

#[test]
fn unacceptable_offers_say_why() {
    use NegotiationError as E;
    for (media, fault, status) in [
        ("", E::NoAudio, 488),
        ("m=video 4000 RTP/AVP 0\n", E::NoAudio, 488),
        ("m=audio 0 RTP/AVP 0\n", E::Refused, 488),
        ("m=audio 4000 RTP/SAVP 0\n", E::SecureMedia, 488),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 0\n", E::SecureMedia, 488),
        ("m=audio 4000 TCP/RTP/AVP 0\n", E::Transport, 488),
        ("m=audio 4000 udp 0\n", E::Transport, 488),
        ("m=audio 4000 RTP/AVP 18\n", E::NoCommonFormat, 488),
        ("m=audio 4000 RTP/AVP\n", E::NoCommonFormat, 488),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 host.example\n",
            E::Address,
            488,
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 256.1.1.1\n",
            E::Address,
            488,
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 224.2.1.1/127\n",
            E::Address,
            488,
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP4 255.255.255.255\n",
            E::Address,
            488,
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP6 ff02::1\n",
            E::Address,
            488,
        ),
        (
            "m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\n",
            E::AddressFamily,
            488,
        ),
        (
            "m=audio 99999 RTP/AVP 0\n",
            E::Syntax(crate::sdp::session::ParseError::Line(6)),
            400,
        ),
    ] {
        let found = fault_of(media);
        assert_eq!((found.status(), &found), (Some(status), &fault), "{media}");
    }
    let nowhere = "v=0\r\nm=audio 4000 RTP/AVP 0\r\n";
    assert_eq!(answer_to(nowhere, &us()).unwrap_err(), E::Address);
    let none = local("192.0.2.9", 9000, &[]);
    assert_eq!(Negotiator::new(1).offer(&none), Err(E::NoCommonFormat));
}

#[test]
fn ipv6_and_avpf_are_taken() {
    let offer = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVPF 0\r\nc=IN IP6 2001:db8::1\r\n";
    let ours = local("2001:db8::9", 9000, &[Format::pcmu()]);
    let (answer, agreed) = answer_to(offer, &ours).unwrap();
    assert_eq!(agreed.remote_rtp, socket("[2001:db8::1]:4000"));
    assert_eq!(answer.media[0].protocol, "RTP/AVPF");
    assert_eq!(answer.connection.unwrap().to_string(), "IN IP6 2001:db8::9");
}

#[test]
fn answers_that_do_not_fit_are_refused_and_the_offer_stays_open() {
    use NegotiationError as E;
    let mut negotiator = Negotiator::new(1);
    negotiator.offer(&us()).unwrap();
    for (media, fault) in [
        ("", E::MediaLines),
        (
            "m=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\n",
            E::MediaLines,
        ),
        ("m=video 4000 RTP/AVP 0\n", E::MediaLines),
        ("m=audio 0 RTP/AVP 0\n", E::Refused),
        ("m=audio 4000 RTP/SAVP 0\n", E::SecureMedia),
        ("m=audio 4000 RTP/AVP 18\n", E::NoCommonFormat),
        (
            "m=audio 4000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000\n",
            E::NoCommonFormat,
        ),
    ] {
        assert_eq!(
            negotiator.handle_answer(text(media).as_bytes()),
            Err(fault),
            "{media}"
        );
        assert_eq!(negotiator.state(), State::LocalOffer);
    }
    // Formats that we did not offer are left out; a missing rtpmap means what we offered.
    let answer = text("m=audio 4000 RTP/AVP 18 8 101\n");
    let agreed = negotiator.handle_answer(answer.as_bytes()).unwrap();
    assert_eq!(agreed.send, Format::pcma());
    assert_eq!(agreed.telephone_event.unwrap().send_payload_type, 101);
}

#[test]
fn the_version_grows_only_with_a_change() {
    let version = |text: &str| {
        SessionDescription::parse(text.as_bytes())
            .unwrap()
            .origin
            .version
    };
    let mut negotiator = Negotiator::new(u64::MAX);
    let answer = text("m=audio 4000 RTP/AVP 0\n");
    let first = negotiator.offer(&us()).unwrap();
    assert!(first.contains("o=- 9223372036854775807 1 IN IP4 192.0.2.9\r\n"));
    negotiator.handle_answer(answer.as_bytes()).unwrap();
    let same = negotiator.offer(&us()).unwrap();
    assert_eq!(same, first);
    negotiator.withdraw().unwrap();
    let hold = LocalMedia {
        direction: Direction::SendOnly,
        ..us()
    };
    assert_eq!(version(&negotiator.offer(&hold).unwrap()), "2");
    negotiator.withdraw().unwrap();
    assert_eq!(version(&negotiator.offer(&hold).unwrap()), "2");
    negotiator.handle_answer(answer.as_bytes()).unwrap();
    negotiator.handle_offer(answer.as_bytes()).unwrap();
    // The peer's refresh is answered with another list of formats.
    assert_eq!(version(&negotiator.answer(&us()).unwrap().0), "3");
    negotiator.handle_offer(answer.as_bytes()).unwrap();
    assert_eq!(version(&negotiator.answer(&us()).unwrap().0), "3");
}

#[test]
fn numbers_keep_their_meaning_through_a_session() {
    let mut negotiator = Negotiator::new(1);
    let offer = text(
        "m=audio 4000 RTP/AVP 101 96 0\na=rtpmap:101 iLBC/8000\na=rtpmap:96 telephone-event/8000\n",
    );
    negotiator.handle_offer(offer.as_bytes()).unwrap();
    let (_, agreed) = negotiator.answer(&us()).unwrap();
    assert_eq!(agreed.telephone_event.unwrap().send_payload_type, 96);
    let ours = local(
        "192.0.2.9",
        9000,
        &[
            Format::pcmu(),
            Format::new(101, "L16", 8000),
            Format::new(97, "iLBC", 8000),
        ],
    );
    let offer = negotiator.offer(&ours).unwrap();
    let offer = SessionDescription::parse(offer.as_bytes()).unwrap();
    let formats: Vec<_> = offer.media[0]
        .rtp_formats()
        .iter()
        .map(Format::to_string)
        .collect();
    assert_eq!(
        formats,
        [
            "0 PCMU/8000",
            "97 L16/8000",
            "101 iLBC/8000",
            "96 telephone-event/8000"
        ]
    );
}

#[test]
fn more_formats_than_numbers_leave_some_out() {
    let many: Vec<_> = (0..60)
        .map(|n| Format::new(96, &format!("X{n}"), 8000))
        .collect();
    let offer = Negotiator::new(1)
        .offer(&local("192.0.2.9", 9000, &many))
        .unwrap();
    let offer = SessionDescription::parse(offer.as_bytes()).unwrap();
    let formats = offer.media[0].rtp_formats();
    let mut numbers: Vec<_> = formats.iter().map(|f| f.payload_type).collect();
    assert_eq!(numbers.len(), 32);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 32);
}

#[test]
fn the_peers_later_offers() {
    let mut negotiator = Negotiator::new(1);
    let first = text("m=video 5000 RTP/AVP 31\nm=audio 4000 RTP/AVP 0\n");
    negotiator.handle_offer(first.as_bytes()).unwrap();
    negotiator.answer(&us()).unwrap();
    // Fewer media lines than the session has.
    let fewer = text("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(
        negotiator.handle_offer(fewer.as_bytes()),
        Err(NegotiationError::MediaLines)
    );
    assert_eq!(negotiator.state(), State::Stable);
    // One more, of another audio: the one that carried the call stays.
    let more = text("m=audio 7000 RTP/AVP 0\nm=audio 4100 RTP/AVP 0\nm=audio 7002 RTP/AVP 0\n");
    negotiator.handle_offer(more.as_bytes()).unwrap();
    assert_eq!(negotiator.offered_address(), "192.0.2.1".parse().ok());
    let (_, agreed) = negotiator.answer(&us()).unwrap();
    assert_eq!(agreed.remote_rtp, socket("192.0.2.1:4100"));
    // An offer that we cannot take is refused, and what was agreed stays.
    let secure = more.replace("RTP/AVP", "RTP/SAVP");
    negotiator.handle_offer(secure.as_bytes()).unwrap();
    assert_eq!(negotiator.answer(&us()), Err(NegotiationError::SecureMedia));
    assert_eq!(negotiator.state(), State::RemoteOffer);
    negotiator.withdraw().unwrap();
    negotiator.handle_offer(more.as_bytes()).unwrap();
    assert!(negotiator.answer(&us()).is_ok());
}

#[test]
fn early_answers_may_be_repeated_changed_or_confirmed() {
    let early = text("m=audio 4000 RTP/AVP 0\n");
    let last = text("m=audio 5000 RTP/AVP 8\n");
    let mut negotiator = Negotiator::new(1);
    negotiator.offer(&us()).unwrap();
    let mut fork = negotiator.clone();
    negotiator.handle_early_answer(early.as_bytes()).unwrap();
    negotiator.handle_early_answer(early.as_bytes()).unwrap();
    let agreed = negotiator.handle_answer(last.as_bytes()).unwrap();
    assert_eq!(
        (agreed.send, agreed.remote_rtp),
        (Format::pcma(), socket("192.0.2.1:5000"))
    );
    assert!(fork.confirm().is_err());
    fork.handle_early_answer(early.as_bytes()).unwrap();
    fork.confirm().unwrap();
    assert_eq!(fork.state(), State::Stable);
}

#[test]
fn verbs_out_of_turn_are_refused_and_change_nothing() {
    let offer = text("m=audio 4000 RTP/AVP 0\n");
    let in_state = |state| {
        let mut negotiator = Negotiator::new(1);
        match state {
            State::Stable => {}
            State::LocalOffer => drop(negotiator.offer(&us()).unwrap()),
            State::EarlyAnswer => {
                negotiator.offer(&us()).unwrap();
                negotiator.handle_early_answer(offer.as_bytes()).unwrap();
            }
            State::RemoteOffer => negotiator.handle_offer(offer.as_bytes()).unwrap(),
        }
        assert_eq!(negotiator.state(), state);
        negotiator
    };
    for state in State::ALL {
        for verb in Verb::ALL {
            let mut negotiator = in_state(state);
            let result = match verb {
                Verb::Offer => negotiator.offer(&us()).map(drop),
                Verb::HandleOffer => negotiator.handle_offer(offer.as_bytes()),
                Verb::Answer => negotiator.answer(&us()).map(drop),
                Verb::HandleEarlyAnswer => {
                    negotiator.handle_early_answer(offer.as_bytes()).map(drop)
                }
                Verb::HandleAnswer => negotiator.handle_answer(offer.as_bytes()).map(drop),
                Verb::Confirm => negotiator.confirm(),
                Verb::Withdraw => negotiator.withdraw(),
            };
            match state.after(verb) {
                Some(next) => assert_eq!((result, negotiator.state()), (Ok(()), next)),
                None => {
                    assert_eq!(result, Err(NegotiationError::State { state, verb }));
                    assert_eq!(negotiator.state(), state);
                }
            }
        }
    }
    let crossed = in_state(State::LocalOffer).handle_offer(offer.as_bytes());
    assert_eq!(crossed.unwrap_err().status(), Some(491));
    let twice = in_state(State::RemoteOffer).handle_offer(offer.as_bytes());
    assert_eq!(twice.unwrap_err().status(), Some(500));
    let ours = in_state(State::LocalOffer).offer(&us());
    assert_eq!(ours.unwrap_err().status(), None);
}

#[test]
fn both_ends_agree_whatever_they_can_do() {
    let known = [
        Format::pcmu(),
        Format::pcma(),
        Format::new(9, "G722", 8000),
        Format {
            channels: 2,
            ..Format::new(111, "opus", 48_000)
        },
        Format::new(96, "L16", 16_000),
    ];
    for seed in 0..500u64 {
        let mut rng = crate::rng::Rng::new(seed);
        let mut pick = |address: &str| {
            let mut formats: Vec<_> = known
                .iter()
                .filter(|_| rng.below(2) == 0)
                .cloned()
                .collect();
            if rng.below(2) == 0 {
                formats.reverse();
            }
            LocalMedia {
                telephone_event: rng.below(2) == 0,
                rtcp_mux: rng.below(2) == 0,
                direction: Direction::new(rng.below(2) == 0, rng.below(2) == 0),
                ..local(address, 1024 + rng.below(60_000) as u16, &formats)
            }
        };
        let (a, b) = (pick("192.0.2.1"), pick("192.0.2.2"));
        let (mut caller, mut callee) = (Negotiator::new(1), Negotiator::new(2));
        let Ok(offer) = caller.offer(&a) else {
            assert!(a.formats.is_empty(), "seed {seed}");
            continue;
        };
        callee.handle_offer(offer.as_bytes()).unwrap();
        let common = a
            .formats
            .iter()
            .any(|f| b.formats.iter().any(|g| f.matches(g)));
        let Ok((answer, theirs)) = callee.answer(&b) else {
            assert!(!common, "seed {seed}");
            continue;
        };
        let ours = caller.handle_answer(answer.as_bytes()).unwrap();
        assert_eq!(ours.send, theirs.send, "seed {seed}");
        assert_eq!(ours.direction, theirs.direction.reversed(), "seed {seed}");
        assert_eq!(ours.rtcp_mux, theirs.rtcp_mux, "seed {seed}");
        assert_eq!(ours.telephone_event, theirs.telephone_event, "seed {seed}");
        assert_eq!(
            payload_types(&ours.receive),
            payload_types(&theirs.receive),
            "seed {seed}"
        );
        understood_by_others(&offer);
        understood_by_others(&answer);
    }
}

/// Our side of a session with Opus and G.711, redundancy and both clocks of events.
fn wide() -> LocalMedia {
    let opus = Format {
        channels: 2,
        fmtp: Some("useinbandfec=1".to_owned()),
        ..Format::new(111, "opus", 48_000)
    };
    LocalMedia {
        redundancy: true,
        ..local("192.0.2.9", 9000, &[opus, Format::pcma()])
    }
}

#[test]
fn formats_of_different_clocks_share_one_line() {
    let mut caller = Negotiator::new(7);
    let mut callee = Negotiator::new(8);
    let offer = caller.offer(&wide()).unwrap();
    understood_by_others(&offer);
    assert!(
        offer.contains("m=audio 9000 RTP/AVP 111 8 96 97 101 98\r\n"),
        "{offer}"
    );
    for line in [
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1",
        "a=rtpmap:96 red/48000/2",
        "a=fmtp:96 111/111",
        "a=rtpmap:97 red/8000",
        "a=fmtp:97 8/8",
        "a=rtpmap:101 telephone-event/48000",
        "a=rtpmap:98 telephone-event/8000",
    ] {
        assert!(offer.contains(line), "{line} in {offer}");
    }
    callee.handle_offer(offer.as_bytes()).unwrap();
    let (answer, theirs) = callee.answer(&wide()).unwrap();
    let ours = caller.handle_answer(answer.as_bytes()).unwrap();
    for agreed in [ours, theirs] {
        assert_eq!(agreed.send.encoding, "opus");
        assert_eq!(agreed.redundancy, Some(96));
        assert_eq!(payload_types(&agreed.receive), [111, 8, 96, 97, 101, 98]);
        let event = agreed.telephone_event.unwrap();
        assert_eq!((event.send_payload_type, event.clock_rate), (101, 48_000));
    }
}

#[test]
fn redundancy_must_wrap_what_is_agreed() {
    let red_of = |media: &str| answer_to(&text(media), &wide()).unwrap().1.redundancy;
    let pcma = "m=audio 4000 RTP/AVP 8 121\na=rtpmap:121 red/8000\n";
    assert_eq!(red_of(&format!("{pcma}a=fmtp:121 8/8\n")), Some(121));
    assert_eq!(red_of(pcma), Some(121), "nothing said of what it wraps");
    for refused in ["0/0", "8/0", "8/x", "8/8/5"] {
        assert_eq!(
            red_of(&format!("{pcma}a=fmtp:121 {refused}\n")),
            None,
            "{refused}"
        );
    }
    let other = "m=audio 4000 RTP/AVP 8 121\na=rtpmap:121 red/16000\na=fmtp:121 8/8\n";
    assert_eq!(red_of(other), None);
    let alone = "m=audio 4000 RTP/AVP 121\na=rtpmap:121 red/8000\n";
    let fault = answer_to(&text(alone), &wide()).unwrap_err();
    assert_eq!(fault, NegotiationError::NoCommonFormat);
    let off = answer_to(&text(&format!("{pcma}a=fmtp:121 8/8\n")), &us()).unwrap();
    assert_eq!(off.0.media[0].formats, ["8"], "we want none");
}

#[test]
fn parameters_may_be_refused() {
    /// Takes octet-aligned AMR only, and answers so.
    #[derive(Debug)]
    struct Aligned;
    impl FormatRules for Aligned {
        fn agree(&self, _: &Format, theirs: &Format) -> Option<Option<String>> {
            let theirs = theirs.fmtp.as_deref().unwrap_or_default();
            theirs
                .contains("octet-align=1")
                .then(|| Some("octet-align=1".to_owned()))
        }
    }
    let ours = LocalMedia {
        rules: Arc::new(Aligned),
        ..local("192.0.2.9", 9000, &[Format::new(96, "AMR", 8000)])
    };
    let media = "m=audio 4000 RTP/AVP 97 98\na=rtpmap:97 AMR/8000\na=rtpmap:98 AMR/8000\n\
                 a=fmtp:98 octet-align=1; mode-set=0,7\n";
    let (answer, agreed) = answer_to(&text(media), &ours).unwrap();
    assert_eq!(agreed.send.payload_type, 98);
    assert_eq!(answer.media[0].formats, ["98",]);
    let packed = "m=audio 4000 RTP/AVP 97\na=rtpmap:97 AMR/8000\n";
    let fault = answer_to(&text(packed), &ours).unwrap_err();
    assert_eq!(fault, NegotiationError::NoCommonFormat);
}
