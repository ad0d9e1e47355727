//! Connections that carry SIP: accepted or opened, served until one side closes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::id::{ConnectionId, ListenerId};
use crate::net::channel::{Channel, Peer, Terms};
use crate::net::input::{Input, Inputs};
use crate::time::Duration;

/// Messages that may wait to be written to one connection; a peer that does not read loses it.
const WRITE_BACKLOG: usize = 256;

/// How long a connection may take to open, TLS and WebSocket included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may take to read what is written to it before it loses the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long goodbyes may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The writing end of a connection. Dropping it closes the connection once all is written.
pub(super) struct Writer(mpsc::Sender<Bytes>);

impl Writer {
    /// Queues bytes for the peer.
    ///
    /// # Errors
    /// The connection is closed, or the peer has not read for too long.
    pub(super) fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.0
            .try_send(bytes)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Accepts connections until the driver is gone.
pub(super) async fn accept(id: ListenerId, listener: TcpListener, inputs: Inputs) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors, as a rule: let others close theirs first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let accepted = Input::Accepted {
            listener: id,
            remote,
            stream,
        };
        if inputs.send(accepted).await.is_err() {
            return;
        }
    }
}

/// Serves a connection that a peer has opened.
pub(super) fn run(
    connection: ConnectionId,
    stream: TcpStream,
    terms: Arc<Terms>,
    inputs: Inputs,
) -> Writer {
    let (writer, queue) = mpsc::channel(WRITE_BACKLOG);
    tokio::spawn(async move {
        match in_time(Channel::accept(&terms, stream)).await {
            Some((channel, domains)) => {
                let identified = Input::Identified {
                    connection,
                    domains,
                };
                if inputs.send(identified).await.is_ok() {
                    serve(connection, channel, queue, inputs).await;
                }
            }
            None => tell_closed(connection, &inputs).await,
        }
    });
    Writer(writer)
}

/// Opens a connection and serves it.
pub(super) fn connect(
    connection: ConnectionId,
    peer: Peer,
    terms: Arc<Terms>,
    inputs: Inputs,
) -> Writer {
    let (writer, queue) = mpsc::channel(WRITE_BACKLOG);
    tokio::spawn(async move {
        let Some(channel) = in_time(Channel::open(&terms, &peer)).await else {
            return tell_closed(connection, &inputs).await;
        };
        if inputs.send(Input::Connected { connection }).await.is_ok() {
            serve(connection, channel, queue, inputs).await;
        }
    });
    Writer(writer)
}

/// What is opened, where that succeeds in time.
async fn in_time<T>(opening: impl Future<Output = io::Result<T>>) -> Option<T> {
    tokio::time::timeout(OPEN_TIMEOUT, opening).await.ok()?.ok()
}

async fn tell_closed(connection: ConnectionId, inputs: &Inputs) {
    // The core may have closed it itself; then it takes no notice. Where the driver has gone, nobody
    // waits for the news.
    let _gone = inputs.send(Input::Closed { connection }).await;
}

/// Carries messages both ways until one side closes.
async fn serve(
    connection: ConnectionId,
    mut channel: Channel,
    mut queue: mpsc::Receiver<Bytes>,
    inputs: Inputs,
) {
    loop {
        tokio::select! {
            read = channel.read() => {
                let Some(bytes) = read else { break };
                if inputs.send(Input::Stream { connection, bytes }).await.is_err() {
                    return;
                }
            }
            queued = queue.recv() => match queued {
                Some(bytes) => {
                    let writing = tokio::time::timeout(WRITE_TIMEOUT, channel.write(bytes));
                    if !matches!(writing.await, Ok(Ok(()))) {
                        break;
                    }
                }
                None => break,
            },
        }
    }
    // Those that take no goodbye are left without.
    let _late = tokio::time::timeout(CLOSE_TIMEOUT, channel.close()).await;
    tell_closed(connection, &inputs).await;
}
