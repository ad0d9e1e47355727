//! Where a run with real peers happens: a folder and a block of free loopback ports.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::site::Site;
use crate::shell;

/// Ports of one run; a capture of the block holds everything that its peers say.
const BLOCK: u16 = 200;
/// Below the range that the system hands out by itself.
const LOWEST: u16 = 10_000;
const BLOCKS: u16 = 110;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A folder and a block of ports at a site.
pub(crate) struct Place {
    dir: PathBuf,
    site: Site,
    ports: Range<u16>,
    next: Cell<u16>,
    spoken: RefCell<Vec<(u16, &'static str)>>,
}

impl Place {
    /// An empty folder for the run called `name`, and ports of the loopback that nobody uses now.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let dir = shell::scratch("runs")?.join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        for _ in 0..BLOCKS {
            let turn = NEXT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(std::process::id() as u16);
            let first = LOWEST + turn % BLOCKS * BLOCK;
            if (first..first + BLOCK).all(is_free) {
                return Ok(Self {
                    dir,
                    site: Site::loopback(),
                    ports: first..first + BLOCK,
                    next: Cell::new(first),
                    spoken: RefCell::default(),
                });
            }
        }
        Err(io::Error::other("no block of free ports on the loopback"))
    }

    /// A folder below this one, with the same ports at another site.
    pub(crate) fn at(&self, name: &str, site: Site) -> io::Result<Self> {
        let dir = self.path(name);
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            site,
            ports: self.ports.clone(),
            next: Cell::new(self.ports.start),
            spoken: RefCell::default(),
        })
    }

    /// Where its peers run.
    pub(crate) fn site(&self) -> Site {
        self.site.clone()
    }

    /// The address that its peers use.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.site.address()
    }

    /// A command that runs `program` at its site.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.site.command(program)
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The whole block.
    pub(crate) fn ports(&self) -> &Range<u16> {
        &self.ports
    }

    /// A port for SIP; the one above, for TLS, stays free.
    pub(crate) fn take_signalling(&self) -> u16 {
        let port = self.take(2);
        self.declare(port, "sip");
        port
    }

    /// Says what is spoken on a port: a dissector would take some ports for another protocol's.
    pub(crate) fn declare(&self, port: u16, protocol: &'static str) {
        self.spoken.borrow_mut().push((port, protocol));
    }

    /// What is spoken on which port, as far as it was declared.
    pub(crate) fn spoken(&self) -> Vec<(u16, &'static str)> {
        self.spoken.borrow().clone()
    }

    /// `count` ports in a row, the first one even, given to nobody else.
    pub(crate) fn take(&self, count: u16) -> u16 {
        let first = self.next.get().next_multiple_of(2);
        self.next.set(first + count);
        assert!(
            first + count <= self.ports.end,
            "the block of ports is too small for this run"
        );
        first
    }
}

fn is_free(port: u16) -> bool {
    let here = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(here).is_ok() && TcpListener::bind(here).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_share_no_port() {
        let (one, two) = (
            Place::new("test-one").unwrap(),
            Place::new("test-two").unwrap(),
        );
        assert!(one.ports().end <= two.ports().start || two.ports().end <= one.ports().start);
        let (a, b) = (one.take(3), one.take(1));
        assert!(a % 2 == 0 && b % 2 == 0 && b >= a + 3 && one.ports().contains(&b));
    }
}
