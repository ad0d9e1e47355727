//! Runs the transaction tables: keeps messages for retransmission, timers, and the indexes by which
//! requests and responses find their transaction (RFC 3261 §17.1.3, §17.2.3).

use super::key::{ClientKey, ServerKey};
use super::queue::DeadlineQueue;
use super::timer::{Timer, Timers};
use super::{Action, Event, Machine, State, step};
use crate::sip::transport::Path;
use crate::time::Instant;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// One transaction in a [`Layer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(u64);

impl TransactionId {
    fn new(index: usize, generation: u32) -> Self {
        Self((u64::from(generation) << 32) | index as u64)
    }

    fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number behind the name.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// The name with the number `raw`; one that was never given out names nothing.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// What a step of a transaction means for its user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reaction {
    /// The message is for the user.
    pub deliver: bool,
    /// The transaction ran out of time.
    pub timeout: bool,
    /// The transport failed.
    pub transport_error: bool,
    /// The transaction is gone; its name names nothing from now on.
    pub terminated: bool,
}

/// A message on its way out of the layer.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The transaction that sends it.
    pub transaction: TransactionId,
    /// Where it goes.
    pub path: Path,
    /// The message.
    pub bytes: Bytes,
}

/// The bounds of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transactions at once.
    pub transactions: usize,
    /// Bytes kept for retransmission.
    pub bytes: usize,
}

/// A table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transaction table full")]
pub struct Full;

#[derive(Debug)]
enum Index {
    Server(ServerKey),
    Client(ClientKey),
}

#[derive(Debug)]
struct Transaction<O> {
    machine: Machine,
    state: State,
    index: Index,
    owner: O,
    path: Path,
    message: Bytes,
    attempts: u8,
    /// At most one timer of each sort runs: one that retransmits, one that ends a state.
    retransmission: Option<(Timer, Instant)>,
    lifetime: Option<(Timer, Instant)>,
    queued: Option<Instant>,
}

impl<O> Transaction<O> {
    fn deadline(&self) -> Option<Instant> {
        let first = self.retransmission.map(|(_, at)| at);
        let second = self.lifetime.map(|(_, at)| at);
        first.into_iter().chain(second).min()
    }

    fn take_due(&mut self, now: Instant) -> Option<Timer> {
        // The end goes first: nothing is sent again at the moment of giving up.
        if self.lifetime.is_some_and(|(_, at)| at <= now) {
            return self.lifetime.take().map(|(timer, _)| timer);
        }
        if self.retransmission.is_some_and(|(_, at)| at <= now) {
            return self.retransmission.take().map(|(timer, _)| timer);
        }
        None
    }

    fn stop(&mut self, timer: Timer) {
        if timer.retransmits() {
            self.retransmission = None;
        } else {
            self.lifetime = None;
        }
    }
}

struct Slot<O> {
    generation: u32,
    transaction: Option<Transaction<O>>,
}

/// All transactions of an agent, each owned by something named `O`.
///
/// Inputs are [`apply`](Self::apply) and [`fire`](Self::fire); messages to send come out of
/// [`poll_transmit`](Self::poll_transmit).
pub struct Layer<O> {
    timers: Timers,
    limits: Limits,
    slots: Vec<Slot<O>>,
    free: Vec<u32>,
    servers: HashMap<ServerKey, TransactionId>,
    clients: HashMap<ClientKey, TransactionId>,
    deadlines: DeadlineQueue<TransactionId>,
    outgoing: VecDeque<Outgoing>,
    bytes: usize,
    retransmitted: u64,
}

impl<O: Copy> Layer<O> {
    /// An empty layer.
    pub fn new(timers: Timers, limits: Limits) -> Self {
        Self {
            timers,
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            servers: HashMap::new(),
            clients: HashMap::new(),
            deadlines: DeadlineQueue::default(),
            outgoing: VecDeque::new(),
            bytes: 0,
            retransmitted: 0,
        }
    }

