//! Two and more agents on a virtual network in virtual time.

mod bounds;
mod calls;
mod challenges;
mod changes;
mod events;
mod flows;
mod load;
mod loss;
mod messages;
mod peers;
mod pracks;
mod random;
mod registering;
mod registrations;
mod streams;
mod timers;
mod torture;
mod updates;
mod watching;
mod ways;

use super::Agent;
use super::command::{Body, Headers, Invite, SessionId};
use super::config::AgentConfig;
use super::event::{Cause, DriverRequest, Event};
use crate::id::{ConnectionId, ListenerId};
use crate::rng::Rng;
use crate::sip::auth::digest::Secret;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::transport::resolve::{Kind, Record};
use crate::sip::transport::{Listener, Path, Transport};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const OFFER: &str = "v=0 offer";
const ANSWER: &str = "v=0 answer";

/// What travels on the virtual network.
#[derive(Debug, Clone)]
enum Packet {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Stream {
        node: usize,
        connection: ConnectionId,
        bytes: Vec<u8>,
    },
    Opened {
        node: usize,
        connection: ConnectionId,
    },
    Closed {
        node: usize,
        connection: ConnectionId,
    },
}

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
struct Weather {
    delay: Duration,
    /// Added at random, so that packets overtake one another.
    jitter: Duration,
    loss: f64,
    duplication: f64,
}

const FAIR: Weather = Weather {
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    loss: 0.0,
    duplication: 0.0,
};

type Policy = fn(&mut Agent, Instant, &Event);

struct Node {
    agent: Agent,
    address: SocketAddr,
    policy: Policy,
    events: Vec<Event>,
    /// How often each session ended.
    ended: BTreeMap<SessionId, usize>,
}

