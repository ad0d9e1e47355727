//! An engine on the virtual network: core, handles, media workers and storage in one node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sidetone::engine::config::{Config, ConfigError};
use sidetone::engine::core::Core;
use sidetone::engine::io::{MediaPort, Output};
use sidetone::face::engine::Engine;
use sidetone::face::hub::Hub;
use sidetone::id::{ConnectionId, ListenerId, PortId, WorkerId};
use sidetone::media::command::Command;
use sidetone::media::leg::config::Channel;
use sidetone::media::recorder::errands::Errands;
use sidetone::media::recorder::journal::SegmentWriter;
use sidetone::media::recorder::scribe::{Scribe, ScribeConfig};
use sidetone::media::recorder::storage::{StorageCommand, StorageEvent};
use sidetone::media::worker::{Worker, WorkerConfig, WorkerStats};
use sidetone::sip::agent::event::{DriverRequest, Transmit};
use sidetone::sip::transport::resolve::{Kind, Record};
use sidetone::sip::transport::{Path, Transport};
use sidetone::time::Instant;

use crate::disk::Disk;
use crate::network::{Delivery, HostId, NetworkError, SocketId, StreamId};
use crate::node::{Context, Node};
use crate::sim::Handle;

/// How often storage looks for what was recorded, as its thread does.
const STORAGE_TICK: Duration = Duration::from_millis(100);

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener could not be opened.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// What a test can see of an engine beside its handle.
#[derive(Clone)]
pub struct Machine {
    node: Rc<RefCell<EngineNode>>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

impl Machine {
    /// The disk that its recordings are written to.
    pub fn disk(&self) -> Disk {
        self.node.borrow().storage.disk.clone()
    }

    /// The figures of its media workers.
    pub fn workers(&self) -> Vec<WorkerStats> {
        self.node
            .borrow()
            .workers
            .iter()
            .map(Worker::stats)
            .collect()
    }

    /// The core's own counters; `None` once the engine has stopped.
    pub fn counters(&self) -> Option<sidetone::engine::core::Counters> {
        let mut node = self.node.borrow_mut();
        node.hub.as_mut().map(|hub| hub.core().counters())
    }

    /// The SIP agent's counters; `None` once the engine has stopped.
    pub fn sip_counters(&self) -> Option<sidetone::sip::agent::config::Counters> {
        let mut node = self.node.borrow_mut();
        node.hub.as_mut().map(|hub| hub.core().sip_counters())
    }

    /// Lets the media workers come to each tick so much after its time, as on a machine that has too much to do.
    pub fn set_late(&self, late: Duration) {
        self.node.borrow_mut().late = late;
    }

    /// Whether the engine has stopped: everything is hung up and written, its sockets are closed.
    pub fn has_stopped(&self) -> bool {
        self.node.borrow().hub.is_none()
    }
}

impl Handle {
    /// Starts an engine on a host of this name, which is added where there is none; gives the very
    /// handle that integrators use, so that their call flows run unchanged.
    ///
    /// A loopback or unspecified address in the configuration means the host's own, so that
    /// `Config::default()` works.
    ///
    /// # Errors
    /// [`StartError`] where the configuration cannot work or its ports are taken.
    pub fn engine(&self, name: &str, config: Config) -> Result<Engine, StartError> {
        self.machine(name, config).map(|(engine, _)| engine)
    }

