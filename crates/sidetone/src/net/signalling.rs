//! The signalling thread: SIP sockets and the handles around the engine's core.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use sidetone_udp::unreachable::{self, Unreachable};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use crate::engine::io::Output;
use crate::face::hub::{DriverReport, Hub, Request};
use crate::id::{ConnectionId, ListenerId, WorkerId};
use crate::media::command::{Command, Event, RejectReason};
use crate::media::recorder::storage::{StorageCommand, StorageError, StorageEvent};
use crate::net::channel::{Peer, Terms};
use crate::net::clock::Clock;
use crate::net::dns::Dns;
use crate::net::input::{Arrived, Gone, Input, Inputs};
use crate::net::media::MediaThreads;
use crate::net::outbox::Outbox;
use crate::net::storage::StorageThread;
use crate::net::stream;
use crate::sip::agent::event::{DriverRequest, LookupId, Transmit};
use crate::sip::transport::Path;
use crate::sip::transport::resolve::Question;
use crate::time::{Duration, Instant};

/// Inputs that may wait for the core; beyond that sockets are read no further and the kernel's
/// buffers decide.
const INPUT_BACKLOG: usize = 1_024;

/// The largest SIP datagram that is read.
const DATAGRAM: usize = 65_535;

/// Inputs handled before outputs are looked at again.
const BURST: usize = 64;

/// How soon a media thread whose queue was full is tried again.
const MEDIA_RETRY: Duration = Duration::from_millis(5);

/// How long the thread rests after a panic, lest a deadline that panics takes all its time.
const FAULT_REST: Duration = Duration::from_millis(10);

/// How long a stopping engine waits for connections to write what is queued for them.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// How long a listener rests after an error that is its own.
const RECEIVE_REST: Duration = Duration::from_millis(1);

/// A bound SIP listener.
pub(super) enum BoundListener {
    Datagrams(UdpSocket),
    Streams(tokio::net::TcpListener, Terms),
}

/// Everything that the signalling thread owns.
pub(super) struct Driver {
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    pub(super) media: MediaThreads,
    pub(super) media_ip: IpAddr,
    pub(super) storage: StorageThread,
    /// Rung by media and storage when they have something to tell.
    pub(super) bell: Arc<Notify>,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) dns: Dns,
}

/// What the running driver keeps beside the core.
struct Running {
    hub: Hub,
    clock: Clock,
    media: MediaThreads,
    media_ip: IpAddr,
    storage: StorageThread,
    bell: Arc<Notify>,
    sockets: BTreeMap<ListenerId, Arc<UdpSocket>>,
    /// How connections at each listener are made.
    terms: BTreeMap<ListenerId, Arc<Terms>>,
    dns: Dns,
    connections: BTreeMap<ConnectionId, stream::Writer>,
    inputs: Inputs,
    local: Vec<SocketAddr>,
    outbox: Outbox,
    faults: u64,
    /// No deadline is looked at before this moment.
    rest_until: Instant,
}

impl Driver {
    /// Runs until the engine has stopped.
    pub(super) async fn run(self) {
        let (inputs, mut arrived) = Inputs::new(INPUT_BACKLOG, self.clock);
        let mut running = Running {
            hub: self.hub,
            clock: self.clock,
            media: self.media,
            media_ip: self.media_ip,
            storage: self.storage,
            bell: self.bell,
            sockets: BTreeMap::new(),
            terms: BTreeMap::new(),
            dns: self.dns,
            connections: BTreeMap::new(),
            inputs,
            local: Vec::new(),
            outbox: Outbox::default(),
            faults: 0,
            rest_until: Instant::ZERO,
        };
        for (index, listener) in (0..).zip(self.listeners) {
            running.listen(ListenerId(index), listener);
        }
        running.run(&mut arrived).await;
        running.close_connections(&mut arrived).await;
        // The handles learn that it is over when the hub is dropped, after the threads have ended.
        let Running {
            hub,
            media,
            storage,
            ..
        } = running;
        media.stop();
        storage.stop();
        drop(hub);
    }
}

