//! The registrar: bindings of addresses of record to contacts, without sockets and clock
//! (RFC 3261 §10.3, RFC 3327, RFC 3608, RFC 5626 §6).

pub mod binding;
pub mod config;

mod request;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use self::binding::{Binding, Change, ChangeKind};
use self::config::{Asking, RegistrarConfig};
use self::request::{Asked, Contact, Wanted};
use crate::id::{ConnectionId, ListenerId};
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::transaction::queue::DeadlineQueue;
use crate::sip::transport::Path;
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// How a REGISTER came, and from whom.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The socket or connection it came by, and requests go back by.
    pub flow: Path,
    /// The address that it came from.
    pub source: SocketAddr,
    /// The listener that it came in by.
    pub listener: Option<ListenerId>,
    /// Who signed in.
    pub user: Option<&'a str>,
}

/// What a REGISTER is answered with, or another request that a machine of ours serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Header fields, in order.
    pub headers: Vec<(Name<'static>, String)>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
        }
    }

    pub(crate) fn and(mut self, name: Name<'static>, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What a registrar has counted since it was made. None of these ever goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrarCounters {
    /// REGISTERs that were granted.
    pub granted: u64,
    /// Bindings made.
    pub registered: u64,
    /// Bindings refreshed.
    pub refreshed: u64,
    /// Bindings that were not refreshed in time.
    pub expired: u64,
    /// Bindings removed by their users, or with their connection.
    pub removed: u64,
    /// Refused with 403: somebody else's address of record.
    pub refused_policy: u64,
    /// Refused with 404: not an address of this domain.
    pub refused_unknown: u64,
    /// Refused with 400, 423 or 439.
    pub refused_invalid: u64,
    /// Refused with 500: older than what was registered last.
    pub refused_order: u64,
    /// Refused with 503: a bound was met.
    pub refused_full: u64,
}

/// One address of record and where it is reached.
struct Entry {
    address: Arc<str>,
    bindings: Bindings,
    /// The moment for which the entry stands in the queue of deadlines.
    queued: Option<Instant>,
}

type Bindings = SmallVec<[Binding; 1]>;

/// Holds the bindings of one domain.
///
/// Hand it REGISTER requests that have been let in, with who signed in; it answers each, and an
/// update is made as a whole or not at all. After each input poll
/// [`poll_event`](Self::poll_event) until it says `None`, and call
/// [`handle_timeout`](Self::handle_timeout) when the moment of
/// [`poll_timeout`](Self::poll_timeout) has come.
///
/// An [`Agent`](crate::sip::agent::Agent) drives one by itself; it is public for those who build
/// another.
///
/// ```
/// use bytes::Bytes;
/// use sidetone::id::ListenerId;
/// use sidetone::sip::message::Message;
/// use sidetone::sip::registrar::config::RegistrarConfig;
/// use sidetone::sip::registrar::{Origin, Registrar};
/// use sidetone::sip::transport::Path;
/// use sidetone::time::{Duration, Instant};
///
/// let request = Message::parse(Bytes::from_static(b"REGISTER sip:pbx.example SIP/2.0\r\n\
///     Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
///     From: <sip:6001@pbx.example>;tag=1\r\nTo: <sip:6001@pbx.example>\r\n\
///     Call-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:6001@192.0.2.9>;expires=600\r\n\r\n"))?;
/// let source = "192.0.2.9:5060".parse().unwrap();
/// let flow = Path::Datagram { listener: ListenerId(0), destination: source };
/// let origin = Origin { flow, source, listener: None, user: Some("6001") };
///
/// let mut registrar = Registrar::new(RegistrarConfig::new("pbx.example"), &[]);
/// let now = Instant::ZERO;
/// let reply = registrar.handle_register(now, &request, &origin);
/// assert_eq!(reply.status.code(), 200);
/// let bindings = registrar.bindings(now, &"sip:6001@pbx.example".parse().unwrap());
/// assert_eq!(bindings[0].contact(), "sip:6001@192.0.2.9");
/// assert_eq!(bindings[0].expires(), now + Duration::from_secs(600));
/// # Ok::<(), sidetone::sip::message::ParseError>(())
/// ```
pub struct Registrar {
    config: RegistrarConfig,
    own: Vec<SocketAddr>,
    index: HashMap<Arc<str>, u32>,
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<u32>,
    sources: HashMap<IpAddr, usize>,
    /// The addresses whose users came by connections.
    flows: BTreeSet<(ConnectionId, u32)>,
    bindings: usize,
    deadlines: DeadlineQueue<u32>,
    events: VecDeque<Change>,
    counters: RegistrarCounters,
}

