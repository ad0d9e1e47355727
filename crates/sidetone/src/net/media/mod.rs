//! Media threads: each drives one media worker with real sockets and the real clock.

pub mod ports;
mod thread;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use sidetone_udp::affinity;
use sidetone_udp::poll::{Poller, Waker};
use thiserror::Error;
use tokio::sync::Notify;

use crate::id::WorkerId;
use crate::media::command::{Command, Event};
use crate::media::worker::WorkerConfig;
use crate::media::worker::lateness::Lateness;
use crate::net::clock::Clock;
use crate::time::Duration;

use ports::PortPool;
use thread::{Counters, Notice, Order, Thread};

/// How media threads are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaConfig {
    /// Threads, each with one worker; at least 1. Default 1; more than cores gain nothing.
    pub threads: u16,
    /// Capacities of each worker.
    pub worker: WorkerConfig,
    /// Commands that wait for each thread at most. Default 1,024.
    pub commands: usize,
    /// Events that wait for signalling at most, besides those that the worker itself holds back.
    /// Default 1,024.
    pub events: usize,
    /// How long a thread that has received lets datagrams gather before it looks again, so that many
    /// are taken at one waking. What is decoded waits for its tick anyway, and the kernel says when each
    /// datagram came; what is passed on waits so much longer at most. Default 0.2 ms; zero looks at
    /// once.
    pub gather: Duration,
    /// Pins thread n to this core plus n. Default none: the system chooses.
    pub first_core: Option<usize>,
    /// Runs the threads before all without such a priority, 1 to 99. Default none. Where the process
    /// may not, they do not start.
    pub priority: Option<u8>,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            worker: WorkerConfig::default(),
            commands: 1_024,
            events: 1_024,
            gather: Duration::from_micros(200),
            first_core: None,
            priority: None,
        }
    }
}

/// Why a command did not reach its worker; it comes back whole.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The thread has fallen behind: try again when it has told an event, or give up.
    #[error("the media thread's queue is full")]
    QueueFull(Command),
    /// No thread has this number.
    #[error("there is no such media worker")]
    UnknownWorker(Command),
    /// The leg's port was not bound here.
    #[error("the leg's port is not bound")]
    UnknownPort(Command),
}

/// Counters of a media thread since its start, as of its last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadStats {
    /// Ticks run.
    pub ticks: u64,
    /// Ticks that ran late.
    pub late_ticks: u64,
    /// Ticks that never ran.
    pub skipped_ticks: u64,
    /// The largest delay of a tick.
    pub worst_delay: Duration,
    /// How late the ticks ran.
    pub lateness: Lateness,
    /// Legs held now.
    pub legs: u64,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the system refused to send.
    pub refused: u64,
    /// Datagrams dropped because they were longer than any RTP packet that is negotiated.
    pub truncated: u64,
    /// Errors of receiving or waiting.
    pub errors: u64,
    /// Packets passed on from one leg to another as they came.
    pub passed_packets: u64,
    /// Packets whose payload was encoded for several legs at once.
    pub shared_packets: u64,
    /// Frames of parties that were not among the loudest of a large room, and not mixed.
    pub frames_left_out: u64,
    /// Events dropped because signalling did not keep up.
    pub dropped_events: u64,
}

/// The media threads of an engine and the sockets that they work on.
///
/// Lives in the signalling thread. Commands go in and events come out through bounded lock-free
/// queues; a thread that has told something notifies. Dropping it stops the threads, as
/// [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct MediaThreads {
    threads: Vec<Desk>,
    ports: PortPool,
    stopping: Arc<AtomicBool>,
}

/// Signalling's side of one thread.
#[derive(Debug)]
struct Desk {
    orders: rtrb::Producer<Order>,
    notices: rtrb::Consumer<Notice>,
    waker: Waker,
    /// Whether the thread sleeps until it is woken: it has no tick to wake for.
    rests: Arc<AtomicBool>,
    counters: Arc<Counters>,
    handle: Option<JoinHandle<()>>,
}

impl Desk {
    /// Has the thread look at what was ordered: now where it rests or much waits, otherwise at its next
    /// tick, since waking a thread costs more than most orders.
    fn wake(&self) {
        // Either the thread sees the order before it rests, or this sees that it does.
        fence(Ordering::SeqCst);
        let most = self.orders.buffer().capacity();
        if self.rests.load(Ordering::Relaxed) || self.orders.slots() < most / 2 {
            self.waker.wake();
        }
    }
}

