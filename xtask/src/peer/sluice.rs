//! A way between two programs that lets so many bytes through and then holds the others back, so that one of them can be
//! killed in the midst of what it does.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Carries connections from one port of the loopback to another, until the program ends.
pub(crate) struct Sluice(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that clients have sent on, and how many they may.
    passed: u64,
    limit: u64,
    /// Whether somebody has more to say.
    is_full: bool,
}

impl Sluice {
    /// What comes to `from` goes to `to`, as soon as [`raise`](Self::raise) lets it.
    pub(crate) fn open(from: u16, to: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from))?;
        let shared = Arc::new(Shared::default());
        let gate = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where nobody serves, the client sees its connection closed.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
                    carry(client, server, &gate);
                }
            }
        });
        Ok(Self(shared))
    }

    /// Lets `bytes` more from clients through; gives how many have passed before.
    pub(crate) fn raise(&self, bytes: u64) -> u64 {
        let mut state = self.0.lock();
        state.limit = state.passed.saturating_add(bytes);
        state.is_full = false;
        self.0.changed.notify_all();
        state.passed
    }

    /// Bytes that clients have sent on.
    pub(crate) fn passed(&self) -> u64 {
        self.0.lock().passed
    }

    /// Waits until all that may pass has, and a client has more to say.
    pub(crate) fn fill(&self, limit: Duration) -> io::Result<()> {
        let waited = (self.0.changed).wait_timeout_while(self.0.lock(), limit, |it| !it.is_full);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.is_full {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "only {} bytes were sent",
                state.passed
            ))),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `count` more may pass.
    fn pass(&self, count: u64) {
        let mut state = self.lock();
        while state.passed + count > state.limit {
            state.is_full = true;
            self.changed.notify_all();
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.passed += count;
    }
}

fn carry(client: TcpStream, server: TcpStream, gate: &Arc<Shared>) {
    let (Ok(asked), Ok(answering)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let gate = Arc::clone(gate);
    thread::spawn(move || copy(asked, server, |count| gate.pass(count)));
    thread::spawn(move || copy(answering, client, |_| {}));
}

/// Copies until one of them has gone, and lets the other know.
fn copy(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(u64)) {
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        pass(count as u64);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Gone already, perhaps.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
