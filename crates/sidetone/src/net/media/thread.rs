//! What a media thread does: commands in, ticks, datagrams in and out, events out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use sidetone_udp::batch::{ReceiveBatch, SendBatch};
use sidetone_udp::poll::{Poller, READY};
use sidetone_udp::socket::Socket;
use tokio::sync::Notify;

use crate::id::PortId;
use crate::media::command::{Command, Event};
use crate::media::leg::Leg;
use crate::media::leg::config::Channel;
use crate::media::worker::lateness::Lateness;
use crate::media::worker::table::IdMap;
use crate::media::worker::{Worker, WorkerConfig};
use crate::net::clock::Clock;
use crate::net::media::ThreadStats;
use crate::net::media::ports::PortPair;
use crate::time::Duration;

/// Bytes of the largest datagram taken: one Ethernet frame.
const MAX_DATAGRAM: usize = 1_500;

/// After so many datagrams what is passed on is sent: receiving and sending by turns would have each turn
/// the other's code out of the caches, and wake whoever waits for the packets once for each of them.
const TOGETHER: usize = 48;

/// How soon a thread looks again whether signalling has taken the events that wait.
const EVENT_RETRY: Duration = Duration::from_millis(5);

/// Signalling to a thread.
#[derive(Debug)]
pub(super) enum Order {
    Command(Command),
    Attach(Box<Leg>, Arc<PortPair>),
}

impl Order {
    pub(super) fn into_command(self) -> Command {
        match self {
            Self::Command(command) => command,
            Self::Attach(leg, _) => Command::AddLeg(leg),
        }
    }
}

/// A thread to signalling: an event, and the sockets that it has let go of.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) event: Event,
    /// Dropped by signalling, so that no socket is ever closed by a media thread.
    _released: Option<Arc<PortPair>>,
}

/// Sockets in use. They are watched as long as the worker holds a leg with this port.
#[derive(Debug)]
struct Line {
    port: PortId,
    pair: Arc<PortPair>,
}

impl Line {
    fn socket(&self, channel: Channel) -> &Socket {
        match channel {
            Channel::Rtp => &self.pair.rtp,
            Channel::Rtcp => &self.pair.rtcp,
        }
    }
}

#[derive(Debug)]
pub(super) struct Thread {
    worker: Worker,
    poller: Poller,
    inbox: rtrb::Consumer<Order>,
    outbox: rtrb::Producer<Notice>,
    clock: Clock,
    /// Told to signalling: whether the thread sleeps until it is woken.
    rests: Arc<AtomicBool>,
    counters: Arc<Counters>,
    notify: Arc<Notify>,
    lines: Vec<Option<Line>>,
    free: Vec<usize>,
    by_port: IdMap,
    receive: ReceiveBatch,
    send: SendBatch,
    /// Signalling had no room for all events.
    held_back: bool,
}

impl Thread {
    pub(super) fn new(
        config: WorkerConfig,
        poller: Poller,
        inbox: rtrb::Consumer<Order>,
        outbox: rtrb::Producer<Notice>,
        clock: Clock,
        (rests, counters): (Arc<AtomicBool>, Arc<Counters>),
        notify: Arc<Notify>,
    ) -> Self {
        let legs = config.max_legs;
        Self {
            worker: Worker::new(config),
            poller,
            inbox,
            outbox,
            clock,
            rests,
            counters,
            notify,
            lines: (0..legs).map(|_| None).collect(),
            free: (0..legs).rev().collect(),
            by_port: IdMap::with_capacity(legs),
            receive: ReceiveBatch::new(MAX_DATAGRAM),
            send: SendBatch::new(MAX_DATAGRAM),
            held_back: false,
        }
    }

    /// Runs until told to stop, and once more after that, so that what was ordered before is done.
    pub(super) fn run(mut self, gather: Duration, stopping: &AtomicBool) {
        loop {
            let last = stopping.load(Ordering::Acquire);
            self.take_orders();
            self.worker.handle_timeout(self.clock.now());
            self.transmit();
            self.tell();
            self.counters.publish(&self.worker);
            if last {
                return;
            }
            if self.wait(gather).is_err() {
                self.counters.add(&self.counters.errors, 1);
            }
            self.take_datagrams();
        }
    }

    fn take_orders(&mut self) {
        while self.worker.accepts_commands() {
            let Ok(order) = self.inbox.pop() else {
                return;
            };
            let command = match order {
                Order::Command(command) => command,
                Order::Attach(leg, pair) => {
                    self.attach(leg.port(), pair);
                    Command::AddLeg(leg)
                }
            };
            self.worker.handle_command(self.clock.now(), command);
        }
    }

