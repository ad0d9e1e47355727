//! The whole of signalling: messages, connections, news of the network, commands and time in any order.

use bytes::Bytes;

use crate::fuzz::choices::Choices;
use crate::id::{ConnectionId, ListenerId};
use crate::rng::Rng;
use crate::sip::agent::Agent;
use crate::sip::agent::command::{Body, Headers, Invite, RequestId, SessionId, TicketId};
use crate::sip::agent::config::AgentConfig;
use crate::sip::agent::event::{DriverRequest, Event};
use crate::sip::agent::registration::{Outbound, Register, RegistrationId};
use crate::sip::auth::client::Account;
use crate::sip::auth::digest::Secret;
use crate::sip::auth::server::VerifierConfig;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::message::build::ResponseBuilder;
use crate::sip::method::Method;
use crate::sip::registrar::config::{Anybody, RegistrarConfig};
use crate::sip::status::StatusCode;
use crate::sip::transport::resolve::{Kind, Question, Record};
use crate::sip::transport::stun::{Stun, is_stun};
use crate::sip::transport::{Listener, Path, Transport};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Sessions and connections at most.
const MOST: usize = 12;

const METHODS: [&str; 12] = [
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK", "REFER",
    "MESSAGE", "NEW",
];
const LINES: [&str; 14] = [
    "",
    "Supported: 100rel, timer, outbound\r\n",
    "Require: 100rel\r\n",
    "Session-Expires: 90;refresher=uac\r\nSupported: timer\r\n",
    "Contact: <sip:x@198.51.100.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\nSupported: outbound\r\n",
    "Contact: *\r\nExpires: 0\r\n",
    "Record-Route: <sip:198.51.100.1;lr>, <sip:198.51.100.2>\r\n",
    "RSeq: 1\r\nRequire: 100rel\r\n",
    "RAck: 1 1 INVITE\r\n",
    "WWW-Authenticate: Digest realm=\"r\", nonce=\"1\", qop=\"auth-int\"\r\n",
    "Authentication-Info: nextnonce=\"2\"\r\n",
    "Expires: 3\r\nTimestamp: 54\r\n",
    "Authorization: Digest username=\"alice\", realm=\"r\", nonce=\"1-2-3\", uri=\"sip:x\", response=\"0\"\r\n",
    "Refer-To: <sip:c@198.51.100.3>\r\nReason: SIP;cause=200\r\n",
];
const STATUSES: [u16; 18] = [
    100, 180, 183, 200, 202, 302, 401, 407, 404, 408, 422, 423, 481, 487, 491, 500, 503, 603,
];

struct World<'a> {
    data: Choices<'a>,
    agent: Agent,
    now: Instant,
    count: u32,
    /// Requests of the agent, with the way that each went.
    asked: Vec<(Path, Message)>,
    /// What the agent answered, and the requests that made it.
    told: Vec<Message>,
    sent: Vec<Message>,
    sessions: Vec<SessionId>,
    tickets: Vec<(SessionId, TicketId)>,
    requests: Vec<RequestId>,
    registrations: Vec<RegistrationId>,
    connections: Vec<ConnectionId>,
    probes: Vec<(Path, Bytes)>,
    ended: BTreeMap<SessionId, u32>,
}

