//! The engine's core machine: calls over signalling and media.
//!
//! The polling order is this: give one input or command, then poll [`Core::poll_event`] and
//! [`Core::poll_output`] until both are empty, then wait until [`Core::poll_timeout`] or the next
//! input. Each call gives exactly one `Ended` event.

mod call;
mod changes;
mod collecting;
mod commands;
mod connecting;
pub mod data;
mod details;
pub mod dialling;
mod direct;
mod early;
pub mod events;
pub mod forks;
mod hearing;
pub mod holdings;
mod joining;
mod media;
pub mod notes;
mod passages;
mod passing;
pub mod playing;
mod preference;
mod recorded;
mod recording;
mod redirects;
pub mod registering;
mod rooms;
mod signalling;
mod siprec;
mod transfers;
mod trunking;
pub mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::b2bua::trunk::table::Trunks;
use crate::call::placement::Placement;
use crate::engine::config::{Config, ConfigError};
use crate::engine::event::{CallError, CallEvent, Event};
use crate::engine::io::{MediaPort, Output};
use crate::id::{
    CallId, ConnectionId, ForkId, LegId, ListenerId, PlayId, RecordingId, RoomId, WorkerId,
};
use crate::media::command::Event as MediaEvent;
use crate::media::recorder::storage::StorageEvent;
use crate::rng::Rng;
use crate::sip::agent::Agent;
use crate::sip::agent::command::SessionId;
use crate::sip::agent::config::{AgentConfig, Counters as SipCounters};
use crate::sip::agent::event::{LookupId, SendToken};
use crate::sip::auth::digest::Secret;
use crate::sip::auth::server::VerifierCounters;
use crate::sip::overload::admission::Admission;
use crate::sip::transport::Listener;
use crate::sip::transport::resolve::{Question, Record};
use crate::time::{ClockAnchor, Duration, Instant};

use call::CallState;
use data::Matter;
use events::Shown;
use passages::Passages;
use playing::Audience;
use recording::Recorded;
use rooms::RoomState;
use siprec::client::Remote;
use trunking::Trunking;

/// Free media ports below which the driver is asked for more: enough for the callers that may
/// arrive before it answers.
const LOW_PORTS: usize = 64;

/// Media ports asked for at a time.
const PORT_BATCH: usize = 64;

/// How long a stopping engine waits for the other sides to acknowledge its farewells.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a stopping engine waits for a disk to take the ends of its recordings.
const LAST_RECORDINGS: Duration = Duration::from_secs(5);

/// One engine as a sans-IO machine: the SIP agent, the calls and their policy. Media workers and
/// storage run beside it and are reached through [`Output`].
pub struct Core {
    config: Config,
    anchor: ClockAnchor,
    rng: Rng,
    agent: Agent,
    placement: Placement,
    calls: BTreeMap<CallId, CallState>,
    sessions: BTreeMap<SessionId, CallId>,
    legs: BTreeMap<LegId, CallId>,
    rooms: BTreeMap<RoomId, RoomState>,
    plays: BTreeMap<PlayId, Audience>,
    forks: BTreeMap<ForkId, Audience>,
    recordings: BTreeMap<RecordingId, Recorded>,
    /// When which recording beeps.
    beeping: BTreeSet<(Instant, RecordingId)>,
    remotes: BTreeMap<RecordingId, Remote>,
    matters: BTreeMap<u64, Matter>,
    collecting: BTreeSet<(Instant, CallId)>,
    passages: Passages,
    trunking: Trunking,
    ports: VecDeque<MediaPort>,
    ports_asked: usize,
    ports_held: usize,
    minted: Minted,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
    shown: Shown,
    stopping: Option<Instant>,
    now: Instant,
    counters: Counters,
}

