//! SIP transaction and call costs: the bare machines, requests through the user agent, whole calls.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use sidetone::id::ListenerId;
use sidetone::rng::Rng;
use sidetone::sip::agent::Agent;
use sidetone::sip::agent::command::{Body, Invite};
use sidetone::sip::agent::config::AgentConfig;
use sidetone::sip::agent::event::Event;
use sidetone::sip::header::address::NameAddr;
use sidetone::sip::method::Method;
use sidetone::sip::status::StatusCode;
use sidetone::sip::transaction::key::{ClientKey, RequestFields, ServerKey};
use sidetone::sip::transaction::layer::{Layer, Limits};
use sidetone::sip::transaction::timer::Timers;
use sidetone::sip::transaction::{Event as Happening, Machine};
use sidetone::sip::transport::{Listener, Path, Transport};
use sidetone::time::{Duration, Instant};

/// Between two iterations this much virtual time passes: some ten thousand transactions linger.
const STEP: Duration = Duration::from_millis(1);

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 5060))
}

fn agent(host: u8) -> Agent {
    let listeners = vec![Listener::new(Transport::Udp, address(host))];
    let config = AgentConfig {
        listeners,
        ..AgentConfig::default()
    };
    Agent::new(config, Rng::new(u64::from(host)))
}

/// The machines with their indexes and timers, without any message.
fn layer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/transaction");
    let limits = Limits {
        transactions: 1 << 20,
        bytes: 1 << 30,
    };
    let listener = ListenerId(0);
    let path = Path::Datagram {
        listener,
        destination: address(9),
    };
    let message = Bytes::from_static(&[b'x'; 400]);
    let mut layer = Layer::new(Timers::default(), limits);
    let (mut now, mut number) = (Instant::ZERO, 0_u64);
    group.bench_function("server_create_answer_expire", |bencher| {
        bencher.iter(|| {
            now += STEP;
            number += 1;
            while layer.fire(now).is_some() {}
            let branch = format!("z9hG4bK{number:016x}");
            let key = ServerKey::new(&RequestFields {
                method: &Method::Options,
                branch: &branch,
                host: "192.0.2.9",
                port: 5060,
                uri: "sip:a@192.0.2.1",
                from_tag: "1",
                call_id: "1",
                sequence: 1,
            });
            let id = layer
                .start_server(Machine::NonInviteServer, key, path, ())
                .expect("room");
            layer.apply(now, id, Happening::Send2xx, message.clone());
            layer.poll_transmit()
        });
    });
    let mut layer = Layer::new(Timers::default(), limits);
    group.bench_function("client_create_answer_expire", |bencher| {
        bencher.iter(|| {
            now += STEP;
            number += 1;
            while layer.fire(now).is_some() {}
            let key = ClientKey::new(number, Method::Options);
            let machine = Machine::NonInviteClient;
            let id = layer
                .start_client(now, machine, key, path, message.clone(), ())
                .expect("room");
            layer.apply(now, id, Happening::Receive2xx, Bytes::new());
            layer.poll_transmit()
        });
    });
}

/// Transactions are made in bursts of so many; what ends them is not measured here.
const BURST: u64 = 1_000;

/// Time for `count` runs of `make`, with `end` between the bursts.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn bursts(count: u64, mut make: impl FnMut(), mut end: impl FnMut()) -> std::time::Duration {
    let mut spent = std::time::Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let burst = left.min(BURST);
        let start = std::time::Instant::now();
        (0..burst).for_each(|_| make());
        spent += start.elapsed();
        end();
        left -= burst;
    }
    spent
}

/// Creation alone: the key, the place in the indexes, the timers.
fn create(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/transaction");
    let limits = Limits {
        transactions: 1 << 20,
        bytes: 1 << 30,
    };
    let path = Path::Datagram {
        listener: ListenerId(0),
        destination: address(9),
    };
    let message = Bytes::from_static(&[b'x'; 400]);
    let new = || RefCell::new(Layer::new(Timers::default(), limits));
    let layer = new();
    let number = Cell::new(0_u64);
    let mut branch = String::new();
    group.bench_function("server_create", |bencher| {
        bencher.iter_custom(|count| {
            let make = || {
                number.set(number.get() + 1);
                branch.clear();
                let _ = write!(branch, "z9hG4bK{:016x}", number.get());
                let key = ServerKey::new(&RequestFields {
                    method: &Method::Invite,
                    branch: &branch,
                    host: "192.0.2.9",
                    port: 5060,
                    uri: "sip:a@192.0.2.1",
                    from_tag: "1",
                    call_id: "1",
                    sequence: 1,
                });
                let machine = Machine::InviteServer;
                let made = layer.borrow_mut().start_server(machine, key, path, ());
                black_box(made.expect("room"));
            };
            bursts(count, make, || {
                layer.replace(Layer::new(Timers::default(), limits));
            })
        });
    });
    let layer = new();
    group.bench_function("client_create", |bencher| {
        bencher.iter_custom(|count| {
            let make = || {
                number.set(number.get() + 1);
                let key = ClientKey::new(number.get(), Method::Invite);
                let machine = Machine::InviteClient;
                let mut layer = layer.borrow_mut();
                let made =
                    layer.start_client(Instant::ZERO, machine, key, path, message.clone(), ());
                black_box(made.expect("room"));
                layer.poll_transmit();
            };
            bursts(count, make, || {
                layer.replace(Layer::new(Timers::default(), limits));
            })
        });
    });
}

