//! Over TCP: connections opened, reused, lost, slow and too many.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TCP: &str = ";transport=tcp";

#[test]
fn a_call_over_one_connection() {
    let mut net = Net::pair(1, answering);
    let session = net.call_with(0, 1, TCP, |invite| invite.body = Some(Body::sdp(OFFER)));
    net.run(SECOND);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
    assert_eq!(net.sent(0), ["INVITE 1 +", "ACK 1", "BYE 2"]);
    assert_eq!(net.datagrams, 0);
    assert_eq!(net.wires.len(), 2, "one connection, seen from two sides");
    let port = net.nodes[1].address;
    assert!(net.nodes[1].events.iter().any(|event| matches!(
        event, Event::Incoming { listener: Some(ListenerId(1)), source, .. } if *source != port
    )));
}

#[test]
fn the_answer_finds_a_new_connection_when_its_own_is_gone() {
    let mut net = Net::pair(1, ignore);
    let session = net.call_with(0, 1, TCP, |_| {});
    net.run(SECOND);
    let (index, connection) = *net.wires.keys().find(|(node, _)| *node == 1).unwrap();
    net.cut(index, connection);
    let now = net.now;
    net.agent(index).handle_closed(now, connection);
    // The caller loses the transport of its INVITE with the connection only after a response.
    let callee = net.session_of(1);
    let now = net.now;
    net.agent(1)
        .answer(now, callee, Headers::new(), Some(Body::sdp(ANSWER)))
        .unwrap();
    net.run(Duration::from_millis(15));
    assert!(
        net.wires
            .keys()
            .any(|(node, other)| *node == 1 && *other != connection)
    );
    assert_eq!(net.sent(1).last(), Some(&"200 INVITE 1 +"));
    net.run(SECOND);
    let now = net.now;
    let _ = net.agent(0).hang_up(now, session, Headers::new());
    net.settle();
}

#[test]
fn a_connection_that_cannot_be_opened_ends_the_call() {
    let mut net = Net::pair(1, answering);
    net.refuse_connections = true;
    net.call_with(0, 1, TCP, |_| {});
    net.run(SECOND);
    assert_eq!(net.events(0), ["ended failed: transport error"]);
    net.settle();
}

#[test]
fn too_many_connections_are_refused() {
    let mut net = Net::pair(1, ignore);
    net.nodes[1].agent.config.max_connections = 2;
    let peer = "192.0.2.50:4000".parse().unwrap();
    let now = net.now;
    let agent = net.agent(1);
    assert!(agent.handle_accepted(now, ListenerId(1), peer).is_some());
    assert!(agent.handle_accepted(now, ListenerId(1), peer).is_some());
    assert!(agent.handle_accepted(now, ListenerId(1), peer).is_none());
    assert_eq!(agent.counters().connections_refused, 1);
}

/// Whether the agent asked for the connection to be closed.
fn closed(agent: &mut Agent, connection: ConnectionId) -> bool {
    std::iter::from_fn(|| agent.poll_driver())
        .any(|request| request == DriverRequest::Close { connection })
}

#[test]
fn a_slow_writer_and_a_silent_peer_are_cut_off() {
    let mut net = Net::pair(1, ignore);
    let peer = "192.0.2.50:4000".parse().unwrap();
    let agent = net.agent(1);
    let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
    let slow = agent.handle_accepted(at(0), ListenerId(1), peer).unwrap();
    for second in 0..40 {
        agent.handle_timeout(at(second));
        agent.handle_stream_data(at(second), slow, b"O");
        if second < 30 {
            assert!(!closed(agent, slow), "at {second} s");
        }
    }
    assert!(closed(agent, slow));
    let silent = agent.handle_accepted(at(40), ListenerId(1), peer).unwrap();
    agent.handle_stream_data(at(60), silent, b"\r\n\r\n");
    assert_eq!(&agent.poll_transmit().unwrap().bytes[..], b"\r\n");
    assert_eq!(agent.poll_timeout(), Some(at(960)));
    agent.handle_timeout(at(959));
    assert!(!closed(agent, silent));
    agent.handle_timeout(at(960));
    assert!(closed(agent, silent));
    assert_eq!(agent.poll_timeout(), None);
}

