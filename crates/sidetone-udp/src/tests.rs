//! Loopback tests of the crate's own calls, the portable ones beside those of the system.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use crate::batch::{BATCH, ReceiveBatch, SendBatch, Sent};
use crate::poll::Poller;
use crate::portable;
use crate::socket::{Options, Socket};

const LONG: Option<Duration> = Some(Duration::from_secs(20));

fn bind(address: &str) -> Socket {
    Socket::bind(address.parse().unwrap()).unwrap()
}

fn wait_for(socket: &Socket) {
    let mut poller = Poller::new().unwrap();
    poller.add(socket, 1).unwrap();
    poller.wait(LONG).unwrap();
    assert_eq!(poller.ready(), [1]);
}

fn contents(batch: &mut ReceiveBatch) -> Vec<(SocketAddr, Vec<u8>)> {
    batch
        .datagrams()
        .map(|d| (d.source, d.bytes.to_vec()))
        .collect()
}

/// Says so where this machine has no IPv6, so that nobody believes it was tested.
#[expect(clippy::print_stderr)]
fn has_ipv6() -> bool {
    let has = Socket::bind("[::1]:0".parse().unwrap()).is_ok();
    if !has {
        eprintln!("skipped: no IPv6 on this machine");
    }
    has
}

#[test]
fn a_batch_goes_to_several_destinations_in_order() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        if address.starts_with('[') && !has_ipv6() {
            continue;
        }
        let (from, a, b) = (bind(address), bind(address), bind(address));
        let mut out = SendBatch::new(100);
        for i in 0..6_u8 {
            let to = if i % 2 == 0 { &a } else { &b };
            assert!(out.push(to.local_address(), &[i; 10]));
        }
        assert_eq!(
            out.send(&from),
            Sent {
                sent: 6,
                refused: 0
            }
        );
        assert!(out.is_empty());
        for (socket, first) in [(&a, 0), (&b, 1)] {
            wait_for(socket);
            let mut batch = ReceiveBatch::new(100);
            assert_eq!(batch.receive(socket).unwrap(), 3);
            let want = [first, first + 2, first + 4];
            let want = want.map(|i| (from.local_address(), vec![i; 10]));
            assert_eq!(contents(&mut batch), want);
            assert_eq!(batch.receive(socket).unwrap(), 0);
            assert_eq!(batch.datagrams().count(), 0);
        }
    }
}

