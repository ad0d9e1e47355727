//! The same calls by `std::net` alone, for systems other than Linux: every socket is tried again
//! and again, so it is for development, not for load.

use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::batch::{BATCH, Meta, ReceiveBatch, SendBatch, Sent};
use crate::poll::READY;
use crate::socket::{Socket, canonical};

/// The longest that a wait lasts before all sockets are tried again.
const TRY_EVERY: Duration = Duration::from_millis(2);

pub(crate) fn pin_current_thread(_core: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn enable_timestamps(_socket: &UdpSocket) {}

#[cfg(not(target_os = "linux"))]
pub(crate) fn enable_errors(_socket: crate::unreachable::handle::Raw<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn take_error(
    _socket: crate::unreachable::handle::Raw<'_>,
) -> io::Result<crate::unreachable::Unreachable> {
    Err(io::ErrorKind::WouldBlock.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn configure(
    _socket: &UdpSocket,
    _is_v6: bool,
    options: &crate::socket::Options,
) -> io::Result<()> {
    match *options == crate::socket::Options::default() {
        true => Ok(()),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prioritise_current_thread(_priority: u8) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn humble_current_thread() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn receive(socket: &Socket, batch: &mut ReceiveBatch) -> io::Result<usize> {
    batch.asked = BATCH;
    let buffers = batch.storage.chunks_exact_mut(batch.datagram_size);
    let mut count = 0;
    for (buffer, meta) in buffers.zip(&mut batch.meta) {
        match socket.std().recv_from(buffer) {
            Ok((length, source)) => {
                // The standard library does not say whether the end was cut off.
                let source = canonical(source);
                *meta = Meta {
                    source,
                    length,
                    truncated: false,
                    waited: Duration::ZERO,
                };
                count += 1;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            // Some systems report here that an earlier datagram could not be delivered.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => continue,
            Err(e) if count == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(count)
}

pub(crate) fn send(socket: &Socket, batch: &SendBatch, count: usize) -> Sent {
    let mut result = Sent::default();
    for index in 0..count.min(BATCH) {
        let (destination, bytes) = batch.datagram(index);
        match socket.send_to(bytes, destination) {
            Ok(()) => result.sent += 1,
            Err(_) => result.refused += 1,
        }
    }
    result
}

#[derive(Debug)]
pub(crate) struct Poller {
    tokens: Vec<u64>,
    next: usize,
    waker: Arc<Waker>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            tokens: Vec::new(),
            next: 0,
            waker: Arc::default(),
        })
    }

    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub(crate) fn add(&mut self, _socket: &Socket, token: u64) -> io::Result<()> {
        if self.tokens.contains(&token) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.tokens.push(token);
        Ok(())
    }

    /// Every socket is reported each time.
    pub(crate) fn again(&mut self, _socket: &Socket, token: u64) -> io::Result<()> {
        let watched = self.tokens.contains(&token);
        watched
            .then_some(())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn remove(&mut self, _socket: &Socket, token: u64) -> io::Result<()> {
        let found = self.tokens.iter().position(|&t| t == token);
        self.tokens
            .swap_remove(found.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<u64>,
    ) -> io::Result<()> {
        let longest = if self.tokens.is_empty() {
            None
        } else {
            Some(TRY_EVERY)
        };
        let timeout = match (timeout, longest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.waker.wait(timeout);
        for _ in 0..self.tokens.len().min(READY) {
            self.next = (self.next + 1) % self.tokens.len();
            ready.push(self.tokens[self.next]);
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, timeout: Duration) -> io::Result<()> {
        self.waker.wait(Some(timeout));
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Waker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Waker {
    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self, timeout: Option<Duration>) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = match timeout {
            Some(timeout) => {
                let waited = self
                    .changed
                    .wait_timeout_while(woken, timeout, |woken| !*woken);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait_while(woken, |woken| !*woken);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        *woken = false;
    }
}
