//! The floor of every relay: takes datagrams with `recvmmsg` and sends each on from the other socket of
//! its pair, and does nothing else. Benchmarks hold the engine against it.
//!
//! `floor PAIRS FIRST_PEER ADDRESSES [GATHER_MICROS]` binds twice as many sockets as pairs on the loopback,
//! writes their addresses to a file, a line a pair, and sends what comes to socket n from socket n ^ 1 to
//! the peer of that number, which is at port FIRST_PEER + 2 (n ^ 1). It runs until it is killed.

#![allow(clippy::print_stdout, reason = "it says when it is ready")]

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Write as _;
    use std::io;
    use std::mem;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::ptr;
    use std::time::Duration;

    const BATCH: usize = 16;
    const MTU: usize = 1_500;
    const READY: usize = 256;

    pub(crate) fn run() -> io::Result<()> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok());
        let (Some(pairs), Some(peer), Some(file)) = (number(0), number(1), words.get(2)) else {
            return Err(io::Error::other(
                "PAIRS FIRST_PEER ADDRESSES [GATHER_MICROS]",
            ));
        };
        let gather = Duration::from_micros(number(3).unwrap_or(0) as u64);
        let mut sockets = Vec::new();
        let mut text = String::new();
        for index in 0..pairs * 2 {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            let end = if index % 2 == 0 { ' ' } else { '\n' };
            let _ = write!(text, "{}{end}", socket.local_addr()?);
            sockets.push(socket);
        }
        std::fs::write(file, text)?;
        println!("relaying");
        relay(&sockets, peer, gather)
    }

    fn peer_address(port: usize) -> libc::sockaddr_in {
        libc::sockaddr_in {
            sin_family: libc::AF_INET as _,
            sin_port: (port as u16).to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be(),
            },
            sin_zero: [0; 8],
        }
    }

    fn relay(sockets: &[UdpSocket], peer: usize, gather: Duration) -> io::Result<()> {
        // SAFETY: no pointers; the result is checked by its use.
        let epoll = unsafe { libc::epoll_create1(0) };
        for (index, socket) in sockets.iter().enumerate() {
            let mut event = libc::epoll_event {
                events: libc::EPOLLIN as u32,
                u64: index as u64,
            };
            // SAFETY: `event` lives during the call, and the kernel copies it.
            unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) };
        }
        let mut peers: Vec<libc::sockaddr_in> = (0..sockets.len())
            .map(|index| peer_address(peer + index * 2))
            .collect();
        let mut buffers = vec![[0_u8; MTU]; BATCH];
        let mut vectors: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: MTU,
            })
            .collect();
        // SAFETY: for this type all zeros is a valid value: numbers and null pointers.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut ready = vec![libc::epoll_event { events: 0, u64: 0 }; READY];
        loop {
            // SAFETY: `ready` has room for READY events and is not touched during the call.
            let count = unsafe { libc::epoll_wait(epoll, ready.as_mut_ptr(), READY as _, -1) };
            for event in &ready[..count.max(0) as usize] {
                let index = event.u64 as usize;
                let (from, other) = (&sockets[index], index ^ 1);
                for (header, vector) in headers.iter_mut().zip(&mut vectors) {
                    vector.iov_len = MTU;
                    header.msg_hdr.msg_iov = ptr::from_mut(vector);
                    header.msg_hdr.msg_iovlen = 1;
                    header.msg_hdr.msg_name = ptr::null_mut();
                    header.msg_hdr.msg_namelen = 0;
                }
                // SAFETY: each header points to one vector, each vector to a buffer of its true size,
                // and all live until the call has returned.
                let received = unsafe {
                    let (first, none) = (headers.as_mut_ptr(), ptr::null_mut());
                    libc::recvmmsg(
                        from.as_raw_fd(),
                        first,
                        BATCH as _,
                        libc::MSG_DONTWAIT as _,
                        none,
                    )
                };
                let received = received.max(0) as usize;
                for (header, vector) in headers.iter_mut().zip(&mut vectors).take(received) {
                    vector.iov_len = header.msg_len as usize;
                    header.msg_hdr.msg_name = ptr::from_mut(&mut peers[other]).cast();
                    header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as _;
                }
                if received > 0 {
                    let to = sockets[other].as_raw_fd();
                    // SAFETY: as above, for the headers that were filled.
                    unsafe { libc::sendmmsg(to, headers.as_mut_ptr(), received as _, 0) };
                }
            }
            if !gather.is_zero() {
                // Lets datagrams gather, as a relay may that adds no more delay than this.
                let pause = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: gather.subsec_nanos() as _,
                };
                // SAFETY: the pointer describes `pause`; the time left is not wanted.
                unsafe { libc::nanosleep(&pause, ptr::null_mut()) };
            }
        }
    }
}
