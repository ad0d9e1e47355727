//! The Via header field: the way a response goes back (RFC 3261 §20.42, RFC 3581).

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;

use crate::sip::header::Problem;
use crate::sip::lex::{self, MAX_VALUE_BYTES, Params, Span};
use crate::sip::uri;

/// Room for `received` and `rport`.
const STAMP: usize = 64;

/// What every branch made by RFC 3261's rules starts with (RFC 3261 §8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value: `SIP/2.0/UDP host:port;branch=…`.
///
/// It shares the bytes of the message that it came from; a clone costs one reference count.
///
/// ```
/// use sidetone::sip::header::via::{Protocol, Via};
///
/// let via: Via = "SIP/2.0/UDP pc33.example:5070;branch=z9hG4bK7;rport".parse()?;
/// assert_eq!(via.protocol(), Protocol::Udp);
/// assert_eq!((via.host(), via.port()), ("pc33.example", Some(5070)));
/// assert_eq!(via.branch(), Some("z9hG4bK7"));
/// assert!(via.wants_rport());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Clone)]
pub struct Via {
    raw: Bytes,
    version: Span,
    transport: Span,
    host: Span,
    port: Option<u16>,
    params: Span,
    branch: Option<Span>,
}

/// The transport protocol that a Via names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// SCTP.
    Sctp,
    /// WebSocket (RFC 7118).
    Ws,
    /// Secure WebSocket (RFC 7118).
    Wss,
    /// Any other; see [`Via::transport`].
    Other,
}