/// What woke the driver.
enum Wake {
    Input(Arrived),
    Request(Option<Request>),
    Bell,
    Deadline,
}

impl Running {
    async fn run(&mut self, arrived: &mut mpsc::Receiver<Arrived>) {
        let bell = Arc::clone(&self.bell);
        let mut attended = true;
        loop {
            let now = self.clock.now();
            self.guard(now, |this| this.flush(now));
            if self.hub.is_finished() {
                return;
            }
            let deadline = self.deadline(now);
            let wake = tokio::select! {
                // The driver holds a sender itself, so this never ends.
                Some(input) = arrived.recv() => Wake::Input(input),
                request = self.hub.next_request(), if attended => Wake::Request(request),
                () = bell.notified() => Wake::Bell,
                () = sleep_until(&self.clock, deadline) => Wake::Deadline,
            };
            let now = self.clock.now();
            match wake {
                Wake::Input(input) => self.take_inputs(now, input, arrived),
                Wake::Request(Some(request)) => {
                    let report = self.driver_report();
                    self.hub.set_driver_report(report);
                    self.guard(now, |this| this.hub.handle_request(now, request));
                }
                // Every handle is gone: the engine ends what is left.
                Wake::Request(None) => {
                    attended = false;
                    self.guard(now, |this| this.hub.stop(now));
                }
                Wake::Bell => self.take_reports(now),
                Wake::Deadline => {}
            }
            if now >= self.rest_until {
                self.guard(now, |this| this.hub.handle_timeout(now));
            }
        }
    }

    /// Lets connections write what is queued for them, and close.
    async fn close_connections(&mut self, arrived: &mut mpsc::Receiver<Arrived>) {
        let mut open = std::mem::take(&mut self.connections).len();
        let closed = async {
            while open > 0 {
                if let Some(Input::Closed { .. }) =
                    arrived.recv().await.map(|arrived| arrived.input)
                {
                    open -= 1;
                }
            }
        };
        // One that cannot be written to is not waited for.
        let _late = tokio::time::timeout(LAST_WRITES, closed).await;
    }