fn invite(number: u64) -> String {
    format!(
        "INVITE sip:bob@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{number:016x};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@192.0.2.9>;tag={number:x}\r\n\
         To: <sip:bob@192.0.2.1>\r\nCall-ID: {number:x}@192.0.2.9\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@192.0.2.9:5060>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// An INVITE through the whole agent: parsed, checked, session and transaction made, 100 and 486
/// built and sent; its timers run out in later iterations.
fn server(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip/agent");
    let mut agent = agent(1);
    let (mut now, mut number) = (Instant::ZERO, 0_u64);
    group.bench_function("uas_invite_486_ack", |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                (invite(number), number)
            },
            |(text, number)| {
                now += STEP;
                agent.handle_timeout(now);
                agent.handle_datagram(now, ListenerId(0), address(9), text.as_bytes());
                let event = agent.poll_event();
                let Some(Event::Incoming { session, .. }) = event else {
                    panic!("no call {number}: {event:?}")
                };
                agent
                    .reject(now, session, StatusCode::BUSY_HERE, vec![])
                    .expect("rejected");
                agent.poll_event();
                agent.poll_transmit();
                let ack = text.replace("INVITE", "ACK");
                agent.handle_datagram(now, ListenerId(0), address(9), ack.as_bytes());
                while agent.poll_transmit().is_some() {}
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("uas_options_200", |bencher| {
        let text = invite(1).replace("INVITE", "OPTIONS");
        bencher.iter(|| {
            agent.handle_datagram(now, ListenerId(0), address(9), text.as_bytes());
            agent.poll_transmit().expect("an answer")
        });
    });
}

/// Carries what two agents send to each other until both are silent.
fn exchange(now: Instant, agents: &mut [Agent; 2], events: &mut Vec<(usize, Event)>) {
    let mut busy = true;
    while busy {
        busy = false;
        for side in 0..2 {
            while let Some(transmit) = agents[side].poll_transmit() {
                busy = true;
                let source = address(side as u8 + 1);
                agents[1 - side].handle_datagram(now, ListenerId(0), source, &transmit.bytes);
            }
            while let Some(event) = agents[side].poll_event() {
                events.push((side, event));
            }
        }
    }
}

/// A whole call between two agents: INVITE with SDP, 100, 180, 200, ACK, BYE, 200; both sides.
fn call(criterion: &mut Criterion) {
    const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let mut agents = [agent(1), agent(2)];
    let target: sidetone::sip::uri::Uri = "sip:bob@192.0.2.2".parse().expect("a URI");
    let from = NameAddr::new(&"sip:alice@192.0.2.1".parse().expect("a URI"));
    let mut now = Instant::ZERO;
    let mut events = Vec::new();
    criterion
        .benchmark_group("sip/agent")
        .bench_function("call_both_sides", |bencher| {
            bencher.iter(|| {
                now += STEP;
                agents
                    .iter_mut()
                    .for_each(|agent| agent.handle_timeout(now));
                let mut invite = Invite::new(target.clone(), from.clone());
                invite.body = Some(Body::sdp(SDP));
                let caller = agents[0].invite(now, invite).expect("a call");
                exchange(now, &mut agents, &mut events);
                let callee = events.iter().find_map(|(_, event)| match event {
                    Event::Incoming { session, .. } => Some(*session),
                    _ => None,
                });
                let callee = callee.expect("an incoming call");
                agents[1]
                    .ring(now, callee, StatusCode::RINGING, vec![], None)
                    .expect("rung");
                agents[1]
                    .answer(now, callee, vec![], Some(Body::sdp(SDP)))
                    .expect("answered");
                exchange(now, &mut agents, &mut events);
                agents[0].bye(now, caller, vec![]).expect("hung up");
                exchange(now, &mut agents, &mut events);
                assert_eq!(agents[1].sessions(), 0);
                events.clear();
            });
        });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    layer(&mut criterion);
    create(&mut criterion);
    server(&mut criterion);
    call(&mut criterion);
    criterion.final_summary();
}
