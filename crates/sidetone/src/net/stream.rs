//! TCP connections that carry SIP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::id::{ConnectionId, ListenerId};
use crate::net::input::Input;
use crate::time::Duration;

/// Messages that may wait to be written to one connection; a peer that does not read loses it.
const WRITE_BACKLOG: usize = 256;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may take to read what is written to it before it loses the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

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
pub(super) async fn accept(id: ListenerId, listener: TcpListener, inputs: mpsc::Sender<Input>) {
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

/// Serves an open connection.
pub(super) fn run(
    connection: ConnectionId,
    stream: TcpStream,
    inputs: mpsc::Sender<Input>,
) -> Writer {
    let (writer, queue) = mpsc::channel(WRITE_BACKLOG);
    tokio::spawn(serve(connection, stream, queue, inputs));
    Writer(writer)
}

/// Opens a connection and serves it.
pub(super) fn connect(
    connection: ConnectionId,
    remote: SocketAddr,
    from: Option<IpAddr>,
    inputs: mpsc::Sender<Input>,
) -> Writer {
    let (writer, queue) = mpsc::channel(WRITE_BACKLOG);
    tokio::spawn(async move {
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, open(remote, from)).await;
        let Ok(Ok(stream)) = opened else {
            // Where the driver has gone, nobody waits for the news.
            let _gone = inputs.send(Input::Closed { connection }).await;
            return;
        };
        if inputs.send(Input::Connected { connection }).await.is_ok() {
            serve(connection, stream, queue, inputs).await;
        }
    });
    Writer(writer)
}

async fn open(remote: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    if let Some(ip) = from.filter(|ip| ip.is_ipv6() == remote.is_ipv6()) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(remote).await
}

/// Carries bytes both ways until one side closes.
async fn serve(
    connection: ConnectionId,
    stream: TcpStream,
    mut queue: mpsc::Receiver<Bytes>,
    inputs: mpsc::Sender<Input>,
) {
    // SIP messages are small and waited for.
    let _unsupported = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        tokio::select! {
            read = reader.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
                let bytes = buffer.split().freeze();
                if inputs.send(Input::Stream { connection, bytes }).await.is_err() {
                    return;
                }
                buffer.reserve(CHUNK);
            }
            queued = queue.recv() => match queued {
                Some(bytes) if write(&mut writer, &bytes).await => {}
                _ => break,
            },
        }
    }
    // The core may have closed it itself; then it takes no notice.
    let _gone = inputs.send(Input::Closed { connection }).await;
}

/// Whether all could be written in time.
async fn write(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> bool {
    let written = tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(bytes)).await;
    matches!(written, Ok(Ok(())))
}