    /// When the thread must wake up by itself.
    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let retry = (!self.outbox.is_empty()).then(|| now + MEDIA_RETRY);
        let due = self.hub.poll_timeout().map(|at| at.max(self.rest_until));
        [retry, due].into_iter().flatten().min()
    }

    /// Does a piece of work. A panic in it would be a defect of ours: it costs this piece, not the
    /// engine, and is counted.
    fn guard(&mut self, now: Instant, work: impl FnOnce(&mut Self)) {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        if done.is_err() {
            self.faults += 1;
            self.rest_until = now + FAULT_REST;
        }
    }

    /// Takes one input, and as many as wait behind it up to a bound.
    fn take_inputs(&mut self, now: Instant, first: Arrived, arrived: &mut mpsc::Receiver<Arrived>) {
        self.take_input(now, first);
        for _ in 1..BURST {
            let Ok(input) = arrived.try_recv() else {
                return;
            };
            self.take_input(now, input);
        }
    }

    fn listen(&mut self, id: ListenerId, listener: BoundListener) {
        match listener {
            BoundListener::Datagrams(socket) => {
                let socket = Arc::new(socket);
                self.local.extend(socket.local_addr());
                self.sockets.insert(id, Arc::clone(&socket));
                tokio::spawn(receive(id, socket, self.inputs.clone()));
            }
            BoundListener::Streams(listener, terms) => {
                self.local.extend(listener.local_addr());
                self.terms.insert(id, Arc::new(terms));
                tokio::spawn(stream::accept(id, listener, self.inputs.clone()));
            }
        }
    }

    fn take_input(&mut self, now: Instant, arrived: Arrived) {
        self.hub.core().handle_wait(now, now - arrived.at);
        self.guard(now, |this| this.hand_over(now, arrived.input));
    }

    fn hand_over(&mut self, now: Instant, input: Input) {
        let core = self.hub.core();
        match input {
            Input::Datagram {
                listener,
                source,
                bytes,
            } => {
                core.handle_datagram(now, listener, source, &bytes);
            }
            Input::Unreachable {
                listener,
                destination,
                quoted,
            } => core.handle_unreachable(now, listener, destination, &quoted),
            Input::Accepted {
                listener,
                remote,
                stream,
            } => {
                if let Some(terms) = self.terms.get(&listener)
                    && let Some(connection) = core.handle_accepted(now, listener, remote)
                {
                    let terms = Arc::clone(terms);
                    let writer = stream::run(connection, stream, terms, self.inputs.clone());
                    self.connections.insert(connection, writer);
                }
            }
            Input::Identified {
                connection,
                domains,
            } => core.handle_identified(connection, domains),
            Input::Connected { connection } => core.handle_connected(now, connection),
            Input::Stream { connection, bytes } => core.handle_stream(now, connection, &bytes),
            Input::Closed { connection } => {
                if self.connections.remove(&connection).is_some() {
                    core.handle_closed(now, connection);
                }
            }
            Input::Records {
                lookup,
                question,
                records,
            } => core.handle_records(now, lookup, &question, &records),
        }
    }

    fn driver_report(&self) -> DriverReport {
        let mut report = DriverReport {
            faults: self.faults,
            ..DriverReport::default()
        };
        for stats in self
            .media
            .workers()
            .filter_map(|worker| self.media.stats(worker))
        {
            report.ticks += stats.ticks;
            report.late_ticks += stats.late_ticks;
            report.skipped_ticks += stats.skipped_ticks;
            report.passed_packets += stats.passed_packets;
            report.shared_packets += stats.shared_packets;
            report.frames_left_out += stats.frames_left_out;
            report.lateness = report.lateness.and(&stats.lateness);
            report.worst_tick_delay = report.worst_tick_delay.max(stats.worst_delay);
        }
        report
    }

    fn take_reports(&mut self, now: Instant) {
        let ticks = self.driver_report();
        let core = self.hub.core();
        core.handle_ticks(now, ticks.ticks, ticks.late_ticks);
        for worker in self.media.workers() {
            while let Some(event) = self.media.poll_event(worker) {
                self.guard(now, |this| {
                    this.hub.core().handle_media(now, worker, event);
                });
            }
        }
        while let Some(event) = self.storage.poll_event() {
            self.guard(now, |this| this.hub.core().handle_storage(now, event));
        }
    }

    fn flush(&mut self, now: Instant) {
        for (worker, command) in self.outbox.retry(&mut self.media) {
            self.refuse(now, worker, command);
        }
        while let Some(output) = self.hub.poll_output(now) {
            match output {
                Output::Signal(transmit) => self.send(now, transmit),
                Output::Driver(request) => self.serve(request),
                Output::Media(worker, command) => {
                    if let Err(command) = self.outbox.send(&mut self.media, worker, command) {
                        self.refuse(now, worker, command);
                    }
                }
                Output::Storage(command) => {
                    // A recording that lacks one of its parties is none either.
                    if let Err(
                        StorageCommand::Open { recording, .. }
                        | StorageCommand::Join { recording, .. },
                    ) = self.storage.send(command)
                    {
                        let failed = StorageEvent::Failed {
                            recording,
                            error: StorageError::Full,
                        };
                        self.hub.core().handle_storage(now, failed);
                    }
                }
                Output::NeedPorts(count) => self.open_ports(count),
            }
        }
    }

    /// As if the worker had refused: the core ends what depends on it.
    fn refuse(&mut self, now: Instant, worker: WorkerId, command: Command) {
        let reason = RejectReason::Full;
        let event = Event::Rejected { reason, command };
        self.hub.core().handle_media(now, worker, event);
    }

    fn open_ports(&mut self, count: usize) {
        for opened in 0..count {
            match self.media.ports().bind(self.media_ip) {
                Ok(port) => self.hub.core().add_port(port),
                // Out of ports or descriptors: the core asks again when it needs them.
                Err(_) => {
                    self.hub.core().handle_no_ports(count - opened);
                    return;
                }
            }
        }
    }

    fn send(&mut self, now: Instant, transmit: Transmit) {
        let sent = match transmit.path {
            Path::Datagram {
                listener,
                destination,
            } => match self.sockets.get(&listener) {
                Some(socket) => send_datagram(socket, &transmit.bytes, destination),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            Path::Stream { connection } => match self.connections.get(&connection) {
                Some(writer) => writer.send(transmit.bytes),
                None => Err(io::ErrorKind::NotConnected.into()),
            },
        };
        match sent {
            Ok(()) => {}
            // The kernel's buffer is full: as good as lost on the way, and sent again by its timer.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.hub.core().handle_send_failed(now, transmit.token),
        }
    }

    fn serve(&mut self, request: DriverRequest) {
        match request {
            DriverRequest::Connect {
                connection,
                destination,
                name,
                listener,
            } => {
                let Some(terms) = self.terms.get(&listener) else {
                    return;
                };
                let peer = Peer {
                    address: destination.address,
                    name,
                    from: self.local.get(usize::from(listener.0)).map(SocketAddr::ip),
                };
                let terms = Arc::clone(terms);
                let writer = stream::connect(connection, peer, terms, self.inputs.clone());
                self.connections.insert(connection, writer);
            }
            DriverRequest::Close { connection } => {
                // Dropping the writer closes the connection after what is queued has gone out.
                self.connections.remove(&connection);
            }
            DriverRequest::Query { lookup, question } => {
                tokio::spawn(ask(self.dns.clone(), lookup, question, self.inputs.clone()));
            }
            // The hub asks the store of credentials by itself.
            DriverRequest::Credentials { .. } => {}
        }
    }
}

