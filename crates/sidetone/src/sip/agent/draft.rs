//! Requests before they know the way they will go: everything but Via and Contact.

use super::command::{Body, CommandError, Headers};
use super::config::AgentConfig;
use super::{SUPPORTED, SUPPORTED_LATER};
use crate::id::ListenerId;
use crate::sip::dialog::{Addressing, Dialog};
use crate::sip::header::Name;
use crate::sip::header::address::NameAddr;
use crate::sip::header::value::MediaType;
use crate::sip::message::build::{RequestBuilder, ResponseBuilder};
use crate::sip::method::Method;
use crate::sip::overload::feedback::OFFER;
use crate::sip::transport::Transport;
use crate::sip::uri::{Scheme, Uri};
use bytes::Bytes;
use std::fmt;

/// A request without Via and Contact.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) next_hop: Uri,
    pub(super) routes: Vec<NameAddr>,
    pub(super) from: NameAddr,
    pub(super) to: NameAddr,
    pub(super) call_id: String,
    pub(super) sequence: u32,
    pub(super) max_forwards: u8,
    pub(super) headers: Headers,
    pub(super) body: Option<Body>,
    pub(super) listener: Option<ListenerId>,
    /// Session-Expires and Min-SE.
    pub(super) timer: Headers,
    /// Session-ID, in a session.
    pub(super) session_id: Option<String>,
    /// Authorization or Proxy-Authorization.
    pub(super) credentials: Option<Signed>,
    /// Parameters of Contact, each behind its semicolon.
    pub(super) contact_parameters: String,
}

/// Credentials as they go on the wire; their `Debug` form leaves them out.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) name: Name<'static>,
    pub(super) value: String,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").finish_non_exhaustive()
    }
}

/// The way that a request goes, as far as its header fields show it.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    pub(super) transport: Transport,
    pub(super) sent_by: String,
    pub(super) branch: String,
}

/// What a user may add to a message, in bytes; the rest of a datagram is for what the agent writes.
const MAX_ADDED_BYTES: usize = 48 * 1024;

/// Header fields that the agent alone writes.
const OWN: [Name<'static>; 19] = [
    Name::Via,
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::Contact,
    Name::Route,
    Name::RecordRoute,
    Name::MaxForwards,
    Name::ContentType,
    Name::ContentLength,
    Name::Allow,
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::RSeq,
    Name::RAck,
    Name::SessionExpires,
    Name::MinSe,
    Name::SessionId,
];

/// Checks what a user wants to send along.
pub(super) fn check(headers: &Headers, body: Option<&Body>) -> Result<(), CommandError> {
    let broken = |text: &str| {
        text.bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t')
    };
    for (name, value) in headers {
        let parsed = Name::parse(name).ok_or_else(|| CommandError::Header(name.clone()))?;
        if OWN.contains(&parsed) || broken(value) {
            return Err(CommandError::Header(name.clone()));
        }
    }
    let fields = headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum::<usize>();
    if fields + body.map_or(0, |body| body.bytes.len()) > MAX_ADDED_BYTES {
        return Err(CommandError::TooLarge);
    }
    if body.is_some_and(|body| MediaType::parse(&body.content_type).is_err()) {
        return Err(CommandError::Header("Content-Type".into()));
    }
    Ok(())
}

impl Draft {
    /// A request within a dialog (RFC 3261 §12.2.1.1).
    pub(super) fn in_dialog(
        dialog: &Dialog,
        method: Method,
        sequence: u32,
        listener: Option<ListenerId>,
    ) -> Self {
        let Addressing {
            uri,
            routes,
            next_hop,
        } = dialog.addressing();
        Self {
            method,
            uri,
            next_hop,
            routes,
            from: dialog.local().clone(),
            to: dialog.remote().clone(),
            call_id: dialog.call_id().to_owned(),
            sequence,
            max_forwards: 70,
            headers: Headers::new(),
            body: None,
            listener,
            timer: Headers::new(),
            session_id: None,
            credentials: None,
            contact_parameters: String::new(),
        }
    }

    /// The same with what a user wants to send along.
    pub(super) fn with(self, headers: Headers, body: Option<Body>) -> Self {
        Self {
            headers,
            body,
            ..self
        }
    }

