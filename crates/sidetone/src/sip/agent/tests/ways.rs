//! Which way requests go: by names, past dead hosts, by TCP when large, back to peers behind NAT.

use super::*;
use crate::sip::agent::command::Options;

const SECOND: Duration = Duration::from_secs(1);

fn unavailable(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Incoming { session, .. } = event {
        agent
            .reject(
                now,
                *session,
                StatusCode::SERVICE_UNAVAILABLE,
                Headers::new(),
            )
            .unwrap();
    }
}

/// A service with a first host and a second one.
fn farm(net: &mut Net, first: &str, second: &str) {
    let srv = |priority, target: &str| Record::Srv {
        priority,
        weight: 1,
        port: 5060,
        target: target.into(),
    };
    let service = "_sip._udp.farm.example";
    let at = |ip: &str| Record::Address(ip.parse().unwrap());
    net.records.extend([
        (service, Kind::Srv, srv(1, "one.farm.example")),
        (service, Kind::Srv, srv(2, "two.farm.example")),
        ("one.farm.example", Kind::A, at(first)),
        ("two.farm.example", Kind::A, at(second)),
    ]);
}

fn call_farm(net: &mut Net) -> SessionId {
    let target = "sip:bob@farm.example;transport=udp".parse().unwrap();
    let caller = "sip:alice@192.0.2.1".parse::<Uri>().unwrap();
    let mut invite = Invite::new(target, NameAddr::new(&caller));
    invite.body = Some(Body::sdp(OFFER));
    let now = net.now;
    net.agent(0).invite(now, invite).unwrap()
}

