//! Answers to requests: stateless ones to what is refused, and the checks that refuse.

use super::command::{Body, Headers};
use super::config::AgentConfig;
use super::{Agent, Arrival, Owner, SUPPORTED, draft};
use crate::id::ListenerId;
use crate::sip::header::Name;
use crate::sip::header::value::MediaType;
use crate::sip::message::Message;
use crate::sip::message::build::ResponseBuilder;
use crate::sip::method::Method;
use crate::sip::registrar::Reply;
use crate::sip::siprec::session as siprec;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transaction::{Event as Happening, Machine};
use crate::sip::transport::{Listener, Path, route};
use crate::sip::uri::{Scheme, Uri};
use crate::time::Instant;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

/// A refusal: the status, and the header fields that explain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) headers: SmallVec<[(Name<'static>, String); 1]>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: SmallVec::new(),
        }
    }

    pub(super) fn with(status: StatusCode, name: Name<'static>, value: impl Into<String>) -> Self {
        Self::new(status).and(name, value)
    }

    pub(super) fn and(mut self, name: Name<'static>, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Agent {
    /// Where responses to a request go: back on its connection, or to the address that its top Via
    /// and its source give.
    pub(super) fn response_path(&self, arrival: Arrival, request: &Message) -> Path {
        let Path::Datagram { listener, .. } = arrival.path else {
            return arrival.path;
        };
        let via = request.top_via_lenient().ok();
        let port = via.as_ref().and_then(|via| via.port());
        let nat = self
            .listener_of(arrival)
            .is_some_and(|listener| listener.nat);
        let rport = nat || via.as_ref().is_some_and(|via| via.wants_rport());
        let destination = route::response_address(arrival.source, port, rport);
        Path::Datagram {
            listener,
            destination,
        }
    }

    /// Refuses a request without keeping any state (RFC 3261 §8.2.7): its repetition gets the same
    /// answer again.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        refusal: &Refusal,
    ) {
        self.count_refusal(refusal.status);
        let tag = self.stateless_tag(request);
        let mut builder = ResponseBuilder::for_request(request, refusal.status)
            .source(arrival.source)
            .to_tag(&tag);
        if let Some(told) = self.feedback_for(request) {
            builder = builder.feedback(told);
        }
        for (name, value) in &refusal.headers {
            builder = builder.header(*name, value);
        }
        let Ok(response) = builder.build_bytes() else {
            return;
        };
        let path = self.response_path(arrival, request);
        self.send_plain(now, path, response);
    }

    fn count_refusal(&mut self, status: StatusCode) {
        let counter = match status {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                &mut self.counters.rejected_method
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::BAD_EXTENSION
            | StatusCode::BAD_INFO_PACKAGE => &mut self.counters.rejected_unsupported,
            StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST => &mut self.counters.rejected_no_dialog,
            StatusCode::LOOP_DETECTED => &mut self.counters.rejected_merged,
            StatusCode::SERVER_INTERNAL_ERROR | StatusCode::REQUEST_PENDING => {
                &mut self.counters.rejected_out_of_turn
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::FORBIDDEN => return,
            StatusCode::SERVICE_UNAVAILABLE if self.draining => &mut self.counters.refused_draining,
            StatusCode::SERVICE_UNAVAILABLE => &mut self.counters.refused_full,
            _ => &mut self.counters.rejected_invalid,
        };
        *counter += 1;
    }

    /// The same To tag for every repetition of a request, which nobody else can foresee.
    pub(super) fn stateless_tag(&self, request: &Message) -> String {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        request.call_id().unwrap_or_default().hash(&mut hasher);
        if let Ok(via) = request.top_via_lenient() {
            via.branch().hash(&mut hasher);
        }
        if let Ok(from) = request.from() {
            from.tag().hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    pub(super) fn full(&self) -> Refusal {
        let seconds = self.config.retry_after.to_string();
        Refusal::with(StatusCode::SERVICE_UNAVAILABLE, Name::RetryAfter, seconds)
    }

    /// Answers a request for good, within a transaction that absorbs its repetitions: what it was
    /// answered with holds for them too. With a `tag` it makes a dialog, or belongs to one.
    pub(super) fn answer_once(
        &mut self,
        now: Instant,
        (arrival, request, key): (Arrival, &Message, ServerKey),
        reply: Reply,
        tag: Option<&str>,
    ) {
        let headers = reply.headers.into_iter();
        let headers: Headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect();
        let contact = match tag.is_some() && reply.status.is_success() {
            true => self.contact_at(arrival, request, ""),
            false => None,
        };
        let own = self.stateless_tag(request);
        let tag = tag.unwrap_or(&own);
        let (source, extra) = (arrival.source, (&headers, None));
        let bytes = self.build_response(request, source, tag, reply.status, extra, contact);
        let Some(bytes) = bytes else {
            let refusal = Refusal::new(StatusCode::SERVER_INTERNAL_ERROR);
            return self.refuse(now, arrival, request, &refusal);
        };
        let path = self.response_path(arrival, request);
        let (machine, owner) = (Machine::NonInviteServer, Owner::Nobody);
        let Ok(transaction) = self.transactions.start_server(machine, key, path, owner) else {
            // No room to absorb repetitions: the answer goes out all the same.
            return self.send_plain(now, path, bytes);
        };
        let happening = match reply.status.is_success() {
            true => Happening::Send2xx,
            false => Happening::Send3to6xx,
        };
        let reaction = self.transactions.apply(now, transaction, happening, bytes);
        self.react(now, transaction, owner, reaction);
    }

    /// A response within a transaction of ours; `None` where it cannot be built.
    pub(super) fn build_response(
        &self,
        request: &Message,
        source: SocketAddr,
        tag: &str,
        status: StatusCode,
        extra: (&Headers, Option<&Body>),
        contact: Option<String>,
    ) -> Option<Bytes> {
        let mut builder = ResponseBuilder::for_request(request, status).source(source);
        if let Some(told) = self.feedback_for(request) {
            builder = builder.feedback(told);
        }
        if status != StatusCode::TRYING {
            builder = builder.to_tag(tag);
        }
        if let Some(contact) = contact {
            builder = builder.header(Name::Contact, contact);
            if status.is_success() {
                builder = builder
                    .header(Name::Allow, self.config.allow())
                    .header(Name::Supported, SUPPORTED);
            }
        }
        let body = extra.1.map_or(&b""[..], |body| &body.bytes);
        let info = self.authentication_info(request, body);
        if let Some(info) = info.filter(|_| status.is_success()) {
            builder = builder.header(Name::AuthenticationInfo, info);
        }
        if let Some(identifier) = self.identifier_by_tag(tag) {
            builder = builder.header(Name::SessionId, identifier);
        }
        if let Some(product) = &self.config.product
            && status != StatusCode::TRYING
        {
            builder = builder.header(Name::Server, product);
        }
        draft::add(builder, extra.0, extra.1).build_bytes().ok()
    }

    /// The listener that a message came in by, or whose address the connection left from.
    pub(super) fn listener_of(&self, arrival: Arrival) -> Option<&Listener> {
        let id = self.listener_id_of(arrival)?;
        self.config.listeners.get(usize::from(id.0))
    }

    /// The number of that listener.
    pub(super) fn listener_id_of(&self, arrival: Arrival) -> Option<ListenerId> {
        arrival.listener.or(match arrival.path {
            Path::Stream { connection } => self.connections.listener(connection),
            Path::Datagram { .. } => None,
        })
    }

    /// Our Contact for a request, at the listener that it came in by: a `sips:` URI where the request
    /// speaks of one (RFC 3261 §12.1.1).
    pub(super) fn contact_at(
        &self,
        arrival: Arrival,
        request: &Message,
        features: &str,
    ) -> Option<String> {
        let listener = self.listener_of(arrival)?;
        let is_sips = |uri: &Uri| uri.scheme() == Scheme::Sips;
        let route = request.record_routes().next().and_then(Result::ok);
        let secure = request.request_uri().is_ok_and(|uri| is_sips(&uri))
            || match route {
                Some(route) => is_sips(route.uri()),
                None => {
                    let contact = request.contacts().next().and_then(Result::ok);
                    contact.is_some_and(|contact| is_sips(contact.uri()))
                }
            };
        let sent_by = listener.sent_by();
        let contact = draft::contact(listener.transport, secure, &sent_by, &self.config);
        Some(contact + features)
    }
}

/// Whether the method, the extensions and the body of a request can be served (RFC 3261 §8.2.1,
/// §8.2.2.3, §8.2.3).
pub(super) fn check(
    request: &Message,
    method: &Method,
    config: &AgentConfig,
    records: bool,
) -> Result<(), Refusal> {
    match method {
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel => {}
        Method::Options | Method::Info | Method::Update | Method::Prack => {}
        Method::Refer | Method::Notify | Method::Message => {}
        Method::Subscribe | Method::Publish if config.events.is_some() => {}
        Method::Extension(_) => {
            return Err(Refusal::with(
                StatusCode::NOT_IMPLEMENTED,
                Name::Allow,
                config.allow(),
            ));
        }
        _ => {
            return Err(Refusal::with(
                StatusCode::METHOD_NOT_ALLOWED,
                Name::Allow,
                config.allow(),
            ));
        }
    }
    if *method == Method::Cancel || *method == Method::Ack {
        return Ok(());
    }
    let mut known: Vec<&str> = SUPPORTED.split(", ").collect();
    let begins = || request.to().is_ok_and(|to| to.tag().is_none());
    // A recording session begins only where one may, and with a client; within one both may say so.
    if !begins() || (records && siprec::comes_from_client(request)) {
        known.push(siprec::SIPREC);
    }
    check_extensions(request, &known)?;
    if !body_is_acceptable(request, method, config) {
        let types = config.message_types.join(", ");
        let accept = match method {
            Method::Message => types.as_str(),
            _ => "application/sdp",
        };
        return Err(Refusal::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Name::Accept,
            accept,
        ));
    }
    if *method == Method::Invite && !takes_descriptions(request) {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE));
    }
    if request
        .header(Name::ContentEncoding)
        .is_some_and(|h| h.text() != "identity")
    {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Refusal::with(status, Name::AcceptEncoding, "identity"));
    }
    Ok(())
}