impl MediaThreads {
    /// Starts the threads, named `sidetone-rtp-0` and so on, on `clock`. Each notifies `notify`
    /// when it has queued events.
    ///
    /// # Errors
    /// The system's error: no thread or descriptor is left, or a core cannot be pinned to. What had
    /// been started is stopped.
    pub fn start(
        config: &MediaConfig,
        clock: Clock,
        ports: PortPool,
        notify: &Arc<Notify>,
    ) -> io::Result<Self> {
        let mut media = Self {
            threads: Vec::new(),
            ports,
            stopping: Arc::default(),
        };
        for number in 0..config.threads.max(1) {
            let desk = start_thread(config, number, clock, &media.stopping, notify)?;
            media.threads.push(desk);
        }
        Ok(media)
    }

    /// The workers, numbered from zero.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.threads.len() as u16).map(WorkerId)
    }

    /// The sockets.
    pub fn ports(&mut self) -> &mut PortPool {
        &mut self.ports
    }

    /// Hands a command to a worker. With a leg go the sockets of its port.
    ///
    /// # Errors
    /// [`SendError`], with the command.
    pub fn send(&mut self, worker: WorkerId, command: Command) -> Result<(), SendError> {
        let Some(desk) = self.threads.get_mut(usize::from(worker.0)) else {
            return Err(SendError::UnknownWorker(command));
        };
        if desk.orders.is_full() {
            return Err(SendError::QueueFull(command));
        }
        let order = match command {
            Command::AddLeg(leg) => match self.ports.claim(leg.port(), leg.id()) {
                Some(pair) => Order::Attach(leg, pair),
                None => return Err(SendError::UnknownPort(Command::AddLeg(leg))),
            },
            command => Order::Command(command),
        };
        if let Err(rtrb::PushError::Full(order)) = desk.orders.push(order) {
            return Err(SendError::QueueFull(order.into_command()));
        }
        desk.wake();
        Ok(())
    }

    /// The next event of a worker.
    pub fn poll_event(&mut self, worker: WorkerId) -> Option<Event> {
        let desk = self.threads.get_mut(usize::from(worker.0))?;
        desk.notices.pop().ok().map(|notice| notice.event)
    }

    /// Counters of a worker's thread; `None` where there is no such worker.
    pub fn stats(&self, worker: WorkerId) -> Option<ThreadStats> {
        let desk = self.threads.get(usize::from(worker.0))?;
        Some(desk.counters.read())
    }

    /// Stops all threads, after the commands sent so far, and waits for them. Legs that are left end
    /// without a goodbye.
    pub fn stop(mut self) {
        self.stop_threads();
    }

    fn stop_threads(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for desk in &self.threads {
            desk.waker.wake();
        }
        for desk in &mut self.threads {
            if let Some(handle) = desk.handle.take() {
                // A thread that panicked has said so; there is nothing more to do about it here.
                let _ = handle.join();
            }
        }
    }
}

impl Drop for MediaThreads {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

fn start_thread(
    config: &MediaConfig,
    number: u16,
    clock: Clock,
    stopping: &Arc<AtomicBool>,
    notify: &Arc<Notify>,
) -> io::Result<Desk> {
    let (orders, inbox) = rtrb::RingBuffer::new(config.commands.max(1));
    let (outbox, notices) = rtrb::RingBuffer::new(config.events.max(1));
    let poller = Poller::new()?;
    let waker = poller.waker();
    let counters = Arc::<Counters>::default();
    let rests = Arc::<AtomicBool>::default();
    let core = config.first_core.map(|first| first + usize::from(number));
    let (ready, started) = mpsc::sync_channel(1);
    let (worker, gather) = (config.worker.clone(), config.gather);
    let (stopping, notify) = (stopping.clone(), notify.clone());
    let shared = (rests.clone(), counters.clone());
    let priority = config.priority;
    let run = move || {
        let pinned = core.map_or(Ok(()), affinity::pin_current_thread);
        let pinned =
            pinned.and_then(|()| priority.map_or(Ok(()), affinity::prioritise_current_thread));
        let go_on = pinned.is_ok();
        // Whoever started the thread is waiting for this.
        let _ = ready.send(pinned);
        if go_on {
            let thread = Thread::new(worker, poller, inbox, outbox, clock, shared, notify);
            thread.run(gather, &stopping);
        }
    };
    // Systems show 15 characters at most.
    let name = format!("sidetone-rtp-{number}");
    let handle = Builder::new().name(name).spawn(run)?;
    started.recv().map_err(io::Error::other)??;
    Ok(Desk {
        orders,
        notices,
        waker,
        rests,
        counters,
        handle: Some(handle),
    })
}

#[cfg(test)]
mod tests;