    /// Transactions at the moment.
    pub fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether there is no transaction.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no transaction waits for the other side any more; those left only absorb what is
    /// repeated.
    pub fn is_settled(&self) -> bool {
        let mut left = self
            .slots
            .iter()
            .filter_map(|slot| slot.transaction.as_ref());
        left.all(|transaction| match transaction.state {
            State::Calling | State::Trying | State::Proceeding => false,
            // A refusal is sent again until its ACK.
            State::Completed => transaction.machine != Machine::InviteServer,
            State::Confirmed | State::Accepted | State::Terminated => true,
        })
    }

    /// Bytes kept for retransmission at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// Messages sent again since the start.
    pub fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Whether one more transaction fits.
    pub fn has_room(&self) -> bool {
        self.len() < self.limits.transactions && self.bytes < self.limits.bytes
    }

    /// The server transaction that a request belongs to (RFC 3261 §17.2.3).
    pub fn server(&self, key: &ServerKey) -> Option<TransactionId> {
        self.servers.get(key).copied()
    }

    /// The client transaction that a response belongs to (RFC 3261 §17.1.3).
    pub fn client(&self, key: &ClientKey) -> Option<TransactionId> {
        self.clients.get(key).copied()
    }

    /// Where the transaction stands; Terminated once it is gone.
    pub fn state(&self, id: TransactionId) -> State {
        self.find(id).map_or(State::Terminated, |t| t.state)
    }

    /// Whose transaction it is.
    pub fn owner(&self, id: TransactionId) -> Option<O> {
        self.find(id).map(|t| t.owner)
    }

    /// Which of the four machines it is.
    pub fn machine(&self, id: TransactionId) -> Option<Machine> {
        self.find(id).map(|t| t.machine)
    }

    /// Where its messages go.
    pub fn path(&self, id: TransactionId) -> Option<Path> {
        self.find(id).map(|t| t.path)
    }

    /// Sends what follows another way, such as a new connection in place of a closed one.
    pub fn set_path(&mut self, id: TransactionId, path: Path) {
        if let Some(transaction) = self.find_mut(id) {
            transaction.path = path;
        }
    }

    /// Starts a client transaction and sends its request.
    ///
    /// # Errors
    /// [`Full`] where a bound is reached; nothing is sent then.
    pub fn start_client(
        &mut self,
        now: Instant,
        machine: Machine,
        key: ClientKey,
        path: Path,
        request: Bytes,
        owner: O,
    ) -> Result<TransactionId, Full> {
        let id = self.insert(machine, Index::Client(key.clone()), path, owner)?;
        self.clients.insert(key, id);
        self.run(now, id, machine.entry(), request);
        self.requeue(id);
        Ok(id)
    }

    /// Starts a server transaction for a request that the caller is about to handle.
    ///
    /// # Errors
    /// [`Full`] where a bound is reached.
    pub fn start_server(
        &mut self,
        machine: Machine,
        key: ServerKey,
        path: Path,
        owner: O,
    ) -> Result<TransactionId, Full> {
        let id = self.insert(machine, Index::Server(key.clone()), path, owner)?;
        self.servers.insert(key, id);
        Ok(id)
    }

    /// Gives the transaction an event, and the message that a Send or SendAck of that row would
    /// put on the wire (empty where the row has none).
    pub fn apply(
        &mut self,
        now: Instant,
        id: TransactionId,
        event: Event,
        message: Bytes,
    ) -> Reaction {
        let reaction = self.apply_one(now, id, event, message);
        if reaction.terminated {
            return reaction;
        }
        self.requeue(id);
        reaction
    }