/// What the core has counted since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Callers refused because calls or media ports had run out.
    pub refused_full: u64,
    /// Callers refused because no media could be agreed on.
    pub refused_media: u64,
    /// Commands that a media worker sent back.
    pub media_rejections: u64,
    /// Calls ended because no media arrived for too long.
    pub media_timeouts: u64,
    /// Values of header fields that were broken, or more than 20 of a kind, and so were left out of a
    /// call's details.
    pub details_left_out: u64,
    /// Call data of peers that was broken, too much, forged, expired, or not found in the store.
    pub data_refused: u64,
    /// Metadata of recording clients that could not be read.
    pub metadata_refused: u64,
    /// Members of rooms that were looked at because they are recorded and somebody came or went.
    pub recorded_visits: u64,
    /// Times that a media worker suspended optional forks because it came too late.
    pub sheddings: u64,
    /// Recordings that could not be written in whole.
    pub recordings_failed: u64,
    /// Recordings that the store has; a time stamp that follows one is counted too.
    pub recordings_uploaded: u64,
    /// Times that the store of recordings began to fail.
    pub upload_failures: u64,
    /// Recordings that will not be uploaded: not there any more, or not queued.
    pub uploads_lost: u64,
    /// Recordings whose records have been stamped by an authority.
    pub recordings_stamped: u64,
    /// Times that the time-stamping authority began to fail, or to give what is no stamp of ours.
    pub stamp_failures: u64,
    /// Recordings that will not be stamped: not queued.
    pub stamps_lost: u64,
    /// Recordings that were deleted since the date of their label had come.
    pub recordings_expired: u64,
    /// Times that such deletions began to fail by the disk.
    pub expiry_failures: u64,
    /// Recordings that stay although they are due, or will: their record is not proven, or they were not queued.
    pub expiries_lost: u64,
    /// Times that the journal of recordings was suspended, since its disk failed or did not keep up.
    pub journal_suspensions: u64,
}

/// The last number given to each kind of thing.
#[derive(Debug, Default)]
struct Minted {
    calls: u64,
    legs: u64,
    rooms: u64,
    plays: u64,
    forks: u64,
    recordings: u64,
    passages: u64,
    matters: u64,
}

/// The number after `last`, which it becomes.
fn next(last: &mut u64) -> u64 {
    *last += 1;
    *last
}

impl Core {
    /// An engine by `config`, whose listeners the driver has bound to the addresses `bound`, in the
    /// order of the configuration. `rng` decides every tag, branch, SSRC and timer jitter.
    ///
    /// # Errors
    /// A value of the configuration is out of its range.
    pub fn new(
        config: Config,
        bound: &[SocketAddr],
        anchor: ClockAnchor,
        mut rng: Rng,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let listeners = config.listeners.iter().zip(bound).map(|(listener, bound)| {
            let mut made = Listener::new(listener.transport, *bound);
            made.advertised = listener.advertise;
            made.host = listener.host.clone();
            made.nat = listener.nat;
            made.access = listener.access.clone();
            made.records = listener.records;
            made
        });
        let events = events::events_of(&config, bound);
        let agent_config = AgentConfig {
            listeners: listeners.collect(),
            product: Some(config.product.clone()),
            contact_user: config.user.clone(),
            ring_timeout: config.ring_timeout,
            reliable_provisional: config.reliable_provisional,
            session_expires: config.session_expires,
            min_session_expires: config.min_session_expires,
            pending_timeout: config.incoming_timeout,
            authentication: config.authentication.as_ref().map(|a| a.challenge.clone()),
            registrar: registering::registrar_of(&config, bound),
            events: events.clone(),
            message_types: config.message_types.clone(),
            max_sessions: config.max_calls.saturating_add(config.max_calls / 4),
            admission: config.admission.clone(),
            obeys_overload: config.obeys_overload,
            responses_by_name: config.responses_by_name,
            epoch: anchor.epoch(),
            ..AgentConfig::default()
        };
        let agent = Agent::new(agent_config, rng.fork());
        let placement = Placement::new(config.media_workers);
        let trunks = Trunks::new(config.caps.clone(), rng.fork());
        let mut core = Self {
            config,
            anchor,
            rng,
            agent,
            placement,
            calls: BTreeMap::new(),
            sessions: BTreeMap::new(),
            legs: BTreeMap::new(),
            rooms: BTreeMap::new(),
            plays: BTreeMap::new(),
            forks: BTreeMap::new(),
            recordings: BTreeMap::new(),
            beeping: BTreeSet::new(),
            remotes: BTreeMap::new(),
            matters: BTreeMap::new(),
            collecting: BTreeSet::new(),
            passages: Passages::default(),
            trunking: Trunking::new(trunks),
            ports: VecDeque::new(),
            ports_asked: 0,
            ports_held: 0,
            minted: Minted::default(),
            events: VecDeque::new(),
            outputs: VecDeque::new(),
            shown: Shown::new(events),
            stopping: None,
            now: anchor.at,
            counters: Counters::default(),
        };
        core.want_ports();
        Ok(core)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What has been counted here.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the SIP agent has counted.
    pub fn sip_counters(&self) -> SipCounters {
        self.agent.counters()
    }

    /// What was counted of credentials; nothing where nobody has to sign in.
    pub fn authentication_counters(&self) -> VerifierCounters {
        self.agent.verifier_counters()
    }

    /// Calls in progress, those still ringing included.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// A SIP datagram arrived on a listener.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        listener: ListenerId,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        self.agent.handle_datagram(now, listener, source, bytes);
        self.take_signalling(now);
    }

