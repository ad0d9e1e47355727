//! Preallocated buffers for datagrams received and to be sent in one system call.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::socket::Socket;
use crate::sys;

/// How many datagrams one system call moves at most.
pub const BATCH: usize = 16;

/// What arrived with one datagram besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) source: SocketAddr,
    pub(crate) length: usize,
    pub(crate) truncated: bool,
    pub(crate) waited: Duration,
}

impl Meta {
    pub(crate) const EMPTY: Self = Self {
        source: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        length: 0,
        truncated: false,
        waited: Duration::ZERO,
    };
}

/// One received datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it; an IPv4-mapped IPv6 address is given as IPv4.
    pub source: SocketAddr,
    /// The bytes, which the reader may change in place.
    pub bytes: &'a mut [u8],
    /// Whether the datagram was longer than the buffer and lost its end.
    pub truncated: bool,
    /// How long the datagram had waited in the system when it was read; zero where the system does
    /// not tell.
    pub waited: Duration,
}

/// Buffers for [`BATCH`] received datagrams, reused from call to call.
#[derive(Debug)]
pub struct ReceiveBatch {
    pub(crate) storage: Vec<u8>,
    pub(crate) datagram_size: usize,
    pub(crate) meta: [Meta; BATCH],
    /// How many the last call asked for.
    pub(crate) asked: usize,
    count: usize,
}

impl ReceiveBatch {
    /// Buffers for datagrams of up to `datagram_size` bytes; longer ones are truncated and marked.
    /// Costs [`BATCH`] times that many bytes. At least one byte is taken.
    pub fn new(datagram_size: usize) -> Self {
        let datagram_size = datagram_size.max(1);
        Self {
            storage: vec![0; datagram_size * BATCH],
            datagram_size,
            meta: [Meta::EMPTY; BATCH],
            asked: BATCH,
            count: 0,
        }
    }

    /// Takes up to [`BATCH`] datagrams that have arrived at `socket`, replacing those held, and
    /// says how many. Zero where none is waiting. Never blocks.
    ///
    /// # Errors
    /// The system's error, other than "would block". The batch is then empty.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let received = sys::receive(socket, self);
        if received.is_err() {
            // What is behind an error is not known.
            self.asked = 0;
        }
        self.count = *received.as_ref().unwrap_or(&0);
        received
    }

    /// Whether the last call took as many as it asked for, or failed, so that there may be more; a
    /// [`Poller`](crate::poll::Poller) does not say so by itself.
    pub fn may_have_left(&self) -> bool {
        self.count >= self.asked
    }

    /// Whether the last call found at least so many.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only recvmmsg asks")
    )]
    pub(crate) fn held(&self, count: usize) -> bool {
        self.count >= count
    }

    /// The datagrams of the last [`receive`](Self::receive), in order of arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let buffers = self.storage.chunks_exact_mut(self.datagram_size);
        let meta = self.meta.iter().take(self.count);
        buffers.zip(meta).map(|(buffer, meta)| Datagram {
            source: meta.source,
            bytes: &mut buffer[..meta.length],
            truncated: meta.truncated,
            waited: meta.waited,
        })
    }
}

/// What became of a [`SendBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Datagrams that the system took.
    pub sent: usize,
    /// Datagrams that it refused: buffer full, no route, too long. They are gone.
    pub refused: usize,
}

/// Up to [`BATCH`] datagrams to be sent from one socket, each to its own destination.
#[derive(Debug)]
pub struct SendBatch {
    pub(crate) storage: Vec<u8>,
    pub(crate) datagram_size: usize,
    pub(crate) meta: [(SocketAddr, usize); BATCH],
    count: usize,
}

impl SendBatch {
    /// Buffers for datagrams of up to `datagram_size` bytes. At least one byte is taken.
    pub fn new(datagram_size: usize) -> Self {
        let datagram_size = datagram_size.max(1);
        Self {
            storage: vec![0; datagram_size * BATCH],
            datagram_size,
            meta: [(Meta::EMPTY.source, 0); BATCH],
            count: 0,
        }
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether [`push`](Self::push) would refuse for want of room.
    pub fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// Copies a datagram into the batch. Returns false, and takes nothing, where the batch is full
    /// or `bytes` is longer than the datagram size.
    pub fn push(&mut self, destination: SocketAddr, bytes: &[u8]) -> bool {
        if self.is_full() || bytes.len() > self.datagram_size {
            return false;
        }
        let start = self.count * self.datagram_size;
        self.storage[start..start + bytes.len()].copy_from_slice(bytes);
        self.meta[self.count] = (destination, bytes.len());
        self.count += 1;
        true
    }

    /// Sends everything from `socket` and empties the batch. Never blocks: what the system refuses
    /// is dropped and counted, as a late media packet is worth nothing.
    pub fn send(&mut self, socket: &Socket) -> Sent {
        let count = std::mem::take(&mut self.count);
        if count == 1 {
            let (destination, length) = self.meta[0];
            let sent = socket.send_to(&self.storage[..length], destination).is_ok();
            return Sent {
                sent: usize::from(sent),
                refused: usize::from(!sent),
            };
        }
        sys::send(socket, self, count)
    }

    /// The `index`th datagram: destination and bytes.
    pub(crate) fn datagram(&self, index: usize) -> (SocketAddr, &[u8]) {
        let (destination, length) = self.meta[index];
        let start = index * self.datagram_size;
        (destination, &self.storage[start..start + length])
    }
}
