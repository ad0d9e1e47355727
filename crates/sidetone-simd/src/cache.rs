//! Asking for memory before it is read.
//!
//! A thread with thousands of streams finds each of them cold: the caches hold a small part of all, and the
//! processor would wait some hundred nanoseconds for each line in turn. Asked for while something else is
//! done, they come at once.

use std::ptr;

/// Bytes of a line.
const LINE: usize = 64;

/// Asks for the lines in which `value` lies, as far as the processor can be asked; changes nothing else.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    let first = ptr::from_ref(value).cast::<u8>();
    // The last line has to be asked for too, where the value does not begin with one.
    let within = first.addr() % LINE;
    for line in 0..(within + size_of_val(value)).div_ceil(LINE) {
        ask(first.wrapping_sub(within).wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn ask(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a prefetch reads nothing, whatever the address, and never faults; SSE is the baseline's.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn ask(_line: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_changes_nothing_whatever_is_asked_for() {
        let value: Vec<u8> = (0..=255).collect();
        for from in [0, 1, 63, 64, 65, 255, 256] {
            prefetch(&value[from..]);
        }
        prefetch(&());
        prefetch("text");
        assert!(value.iter().copied().eq(0..=255));
    }
}
