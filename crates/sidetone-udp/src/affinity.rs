//! Pinning a thread to a processor core, and running it before or behind others.

use std::io;

use crate::sys;

/// Pins the calling thread to processor `core`, counted from zero.
///
/// # Errors
/// The system's own error where the core does not exist or is not allowed to this process;
/// [`io::ErrorKind::Unsupported`] on systems other than Linux. The thread then runs as before.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    sys::pin_current_thread(core)
}

/// Lets the calling thread run before all threads without such a priority, 1 to 99 (`SCHED_RR`).
///
/// # Errors
/// The system's own error where the process may not (on Linux it needs `CAP_SYS_NICE` or a limit
/// `RLIMIT_RTPRIO`); [`io::ErrorKind::Unsupported`] on systems other than Linux. The thread then runs
/// as before.
pub fn prioritise_current_thread(priority: u8) -> io::Result<()> {
    sys::prioritise_current_thread(priority)
}

/// Lets other threads run before the calling one where there is not enough for all (niceness 5): they get
/// three times its share. Needs no rights.
///
/// # Errors
/// The system's own error; [`io::ErrorKind::Unsupported`] on systems other than Linux. The thread then runs
/// as before.
pub fn humble_current_thread() -> io::Result<()> {
    sys::humble_current_thread()
}
