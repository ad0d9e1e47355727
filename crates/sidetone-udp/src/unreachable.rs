//! What the network says of datagrams that could not be delivered (ICMP).
//!
//! A socket that sends to many is not told by its calls: the kernel keeps what arrives in a queue of
//! errors. Anybody can send such errors; what they quote of the datagram shows whether it was one of
//! ours, and that is for the caller to judge.

use std::io;
use std::net::SocketAddr;

use crate::sys;

/// A datagram that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Where it was sent.
    pub destination: SocketAddr,
    /// As much of it as the error quotes: 8 bytes of its header may have been all, then it is empty.
    pub bytes: Vec<u8>,
}

#[cfg(target_os = "linux")]
pub(crate) mod handle {
    use std::os::fd::{AsFd, BorrowedFd};

    /// A UDP socket of whatever library.
    pub trait Handle: AsFd {}
    impl<S: AsFd> Handle for S {}

    pub(crate) type Raw<'a> = BorrowedFd<'a>;

    pub(crate) fn raw<S: Handle>(socket: &S) -> Raw<'_> {
        socket.as_fd()
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) mod handle {
    /// A UDP socket of whatever library.
    pub trait Handle {}
    impl<S> Handle for S {}

    pub(crate) type Raw<'a> = std::marker::PhantomData<&'a ()>;

    pub(crate) fn raw<S: Handle>(_socket: &S) -> Raw<'_> {
        std::marker::PhantomData
    }
}

pub use handle::Handle;

/// Asks the kernel to keep what it is told of the socket's datagrams. From then on receiving and sending
/// calls may fail with the error of an earlier datagram, once for each; they have done nothing then.
///
/// # Errors
/// The system's error. Where the system has no such queue nothing happens.
pub fn listen(socket: &impl Handle) -> io::Result<()> {
    sys::enable_errors(handle::raw(socket))
}

/// The next datagram that could not be delivered: no such host, net, port or protocol, or a broken
/// header. What only slows a way down (no route for a while, too large, lived too long) is passed over,
/// as RFC 3261 §18.4 has it. Never blocks.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] where there is none; else the system's error.
///
/// ```
/// use std::net::UdpSocket;
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// sidetone_udp::unreachable::listen(&socket)?;
/// let none = sidetone_udp::unreachable::take(&socket).unwrap_err();
/// assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
/// # std::io::Result::Ok(())
/// ```
pub fn take(socket: &impl Handle) -> io::Result<Unreachable> {
    sys::take_error(handle::raw(socket))
}
