//! What carries SIP messages on a connection: plain TCP, TLS, WebSocket, or WebSocket over TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::sip::message::MAX_MESSAGE_BYTES;
use crate::sip::transport::tls::Tls;
use crate::sip::transport::{Transport, identity};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// The WebSocket subprotocol of SIP (RFC 7118 §4).
const SUBPROTOCOL: &str = "sip";

/// How connections of one listener are made.
pub(super) struct Terms {
    pub(super) transport: Transport,
    pub(super) tls: Option<Tls>,
    /// The web pages whose scripts may connect by WebSocket.
    pub(super) origins: Vec<String>,
}

/// Whom to connect to.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// The host name, where it has one.
    pub(super) name: Option<String>,
    /// The address to connect from.
    pub(super) from: Option<IpAddr>,
}

/// Something that bytes go through.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An open connection.
pub(super) enum Channel {
    /// Messages are framed by Content-Length.
    Bytes {
        wire: Box<dyn Wire>,
        buffer: BytesMut,
    },
    /// Each message comes as one.
    Messages(Box<WebSocketStream<Box<dyn Wire>>>),
}

impl Channel {
    /// Does what has to be done on a connection that a peer has opened before SIP can be spoken.
    /// Gives besides the domains that the peer's certificate speaks for, where it has shown one that
    /// is trusted.
    pub(super) async fn accept(
        terms: &Terms,
        stream: TcpStream,
    ) -> io::Result<(Self, Vec<String>)> {
        // SIP messages are small and waited for.
        let _unsupported = stream.set_nodelay(true);
        let mut domains = Vec::new();
        let wire: Box<dyn Wire> = if terms.transport.is_secure() {
            let server = terms.tls.as_ref().and_then(Tls::server);
            let server = server.ok_or(io::ErrorKind::Unsupported)?;
            let stream = TlsAcceptor::from(server).accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(|chain| chain.first());
            domains = shown.map(identity::domains_of).unwrap_or_default();
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        if !terms.transport.is_framed() {
            return Ok((Self::bytes(wire), domains));
        }
        // The type is the library's.
        #[expect(clippy::result_large_err)]
        let answer = |request: &Request, response| answer(&terms.origins, request, response);
        let opened =
            tokio_tungstenite::accept_hdr_async_with_config(wire, answer, Some(limits())).await;
        let opened = Box::new(opened.map_err(io::Error::other)?);
        Ok((Self::Messages(opened), domains))
    }

    /// Opens a connection.
    pub(super) async fn open(terms: &Terms, peer: &Peer) -> io::Result<Self> {
        let stream = connect(peer).await?;
        let _unsupported = stream.set_nodelay(true);
        let wire: Box<dyn Wire> = if terms.transport.is_secure() {
            let tls = terms.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
            let name = match &peer.name {
                Some(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
                None => ServerName::from(peer.address.ip().to_canonical()),
            };
            let connector = TlsConnector::from(tls.client());
            Box::new(connector.connect(name, stream).await?)
        } else {
            Box::new(stream)
        };
        if !terms.transport.is_framed() {
            return Ok(Self::bytes(wire));
        }
        let scheme = match terms.transport.is_secure() {
            true => "wss",
            false => "ws",
        };
        let port = peer.address.port();
        let url = match &peer.name {
            Some(name) => format!("{scheme}://{name}:{port}/"),
            None => format!("{scheme}://{}/", peer.address),
        };
        let mut request = url.into_client_request().map_err(io::Error::other)?;
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let opened =
            tokio_tungstenite::client_async_with_config(request, wire, Some(limits())).await;
        let (opened, _) = opened.map_err(io::Error::other)?;
        Ok(Self::Messages(Box::new(opened)))
    }

    fn bytes(wire: Box<dyn Wire>) -> Self {
        let buffer = BytesMut::with_capacity(CHUNK);
        Self::Bytes { wire, buffer }
    }

    /// The next bytes, or the next message; `None` at the end. Nothing is lost where the future is
    /// dropped.
    pub(super) async fn read(&mut self) -> Option<Bytes> {
        match self {
            Self::Bytes { wire, buffer } => {
                buffer.reserve(CHUNK);
                match wire.read_buf(buffer).await {
                    Ok(1..) => Some(buffer.split().freeze()),
                    _ => None,
                }
            }
            Self::Messages(socket) => loop {
                match socket.next().await?.ok()? {
                    Message::Text(text) => return Some(text.into()),
                    Message::Binary(bytes) => return Some(bytes),
                    Message::Close(_) => return None,
                    // The library answers pings by itself.
                    _ => {}
                }
            },
        }
    }

    /// Writes bytes, or one message.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Bytes { wire, .. } => {
                wire.write_all(&bytes).await?;
                wire.flush().await
            }
            Self::Messages(socket) => {
                let message = match str::from_utf8(&bytes) {
                    Ok(text) => Message::text(text),
                    Err(_) => Message::Binary(bytes),
                };
                socket.send(message).await.map_err(io::Error::other)
            }
        }
    }

    /// Says goodbye to the peer, as TLS and WebSocket want it.
    pub(super) async fn close(mut self) {
        // The peer may be gone already.
        let _gone = match &mut self {
            Self::Bytes { wire, .. } => wire.shutdown().await,
            // Not as a method: with a feature of futures-sink that others may turn on, the box has one of that name.
            Self::Messages(socket) => WebSocketStream::close(socket, None)
                .await
                .map_err(io::Error::other),
        };
    }
}

async fn connect(peer: &Peer) -> io::Result<TcpStream> {
    let socket = match peer.address.is_ipv6() {
        true => TcpSocket::new_v6()?,
        false => TcpSocket::new_v4()?,
    };
    let same_family = |ip: &IpAddr| ip.is_ipv6() == peer.address.is_ipv6();
    if let Some(ip) = peer.from.filter(same_family) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(peer.address).await
}

/// No message is larger than one of SIP may be.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}

/// Answers the request that opens a WebSocket: it must ask for SIP, and where it comes from a browser
/// the page must be one of those allowed.
#[expect(clippy::result_large_err)]
fn answer(
    origins: &[String],
    request: &Request,
    mut response: Response,
) -> Result<Response, ErrorResponse> {
    let headers = request.headers();
    if !is_allowed(origins, headers) {
        return Err(refusal(StatusCode::FORBIDDEN));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    if !offered.any(|name| name.trim() == SUBPROTOCOL) {
        return Err(refusal(StatusCode::BAD_REQUEST));
    }
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(response)
}

/// Whether each page that the request says to come from is one of those allowed.
fn is_allowed(origins: &[String], headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(ORIGIN).iter();
    named.all(|origin| {
        let mut origins = origins.iter();
        origins.any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    })
}

fn refusal(status: StatusCode) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = status;
    refusal
}
