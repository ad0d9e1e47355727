//! The log of everything that happened in a simulation, for comparing runs byte by byte.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use sidetone::time::Instant;

/// What happened, in order, with virtual times.
///
/// Signalling packets, notes and trouble stand in the [`text`](Self::text) in full; media packets
/// are too many, so they go into the [`digest`](Self::digest) only, every byte and moment of them.
/// Two runs of the same scenario with the same seed give equal text and digest.
#[derive(Debug, Default)]
pub struct Trace {
    text: String,
    digest: Digest,
    media: u64,
    left_out: u64,
}

impl Trace {
    /// The size at which the text takes no more lines (they still count in the digest): 256 MiB.
    pub const LIMIT: usize = 256 << 20;

    /// The lines so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A digest of everything so far, media included. Not cryptographic.
    pub fn digest(&self) -> u64 {
        self.digest.0
    }

    /// How many media packets went into the digest.
    pub fn media_packets(&self) -> u64 {
        self.media
    }

    /// How many lines came after the text was full.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Adds a line of the test's or the engine's own.
    pub fn note(&mut self, now: Instant, line: impl fmt::Display) {
        self.line(now, format_args!("{line}"), b"");
    }

    pub(crate) fn packet(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        if !is_media(payload) {
            self.line(now, format_args!("{source} > {destination}"), payload);
            return;
        }
        self.media += 1;
        self.digest.add_u64(now.as_nanos());
        self.digest
            .add_u64(u64::from(source.port()) << 16 | u64::from(destination.port()));
        self.digest.add(payload);
    }

    fn line(&mut self, now: Instant, what: fmt::Arguments<'_>, payload: &[u8]) {
        let start = self.text.len();
        let nanos = now.as_nanos();
        // Writing to a string cannot fail.
        let _ = write!(
            self.text,
            "{}.{:09} {what}",
            nanos / 1_000_000_000,
            nanos % 1_000_000_000
        );
        if !payload.is_empty() {
            let _ = write!(
                self.text,
                "\n{}",
                without_keys(&String::from_utf8_lossy(payload)).trim_end()
            );
        }
        self.text.push('\n');
        self.digest.add(&self.text.as_bytes()[start..]);
        if self.text.len() > Self::LIMIT {
            self.text.truncate(start);
            self.left_out += 1;
        }
    }
}

/// The text with every key of `a=crypto` (RFC 4568) blotted out.
fn without_keys(text: &str) -> Cow<'_, str> {
    const BEFORE: &str = "inline:";
    if !text.contains(BEFORE) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(BEFORE);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let key = part.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
        shown.push_str(BEFORE);
        shown.push('…');
        shown.push_str(&part[key.unwrap_or(part.len())..]);
    }
    Cow::Owned(shown)
}

/// RTP and RTCP have version 2 in their first two bits (RFC 7983 §7).
fn is_media(payload: &[u8]) -> bool {
    payload.first().is_some_and(|b| (128..192).contains(b))
}

/// A running 64-bit digest.
#[derive(Debug, Clone, Copy)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn add(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.add_u64(word.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)));
        }
        let rest = words.remainder();
        self.add_u64(
            rest.iter()
                .fold(bytes.len() as u64, |sum, b| sum << 8 | u64::from(*b)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_changes_the_digest_and_not_the_text() {
        let a: SocketAddr = "10.0.0.1:4000".parse().expect("an address");
        let mut one = Trace::default();
        let mut other = Trace::default();
        one.packet(Instant::ZERO, a, a, &[0x80, 0, 1]);
        other.packet(Instant::ZERO, a, a, &[0x80, 0, 2]);
        assert_eq!(one.text(), other.text());
        assert_ne!(one.digest(), other.digest());
        one.packet(
            Instant::from_nanos(1_500_000_000),
            a,
            a,
            b"BYE sip:x SIP/2.0\r\n\r\n",
        );
        assert_eq!(
            one.text(),
            "1.500000000 10.0.0.1:4000 > 10.0.0.1:4000\nBYE sip:x SIP/2.0\n"
        );
    }
}
