//! Events: documents that mean the same when written anew, and a server, subscriber, publisher and
//! writer of messages in one agent under whatever operations.

use bytes::Bytes;

use crate::fuzz::choices::Choices;
use crate::id::ListenerId;
use crate::rng::Rng;
use crate::sip::agent::Agent;
use crate::sip::agent::command::{
    Body, Headers, PublicationId, Publish, SendMessage, Subscribe, SubscribeId, TicketId,
};
use crate::sip::agent::config::AgentConfig;
use crate::sip::agent::event::{DriverRequest, Event};
use crate::sip::event::dialog_info::{DialogInfo, Dialogs};
use crate::sip::event::package::{Asking, Decision, EventConfig, Package};
use crate::sip::event::packages::{DialogPackage, MessageSummary, Presence};
use crate::sip::event::pidf;
use crate::sip::event::summary::Summary;
use crate::sip::event::xml::Element;
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::message::Message;
use crate::sip::message::build::ResponseBuilder;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transport::stun::is_stun;
use crate::sip::transport::{Listener, Transport};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// A document: read in every way, and what was read is written and read the same.
pub fn document(data: &[u8]) {
    if let Ok(root) = Element::parse(data) {
        assert!(!root.name.is_empty());
    }
    if let Ok(presence) = pidf::Presence::parse(data) {
        let again = pidf::Presence::parse(presence.to_xml().as_bytes());
        assert_eq!(again.map(|it| it.is_open()), Ok(presence.is_open()));
    }
    if let Ok(info) = DialogInfo::parse(data) {
        let again = DialogInfo::parse(info.to_xml().as_bytes()).expect("what was written");
        assert_eq!(again.dialogs.len(), info.dialogs.len());
        let mut table = Dialogs::default();
        table.merge(&info);
        table.merge(&again.since(&info, info.version.wrapping_add(1)));
        let composed = DialogPackage.compose("sip:a@b", &[Bytes::copy_from_slice(data)]);
        assert!(DialogInfo::parse(&composed).is_ok_and(|info| !info.partial));
    }
    if let Some(summary) = Summary::parse(data) {
        let again = Summary::parse(summary.to_text().as_bytes()).expect("what was written");
        assert_eq!(again.classes, summary.classes);
    }
    let composed = Presence.compose("sip:a@b", &[Bytes::copy_from_slice(data)]);
    assert!(pidf::Presence::parse(&composed).is_ok());
}

/// Subscriptions and publications at most, of each kind.
const MOST: usize = 8;

const PACKAGES: [&str; 6] = ["presence", "dialog", "x-open", "x-none", "x-open;id=7", ""];
const TIMES: [&str; 8] = ["0", "60", "600", "3600", "1", "4294967295", "-1", "x"];
const STATES: [&str; 8] = [
    "active;expires=600",
    "active",
    "pending;expires=5",
    "terminated;reason=deactivated",
    "terminated;reason=probation;retry-after=9",
    "terminated;reason=rejected",
    "terminated",
    "odd;expires=4294967295",
];
const STATUSES: [u16; 12] = [200, 200, 200, 202, 401, 404, 412, 423, 481, 489, 503, 603];

/// A package that everybody may publish and that somebody decides on.
#[derive(Debug)]
struct Open;

impl Package for Open {
    fn name(&self) -> &str {
        "x-open"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn admits(&self, asking: &Asking<'_>) -> Decision {
        match asking.source.port() % 2 {
            0 => Decision::Grant,
            _ => Decision::Wait,
        }
    }
    fn admits_publication(&self, _: &Asking<'_>) -> Decision {
        Decision::Grant
    }
    fn accepts(&self, document: &[u8]) -> bool {
        document != b"2"
    }
    fn compose(&self, _: &str, documents: &[Bytes]) -> Bytes {
        documents.concat().into()
    }
}

/// An agent, and what the world knows of it.
struct World<'a> {
    data: Choices<'a>,
    agent: Agent,
    now: Instant,
    branch: u32,
    /// Requests of the agent that nobody has answered.
    asked: Vec<Message>,
    /// The agent's answers with a tag, and its entity tags.
    dialogs: Vec<Message>,
    tags: Vec<String>,
    tickets: Vec<TicketId>,
    subscriptions: Vec<SubscribeId>,
    publications: Vec<PublicationId>,
    waiting: Vec<crate::sip::event::notifier::SubscriptionId>,
}

