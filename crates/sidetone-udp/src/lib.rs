//! Batched UDP sockets for media threads; knows no telephony.
//!
//! A media thread owns some thousand sockets, waits for all of them with one call, takes what has
//! arrived in batches and sends in batches:
//!
//! - [`socket::Socket`]: a non-blocking UDP socket, IPv4 or IPv6;
//! - [`batch::ReceiveBatch`] and [`batch::SendBatch`]: preallocated datagram buffers, one system
//!   call for up to [`batch::BATCH`] datagrams of one socket;
//! - [`poll::Poller`] and [`poll::Waker`]: readiness of many sockets until a deadline, cut short by
//!   another thread;
//! - [`mod@unreachable`]: datagrams that came to nothing, as the network tells it;
//! - [`affinity`]: pinning the calling thread to a core.
//!
//! On Linux these are `recvmmsg`, `sendmmsg`, `epoll` with an `eventfd`, and kernel receive
//! timestamps. Elsewhere a portable module over `std::net` takes their place: correct, but it polls
//! every socket at least every two milliseconds, so it is for development, not for load.
//!
//! # Why not `quinn-udp`
//! It was weighed first, and serves another shape. QUIC has one socket and many datagrams to one
//! destination, so its `send` takes one destination a call (generic segmentation offload; `sendmmsg`
//! was removed in 0.5). Media has one socket a stream, small datagrams, and a thread that must wait
//! on all of them with a deadline: half of this crate is the waiting, which `quinn-udp` leaves to an
//! asynchronous runtime. It reports no kernel arrival time, which jitter statistics want, and brings
//! `socket2` and `tracing`. What it would have saved is about a hundred lines of `recvmmsg`.
//!
//! With one socket a stream, a batch is seldom larger than one: `sendmmsg` sends for one socket
//! only. Batches form where a stream sends several datagrams at once (two 10 ms packets a 20 ms
//! tick) and where a thread falls behind. A single datagram therefore takes the plain `sendto`.
//!
//! # Unsafe code
//! All of it is in `linux.rs`: calls into libc with pointers to buffers that outlive the call, and
//! reading what the kernel wrote. Each block says why it is sound.

pub mod affinity;
pub mod batch;
#[cfg(target_os = "linux")]
mod linux;
pub mod poll;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
pub mod socket;
pub mod unreachable;

#[cfg(target_os = "linux")]
use linux as sys;
#[cfg(not(target_os = "linux"))]
use portable as sys;

#[cfg(test)]
mod tests;