#[test]
fn bytes_that_are_not_sip_close_the_connection() {
    let mut net = Net::pair(1, ignore);
    let peer = "192.0.2.50:4000".parse().unwrap();
    let now = net.now;
    let agent = net.agent(1);
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[b'x'; 40_000]] {
        let connection = agent.handle_accepted(now, ListenerId(1), peer).unwrap();
        agent.handle_stream_data(now, connection, bytes);
        assert!(closed(agent, connection));
        agent.handle_stream_data(now, connection, b"more");
    }
    assert_eq!(agent.counters().dropped_malformed, 2);
}

#[test]
fn several_messages_in_one_read_are_all_answered() {
    let mut net = Net::pair(1, ignore);
    let peer = "192.0.2.50:4000".parse().unwrap();
    let now = net.now;
    let agent = net.agent(1);
    let connection = agent.handle_accepted(now, ListenerId(1), peer).unwrap();
    let text = |n| {
        format!(
            "OPTIONS sip:192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.50;branch=z9hG4bK{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:192.0.2.2>\r\nCall-ID: {n}\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let all = [text(1), text(2), text(3)].concat();
    let (first, second) = all.split_at(all.len() / 2);
    agent.handle_stream_data(now, connection, first.as_bytes());
    agent.handle_stream_data(now, connection, second.as_bytes());
    let answers = std::iter::from_fn(|| agent.poll_transmit()).count();
    assert_eq!(answers, 3);
}

#[test]
fn a_busy_connection_leaves_nothing_behind() {
    let mut net = Net::pair(1, ignore);
    let peer = "192.0.2.50:4000".parse().unwrap();
    let agent = net.agent(1);
    let connection = agent
        .handle_accepted(Instant::ZERO, ListenerId(1), peer)
        .unwrap();
    for n in 0..10_000 {
        let now = Instant::ZERO + Duration::from_millis(n);
        agent.handle_stream_data(now, connection, b"SIP/2.0 200 OK\r\nContent-Le");
        agent.handle_stream_data(now, connection, b"ngth: 0\r\n\r\n");
    }
    assert!(agent.deadlines.len() < 10, "{}", agent.deadlines.len());
    assert_eq!(agent.counters().dropped_stray_responses, 10_000);
}

#[test]
fn a_connection_forgets_the_transactions_that_are_done() {
    let mut net = Net::pair(1, ignore);
    for _ in 0..1_000 {
        let session = net.call_with(0, 1, TCP, |_| {});
        net.run(SECOND);
        let now = net.now;
        net.agent(0).cancel(now, session, Headers::new()).unwrap();
        net.run(SECOND);
        net.nodes.iter_mut().for_each(|node| node.events.clear());
    }
    let connections = &net.nodes[0].agent.connections;
    assert!(
        connections.noted_clients() < 300,
        "{}",
        connections.noted_clients()
    );
    net.settle();
}

#[test]
fn callers_who_close_their_connection_at_once_leave_nothing() {
    let mut net = Net::pair(1, ignore);
    let peer: SocketAddr = "192.0.2.50:4000".parse().unwrap();
    for n in 0..2_000u64 {
        let now = Instant::ZERO + Duration::from_millis(n);
        let agent = net.agent(1);
        let connection = agent.handle_accepted(now, ListenerId(1), peer).unwrap();
        let invite = format!(
            "INVITE sip:b@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP {peer};branch=z9hG4bK{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@{peer}>;tag={n}\r\nTo: <sip:b@192.0.2.2>\r\n\
             Call-ID: {n}@{peer}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@{peer};transport=tcp>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        agent.handle_stream_data(now, connection, invite.as_bytes());
        agent.handle_closed(now, connection);
        while agent.poll_transmit().is_some() {}
    }
    net.now = Instant::ZERO + SECOND * 2;
    let most = net.nodes[1].agent.config.max_pending_per_source;
    assert!(net.agent(1).sessions() <= most);
    net.refuse_connections = true;
    net.settle();
}