fn hang_up(net: &mut Net, session: SessionId) {
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn a_host_that_is_unavailable_is_passed_over() {
    let mut net = Net::pair(1, answering);
    net.add("192.0.2.3:5060", unavailable, |_| {});
    farm(&mut net, "192.0.2.3", "192.0.2.2");
    let session = call_farm(&mut net);
    net.run(SECOND);
    assert_eq!(net.sent(0), ["INVITE 1 +", "ACK 1", "INVITE 1 +", "ACK 1"]);
    assert_eq!(net.agent(0).counters().failovers, 1);
    hang_up(&mut net, session);
    assert_eq!(net.sent(0).last(), Some(&"BYE 2"));
    assert_eq!(
        net.sent(1).last(),
        Some(&"200 BYE 2"),
        "the dialog stays where it is"
    );
}

#[test]
fn when_all_are_unavailable_the_last_answer_counts() {
    let mut net = Net::pair(1, unavailable);
    net.add("192.0.2.3:5060", unavailable, |_| {});
    farm(&mut net, "192.0.2.3", "192.0.2.2");
    call_farm(&mut net);
    net.settle();
    assert_eq!(net.agent(0).counters().failovers, 1);
    assert_eq!(net.events(0), ["ended rejected 503"]);
}

#[test]
fn a_silent_host_costs_the_first_call_its_time_only() {
    let mut net = Net::pair(1, answering);
    farm(&mut net, "192.0.2.77", "192.0.2.2");
    let session = call_farm(&mut net);
    net.run(31 * SECOND);
    assert!(net.sent(1).is_empty());
    net.run(2 * SECOND);
    assert_eq!(net.agent(0).counters().failovers, 1);
    let begun = net.sent(0).len();
    let second = call_farm(&mut net);
    net.run(SECOND);
    assert_eq!(
        net.sent(0)[begun..],
        ["INVITE 1 +", "ACK 1"],
        "the live one first"
    );
    let now = net.now;
    net.agent(0).bye(now, second, Headers::new()).unwrap();
    hang_up(&mut net, session);
}

#[test]
fn a_call_that_is_given_up_is_not_taken_elsewhere() {
    let mut net = Net::pair(1, answering);
    farm(&mut net, "192.0.2.77", "192.0.2.2");
    let session = call_farm(&mut net);
    net.run(SECOND);
    let now = net.now;
    net.agent(0).cancel(now, session, Headers::new()).unwrap();
    net.settle();
    assert!(net.sent(1).is_empty());
    assert_eq!(net.agent(0).counters().failovers, 0);
}

fn call_with_much_to_say(net: &mut Net, params: &str) -> SessionId {
    net.call_with(0, 1, params, |invite| {
        invite.body = Some(Body::sdp(OFFER.repeat(200)));
    })
}

#[test]
fn large_requests_go_by_tcp_unless_udp_is_asked_for() {
    let mut net = Net::pair(1, answering);
    let session = call_with_much_to_say(&mut net, "");
    net.run(SECOND);
    // The ACK goes where the answer's Contact says: to TCP as well.
    assert_eq!((net.wires.len(), net.datagrams), (2, 0));
    hang_up(&mut net, session);
    let mut net = Net::pair(1, answering);
    let session = call_with_much_to_say(&mut net, ";transport=udp");
    net.run(SECOND);
    assert_eq!(net.wires.len(), 0);
    hang_up(&mut net, session);
}

#[test]
fn where_tcp_is_refused_large_requests_go_by_udp_after_all() {
    let mut net = Net::pair(1, answering);
    net.refuse_connections = true;
    let session = call_with_much_to_say(&mut net, "");
    net.run(SECOND);
    assert_eq!(net.sent(1).last(), Some(&"200 INVITE 1 +"));
    assert_eq!(net.agent(0).counters().failovers, 1);
    // It is remembered.
    let second = call_with_much_to_say(&mut net, "");
    net.run(SECOND);
    assert_eq!(net.agent(0).counters().failovers, 1);
    let now = net.now;
    net.agent(0).bye(now, second, Headers::new()).unwrap();
    hang_up(&mut net, session);
}

#[test]
fn connections_are_kept_alive_and_dead_ones_are_noticed() {
    let mut net = Net::pair(1, ignore);
    let now = net.now;
    let caller = "sip:a@192.0.2.1".parse::<Uri>().unwrap();
    let target = "sip:192.0.2.2:5060;transport=tcp".parse().unwrap();
    let query = Options::new(target, NameAddr::new(&caller));
    net.agent(0).options(now, query).unwrap();
    net.run(130 * SECOND);
    assert!(net.agent(1).counters().keepalives >= 1, "asked");
    assert!(net.agent(0).counters().keepalives >= 1, "answered");
    assert_eq!(net.agent(0).counters().connections_refused, 0);
    // The peer is gone without a word.
    net.wires.clear();
    net.run(140 * SECOND);
    assert_eq!(net.agent(0).counters().connections_refused, 1);
}

#[test]
fn one_source_does_not_take_all_connections() {
    let mut net = Net::pair(1, ignore);
    net.nodes[1].agent.config.max_connections_per_source = 2;
    let now = net.now;
    let agent = net.agent(1);
    let mut accept = |peer: &str| {
        let peer = peer.parse().unwrap();
        agent.handle_accepted(now, ListenerId(1), peer)
    };
    let first = accept("192.0.2.50:4000").unwrap();
    assert!(accept("192.0.2.50:4001").is_some());
    assert!(accept("192.0.2.50:4002").is_none());
    assert!(accept("[::ffff:192.0.2.50]:4003").is_none());
    assert!(accept("192.0.2.51:4000").is_some());
    agent.handle_closed(now, first);
    let again = "192.0.2.50:4002".parse().unwrap();
    assert!(agent.handle_accepted(now, ListenerId(1), again).is_some());
}

/// An INVITE of a peer behind NAT, by way of further proxies or not.
fn natted_invite(transport: &str, proxies: &str) -> String {
    format!(
        "INVITE sip:bob@192.0.2.2 SIP/2.0\n\
         Via: SIP/2.0/{transport} 10.0.0.5:5060;branch=z9hG4bKn1\n{proxies}\
         Max-Forwards: 70\nFrom: <sip:a@10.0.0.5>;tag=1\nTo: <sip:bob@192.0.2.2>\n\
         Call-ID: n1\nCSeq: 1 INVITE\nContact: <sip:a@10.0.0.5:5060>\n\
         Content-Type: application/sdp\nContent-Length: 9\n\n{OFFER}"
    )
}

fn natted_ack(transport: &str, tag: &str) -> String {
    format!(
        "ACK sip:bob@192.0.2.2 SIP/2.0\n\
         Via: SIP/2.0/{transport} 10.0.0.5:5060;branch=z9hG4bKn2\n\
         Max-Forwards: 70\nFrom: <sip:a@10.0.0.5>;tag=1\nTo: <sip:bob@192.0.2.2>;tag={tag}\n\
         Call-ID: n1\nCSeq: 1 ACK\nContent-Length: 0\n\n"
    )
}

fn to_tag(message: &[u8]) -> String {
    let message = Message::parse(message.to_vec().into()).unwrap();
    let to = message.to().unwrap();
    to.tag().unwrap().to_owned()
}

#[test]
fn a_peer_behind_nat_is_answered_and_asked_where_it_is() {
    let outside = "203.0.113.9:40000";
    for (nat, proxies, answered, asked) in [
        (true, "", outside, outside),
        (false, "", "203.0.113.9:5060", "10.0.0.5:5060"),
        // A proxy is in the way that does not want to stay there.
        (
            true,
            "Via: SIP/2.0/UDP 10.0.0.6;branch=z9hG4bKp\n",
            outside,
            "10.0.0.5:5060",
        ),
    ] {
        let mut net = Net::new(1);
        net.add("192.0.2.2:5060", answering, |_| {});
        net.nodes[0].agent.config.listeners[0].nat = nat;
        net.inject(outside, 0, &natted_invite("UDP", proxies));
        net.run(SECOND / 100);
        let (to, answer) = net.raw.last().unwrap().clone();
        assert_eq!(to, answered.parse().unwrap());
        net.inject(outside, 0, &natted_ack("UDP", &to_tag(&answer)));
        let session = net.session_of(0);
        let now = net.now;
        net.agent(0).bye(now, session, Headers::new()).unwrap();
        net.run(SECOND / 100);
        let (to, bye) = net.raw.last().unwrap();
        assert!(bye.starts_with(b"BYE sip:a@10.0.0.5:5060 "));
        assert_eq!(*to, asked.parse().unwrap(), "{nat} {proxies:?}");
        net.settle();
    }
}

/// An agent with a listener of this kind, at 192.0.2.2:5061.
fn agent_with(transport: Transport) -> Agent {
    let mut config = config("192.0.2.2:5060".parse().unwrap());
    let local = "192.0.2.2:5061".parse().unwrap();
    config.listeners.push(Listener::new(transport, local));
    Agent::new(config, Rng::new(1))
}

#[test]
fn a_browser_is_spoken_to_on_its_own_connection() {
    let mut agent = agent_with(Transport::Wss);
    let now = Instant::ZERO;
    let peer = "203.0.113.9:40000".parse().unwrap();
    let connection = agent.handle_accepted(now, ListenerId(2), peer).unwrap();
    agent.handle_stream_data(now, connection, b"\r\n\r\n");
    assert_eq!(&agent.poll_transmit().unwrap().bytes[..], b"\r\n");
    // A WebSocket message needs no Content-Length (RFC 7118 §5.2).
    let invite = natted_invite("WSS", "").replace("Content-Length: 9\n", "");
    agent.handle_stream_data(now, connection, invite.replace('\n', "\r\n").as_bytes());
    let Some(Event::Incoming { session, .. }) = agent.poll_event() else {
        panic!("no call");
    };
    let answer = Some(Body::sdp(ANSWER));
    agent.answer(now, session, Headers::new(), answer).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| agent.poll_transmit()).collect();
    let ok = sent.last().unwrap();
    let text = std::str::from_utf8(&ok.bytes).unwrap();
    assert!(
        text.contains("Contact: <sip:sidetone@192.0.2.2:5061;transport=ws>\r\n"),
        "{text}"
    );
    let ack = natted_ack("WSS", &to_tag(&ok.bytes)).replace('\n', "\r\n");
    agent.handle_stream_data(now, connection, ack.as_bytes());
    agent.bye(now, session, Headers::new()).unwrap();
    let bye = agent.poll_transmit().unwrap();
    assert_eq!(bye.path, Path::Stream { connection });
    let text = std::str::from_utf8(&bye.bytes).unwrap();
    assert!(text.contains("Via: SIP/2.0/WSS 192.0.2.2:5061;"), "{text}");
    // It stays open for the call although nothing comes.
    let later = now + Duration::from_secs(100_000);
    agent.handle_stream_data(later, connection, b"nonsense");
    assert_eq!(
        agent.counters().dropped_malformed,
        1,
        "and it takes nonsense"
    );
}

