//! The virtual network: hosts, links, datagrams and reliable streams, driven by virtual time.

pub mod capture;
pub mod link;
pub mod nat;
mod stream;
pub mod variation;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use sidetone::rng::Rng;
use sidetone::time::{ClockAnchor, Instant};

use crate::trace::Trace;
use capture::{Capture, Carrier};
use link::{Fate, Link, Path};
use nat::{Nat, NatKind};
use stream::{Arrival, Stream};

/// A host on the network, numbered in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u32);

/// A bound socket: a UDP one, or one that listens for streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u32);

impl SocketId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

/// Why the network refused what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No host has this name.
    #[error("no host is called {0:?}")]
    UnknownHost(String),
    /// The address belongs to no host, or to another one.
    #[error("{0} is not an address of this host")]
    ForeignAddress(IpAddr),
    /// The name or the address is in use.
    #[error("{0} is in use")]
    InUse(String),
    /// The host has no free port.
    #[error("no free port on {0}")]
    NoPort(IpAddr),
}

/// What arrives at a socket or a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A datagram.
    Datagram {
        /// The socket that it arrived at.
        socket: SocketId,
        /// The address that it seems to come from.
        source: SocketAddr,
        /// Its bytes.
        payload: Bytes,
    },
    /// Somebody connected to a listening socket.
    Accepted {
        /// The socket that listens.
        listener: SocketId,
        /// This side's end.
        stream: StreamId,
        /// The address that the other side seems to have.
        remote: SocketAddr,
    },
    /// The connection that this side asked for is up.
    Connected {
        /// This side's end.
        stream: StreamId,
    },
    /// The connection that this side asked for did not come about.
    Refused {
        /// This side's end, which is gone.
        stream: StreamId,
    },
    /// Bytes of a stream, in order.
    Data {
        /// This side's end.
        stream: StreamId,
        /// The bytes.
        payload: Bytes,
    },
    /// The other side closed the stream, or it broke. This side's end is gone.
    Closed {
        /// This side's end.
        stream: StreamId,
        /// True where the stream broke or was reset instead of closed in order.
        reset: bool,
    },
}

/// What the network did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Datagrams that arrived, copies included.
    pub delivered: u64,
    /// Datagrams lost by a link.
    pub lost: u64,
    /// Datagrams that did not fit the queue of a link of limited bandwidth.
    pub congested: u64,
    /// Datagrams swallowed by a partition.
    pub partitioned: u64,
    /// Datagrams that were held back and overtaken.
    pub reordered: u64,
    /// Datagrams that arrived twice.
    pub duplicated: u64,
    /// Datagrams to an address that belongs to no reachable host.
    pub unroutable: u64,
    /// Datagrams to a port where nobody listens.
    pub unheard: u64,
    /// Datagrams that an address translator did not let in.
    pub filtered: u64,
    /// Packets in flight were more than [`Network::IN_FLIGHT`]; the newest were dropped.
    pub overflowed: u64,
    /// Bytes of all datagrams that were sent, without headers.
    pub bytes: u64,
    /// Streams that were asked for.
    pub streams: u64,
}

#[derive(Debug)]
struct Host {
    name: String,
    addresses: Vec<IpAddr>,
    next_port: u16,
    nat: Option<usize>,
}

#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    host: HostId,
    open: bool,
}

#[derive(Debug, Clone, Copy)]
struct Partition {
    between: (HostId, HostId),
    from: Instant,
    until: Instant,
}

/// Something on its way, ordered by its time of arrival and then by its number.
#[derive(Debug)]
struct Flight {
    at: Instant,
    number: u64,
    what: InFlight,
}

