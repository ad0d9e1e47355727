//! What lives on the network: nodes that own sockets and streams, and what they can do there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use bytes::Bytes;
use sidetone::time::Instant;

use crate::network::{Delivery, HostId, Network, NetworkError, SocketId, StreamId};

/// A node of a simulation, numbered in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// A sans-IO machine on the virtual network: an engine, a scripted peer, or a test's own.
pub trait Node {
    /// Something arrived at one of the node's sockets or streams.
    fn handle_delivery(&mut self, context: &mut Context<'_>, delivery: Delivery);

    /// The deadline that [`poll_timeout`](Self::poll_timeout) named has come.
    fn handle_timeout(&mut self, context: &mut Context<'_>);

    /// The next moment at which the node wants to be called; asked after every call.
    fn poll_timeout(&mut self) -> Option<Instant>;

    /// Whether tasks ask things of the node through handles, so that [`flush`](Self::flush) must be
    /// called; asked once.
    fn takes_requests(&self) -> bool {
        false
    }

    /// Does what tasks asked for through handles since the last call, whenever all tasks wait.
    fn flush(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }
}

/// The network as one node sees it, at one moment.
#[derive(Debug)]
pub struct Context<'a> {
    now: Instant,
    id: NodeId,
    network: &'a mut Network,
    owners: &'a mut Owners,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        now: Instant,
        id: NodeId,
        network: &'a mut Network,
        owners: &'a mut Owners,
    ) -> Self {
        Self {
            now,
            id,
            network,
            owners,
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The network, for what is not about this node's sockets.
    pub fn network(&mut self) -> &mut Network {
        self.network
    }

    /// Opens a UDP socket whose datagrams come to this node; see [`Network::bind_to`].
    ///
    /// # Errors
    /// As there.
    pub fn bind(&mut self, host: HostId, address: SocketAddr) -> Result<SocketId, NetworkError> {
        let socket = self.network.bind_to(host, address)?;
        self.owners.own(socket, self.id);
        Ok(socket)
    }

    /// Listens for streams, which will be this node's; see [`Network::listen`].
    ///
    /// # Errors
    /// As there.
    pub fn listen(&mut self, host: HostId, address: SocketAddr) -> Result<SocketId, NetworkError> {
        let socket = self.network.listen(host, address)?;
        self.owners.own(socket, self.id);
        Ok(socket)
    }

    /// Connects a stream that will be this node's; see [`Network::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(
        &mut self,
        host: HostId,
        destination: SocketAddr,
    ) -> Result<StreamId, NetworkError> {
        let stream = self.network.connect(self.now, host, destination)?;
        self.owners.streams.insert(stream, self.id);
        Ok(stream)
    }

    /// Opens a pair of sockets, RTP on an even port and RTCP on the next one (RFC 3550 §11), within
    /// the range where there is one.
    ///
    /// # Errors
    /// [`NetworkError::NoPort`] where there is no free pair.
    pub fn bind_pair(
        &mut self,
        host: HostId,
        ip: IpAddr,
        ports: Option<RangeInclusive<u16>>,
    ) -> Result<(SocketId, SocketId), NetworkError> {
        let (first, last) = ports.map_or((16_384, 49_151), RangeInclusive::into_inner);
        let mut port = first.next_multiple_of(2);
        while port < last {
            match self.bind(host, SocketAddr::new(ip, port)) {
                Ok(rtp) => match self.bind(host, SocketAddr::new(ip, port + 1)) {
                    Ok(rtcp) => return Ok((rtp, rtcp)),
                    Err(_) => self.unbind(rtp),
                },
                Err(NetworkError::InUse(_)) => {}
                Err(other) => return Err(other),
            }
            port += 2;
        }
        Err(NetworkError::NoPort(ip))
    }

    /// Closes a socket.
    pub fn unbind(&mut self, socket: SocketId) {
        self.owners.disown(socket);
        self.network.unbind(socket);
    }

    /// Sends a datagram.
    pub fn send(&mut self, socket: SocketId, destination: SocketAddr, payload: Bytes) {
        self.network.send(self.now, socket, destination, payload);
    }

    /// Sends bytes on a stream.
    pub fn write(&mut self, stream: StreamId, payload: Bytes) {
        self.network.write(self.now, stream, payload);
    }

    /// Closes a stream.
    pub fn close(&mut self, stream: StreamId) {
        self.owners.streams.remove(&stream);
        self.network.close(self.now, stream);
    }
}

/// Which node owns which socket and stream.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// By the sockets' numbers.
    sockets: Vec<Option<NodeId>>,
    streams: BTreeMap<StreamId, NodeId>,
}

impl Owners {
    fn own(&mut self, socket: SocketId, node: NodeId) {
        let index = socket.index();
        if self.sockets.len() <= index {
            self.sockets.resize(index + 1, None);
        }
        self.sockets[index] = Some(node);
    }

    fn disown(&mut self, socket: SocketId) {
        if let Some(owner) = self.sockets.get_mut(socket.index()) {
            *owner = None;
        }
    }

    fn owner(&self, socket: SocketId) -> Option<NodeId> {
        self.sockets.get(socket.index()).copied().flatten()
    }

    /// The node that a delivery is for; keeps account of streams that come and go.
    pub(crate) fn of(&mut self, delivery: &Delivery) -> Option<NodeId> {
        match delivery {
            Delivery::Datagram { socket, .. } => self.owner(*socket),
            Delivery::Accepted {
                listener, stream, ..
            } => {
                let owner = self.owner(*listener)?;
                self.streams.insert(*stream, owner);
                Some(owner)
            }
            Delivery::Connected { stream } | Delivery::Data { stream, .. } => {
                self.streams.get(stream).copied()
            }
            Delivery::Refused { stream } | Delivery::Closed { stream, .. } => {
                self.streams.remove(stream)
            }
        }
    }
}