    /// Watches the sockets of a leg that is about to be added.
    fn attach(&mut self, port: PortId, pair: Arc<PortPair>) {
        if self.by_port.find(u64::from(port.0)).is_some() {
            return;
        }
        let Some(index) = self.free.pop() else {
            return;
        };
        let line = Line { port, pair };
        for channel in [Channel::Rtp, Channel::Rtcp] {
            let watched = self.poller.add(line.socket(channel), token(index, channel));
            if watched.is_err() {
                self.counters.add(&self.counters.errors, 1);
            }
        }
        // Cannot fail: the port is not there, and there are as many places as lines.
        let _ = self.by_port.insert(u64::from(port.0), index);
        self.lines[index] = Some(line);
    }

    /// Gives up the sockets of `port`, unless a leg has them.
    fn detach(&mut self, port: PortId) -> Option<Arc<PortPair>> {
        if self.worker.holds_port(port) {
            return None;
        }
        let index = self.by_port.remove(u64::from(port.0))?;
        let line = self.lines[index].take()?;
        self.free.push(index);
        for channel in [Channel::Rtp, Channel::Rtcp] {
            let socket = line.socket(channel);
            if self.poller.remove(socket, token(index, channel)).is_err() {
                self.counters.add(&self.counters.errors, 1);
            }
        }
        Some(line.pair)
    }

    /// Sends all that the worker has to send; packets of one socket that follow each other go in one
    /// system call.
    fn transmit(&mut self) {
        let mut from = None;
        while let Some(transmit) = self.worker.poll_transmit() {
            let Some(index) = self.by_port.find(u64::from(transmit.port.0)) else {
                continue;
            };
            let own = (index, transmit.channel);
            if from != Some(own) || self.send.is_full() {
                flush(&mut self.send, &self.lines, from, &self.counters);
                from = Some(own);
            }
            self.send.push(transmit.destination, transmit.bytes);
        }
        flush(&mut self.send, &self.lines, from, &self.counters);
    }

    /// Hands events to signalling as long as it has room for them.
    fn tell(&mut self) {
        let mut told = false;
        self.held_back = true;
        while !self.outbox.is_full() {
            let Some(event) = self.worker.poll_event() else {
                self.held_back = false;
                break;
            };
            let released = match &event {
                Event::LegRemoved(leg)
                | Event::Rejected {
                    command: Command::AddLeg(leg),
                    ..
                } => self.detach(leg.port()),
                _ => None,
            };
            let notice = Notice {
                event,
                _released: released,
            };
            // There is room: it was asked above, and only this thread fills the queue.
            told |= self.outbox.push(notice).is_ok();
        }
        if told {
            self.notify.notify_one();
        }
    }

    /// Sleeps until there is something to do. After datagrams have come, lets others gather.
    fn wait(&mut self, gather: Duration) -> io::Result<()> {
        let received = self.poller.ready().len();
        if received > 0 && received < READY {
            let patience = self.patience().unwrap_or(gather);
            self.poller.pause(patience.min(gather))?;
            // Whatever ended the pause is to be seen to at once.
            return self.poller.wait(Some(Duration::ZERO));
        }
        let ticks = self.worker.poll_timeout().is_some();
        self.rests.store(!ticks, Ordering::Relaxed);
        // Either what was ordered meanwhile is seen now, or signalling sees that this rests.
        fence(Ordering::SeqCst);
        let waited = self.poller.wait(self.patience());
        self.rests.store(false, Ordering::Relaxed);
        waited
    }

