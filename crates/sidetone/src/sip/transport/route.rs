//! Finding the next hop of a request, the way back of a response, and the listener to send from.

use super::{Destination, Listener, Transport};
use crate::id::ListenerId;
use crate::sip::uri::{Scheme, Uri};
use std::net::{IpAddr, SocketAddr};

/// The port of SIP over UDP and TCP where none is given (RFC 3261 §19.1.2).
pub const DEFAULT_PORT: u16 = 5060;

/// The next hop of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// A numeric address: nothing to look up.
    Address(Destination),
    /// A host name that the driver has to resolve.
    Name {
        /// The host name, in lower case.
        host: String,
        /// The port, where given.
        port: Option<u16>,
        /// The transport, where given.
        transport: Option<Transport>,
        /// Whether the URI is a `sips:` one, so that every way but TLS is out of the question.
        secure: bool,
    },
}

impl Hop {
    /// Whether TLS protects every way to it.
    pub fn is_secure(&self) -> bool {
        match self {
            Self::Address(destination) => destination.transport.is_secure(),
            Self::Name {
                transport, secure, ..
            } => *secure || transport.is_some_and(Transport::is_secure),
        }
    }
}

/// Why a URI leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unroutable {
    /// Neither `sip:` nor anything that could be sent over the transports here.
    #[error("scheme cannot be routed")]
    Scheme,
    /// A transport parameter that is not supported.
    #[error("transport not supported")]
    Transport,
    /// A host or port that no message can be sent to.
    #[error("host cannot be reached")]
    Host,
}

/// Where a request to `uri` goes (RFC 3263 §4, as far as no DNS is needed).
///
/// `maddr` overrides the host (RFC 3261 §19.1.1). Without a transport parameter a numeric host
/// means UDP, for `sips:` TLS.
///
/// # Errors
/// [`Unroutable`] where the URI cannot be a destination; the caller tells its own user.
pub fn next_hop(uri: &Uri) -> Result<Hop, Unroutable> {
    if !uri.is_sip() {
        return Err(Unroutable::Scheme);
    }
    let secure = uri.scheme() == Scheme::Sips;
    let transport = transport_of(uri, secure)?;
    if uri.port() == Some(0) {
        return Err(Unroutable::Host);
    }
    let maddr = uri.param("maddr");
    let host = maddr.as_deref().unwrap_or(uri.host());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(ip) = bare.parse::<IpAddr>() else {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() || host.len() > 253 {
            return Err(Unroutable::Host);
        }
        return Ok(Hop::Name {
            host,
            port: uri.port(),
            transport,
            secure,
        });
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Unroutable::Host);
    }
    let transport = transport.unwrap_or(match secure {
        true => Transport::Tls,
        false => Transport::Udp,
    });
    let port = uri.port().unwrap_or(transport.default_port());
    Ok(Hop::Address(Destination {
        transport,
        address: SocketAddr::new(ip, port),
    }))
}

/// The transport that a URI asks for. With `sips:` that of a parameter is the one below TLS
/// (RFC 3261 §26.2.2, RFC 7118 §5.5).
fn transport_of(uri: &Uri, secure: bool) -> Result<Option<Transport>, Unroutable> {
    let Some(name) = uri.param("transport") else {
        return Ok(None);
    };
    match (Transport::from_name(&name), secure) {
        (Some(Transport::Tcp), true) => Ok(Some(Transport::Tls)),
        (Some(Transport::Ws), true) => Ok(Some(Transport::Wss)),
        (Some(Transport::Udp), true) | (None, _) => Err(Unroutable::Transport),
        (transport, _) => Ok(transport),
    }
}

/// Where a response goes when there is no connection to send it back on (RFC 3261 §18.2.2,
/// RFC 3581 §4): to the address that the request came from, at the port it came from where the top
/// Via asked so with `rport`, at the sent-by port otherwise.
///
/// A `maddr` in Via is left aside on purpose: it would let a request name any third party as the
/// target of its response.
pub fn response_address(source: SocketAddr, sent_by_port: Option<u16>, rport: bool) -> SocketAddr {
    if rport {
        return source;
    }
    let port = sent_by_port
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT);
    SocketAddr::new(source.ip(), port)
}

/// The listener to send to `destination` from: the one wanted if it fits transport and address
/// family, otherwise the first that does, loopback addresses with loopback addresses first.
pub fn select_listener(
    listeners: &[Listener],
    wanted: Option<ListenerId>,
    destination: Destination,
) -> Option<ListenerId> {
    let fits = |listener: &Listener| {
        listener.transport == destination.transport
            && listener.local.is_ipv4() == destination.address.is_ipv4()
    };
    if let Some(id) = wanted
        && listeners.get(usize::from(id.0)).is_some_and(fits)
    {
        return Some(id);
    }
    let loopback = destination.address.ip().is_loopback();
    let fitting = || {
        listeners
            .iter()
            .enumerate()
            .filter(|(_, listener)| fits(listener))
    };
    let (index, _) = fitting()
        .find(|(_, listener)| listener.local.ip().is_loopback() == loopback)
        .or_else(|| fitting().next())?;
    u16::try_from(index).ok().map(ListenerId)
}