    /// The bytes of the request on a given way; `None` where it cannot be built, such as when it
    /// would be larger than a datagram.
    pub(super) fn build(&self, stamp: &Stamp, config: &AgentConfig) -> Option<Bytes> {
        let mut builder = RequestBuilder::new(self.method.clone(), &self.uri)
            .header(Name::Via, via(stamp, config))
            .typed(Name::MaxForwards, &self.max_forwards);
        for route in &self.routes {
            builder = builder.header(Name::Route, route.as_bytes());
        }
        builder = builder
            .header(Name::From, self.from.as_bytes())
            .header(Name::To, self.to.as_bytes())
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format!("{} {}", self.sequence, self.method));
        if matches!(
            self.method,
            Method::Invite
                | Method::Options
                | Method::Update
                | Method::Register
                | Method::Refer
                | Method::Notify
                | Method::Subscribe
        ) {
            builder = builder
                .header(
                    Name::Contact,
                    self.contact(stamp, config) + &self.contact_parameters,
                )
                .header(Name::Allow, config.allow());
        }
        builder = match self.method {
            Method::Ack | Method::Cancel => builder,
            _ if super::reliable::offers_reliability(self) => {
                builder.header(Name::Supported, SUPPORTED)
            }
            _ => builder.header(Name::Supported, SUPPORTED_LATER),
        };
        for (name, value) in &self.timer {
            builder = builder.header(Name::Other(name), value);
        }
        if let Some(identifier) = &self.session_id {
            builder = builder.header(Name::SessionId, identifier);
        }
        if let Some(Signed { name, value }) = &self.credentials {
            builder = builder.header(*name, value);
        }
        if let Some(product) = &config.product {
            builder = builder.header(Name::UserAgent, product);
        }
        if self.method == Method::Options {
            builder = builder.header(Name::Accept, "application/sdp");
        }
        for (name, value) in &self.headers {
            builder = builder.header(Name::Other(name), value);
        }
        if let Some(body) = &self.body {
            builder = builder.body(&body.content_type, body.bytes.clone());
        }
        Some(builder.build().ok()?.as_bytes().clone())
    }

    /// Our Contact: a `sips:` URI where the Request-URI or the first Route is one (RFC 3261 §8.1.1.8).
    fn contact(&self, stamp: &Stamp, config: &AgentConfig) -> String {
        let is_sips = |uri: &Uri| uri.scheme() == Scheme::Sips;
        let secure = is_sips(&self.uri) || is_sips(&self.next_hop);
        contact(stamp.transport, secure, &stamp.sent_by, config)
    }

    /// The CANCEL of an INVITE that went out with `stamp` (RFC 3261 §9.1).
    pub(super) fn cancel(&self, headers: Headers) -> Self {
        Self {
            method: Method::Cancel,
            headers,
            body: None,
            max_forwards: 70,
            timer: Headers::new(),
            credentials: None,
            ..self.clone()
        }
    }

    /// The ACK for a failure response to an INVITE, whose To it takes (RFC 3261 §17.1.1.3).
    pub(super) fn ack_failure(&self, to: NameAddr) -> Self {
        let draft = self.clone();
        Self {
            method: Method::Ack,
            to,
            headers: Headers::new(),
            body: None,
            max_forwards: 70,
            timer: Headers::new(),
            credentials: None,
            ..draft
        }
    }
}

fn via(stamp: &Stamp, config: &AgentConfig) -> String {
    let transport = stamp.transport.as_str();
    let obeys = match config.obeys_overload {
        true => OFFER,
        false => "",
    };
    format!(
        "SIP/2.0/{transport} {};branch={};rport{obeys}",
        stamp.sent_by, stamp.branch
    )
}

/// Our Contact at a listener that is reached by `sent_by`. A `sips:` URI says TLS by itself.
pub(super) fn contact(
    transport: Transport,
    secure: bool,
    sent_by: &str,
    config: &AgentConfig,
) -> String {
    let user = &config.contact_user;
    let parameter = transport.uri_parameter();
    match (secure, transport) {
        (true, Transport::Tls) => format!("<sips:{user}@{sent_by}>"),
        (true, _) => format!("<sips:{user}@{sent_by}{parameter}>"),
        (false, _) => format!("<sip:{user}@{sent_by}{parameter}>"),
    }
}

/// Adds what a user wants to send along to a response.
pub(super) fn add<'a>(
    mut builder: ResponseBuilder<'a>,
    headers: &Headers,
    body: Option<&Body>,
) -> ResponseBuilder<'a> {
    for (name, value) in headers {
        builder = builder.header(Name::Other(name), value);
    }
    match body {
        Some(body) => builder.body(&body.content_type, body.bytes.clone()),
        None => builder,
    }
}