struct Net {
    now: Instant,
    rng: Rng,
    weather: Weather,
    nodes: Vec<Node>,
    /// Raw peers: what was sent to addresses that no agent has.
    raw: Vec<(SocketAddr, Vec<u8>)>,
    /// What has been sent, first line and CSeq, with the sender's index.
    log: Vec<(usize, String)>,
    flights: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    datagrams: usize,
    drop: Option<usize>,
    drop_if: Option<fn(&str) -> bool>,
    wires: BTreeMap<(usize, ConnectionId), (usize, ConnectionId)>,
    refuse_connections: bool,
    /// What the DNS knows.
    records: Vec<(&'static str, Kind, Record)>,
}

fn ignore(_: &mut Agent, _: Instant, _: &Event) {}

/// Rings and answers everything.
fn answering(agent: &mut Agent, now: Instant, event: &Event) {
    match event {
        Event::Incoming {
            session, request, ..
        } => {
            let answer = if request.body().is_empty() {
                OFFER
            } else {
                ANSWER
            };
            agent
                .ring(now, *session, StatusCode::RINGING, Headers::new(), None)
                .unwrap();
            agent
                .answer(now, *session, Headers::new(), Some(Body::sdp(answer)))
                .unwrap();
        }
        Event::Reinvite { session, .. } => {
            agent
                .answer(now, *session, Headers::new(), Some(Body::sdp(ANSWER)))
                .unwrap();
        }
        _ => {}
    }
}

fn rejecting(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Incoming { session, .. } = event {
        agent
            .reject(now, *session, StatusCode::BUSY_HERE, Headers::new())
            .unwrap();
    }
}

/// Sends the answer with the ACK of a delayed offer.
fn acknowledging(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Answered {
        session,
        acknowledge: true,
        ..
    }
    | Event::ReinviteAnswered {
        session,
        acknowledge: true,
        ..
    } = event
    {
        agent
            .acknowledge(now, *session, Headers::new(), Some(Body::sdp(ANSWER)))
            .unwrap();
    }
}

fn config(address: SocketAddr) -> AgentConfig {
    AgentConfig {
        listeners: vec![
            Listener::new(Transport::Udp, address),
            Listener::new(Transport::Tcp, address),
        ],
        ..AgentConfig::default()
    }
}

impl Net {
    fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            rng: Rng::new(seed),
            weather: FAIR,
            nodes: Vec::new(),
            raw: Vec::new(),
            log: Vec::new(),
            flights: BTreeMap::new(),
            count: 0,
            datagrams: 0,
            drop: None,
            drop_if: None,
            wires: BTreeMap::new(),
            refuse_connections: false,
            records: vec![(
                "pbx.example",
                Kind::A,
                Record::Address("192.0.2.2".parse().unwrap()),
            )],
        }
    }

    /// A network with a caller (0) that acknowledges and a callee (1) with the policy.
    fn pair(seed: u64, callee: Policy) -> Self {
        let mut net = Self::new(seed);
        net.add("192.0.2.1:5060", acknowledging, |_| {});
        net.add("192.0.2.2:5060", callee, |_| {});
        net
    }

    fn add(&mut self, address: &str, policy: Policy, change: fn(&mut AgentConfig)) -> usize {
        let address: SocketAddr = address.parse().unwrap();
        let mut config = config(address);
        change(&mut config);
        let agent = Agent::new(config, self.rng.fork());
        let ended = BTreeMap::new();
        self.nodes.push(Node {
            agent,
            address,
            policy,
            events: Vec::new(),
            ended,
        });
        self.nodes.len() - 1
    }

    /// Node `from` calls node `to`.
    fn call(&mut self, from: usize, to: usize, body: Option<&'static str>) -> SessionId {
        self.call_with(from, to, "", |invite| invite.body = body.map(Body::sdp))
    }

    fn call_with(
        &mut self,
        from: usize,
        to: usize,
        params: &str,
        change: impl FnOnce(&mut Invite),
    ) -> SessionId {
        let target = format!("sip:bob@{}{params}", self.nodes[to].address)
            .parse()
            .unwrap();
        let caller = format!("sip:alice@{}", self.nodes[from].address)
            .parse::<Uri>()
            .unwrap();
        let mut invite = Invite::new(target, NameAddr::new(&caller));
        change(&mut invite);
        let now = self.now;
        self.agent(from).invite(now, invite).unwrap()
    }

    fn agent(&mut self, node: usize) -> &mut Agent {
        &mut self.nodes[node].agent
    }

    /// A datagram from an address that may be anybody's, at once.
    fn inject(&mut self, from: &str, to: usize, text: &str) {
        let bytes = text.replace('\n', "\r\n");
        let now = self.now;
        self.agent(to)
            .handle_datagram(now, ListenerId(0), from.parse().unwrap(), bytes.as_bytes());
        self.collect();
    }

    /// Takes what all agents have to say.
    fn collect(&mut self) {
        for index in 0..self.nodes.len() {
            self.collect_one(index);
        }
    }

    fn collect_one(&mut self, index: usize) {
        loop {
            let now = self.now;
            let node = &mut self.nodes[index];
            if let Some(event) = node.agent.poll_event() {
                if let Event::Ended { session, .. } = &event {
                    *node.ended.entry(*session).or_default() += 1;
                }
                (node.policy)(&mut node.agent, now, &event);
                node.events.push(event);
            } else if let Some(request) = node.agent.poll_driver() {
                self.drive(index, request);
            } else if let Some(transmit) = node.agent.poll_transmit() {
                self.send(index, transmit.path, &transmit.bytes);
            } else {
                return;
            }
        }
    }

    fn send(&mut self, index: usize, path: Path, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let is_stun = crate::sip::transport::stun::is_stun(bytes);
        let line = match is_stun {
            true => "STUN".to_owned(),
            false => summary(&text),
        };
        if bytes.len() > 4 && !is_stun {
            let message = Message::parse(bytes.to_vec().into()).unwrap();
            // A 400 repeats what it can of a request that lacks something.
            let valid = message.validate().is_ok() || text.starts_with("SIP/2.0 400");
            assert!(valid, "{:?}\n{text}", message.validate());
        }
        let dropped = self.drop_if.is_some_and(|drop| drop(&line));
        if !text.trim().is_empty() {
            self.log.push((index, line));
        }
        match path {
            Path::Datagram { destination, .. } => {
                let number = self.datagrams;
                self.datagrams += 1;
                if dropped || self.drop == Some(number) {
                    return;
                }
                let from = self.nodes[index].address;
                let packet = Packet::Datagram {
                    from,
                    to: destination,
                    bytes: bytes.to_vec(),
                };
                let copies = 1 + usize::from(self.rng.next_f64() < self.weather.duplication);
                for _ in 0..copies {
                    if self.rng.next_f64() >= self.weather.loss {
                        self.fly(packet.clone(), true);
                    }
                }
            }
            Path::Stream { connection } => {
                let Some((node, connection)) = self.wires.get(&(index, connection)).copied() else {
                    return;
                };
                self.fly(
                    Packet::Stream {
                        node,
                        connection,
                        bytes: bytes.to_vec(),
                    },
                    false,
                );
            }
        }
    }

    fn fly(&mut self, packet: Packet, jitter: bool) {
        self.count += 1;
        let extra = self.rng.below(self.weather.jitter.as_nanos() as u64 + 1);
        let extra = if jitter {
            Duration::from_nanos(extra)
        } else {
            Duration::ZERO
        };
        let at = self.now + self.weather.delay + extra;
        self.flights.insert((at, self.count), packet);
    }

    fn drive(&mut self, index: usize, request: DriverRequest) {
        match request {
            DriverRequest::Credentials {
                lookup, username, ..
            } => {
                let secret = (matches!(username.as_str(), "alice" | "bob"))
                    .then(|| Secret::password("wonder"));
                let now = self.now;
                if username != "overdue" {
                    self.agent(index).handle_credentials(now, lookup, secret);
                }
            }
            DriverRequest::Connect {
                connection,
                destination,
                ..
            } => {
                let peer = self
                    .nodes
                    .iter()
                    .position(|n| n.address == destination.address);
                let from = SocketAddr::new(self.nodes[index].address.ip(), 40_000);
                let now = self.now;
                let accepted = peer.filter(|_| !self.refuse_connections).and_then(|peer| {
                    let agent = &mut self.nodes[peer].agent;
                    Some((peer, agent.handle_accepted(now, ListenerId(1), from)?))
                });
                let Some((peer, other)) = accepted else {
                    return self.fly(
                        Packet::Closed {
                            node: index,
                            connection,
                        },
                        false,
                    );
                };
                self.wires.insert((index, connection), (peer, other));
                self.wires.insert((peer, other), (index, connection));
                self.fly(
                    Packet::Opened {
                        node: index,
                        connection,
                    },
                    false,
                );
            }
            DriverRequest::Close { connection } => self.cut(index, connection),
            DriverRequest::Query { lookup, question } => {
                let found: Vec<Record> = self
                    .records
                    .iter()
                    .filter(|(name, kind, _)| *name == question.name && *kind == question.kind)
                    .map(|(.., record)| record.clone())
                    .collect();
                let now = self.now;
                if question.name != "silent.example" {
                    self.agent(index)
                        .handle_records(now, lookup, &question, &found);
                }
            }
        }
    }

    /// Cuts a connection; the other end learns of it.
    fn cut(&mut self, index: usize, connection: ConnectionId) {
        if let Some((node, other)) = self.wires.remove(&(index, connection)) {
            self.wires.remove(&(node, other));
            self.fly(
                Packet::Closed {
                    node,
                    connection: other,
                },
                false,
            );
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let now = self.now;
        match packet {
            Packet::Datagram { from, to, bytes } => {
                match self.nodes.iter_mut().find(|node| node.address == to) {
                    Some(node) => node.agent.handle_datagram(now, ListenerId(0), from, &bytes),
                    None => self.raw.push((to, bytes)),
                }
            }
            Packet::Stream {
                node,
                connection,
                bytes,
            } => {
                self.agent(node).handle_stream_data(now, connection, &bytes);
            }
            Packet::Opened { node, connection } => {
                self.agent(node).handle_connected(now, connection);
            }
            Packet::Closed { node, connection } => {
                self.agent(node).handle_closed(now, connection);
            }
        }
    }

    /// Steps to the next thing that happens, at most until `end`; false where that is reached.
    fn step(&mut self, end: Instant) -> bool {
        self.collect();
        let flight = self.flights.keys().next().map(|(at, _)| *at);
        let timers = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.agent.poll_timeout());
        let Some(next) = timers.chain(flight).min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        assert!(
            next >= self.now || flight.is_none_or(|at| at >= self.now),
            "time runs back"
        );
        self.now = next.max(self.now);
        while let Some(entry) = self.flights.first_entry().filter(|e| e.key().0 <= self.now) {
            let packet = entry.remove();
            self.arrive(packet);
            self.collect();
        }
        for index in 0..self.nodes.len() {
            let now = self.now;
            self.agent(index).handle_timeout(now);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while self.step(end) {
            steps += 1;
            assert!(
                steps < 100_000,
                "no end of steps: {:?}",
                &self.log[self.log.len() - 10..]
            );
        }
    }

    /// Runs until every timer of a call has run out, then checks that nothing is left.
    fn settle(&mut self) {
        self.run(Duration::from_secs(400));
        for (index, node) in self.nodes.iter().enumerate() {
            assert!(
                node.agent.is_idle(),
                "node {index} is left with {}",
                node.left()
            );
            assert_eq!(node.agent.sessions(), 0, "node {index}");
            assert!(node.agent.tags.is_empty(), "node {index}");
            assert!(node.agent.alternatives.is_empty(), "node {index}");
            assert_eq!(node.agent.transactions.kept_bytes(), 0, "node {index}");
            assert!(
                node.ended.values().all(|count| *count == 1),
                "node {index}: ended twice"
            );
            let counters = node.agent.counters();
            assert_eq!(counters.sessions, counters.sessions_ended, "node {index}");
            assert_eq!(counters.sessions as usize, node.ended.len(), "node {index}");
        }
    }

    /// The first lines that a node sent, in order.
    fn sent(&self, index: usize) -> Vec<&str> {
        self.log
            .iter()
            .filter(|(from, _)| *from == index)
            .map(|(_, line)| &**line)
            .collect()
    }

    /// The kinds of the events of a node, in order.
    fn events(&self, index: usize) -> Vec<String> {
        self.nodes[index].events.iter().map(name).collect()
    }

    fn session_of(&self, index: usize) -> SessionId {
        let incoming = self.nodes[index]
            .events
            .iter()
            .find_map(|event| match event {
                Event::Incoming { session, .. } => Some(*session),
                _ => None,
            });
        incoming.expect("no incoming call")
    }

    fn raw_text(&self) -> String {
        let texts = self
            .raw
            .iter()
            .map(|(_, bytes)| String::from_utf8_lossy(bytes));
        texts.collect::<Vec<_>>().join("\n")
    }
}

