//! Tests of the virtual network.

use super::link::Loss;
use super::*;

fn pair(seed: u64) -> (Network, SocketId, SocketId) {
    let mut net = Network::new(seed);
    let a = net.add_host("a", &[]).expect("a host");
    let b = net.add_host("b", &[]).expect("a host");
    let from = net.bind(a, 5060).expect("a socket");
    let to = net.bind(b, 5060).expect("a socket");
    (net, from, to)
}

fn run(net: &mut Network) -> Vec<(u64, Delivery)> {
    let mut seen = Vec::new();
    while let Some(now) = net.poll_timeout() {
        net.handle_timeout(now);
        while let Some(delivery) = net.poll_delivery() {
            seen.push((now.as_nanos() / 1_000, delivery));
        }
    }
    seen
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn burst(net: &mut Network, from: SocketId, to: SocketId, packets: u64) {
    let destination = net.address(to);
    for i in 0..packets {
        let payload = Bytes::copy_from_slice(&i.to_be_bytes());
        net.send(at(i * 20), from, destination, payload);
    }
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let bad = Link::delay(Duration::from_millis(30))
        .jitter(Duration::from_millis(60))
        .loss(Loss::bursty(0.1, 3.0))
        .reorder(0.05, Duration::from_millis(45))
        .duplicate(0.05);
    let outcome = |seed| {
        let (mut net, from, to) = pair(seed);
        net.set_default_link(bad);
        burst(&mut net, from, to, 2_000);
        (run(&mut net), net.counters())
    };
    let (first, counters) = outcome(1);
    assert_eq!(first, outcome(1).0);
    assert_ne!(first, outcome(2).0);
    assert!(counters.lost > 100 && counters.reordered > 50 && counters.duplicated > 50);
    assert_eq!(
        counters.delivered,
        counters.sent - counters.lost + counters.duplicated
    );
}

#[test]
fn traffic_on_one_path_does_not_change_the_luck_of_another() {
    let outcome = |busy: bool| {
        let (mut net, from, to) = pair(5);
        let c = net.add_host("c", &[]).expect("a host");
        let other = net.bind(c, 1).expect("a socket");
        net.set_default_link(Link::default().loss(Loss::Random(0.3)));
        if busy {
            burst(&mut net, other, to, 500);
        }
        burst(&mut net, from, to, 500);
        let source = net.address(from);
        run(&mut net)
            .into_iter()
            .filter(|(_, d)| matches!(d, Delivery::Datagram { source: s, .. } if *s == source))
            .collect::<Vec<_>>()
    };
    assert_eq!(outcome(false), outcome(true));
}

#[test]
fn a_partition_swallows_datagrams_while_it_lasts() {
    let (mut net, from, to) = pair(1);
    net.partition("a", "b", at(100), Some(at(200)))
        .expect("hosts");
    burst(&mut net, from, to, 20);
    assert_eq!(run(&mut net).len(), 15);
    assert_eq!(net.counters().partitioned, 5);
}

#[test]
fn nobody_listens_and_nobody_is_there() {
    let (mut net, from, to) = pair(1);
    let ip = net.address(to).ip();
    net.send(
        at(0),
        from,
        SocketAddr::new(ip, 9),
        Bytes::from_static(b"x"),
    );
    let nowhere = "192.0.2.1:5060".parse().expect("an address");
    net.send(at(0), from, nowhere, Bytes::from_static(b"x"));
    net.unbind(to);
    let closed = net.address(to);
    net.send(at(0), from, closed, Bytes::from_static(b"x"));
    assert_eq!(run(&mut net), []);
    assert_eq!((net.counters().unheard, net.counters().unroutable), (2, 1));
}

#[test]
fn a_host_behind_nat_is_reached_only_through_its_mapping() {
    let (mut net, inside, outside) = pair(1);
    let public = "203.0.113.7".parse().expect("an address");
    net.put_behind_nat("a", NatKind::PortRestricted, public)
        .expect("a host");
    let private = net.address(inside);
    net.send(at(0), outside, private, Bytes::from_static(b"x"));
    assert_eq!(net.counters().unroutable, 1);

    let destination = net.address(outside);
    net.send(at(0), inside, destination, Bytes::from_static(b"hello"));
    let [(_, Delivery::Datagram { source, .. })] = &run(&mut net)[..] else {
        panic!("one datagram arrives");
    };
    assert_eq!(source.ip(), public);
    net.send(at(10), outside, *source, Bytes::from_static(b"answer"));
    let seen = run(&mut net);
    assert!(matches!(&seen[..], [(_, Delivery::Datagram { socket, .. })] if *socket == inside));
}

#[test]
fn a_stream_delivers_everything_in_order() {
    let (mut net, from, _) = pair(3);
    net.set_default_link(
        Link::delay(Duration::from_millis(10))
            .jitter(Duration::from_millis(30))
            .loss(Loss::Random(0.2)),
    );
    let (a, b) = (net.host("a").expect("a"), net.host("b").expect("b"));
    let address = SocketAddr::new(net.addresses(b)[0], 5060);
    let listener = net.listen(b, address).expect("a listener");
    let _ = from;
    let near = net.connect(at(0), a, address).expect("a stream");
    let seen = run(&mut net);
    let [
        (
            _,
            Delivery::Accepted {
                listener: l,
                stream: far,
                ..
            },
        ),
        (_, Delivery::Connected { stream }),
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    assert_eq!((*l, *stream), (listener, near));
    let text: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
    net.write(at(500), near, Bytes::from(text.clone()));
    net.write(at(500), *far, Bytes::from_static(b"other way"));
    net.close(at(501), near);
    let mut got = Vec::new();
    let mut closed = false;
    for (_, delivery) in run(&mut net) {
        match delivery {
            Delivery::Data { stream, payload } if stream == *far => got.extend_from_slice(&payload),
            Delivery::Closed { stream, reset } => closed = stream == *far && !reset,
            other => panic!("{other:?}"),
        }
    }
    assert!(closed);
    assert_eq!(got, text);
}

#[test]
fn a_stream_waits_for_a_partition_and_breaks_after_a_long_one() {
    for (length, survives) in [(30_000, true), (500_000, false)] {
        let (mut net, ..) = pair(3);
        let (a, b) = (net.host("a").expect("a"), net.host("b").expect("b"));
        let address = SocketAddr::new(net.addresses(b)[0], 5060);
        net.listen(b, address).expect("a listener");
        let near = net.connect(at(0), a, address).expect("a stream");
        run(&mut net);
        net.partition("a", "b", at(100), Some(at(100 + length)))
            .expect("hosts");
        net.write(at(200), near, Bytes::from_static(b"late"));
        let seen = run(&mut net);
        match survives {
            true => assert!(
                matches!(&seen[..], [(_, Delivery::Data { .. })]),
                "{seen:?}"
            ),
            false => assert!(
                seen.len() == 2
                    && seen
                        .iter()
                        .all(|(_, d)| matches!(d, Delivery::Closed { reset: true, .. })),
                "{seen:?}"
            ),
        }
    }
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    let (mut net, ..) = pair(3);
    let (a, b) = (net.host("a").expect("a"), net.host("b").expect("b"));
    let address = SocketAddr::new(net.addresses(b)[0], 1);
    let stream = net.connect(at(0), a, address).expect("a stream");
    let seen = run(&mut net);
    assert_eq!(seen, [(2_000, Delivery::Refused { stream })]);
}

#[test]
fn both_address_families_work() {
    let (mut net, ..) = pair(1);
    let (a, b) = (net.host("a").expect("a"), net.host("b").expect("b"));
    let [from, to] = [a, b].map(|host| {
        let six = net.addresses(host)[1];
        assert!(six.is_ipv6());
        net.bind_to(host, SocketAddr::new(six, 4000))
            .expect("a socket")
    });
    burst(&mut net, from, to, 1);
    assert_eq!(run(&mut net).len(), 1);
}
