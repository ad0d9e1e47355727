//! Sound as the harness needs it: files, G.711, RTP captures, and what was heard of what was said.

pub(crate) mod dtmf;
pub(crate) mod g711;
pub(crate) mod g722;
pub(crate) mod measure;
pub(crate) mod pcap;
pub(crate) mod speech;
pub(crate) mod wav;
pub(crate) mod wide;

/// Samples a second of everything measured here.
pub(crate) const RATE: usize = 8000;
/// Samples a second of wide-band speech.
pub(crate) const WIDE: usize = 16_000;