impl Via {
    /// Parses one value.
    ///
    /// # Errors
    /// [`Problem`] says what breaks the grammar; line breaks are refused.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_VALUE_BYTES {
            return Err(Problem::TooLong);
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Problem::Syntax("control character"));
        }
        Self::from_value(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Parses one value of a message, whose bytes have been checked.
    pub(crate) fn from_value(raw: Bytes) -> Result<Self, Problem> {
        let mut via = Self::sent_by(raw)?;
        let found = lex::scan_params(via.params.of(&via.raw), "branch");
        if let Some(branch) = found.ok_or(Problem::Syntax("invalid parameter"))? {
            if !lex::is_token(branch) {
                return Err(Problem::Syntax("branch is no token"));
            }
            via.branch = Some(Span::locate(branch, &via.raw));
        }
        Ok(via)
    }

    /// As [`Via::from_value`], but parameters behind the first invalid one are left out instead of
    /// being an error: enough to send a 400 back.
    pub(crate) fn from_broken(raw: Bytes) -> Result<Self, Problem> {
        let mut via = Self::sent_by(raw)?;
        let branch = via.params().named("branch").and_then(|param| param.value);
        via.branch = branch
            .filter(|branch| lex::is_token(branch))
            .map(|branch| Span::locate(branch, &via.raw));
        Ok(via)
    }

    /// Parses `sent-protocol LWS sent-by`; what follows are parameters, not checked.
    fn sent_by(raw: Bytes) -> Result<Self, Problem> {
        let (version_start, at) = token(&raw, lex::skip_lws(&raw, 0))?;
        let at = slash(&raw, at)?;
        let (_, version_end) = token(&raw, at)?;
        let at = slash(&raw, version_end)?;
        let (transport_start, transport_end) = token(&raw, at)?;
        let host_start = lex::skip_lws(&raw, transport_end);
        if host_start == transport_end {
            return Err(Problem::Syntax("no sent-by"));
        }
        let host_end = uri::host_end(&raw, host_start).ok_or(Problem::Syntax("invalid host"))?;
        let mut after = lex::skip_lws(&raw, host_end);
        let mut port = None;
        if raw.get(after) == Some(&b':') {
            let start = lex::skip_lws(&raw, after + 1);
            let digits = raw[start..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            let number = lex::number(&raw[start..start + digits], 65_535);
            port = Some(number.ok_or(Problem::Syntax("invalid port"))? as u16);
            after = lex::skip_lws(&raw, start + digits);
        }
        if !matches!(raw.get(after), None | Some(b';')) {
            return Err(Problem::Syntax("invalid sent-by"));
        }
        let params = Span::new(after, raw.len());
        Ok(Self {
            version: Span::new(version_start, version_end),
            transport: Span::new(transport_start, transport_end),
            host: Span::new(host_start, host_end),
            port,
            params,
            branch: None,
            raw,
        })
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        match self.transport() {
            t if t.eq_ignore_ascii_case("UDP") => Protocol::Udp,
            t if t.eq_ignore_ascii_case("TCP") => Protocol::Tcp,
            t if t.eq_ignore_ascii_case("TLS") => Protocol::Tls,
            t if t.eq_ignore_ascii_case("SCTP") => Protocol::Sctp,
            t if t.eq_ignore_ascii_case("WS") => Protocol::Ws,
            t if t.eq_ignore_ascii_case("WSS") => Protocol::Wss,
            _ => Protocol::Other,
        }
    }

    /// The name of the transport protocol as it stands there.
    pub fn transport(&self) -> &str {
        self.transport.text(&self.raw)
    }

    /// Protocol name and version as they stand there, usually `SIP/2.0`.
    pub fn version(&self) -> &str {
        self.version.text(&self.raw)
    }

    /// The host of sent-by, an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        self.host.text(&self.raw)
    }

    /// The host of sent-by where it is an address and not a name.
    pub fn host_ip(&self) -> Option<IpAddr> {
        uri::parse_ip(self.host())
    }

    /// The port of sent-by, where there is one; the default is 5060, for TLS 5061.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The branch: the transaction's name where [`Via::has_magic_cookie`] says so.
    pub fn branch(&self) -> Option<&str> {
        self.branch.map(|span| span.text(&self.raw))
    }

    /// Whether the branch was made by RFC 3261's rules, and so is unique: it starts with the magic
    /// cookie and has something after it.
    pub fn has_magic_cookie(&self) -> bool {
        self.branch().is_some_and(|branch| {
            let cookie = branch.get(..MAGIC_COOKIE.len());
            branch.len() > MAGIC_COOKIE.len()
                && cookie.is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// The address that the next hop saw, with or without brackets on the wire (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        uri::parse_ip(&self.param("received")?)
    }

    /// The port that the next hop saw (RFC 3581).
    pub fn rport(&self) -> Option<u16> {
        let value = self.params().named("rport")?.value?;
        lex::number(value, 65_535).map(|port| port as u16)
    }

    /// Whether `rport` is present, with or without a value: the sender asks for symmetric response
    /// routing (RFC 3581).
    pub fn wants_rport(&self) -> bool {
        self.params().named("rport").is_some()
    }

    /// The multicast or other address that responses shall go to instead of sent-by.
    pub fn maddr(&self) -> Option<Cow<'_, str>> {
        self.param("maddr")
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'_> {
        Params::new(self.params.of(&self.raw))
    }

    /// The value of the parameter `name`, unquoted; empty for one without a value.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().named(name).map(|param| param.text())
    }

    /// The value as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// A copy that holds on to nothing but its own bytes.
    pub fn detach(&self) -> Self {
        Self {
            raw: Bytes::copy_from_slice(&self.raw),
            ..self.clone()
        }
    }

    /// The value with `received` and `rport` set to where the request really came from: `received`
    /// where sent-by names another address or is a name, or `rport` was asked for (RFC 3261
    /// §18.2.1, RFC 3581 §4). What the sender itself wrote into these two is replaced.
    ///
    /// `feedback`, of overload control, stands in place of the sender's offer to obey it (RFC 7339 §4).
    pub(crate) fn stamped(&self, source: std::net::SocketAddr, feedback: Option<&str>) -> Vec<u8> {
        let rport = self.wants_rport();
        let ip = source.ip().to_canonical();
        let mut text = Vec::with_capacity(self.raw.len() + feedback.map_or(0, str::len) + STAMP);
        text.extend_from_slice(&self.raw[..self.params.start()]);
        while text.last().is_some_and(|&byte| lex::is_lws(byte)) {
            text.pop();
        }
        for param in self
            .params()
            .filter(|p| !p.is("received") && !p.is("rport"))
            .filter(|p| feedback.is_none() || !(p.is("oc") || p.is("oc-algo")))
        {
            text.push(b';');
            text.extend_from_slice(param.name);
            if let Some(value) = param.value {
                text.push(b'=');
                text.extend_from_slice(value);
            }
        }
        if rport || self.host_ip().map(|host| host.to_canonical()) != Some(ip) {
            // Writing into memory does not fail.
            let _written = write!(text, ";received={ip}");
        }
        if rport {
            let _written = write!(text, ";rport={}", source.port());
        }
        text.extend_from_slice(feedback.unwrap_or_default().as_bytes());
        text
    }
}