    /// A peer has opened a stream connection to a listener; `None` where there are too many, and the
    /// driver closes it.
    pub fn handle_accepted(
        &mut self,
        now: Instant,
        listener: ListenerId,
        remote: SocketAddr,
    ) -> Option<ConnectionId> {
        let connection = self.agent.handle_accepted(now, listener, remote);
        self.take_signalling(now);
        connection
    }

    /// The certificate that a peer has shown on a connection that it opened is trusted, and speaks for
    /// these domains.
    pub fn handle_identified(&mut self, connection: ConnectionId, domains: Vec<String>) {
        self.agent.handle_identified(connection, domains);
    }

    /// A connection that the engine asked for is open.
    pub fn handle_connected(&mut self, now: Instant, connection: ConnectionId) {
        self.agent.handle_connected(now, connection);
        self.take_signalling(now);
    }

    /// Bytes arrived on a stream connection.
    pub fn handle_stream(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        self.agent.handle_stream_data(now, connection, bytes);
        self.take_signalling(now);
    }

    /// A stream connection is closed, or could not be opened.
    pub fn handle_closed(&mut self, now: Instant, connection: ConnectionId) {
        self.agent.handle_closed(now, connection);
        self.take_signalling(now);
    }

    /// The DNS has answered a question of a look-up: with no records where there are none.
    pub fn handle_records(
        &mut self,
        now: Instant,
        lookup: LookupId,
        question: &Question,
        records: &[Record],
    ) {
        self.agent.handle_records(now, lookup, question, records);
        self.take_signalling(now);
    }

    /// The store of credentials has found a user, or none.
    pub fn handle_credentials(&mut self, now: Instant, lookup: LookupId, secret: Option<Secret>) {
        self.agent.handle_credentials(now, lookup, secret);
        self.take_signalling(now);
    }

    /// The socket refused a SIP message.
    pub fn handle_send_failed(&mut self, now: Instant, token: SendToken) {
        self.agent.handle_send_failed(now, token);
        self.take_signalling(now);
    }

