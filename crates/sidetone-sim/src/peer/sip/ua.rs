//! The scripted user agent's machine: transport, retransmissions, and the answers of a phone.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use sidetone::rng::Rng;
use sidetone::sip::frame::{Deframer, Frame};
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;
use sidetone::sip::method::Method;
use sidetone::time::Instant;

use super::call::{CallError, End};
use super::dialog::{Attempt, Description, Dialog, Phase, destination};
use super::text::{self, Draft};
use super::{Dial, Logged, Transport};
use crate::network::{Delivery, HostId, SocketId, StreamId};
use crate::node::{Context, Node};
use crate::peer::offer::{Abilities, Direction};

/// Timer T1 of RFC 3261 §17.1.1.1, and the time after which a transaction is given up.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(32);

/// The log keeps this many messages.
const LOG: usize = 10_000;

/// A request of ours: repeated until something comes back.
#[derive(Debug)]
struct Client {
    bytes: Bytes,
    destination: SocketAddr,
    next: Option<Instant>,
    interval: Duration,
    give_up: Instant,
    /// The call that it belongs to.
    dialog: usize,
    invite: bool,
    outcome: Option<Result<Message, CallError>>,
    /// The ACK of a refused INVITE, repeated with each repetition of the refusal.
    ack: Option<Bytes>,
}

/// A request of theirs: the last answer is repeated when it is.
#[derive(Debug)]
struct Server {
    answer: Option<Bytes>,
    destination: SocketAddr,
    /// A 200 to an INVITE is repeated until its ACK comes.
    next: Option<Instant>,
    interval: Duration,
    give_up: Instant,
    call_id: String,
}

/// A stream to one address.
#[derive(Debug)]
struct Line {
    stream: StreamId,
    open: bool,
    unsent: Vec<Bytes>,
    deframer: Deframer,
}

/// The machine behind a [`SipPeer`](super::SipPeer).
#[derive(Debug)]
pub(super) struct UserAgent {
    host: HostId,
    transport: Transport,
    automatic: bool,
    rng: Rng,
    socket: Option<SocketId>,
    address: SocketAddr,
    lines: BTreeMap<SocketAddr, Line>,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
    dialogs: Vec<Dialog>,
    arrivals: VecDeque<usize>,
    requests: VecDeque<Message>,
    log: VecDeque<Logged>,
    pub(super) drop_incoming: u32,
    pub(super) drop_outgoing: u32,
    pub(super) waiting: Vec<Waker>,
}

impl Node for UserAgent {
    fn handle_delivery(&mut self, context: &mut Context<'_>, delivery: Delivery) {
        match delivery {
            Delivery::Datagram {
                source, payload, ..
            } => {
                if let Ok(message) = Message::parse(payload) {
                    self.receive(context, source, message);
                }
            }
            Delivery::Accepted { stream, remote, .. } => {
                self.lines.insert(remote, Line::new(stream, true));
            }
            Delivery::Connected { stream } => self.connected(context, stream),
            Delivery::Data { stream, payload } => self.read(context, stream, &payload),
            Delivery::Refused { stream } | Delivery::Closed { stream, .. } => {
                self.lines.retain(|_, line| line.stream != stream);
            }
        }
        self.wake();
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        self.repeat_requests(context);
        self.repeat_answers(context);
        self.wake();
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let clients = self.clients.values().filter_map(|client| client.next);
        let servers = self.servers.values().filter_map(|server| server.next);
        clients.chain(servers).min()
    }
}

impl Line {
    fn new(stream: StreamId, open: bool) -> Self {
        Self {
            stream,
            open,
            unsent: Vec::new(),
            deframer: Deframer::new(),
        }
    }
}