fn token(raw: &[u8], start: usize) -> Result<(usize, usize), Problem> {
    let len = raw[start.min(raw.len())..]
        .iter()
        .take_while(|&&b| lex::is_token_byte(b))
        .count();
    match len {
        0 => Err(Problem::Syntax("invalid sent-protocol")),
        _ => Ok((start, start + len)),
    }
}

fn slash(raw: &[u8], at: usize) -> Result<usize, Problem> {
    let at = lex::skip_lws(raw, at);
    match raw.get(at) {
        Some(b'/') => Ok(lex::skip_lws(raw, at + 1)),
        _ => Err(Problem::Syntax("invalid sent-protocol")),
    }
}

impl FromStr for Via {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::parse(text)
    }
}

impl PartialEq for Via {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Via {}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({:?})", String::from_utf8_lossy(&self.raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_spacing_and_addresses_are_understood() {
        let via =
            Via::parse("SIP  /   2.0 / UDP    192.0.2.2 : 5070 ; rport ;branch=390skdjuw").unwrap();
        assert_eq!((via.host(), via.port()), ("192.0.2.2", Some(5070)));
        assert_eq!(
            (via.version(), via.branch()),
            ("SIP  /   2.0", Some("390skdjuw"))
        );
        assert!(!via.has_magic_cookie());
        for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
            let via =
                Via::parse(&format!("SIP/2.0/UDP [2001:db8::9:1];received={received}")).unwrap();
            assert_eq!(via.received(), "2001:db8::9:255".parse().ok());
        }
        assert!(
            !Via::parse("SIP/2.0/UDP a;branch=z9hG4bK")
                .unwrap()
                .has_magic_cookie()
        );
    }

    #[test]
    fn broken_values_are_refused() {
        for bad in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP host:x",
            "SIP/2.0/UDP host:70000",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP host;branch",
            "SIP/2.0/UDP host;branch=z9hG4bK1;branch=z9hG4bK2",
            "SIP/2.0/UDP host;branch=\"x y\"",
            "SIP/2.0/UDP host name",
            "SIP/2.0/UDP host\r\nX: y",
        ] {
            assert!(Via::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_true_source_is_stamped() {
        let stamp = |via: &str, source: &str| {
            String::from_utf8(
                Via::parse(via)
                    .unwrap()
                    .stamped(source.parse().unwrap(), None),
            )
            .unwrap()
        };
        assert_eq!(
            stamp("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa", "192.0.2.1:9"),
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa"
        );
        assert_eq!(
            stamp(
                "SIP/2.0/UDP 192.0.2.1 ;rport;branch=z9hG4bKa",
                "192.0.2.1:9"
            ),
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;received=192.0.2.1;rport=9"
        );
        assert_eq!(
            stamp(
                "SIP/2.0/UDP pc;received=6.6.6.6;branch=z9hG4bKa",
                "[2001:db8::1]:9"
            ),
            "SIP/2.0/UDP pc;branch=z9hG4bKa;received=2001:db8::1"
        );
    }
}
