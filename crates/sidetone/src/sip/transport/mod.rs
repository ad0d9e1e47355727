//! Where requests and responses go: Via, rport, Route and connections (RFC 3261 §18, RFC 3581).

pub mod access;
pub mod route;

use self::access::AccessList;
use crate::id::{ConnectionId, ListenerId};
use std::net::SocketAddr;

/// A transport protocol that SIP runs over here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams: unreliable, retransmitted by the transactions.
    Udp,
    /// A stream, framed by Content-Length.
    Tcp,
}

impl Transport {
    /// The name in a Via header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }

    /// Whether messages neither get lost nor are repeated.
    pub fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp)
    }
}

/// One listening socket as the agent knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub transport: Transport,
    /// The address that the socket is bound to. An unspecified address (`0.0.0.0`, `::`) needs an
    /// advertised one.
    pub local: SocketAddr,
    /// What Via and Contact say in place of `local`, such as the address outside a NAT.
    pub advertised: Option<SocketAddr>,
    /// Who may send requests to it.
    pub access: AccessList,
}

impl Listener {
    /// A listener that advertises the address it is bound to.
    pub fn new(transport: Transport, local: SocketAddr) -> Self {
        Self {
            transport,
            local,
            advertised: None,
            access: AccessList::default(),
        }
    }

    /// The address that peers are told.
    pub fn public(&self) -> SocketAddr {
        self.advertised.unwrap_or(self.local)
    }
}

/// Where a message is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// As one datagram from a listener's socket.
    Datagram {
        /// The socket to send from.
        listener: ListenerId,
        /// The address to send to.
        destination: SocketAddr,
    },
    /// On a stream connection.
    Stream {
        /// The connection.
        connection: ConnectionId,
    },
}

impl Path {
    /// Whether the path neither loses nor repeats messages.
    pub fn is_reliable(self) -> bool {
        matches!(self, Self::Stream { .. })
    }
}

/// A resolved next hop: a transport and a numeric address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The protocol to use.
    pub transport: Transport,
    /// The address and port.
    pub address: SocketAddr,
}