    /// As [`engine`](Self::engine), and gives also what only a test sees.
    ///
    /// # Errors
    /// As there.
    pub fn machine(&self, name: &str, config: Config) -> Result<(Engine, Machine), StartError> {
        let host = {
            let mut network = self.network();
            match network.host(name) {
                Ok(host) => host,
                Err(_) => network.add_host(name, &[])?,
            }
        };
        let config = settle(config, self.network().addresses(host));
        config.validate()?;
        let inbox = self.inbox();
        let (anchor, rng) = (self.anchor(), self.fork_rng());
        let node = Rc::new(RefCell::new(EngineNode::new(host, &config)));
        let id = self.add_node(node.clone());
        let engine = self.act(id, |context| {
            let mut this = node.borrow_mut();
            let bound = this.listen(context, &config)?;
            let core = Core::new(config, &bound, anchor, rng)?;
            let (engine, hub) = Engine::attach(core, bound, Box::new(inbox));
            this.hub = Some(hub);
            this.run(context);
            Ok::<_, StartError>(engine)
        })?;
        Ok((engine, Machine { node }))
    }
}

/// Puts the host's own address where the configuration has none that others can reach.
fn settle(mut config: Config, own: &[IpAddr]) -> Config {
    let fit = |ip: IpAddr| {
        let local = ip.is_loopback() || ip.is_unspecified();
        let same = own.iter().find(|own| own.is_ipv4() == ip.is_ipv4());
        same.copied().filter(|_| local).unwrap_or(ip)
    };
    for listener in &mut config.listeners {
        listener.bind.set_ip(fit(listener.bind.ip()));
    }
    config.media_bind = fit(config.media_bind);
    config
}

/// A socket for media and what it is for.
#[derive(Debug, Clone, Copy)]
struct MediaSocket {
    port: PortId,
    channel: Channel,
}

/// The engine's driver in the simulator: what `net/` is on real sockets.
struct EngineNode {
    host: HostId,
    hub: Option<Hub>,
    workers: Vec<Worker>,
    /// How late the workers' ticks are.
    late: Duration,
    listeners: Vec<SocketId>,
    media: BTreeMap<SocketId, MediaSocket>,
    /// RTP and RTCP socket of each port pair, by its number.
    ports: Vec<(SocketId, SocketId)>,
    /// The worker that a port's leg is on.
    owners: BTreeMap<PortId, WorkerId>,
    media_bind: IpAddr,
    media_ports: Option<std::ops::RangeInclusive<u16>>,
    streams: BTreeMap<ConnectionId, StreamId>,
    connections: BTreeMap<StreamId, ConnectionId>,
    storage: Storage,
}

impl EngineNode {
    fn new(host: HostId, config: &Config) -> Self {
        let worker = WorkerConfig {
            max_legs: config.max_calls,
            max_rooms: config.max_calls,
            max_plays: config.max_calls.saturating_mul(2),
            ..WorkerConfig::default()
        };
        Self {
            host,
            hub: None,
            late: Duration::ZERO,
            workers: (0..config.media_workers)
                .map(|_| Worker::new(worker.clone()))
                .collect(),
            listeners: Vec::new(),
            media: BTreeMap::new(),
            ports: Vec::new(),
            owners: BTreeMap::new(),
            media_bind: config.media_bind,
            media_ports: config.media_ports.clone(),
            streams: BTreeMap::new(),
            connections: BTreeMap::new(),
            storage: Storage::new(config),
        }
    }

    fn listen(
        &mut self,
        context: &mut Context<'_>,
        config: &Config,
    ) -> Result<Vec<SocketAddr>, NetworkError> {
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let socket = match listener.transport {
                Transport::Udp => context.bind(self.host, listener.bind)?,
                // What TLS would hide and WebSocket would wrap goes as it is.
                _ => context.listen(self.host, listener.bind)?,
            };
            self.listeners.push(socket);
            bound.push(context.network().address(socket));
        }
        Ok(bound)
    }

    fn listener_of(&self, socket: SocketId) -> Option<ListenerId> {
        let index = self
            .listeners
            .iter()
            .position(|listener| *listener == socket)?;
        u16::try_from(index).ok().map(ListenerId)
    }

    /// Carries out what the parts want until none wants anything.
    fn run(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        while self.serve_hub(context) | self.serve_workers(context) | self.serve_storage(now) {}
        if self.hub.as_ref().is_some_and(Hub::is_finished) {
            self.close(context);
        }
    }

    fn serve_hub(&mut self, context: &mut Context<'_>) -> bool {
        let now = context.now();
        let mut busy = false;
        while let Some(output) = self.hub.as_mut().and_then(|hub| hub.poll_output(now)) {
            busy = true;
            match output {
                Output::Signal(transmit) => self.send(context, transmit),
                Output::Driver(request) => self.serve(context, request),
                Output::Media(worker, command) => self.command(now, worker, command),
                Output::Storage(command) => self.storage.handle_command(now, command),
                Output::NeedPorts(count) => self.open_ports(context, count),
            }
        }
        busy
    }

    fn serve_workers(&mut self, context: &mut Context<'_>) -> bool {
        let now = context.now();
        let mut busy = false;
        for (index, worker) in self.workers.iter_mut().enumerate() {
            while let Some(packet) = worker.poll_transmit() {
                let Some((rtp, rtcp)) = self.ports.get(packet.port.0 as usize) else {
                    continue;
                };
                let socket = match packet.channel {
                    Channel::Rtp => *rtp,
                    Channel::Rtcp => *rtcp,
                };
                let payload = Bytes::copy_from_slice(packet.bytes);
                context.send(socket, packet.destination, payload);
            }
            while let Some(event) = worker.poll_event() {
                busy = true;
                if let Some(hub) = &mut self.hub {
                    let id = WorkerId(u16::try_from(index).unwrap_or(u16::MAX));
                    hub.core().handle_media(now, id, event);
                }
            }
        }
        busy
    }

