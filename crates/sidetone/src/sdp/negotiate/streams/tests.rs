//! Streams that come and go, pause, and are refused.

use super::*;
use crate::sdp::attribute::{Direction, Format};

fn address() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn local(port: u16, direction: Direction) -> LocalMedia {
    LocalMedia {
        direction,
        ..LocalMedia::new(address(), port, vec![Format::pcmu(), Format::pcma()])
    }
}

fn sends(port: u16, label: &str) -> Option<(LocalMedia, String)> {
    Some((local(port, Direction::SendOnly), label.to_owned()))
}

fn takes(port: u16) -> Option<LocalMedia> {
    Some(local(port, Direction::ReceiveOnly))
}

#[test]
fn streams_come_go_and_give_their_lines_to_others() {
    let (mut client, mut server) = (Streams::new(1), Streams::new(2));
    let mut exchange = |sent: &[Option<(LocalMedia, String)>], taken: &[Option<LocalMedia>]| {
        let offer = client.offer(address(), sent).unwrap();
        server.handle_offer(offer.as_bytes()).unwrap();
        let labels: Vec<_> = server.offered().into_iter().map(|o| o.label).collect();
        let (answer, taken) = server.answer(address(), taken).unwrap();
        let sent = client.handle_answer(answer.as_bytes()).unwrap();
        let ports = |agreed: &[Option<Agreed>]| {
            let port = |a: &Agreed| a.remote_rtp.map_or(0, |rtp| rtp.port());
            let ports = agreed.iter().map(|a| a.as_ref().map(port));
            ports.collect::<Vec<_>>()
        };
        (labels, ports(&taken), ports(&sent), answer)
    };
    let two = [sends(4000, "a"), sends(4002, "b")];
    let (labels, taken, sent, answer) = exchange(&two, &[takes(5000), takes(5002)]);
    assert_eq!(labels, [Some("a".to_owned()), Some("b".to_owned())]);
    assert_eq!(taken, [Some(4000), Some(4002)]);
    assert_eq!(sent, [Some(5000), Some(5002)]);
    assert_eq!(answer.matches("a=recvonly").count(), 2, "{answer}");
    assert!(answer.contains("a=label:b"), "{answer}");

    // The second ends, a third comes in on a new line; then a fourth takes the second's line over.
    let three = [sends(4000, "a"), None, sends(4004, "c")];
    let (_, taken, sent, _) = exchange(&three, &[takes(5000), None, takes(5004)]);
    assert_eq!(taken, [Some(4000), None, Some(4004)]);
    assert_eq!(sent, [Some(5000), None, Some(5004)]);
    let four = [sends(4000, "a"), sends(4006, "d"), sends(4004, "c")];
    let (labels, taken, _, _) = exchange(&four, &[takes(5000), takes(5006), takes(5004)]);
    assert_eq!(labels[1].as_deref(), Some("d"));
    assert_eq!(taken, [Some(4000), Some(4006), Some(4004)]);
}

#[test]
fn pauses_are_agreed_on_line_by_line() {
    let (mut client, mut server) = (Streams::new(1), Streams::new(2));
    let paused = Some((local(4002, Direction::Inactive), "b".to_owned()));
    let offer = client
        .offer(address(), &[sends(4000, "a"), paused])
        .unwrap();
    server.handle_offer(offer.as_bytes()).unwrap();
    let (answer, agreed) = server
        .answer(address(), &[takes(5000), takes(5002)])
        .unwrap();
    let directions: Vec<_> = agreed.iter().flatten().map(|a| a.direction).collect();
    assert_eq!(directions, [Direction::ReceiveOnly, Direction::Inactive]);
    let sent = client.handle_answer(answer.as_bytes()).unwrap();
    let directions: Vec<_> = sent.iter().flatten().map(|a| a.direction).collect();
    assert_eq!(directions, [Direction::SendOnly, Direction::Inactive]);
}

#[test]
fn what_is_no_audio_of_ours_is_refused_in_its_place() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                 m=video 6000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=label:1\r\n\
                 m=audio 6002 RTP/AVP 0\r\na=label:2\r\na=sendonly\r\n\
                 m=audio 6004 RTP/AVP 18\r\na=label:3\r\na=sendonly\r\n";
    let mut server = Streams::new(2);
    server.handle_offer(offer.as_bytes()).unwrap();
    let all = [takes(5000), takes(5002), takes(5004)];
    let (answer, agreed) = server.answer(address(), &all).unwrap();
    let places: Vec<_> = agreed.iter().map(Option::is_some).collect();
    assert_eq!(places, [false, true, false]);
    assert!(answer.contains("m=video 0 RTP/AVP 96"), "{answer}");
    assert!(answer.contains("m=audio 5002 RTP/AVP 0"), "{answer}");
    assert!(answer.contains("m=audio 0 RTP/AVP 18"), "{answer}");
}

#[test]
fn an_offer_of_which_nothing_fits_stays_open_until_it_is_withdrawn() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                 m=audio 6004 RTP/AVP 18\r\na=label:3\r\na=sendonly\r\n";
    let mut server = Streams::new(2);
    server.handle_offer(offer.as_bytes()).unwrap();
    assert!(server.answer(address(), &[takes(5000)]).is_err());
    assert_eq!(server.state(), State::RemoteOffer);
    server.withdraw().unwrap();
    assert_eq!(server.state(), State::Stable);
    assert!(server.is_empty());
}

#[test]
fn a_refused_stream_is_offered_anew_later() {
    let (mut client, mut server) = (Streams::new(1), Streams::new(2));
    let two = [sends(4000, "a"), sends(4002, "b")];
    let offer = client.offer(address(), &two).unwrap();
    server.handle_offer(offer.as_bytes()).unwrap();
    let (answer, _) = server.answer(address(), &[takes(5000), None]).unwrap();
    let sent = client.handle_answer(answer.as_bytes()).unwrap();
    assert!(sent[0].is_some() && sent[1].is_none());
    let offer = client.offer(address(), &two).unwrap();
    server.handle_offer(offer.as_bytes()).unwrap();
    let (answer, _) = server
        .answer(address(), &[takes(5000), takes(5002)])
        .unwrap();
    let sent = client.handle_answer(answer.as_bytes()).unwrap();
    assert!(sent.iter().all(Option::is_some));
}