/// Operations of two bytes and more on an agent with calls, a registrar and registrations of its own, over
/// datagrams and streams. Nothing panics, bounds hold, each session ends once, and in the end nothing is
/// left.
pub fn signalling(data: &[u8]) {
    let mut world = World::new(data);
    while world.step() {
        assert!(world.agent.sessions() <= MOST);
    }
    world.end();
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a URI")
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> Self {
        let local: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
        let config = AgentConfig {
            listeners: vec![
                Listener::new(Transport::Udp, local),
                Listener::new(Transport::Tcp, local),
            ],
            authentication: Some(VerifierConfig::new("r")),
            registrar: Some(RegistrarConfig::new("pbx.example").policy(Anybody)),
            responses_by_name: true,
            max_sessions: MOST,
            max_connections: MOST,
            ..AgentConfig::default()
        };
        Self {
            data: Choices::new(data),
            agent: Agent::new(config, Rng::new(3261)),
            now: Instant::ZERO,
            count: 0,
            asked: Vec::new(),
            told: Vec::new(),
            sent: Vec::new(),
            sessions: Vec::new(),
            tickets: Vec::new(),
            requests: Vec::new(),
            registrations: Vec::new(),
            connections: Vec::new(),
            probes: Vec::new(),
            ended: BTreeMap::new(),
        }
    }

    fn step(&mut self) -> bool {
        if self.data.is_empty() {
            return false;
        }
        match self.data.byte() % 16 {
            0..=2 => self.request(),
            3 | 4 => self.request_within(),
            5..=7 => self.answer(),
            8 | 9 => self.command(),
            10 => self.begin(),
            11 => self.connect(),
            12 => self.network(),
            13 => self.again(),
            14 => self.raw(),
            _ => {
                let tenths = self.data.byte() * self.data.byte();
                self.pass(Duration::from_millis(tenths as u64 * 100));
            }
        }
        self.poll();
        true
    }

    fn head(&mut self, method: &str, target: &str) -> String {
        self.count += 1;
        let host = ["198.51.100.1", "name.example", "b.example:7"][self.data.byte() % 3];
        let branch = match self.data.byte() % 8 {
            0 => 1,
            _ => self.count,
        };
        format!(
            "{method} {target} SIP/2.0\r\nv: SIP/2.0/TCP {host};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\n"
        )
    }

    fn tail(&mut self) -> String {
        let lines = LINES[self.data.byte() % LINES.len()];
        let body = ["", "v=0"][self.data.byte() % 2];
        let kind = match body {
            "" => "",
            _ => "c: application/sdp\r\n",
        };
        format!("{lines}{kind}l: {}\r\n\r\n{body}", body.len())
    }

    fn request(&mut self) {
        let method = METHODS[self.data.byte() % METHODS.len()];
        let (head, dialog) = (
            self.head(method, "sip:u@pbx.example"),
            self.data.byte() % 16,
        );
        let tail = self.tail();
        let text = format!(
            "{head}f: <sip:x@x.example>;tag=f{dialog}\r\nt: <sip:u@pbx.example>\r\ni: c{dialog}\r\n\
             CSeq: {} {method}\r\nm: <sip:x@198.51.100.1>\r\n{tail}",
            self.count,
        );
        self.hand_in(&text);
    }

    /// A request of a peer within a dialog that the agent has taken part in, from either side.
    fn request_within(&mut self) {
        let method = METHODS[self.data.byte() % METHODS.len()];
        let (told, sent) = (self.told.clone(), self.sent.clone());
        let of_ours = self.data.byte().is_multiple_of(2);
        let model = match of_ours {
            true => self.data.pick(&told),
            false => self.data.pick(&sent),
        };
        let Some(model) = model else { return };
        let value = |name| model.header(name).map(|row| row.text().into_owned());
        let (from, to) = (value(Name::From), value(Name::To));
        let (from, to) = if of_ours { (from, to) } else { (to, from) };
        let number = match self.data.byte() % 4 {
            0 => model.cseq().map_or(1, |cseq| cseq.number()),
            _ => self.count + 1_000,
        };
        let (head, tail) = (self.head(method, "sip:u@192.0.2.1"), self.tail());
        let text = format!(
            "{head}f: {}\r\nt: {}\r\ni: {}\r\nCSeq: {number} {method}\r\nm: <sip:y@198.51.100.1>\r\n{tail}",
            from.unwrap_or_default(),
            to.unwrap_or_default(),
            model.call_id().unwrap_or_default(),
        );
        self.hand_in(&text);
    }

    fn answer(&mut self) {
        let asked = self.asked.clone();
        let Some((_, request)) = self.data.pick(&asked) else {
            return;
        };
        let status = STATUSES[self.data.byte() % STATUSES.len()];
        let status = StatusCode::new(status).unwrap_or(StatusCode::OK);
        let tag = ["n1", "n2", "n3"][self.data.byte() % 3];
        let mut response = ResponseBuilder::for_request(&request, status)
            .to_tag(tag)
            .header(Name::Contact, "<sip:y@198.51.100.1;transport=tcp>");
        for line in LINES[self.data.byte() % LINES.len()].lines() {
            if let Some((name, value)) = line.split_once(": ") {
                response = response.header(Name::Other(name), value);
            }
        }
        if self.data.byte().is_multiple_of(2) {
            response = response.body("application/sdp", "v=0");
        }
        if let Ok(response) = response.build() {
            let text = String::from_utf8_lossy(response.as_bytes()).into_owned();
            if status.is_success() {
                self.sent.push(response);
                self.sent.truncate(64);
            }
            self.hand_in(&text);
        }
    }

    fn command(&mut self) {
        let (sessions, now) = (self.sessions.clone(), self.now);
        let Some(id) = self.data.pick(&sessions) else {
            return;
        };
        let body = self.data.byte().is_multiple_of(2).then(|| Body::sdp("v=0"));
        let status = STATUSES[self.data.byte() % STATUSES.len()];
        let status = StatusCode::new(status).unwrap_or(StatusCode::OK);
        let tickets = self.tickets.clone();
        let agent = &mut self.agent;
        // What the state does not allow is refused, and changes nothing.
        let _refused = match self.data.byte() % 10 {
            0 | 1 => agent.answer(now, id, Headers::new(), body),
            2 => agent.ring(now, id, status, Headers::new(), body),
            3 => agent.reject(now, id, status, Headers::new()),
            4 => agent.hang_up(now, id, Headers::new()),
            5 => agent.reinvite(now, id, Headers::new(), body),
            6 => agent.acknowledge(now, id, Headers::new(), body),
            7 => agent.info(now, id, Headers::new(), None),
            8 => {
                let asked = agent.request(now, id, Method::Update, Headers::new(), body);
                asked.map(|request| self.requests.push(request))
            }
            _ => match tickets.last() {
                Some((session, ticket)) => {
                    agent.reply(now, *session, *ticket, status, Headers::new(), body)
                }
                None => Ok(()),
            },
        };
    }

    fn begin(&mut self) {
        let targets = [
            "sip:b@198.51.100.1",
            "sip:b@198.51.100.1;transport=tcp",
            "sip:b@two.example",
        ];
        let target = uri(targets[self.data.byte() % targets.len()]);
        let account = Account::new("r", "alice", Secret::password("x"));
        let now = self.now;
        if self.data.byte().is_multiple_of(4) {
            let mut register = Register::new(uri("sip:us@198.51.100.1"));
            register.registrars = vec![target];
            register.account = Some(account);
            register.outbound = self.data.byte().is_multiple_of(2).then(|| Outbound {
                instance: "urn:uuid:1".into(),
                flow: 1,
            });
            if self.registrations.len() < 4 {
                self.registrations
                    .extend(self.agent.register(now, register));
            } else if let Some(id) = self.registrations.pop() {
                self.agent.unregister(now, id);
            }
            return;
        }
        let mut invite = Invite::new(target, NameAddr::new(&uri("sip:us@192.0.2.1")));
        invite.body = self.data.byte().is_multiple_of(2).then(|| Body::sdp("v=0"));
        invite.account = Some(account);
        self.sessions.extend(self.agent.invite(now, invite));
    }

    /// A connection comes or goes.
    fn connect(&mut self) {
        let (now, connections) = (self.now, self.connections.clone());
        match (self.data.byte() % 3, self.data.pick(&connections)) {
            (0, Some(id)) => {
                self.connections.retain(|other| *other != id);
                self.agent.handle_closed(now, id);
            }
            (1, Some(id)) => self.agent.handle_connected(now, id),
            _ => {
                let peer = SocketAddr::from(([198, 51, 100, 1], 4000 + self.data.byte() as u16));
                let accepted = self.agent.handle_accepted(now, ListenerId(1), peer);
                self.connections.extend(accepted);
            }
        }
    }

    /// The network tells of what it did not deliver, or STUN comes.
    fn network(&mut self) {
        let (asked, probes, now) = (self.asked.clone(), self.probes.clone(), self.now);
        match self.data.byte() % 3 {
            0 => {
                if let Some((
                    Path::Datagram {
                        listener,
                        destination,
                    },
                    request,
                )) = self.data.pick(&asked)
                {
                    let cut = request.as_bytes().len() * (1 + self.data.byte()) / 256;
                    let quoted = request.as_bytes().slice(..cut);
                    self.agent
                        .handle_unreachable(now, listener, destination, &quoted);
                }
            }
            1 => {
                let source: SocketAddr = "198.51.100.1:5060".parse().expect("an address");
                let unknown = vec![0x24; self.data.byte() % 3];
                let request = Stun::Request {
                    id: [1; 12],
                    unknown,
                };
                self.agent
                    .handle_datagram(now, ListenerId(0), source, &request.to_bytes());
            }
            _ => {
                if let Some((
                    Path::Datagram {
                        listener,
                        destination,
                    },
                    probe,
                )) = self.data.pick(&probes)
                    && let Some(Stun::Request { id, .. }) = Stun::parse(&probe)
                {
                    let port = 5060 + (self.data.byte() % 8 / 7) as u16;
                    let mapped = Some(SocketAddr::from(([192, 0, 2, 1], port)));
                    let answer = Stun::Success { id, mapped };
                    self.agent
                        .handle_datagram(now, listener, destination, &answer.to_bytes());
                }
            }
        }
    }

    /// The network delivers a request of the agent to itself, or its own answer once more.
    fn again(&mut self) {
        let (asked, told) = (self.asked.clone(), self.told.clone());
        let message = match self.data.byte() % 2 {
            0 => self.data.pick(&asked).map(|(_, request)| request),
            _ => self.data.pick(&told),
        };
        if let Some(message) = message {
            let text = String::from_utf8_lossy(message.as_bytes()).into_owned();
            self.hand_in(&text);
        }
    }

    fn raw(&mut self) {
        let bytes = self.data.bytes();
        self.arrive(bytes);
    }

    fn hand_in(&mut self, text: &str) {
        self.arrive(text.as_bytes());
    }

    fn arrive(&mut self, bytes: &[u8]) {
        let (how, now, connections) = (self.data.byte(), self.now, self.connections.clone());
        match self
            .data
            .pick(&connections)
            .filter(|_| how.is_multiple_of(4))
        {
            Some(connection) => self.agent.handle_stream_data(now, connection, bytes),
            None => {
                let source = SocketAddr::from(([198, 51, 100, 1], 5060 + (how % 2) as u16));
                self.agent
                    .handle_datagram(now, ListenerId(0), source, bytes);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(next) = self.agent.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.agent.handle_timeout(self.now);
            self.poll();
            steps += 1;
            assert!(steps < 50_000, "no end of timers");
        }
        self.now = end;
    }

    fn poll(&mut self) {
        loop {
            if let Some(transmit) = self.agent.poll_transmit() {
                self.take(transmit.path, transmit.bytes);
            } else if let Some(request) = self.agent.poll_driver() {
                self.drive(request);
            } else if let Some(event) = self.agent.poll_event() {
                self.note(event);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, path: Path, bytes: Bytes) {
        if is_stun(&bytes) {
            self.probes.push((path, bytes));
            self.probes.truncate(8);
            return;
        }
        if bytes.iter().all(|byte| b"\r\n".contains(byte)) {
            return;
        }
        let message = Message::parse(bytes).expect("what we sent is SIP");
        if message.is_request() {
            assert_eq!(message.validate(), Ok(()), "{message:?}");
            self.asked.insert(0, (path, message));
            self.asked.truncate(32);
        } else {
            self.told.insert(0, message);
            self.told.truncate(32);
        }
    }

    fn drive(&mut self, request: DriverRequest) {
        let now = self.now;
        match request {
            DriverRequest::Connect { connection, .. } => match self.data.byte() % 2 {
                0 => self.agent.handle_closed(now, connection),
                _ => self.connections.push(connection),
            },
            DriverRequest::Close { connection } => {
                self.connections.retain(|other| *other != connection);
            }
            DriverRequest::Query { lookup, question } => {
                let found = self.records(&question);
                self.agent.handle_records(now, lookup, &question, &found);
            }
            DriverRequest::Credentials { lookup, .. } => {
                let secret = self
                    .data
                    .byte()
                    .is_multiple_of(2)
                    .then(|| Secret::password("x"));
                self.agent.handle_credentials(now, lookup, secret);
            }
        }
    }

    fn records(&mut self, question: &Question) -> Vec<Record> {
        let addresses = ["198.51.100.1", "198.51.100.2"];
        let known = question.kind == Kind::A && !self.data.byte().is_multiple_of(4);
        let found = addresses.iter().filter(|_| known);
        found
            .map(|ip| Record::Address(ip.parse().expect("an address")))
            .collect()
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Incoming { session, .. } => self.sessions.push(session),
            Event::Request {
                session, ticket, ..
            } => self.tickets.push((session, ticket)),
            Event::Ended { session, .. } => *self.ended.entry(session).or_default() += 1,
            _ => {}
        }
    }

    /// Everything is taken back, every connection is closed, and hours pass.
    fn end(mut self) {
        self.agent.drain();
        self.agent.unregister_all(self.now);
        for id in std::mem::take(&mut self.sessions) {
            // Most of them have ended.
            let _over = self.agent.hang_up(self.now, id, Headers::new());
        }
        self.poll();
        for connection in std::mem::take(&mut self.connections) {
            self.agent.handle_closed(self.now, connection);
        }
        self.poll();
        self.pass(Duration::from_secs(7_200));
        assert_eq!(self.agent.sessions(), 0, "a session is left");
        assert!(self.agent.is_idle(), "something is left");
        assert!(self.agent.has_no_events(), "a table is not empty");
        assert!(self.ended.values().all(|count| *count == 1), "ended twice");
        let counters = self.agent.counters();
        assert_eq!(counters.sessions, counters.sessions_ended);
        assert_eq!(counters.sessions as usize, self.ended.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("signalling", signalling);
    }

    #[test]
    fn random_operations_on_all_of_signalling_leave_nothing() {
        for seed in 0..300 {
            let run = std::panic::catch_unwind(|| {
                let mut rng = Rng::new(seed);
                let data: Vec<u8> = (0..2_400).map(|_| rng.below(256) as u8).collect();
                signalling(&data);
            });
            assert!(run.is_ok(), "the seed was {seed}");
        }
    }
}