impl UserAgent {
    pub(super) fn new(host: HostId, transport: Transport, automatic: bool, rng: Rng) -> Self {
        Self {
            host,
            transport,
            automatic,
            rng,
            socket: None,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            lines: BTreeMap::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            dialogs: Vec::new(),
            arrivals: VecDeque::new(),
            requests: VecDeque::new(),
            log: VecDeque::new(),
            drop_incoming: 0,
            drop_outgoing: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) fn opened(&mut self, socket: SocketId, address: SocketAddr) {
        self.socket = Some(socket);
        self.address = address;
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn log(&self) -> Vec<Logged> {
        self.log.iter().cloned().collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Logged> {
        self.log.iter()
    }

    pub(super) fn dialog(&self, index: usize) -> &Dialog {
        &self.dialogs[index]
    }

    pub(super) fn dialog_mut(&mut self, index: usize) -> &mut Dialog {
        &mut self.dialogs[index]
    }

    pub(super) fn next_arrival(&mut self) -> Option<usize> {
        self.arrivals.pop_front()
    }

    pub(super) fn next_request(&mut self) -> Option<Message> {
        self.requests.pop_front()
    }

    /// The final response to a request, or that none came.
    pub(super) fn outcome(&mut self, key: &str) -> Option<Result<Message, CallError>> {
        self.clients.get(key)?.outcome.clone()
    }

    /// Makes the state of a call to `uri`.
    pub(super) fn dial(
        &mut self,
        uri: &str,
        user: &str,
        destination: SocketAddr,
        rtp: SocketAddr,
        abilities: Abilities,
    ) -> usize {
        let dialog = Dialog {
            phase: Phase::Early,
            call_id: format!("{:016x}@peer", self.rng.next_u64()),
            local_tag: format!("{:08x}", self.rng.next_u32()),
            remote_tag: None,
            local: format!("<sip:{user}@{}>", self.address),
            remote: format!("<{uri}>"),
            target: uri.to_owned(),
            routes: Vec::new(),
            destination,
            cseq: 0,
            invite: None,
            attempt: None,
            responses: Vec::new(),
            ack: None,
            acknowledged: false,
            media: Description::new(rtp, abilities),
            requests: VecDeque::new(),
        };
        self.dialogs.push(dialog);
        self.dialogs.len() - 1
    }

    /// Gives a call that came in its media address.
    pub(super) fn adopt(&mut self, index: usize, rtp: SocketAddr, abilities: Abilities) {
        self.dialogs[index].media = Description::new(rtp, abilities);
    }

    /// Sends the INVITE, or a re-INVITE, of a call.
    pub(super) fn invite(&mut self, context: &mut Context<'_>, index: usize, dial: &Dial) {
        let dialog = &mut self.dialogs[index];
        let offer = dial.offer.then(|| dialog.media.own());
        let uri = dialog.target.clone();
        let body = match &offer {
            Some(sdp) => ("application/sdp", sdp.as_str()),
            None => ("", ""),
        };
        let key = self.request(context, index, "INVITE", &dial.headers, body);
        let branch = key.split(' ').next().unwrap_or_default().to_owned();
        let dialog = &mut self.dialogs[index];
        dialog.attempt = Some(Attempt {
            key,
            branch,
            cseq: dialog.cseq,
            uri,
        });
    }

    /// Sends a request of a call; gives the key of its transaction.
    pub(super) fn request(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        method: &str,
        headers: &[String],
        (content_type, body): (&str, &str),
    ) -> String {
        let branch = format!("z9hG4bK{:016x}", self.rng.next_u64());
        self.dialogs[index].cseq += 1;
        let cseq = self.dialogs[index].cseq;
        let draft = self.draft(index, method, &branch, cseq).lines(headers);
        let bytes = draft.end_with(content_type, body);
        let key = format!("{branch} {method}");
        self.start(context, index, key.clone(), bytes);
        key
    }

    /// Cancels an INVITE that is not finally answered.
    pub(super) fn cancel(&mut self, context: &mut Context<'_>, index: usize) {
        let Some(attempt) = self.dialogs[index].attempt.clone() else {
            return;
        };
        let dialog = &self.dialogs[index];
        let draft = Draft::request("CANCEL", &attempt.uri)
            .header("Via", self.via(&attempt.branch))
            .header("Max-Forwards", 70)
            .header("From", dialog.parties().0)
            .header("To", &dialog.remote)
            .header("Call-ID", &dialog.call_id)
            .header("CSeq", format_args!("{} CANCEL", attempt.cseq));
        let bytes = draft.end(None);
        self.start(context, index, format!("{} CANCEL", attempt.branch), bytes);
    }

    /// Answers the INVITE of a call that came in; a 2xx brings it up.
    pub(super) fn answer(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        status: u16,
        with_sdp: bool,
        headers: &[String],
    ) {
        let dialog = &mut self.dialogs[index];
        let Some(invite) = dialog.invite.clone() else {
            return;
        };
        let sdp = with_sdp.then(|| match text::sdp(&invite) {
            Some(offer) => dialog.media.answer(&offer),
            None => dialog.media.own(),
        });
        if (200..300).contains(&status) {
            dialog.phase = Phase::Up;
        }
        if status >= 300 {
            dialog.phase = Phase::Ended(End::Refused(status));
        }
        self.respond(context, &invite, status, headers, sdp.as_deref());
    }

    /// Answers a request.
    pub(super) fn respond(
        &mut self,
        context: &mut Context<'_>,
        request: &Message,
        status: u16,
        headers: &[String],
        sdp: Option<&str>,
    ) {
        let tag = self.tag_for(request);
        let tag = (status > 100).then_some(tag.as_str());
        let mut draft = Draft::response(request, status, tag);
        if !(300..400).contains(&status) {
            // There Contact is where else to try, which the script says.
            draft = draft.header("Contact", self.contact());
        }
        let draft = draft.lines(headers);
        let bytes = draft.end(sdp);
        let Some(key) = server_key(request) else {
            return;
        };
        let now = context.now();
        let repeats = request.method() == Some(&Method::Invite)
            && (200..700).contains(&status)
            && (self.transport == Transport::Udp || status < 300);
        let Some(server) = self.servers.get_mut(&key) else {
            return;
        };
        server.answer = Some(bytes.clone());
        server.next = repeats.then(|| now + T1);
        server.interval = T1;
        server.give_up = now + GIVE_UP;
        let destination = server.destination;
        self.transmit(context, destination, bytes);
    }

    /// Sends bytes, over UDP or on the stream to that address.
    pub(super) fn transmit(
        &mut self,
        context: &mut Context<'_>,
        destination: SocketAddr,
        bytes: Bytes,
    ) {
        if lose(&mut self.drop_outgoing) {
            return;
        }
        if let Ok(message) = Message::parse(bytes.clone()) {
            self.record(context.now(), true, message);
        }
        match (self.transport, self.socket) {
            (Transport::Udp, Some(socket)) => context.send(socket, destination, bytes),
            (Transport::Udp, None) => {}
            (Transport::Tcp, _) => self.write(context, destination, bytes),
        }
    }

    fn write(&mut self, context: &mut Context<'_>, destination: SocketAddr, bytes: Bytes) {
        if !self.lines.contains_key(&destination) {
            let Ok(stream) = context.connect(self.host, destination) else {
                return;
            };
            self.lines.insert(destination, Line::new(stream, false));
        }
        let Some(line) = self.lines.get_mut(&destination) else {
            return;
        };
        match line.open {
            true => context.write(line.stream, bytes),
            false => line.unsent.push(bytes),
        }
    }

    fn connected(&mut self, context: &mut Context<'_>, stream: StreamId) {
        let line = self.lines.values_mut().find(|line| line.stream == stream);
        if let Some(line) = line {
            line.open = true;
            for bytes in std::mem::take(&mut line.unsent) {
                context.write(stream, bytes);
            }
        }
    }

    fn read(&mut self, context: &mut Context<'_>, stream: StreamId, bytes: &[u8]) {
        let mut messages = Vec::new();
        let line = self
            .lines
            .iter_mut()
            .find(|(_, line)| line.stream == stream);
        let Some((source, line)) = line else {
            return;
        };
        line.deframer.push(bytes);
        while let Ok(Some(frame)) = line.deframer.poll() {
            if let Frame::Message(message) = frame {
                messages.push(message);
            }
        }
        let source = *source;
        for message in messages {
            self.receive(context, source, message);
        }
    }

    fn receive(&mut self, context: &mut Context<'_>, source: SocketAddr, message: Message) {
        if lose(&mut self.drop_incoming) {
            return;
        }
        self.record(context.now(), false, message.clone());
        match message.method().cloned() {
            Some(Method::Ack) => self.acknowledged(&message),
            Some(method) => self.handle_request(context, source, message, &method),
            None => self.handle_response(context, &message),
        }
    }

    fn handle_request(
        &mut self,
        context: &mut Context<'_>,
        source: SocketAddr,
        request: Message,
        method: &Method,
    ) {
        let Some(key) = server_key(&request) else {
            return;
        };
        if let Some(known) = self.servers.get(&key) {
            if let Some(answer) = known.answer.clone() {
                let destination = known.destination;
                self.transmit(context, destination, answer);
            }
            return;
        }
        let now = context.now();
        self.servers.retain(|_, server| now < server.give_up);
        self.servers.insert(
            key,
            Server {
                answer: None,
                destination: source,
                next: None,
                interval: T1,
                give_up: now + GIVE_UP,
                call_id: text::value(&request, Name::CallId),
            },
        );
        let dialog = self.dialog_of(&request);
        match (method, dialog) {
            (Method::Invite, None) => self.arrive(context, source, request),
            _ if !self.automatic => self.requests.push_back(request),
            (Method::Invite, Some(index)) => self.reinvited(context, index, &request),
            (Method::Bye, Some(index)) => {
                let reason = text::value(&request, Name::Reason);
                self.end(index, End::Theirs { reason });
                self.respond(context, &request, 200, &[], None);
            }
            (Method::Cancel, _) => self.cancelled(context, &request),
            (
                Method::Info | Method::Notify | Method::Options | Method::Prack | Method::Update,
                Some(index),
            ) => {
                self.respond(context, &request, 200, &[], None);
                self.dialogs[index].requests.push_back(request);
            }
            (Method::Options, None) => self.respond(context, &request, 200, &[], None),
            (Method::Bye, None) => self.respond(context, &request, 481, &[], None),
            _ => self.requests.push_back(request),
        }
    }

    /// A call comes in.
    fn arrive(&mut self, context: &mut Context<'_>, source: SocketAddr, invite: Message) {
        let local = text::value(&invite, Name::To);
        let remote = text::value(&invite, Name::From);
        let uri = text::uri(&remote);
        let index = self.dial(&uri, "", source, source, Abilities::default());
        let dialog = &mut self.dialogs[index];
        dialog.call_id = text::value(&invite, Name::CallId);
        dialog.local = format!("<{}>", text::uri(&local));
        dialog.remote = format!("<{uri}>");
        dialog.learn(&invite, false);
        dialog.learn_routes(&invite, false);
        dialog.invite = Some(invite.clone());
        self.arrivals.push_back(index);
        self.respond(context, &invite, 100, &[], None);
    }

    /// The other side changes the session.
    fn reinvited(&mut self, context: &mut Context<'_>, index: usize, request: &Message) {
        let dialog = &mut self.dialogs[index];
        dialog.learn(request, false);
        dialog.acknowledged = false;
        let sdp = match text::sdp(request) {
            Some(offer) => dialog.media.answer(&offer),
            None => dialog.media.own(),
        };
        self.respond(context, request, 200, &[], Some(&sdp));
    }

    fn cancelled(&mut self, context: &mut Context<'_>, cancel: &Message) {
        self.respond(context, cancel, 200, &[], None);
        let call_id = text::value(cancel, Name::CallId);
        let found = self.dialogs.iter().position(|dialog| {
            dialog.call_id == call_id && dialog.invite.is_some() && dialog.phase == Phase::Early
        });
        let Some(index) = found else {
            return;
        };
        let invite = self.dialogs[index].invite.clone();
        self.end(index, End::Cancelled);
        if let Some(invite) = invite {
            self.respond(context, &invite, 487, &[], None);
        }
    }

    fn acknowledged(&mut self, ack: &Message) {
        let call_id = text::value(ack, Name::CallId);
        for server in self.servers.values_mut() {
            if server.call_id == call_id {
                server.next = None;
            }
        }
        let Some(index) = self.dialog_of(ack) else {
            return;
        };
        let dialog = &mut self.dialogs[index];
        dialog.acknowledged = true;
        if let Some(sdp) = text::sdp(ack) {
            dialog.media.accept(&sdp);
        }
    }

    fn handle_response(&mut self, context: &mut Context<'_>, response: &Message) {
        let (Some(branch), Some((cseq, method))) = (text::branch(response), text::cseq(response))
        else {
            return;
        };
        let key = format!("{branch} {method}");
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        let status = response.status().map_or(0, |status| status.code());
        let index = client.dialog;
        if status < 200 {
            // A provisional response ends the repetition of an INVITE (RFC 3261 §17.1.1.2).
            client.next = client.next.filter(|_| !client.invite);
            self.dialogs[index].responses.push(response.clone());
            if client.invite {
                self.provisional(index, response);
            }
            return;
        }
        let repeated = client.outcome.is_some();
        client.next = None;
        if !repeated {
            client.outcome = Some(Ok(response.clone()));
            self.dialogs[index].responses.push(response.clone());
        }
        if !client.invite {
            return;
        }
        match (status < 300, repeated) {
            (true, false) => self.accepted(context, index, cseq, response),
            (true, true) => self.repeat_ack(context, index, cseq),
            (false, repeated) => self.refused(context, index, &key, response, repeated),
        }
    }

    fn provisional(&mut self, index: usize, response: &Message) {
        let dialog = &mut self.dialogs[index];
        if dialog.phase != Phase::Early {
            return;
        }
        dialog.learn(response, true);
        if let Some(sdp) = text::sdp(response) {
            dialog.media.accept(&sdp);
        }
    }

    /// The INVITE is answered with 2xx: acknowledge it, with an answer where it carries the offer.
    fn accepted(&mut self, context: &mut Context<'_>, index: usize, cseq: u32, ok: &Message) {
        let dialog = &mut self.dialogs[index];
        let attempt = dialog.attempt.take();
        let offered = attempt
            .and_then(|attempt| self.clients.get(&attempt.key))
            .is_some_and(|client| client.bytes.windows(4).any(|w| w == b"v=0\r"));
        let dialog = &mut self.dialogs[index];
        dialog.learn(ok, true);
        if dialog.phase == Phase::Early {
            dialog.learn_routes(ok, true);
        }
        let answer = text::sdp(ok).and_then(|sdp| match offered {
            true => {
                dialog.media.accept(&sdp);
                None
            }
            false => Some(dialog.media.answer(&sdp)),
        });
        let cancelled = matches!(dialog.phase, Phase::Ended(_));
        if !cancelled {
            dialog.phase = Phase::Up;
        }
        let branch = format!("z9hG4bK{:016x}", self.rng.next_u64());
        let ack = self.draft(index, "ACK", &branch, cseq);
        let ack = ack.end(answer.as_deref());
        self.dialogs[index].ack = Some((cseq, ack.clone()));
        let destination = self.destination(context, index);
        self.transmit(context, destination, ack);
        if cancelled {
            self.request(context, index, "BYE", &[], ("", ""));
        }
    }

    fn repeat_ack(&mut self, context: &mut Context<'_>, index: usize, cseq: u32) {
        let ack = self.dialogs[index].ack.clone();
        if let Some((_, ack)) = ack.filter(|(number, _)| *number == cseq) {
            let destination = self.destination(context, index);
            self.transmit(context, destination, ack);
        }
    }

    /// The INVITE is refused: acknowledge in the same transaction (RFC 3261 §17.1.1.3).
    fn refused(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        key: &str,
        response: &Message,
        repeated: bool,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let destination = client.destination;
        if let Some(ack) = client.ack.clone() {
            self.transmit(context, destination, ack);
            return;
        }
        let (branch, uri) = (
            key.split(' ').next().unwrap_or_default().to_owned(),
            self.dialogs[index].target.clone(),
        );
        let draft = Draft::request("ACK", &uri)
            .header("Via", self.via(&branch))
            .header("Max-Forwards", 70)
            .header("From", text::value(response, Name::From))
            .header("To", text::value(response, Name::To))
            .header("Call-ID", text::value(response, Name::CallId));
        let cseq = text::cseq(response).map_or(0, |(number, _)| number);
        let ack = draft.header("CSeq", format_args!("{cseq} ACK")).end(None);
        if let Some(client) = self.clients.get_mut(key) {
            client.ack = Some(ack.clone());
        }
        self.transmit(context, destination, ack);
        let status = response.status().map_or(0, |status| status.code());
        let dialog = &mut self.dialogs[index];
        dialog.attempt = None;
        if !repeated && dialog.phase == Phase::Early {
            self.end(index, End::Refused(status));
        }
    }

    /// Ends a call, unless it has ended.
    pub(super) fn end(&mut self, index: usize, end: End) {
        let dialog = &mut self.dialogs[index];
        if !matches!(dialog.phase, Phase::Ended(_)) {
            dialog.phase = Phase::Ended(end);
        }
    }

    /// Changes the direction that this side wants.
    pub(super) fn direct(&mut self, index: usize, direction: Direction) {
        self.dialogs[index].media.direction = direction;
    }

    fn start(&mut self, context: &mut Context<'_>, index: usize, key: String, bytes: Bytes) {
        let now = context.now();
        self.clients
            .retain(|_, client| now < client.give_up + GIVE_UP);
        let destination = self.destination(context, index);
        let first = match self.transport {
            Transport::Udp => T1,
            Transport::Tcp => GIVE_UP,
        };
        let client = Client {
            bytes: bytes.clone(),
            destination,
            next: Some(now + first),
            interval: first,
            give_up: now + GIVE_UP,
            dialog: index,
            invite: key.ends_with(" INVITE"),
            outcome: None,
            ack: None,
        };
        self.clients.insert(key, client);
        self.transmit(context, destination, bytes);
    }

    fn repeat_requests(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let mut again = Vec::new();
        let mut over = Vec::new();
        for client in self.clients.values_mut() {
            if client.next.is_none_or(|at| at > now) {
                continue;
            }
            if now >= client.give_up {
                client.next = None;
                client.outcome = Some(Err(CallError::TimedOut));
                over.push((client.dialog, client.invite));
                continue;
            }
            client.interval = match client.invite {
                true => client.interval * 2,
                false => (client.interval * 2).min(T2),
            };
            client.next = Some((now + client.interval).min(client.give_up));
            again.push((client.destination, client.bytes.clone()));
        }
        for (destination, bytes) in again {
            self.transmit(context, destination, bytes);
        }
        for (index, invite) in over {
            if invite && self.dialogs[index].phase == Phase::Early {
                self.end(index, End::TimedOut);
            }
        }
    }

    fn repeat_answers(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let mut again = Vec::new();
        for server in self.servers.values_mut() {
            if server.next.is_none_or(|at| at > now) {
                continue;
            }
            if now >= server.give_up {
                server.next = None;
                continue;
            }
            server.interval = (server.interval * 2).min(T2);
            server.next = Some((now + server.interval).min(server.give_up));
            if let Some(answer) = &server.answer {
                again.push((server.destination, answer.clone()));
            }
        }
        for (destination, bytes) in again {
            self.transmit(context, destination, bytes);
        }
    }

    /// A request of a call up to its own headers and body.
    fn draft(&self, index: usize, method: &str, branch: &str, cseq: u32) -> Draft {
        let dialog = &self.dialogs[index];
        let (from, to) = dialog.parties();
        let mut draft = Draft::request(method, &dialog.target)
            .header("Via", self.via(branch))
            .header("Max-Forwards", 70);
        for route in &dialog.routes {
            draft = draft.header("Route", route);
        }
        draft
            .header("From", from)
            .header("To", to)
            .header("Call-ID", &dialog.call_id)
            .header("CSeq", format_args!("{cseq} {method}"))
            .header("Contact", self.contact())
    }

    fn via(&self, branch: &str) -> String {
        format!(
            "SIP/2.0/{} {};rport;branch={branch}",
            self.transport.name(),
            self.address
        )
    }

    fn contact(&self) -> String {
        match self.transport {
            Transport::Udp => format!("<sip:peer@{}>", self.address),
            Transport::Tcp => format!("<sip:peer@{};transport=tcp>", self.address),
        }
    }

    fn destination(&self, context: &mut Context<'_>, index: usize) -> SocketAddr {
        let dialog = &self.dialogs[index];
        let network = context.network();
        let ipv4 = self.address.is_ipv4();
        destination(&dialog.next_hop(), ipv4, |name| network.resolve(name))
            .unwrap_or(dialog.destination)
    }

    fn dialog_of(&self, request: &Message) -> Option<usize> {
        let call_id = text::value(request, Name::CallId);
        let tag = text::tag(&text::value(request, Name::To))?;
        let mine = |dialog: &Dialog| dialog.call_id == call_id && dialog.local_tag == tag;
        self.dialogs.iter().position(mine)
    }

    /// The tag of this side in answers to a request.
    fn tag_for(&mut self, request: &Message) -> String {
        let call_id = text::value(request, Name::CallId);
        let known = self.dialogs.iter().find(|dialog| dialog.call_id == call_id);
        match known {
            Some(dialog) => dialog.local_tag.clone(),
            None => format!("{:08x}", self.rng.next_u32()),
        }
    }

    fn record(&mut self, at: Instant, sent: bool, message: Message) {
        if self.log.len() >= LOG {
            self.log.pop_front();
        }
        self.log.push_back(Logged { at, sent, message });
    }

    fn wake(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

fn server_key(request: &Message) -> Option<String> {
    let method = request.method()?;
    Some(format!("{} {}", text::branch(request)?, method.as_str()))
}

/// Whether the next message is to be lost; `u32::MAX` loses all for ever.
fn lose(messages: &mut u32) -> bool {
    match *messages {
        0 => return false,
        u32::MAX => {}
        _ => *messages -= 1,
    }
    true
}