impl Node {
    fn left(&self) -> String {
        let agent = &self.agent;
        format!(
            "{} sessions, {} transactions, {} look-ups: {:?}",
            agent.sessions.len(),
            agent.transactions.len(),
            agent.lookups.len(),
            agent.sessions.values().collect::<Vec<_>>()
        )
    }
}

/// `INVITE 1`, `200 INVITE 1`, and with a body `+`.
fn summary(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let cseq = text
        .lines()
        .find_map(|line| line.strip_prefix("CSeq: "))
        .unwrap_or_default();
    let (number, method) = cseq.split_once(' ').unwrap_or_default();
    let body = if text.contains("Content-Length: 0\r\n") {
        ""
    } else {
        " +"
    };
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => format!("{} {method} {number}{body}", &status[..3]),
        None => format!("{method} {number}{body}"),
    }
}

fn name(event: &Event) -> String {
    match event {
        Event::Incoming { .. } => "incoming".into(),
        Event::Provisional { response, .. } => format!("{}", response.status().unwrap()),
        Event::RefreshDue { .. } => "refresh due".into(),
        Event::ProvisionalAcked { described, .. } => format!("pracked {described}"),
        Event::Answered { acknowledge, .. } => format!("answered {acknowledge}"),
        Event::Acked { request, .. } => format!("acked {}", request.body().len()),
        Event::Reinvite { .. } => "reinvite".into(),
        Event::ReinviteCancelled { .. } => "reinvite cancelled".into(),
        Event::ReinviteAnswered { acknowledge, .. } => format!("reinvite answered {acknowledge}"),
        Event::ReinviteFailed { status, .. } => format!("reinvite failed {status}"),
        Event::Info { .. } => "info".into(),
        Event::InfoAnswered { status, .. } => format!("info {status}"),
        Event::Request { request, .. } => format!("asked {}", request.method().unwrap()),
        Event::RequestAnswered {
            result: Ok(response),
            ..
        } => {
            format!("request {}", response.status().unwrap())
        }
        Event::RequestAnswered {
            result: Err(failure),
            ..
        } => format!("request {failure}"),
        Event::OptionsDone {
            result: Ok(response),
            ..
        } => {
            format!("options {}", response.status().unwrap())
        }
        Event::OptionsDone {
            result: Err(failure),
            ..
        } => format!("options {failure}"),
        Event::Message { .. } => "message".into(),
        Event::MessageDone {
            result: Ok(response),
            ..
        } => format!("message {}", response.status().unwrap()),
        Event::MessageDone {
            result: Err(failure),
            ..
        } => format!("message {failure}"),
        Event::Subscription { state, .. } => format!("subscription {state:?}"),
        Event::Notified { notifier, .. } => format!("notified {notifier}"),
        Event::SubscriptionWaits(_) => "subscription waits".into(),
        Event::Publication { state, .. } => format!("publication {state:?}"),
        Event::Health(change) => format!("health {:?}", change.health),
        Event::Registration { state, .. } => format!("registration {state:?}"),
        Event::Ended { cause, .. } => format!("ended {}", cause_name(cause)),
    }
}

fn cause_name(cause: &Cause) -> String {
    match cause {
        Cause::LocalBye => "local bye".into(),
        Cause::RemoteBye { .. } => "remote bye".into(),
        Cause::LocalCancel => "local cancel".into(),
        Cause::RemoteCancel { .. } => "remote cancel".into(),
        Cause::LocalReject { status } => format!("local reject {status}"),
        Cause::Rejected { response } => format!("rejected {}", response.status().unwrap()),
        Cause::NoAnswer => "no answer".into(),
        Cause::NoAck => "no ack".into(),
        Cause::SessionExpired => "session expired".into(),
        Cause::NoPrack => "no prack".into(),
        Cause::DialogLost => "dialog lost".into(),
        Cause::Failed(failure) => format!("failed: {failure}"),
    }
}