impl Registrar {
    /// An empty one; `own` are the addresses that we listen at, which are nobody's contact, since
    /// calls to them would go round in circles.
    pub fn new(config: RegistrarConfig, own: &[SocketAddr]) -> Self {
        Self {
            config,
            own: own.to_vec(),
            index: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            sources: HashMap::new(),
            flows: BTreeSet::new(),
            bindings: 0,
            deadlines: DeadlineQueue::default(),
            events: VecDeque::new(),
            counters: RegistrarCounters::default(),
        }
    }

    /// What it was told.
    pub fn config(&self) -> &RegistrarConfig {
        &self.config
    }

    /// What was counted so far.
    pub fn counters(&self) -> RegistrarCounters {
        self.counters
    }

    /// Addresses of record with bindings.
    pub fn addresses(&self) -> usize {
        self.index.len()
    }

    /// Bindings held.
    pub fn len(&self) -> usize {
        self.bindings
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings == 0
    }

    /// Where an address of record is reached now: what its user likes best first, and of those the
    /// one registered last. None where nobody is registered, or the domain is not ours.
    pub fn bindings(&self, now: Instant, address: &Uri) -> Vec<Binding> {
        let entry = request::name_of(address, &self.config)
            .and_then(|name| self.index.get(self.key(&name).as_str()))
            .and_then(|slot| self.entries.get(*slot as usize)?.as_ref());
        let Some(entry) = entry else {
            return Vec::new();
        };
        let current = entry.bindings.iter().rev();
        let mut found: Vec<_> = current.filter(|b| b.expires > now).cloned().collect();
        found.sort_by_key(|binding| std::cmp::Reverse(binding.q));
        found
    }

    /// Takes in a REGISTER and says what to answer.
    pub fn handle_register(
        &mut self,
        now: Instant,
        request: &Message,
        origin: &Origin<'_>,
    ) -> Reply {
        let reply = self.register(now, request, origin);
        let reply = reply.unwrap_or_else(|refusal| refusal);
        let counters = &mut self.counters;
        match reply.status {
            StatusCode::OK => counters.granted += 1,
            StatusCode::FORBIDDEN => counters.refused_policy += 1,
            StatusCode::NOT_FOUND => counters.refused_unknown += 1,
            StatusCode::SERVER_INTERNAL_ERROR => counters.refused_order += 1,
            StatusCode::SERVICE_UNAVAILABLE => counters.refused_full += 1,
            _ => counters.refused_invalid += 1,
        }
        reply
    }

    /// Whether a registered user came by the connection, which is worth keeping open then.
    pub fn is_flow(&self, connection: ConnectionId) -> bool {
        let of = (connection, 0)..=(connection, u32::MAX);
        self.flows.range(of).next().is_some()
    }

    /// Takes in that a connection is closed: the outbound bindings that live on it are gone.
    pub fn handle_closed(&mut self, connection: ConnectionId) {
        let of = (connection, 0)..=(connection, u32::MAX);
        let slots: Vec<u32> = self.flows.range(of).map(|(_, slot)| *slot).collect();
        let flow = Path::Stream { connection };
        for slot in slots {
            self.drop_bindings(slot, ChangeKind::FlowClosed, |binding| {
                binding.reg_id > 0 && binding.flow == flow
            });
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, slot)) = self.deadlines.peek().filter(|(at, _)| *at <= now) {
            self.deadlines.pop();
            let Some(entry) = self.entry_mut(slot).filter(|e| e.queued == Some(at)) else {
                continue;
            };
            entry.queued = None;
            self.drop_bindings(slot, ChangeKind::Expired, |b| b.expires <= now);
            self.queue(slot);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        loop {
            let (at, slot) = self.deadlines.peek()?;
            if self.entry_mut(slot).is_some_and(|e| e.queued == Some(at)) {
                return Some(at);
            }
            self.deadlines.pop();
        }
    }