    /// Fires the next timer that is due at `now`, until `None`.
    pub fn fire(&mut self, now: Instant) -> Option<(TransactionId, O, Reaction)> {
        loop {
            let (at, id) = self.deadlines.peek()?;
            if at > now {
                return None;
            }
            self.deadlines.pop();
            let Some(transaction) = self.find_mut(id) else {
                continue;
            };
            if transaction.queued != Some(at) {
                continue;
            }
            transaction.queued = None;
            let owner = transaction.owner;
            let Some(timer) = transaction.take_due(now) else {
                self.requeue(id);
                continue;
            };
            let reaction = self.apply(now, id, Event::Fire(timer), Bytes::new());
            if reaction != Reaction::default() {
                return Some((id, owner, reaction));
            }
        }
    }

    /// The moment of the next timer.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        loop {
            let (at, id) = self.deadlines.peek()?;
            let current = self.find(id).filter(|t| t.queued == Some(at));
            if current.is_some_and(|t| t.deadline() == Some(at)) {
                return Some(at);
            }
            let is_current = current.is_some();
            self.deadlines.pop();
            if is_current && let Some(transaction) = self.find_mut(id) {
                transaction.queued = None;
                self.requeue(id);
            }
        }
    }

    /// Ends a transaction without a word, as after a CANCEL that had no effect (RFC 3261 §9.1).
    pub fn abandon(&mut self, id: TransactionId) -> Option<O> {
        let owner = self.owner(id);
        self.remove(id);
        owner
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    fn find(&self, id: TransactionId) -> Option<&Transaction<O>> {
        let slot = self.slots.get(id.index())?;
        slot.transaction
            .as_ref()
            .filter(|_| slot.generation == id.generation())
    }

    fn find_mut(&mut self, id: TransactionId) -> Option<&mut Transaction<O>> {
        let slot = self.slots.get_mut(id.index())?;
        slot.transaction
            .as_mut()
            .filter(|_| slot.generation == id.generation())
    }

    fn insert(
        &mut self,
        machine: Machine,
        index: Index,
        path: Path,
        owner: O,
    ) -> Result<TransactionId, Full> {
        if !self.has_room() {
            return Err(Full);
        }
        let transaction = Transaction {
            machine,
            state: machine.initial(),
            index,
            owner,
            path,
            message: Bytes::new(),
            attempts: 0,
            retransmission: None,
            lifetime: None,
            queued: None,
        };
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.transaction = Some(transaction);
            return Ok(TransactionId::new(index as usize, slot.generation));
        }
        self.slots.push(Slot {
            generation: 1,
            transaction: Some(transaction),
        });
        Ok(TransactionId::new(self.slots.len() - 1, 1))
    }

    fn remove(&mut self, id: TransactionId) {
        if self.find(id).is_none() {
            return;
        }
        let slot = &mut self.slots[id.index()];
        slot.generation = slot.generation.wrapping_add(1);
        let Some(transaction) = slot.transaction.take() else {
            return;
        };
        self.bytes -= transaction.message.len();
        self.free.push(id.index() as u32);
        match transaction.index {
            Index::Server(key) => self.servers.remove(&key),
            Index::Client(key) => self.clients.remove(&key),
        };
    }

    fn apply_one(
        &mut self,
        now: Instant,
        id: TransactionId,
        event: Event,
        message: Bytes,
    ) -> Reaction {
        let Some(transaction) = self.find_mut(id) else {
            return Reaction::default();
        };
        let Some(row) = step(transaction.machine, transaction.state, event) else {
            return Reaction::default();
        };
        transaction.state = row.next;
        let mut reaction = self.run(now, id, row.actions, message);
        if row.next == State::Terminated {
            self.remove(id);
            reaction.terminated = true;
        } else {
            self.drop_spent_message(id);
        }
        self.fire_at_once(now, id, &mut reaction);
        reaction
    }

    /// A timer of zero length, as on reliable transports, fires before anything else happens.
    fn fire_at_once(&mut self, now: Instant, id: TransactionId, reaction: &mut Reaction) {
        let Some(transaction) = self.find_mut(id) else {
            return;
        };
        let Some((timer, at)) = transaction.lifetime else {
            return;
        };
        if at > now || !matches!(timer, Timer::D | Timer::I | Timer::J | Timer::K) {
            return;
        }
        transaction.lifetime = None;
        let next = self.apply_one(now, id, Event::Fire(timer), Bytes::new());
        reaction.terminated |= next.terminated;
    }

    fn run(
        &mut self,
        now: Instant,
        id: TransactionId,
        actions: &[Action],
        message: Bytes,
    ) -> Reaction {
        let mut reaction = Reaction::default();
        for action in actions {
            match *action {
                Action::Send => self.keep_and_send(id, message.clone()),
                Action::SendAck if message.is_empty() => self.resend(id),
                Action::SendAck => self.keep_and_send(id, message.clone()),
                Action::Resend => self.resend(id),
                Action::Deliver => reaction.deliver = true,
                Action::InformTimeout => reaction.timeout = true,
                Action::InformTransportError => reaction.transport_error = true,
                Action::Start(timer) => self.start(now, id, timer, false),
                Action::StartAtT2(timer) => self.start(now, id, timer, true),
                Action::Stop(timer) => {
                    if let Some(transaction) = self.find_mut(id) {
                        transaction.stop(timer);
                    }
                }
            }
        }
        reaction
    }

    fn start(&mut self, now: Instant, id: TransactionId, timer: Timer, at_t2: bool) {
        let Some(Transaction { attempts, path, .. }) = self.find(id) else {
            return;
        };
        let (attempts, reliable) = (*attempts, path.is_reliable());
        let Some(duration) = self.timers.duration(timer, attempts, reliable) else {
            return;
        };
        let duration = if at_t2 { self.timers.t2 } else { duration };
        let Some(transaction) = self.find_mut(id) else {
            return;
        };
        if timer.retransmits() {
            transaction.attempts = attempts.saturating_add(1);
            transaction.retransmission = Some((timer, now + duration));
        } else {
            transaction.lifetime = Some((timer, now + duration));
        }
    }

    fn keep_and_send(&mut self, id: TransactionId, bytes: Bytes) {
        let Some(transaction) = self.find_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut transaction.message, bytes.clone()).len();
        let path = transaction.path;
        self.bytes = self.bytes - before + bytes.len();
        self.outgoing.push_back(Outgoing {
            transaction: id,
            path,
            bytes,
        });
    }

    fn resend(&mut self, id: TransactionId) {
        let Some(transaction) = self.find(id).filter(|t| !t.message.is_empty()) else {
            return;
        };
        let (path, bytes) = (transaction.path, transaction.message.clone());
        self.retransmitted += 1;
        self.outgoing.push_back(Outgoing {
            transaction: id,
            path,
            bytes,
        });
    }

    /// Lets go of a message that no later row will send again.
    fn drop_spent_message(&mut self, id: TransactionId) {
        let Some(transaction) = self.find_mut(id) else {
            return;
        };
        let spent = match transaction.machine {
            Machine::NonInviteClient => transaction.state == State::Completed,
            Machine::InviteClient => transaction.state == State::Accepted,
            Machine::InviteServer => {
                matches!(transaction.state, State::Confirmed | State::Accepted)
            }
            Machine::NonInviteServer => false,
        };
        if spent {
            let before = std::mem::take(&mut transaction.message).len();
            self.bytes -= before;
        }
    }

    fn requeue(&mut self, id: TransactionId) {
        let Some(transaction) = self.find_mut(id) else {
            return;
        };
        let Some(deadline) = transaction.deadline() else {
            return;
        };
        if transaction.queued.is_some_and(|at| at <= deadline) {
            return;
        }
        transaction.queued = Some(deadline);
        self.deadlines.push(deadline, id);
        let (live, slots) = (self.servers.len() + self.clients.len(), &self.slots);
        self.deadlines.compact(live, |at, id| {
            slots.get(id.index()).is_some_and(|slot| {
                slot.generation == id.generation()
                    && slot
                        .transaction
                        .as_ref()
                        .is_some_and(|t| t.queued == Some(at))
            })
        });
    }
}
