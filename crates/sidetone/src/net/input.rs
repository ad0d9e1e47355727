//! What the signalling thread's sockets have for the core.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::id::{ConnectionId, ListenerId};
use crate::sip::agent::event::LookupId;
use crate::sip::transport::resolve::{Question, Record};

/// Something that a socket has for the core.
pub(super) enum Input {
    Datagram {
        listener: ListenerId,
        source: SocketAddr,
        bytes: Bytes,
    },
    Accepted {
        listener: ListenerId,
        remote: SocketAddr,
        stream: TcpStream,
    },
    Connected {
        connection: ConnectionId,
    },
    Stream {
        connection: ConnectionId,
        bytes: Bytes,
    },
    Closed {
        connection: ConnectionId,
    },
    Records {
        lookup: LookupId,
        question: Question,
        records: Vec<Record>,
    },
}
