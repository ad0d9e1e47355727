//! Waiting for many sockets at once, until a deadline or a wake-up from another thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::socket::Socket;
use crate::sys;

/// How many tokens one [`Poller::wait`] reports at most; the rest follow with the next call.
pub const READY: usize = 256;

/// Watches sockets for arriving datagrams. Each arrival is reported once (edge-triggered, which spares
/// the system to look again at every socket that was read): whoever may have left datagrams in a socket
/// asks for it to be reported [`again`](Self::again).
///
/// ```
/// use sidetone_udp::{poll::Poller, socket::Socket};
/// use std::time::Duration;
/// let mut poller = Poller::new()?;
/// let socket = Socket::bind("127.0.0.1:0".parse().unwrap())?;
/// poller.add(&socket, 7)?;
/// socket.send_to(b"to myself", socket.local_address())?;
/// poller.wait(Some(Duration::from_secs(5)))?;
/// assert_eq!(poller.ready(), [7]);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Poller {
    inner: sys::Poller,
    ready: Vec<u64>,
}

impl Poller {
    /// A poller that watches nothing but its own wakers.
    ///
    /// # Errors
    /// The system's error: too many files open.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inner: sys::Poller::new()?,
            ready: Vec::with_capacity(READY),
        })
    }

    /// A handle by which any thread cuts a [`wait`](Self::wait) short.
    pub fn waker(&self) -> Waker {
        Waker(self.inner.waker())
    }

    /// Watches `socket` and reports it as `token`. `u64::MAX` is not a token.
    ///
    /// # Errors
    /// The system's error: the socket is watched already, or out of memory.
    pub fn add(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        if token == u64::MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.inner.add(socket, token)
    }

    /// Has `socket`, which is watched, reported once more if there is anything in it: after a
    /// [`receive`](crate::batch::ReceiveBatch::receive) that failed, or that may have
    /// [left something](crate::batch::ReceiveBatch::may_have_left).
    ///
    /// # Errors
    /// The system's error: the socket is not watched.
    pub fn again(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.inner.again(socket, token)
    }

    /// Stops watching `socket`.
    ///
    /// # Errors
    /// The system's error: the socket is not watched.
    pub fn remove(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.inner.remove(socket, token)
    }

    /// Waits until a socket has something to read, a waker is used, or `timeout` has passed (`None`
    /// waits for ever). Allocates nothing. A wake-up that came before the call ends it at once.
    ///
    /// # Errors
    /// The system's error. Being interrupted by a signal is none: nothing is ready then.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.ready.clear();
        self.inner.wait(timeout, &mut self.ready)
    }

    /// Waits until a waker is used or `timeout` has passed, whatever arrives at the sockets: so that
    /// more than one datagram is there when they are looked at. Allocates nothing.
    ///
    /// # Errors
    /// The system's error. Being interrupted by a signal is none.
    pub fn pause(&mut self, timeout: Duration) -> io::Result<()> {
        self.inner.pause(timeout)
    }

    /// The tokens of the sockets found ready by the last [`wait`](Self::wait).
    pub fn ready(&self) -> &[u64] {
        &self.ready
    }
}

/// Wakes the [`Poller`] that it came from; cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker(Arc<sys::Waker>);

impl Waker {
    /// Ends the current or else the next [`Poller::wait`]. Several wake-ups may count as one.
    pub fn wake(&self) {
        self.0.wake();
    }
}