    fn serve_storage(&mut self, now: Instant) -> bool {
        let events = self.storage.take_events();
        let busy = !events.is_empty();
        if let Some(hub) = &mut self.hub {
            for event in events {
                hub.core().handle_storage(now, event);
            }
        }
        busy
    }

    fn send(&mut self, context: &mut Context<'_>, transmit: Transmit) {
        match transmit.path {
            Path::Datagram {
                listener,
                destination,
            } => {
                if let Some(socket) = self.listeners.get(usize::from(listener.0)) {
                    context.send(*socket, destination, transmit.bytes);
                }
            }
            Path::Stream { connection } => {
                if let Some(stream) = self.streams.get(&connection) {
                    context.write(*stream, transmit.bytes);
                }
            }
        }
    }

    fn serve(&mut self, context: &mut Context<'_>, request: DriverRequest) {
        let now = context.now();
        match request {
            DriverRequest::Connect {
                connection,
                destination,
                ..
            } => match context.connect(self.host, destination.address) {
                Ok(stream) => self.know(connection, stream),
                Err(_) => self.with_core(|core| core.handle_closed(now, connection)),
            },
            DriverRequest::Close { connection } => {
                if let Some(stream) = self.streams.remove(&connection) {
                    self.connections.remove(&stream);
                    context.close(stream);
                }
            }
            DriverRequest::Query { lookup, question } => {
                let found = match question.kind {
                    Kind::A | Kind::Aaaa => context.network().resolve(&question.name),
                    // Names in the simulator have addresses only.
                    Kind::Naptr | Kind::Srv => Vec::new(),
                };
                let found: Vec<Record> = found.into_iter().map(Record::Address).collect();
                self.with_core(|core| core.handle_records(now, lookup, &question, &found));
            }
            other => panic!("the simulator does not know {other:?}"),
        }
    }

    fn know(&mut self, connection: ConnectionId, stream: StreamId) {
        self.streams.insert(connection, stream);
        self.connections.insert(stream, connection);
    }

    fn command(&mut self, now: Instant, worker: WorkerId, command: Command) {
        if let Command::AddLeg(leg) = &command {
            self.owners.insert(leg.port(), worker);
        }
        if let Some(worker) = self.workers.get_mut(usize::from(worker.0)) {
            worker.handle_command(now, command);
        }
    }

    fn open_ports(&mut self, context: &mut Context<'_>, count: usize) {
        for done in 0..count {
            let pair = context.bind_pair(self.host, self.media_bind, self.media_ports.clone());
            let Ok((rtp, rtcp)) = pair else {
                self.with_core(|core| core.handle_no_ports(count - done));
                return;
            };
            let id = PortId(self.ports.len() as u32);
            self.ports.push((rtp, rtcp));
            for (socket, channel) in [(rtp, Channel::Rtp), (rtcp, Channel::Rtcp)] {
                self.media.insert(socket, MediaSocket { port: id, channel });
            }
            let port = MediaPort {
                id,
                rtp: context.network().address(rtp),
                rtcp: context.network().address(rtcp),
            };
            self.with_core(|core| core.add_port(port));
        }
    }

    /// Takes a media packet to the worker that its leg is on.
    fn hear(&mut self, now: Instant, media: MediaSocket, source: SocketAddr, packet: Bytes) {
        let owner = self.owners.get(&media.port).copied().unwrap_or(WorkerId(0));
        let Some(worker) = self.workers.get_mut(usize::from(owner.0)) else {
            return;
        };
        // Copies only where the packet was duplicated on the way.
        let mut packet = BytesMut::from(packet);
        match media.channel {
            Channel::Rtp => worker.handle_rtp(now, media.port, source, &mut packet),
            Channel::Rtcp => worker.handle_rtcp(now, media.port, source, &mut packet),
        }
    }

    fn with_core(&mut self, act: impl FnOnce(&mut Core)) {
        if let Some(hub) = &mut self.hub {
            act(hub.core());
        }
    }

    /// The engine has stopped: everything closes, and the handles learn it.
    fn close(&mut self, context: &mut Context<'_>) {
        self.hub = None;
        let media = std::mem::take(&mut self.media).into_keys();
        for socket in self.listeners.drain(..).chain(media) {
            context.unbind(socket);
        }
        for stream in std::mem::take(&mut self.streams).into_values() {
            context.close(stream);
        }
        self.connections.clear();
    }
}

