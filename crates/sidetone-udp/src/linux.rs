//! Linux: `recvmmsg`, `sendmmsg`, `epoll` with an `eventfd`, kernel receive timestamps.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libc::{c_int, c_void, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

use crate::batch::{BATCH, Meta, ReceiveBatch, SendBatch, Sent};
use crate::poll::READY;
use crate::socket::{Options, Socket, canonical};
use crate::unreachable::Unreachable;

/// The token of the `eventfd` in the `epoll` set.
const WAKER: u64 = u64::MAX;

/// Room for one timestamp in a control message, in `u64` so that it is aligned as `cmsghdr` wants.
type Control = [u64; 8];

/// The same for an error and the address of who tells of it.
type ErrorControl = [u64; 16];

pub(crate) fn pin_current_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a `cpu_set_t` is plain bits, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` was checked to lie inside the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer and the size describe `set`, which lives during the call; 0 means the
    // calling thread.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) }).map(drop)
}

/// Runs the calling thread before all others that have no priority of this kind.
pub(crate) fn prioritise_current_thread(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: c_int::from(priority.clamp(1, 99)),
    };
    // SAFETY: the pointer describes `parameters`, which lives during the call; 0 means the calling
    // thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &parameters) }).map(drop)
}

pub(crate) fn humble_current_thread() -> io::Result<()> {
    // SAFETY: no pointers; 0 means the calling thread, for Linux counts threads here.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) }).map(drop)
}

/// Best effort: without timestamps a datagram counts as arrived when it is read.
pub(crate) fn enable_timestamps(socket: &UdpSocket) {
    let _without = set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
}

pub(crate) fn configure(socket: &UdpSocket, is_v6: bool, options: &Options) -> io::Result<()> {
    if let Some(dscp) = options.dscp {
        let class = c_int::from(dscp) << 2;
        if is_v6 {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?;
        }
        // Sockets of IPv6 reach IPv4 too.
        set(socket, libc::IPPROTO_IP, libc::IP_TOS, class)?;
    }
    let buffers = [
        (libc::SO_RCVBUF, options.receive_buffer),
        (libc::SO_SNDBUF, options.send_buffer),
    ];
    for (name, bytes) in buffers {
        if let Some(bytes) = bytes {
            let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
            set(socket, libc::SOL_SOCKET, name, bytes)?;
        }
    }
    Ok(())
}

fn set(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the value pointer and length describe `value`, which lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            mem::size_of::<c_int>() as socklen_t,
        )
    };
    check(result).map(drop)
}

/// What an option is set to.
#[cfg(test)]
pub(crate) fn get(socket: &UdpSocket, level: c_int, name: c_int) -> c_int {
    let (mut value, mut length) = (0, mem::size_of::<c_int>() as socklen_t);
    // SAFETY: the pointers describe `value` and `length`, which live during the call.
    let result = unsafe {
        let place = ptr::from_mut(&mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), level, name, place, &mut length)
    };
    assert!(check(result).is_ok());
    value
}

/// As many datagrams as are mostly there at once: room for more costs time that is mostly wasted.
const FEW: usize = 4;

pub(crate) fn receive(socket: &Socket, batch: &mut ReceiveBatch) -> io::Result<usize> {
    // Where a batch was full, somebody is behind, and more are there at once.
    match batch.held(FEW) {
        true => receive_up_to::<BATCH>(socket, batch),
        false => receive_up_to::<FEW>(socket, batch),
    }
}

fn receive_up_to<const MOST: usize>(
    socket: &Socket,
    batch: &mut ReceiveBatch,
) -> io::Result<usize> {
    // SAFETY: for both types all zeros is a valid value: numbers, and null pointers of length 0.
    let (mut headers, mut vectors): ([libc::mmsghdr; MOST], [libc::iovec; MOST]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut names = [const { MaybeUninit::<sockaddr_storage>::zeroed() }; MOST];
    let mut controls: [Control; MOST] = [[0; 8]; MOST];
    batch.asked = MOST;
    let buffers = batch.storage.chunks_exact_mut(batch.datagram_size);
    for (i, buffer) in buffers.enumerate().take(MOST) {
        vectors[i] = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let header = &mut headers[i].msg_hdr;
        header.msg_name = names[i].as_mut_ptr().cast();
        header.msg_namelen = mem::size_of::<sockaddr_storage>() as socklen_t;
        header.msg_iov = ptr::from_mut(&mut vectors[i]);
        header.msg_iovlen = 1;
        header.msg_control = controls[i].as_mut_ptr().cast();
        header.msg_controllen = mem::size_of::<Control>() as _;
    }
    // SAFETY: `headers` holds MOST messages; each points to its own name, control and data buffer
    // with their true sizes, none overlap, and all live until the call has returned.
    let received = unsafe {
        libc::recvmmsg(
            socket.std().as_raw_fd(),
            headers.as_mut_ptr(),
            MOST as _,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let count = match check(received) {
        Ok(count) => count as usize,
        Err(e) if is_empty(&e) => return Ok(0),
        Err(e) => return Err(e),
    };
    let now = realtime();
    for (i, message) in headers.iter().enumerate().take(count) {
        // SAFETY: the storage was zeroed, which is a valid value, whatever part the kernel wrote.
        let name = unsafe { names[i].assume_init_ref() };
        batch.meta[i] = Meta {
            source: canonical(read_address(name)),
            length: (message.msg_len as usize).min(batch.datagram_size),
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            waited: arrival(&message.msg_hdr).map_or(Duration::ZERO, |at| now.saturating_sub(at)),
        };
    }
    Ok(count)
}

pub(crate) fn send(socket: &Socket, batch: &SendBatch, count: usize) -> Sent {
    // SAFETY: for both types all zeros is a valid value: numbers, and null pointers of length 0.
    let (mut headers, mut vectors): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut names = [const { MaybeUninit::<sockaddr_storage>::zeroed() }; BATCH];
    let count = count.min(BATCH);
    for i in 0..count {
        let (destination, bytes) = batch.datagram(i);
        let length = write_address(socket.reachable(destination), &mut names[i]);
        // The kernel only reads through this pointer; the type is shared with receiving.
        vectors[i] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let header = &mut headers[i].msg_hdr;
        header.msg_name = names[i].as_mut_ptr().cast();
        header.msg_namelen = length;
        header.msg_iov = ptr::from_mut(&mut vectors[i]);
        header.msg_iovlen = 1;
    }
    let mut result = Sent::default();
    let mut next = 0;
    while next < count {
        // SAFETY: `headers[next..count]` are filled: each points to its own name and data with
        // their true sizes, and all live until the call has returned.
        let sent = unsafe {
            let first = headers.as_mut_ptr().add(next);
            libc::sendmmsg(socket.std().as_raw_fd(), first, (count - next) as _, 0)
        };
        match check(sent) {
            Ok(sent) => {
                result.sent += sent as usize;
                next += sent.max(1) as usize;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // An error belongs to the first message that was not sent: drop it, try the rest.
            Err(_) => {
                result.refused += 1;
                next += 1;
            }
        }
    }
    result
}

/// Errors of the queue that are passed over at most, looking for one that counts.
const MAX_PASSED_OVER: usize = 64;

/// As much of a datagram as an error may quote: the smallest packet that every IPv6 way carries.
const QUOTE: usize = 1_280;

pub(crate) fn enable_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    let options = [
        (libc::IPPROTO_IP, libc::IP_RECVERR),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    ];
    let on: c_int = 1;
    let mut last = Ok(());
    let mut any = false;
    for (level, option) in options {
        // SAFETY: the value pointer and length describe `on`, which lives during the call.
        let set = check(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                ptr::from_ref(&on).cast(),
                mem::size_of::<c_int>() as socklen_t,
            )
        });
        // An IPv4 socket has no options of IPv6.
        match set {
            Ok(_) => any = true,
            Err(error) => last = Err(error),
        }
    }
    if any { Ok(()) } else { last }
}

pub(crate) fn take_error(socket: BorrowedFd<'_>) -> io::Result<Unreachable> {
    for _ in 0..MAX_PASSED_OVER {
        if let Some(found) = take_any_error(socket)? {
            return Ok(found);
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The next entry of a socket's queue of errors; `None` where it does not say that a datagram came to
/// nothing.
fn take_any_error(socket: BorrowedFd<'_>) -> io::Result<Option<Unreachable>> {
    let mut name = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut control: ErrorControl = [0; 16];
    let mut bytes = vec![0_u8; QUOTE];
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: for this type all zeros is a valid value: numbers, and null pointers of length 0.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = mem::size_of::<sockaddr_storage>() as socklen_t;
    header.msg_iov = ptr::from_mut(&mut vector);
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of::<ErrorControl>() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: `header` points to its name, control and data buffers with their true sizes, which live
    // until the call has returned.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), ptr::from_mut(&mut header), flags) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    if !tells_of_a_loss(&header) {
        return Ok(None);
    }
    bytes.truncate(length as usize);
    // SAFETY: the storage was zeroed, which is a valid value, whatever part the kernel wrote.
    let destination = canonical(read_address(unsafe { name.assume_init_ref() }));
    Ok(Some(Unreachable { destination, bytes }))
}

/// Whether an entry of the queue of errors says that a datagram came to nothing.
fn tells_of_a_loss(header: &libc::msghdr) -> bool {
    const V4_UNREACHABLE: u8 = 3;
    const V4_TOO_LARGE: u8 = 4;
    const V4_BROKEN: u8 = 12;
    const V6_UNREACHABLE: u8 = 1;
    const V6_BROKEN: u8 = 4;
    // SAFETY: the kernel has written the control messages and their length into `header`, whose
    // control buffer is alive, aligned and as long as it says. The macros stay inside it, and the
    // data of an error message is a `sock_extended_err`, read without assuming its alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(m) = message.as_ref() {
            let of_v4 = m.cmsg_level == libc::IPPROTO_IP && m.cmsg_type == libc::IP_RECVERR;
            let of_v6 = m.cmsg_level == libc::IPPROTO_IPV6 && m.cmsg_type == libc::IPV6_RECVERR;
            if of_v4 || of_v6 {
                let error = libc::CMSG_DATA(m).cast::<libc::sock_extended_err>();
                let error = error.read_unaligned();
                return match (error.ee_origin, error.ee_type) {
                    (libc::SO_EE_ORIGIN_ICMP, V4_UNREACHABLE) => error.ee_code != V4_TOO_LARGE,
                    (libc::SO_EE_ORIGIN_ICMP, V4_BROKEN) => true,
                    (libc::SO_EE_ORIGIN_ICMP6, V6_UNREACHABLE | V6_BROKEN) => true,
                    _ => false,
                };
            }
            message = libc::CMSG_NXTHDR(header, m);
        }
    }
    false
}

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    waker: Arc<Waker>,
    events: Vec<libc::epoll_event>,
    has_nanoseconds: bool,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; on success the descriptor is new and owned by nobody else.
        let epoll =
            unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let waker = Arc::new(Waker::new()?);
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; READY];
        let poller = Self {
            epoll,
            waker,
            events,
            has_nanoseconds: true,
        };
        poller.control(libc::EPOLL_CTL_ADD, poller.waker.0.as_raw_fd(), WAKER)?;
        Ok(poller)
    }

    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub(crate) fn add(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.std().as_raw_fd(), token)
    }

    pub(crate) fn again(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.std().as_raw_fd(), token)
    }

    pub(crate) fn remove(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket.std().as_raw_fd(), token)
    }

    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<u64>,
    ) -> io::Result<()> {
        let count = match self.wait_events(timeout) {
            Ok(count) => count as usize,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        };
        for event in &self.events[..count] {
            let token = event.u64;
            match token {
                WAKER => self.waker.clear(),
                _ => ready.push(token),
            }
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, timeout: Duration) -> io::Result<()> {
        let mut waker = libc::pollfd {
            fd: self.waker.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let limit = to_timespec(timeout);
        // SAFETY: the pointers describe one `pollfd` and one timespec, which live during the call;
        // no signal mask is given.
        match check(unsafe { libc::ppoll(&mut waker, 1, &limit, ptr::null()) }) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.waker.clear();
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// `epoll_pwait2` counts in nanoseconds; kernels before 5.11 have only milliseconds, which are
    /// rounded up so that a wait does not end early and spin.
    fn wait_events(&mut self, timeout: Option<Duration>) -> io::Result<c_int> {
        let (events, room) = (self.events.as_mut_ptr(), self.events.len() as c_int);
        if self.has_nanoseconds {
            let limit = timeout.map(to_timespec);
            let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: `events` has room for `room` events and is not touched during the call;
            // `limit` is null or points to a timespec that lives until the end of the block; the
            // signal mask is null, for which its size (the kernel's, 8) is not used.
            let found = check(unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.epoll.as_raw_fd(),
                    events,
                    room,
                    limit,
                    ptr::null::<c_void>(),
                    8_usize,
                ) as c_int
            });
            match found {
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    self.has_nanoseconds = false;
                }
                found => return found,
            }
        }
        let millis = timeout.map_or(-1, |t| {
            let millis = t.as_nanos().div_ceil(1_000_000);
            c_int::try_from(millis).unwrap_or(c_int::MAX)
        });
        // SAFETY: `events` has room for `room` events and is not touched during the call.
        check(unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, room, millis) })
    }

    fn control(&self, operation: c_int, descriptor: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: token,
        };
        // SAFETY: `event` lives during the call, and the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &mut event) })
            .map(drop)
    }
}

#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers; on success the descriptor is new and owned by nobody else.
        unsafe {
            let fd = check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub(crate) fn wake(&self) {
        let one = 1_u64;
        // SAFETY: the pointer and length describe `one`. The only failure is a full counter, which
        // means that a wake-up is pending already.
        unsafe { libc::write(self.0.as_raw_fd(), ptr::from_ref(&one).cast(), 8) };
    }

    fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: the pointer and length describe `count`. Non-blocking: where another thread was
        // first, there is nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), ptr::from_mut(&mut count).cast(), 8) };
    }
}

/// Turns libc's -1 into the error that it stands for.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn is_empty(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The civil time, which is what the kernel's receive timestamps count in.
fn realtime() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer describes `now`, which lives during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    to_duration(now)
}

/// The kernel's receive timestamp from the control messages of `header`.
fn arrival(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has written the control messages and their length into `header`, whose
    // control buffer is alive, aligned and as long as it says. The macros stay inside it, and the
    // data of a timestamp message is a timespec, read without assuming its alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(m) = message.as_ref() {
            if m.cmsg_level == libc::SOL_SOCKET && m.cmsg_type == libc::SCM_TIMESTAMPNS {
                let at = libc::CMSG_DATA(m).cast::<libc::timespec>().read_unaligned();
                return Some(to_duration(at));
            }
            message = libc::CMSG_NXTHDR(header, m);
        }
    }
    None
}

fn to_timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: time.subsec_nanos() as _,
    }
}

fn to_duration(at: libc::timespec) -> Duration {
    let (seconds, nanos) = (u64::try_from(at.tv_sec), u32::try_from(at.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0).min(999_999_999))
}

fn read_address(name: &sockaddr_storage) -> SocketAddr {
    if c_int::from(name.ss_family) == libc::AF_INET6 {
        // SAFETY: the family says that the storage, larger and as strictly aligned, holds a
        // `sockaddr_in6`, a plain structure.
        let v6 = unsafe { &*ptr::from_ref(name).cast::<sockaddr_in6>() };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        let port = u16::from_be(v6.sin6_port);
        return SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into();
    }
    // SAFETY: the storage is larger than a `sockaddr_in` and as strictly aligned; of any other
    // family its plain numbers mean nothing, but reading them is sound.
    let v4 = unsafe { &*ptr::from_ref(name).cast::<sockaddr_in>() };
    let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
    SocketAddr::new(ip.into(), u16::from_be(v4.sin_port))
}

fn write_address(address: SocketAddr, name: &mut MaybeUninit<sockaddr_storage>) -> socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let value = sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is larger than a `sockaddr_in` and as strictly aligned.
            unsafe { name.as_mut_ptr().cast::<sockaddr_in>().write(value) };
            mem::size_of::<sockaddr_in>() as socklen_t
        }
        SocketAddr::V6(v6) => {
            let value = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: the storage is larger than a `sockaddr_in6` and as strictly aligned.
            unsafe { name.as_mut_ptr().cast::<sockaddr_in6>().write(value) };
            mem::size_of::<sockaddr_in6>() as socklen_t
        }
    }
}
