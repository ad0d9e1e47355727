//! Ways that fail: datagrams that are not delivered, flows of registrations, answers without a connection.

use super::*;
use crate::sip::agent::registration::{Outbound, Register, RegistrationState};
use crate::sip::registrar::config::{Anybody, RegistrarConfig};
use crate::sip::transport::access::{AccessList, Admission};
use crate::sip::transport::stun::Stun;

const SECOND: Duration = Duration::from_secs(1);

/// A caller (0) and a callee (1), and a name that leads to a dead host first.
fn net_with_dead_host() -> Net {
    let mut net = Net::pair(1, answering);
    for ip in ["192.0.2.77", "192.0.2.2"] {
        let address = Record::Address(ip.parse().unwrap());
        net.records.push(("two.example", Kind::A, address));
    }
    net
}

fn call_two(net: &mut Net) -> SessionId {
    let target = "sip:bob@two.example:5060;transport=udp".parse().unwrap();
    let caller = "sip:alice@192.0.2.1".parse::<Uri>().unwrap();
    let mut invite = Invite::new(target, NameAddr::new(&caller));
    invite.body = Some(Body::sdp(OFFER));
    let now = net.now;
    let session = net.agent(0).invite(now, invite).unwrap();
    net.collect();
    session
}

fn undelivered(net: &mut Net, destination: &str, quoted: &[u8]) {
    let now = net.now;
    let destination = destination.parse().unwrap();
    net.agent(0)
        .handle_unreachable(now, ListenerId(0), destination, quoted);
    net.collect();
}

#[test]
fn a_request_that_is_not_delivered_goes_to_the_next_host_at_once() {
    let mut net = net_with_dead_host();
    // Which of the two comes first is drawn.
    let session = loop {
        let session = call_two(&mut net);
        net.run(Duration::from_millis(100));
        if !net.raw.is_empty() {
            break session;
        }
        hang_up(&mut net, session);
    };
    let (_, request) = net.raw[0].clone();
    let before = net.agent(1).counters().sessions;
    // A router that quotes little of it is of no help, and neither is one that makes it up.
    undelivered(&mut net, "192.0.2.77:5060", &request[..8]);
    undelivered(&mut net, "192.0.2.77:5060", b"");
    undelivered(&mut net, "192.0.2.78:5060", &request);
    let text = String::from_utf8(request.clone()).unwrap();
    let forged = text.replace("branch=z9hG4bK", "branch=z9hG4bK0");
    undelivered(&mut net, "192.0.2.77:5060", forged.as_bytes());
    assert_eq!(net.agent(0).counters().dropped_unreachable, 4);
    assert_eq!(net.agent(0).counters().failovers, 0);
    // The end of the message is not needed.
    undelivered(&mut net, "192.0.2.77:5060", &request[..request.len() / 2]);
    net.run(SECOND);
    assert_eq!(net.agent(0).counters().failovers, 1);
    assert_eq!(net.agent(1).counters().sessions, before + 1);
    // It is over there: the same again changes nothing.
    undelivered(&mut net, "192.0.2.77:5060", &request);
    hang_up(&mut net, session);
}

fn hang_up(net: &mut Net, session: SessionId) {
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn a_request_without_another_host_fails_at_once() {
    let mut net = Net::pair(1, answering);
    let target = "sip:bob@192.0.2.77".parse().unwrap();
    let caller = "sip:alice@192.0.2.1".parse::<Uri>().unwrap();
    let now = net.now;
    let invite = Invite::new(target, NameAddr::new(&caller));
    net.agent(0).invite(now, invite).unwrap();
    net.run(Duration::from_millis(100));
    let (_, request) = net.raw[0].clone();
    undelivered(&mut net, "192.0.2.77:5060", &request);
    assert_eq!(net.events(0), ["ended failed: transport error"]);
    net.settle();
}

#[test]
fn news_of_what_was_not_delivered_ends_no_call() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    // The peer restarts, and its port is closed for a moment.
    let address = std::mem::replace(&mut net.nodes[1].address, "192.0.2.9:1".parse().unwrap());
    let now = net.now;
    net.agent(0).info(now, session, vec![], None).unwrap();
    net.run(Duration::from_millis(100));
    let (_, request) = net.raw.last().unwrap().clone();
    undelivered(&mut net, "192.0.2.2:5060", &request);
    assert_eq!(net.agent(0).counters().dropped_unreachable, 1);
    net.nodes[1].address = address;
    net.run(5 * SECOND);
    assert_eq!(net.events(0).last().unwrap(), "info 200");
    hang_up(&mut net, session);
}

/// A telephone (0) and a registrar (1).
fn registered(uri: &str) -> Net {
    let mut net = Net::new(6);
    net.add("192.0.2.1:5060", answering, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.registrar = Some(RegistrarConfig::new("192.0.2.2").policy(Anybody));
    });
    let mut register = Register::new("sip:alice@192.0.2.2".parse().unwrap());
    register.registrars = vec![uri.parse().unwrap()];
    register.outbound = Some(Outbound {
        instance: "urn:uuid:00000000-0000-1000-8000-000A95A0E128".into(),
        flow: 1,
    });
    let now = net.now;
    net.agent(0).register(now, register).unwrap();
    net.run(SECOND);
    assert_eq!(net.agent(1).registered(), 1);
    net
}

fn failures(net: &Net) -> usize {
    let events = net.nodes[0].events.iter();
    let failed = events.filter(|event| {
        let Event::Registration { state, .. } = event else {
            return false;
        };
        matches!(state, RegistrationState::Failed { .. })
    });
    failed.count()
}

