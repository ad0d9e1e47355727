//! What the signalling thread's sockets have for the core.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::id::{ConnectionId, ListenerId};
use crate::net::clock::Clock;
use crate::sip::agent::event::LookupId;
use crate::sip::transport::resolve::{Question, Record};
use crate::time::Instant;

/// Something that a socket has for the core.
pub(super) enum Input {
    Datagram {
        listener: ListenerId,
        source: SocketAddr,
        bytes: Bytes,
    },
    /// The network could not deliver a datagram of ours.
    Unreachable {
        listener: ListenerId,
        destination: SocketAddr,
        quoted: Vec<u8>,
    },
    Accepted {
        listener: ListenerId,
        remote: SocketAddr,
        stream: TcpStream,
    },
    /// A peer that has connected has shown for whom it speaks: for nobody where it need not.
    Identified {
        connection: ConnectionId,
        domains: Vec<String>,
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

/// An input, and when it came.
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) input: Input,
}

/// The way to the signalling thread; what goes in is told when it came, so that its wait shows.
#[derive(Clone)]
pub(super) struct Inputs {
    sender: mpsc::Sender<Arrived>,
    clock: Clock,
}

impl Inputs {
    /// The way in and its end, with room for `backlog` inputs.
    pub(super) fn new(backlog: usize, clock: Clock) -> (Self, mpsc::Receiver<Arrived>) {
        let (sender, arrived) = mpsc::channel(backlog);
        (Self { sender, clock }, arrived)
    }

    /// Hands an input over, once there is room.
    ///
    /// # Errors
    /// The signalling thread has ended.
    pub(super) async fn send(&self, input: Input) -> Result<(), Gone> {
        let at = self.clock.now();
        let sent = self.sender.send(Arrived { at, input }).await;
        sent.map_err(|_| Gone)
    }
}

/// The signalling thread has ended.
#[derive(Debug)]
pub(super) struct Gone;