/// Sends a datagram. The socket may still have to tell of an earlier one that was not delivered; then
/// nothing was sent, and the second try says how this one fares.
fn send_datagram(socket: &UdpSocket, bytes: &[u8], destination: SocketAddr) -> io::Result<()> {
    match socket.try_send_to(bytes, destination) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            socket.try_send_to(bytes, destination).map(drop)
        }
        sent => sent.map(drop),
    }
}

/// Reads a UDP listener until the driver is gone.
async fn receive(listener: ListenerId, socket: Arc<UdpSocket>, inputs: Inputs) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else {
            tokio::time::sleep(RECEIVE_REST).await;
            continue;
        };
        if ready.is_error() && tell_unreachable(listener, &socket, &inputs).await.is_err() {
            return;
        }
        // Other errors here are those of earlier datagrams; they end nothing.
        let Ok((len, source)) = socket.try_recv_from(&mut buffer) else {
            continue;
        };
        let bytes = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
        let input = Input::Datagram {
            listener,
            source,
            bytes,
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

/// Tells the core of the datagrams that were not delivered, as many as are told in one go.
async fn tell_unreachable(
    listener: ListenerId,
    socket: &UdpSocket,
    inputs: &Inputs,
) -> Result<(), Gone> {
    for _ in 0..BURST {
        let told = socket.try_io(Interest::ERROR, || {
            // Whatever goes wrong, there is nothing more to read now.
            unreachable::take(socket).map_err(|_| io::ErrorKind::WouldBlock.into())
        });
        let Ok(Unreachable { destination, bytes }) = told else {
            return Ok(());
        };
        let input = Input::Unreachable {
            listener,
            destination,
            quoted: bytes,
        };
        inputs.send(input).await?;
    }
    Ok(())
}

/// Asks the DNS.
async fn ask(dns: Dns, lookup: LookupId, question: Question, inputs: Inputs) {
    let records = dns.ask(&question).await;
    let answer = Input::Records {
        lookup,
        question,
        records,
    };
    // Where the driver has gone, nobody waits for the answer.
    let _gone = inputs.send(answer).await;
}

/// Sleeps until `deadline` on the engine's clock, or for ever where there is none.
async fn sleep_until(clock: &Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline - clock.now()).await,
        None => std::future::pending().await,
    }
}
