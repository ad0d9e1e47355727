//! Captures: what a network carried and when, read from pcap, pcapng and rtpdump files.

mod container;
mod link;
mod rtpdump;

use std::io::{self, Read};
use std::net::SocketAddr;

use sidetone::time::Duration;
use thiserror::Error;

/// Bytes of datagrams that a capture keeps at most: 1 GiB, two hundred hours of G.711.
pub const MAX_BYTES: usize = 1 << 30;
/// Datagrams that a capture keeps at most.
pub const MAX_DATAGRAMS: usize = 32 << 20;

/// Why a file is no capture that can be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is none of the formats that are known.
    #[error("neither pcap, pcapng nor rtpdump")]
    Unknown,
    /// Its beginning is that of a known format, and cannot be read on.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It holds more than [`MAX_BYTES`] or [`MAX_DATAGRAMS`].
    #[error("too large: more than {} MiB or {MAX_DATAGRAMS} datagrams of UDP and TCP", MAX_BYTES >> 20)]
    TooLarge,
}

/// Which protocol carried a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One UDP datagram.
    Udp,
    /// What one TCP segment carried.
    Tcp,
}

/// What one packet carried, and when it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Time since the first packet of the capture.
    pub at: Duration,
    /// Who sent it.
    pub source: SocketAddr,
    /// Who was to receive it.
    pub destination: SocketAddr,
    /// By which protocol.
    pub transport: Transport,
    start: usize,
    length: usize,
}

/// What a capture file holds.
///
/// Reading survives hostile and damaged files: what is cut off, malformed or of no known kind is
/// counted and left out, and where the file itself cannot be read on, [`Capture::damage`] says why.
/// Fragments of IP packets are counted and not put together.
///
/// ```
/// use sidetone_sim::capture::{Capture, CaptureError};
/// assert!(matches!(Capture::read(&b"GIF89a"[..]), Err(CaptureError::Unknown)));
/// ```
#[derive(Debug, Default)]
pub struct Capture {
    bytes: Vec<u8>,
    datagrams: Vec<Datagram>,
    counts: Counts,
    damage: Option<String>,
    /// Nanoseconds since 1970 of the first record.
    epoch: u64,
}

/// What became of a capture's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records in the file.
    pub records: u64,
    /// UDP datagrams taken from them.
    pub udp: u64,
    /// TCP segments with content.
    pub tcp: u64,
    /// Fragments of IP packets, which are left out.
    pub fragments: u64,
    /// Records cut off by the length that the capture was limited to, as far as they lost content;
    /// a datagram is taken as far as it goes.
    pub truncated: u64,
    /// Records with broken headers.
    pub malformed: u64,
    /// Records of other protocols.
    pub other: u64,
    /// Records of link types that are not understood.
    pub unknown_link: u64,
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    /// [`CaptureError`]: nothing of it can be used.
    pub fn read(mut input: impl Read) -> Result<Self, CaptureError> {
        let mut magic = [0; 12];
        let length = fill(&mut input, &mut magic)?;
        let magic = &magic[..length];
        let input = magic.chain(input);
        let mut capture = Self::default();
        if magic.starts_with(rtpdump::MAGIC) {
            rtpdump::read(input, &mut capture)?;
        } else if container::is_known(magic) {
            container::read(input, &mut capture)?;
        } else {
            return Err(CaptureError::Unknown);
        }
        // Interfaces and threads that capture together may hand in late.
        capture.datagrams.sort_by_key(|d| d.at);
        capture.settle_epoch();
        Ok(capture)
    }

    /// The datagrams, by the time when they were seen.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// What a datagram carried.
    pub fn payload(&self, datagram: &Datagram) -> &[u8] {
        let end = datagram.start.saturating_add(datagram.length);
        self.bytes.get(datagram.start..end).unwrap_or_default()
    }

    /// What became of the records.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why the file could not be read to its end, if so: what came before is here.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Nanoseconds from 1970 to the first packet.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes a datagram that was seen `at` nanoseconds since 1970; `at` becomes relative at the end.
    fn push(&mut self, at: u64, flow: Flow, content: &[u8]) -> Result<(), CaptureError> {
        if content.len() > MAX_BYTES - self.bytes.len() || self.datagrams.len() >= MAX_DATAGRAMS {
            return Err(CaptureError::TooLarge);
        }
        match flow.transport {
            Transport::Udp => self.counts.udp += 1,
            Transport::Tcp => self.counts.tcp += 1,
        }
        self.datagrams.push(Datagram {
            at: Duration::from_nanos(at),
            source: flow.source,
            destination: flow.destination,
            transport: flow.transport,
            start: self.bytes.len(),
            length: content.len(),
        });
        self.bytes.extend_from_slice(content);
        Ok(())
    }

    fn settle_epoch(&mut self) {
        let Some(first) = self.datagrams.first().map(|d| d.at) else {
            return;
        };
        self.epoch = first.as_nanos() as u64;
        for datagram in &mut self.datagrams {
            datagram.at -= first;
        }
    }
}

/// Who sent something to whom, by what.
#[derive(Debug, Clone, Copy)]
struct Flow {
    source: SocketAddr,
    destination: SocketAddr,
    transport: Transport,
}

/// Reads until `buf` is full or the input ends.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