#[test]
fn a_long_datagram_is_cut_and_marked() {
    let (from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    from.send_to(&[7; 50], to.local_address()).unwrap();
    from.send_to(&[8; 20], to.local_address()).unwrap();
    wait_for(&to);
    let mut batch = ReceiveBatch::new(20);
    assert_eq!(batch.receive(&to).unwrap(), 2);
    let seen: Vec<_> = batch
        .datagrams()
        .map(|d| (d.bytes.to_vec(), d.truncated))
        .collect();
    assert_eq!(seen, [(vec![7; 20], true), (vec![8; 20], false)]);
}

#[test]
fn more_than_a_batch_comes_in_several() {
    let (from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    for i in 0..BATCH as u8 + 3 {
        from.send_to(&[i], to.local_address()).unwrap();
    }
    wait_for(&to);
    let mut batch = ReceiveBatch::new(20);
    let mut received = Vec::new();
    while received.len() < BATCH + 3 {
        let count = batch.receive(&to).unwrap();
        assert!((1..=BATCH).contains(&count));
        received.extend(contents(&mut batch).into_iter().map(|(_, bytes)| bytes[0]));
    }
    assert!(received.into_iter().eq(0..BATCH as u8 + 3));
    assert_eq!(batch.receive(&to).unwrap(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn options_are_what_the_system_was_asked_for() {
    use crate::linux::get;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(socket) = Socket::bind(address.parse().unwrap()) else {
            // This machine has no IPv6.
            continue;
        };
        let options = Options {
            dscp: Some(46),
            receive_buffer: Some(100_000),
            send_buffer: Some(50_000),
        };
        socket.configure(&options).unwrap();
        assert_eq!(get(socket.std(), libc::IPPROTO_IP, libc::IP_TOS), 46 << 2);
        if address.starts_with('[') {
            let class = get(socket.std(), libc::IPPROTO_IPV6, libc::IPV6_TCLASS);
            assert_eq!(class, 46 << 2);
        }
        // Linux doubles what it is asked for.
        let size = |name| get(socket.std(), libc::SOL_SOCKET, name);
        assert_eq!(size(libc::SO_RCVBUF), 200_000);
        assert_eq!(size(libc::SO_SNDBUF), 100_000);
        let high = Options {
            dscp: Some(64),
            ..Options::default()
        };
        assert!(socket.configure(&high).is_err());
    }
}

#[test]
fn a_batch_refuses_when_full_or_too_long() {
    let to = bind("127.0.0.1:0");
    let mut out = SendBatch::new(4);
    assert!(!out.push(to.local_address(), &[0; 5]));
    for _ in 0..BATCH {
        assert!(out.push(to.local_address(), &[0; 4]));
    }
    assert!(out.is_full());
    assert!(!out.push(to.local_address(), &[0; 4]));
}

#[test]
fn an_unreachable_destination_does_not_stop_the_rest() {
    let (from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut out = SendBatch::new(10);
    assert!(out.push(to.local_address(), b"one"));
    assert!(out.push("[::1]:9".parse().unwrap(), b"elsewhere"));
    assert!(out.push(to.local_address(), b"two"));
    assert_eq!(
        out.send(&from),
        Sent {
            sent: 2,
            refused: 1
        }
    );
}

#[test]
fn an_ipv6_socket_talks_to_ipv4() {
    if !has_ipv6() {
        return;
    }
    let both = bind("[::]:0");
    let v4 = bind("127.0.0.1:0");
    let both_as_v4 = SocketAddr::new([127, 0, 0, 1].into(), both.local_address().port());
    v4.send_to(b"ping", both_as_v4).unwrap();
    wait_for(&both);
    let mut batch = ReceiveBatch::new(20);
    assert_eq!(batch.receive(&both).unwrap(), 1);
    assert_eq!(contents(&mut batch)[0].0, v4.local_address());
    let mut out = SendBatch::new(10);
    assert!(out.push(v4.local_address(), b"pong") && out.push(v4.local_address(), b"pang"));
    assert_eq!(
        out.send(&both),
        Sent {
            sent: 2,
            refused: 0
        }
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_says_how_long_a_datagram_waited() {
    let (from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = ReceiveBatch::new(20);
    // Linux begins to take the times a while after it was first asked to, when it has nothing better to do.
    let mut waits = (0..400).map(|_| {
        from.send_to(b"early", to.local_address()).unwrap();
        let mut nothing = Poller::new().unwrap();
        nothing.wait(Some(Duration::from_millis(30))).unwrap();
        assert_eq!(batch.receive(&to).unwrap(), 1);
        batch.datagrams().next().unwrap().waited
    });
    assert!(waits.any(|waited| waited >= Duration::from_millis(25)));
}

#[test]
fn a_waker_ends_the_wait_from_another_thread_and_in_advance() {
    let mut poller = Poller::new().unwrap();
    let waker = poller.waker();
    waker.wake();
    poller.wait(None).unwrap();
    assert!(poller.ready().is_empty());

    let (sender, receiver) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            receiver.recv().unwrap();
            waker.wake();
        });
        sender.send(()).unwrap();
        poller.wait(None).unwrap();
    });
    assert!(poller.ready().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_left_in_a_socket_is_reported_when_it_is_asked_for() {
    let socket = bind("127.0.0.1:0");
    let mut poller = Poller::new().unwrap();
    poller.add(&socket, 1).unwrap();
    let mut batch = ReceiveBatch::new(20);
    let none = Some(Duration::ZERO);
    for burst in [1_usize, 3, 4, 5, 40] {
        for _ in 0..burst {
            socket.send_to(b"x", socket.local_address()).unwrap();
        }
        poller.wait(LONG).unwrap();
        let mut taken = 0;
        while poller.ready() == [1] {
            taken += batch.receive(&socket).unwrap();
            if batch.may_have_left() {
                poller.again(&socket, 1).unwrap();
            }
            poller.wait(none).unwrap();
        }
        assert_eq!(taken, burst);
    }
    // Nothing is said of what was left and not asked for, until more comes.
    for _ in 0..5 {
        socket.send_to(b"x", socket.local_address()).unwrap();
    }
    batch.receive(&bind("127.0.0.1:0")).unwrap();
    poller.wait(LONG).unwrap();
    assert_eq!(batch.receive(&socket).unwrap(), 4);
    assert!(batch.may_have_left());
    poller.wait(none).unwrap();
    assert!(poller.ready().is_empty());
    socket.send_to(b"y", socket.local_address()).unwrap();
    poller.wait(none).unwrap();
    assert_eq!(poller.ready(), [1]);
}

#[test]
fn a_pause_is_ended_by_a_waker_but_not_by_a_datagram() {
    let socket = bind("127.0.0.1:0");
    let mut poller = Poller::new().unwrap();
    poller.add(&socket, 1).unwrap();
    socket.send_to(b"x", socket.local_address()).unwrap();
    poller.pause(Duration::from_millis(1)).unwrap();
    assert!(poller.ready().is_empty());
    poller.waker().wake();
    poller.pause(Duration::from_secs(3_600)).unwrap();
    poller.wait(LONG).unwrap();
    assert_eq!(poller.ready(), [1]);

    let mut portable = portable::Poller::new().unwrap();
    portable.waker().wake();
    portable.pause(Duration::from_secs(3_600)).unwrap();
    portable.pause(Duration::from_millis(1)).unwrap();
}

#[test]
fn a_removed_socket_is_not_reported() {
    let (a, b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut poller = Poller::new().unwrap();
    poller.add(&a, 1).unwrap();
    poller.add(&b, 2).unwrap();
    assert!(poller.add(&a, u64::MAX).is_err());
    poller.remove(&a, 1).unwrap();
    assert!(poller.remove(&a, 1).is_err());
    b.send_to(b"x", a.local_address()).unwrap();
    a.send_to(b"x", b.local_address()).unwrap();
    poller.wait(LONG).unwrap();
    assert_eq!(poller.ready(), [2]);
}

#[test]
fn the_portable_calls_do_the_same() {
    let (from, to) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    portable::enable_timestamps(from.std());
    let mut out = SendBatch::new(10);
    assert!(out.push(to.local_address(), b"one") && out.push(to.local_address(), b"two"));
    assert_eq!(
        portable::send(&from, &out, 2),
        Sent {
            sent: 2,
            refused: 0
        }
    );
    let mut batch = ReceiveBatch::new(20);
    wait_for(&to);
    assert_eq!(portable::receive(&to, &mut batch).unwrap(), 2);
    assert_eq!(
        (batch.meta[0].source, batch.meta[1].length),
        (from.local_address(), 3)
    );
    assert_eq!(portable::receive(&to, &mut batch).unwrap(), 0);

    let mut poller = portable::Poller::new().unwrap();
    let waker = poller.waker();
    let mut ready = Vec::new();
    waker.wake();
    poller.wait(None, &mut ready).unwrap();
    assert!(ready.is_empty());
    poller.add(&to, 5).unwrap();
    assert!(poller.add(&to, 5).is_err());
    poller.wait(LONG, &mut ready).unwrap();
    assert_eq!(ready, [5]);
    poller.again(&to, 5).unwrap();
    poller.remove(&to, 5).unwrap();
    assert!(poller.again(&to, 5).is_err());
    assert!(poller.remove(&to, 5).is_err());
    assert!(portable::pin_current_thread(0).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_may_always_be_humble() {
    // It is this test's own.
    assert!(crate::affinity::humble_current_thread().is_ok());
}

#[test]
fn pinning_to_a_core_that_does_not_exist_fails() {
    assert!(crate::affinity::pin_current_thread(1_000_000).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn a_datagram_to_a_closed_port_is_quoted_back() {
    use crate::unreachable;
    use std::net::UdpSocket;
    for host in ["127.0.0.1", "[::1]"] {
        let socket = UdpSocket::bind(format!("{host}:0")).unwrap();
        unreachable::listen(&socket).unwrap();
        let closed = UdpSocket::bind(format!("{host}:0")).unwrap();
        let nowhere = closed.local_addr().unwrap();
        drop(closed);
        let sent = vec![b'x'; 400];
        socket.send_to(&sent, nowhere).unwrap();
        let told = loop {
            match unreachable::take(&socket) {
                Ok(told) => break told,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        };
        assert_eq!(told.destination, nowhere);
        assert_eq!(told.bytes, sent);
        let none = unreachable::take(&socket).unwrap_err();
        assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
    }
}