    /// The next thing that happened to a binding.
    pub fn poll_event(&mut self) -> Option<Change> {
        self.events.pop_front()
    }

    fn register(
        &mut self,
        now: Instant,
        request: &Message,
        origin: &Origin<'_>,
    ) -> Result<Reply, Reply> {
        let name = self.address_of(request)?;
        let asking = Asking {
            name: &name,
            domain: &self.config.domain,
            user: origin.user,
            source: origin.source,
            listener: origin.listener,
        };
        if !self.config.policy.allows(&asking) {
            return Err(Reply::new(StatusCode::FORBIDDEN));
        }
        let asked = request::read(request, &self.config, &self.own)?;
        let key = self.key(&name);
        if let Some(slot) = self.index.get(key.as_str()).copied() {
            self.drop_bindings(slot, ChangeKind::Expired, |b| b.expires <= now);
        }
        let slot = self.index.get(key.as_str()).copied();
        let before = slot.and_then(|slot| self.entries.get(slot as usize)?.as_ref());
        let before = before.map_or(&[][..], |entry| &entry.bindings);
        check_order(before, &asked)?;
        let (after, changes) = plan(now, before, &asked, origin);
        self.check_room(now, before, &after)?;
        let mut reply = self.granted(now, &asked, &after);
        if request.supported().has("path") && asked.path.is_some() {
            let values = request.list(Name::Path);
            let values = values.map(|raw| String::from_utf8_lossy(&raw).into_owned());
            reply
                .headers
                .extend(values.map(|value| (Name::Path, value)));
        }
        if !changes.is_empty() {
            self.commit(slot, key, after, changes);
        }
        Ok(reply)
    }

    /// The user part of the address of record that a REGISTER is about.
    fn address_of(&self, request: &Message) -> Result<String, Reply> {
        let bad = |_| Reply::new(StatusCode::BAD_REQUEST);
        let unknown = || Reply::new(StatusCode::NOT_FOUND);
        let domain = request.request_uri().map_err(|_| unknown())?;
        if !self.config.is_ours(domain.host()) {
            return Err(unknown());
        }
        let to = request.to().map_err(bad)?;
        request::name_of(to.uri(), &self.config).ok_or_else(unknown)
    }

    fn key(&self, name: &str) -> String {
        format!("{name}@{}", self.config.domain)
    }

    /// Whether the table, the address and the source have room for what is new.
    fn check_room(&self, now: Instant, before: &[Binding], after: &[Binding]) -> Result<(), Reply> {
        let full = |seconds: u64| {
            let seconds = seconds.max(1).to_string();
            Err(Reply::new(StatusCode::SERVICE_UNAVAILABLE).and(Name::RetryAfter, seconds))
        };
        if after.len() <= before.len() {
            return Ok(());
        }
        let more = after.len() - before.len();
        if after.len() > self.config.max_bindings_per_address {
            let next = before.iter().map(|binding| binding.expires).min();
            return full(next.map_or(0, |at| (at - now).as_secs()));
        }
        let source = after.last().map(|binding| binding.source.ip());
        let held = source.and_then(|ip| self.sources.get(&ip)).copied();
        let by_source = held.unwrap_or_default() + more > self.config.max_bindings_per_source;
        match by_source || self.bindings + more > self.config.max_bindings {
            true => full(60),
            false => Ok(()),
        }
    }

    /// 200 with every binding there is now.
    fn granted(&self, now: Instant, asked: &Asked, after: &[Binding]) -> Reply {
        let mut reply = Reply::new(StatusCode::OK);
        for binding in after {
            reply = reply.and(Name::Contact, contact_value(now, binding));
        }
        for route in &self.config.service_route {
            reply = reply.and(Name::ServiceRoute, format!("<{route}>"));
        }
        let outbound = match &asked.wanted {
            Wanted::Update(contacts) => contacts.iter().any(|c| c.outbound.is_some()),
            Wanted::Look | Wanted::RemoveAll => false,
        };
        match outbound {
            true => reply.and(Name::Require, "outbound"),
            false => reply,
        }
    }