    /// How long the thread may sleep.
    fn patience(&self) -> Option<Duration> {
        if !self.inbox.is_empty() && self.worker.accepts_commands() {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        let tick = self.worker.poll_timeout();
        let tick = tick.map(|at| at.saturating_duration_since(now));
        if self.held_back {
            return Some(tick.unwrap_or(EVENT_RETRY).min(EVENT_RETRY));
        }
        tick
    }

    fn take_datagrams(&mut self) {
        let mut taken = 0;
        for place in 0..self.poller.ready().len() {
            self.expect(place);
            let (index, channel) = line_of(self.poller.ready()[place]);
            taken += self.take_from(index, channel);
            // Others have their turn before what is left is taken.
            if self.receive.may_have_left() {
                self.watch_again(index, channel);
            }
            if taken >= TOGETHER {
                taken = 0;
                self.transmit();
            }
        }
        if taken > 0 {
            self.transmit();
        }
    }

    /// Has a socket reported again from which not everything was taken.
    fn watch_again(&mut self, index: usize, channel: Channel) {
        let Some(line) = self.lines.get(index).and_then(Option::as_ref) else {
            return;
        };
        let token = token(index, channel);
        if self.poller.again(line.socket(channel), token).is_err() {
            self.counters.add(&self.counters.errors, 1);
        }
    }

    /// While one socket is read, the memory for the next ones comes.
    fn expect(&self, place: usize) {
        let port = |place: usize| {
            let (index, _) = line_of(*self.poller.ready().get(place)?);
            Some(self.lines.get(index)?.as_ref()?.port)
        };
        if let Some(port) = port(place + 2) {
            self.worker.expect(port);
        }
        if let Some(port) = port(place + 1) {
            self.worker.expect_at_once(port);
        }
    }

    /// Takes what has come to a socket, and says how many datagrams that were.
    fn take_from(&mut self, index: usize, channel: Channel) -> usize {
        let Some(line) = self.lines.get(index).and_then(Option::as_ref) else {
            return 0;
        };
        let Ok(count) = self.receive.receive(line.socket(channel)) else {
            self.counters.add(&self.counters.errors, 1);
            return 0;
        };
        self.counters.add(&self.counters.received, count as u64);
        let now = self.clock.now();
        for datagram in self.receive.datagrams() {
            if datagram.truncated {
                self.counters.add(&self.counters.truncated, 1);
                continue;
            }
            let (at, port) = (now - datagram.waited, line.port);
            let (source, bytes) = (datagram.source, datagram.bytes);
            match channel {
                Channel::Rtp => self.worker.handle_rtp(at, port, source, bytes),
                Channel::Rtcp => self.worker.handle_rtcp(at, port, source, bytes),
            }
        }
        count
    }
}

/// Sends what waits, from the socket that it waits for.
fn flush(
    batch: &mut SendBatch,
    lines: &[Option<Line>],
    from: Option<(usize, Channel)>,
    counters: &Counters,
) {
    let line = from.and_then(|(index, channel)| Some((lines.get(index)?.as_ref()?, channel)));
    if let Some((line, channel)) = line {
        let result = batch.send(line.socket(channel));
        counters.add(&counters.sent, result.sent as u64);
        counters.add(&counters.refused, result.refused as u64);
    }
}

/// The poller's token of a socket.
fn token(index: usize, channel: Channel) -> u64 {
    index as u64 * 2 + u64::from(channel == Channel::Rtcp)
}

fn line_of(token: u64) -> (usize, Channel) {
    let channel = match token % 2 {
        0 => Channel::Rtp,
        _ => Channel::Rtcp,
    };
    ((token / 2) as usize, channel)
}

/// A thread's counters, written by it and read by signalling.
#[derive(Debug, Default)]
pub(super) struct Counters {
    ticks: AtomicU64,
    late_ticks: AtomicU64,
    skipped_ticks: AtomicU64,
    worst_delay_nanos: AtomicU64,
    lateness: [AtomicU64; Lateness::STEPS],
    legs: AtomicU64,
    passed_packets: AtomicU64,
    shared_packets: AtomicU64,
    frames_left_out: AtomicU64,
    dropped_events: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
    truncated: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    /// Adds to a counter that only the calling thread writes.
    fn add(&self, counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    fn publish(&self, worker: &Worker) {
        let stats = worker.stats();
        let delay = stats.worst_delay.as_nanos() as u64;
        self.ticks.store(stats.ticks, Ordering::Relaxed);
        self.late_ticks.store(stats.late_ticks, Ordering::Relaxed);
        self.skipped_ticks
            .store(stats.skipped_ticks, Ordering::Relaxed);
        self.worst_delay_nanos.store(delay, Ordering::Relaxed);
        for (shared, count) in self.lateness.iter().zip(stats.lateness.counts()) {
            shared.store(*count, Ordering::Relaxed);
        }
        self.legs.store(stats.legs as u64, Ordering::Relaxed);
        self.passed_packets
            .store(stats.passed_packets, Ordering::Relaxed);
        self.shared_packets
            .store(stats.shared_packets, Ordering::Relaxed);
        self.frames_left_out
            .store(stats.frames_left_out, Ordering::Relaxed);
        self.dropped_events
            .store(stats.dropped_events, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ThreadStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ThreadStats {
            ticks: read(&self.ticks),
            late_ticks: read(&self.late_ticks),
            skipped_ticks: read(&self.skipped_ticks),
            worst_delay: Duration::from_nanos(read(&self.worst_delay_nanos)),
            lateness: Lateness::from_counts(self.lateness.each_ref().map(read)),
            legs: read(&self.legs),
            received: read(&self.received),
            sent: read(&self.sent),
            refused: read(&self.refused),
            truncated: read(&self.truncated),
            errors: read(&self.errors),
            passed_packets: read(&self.passed_packets),
            shared_packets: read(&self.shared_packets),
            frames_left_out: read(&self.frames_left_out),
            dropped_events: read(&self.dropped_events),
        }
    }
}
