//! Where requests and responses go: Via, rport, Route and connections (RFC 3261 §18, RFC 3581).

pub mod access;
pub mod identity;
pub mod resolve;
pub mod route;
pub mod stun;
pub mod tls;
pub mod trust;

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
    /// The same over TLS.
    Tls,
    /// WebSocket messages (RFC 7118).
    Ws,
    /// WebSocket messages over TLS.
    Wss,
}

impl Transport {
    /// The name in a Via header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The transport of this name in a Via header, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];
        all.into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(name))
    }

    /// What a SIP URI says for it; nothing for UDP, which is meant where nothing is said. Both kinds
    /// of WebSocket are `ws` (RFC 7118 §5.5).
    pub fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }

    /// Whether TLS protects it on this hop.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether a message is what comes at once, not what Content-Length says.
    pub fn is_framed(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The port where none is given (RFC 3261 §19.1.2, RFC 7118 §5.5).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether messages neither get lost nor are repeated.
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
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
    /// The host name that Via and Contact say in place of an address, such as the one that the
    /// certificate is for. Peers must find the public address by it.
    pub host: Option<String>,
    /// Whether peers may be behind NAT: responses go to where the request came from, and requests
    /// within a dialog to where the peer's came from, unless a proxy stands between. Peers that
    /// connect by TLS or WebSocket are always treated so: they seldom can be connected to.
    pub nat: bool,
    /// Who may send requests to it.
    pub access: AccessList,
    /// Whether recording sessions may be begun here (RFC 7866); elsewhere they get 420.
    pub records: bool,
}

impl Listener {
    /// A listener that advertises the address it is bound to.
    pub fn new(transport: Transport, local: SocketAddr) -> Self {
        Self {
            transport,
            local,
            advertised: None,
            host: None,
            nat: false,
            access: AccessList::default(),
            records: false,
        }
    }

    /// The address that peers are told.
    pub fn public(&self) -> SocketAddr {
        self.advertised.unwrap_or(self.local)
    }

    /// Host and port as Via and Contact show them.
    pub fn sent_by(&self) -> String {
        let public = self.public();
        match &self.host {
            Some(host) => format!("{host}:{}", public.port()),
            // Without the scope of a link-local address.
            None => SocketAddr::new(public.ip(), public.port()).to_string(),
        }
    }

    /// Whether requests within a dialog go to where the peer's came from.
    pub fn follows_source(&self) -> bool {
        self.nat || self.transport.is_secure() || self.transport.is_framed()
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
