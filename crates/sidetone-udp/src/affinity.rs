//! Pinning a thread to a processor core.

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