/// Whether `host` and `port` of a Via are what one of our listeners puts there (RFC 3261 §18.1.2).
pub fn is_our_sent_by(listeners: &[Listener], host: &str, port: Option<u16>) -> bool {
    let named = |listener: &Listener| {
        let name = listener.host.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(host))
            && port.unwrap_or(listener.transport.default_port()) == listener.public().port()
    };
    if listeners.iter().any(named) {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let Ok(ip) = bare.parse::<IpAddr>() else {
        return false;
    };
    listeners.iter().any(|listener| {
        let port = port.unwrap_or(listener.transport.default_port());
        listener.public() == SocketAddr::new(ip, port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(uri: &str) -> Result<Hop, Unroutable> {
        next_hop(&Uri::parse(uri).unwrap())
    }

    fn address(transport: Transport, address: &str) -> Result<Hop, Unroutable> {
        Ok(Hop::Address(Destination {
            transport,
            address: address.parse().unwrap(),
        }))
    }

    #[test]
    fn numeric_hosts_need_no_look_up() {
        assert_eq!(
            hop("sip:a@192.0.2.1"),
            address(Transport::Udp, "192.0.2.1:5060")
        );
        assert_eq!(
            hop("sip:192.0.2.1:5070;transport=TCP;lr"),
            address(Transport::Tcp, "192.0.2.1:5070")
        );
        assert_eq!(
            hop("sip:a@[2001:db8::1]:5061"),
            address(Transport::Udp, "[2001:db8::1]:5061")
        );
        assert_eq!(
            hop("sip:a@b.example;maddr=192.0.2.9"),
            address(Transport::Udp, "192.0.2.9:5060")
        );
    }

    #[test]
    fn secure_uris_mean_tls() {
        for (uri, transport, to) in [
            ("sips:a@192.0.2.1", Transport::Tls, "192.0.2.1:5061"),
            (
                "sips:192.0.2.1;transport=tcp",
                Transport::Tls,
                "192.0.2.1:5061",
            ),
            (
                "sip:192.0.2.1;transport=TLS",
                Transport::Tls,
                "192.0.2.1:5061",
            ),
            ("sip:192.0.2.1;transport=ws", Transport::Ws, "192.0.2.1:80"),
            (
                "sips:[2001:db8::1]:8443;transport=ws",
                Transport::Wss,
                "[2001:db8::1]:8443",
            ),
        ] {
            assert_eq!(hop(uri), address(transport, to), "{uri}");
        }
    }

    #[test]
    fn names_are_left_to_the_driver() {
        let name = Hop::Name {
            host: "pbx.example".into(),
            port: Some(5080),
            transport: Some(Transport::Udp),
            secure: false,
        };
        assert_eq!(hop("sip:a@PBX.example:5080;transport=udp"), Ok(name));
    }

    #[test]
    fn what_cannot_be_reached_is_an_error() {
        assert_eq!(hop("tel:+4930123"), Err(Unroutable::Scheme));
        assert_eq!(
            hop("sips:a@192.0.2.1;transport=udp"),
            Err(Unroutable::Transport)
        );
        assert_eq!(
            hop("sip:a@192.0.2.1;transport=sctp"),
            Err(Unroutable::Transport)
        );
        assert_eq!(hop("sip:a@0.0.0.0"), Err(Unroutable::Host));
        assert_eq!(hop("sip:a@224.0.1.75"), Err(Unroutable::Host));
        assert_eq!(hop("sip:a@192.0.2.1:0"), Err(Unroutable::Host));
    }

    #[test]
    fn responses_go_back_to_the_source_only() {
        let source: SocketAddr = "192.0.2.7:40000".parse().unwrap();
        assert_eq!(response_address(source, Some(5070), true), source);
        let at = |port| response_address(source, port, false).port();
        assert_eq!((at(Some(5070)), at(None), at(Some(0))), (5070, 5060, 5060));
        assert_eq!(
            response_address(source, Some(5070), false).ip(),
            source.ip()
        );
    }

    #[test]
    fn listeners_fit_by_transport_and_family() {
        let listeners = [
            Listener::new(Transport::Udp, "10.0.0.1:5060".parse().unwrap()),
            Listener::new(Transport::Udp, "127.0.0.1:5060".parse().unwrap()),
            Listener::new(Transport::Udp, "[::1]:5060".parse().unwrap()),
            Listener::new(Transport::Tcp, "10.0.0.1:5060".parse().unwrap()),
        ];
        let select = |transport, address: &str, wanted: Option<u16>| {
            let destination = Destination {
                transport,
                address: address.parse().unwrap(),
            };
            select_listener(&listeners, wanted.map(ListenerId), destination).map(|id| id.0)
        };
        assert_eq!(select(Transport::Udp, "192.0.2.1:5060", None), Some(0));
        assert_eq!(select(Transport::Udp, "127.0.0.1:5070", None), Some(1));
        assert_eq!(select(Transport::Udp, "127.0.0.1:5070", Some(0)), Some(0));
        assert_eq!(
            select(Transport::Udp, "[2001:db8::1]:5060", Some(0)),
            Some(2)
        );
        assert_eq!(select(Transport::Tcp, "192.0.2.1:5060", Some(0)), Some(3));
        assert_eq!(select(Transport::Tcp, "[::1]:5060", None), None);
    }

    #[test]
    fn our_sent_by_is_the_public_address() {
        let mut listener = Listener::new(Transport::Udp, "0.0.0.0:5060".parse().unwrap());
        listener.advertised = Some("198.51.100.1:5060".parse().unwrap());
        let mut named = Listener::new(Transport::Tls, "10.0.0.1:5061".parse().unwrap());
        named.host = Some("sip.example.com".into());
        assert_eq!(named.sent_by(), "sip.example.com:5061");
        let listeners = [listener, named];
        assert!(is_our_sent_by(&listeners, "SIP.example.com", None));
        assert!(!is_our_sent_by(&listeners, "sip.example.com", Some(5060)));
        assert!(is_our_sent_by(&listeners, "198.51.100.1", None));
        assert!(is_our_sent_by(&listeners, "198.51.100.1", Some(5060)));
        assert!(!is_our_sent_by(&listeners, "198.51.100.1", Some(5061)));
        assert!(!is_our_sent_by(&listeners, "evil.example", Some(5060)));
    }
}