#[test]
fn a_flow_over_udp_is_kept_alive_by_stun() {
    let mut net = registered("sip:192.0.2.2");
    net.run(300 * SECOND);
    let asked = net.agent(1).counters().keepalives;
    assert!((10..=13).contains(&asked), "{asked}");
    assert_eq!(net.agent(0).counters().keepalives, asked);
    assert_eq!(net.agent(0).counters().flows_failed, 0);
    let now = net.now;
    let binding = net
        .agent(1)
        .bindings(now, &"sip:alice@192.0.2.2".parse().unwrap());
    assert_eq!(binding[0].reg_id(), Some(1));
}

#[test]
fn a_flow_that_is_not_answered_any_more_is_made_anew() {
    let mut net = registered("sip:192.0.2.2");
    net.drop_if = Some(|line| line == "STUN");
    // A keep-alive within 29 s, 39.5 s for its repetitions.
    net.run(70 * SECOND);
    assert_eq!(net.agent(0).counters().flows_failed, 1);
    assert_eq!(failures(&net), 1);
    assert_eq!(
        net.sent(0).iter().filter(|line| **line == "STUN").count(),
        7
    );
    net.drop_if = None;
    net.run(31 * SECOND);
    assert_eq!(
        net.sent(0)
            .iter()
            .filter(|line| line.starts_with("REG"))
            .count(),
        2
    );
    assert_eq!(net.agent(1).registered(), 1);
}

#[test]
fn a_translator_that_has_forgotten_us_is_noticed() {
    let mut net = registered("sip:192.0.2.2");
    net.run(40 * SECOND);
    assert!(net.agent(1).counters().keepalives > 0);
    net.nodes[0].address = "192.0.2.1:6060".parse().unwrap();
    net.run(30 * SECOND);
    assert_eq!(net.agent(0).counters().flows_failed, 1);
}

#[test]
fn a_flow_whose_connection_is_closed_is_made_anew() {
    let mut net = registered("sip:192.0.2.2;transport=tcp");
    let (index, connection) = *net.wires.keys().find(|(node, _)| *node == 1).unwrap();
    net.cut(index, connection);
    let now = net.now;
    net.agent(index).handle_closed(now, connection);
    assert_eq!(net.agent(1).registered(), 0);
    net.run(31 * SECOND);
    assert_eq!(net.agent(0).counters().flows_failed, 1);
    assert_eq!(net.agent(1).registered(), 1);
}

#[test]
fn what_is_no_device_is_not_registered_by_a_flow() {
    let mut net = Net::pair(1, ignore);
    for (instance, flow) in [
        ("urn:uuid:1\"", 1),
        ("sip:x", 1),
        ("", 1),
        ("urn:uuid:1", 0),
        ("urn:a>\r\n", 1),
    ] {
        let mut register = Register::new("sip:alice@192.0.2.2".parse().unwrap());
        register.outbound = Some(Outbound {
            instance: instance.into(),
            flow,
        });
        let now = net.now;
        assert!(
            net.agent(0).register(now, register).is_err(),
            "{instance:?}"
        );
    }
}

#[test]
fn stun_is_answered_to_the_source_unless_it_is_ignored() {
    let mut net = Net::pair(1, ignore);
    let request = Stun::Request {
        id: [3; 12],
        unknown: Vec::new(),
    };
    let source: SocketAddr = "192.0.2.9:40000".parse().unwrap();
    let ask = |net: &mut Net, bytes: &[u8]| {
        let now = net.now;
        net.agent(1)
            .handle_datagram(now, ListenerId(0), source, bytes);
        net.run(SECOND);
        std::mem::take(&mut net.raw)
    };
    let answers = ask(&mut net, &request.to_bytes());
    assert_eq!(answers[0].0, source);
    let expected = Stun::Success {
        id: [3; 12],
        mapped: Some(source),
    };
    assert_eq!(Stun::parse(&answers[0].1), Some(expected.clone()));
    // Answers that nobody asked for, and what is none of this, are dropped.
    assert!(ask(&mut net, &expected.to_bytes()).is_empty());
    assert!(ask(&mut net, &[0; 64]).is_empty());
    assert_eq!(net.agent(1).counters().dropped_stray_responses, 1);
    net.nodes[1].agent.config.listeners[0].access = AccessList::all(Admission::Ignore);
    assert!(ask(&mut net, &request.to_bytes()).is_empty());
}

/// A call to node 1 by a connection of nobody, which is closed before the answer.
fn answer_without_connection(net: &mut Net) {
    let now = net.now;
    let peer = "192.0.2.50:4000".parse().unwrap();
    let connection = net
        .agent(1)
        .handle_accepted(now, ListenerId(1), peer)
        .unwrap();
    let invite = "INVITE sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP two.example;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:a@two.example;transport=tcp>\r\nContent-Length: 0\r\n\r\n";
    net.agent(1)
        .handle_stream_data(now, connection, invite.as_bytes());
    net.collect();
    let now = net.now;
    net.agent(1).handle_closed(now, connection);
    let session = net.session_of(1);
    net.agent(1)
        .reject(now, session, StatusCode::BUSY_HERE, Headers::new())
        .unwrap();
    net.run(SECOND);
}

#[test]
fn an_answer_whose_connection_is_gone_finds_its_sender_by_name_where_that_is_allowed() {
    for allowed in [false, true] {
        let mut net = Net::pair(1, ignore);
        for ip in ["192.0.2.88", "192.0.2.1"] {
            let address = Record::Address(ip.parse().unwrap());
            net.records.push(("two.example", Kind::A, address));
        }
        net.nodes[1].agent.config.responses_by_name = allowed;
        answer_without_connection(&mut net);
        let arrived = net.agent(0).counters().dropped_stray_responses;
        assert_eq!(arrived > 0, allowed);
        net.settle();
    }
}