impl Node for EngineNode {
    fn handle_delivery(&mut self, context: &mut Context<'_>, delivery: Delivery) {
        let now = context.now();
        match delivery {
            Delivery::Datagram {
                socket,
                source,
                payload,
            } => {
                if let Some(media) = self.media.get(&socket).copied() {
                    self.hear(now, media, source, payload);
                    let told = self.serve_workers(context);
                    if !told {
                        return;
                    }
                } else if let Some(listener) = self.listener_of(socket) {
                    self.with_core(|core| core.handle_datagram(now, listener, source, &payload));
                }
            }
            Delivery::Accepted {
                listener,
                stream,
                remote,
            } => {
                let listener = self.listener_of(listener);
                let hub = self.hub.as_mut();
                let accepted = listener
                    .zip(hub)
                    .and_then(|(id, hub)| hub.core().handle_accepted(now, id, remote));
                match accepted {
                    Some(connection) => self.know(connection, stream),
                    None => context.close(stream),
                }
            }
            Delivery::Connected { stream } => {
                if let Some(connection) = self.connections.get(&stream).copied() {
                    self.with_core(|core| core.handle_connected(now, connection));
                }
            }
            Delivery::Data { stream, payload } => {
                if let Some(connection) = self.connections.get(&stream).copied() {
                    self.with_core(|core| core.handle_stream(now, connection, &payload));
                }
            }
            Delivery::Refused { stream } | Delivery::Closed { stream, .. } => {
                if let Some(connection) = self.connections.remove(&stream) {
                    self.streams.remove(&connection);
                    self.with_core(|core| core.handle_closed(now, connection));
                }
            }
        }
        self.run(context);
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        for worker in &mut self.workers {
            if worker
                .poll_timeout()
                .is_some_and(|at| at + self.late <= now)
            {
                worker.handle_timeout(now);
            }
        }
        self.storage.handle_timeout(now);
        if let Some(hub) = &mut self.hub
            && hub.poll_timeout().is_some_and(|at| at <= now)
        {
            hub.handle_timeout(now);
        }
        self.run(context);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let hub = self.hub.as_mut().and_then(Hub::poll_timeout);
        let workers = self.workers.iter().filter_map(Worker::poll_timeout);
        let workers = workers.map(|at| at + self.late);
        workers.chain(hub).chain(self.storage.poll_timeout()).min()
    }

    fn takes_requests(&self) -> bool {
        true
    }

    fn flush(&mut self, context: &mut Context<'_>) {
        let now = context.now();
        let Some(hub) = &mut self.hub else {
            return;
        };
        if !hub.handle_requests(now) {
            // Every handle is gone: the engine ends what is left.
            hub.stop(now);
        }
        self.run(context);
    }
}

/// The storage threads' work, on the virtual disk.
struct Storage {
    disk: Disk,
    scribe: Scribe<Disk>,
    segment: SegmentWriter<Disk>,
    next: Option<Instant>,
}

impl Storage {
    fn new(config: &Config) -> Self {
        let disk = Disk::default();
        let scribe = ScribeConfig {
            max_open: config.max_calls,
            // Each round: what tests look at is always playable.
            rounds_a_flush: 1,
            least_free: config.recording.least_free,
            journal: config.recording.journal.clone().map(|it| (it, 1)),
            errands: Errands {
                stamp: config
                    .recording
                    .stamping
                    .as_ref()
                    .map(|it| it.config.clone()),
                upload: config.recording.upload.as_ref().map(|it| it.config.clone()),
                expiry: config.recording.expiry.clone(),
            },
        };
        Self {
            scribe: Scribe::new(scribe, disk.clone()),
            segment: SegmentWriter::new(disk.clone()),
            disk,
            next: None,
        }
    }

    fn handle_command(&mut self, now: Instant, command: StorageCommand) {
        self.scribe.handle_command(command);
        self.next.get_or_insert(now + STORAGE_TICK);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        if !self.disk.is_stalled() {
            self.scribe.round(now);
            while let Some(job) = self.scribe.poll_job() {
                let done = job.run(&self.disk, &mut self.segment);
                self.scribe.handle_done(now, done);
            }
        }
        self.next = (!self.scribe.is_idle()).then(|| now + STORAGE_TICK);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn take_events(&mut self) -> Vec<StorageEvent> {
        std::iter::from_fn(|| self.scribe.poll_event()).collect()
    }
}