fn ask(agent: &mut Agent, uri: &str) -> Option<(ConnectionId, Option<String>)> {
    let caller = "sip:a@192.0.2.2".parse::<Uri>().unwrap();
    let query = Options::new(uri.parse().unwrap(), NameAddr::new(&caller));
    agent.options(Instant::ZERO, query).unwrap();
    while let Some(request) = agent.poll_driver() {
        match request {
            DriverRequest::Query { lookup, question } => {
                let found = match question.kind {
                    Kind::A => vec![Record::Address("192.0.2.9".parse().unwrap())],
                    _ => Vec::new(),
                };
                agent.handle_records(Instant::ZERO, lookup, &question, &found);
            }
            DriverRequest::Connect {
                connection, name, ..
            } => return Some((connection, name)),
            other => panic!("{other:?}"),
        }
    }
    None
}

/// CVE-2020-15260: a connection whose certificate spoke for one name is used for another at the same
/// address.
#[test]
fn a_secure_connection_serves_the_name_that_it_was_opened_to() {
    let mut agent = agent_with(Transport::Tls);
    let (first, name) = ask(&mut agent, "sips:one.example").unwrap();
    assert_eq!(name.as_deref(), Some("one.example"));
    let (second, name) = ask(&mut agent, "sips:Two.example").unwrap();
    assert_eq!(name.as_deref(), Some("two.example"));
    assert_ne!(first, second);
    assert_eq!(
        ask(&mut agent, "sip:ONE.example;transport=tls"),
        None,
        "it is there"
    );
    assert_eq!(
        ask(&mut agent, "sips:192.0.2.9"),
        None,
        "no name is asked for"
    );
    // Who has connected to us over TLS may be anybody.
    let peer = "192.0.2.10:5061".parse().unwrap();
    let accepted = agent.handle_accepted(Instant::ZERO, ListenerId(2), peer);
    assert!(accepted.is_some());
    assert!(ask(&mut agent, "sips:192.0.2.10").is_some());
    let peer = "192.0.2.11:5060".parse().unwrap();
    assert!(
        agent
            .handle_accepted(Instant::ZERO, ListenerId(1), peer)
            .is_some()
    );
    assert_eq!(ask(&mut agent, "sip:192.0.2.11;transport=tcp"), None);
}

#[test]
fn secure_uris_are_taken_over_tls_only_and_answered_in_kind() {
    let mut agent = agent_with(Transport::Tls);
    let text = |transport: &str| {
        let options = natted_invite(transport, "").replace("INVITE", "OPTIONS");
        options
            .replace("sip:bob@", "sips:bob@")
            .replace('\n', "\r\n")
    };
    let source = "192.0.2.7:5060".parse().unwrap();
    let now = Instant::ZERO;
    agent.handle_datagram(now, ListenerId(0), source, text("UDP").as_bytes());
    assert!(
        agent
            .poll_transmit()
            .unwrap()
            .bytes
            .starts_with(b"SIP/2.0 416 ")
    );
    let connection = agent.handle_accepted(now, ListenerId(2), source).unwrap();
    agent.handle_stream_data(now, connection, text("TLS").as_bytes());
    let answer = agent.poll_transmit().unwrap().bytes;
    let answer = std::str::from_utf8(&answer).unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert!(
        answer.contains("Contact: <sips:sidetone@192.0.2.2:5061>\r\n"),
        "{answer}"
    );
}