    /// Puts the new bindings of an address in the place of the old.
    fn commit(&mut self, slot: Option<u32>, key: String, after: Bindings, changes: Vec<Step>) {
        let slot = slot.unwrap_or_else(|| self.new_entry(key.into()));
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let address = Arc::clone(&entry.address);
        let before = std::mem::replace(&mut entry.bindings, after);
        for binding in &before {
            self.forget(slot, binding);
        }
        let entry = self.entries.get(slot as usize).and_then(Option::as_ref);
        let after: &[Binding] = entry.map_or(&[], |entry| &entry.bindings);
        for binding in after {
            *self.sources.entry(binding.source.ip()).or_default() += 1;
            if let Path::Stream { connection } = binding.flow {
                self.flows.insert((connection, slot));
            }
        }
        self.bindings += after.len();
        let no_more = after.is_empty();
        for Step { kind, binding } in changes {
            *self.counter(kind) += 1;
            self.events.push_back(Change {
                address: Arc::clone(&address),
                kind,
                binding,
            });
        }
        match no_more {
            true => self.free_entry(slot),
            false => self.queue(slot),
        }
    }

    fn counter(&mut self, kind: ChangeKind) -> &mut u64 {
        match kind {
            ChangeKind::Registered => &mut self.counters.registered,
            ChangeKind::Refreshed => &mut self.counters.refreshed,
            ChangeKind::Expired => &mut self.counters.expired,
            ChangeKind::Removed | ChangeKind::FlowClosed => &mut self.counters.removed,
        }
    }

    /// Drops the bindings of an entry that `gone` picks, and the entry with the last of them.
    fn drop_bindings(&mut self, slot: u32, kind: ChangeKind, gone: impl Fn(&Binding) -> bool) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.bindings.iter().any(&gone) {
            return;
        }
        let address = Arc::clone(&entry.address);
        let all = std::mem::take(&mut entry.bindings);
        let (gone, kept): (Bindings, Bindings) = all.into_iter().partition(|b| gone(b));
        let no_more = kept.is_empty();
        entry.bindings = kept;
        for binding in gone {
            self.forget(slot, &binding);
            *self.counter(kind) += 1;
            self.events.push_back(Change {
                address: Arc::clone(&address),
                kind,
                binding,
            });
        }
        if no_more {
            self.free_entry(slot);
        }
    }

    /// Takes one binding out of what is counted beside the entries.
    fn forget(&mut self, slot: u32, binding: &Binding) {
        self.bindings -= 1;
        let source = binding.source.ip();
        if let Some(held) = self.sources.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.sources.remove(&source);
            }
        }
        if let Path::Stream { connection } = binding.flow {
            // Another binding of the address on the same connection is put back with its refresh.
            let shared = self.entry_mut(slot).is_some_and(|entry| {
                let mut all = entry.bindings.iter();
                all.any(|other| other.flow == binding.flow)
            });
            if !shared {
                self.flows.remove(&(connection, slot));
            }
        }
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries
            .get_mut(slot as usize)?
            .as_mut()
            .map(Box::as_mut)
    }

    fn new_entry(&mut self, address: Arc<str>) -> u32 {
        let entry = Some(Box::new(Entry {
            address: Arc::clone(&address),
            bindings: Bindings::new(),
            queued: None,
        }));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                // Entries are as many as bindings at most, which the configuration bounds.
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(address, slot);
        slot
    }

    fn free_entry(&mut self, slot: u32) {
        let entry = self.entries.get_mut(slot as usize).and_then(Option::take);
        if let Some(entry) = entry {
            self.index.remove(&entry.address);
            self.free.push(slot);
        }
    }

    /// Puts an entry's next expiry into the queue, unless an earlier moment is there: a refresh costs
    /// no second place.
    fn queue(&mut self, slot: u32) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let Some(next) = entry.bindings.iter().map(|binding| binding.expires).min() else {
            return;
        };
        if entry.queued.is_some_and(|at| at <= next) {
            return;
        }
        entry.queued = Some(next);
        self.deadlines.push(next, slot);
        let entries = &self.entries;
        let current = |at, slot: u32| {
            let entry = entries.get(slot as usize).and_then(Option::as_ref);
            entry.is_some_and(|entry| entry.queued == Some(at))
        };
        self.deadlines.compact(self.index.len(), current);
    }
}