/// Whether an INVITE takes the session description that its answer would bring (RFC 4475 §3.3.15). One
/// that says nothing does, and so does one that says what nobody can read.
fn takes_descriptions(request: &Message) -> bool {
    let mut ranges = request.accept();
    let says = request.header(Name::Accept).is_some();
    !says
        || ranges.any(|range| range.is_ok_and(|range| range.accepts("application", "sdp")))
        || request.accept().any(|range| range.is_err())
}

/// Refuses a request that requires an extension other than those `known` (RFC 3261 §8.2.2.3).
pub(super) fn check_extensions(request: &Message, known: &[&str]) -> Result<(), Refusal> {
    let is_known = |tag: &&str| known.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let required = request.require().filter(|tag| !is_known(tag));
    let unknown: Vec<&str> = required.take(8).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Refusal::with(
            StatusCode::BAD_EXTENSION,
            Name::Unsupported,
            unknown.join(", "),
        )),
    }
}

/// An INVITE, PRACK or UPDATE may bring a session description, alone or among other parts, the bodies of
/// recording sessions, or a body
/// that need not be understood, a MESSAGE what is configured. Other requests may bring anything.
fn body_is_acceptable(request: &Message, method: &Method, config: &AgentConfig) -> bool {
    if *method == Method::Message && !request.body().is_empty() {
        let media = request.content_type().ok().flatten();
        let is = |media: &MediaType, text: &str| {
            let parts = text.split_once('/');
            parts.is_some_and(|(kind, subtype)| media.is(kind, subtype))
        };
        let mut types = config.message_types.iter();
        return media.is_some_and(|media| types.any(|known| is(&media, known)));
    }
    if !matches!(method, Method::Invite | Method::Prack | Method::Update)
        || request.body().is_empty()
    {
        return true;
    }
    let optional = request
        .content_disposition()
        .ok()
        .flatten()
        .and_then(|value| {
            value
                .param("handling")
                .map(|h| h.eq_ignore_ascii_case("optional"))
        })
        .unwrap_or(false);
    let known = request
        .content_type()
        .ok()
        .flatten()
        .is_some_and(|media_type| {
            let is = |subtype| media_type.is("application", subtype);
            is("sdp")
                || is("rs-metadata+xml")
                || is("rs-metadata")
                || is("rs-metadata-request")
                || media_type.kind().eq_ignore_ascii_case("multipart")
        });
    optional || known
}