    /// The network could not deliver a datagram that a listener sent to `destination`, of which `quoted` is
    /// as much as it says.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        listener: ListenerId,
        destination: SocketAddr,
        quoted: &[u8],
    ) {
        self.agent
            .handle_unreachable(now, listener, destination, quoted);
        self.take_signalling(now);
    }

    /// The driver hands something over next that has waited for so long. Where that is more than can be
    /// borne, new callers are refused early ([`Config::admission`]).
    pub fn handle_wait(&mut self, now: Instant, wait: Duration) {
        self.agent.handle_wait(now, wait);
    }

    /// How many ticks the media workers have run since they began, and how many of them late.
    pub fn handle_ticks(&mut self, now: Instant, ticks: u64, late: u64) {
        self.agent.handle_ticks(now, ticks, late);
    }

    /// How much new work is let in, and what was refused for load.
    pub fn admission(&self) -> &Admission {
        self.agent.load()
    }

    /// The driver has opened a pair of media sockets for the engine.
    pub fn add_port(&mut self, port: MediaPort) {
        self.ports_asked = self.ports_asked.saturating_sub(1);
        self.ports_held += 1;
        self.ports.push_back(port);
    }

    /// The driver could not open `count` of the media port pairs asked for.
    pub fn handle_no_ports(&mut self, count: usize) {
        self.ports_asked = self.ports_asked.saturating_sub(count);
    }

    /// A media worker reported something.
    pub fn handle_media(&mut self, now: Instant, worker: WorkerId, event: MediaEvent) {
        self.now = now;
        self.take_media(now, worker, event);
        self.take_signalling(now);
    }

    /// Storage reported something.
    pub fn handle_storage(&mut self, now: Instant, event: StorageEvent) {
        self.now = now;
        self.take_storage(event);
    }

    /// Runs what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.take_signalling(now);
        self.run_collections(now);
        self.run_beeps(now);
        self.run_passage_deadlines(now);
        self.end_spenders(now);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let collection = self.collecting.first().map(|(at, _)| *at);
        let beep = self.beeping.first().map(|(at, _)| *at);
        let farewell = self.stopping.filter(|at| *at > self.now);
        let passage = self.passages.poll_timeout();
        let recordings = self.stopping.map(|at| at + LAST_RECORDINGS);
        let recordings = recordings.filter(|at| *at > self.now && !self.recordings.is_empty());
        let known = [
            collection,
            beep,
            passage,
            farewell,
            recordings,
            self.trunk_timeout(),
        ];
        let known = known.into_iter().chain([self.agent.poll_timeout()]);
        known.flatten().min()
    }

    /// The next event for whoever owns the calls.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next thing to do for the driver.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(transmit) = self.agent.poll_transmit() {
            return Some(Output::Signal(transmit));
        }
        if let Some(request) = self.agent.poll_driver() {
            return Some(Output::Driver(request));
        }
        if let Some((worker, command)) = self.placement.poll_command() {
            return Some(Output::Media(worker, command));
        }
        self.outputs.pop_front()
    }

    /// Refuses new callers with 503 from now on; calls in progress go on.
    pub fn drain(&mut self, now: Instant) {
        self.now = now;
        self.agent.drain();
        self.agent.unregister_all(now);
        self.agent.unsubscribe_all(now);
        self.agent.unpublish_all(now);
        self.agent.end_subscriptions(now);
    }

    /// Ends everything: calls are hung up, recordings closed. [`Self::is_idle`] tells when it is done.
    pub fn stop(&mut self, now: Instant) {
        self.now = now;
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(now + FAREWELL);
        self.drain(now);
        self.agent.unwatch_all();
        let calls: Vec<CallId> = self.calls.keys().copied().collect();
        for call in calls {
            self.shut(now, call);
        }
    }

    /// Whether nothing is left to do: no call, no open recording, and every farewell acknowledged or
    /// given up. A disk that hangs is waited for some seconds.
    pub fn is_idle(&self) -> bool {
        let farewells_over =
            self.agent.is_settled() || self.stopping.is_some_and(|deadline| self.now >= deadline);
        let hangs = |deadline| self.now >= deadline + LAST_RECORDINGS;
        let recordings_over = self.recordings.is_empty() || self.stopping.is_some_and(hangs);
        self.calls.is_empty() && recordings_over && farewells_over
    }

    fn emit(&mut self, call: CallId, event: CallEvent) {
        self.passages.note(self.now, call, &event);
        self.show_event(call, &event);
        self.note_event(call, &event);
        let is_answered = matches!(event, CallEvent::Answered);
        self.events.push_back(Event::Call { call, event });
        if is_answered {
            self.record_by_policy(call);
        }
    }

    fn call_mut(&mut self, call: CallId) -> Result<&mut CallState, CallError> {
        match self.calls.get_mut(&call) {
            Some(state) => match &state.ending {
                Some(ending) => Err(CallError::Ended(ending.reason.clone())),
                None => Ok(state),
            },
            None => Err(CallError::Gone),
        }
    }

    /// A free media port for a new call.
    fn take_port(&mut self) -> Option<MediaPort> {
        let port = self.ports.pop_front();
        self.want_ports();
        port
    }

    fn give_port_back(&mut self, port: MediaPort) {
        // At the end of the queue, so that stray packets of the old call find it unused the longest.
        self.ports.push_back(port);
    }

    fn want_ports(&mut self) {
        let most = self
            .config
            .max_calls
            .saturating_sub(self.ports_held + self.ports_asked);
        if self.ports.len() + self.ports_asked >= LOW_PORTS || most == 0 {
            return;
        }
        let wanted = PORT_BATCH.min(most);
        self.ports_asked += wanted;
        self.outputs.push_back(Output::NeedPorts(wanted));
    }
}