/// What an update does to one binding.
struct Step {
    kind: ChangeKind,
    binding: Binding,
}

/// A request that is older than what its sender registered last is refused as a whole (RFC 3261
/// §10.3, steps 6 and 7).
fn check_order(before: &[Binding], asked: &Asked) -> Result<(), Reply> {
    let outdated =
        |binding: &Binding| binding.call_id == asked.call_id && binding.sequence >= asked.sequence;
    let outdated = match &asked.wanted {
        Wanted::Look => false,
        Wanted::RemoveAll => before.iter().any(outdated),
        Wanted::Update(contacts) => contacts.iter().any(|contact| {
            let mut same = before.iter().filter(|binding| is_of(binding, contact));
            same.any(outdated)
        }),
    };
    match outdated {
        true => Err(Reply::new(StatusCode::SERVER_INTERNAL_ERROR)),
        false => Ok(()),
    }
}

/// The bindings as the request wants them, and what changes; nothing is done yet.
fn plan(
    now: Instant,
    before: &[Binding],
    asked: &Asked,
    origin: &Origin<'_>,
) -> (Bindings, Vec<Step>) {
    let mut after: Bindings = before.iter().cloned().collect();
    let mut steps = Vec::new();
    let mut step = |kind, binding| steps.push(Step { kind, binding });
    match &asked.wanted {
        Wanted::Look => {}
        Wanted::RemoveAll => {
            for binding in after.drain(..) {
                step(ChangeKind::Removed, binding);
            }
        }
        Wanted::Update(contacts) => {
            for contact in contacts {
                let old = after.iter().position(|binding| is_of(binding, contact));
                let old = old.map(|index| after.remove(index));
                if contact.expires == 0 {
                    if let Some(old) = old {
                        step(ChangeKind::Removed, old);
                    }
                    continue;
                }
                let kind = match old {
                    Some(_) => ChangeKind::Refreshed,
                    None => ChangeKind::Registered,
                };
                let binding = bind(now, contact, asked, origin);
                step(kind, binding.clone());
                after.push(binding);
            }
        }
    }
    (after, steps)
}

fn bind(now: Instant, contact: &Contact, asked: &Asked, origin: &Origin<'_>) -> Binding {
    let (instance, reg_id) = contact.outbound.clone().unzip();
    Binding {
        contact: contact.text.clone(),
        call_id: asked.call_id.clone(),
        path: asked.path.clone(),
        instance,
        reg_id: reg_id.unwrap_or_default(),
        sequence: asked.sequence,
        expires: now + Duration::from_secs(u64::from(contact.expires)),
        q: contact.q,
        flow: origin.flow,
        source: origin.source,
    }
}

/// Whether a contact is that of a binding: the same flow of the same device where it says which, the
/// same URI otherwise (RFC 5626 §6).
fn is_of(binding: &Binding, contact: &Contact) -> bool {
    match &contact.outbound {
        Some((instance, reg_id)) => {
            binding.reg_id == *reg_id && binding.instance.as_ref() == Some(instance)
        }
        None => binding.is_at(&contact.text, &contact.uri),
    }
}

/// A binding as the 200 tells of it.
fn contact_value(now: Instant, binding: &Binding) -> String {
    use std::fmt::Write as _;
    // Rounded up, so that nobody believes himself unregistered while a part of a second is left.
    let left = (binding.expires - now).as_nanos().div_ceil(1_000_000_000);
    let mut value = format!("<{}>;expires={left}", binding.contact);
    if binding.q < 1000 {
        let _infallible = write!(value, ";q=0.{:03}", binding.q);
    }
    if let (Some(instance), Some(reg_id)) = (binding.instance(), binding.reg_id()) {
        let _infallible = write!(value, ";+sip.instance=\"{instance}\";reg-id={reg_id}");
    }
    value
}

#[cfg(test)]
mod tests;
