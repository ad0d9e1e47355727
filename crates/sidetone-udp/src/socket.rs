//! A non-blocking UDP socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::sys;

/// What the system is asked to do for a socket, beyond what it does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The differentiated services code point of what is sent (RFC 2474), 0 to 63: 46 is expedited
    /// forwarding, which voice asks for. `None` leaves it to the system.
    pub dscp: Option<u8>,
    /// Bytes that may wait to be received. The system may bound it, and Linux counts each datagram at
    /// some 800 bytes besides its own.
    pub receive_buffer: Option<usize>,
    /// Bytes that may wait to be sent.
    pub send_buffer: Option<usize>,
}

/// A bound, non-blocking UDP socket. It may be sent from and received at by several threads.
///
/// ```
/// use sidetone_udp::{batch::ReceiveBatch, socket::Socket};
/// let a = Socket::bind("127.0.0.1:0".parse().unwrap())?;
/// let b = Socket::bind("127.0.0.1:0".parse().unwrap())?;
/// a.send_to(b"hello", b.local_address())?;
///
/// let mut batch = ReceiveBatch::new(1500);
/// while batch.receive(&b)? == 0 {}
/// let datagram = batch.datagrams().next().unwrap();
/// assert_eq!((datagram.source, &*datagram.bytes), (a.local_address(), &b"hello"[..]));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Socket {
    inner: UdpSocket,
    local: SocketAddr,
}

impl Socket {
    /// Binds to `address`; port 0 takes any free port. Kernel receive timestamps are switched on
    /// where the system has them.
    ///
    /// # Errors
    /// The system's error: address in use, not ours, too many files open.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_std(UdpSocket::bind(address)?)
    }

    /// Takes over a socket that was opened elsewhere and makes it non-blocking.
    ///
    /// # Errors
    /// The system's error where the socket is not bound.
    pub fn from_std(inner: UdpSocket) -> io::Result<Self> {
        inner.set_nonblocking(true)?;
        let local = inner.local_addr()?;
        sys::enable_timestamps(&inner);
        Ok(Self { inner, local })
    }

    /// Asks the system for these options.
    ///
    /// # Errors
    /// The system's error: it does not allow or does not know one of them
    /// ([`io::ErrorKind::Unsupported`] for any but on Linux); [`io::ErrorKind::InvalidInput`] for a
    /// code point above 63. Those before it are set.
    pub fn configure(&self, options: &Options) -> io::Result<()> {
        if options.dscp.is_some_and(|dscp| dscp > 63) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sys::configure(&self.inner, self.local.is_ipv6(), options)
    }

    /// The address that the socket is bound to, with the port that the system chose.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sends one datagram. Never blocks.
    ///
    /// # Errors
    /// The system's error: would block, no route, too long. The datagram is then gone.
    pub fn send_to(&self, bytes: &[u8], destination: SocketAddr) -> io::Result<()> {
        self.inner
            .send_to(bytes, self.reachable(destination))
            .map(drop)
    }

    pub(crate) fn std(&self) -> &UdpSocket {
        &self.inner
    }

    /// `destination` in the address family of this socket: an IPv6 socket reaches IPv4 through
    /// mapped addresses.
    pub(crate) fn reachable(&self, destination: SocketAddr) -> SocketAddr {
        match (self.local, destination.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), destination.port())
            }
            _ => destination,
        }
    }
}

/// `address` with an IPv4-mapped IPv6 address turned into the IPv4 address that it stands for.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(v6.ip().to_canonical(), v6.port())
        }
        other => other,
    }
}