#[derive(Debug)]
enum InFlight {
    Datagram {
        source: SocketAddr,
        destination: SocketAddr,
        payload: Bytes,
    },
    Stream(Arrival),
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A network in virtual time, sans-IO like the engine's own machines.
///
/// Send with [`send`](Self::send) and the stream verbs; call
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due, and
/// then [`poll_delivery`](Self::poll_delivery) until it gives nothing. The same calls with the same
/// seed give the same deliveries: each direction between two hosts has its own generator, so
/// traffic on one path does not change the luck of another.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use sidetone::time::Instant;
/// use sidetone_sim::network::{Delivery, Network, link::Link};
///
/// # fn main() -> Result<(), sidetone_sim::network::NetworkError> {
/// let mut net = Network::new(7);
/// let a = net.add_host("a", &[])?;
/// let b = net.add_host("b", &[])?;
/// net.set_link("a", "b", Link::delay(Duration::from_millis(40)))?;
/// let from = net.bind(a, 0)?;
/// let to = net.bind(b, 5060)?;
/// net.send(Instant::ZERO, from, net.address(to), Bytes::from_static(b"hello"));
///
/// let due = net.poll_timeout().expect("a datagram is on its way");
/// assert_eq!(due, Instant::ZERO + Duration::from_millis(40));
/// net.handle_timeout(due);
/// assert!(matches!(net.poll_delivery(), Some(Delivery::Datagram { socket, .. }) if socket == to));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Network {
    seed: u64,
    anchor: ClockAnchor,
    hosts: Vec<Host>,
    owners: BTreeMap<IpAddr, HostId>,
    sockets: Vec<Socket>,
    bound: HashMap<SocketAddr, SocketId>,
    listening: HashMap<SocketAddr, SocketId>,
    default_link: Link,
    paths: BTreeMap<(HostId, HostId), Path>,
    partitions: Vec<Partition>,
    nats: Vec<Nat>,
    nat_owners: BTreeMap<IpAddr, usize>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    flights: BinaryHeap<Reverse<Flight>>,
    number: u64,
    deliveries: VecDeque<Delivery>,
    counters: Counters,
    trace: Trace,
    capture: Option<(Option<HostId>, Capture)>,
}

impl Network {
    /// The most packets and stream segments in flight at once; what is sent beyond is dropped and
    /// counted.
    pub const IN_FLIGHT: usize = 1 << 20;

