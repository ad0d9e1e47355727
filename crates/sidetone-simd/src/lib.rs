//! Arithmetic over samples, compiled for what the processor has; knows no telephony.
//!
//! A library is built for the oldest processor it may meet, `x86-64` without AVX2. Each kernel here is
//! compiled twice, for that baseline and for AVX2, and the one that the machine can run is chosen at the
//! call; the choice is one load of a flag. Elsewhere (NEON is `aarch64`'s baseline) there is one.
//!
//! - [`cache`]: asking for memory before it is read;
//! - [`g711`]: companding, both ways;
//! - [`mix`]: sums of samples.
//!
//! Both versions of a kernel give the same samples; the tests hold one against the other.
//!
//! # Unsafe code
//! Calling a function that is compiled for AVX2 is unsafe, because a processor without it would stop
//! there: each such call stands behind the test for it. `g711` moves 16 bytes between arrays and registers,
//! and a prefetch is unsafe by its declaration only.

pub mod cache;
pub mod g711;
pub mod mix;

/// Defines functions that run `$body`, compiled for the baseline and for AVX2.
macro_rules! twice {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) => $body:path;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $type),*) {
                    $body($($arg),*);
                }
                // SAFETY: the processor has just said that it has AVX2, all that `wide` asks for.
                return unsafe { wide($($arg),*) };
            }
            $body($($arg),*);
        }
    )*};
}
pub(crate) use twice;