/// Operations of two bytes and more on an agent that serves events, subscribes, publishes and sends
/// messages. Nothing panics, bounds hold, and in the end nothing is left.
pub fn server(data: &[u8]) {
    let mut world = World::new(data);
    while world.step() {
        assert!(world.agent.subscribed() <= MOST);
        assert!(world.agent.published() <= MOST);
    }
    world.end();
}

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> Self {
        let local = "192.0.2.1:5060".parse().expect("an address");
        let mut events = EventConfig::new("pbx.example")
            .alias("192.0.2.1")
            .package(Presence)
            .package(DialogPackage)
            .package(MessageSummary)
            .package(Open)
            .strangers();
        events.max_subscriptions = MOST;
        events.max_publications = MOST;
        let config = AgentConfig {
            listeners: vec![Listener::new(Transport::Udp, local)],
            events: Some(events),
            max_subscriptions: 4,
            ..AgentConfig::default()
        };
        Self {
            data: Choices::new(data),
            agent: Agent::new(config, Rng::new(6665)),
            now: Instant::ZERO,
            branch: 0,
            asked: Vec::new(),
            dialogs: Vec::new(),
            tags: Vec::new(),
            tickets: Vec::new(),
            subscriptions: Vec::new(),
            publications: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn text(&mut self, of: &'static [&'static str]) -> &'static str {
        of[self.data.byte() % of.len()]
    }

    fn step(&mut self) -> bool {
        if self.data.is_empty() {
            return false;
        }
        match self.data.byte() % 16 {
            0 | 1 => self.subscribe(),
            2 => self.resubscribe(),
            3 | 4 => self.publish(),
            5 => self.request("MESSAGE", "t: <sip:bob@pbx.example>\r\n", "text/plain", "x"),
            6 | 7 => self.notify(),
            8 | 9 => self.answer(),
            10 | 11 => self.begin(),
            12 => self.change(),
            13 => self.decide(),
            14 => self.raw(),
            _ => {
                let tenths = self.data.byte() * self.data.byte();
                self.pass(Duration::from_millis(tenths as u64 * 100));
            }
        }
        self.poll();
        true
    }

    fn subscribe(&mut self) {
        let (event, expires) = (self.text(&PACKAGES), self.text(&TIMES));
        let user = self.data.byte() % 3;
        let lines = format!(
            "t: <sip:u{user}@pbx.example>\r\no: {event}\r\nExpires: {expires}\r\nm: <sip:x@198.51.100.1>\r\n"
        );
        self.request("SUBSCRIBE", &lines, "", "");
    }

    fn resubscribe(&mut self) {
        let dialogs = std::mem::take(&mut self.dialogs);
        if let Some(answer) = self.data.pick(&dialogs) {
            let (event, expires) = (self.text(&PACKAGES), self.text(&TIMES));
            let value = |name| answer.header(name).map(|row| row.text().into_owned());
            let (from, to) = (value(Name::From), value(Name::To));
            let text = format!(
                "SUBSCRIBE sip:u1@pbx.example SIP/2.0\r\n{}Max-Forwards: 70\r\nf: {}\r\nt: {}\r\n\
                 i: {}\r\nCSeq: {} SUBSCRIBE\r\no: {event}\r\nExpires: {expires}\r\nl: 0\r\n\r\n",
                self.via(),
                from.unwrap_or_default(),
                to.unwrap_or_default(),
                answer.call_id().unwrap_or_default(),
                self.branch + 1,
            );
            self.datagram(text.as_bytes());
        }
        self.dialogs = dialogs;
    }

    fn publish(&mut self) {
        let expires = self.text(&TIMES);
        let tags = self.tags.clone();
        let tag = match self.data.byte() % 3 {
            0 => None,
            _ => self.data.pick(&tags),
        };
        let tag = tag.map_or(String::new(), |tag| format!("SIP-If-Match: {tag}\r\n"));
        let lines = format!("t: <sip:u1@pbx.example>\r\no: x-open\r\nExpires: {expires}\r\n{tag}");
        let body = ["", "1", "2"][self.data.byte() % 3];
        self.request("PUBLISH", &lines, "text/plain", body);
    }

    /// A NOTIFY for what the agent has subscribed to, in an order of its own.
    fn notify(&mut self) {
        let subscribes = self.asked.iter();
        let subscribes = subscribes.filter(|it| it.method() == Some(&Method::Subscribe));
        let subscribes: Vec<_> = subscribes.cloned().collect();
        let Some(subscribe) = self.data.pick(&subscribes) else {
            return;
        };
        let value = |name| subscribe.header(name).map(|row| row.text().into_owned());
        let (to, event) = (value(Name::From), value(Name::Event));
        let (state, notifier) = (self.text(&STATES), self.data.byte() % 3);
        let text = format!(
            "NOTIFY sip:sidetone@192.0.2.1 SIP/2.0\r\n{}Max-Forwards: 70\r\n\
             f: <sip:bob@198.51.100.1>;tag=n{notifier}\r\nt: {}\r\ni: {}\r\nCSeq: {} NOTIFY\r\n\
             o: {}\r\nSubscription-State: {state}\r\nm: <sip:n@198.51.100.1>\r\nl: 0\r\n\r\n",
            self.via(),
            to.unwrap_or_default(),
            subscribe.call_id().unwrap_or_default(),
            self.branch + 1,
            event.unwrap_or_default(),
        );
        self.datagram(text.as_bytes());
    }

    /// An answer to a request of the agent.
    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let at = self.data.byte() % self.asked.len();
        let request = self.asked.remove(at);
        let status = STATUSES[self.data.byte() % STATUSES.len()];
        let status = StatusCode::new(status).unwrap_or(StatusCode::OK);
        let expires = self.text(&TIMES);
        let response = ResponseBuilder::for_request(&request, status)
            .to_tag("n1")
            .header(Name::Expires, expires)
            .header(Name::MinExpires, "900")
            .header(Name::RetryAfter, "7")
            .header(Name::SipETag, format!("e{expires}"));
        if let Ok(response) = response.build() {
            let bytes = response.as_bytes().clone();
            self.datagram(&bytes);
        }
    }

    /// The agent subscribes, publishes, or writes.
    fn begin(&mut self) {
        let uri = |text: &str| text.parse::<Uri>().expect("a URI");
        let (target, own) = (uri("sip:bob@198.51.100.1"), uri("sip:us@192.0.2.1"));
        let (from, now) = (NameAddr::new(&own), self.now);
        let body = Body {
            content_type: "text/plain".into(),
            bytes: Bytes::from_static(b"1"),
        };
        // Refused where there are too many, which changes nothing.
        match self.data.byte() % 3 {
            0 => {
                let mut command = Subscribe::new(target, from, "presence");
                command.forks = self.data.byte().is_multiple_of(2);
                self.subscriptions
                    .extend(self.agent.subscribe(now, command));
            }
            1 => {
                let command = Publish::new(target, from, "presence", body);
                self.publications.extend(self.agent.publish(now, command));
            }
            _ => {
                let command = SendMessage::new(target, from, body);
                let _sent = self.agent.send_message(now, command);
            }
        }
    }

    /// What it has begun changes, or ends.
    fn change(&mut self) {
        let now = self.now;
        let (subscriptions, publications) = (self.subscriptions.clone(), self.publications.clone());
        let (subscription, publication) = (
            self.data.pick(&subscriptions),
            self.data.pick(&publications),
        );
        let document = Body {
            content_type: "text/plain".into(),
            bytes: Bytes::from_static(b"3"),
        };
        match (self.data.byte() % 5, subscription, publication) {
            (0, Some(id), _) => self.agent.unsubscribe(now, id),
            (1, Some(id), _) => self.agent.refetch(now, id),
            (2, _, Some(id)) => self.agent.unpublish(now, id),
            (3, _, Some(id)) => {
                let _gone = self.agent.republish(now, id, document);
            }
            _ => {
                let source = self.data.byte() as u64 % 3;
                let document = (!self.data.byte().is_multiple_of(3)).then(|| {
                    let info = DialogInfo::full("sip:u1@pbx.example", Vec::new());
                    Bytes::from(info.to_xml())
                });
                self.agent.put_state(now, "dialog", "u1", source, document);
            }
        }
    }

    fn decide(&mut self) {
        let (tickets, waiting) = (self.tickets.clone(), self.waiting.clone());
        let now = self.now;
        if let Some(id) = self.data.pick(&waiting) {
            let grant = self.data.byte().is_multiple_of(2);
            self.agent.decide_subscription(now, id, grant);
        }
        if let Some(ticket) = self.data.pick(&tickets) {
            let _late =
                self.agent
                    .answer_message(now, ticket, StatusCode::ACCEPTED, Headers::new());
        }
    }

    fn raw(&mut self) {
        let bytes = self.data.bytes();
        self.datagram(bytes);
    }

    fn via(&mut self) -> String {
        self.branch += 1;
        format!(
            "v: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{};rport\r\n",
            self.branch
        )
    }

    fn request(&mut self, method: &str, lines: &str, kind: &str, body: &str) {
        let (via, dialog) = (self.via(), self.data.byte());
        let kind = match body {
            "" => String::new(),
            _ => format!("c: {kind}\r\n"),
        };
        let text = format!(
            "{method} sip:u{}@pbx.example SIP/2.0\r\n{via}Max-Forwards: 70\r\n\
             f: <sip:x@x.example>;tag=f{dialog}\r\ni: c{dialog}\r\nCSeq: {} {method}\r\n{lines}{kind}\
             l: {}\r\n\r\n{body}",
            dialog % 3,
            self.branch,
            body.len(),
        );
        self.datagram(text.as_bytes());
    }

    fn datagram(&mut self, bytes: &[u8]) {
        let port = 5060 + (self.data.byte() % 2) as u16;
        let source = ([198, 51, 100, 1], port).into();
        self.agent
            .handle_datagram(self.now, ListenerId(0), source, bytes);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(next) = self.agent.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.agent.handle_timeout(self.now);
            self.poll();
            steps += 1;
            assert!(steps < 20_000, "no end of timers");
        }
        self.now = end;
    }

    fn poll(&mut self) {
        while let Some(transmit) = self.agent.poll_transmit() {
            if is_stun(&transmit.bytes) {
                continue;
            }
            let message = Message::parse(transmit.bytes).expect("what we sent is SIP");
            if message.is_request() {
                assert_eq!(message.validate(), Ok(()), "{message:?}");
                self.asked.push(message);
                self.asked.truncate(64);
                continue;
            }
            let tag = message.header(Name::SipETag);
            self.tags.extend(tag.map(|tag| tag.text().into_owned()));
            if message
                .cseq()
                .is_ok_and(|it| *it.method() == Method::Subscribe)
            {
                self.dialogs.push(message);
            }
            self.tags.truncate(64);
            self.dialogs.truncate(64);
        }
        while let Some(request) = self.agent.poll_driver() {
            if let DriverRequest::Connect { connection, .. } = request {
                self.agent.handle_closed(self.now, connection);
            }
        }
        while let Some(event) = self.agent.poll_event() {
            match event {
                Event::Message { ticket, .. } => self.tickets.push(ticket),
                Event::SubscriptionWaits(waiting) => self.waiting.push(waiting.subscription),
                _ => {}
            }
        }
    }

    /// Everything is taken back, and hours pass.
    fn end(mut self) {
        let now = self.now;
        self.agent.unsubscribe_all(now);
        self.agent.unpublish_all(now);
        self.agent.end_subscriptions(now);
        self.poll();
        self.pass(Duration::from_secs(7200));
        assert!(self.agent.is_idle(), "something is left");
        assert_eq!((self.agent.subscribed(), self.agent.published()), (0, 0));
        assert!(self.agent.has_no_events(), "a table is not empty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("event_document", document);
        crate::fuzz::run_seeds("event_server", server);
    }

    #[test]
    fn a_hundred_thousand_random_operations_leave_nothing() {
        for seed in 0..250 {
            let run = std::panic::catch_unwind(|| {
                let mut rng = Rng::new(seed);
                // Four bytes an operation and more.
                let data: Vec<u8> = (0..2_400).map(|_| rng.below(256) as u8).collect();
                server(&data);
            });
            assert!(run.is_ok(), "the seed was {seed}");
        }
    }

    #[test]
    fn random_documents_keep_every_promise() {
        let words = [
            "<presence entity='x'>",
            "</presence>",
            "<tuple id='1'>",
            "</tuple>",
            "<status>",
            "</status>",
            "<basic>open</basic>",
            "<note>&lt;</note>",
            "&#10;",
            "<dialog-info ",
            "version='1' ",
            "state='full' ",
            "entity='e'>",
            "</dialog-info>",
            "<dialog id='d'>",
            "</dialog>",
            "<state>early</state>",
            "]]>",
            "<![CDATA[",
            "Messages-Waiting: yes\n",
            "Voice-Message: 1/2 (3/4)\n",
            "\u{0}",
        ];
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let count = rng.below(16);
            let text: String = (0..count)
                .map(|_| words[rng.below(words.len() as u64) as usize])
                .collect();
            let run = std::panic::catch_unwind(|| document(text.as_bytes()));
            assert!(run.is_ok(), "the seed was {seed}: {text}");
        }
    }
}