    /// An empty network whose luck comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            anchor: ClockAnchor::default(),
            hosts: Vec::new(),
            owners: BTreeMap::new(),
            sockets: Vec::new(),
            bound: HashMap::new(),
            listening: HashMap::new(),
            default_link: Link::default(),
            paths: BTreeMap::new(),
            partitions: Vec::new(),
            nats: Vec::new(),
            nat_owners: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            flights: BinaryHeap::new(),
            number: 0,
            deliveries: VecDeque::new(),
            counters: Counters::default(),
            trace: Trace::default(),
            capture: None,
        }
    }

    /// Adds a host. Without addresses it gets 10.0.x.y and fd00::x:y, numbered in order.
    ///
    /// # Errors
    /// [`NetworkError::InUse`] where the name or an address belongs to another host.
    pub fn add_host(&mut self, name: &str, addresses: &[IpAddr]) -> Result<HostId, NetworkError> {
        if self.host(name).is_ok() {
            return Err(NetworkError::InUse(name.to_owned()));
        }
        let id = HostId(self.hosts.len() as u32);
        let addresses = match addresses {
            [] => default_addresses(id),
            given => given.to_vec(),
        };
        if let Some(taken) = addresses.iter().find(|ip| self.owners.contains_key(ip)) {
            return Err(NetworkError::InUse(taken.to_string()));
        }
        for ip in &addresses {
            self.owners.insert(*ip, id);
        }
        self.hosts.push(Host {
            name: name.to_owned(),
            addresses,
            next_port: 49_152,
            nat: None,
        });
        Ok(id)
    }

    /// The host of this name.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn host(&self, name: &str) -> Result<HostId, NetworkError> {
        let found = self.hosts.iter().position(|host| host.name == name);
        found
            .map(|index| HostId(index as u32))
            .ok_or_else(|| NetworkError::UnknownHost(name.to_owned()))
    }

    /// The name of a host.
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[host.0 as usize].name
    }

    /// The addresses of a host, the preferred one first.
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0 as usize].addresses
    }

    /// The addresses of the host of this name: the network's name service.
    pub fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.host(name)
            .map(|host| self.addresses(host).to_vec())
            .unwrap_or_default()
    }

    /// Makes `nat`'s `public` address stand for `host`, which the outside then cannot reach
    /// by its own address.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`], or [`NetworkError::InUse`] where a host has that address.
    pub fn put_behind_nat(
        &mut self,
        host: &str,
        kind: NatKind,
        public: IpAddr,
    ) -> Result<(), NetworkError> {
        let host = self.host(host)?;
        if self.owners.contains_key(&public) {
            return Err(NetworkError::InUse(public.to_string()));
        }
        let nats = &mut self.nats;
        let nat = *self.nat_owners.entry(public).or_insert_with(|| {
            nats.push(Nat::new(kind, public));
            nats.len() - 1
        });
        self.hosts[host.0 as usize].nat = Some(nat);
        Ok(())
    }

    /// Sets the link between hosts that no [`set_link`](Self::set_link) names.
    pub fn set_default_link(&mut self, link: Link) {
        self.default_link = link;
        self.paths.retain(|_, path| path.named);
    }

    /// Sets both directions between two hosts, from now on.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn set_link(&mut self, a: &str, b: &str, link: Link) -> Result<(), NetworkError> {
        self.set_path(a, b, link)?;
        self.set_path(b, a, link)
    }

    /// Sets one direction between two hosts, from now on.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn set_path(&mut self, from: &str, to: &str, link: Link) -> Result<(), NetworkError> {
        let ends = (self.host(from)?, self.host(to)?);
        let path = self.path(ends);
        path.link = link;
        path.named = true;
        Ok(())
    }

    /// Cuts two hosts off from each other from `from` until `until` (for ever where `None`).
    ///
    /// Datagrams sent in that time vanish; streams wait, and break after
    /// [`Network::STREAM_PATIENCE`].
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn partition(
        &mut self,
        a: &str,
        b: &str,
        from: Instant,
        until: Option<Instant>,
    ) -> Result<(), NetworkError> {
        let between = (self.host(a)?, self.host(b)?);
        let until = until.unwrap_or(Instant::from_nanos(u64::MAX));
        self.partitions.push(Partition {
            between,
            from,
            until,
        });
        Ok(())
    }

    /// Ends every partition between two hosts at `now`.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn heal(&mut self, now: Instant, a: &str, b: &str) -> Result<(), NetworkError> {
        let ends = (self.host(a)?, self.host(b)?);
        for partition in &mut self.partitions {
            if same_pair(partition.between, ends) && partition.until > now {
                partition.until = now;
            }
        }
        Ok(())
    }

    /// Opens a UDP socket on the host's preferred address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`NetworkError::InUse`], or [`NetworkError::NoPort`] where the host has none left.
    pub fn bind(&mut self, host: HostId, port: u16) -> Result<SocketId, NetworkError> {
        let ip = self.preferred(host);
        self.bind_to(host, SocketAddr::new(ip, port))
    }

    /// Opens a UDP socket on one address of the host; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and [`NetworkError::ForeignAddress`].
    pub fn bind_to(&mut self, host: HostId, address: SocketAddr) -> Result<SocketId, NetworkError> {
        let address = self.free_address(host, address)?;
        if self.bound.contains_key(&address) {
            return Err(NetworkError::InUse(address.to_string()));
        }
        let id = self.open(host, address);
        self.bound.insert(address, id);
        Ok(id)
    }

    /// Opens a socket that accepts streams on one address of the host; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`bind_to`](Self::bind_to).
    pub fn listen(&mut self, host: HostId, address: SocketAddr) -> Result<SocketId, NetworkError> {
        let address = self.free_address(host, address)?;
        if self.listening.contains_key(&address) {
            return Err(NetworkError::InUse(address.to_string()));
        }
        let id = self.open(host, address);
        self.listening.insert(address, id);
        Ok(id)
    }

    /// Closes a socket; what is on its way to it is not heard by anybody.
    pub fn unbind(&mut self, socket: SocketId) {
        let closed = &mut self.sockets[socket.0 as usize];
        if !std::mem::replace(&mut closed.open, false) {
            return;
        }
        let address = closed.address;
        for table in [&mut self.bound, &mut self.listening] {
            if table.get(&address) == Some(&socket) {
                table.remove(&address);
            }
        }
    }

    /// The address of a socket.
    pub fn address(&self, socket: SocketId) -> SocketAddr {
        self.sockets[socket.0 as usize].address
    }

    /// Sends a datagram from a bound socket.
    pub fn send(
        &mut self,
        now: Instant,
        socket: SocketId,
        destination: SocketAddr,
        payload: Bytes,
    ) {
        let from = &self.sockets[socket.0 as usize];
        let (source, host) = (from.address, from.host);
        self.counters.sent += 1;
        self.counters.bytes += payload.len() as u64;
        let Some(route) = self.route(now, host, source, destination) else {
            return;
        };
        let ends = (host, route.host);
        if self.healed_at(now, ends).is_some() {
            self.counters.partitioned += 1;
            return;
        }
        self.record(Some(host), now, route.source, destination, &payload);
        match self.path(ends).carry(now, payload.len() + 28) {
            Fate::Lost => self.counters.lost += 1,
            Fate::Congested => self.counters.congested += 1,
            Fate::Arrives {
                at,
                again,
                overtaken,
            } => {
                self.counters.reordered += u64::from(overtaken);
                self.counters.duplicated += u64::from(again.is_some());
                for at in again.into_iter().chain([at]) {
                    let what = InFlight::Datagram {
                        source: route.source,
                        destination: route.destination,
                        payload: payload.clone(),
                    };
                    self.fly(at, what);
                }
            }
        }
    }

    /// The moment of the next arrival.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flights.peek().map(|flight| flight.0.at)
    }

    /// Makes the next thing arrive that is due at `now`; call again until
    /// [`poll_timeout`](Self::poll_timeout) is later than `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.flights.peek().is_some_and(|next| next.0.at <= now);
        let Some(Reverse(flight)) = self.flights.pop().filter(|_| due) else {
            return;
        };
        match flight.what {
            InFlight::Datagram {
                source,
                destination,
                payload,
            } => self.arrive(flight.at, source, destination, payload),
            InFlight::Stream(arrival) => self.stream_arrives(flight.at, arrival),
        }
    }

    /// What arrived, in order.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// What the network did so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The log of everything that arrived.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The log, for adding notes to it.
    pub fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// Ties virtual time to civil time, for captures. Default: time zero is 1970.
    pub fn set_anchor(&mut self, anchor: ClockAnchor) {
        self.anchor = anchor;
    }

    /// Starts a capture: of what one host sends and receives, as it would see it, or, without a
    /// name, of what arrives anywhere. Replaces a capture that was on.
    ///
    /// # Errors
    /// [`NetworkError::UnknownHost`].
    pub fn start_capture(&mut self, host: Option<&str>) -> Result<(), NetworkError> {
        let host = host.map(|name| self.host(name)).transpose()?;
        self.capture = Some((host, Capture::default()));
        Ok(())
    }

    /// The capture so far.
    pub fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref().map(|(_, capture)| capture)
    }

    fn arrive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        payload: Bytes,
    ) {
        let Some(&socket) = self.bound.get(&destination) else {
            self.counters.unheard += 1;
            return;
        };
        self.counters.delivered += 1;
        self.trace.packet(now, source, destination, &payload);
        let to = self.sockets[socket.0 as usize].host;
        self.record_at(to, now, source, destination, Carrier::Udp, &payload);
        self.deliveries.push_back(Delivery::Datagram {
            socket,
            source,
            payload,
        });
    }

    /// Captures a packet as it leaves `from`, where the capture sits there.
    fn record(
        &mut self,
        from: Option<HostId>,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        let wall = self.anchor.wall_at(now);
        if let Some((Some(host), capture)) = &mut self.capture
            && from == Some(*host)
        {
            capture.record(wall, source, destination, Carrier::Udp, payload);
        }
    }

    /// Captures a packet as it arrives at `to`, where the capture sits there or everywhere.
    fn record_at(
        &mut self,
        to: HostId,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        carrier: Carrier,
        payload: &[u8],
    ) {
        let wall = self.anchor.wall_at(now);
        if let Some((host, capture)) = &mut self.capture
            && host.is_none_or(|host| host == to)
        {
            capture.record(wall, source, destination, carrier, payload);
        }
    }

    fn fly(&mut self, at: Instant, what: InFlight) {
        if self.flights.len() >= Self::IN_FLIGHT {
            self.counters.overflowed += 1;
            return;
        }
        let number = self.number;
        self.number += 1;
        self.flights.push(Reverse(Flight { at, number, what }));
    }

    /// Finds the way to a destination, through address translators on both sides.
    fn route(
        &mut self,
        now: Instant,
        host: HostId,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Option<Route> {
        let own_nat = self.hosts[host.0 as usize].nat;
        let direct = self.owners.get(&destination.ip()).copied();
        if let Some(to) = direct {
            let their_nat = self.hosts[to.0 as usize].nat;
            if their_nat.is_some() && their_nat != own_nat && to != host {
                self.counters.unroutable += 1;
                return None;
            }
            let source = match own_nat {
                Some(nat) if their_nat != own_nat => {
                    self.nats[nat].outbound(now, source, destination)
                }
                _ => source,
            };
            return Some(Route {
                host: to,
                source,
                destination,
            });
        }
        let Some(&nat) = self.nat_owners.get(&destination.ip()) else {
            self.counters.unroutable += 1;
            return None;
        };
        let source = match own_nat {
            Some(own) => self.nats[own].outbound(now, source, destination),
            None => source,
        };
        let inside = self.nats[nat].inbound(now, destination.port(), source);
        let Some(inside) = inside else {
            self.counters.filtered += 1;
            return None;
        };
        let host = *self.owners.get(&inside.ip())?;
        Some(Route {
            host,
            source,
            destination: inside,
        })
    }

    fn path(&mut self, ends: (HostId, HostId)) -> &mut Path {
        let link = match ends.0 == ends.1 {
            true => Link::delay(Duration::from_micros(20)),
            false => self.default_link,
        };
        let seed = self.seed ^ (u64::from(ends.0.0) << 32 | u64::from(ends.1.0)) << 1;
        self.paths
            .entry(ends)
            .or_insert_with(|| Path::new(link, Rng::new(seed).fork()))
    }

    /// Where the two hosts are cut off at `now`: when that ends.
    fn healed_at(&self, now: Instant, ends: (HostId, HostId)) -> Option<Instant> {
        let cuts = self.partitions.iter().filter(|partition| {
            same_pair(partition.between, ends) && partition.from <= now && now < partition.until
        });
        cuts.map(|partition| partition.until).max()
    }

    fn open(&mut self, host: HostId, address: SocketAddr) -> SocketId {
        let id = SocketId(self.sockets.len() as u32);
        self.sockets.push(Socket {
            address,
            host,
            open: true,
        });
        id
    }

    fn preferred(&self, host: HostId) -> IpAddr {
        self.addresses(host)[0]
    }

    fn free_address(
        &mut self,
        host: HostId,
        address: SocketAddr,
    ) -> Result<SocketAddr, NetworkError> {
        if self.owners.get(&address.ip()) != Some(&host) {
            return Err(NetworkError::ForeignAddress(address.ip()));
        }
        if address.port() != 0 {
            return Ok(address);
        }
        for _ in 0..16_384 {
            let next = &mut self.hosts[host.0 as usize].next_port;
            let port = *next;
            *next = next.checked_add(1).unwrap_or(49_152);
            let candidate = SocketAddr::new(address.ip(), port);
            if !self.bound.contains_key(&candidate) && !self.listening.contains_key(&candidate) {
                return Ok(candidate);
            }
        }
        Err(NetworkError::NoPort(address.ip()))
    }
}

struct Route {
    host: HostId,
    source: SocketAddr,
    destination: SocketAddr,
}

fn same_pair(a: (HostId, HostId), b: (HostId, HostId)) -> bool {
    a == b || a == (b.1, b.0)
}

fn default_addresses(host: HostId) -> Vec<IpAddr> {
    let number = host.0 + 1;
    let [_, high, mid, low] = number.to_be_bytes();
    vec![
        IpAddr::from([10, high, mid, low]),
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, (number >> 16) as u16, number as u16]),
    ]
}

#[cfg(test)]
mod tests;
