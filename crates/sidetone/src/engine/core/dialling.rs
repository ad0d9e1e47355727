//! Placing calls.

use std::net::IpAddr;

use crate::call::data::CallData;
use crate::call::details::Details;
use crate::call::early::EarlyMediaPolicy;
use crate::call::redirect::RedirectPolicy;
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::commands::refused;
use crate::engine::core::details::{is_public, too_many};
use crate::engine::core::redirects::Redirects;
use crate::engine::core::{Core, next};
use crate::engine::event::CallError;
use crate::engine::io::MediaPort;
use crate::engine::recording::policy::RecordingChoice;
use crate::id::CallId;
use crate::sdp::negotiate::Negotiator;
use crate::sdp::negotiate::security::{LocalSecurity, MediaSecurity};
use crate::sip::agent::command::{Body, Invite, SessionId};
use crate::sip::auth::client::Account;
use crate::sip::header::address::NameAddr;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::header::value::Replaces;
use crate::sip::transport::{Path, route};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// Whom to call, and how.
#[derive(Debug, Clone)]
pub struct DialRequest {
    /// The called URI.
    pub target: String,
    /// The URI shown as the caller's; the engine's own where there is none.
    pub from: Option<String>,
    /// The name shown beside it.
    pub display_name: Option<String>,
    /// The URI shown as the called party's (To); the target where there is none.
    pub to: Option<String>,
    /// Proxies to send the request through, in order.
    pub routes: Vec<String>,
    /// The way by which a registered party is reached; see [`Invite::flow`].
    pub flow: Option<Path>,
    /// Further header fields of the INVITE, name and value.
    pub headers: Vec<(String, String)>,
    /// How long the party may ring; the configured time where there is none.
    pub ring_timeout: Option<Duration>,
    /// Whether the media is protected; as configured where there is nothing said.
    pub media_security: Option<MediaSecurity>,
    /// What to sign in with where a proxy or the party asks for it.
    pub account: Option<Account>,
    /// Max-Forwards; less than 70 where the call is carried on from another.
    pub max_forwards: u8,
    /// The codecs to offer, by their names in SDP, best first, of those that the engine has; all of
    /// them where nothing is said.
    pub codecs: Option<Vec<String>>,
    /// The dialog at the target to take the place of (RFC 3891).
    pub replaces: Option<Replaces>,
    /// What else the INVITE says: asserted identity, privacy, diversions and others.
    pub details: Details,
    /// Whether the next hop belongs to the trust domain; as configured where there is nothing said.
    pub trusted: Option<bool>,
    /// Which redirections are followed; as configured where there is nothing said.
    pub redirects: Option<RedirectPolicy>,
    /// What is heard before the answer; as configured where there is nothing said.
    pub early_media: Option<EarlyMediaPolicy>,
    /// Our part of the session's identifier; see [`Invite::session_uuid`].
    pub session_uuid: Option<SessionUuid>,
    /// Whether its media shall not come here: the call is made without an offer, nothing flows until it
    /// is connected with another such call.
    pub without_media: bool,
    /// Data of the call, which the INVITE carries as configured.
    pub data: Option<CallData>,
    /// A reference to it, where it is stored already: this is carried in its place.
    pub data_reference: Option<String>,
    /// The call for which this one is made: its data is shared, and its party's part of the session's
    /// identifier shown.
    pub on_behalf_of: Option<CallId>,
    /// What it says against the policy of recording.
    pub recorded: RecordingChoice,
}

/// Who calls where the caller is to be kept secret (RFC 3323 §4.1.1.3).
pub(super) const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

impl DialRequest {
    /// Calls `target` with every default.
    pub fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            from: None,
            display_name: None,
            to: None,
            routes: Vec::new(),
            flow: None,
            headers: Vec::new(),
            ring_timeout: None,
            media_security: None,
            account: None,
            max_forwards: 70,
            codecs: None,
            replaces: None,
            details: Details::default(),
            trusted: None,
            redirects: None,
            early_media: None,
            session_uuid: None,
            without_media: false,
            data: None,
            data_reference: None,
            on_behalf_of: None,
            recorded: RecordingChoice::default(),
        }
    }
}

/// A call that has begun with one target.
pub(super) struct Attempt {
    pub(super) session: SessionId,
    pub(super) sdp: Negotiator,
    pub(super) security: LocalSecurity,
    pub(super) hint: Option<IpAddr>,
    pub(super) trusted: bool,
    pub(super) target: Uri,
}

impl Core {
    /// Calls a party. The first offer is made at once; `Answered` or `Ended` follows.
    pub fn dial(&mut self, now: Instant, mut request: DialRequest) -> Result<CallId, CallError> {
        self.now = now;
        self.settle_request(&mut request)?;
        if self.stopping.is_some() {
            return Err(CallError::Busy("the engine is stopping"));
        }
        if self.calls.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many calls as allowed are in progress"));
        }
        let no_port = CallError::Busy("no media port is free");
        let port = match request.without_media {
            true => None,
            false => Some(self.take_port().ok_or(no_port)?),
        };
        let attempt = match self.attempt(now, &request, port) {
            Ok(attempt) => attempt,
            Err(error) => {
                port.into_iter().for_each(|port| self.give_port_back(port));
                return Err(error);
            }
        };
        let direct = request.without_media.then(|| self.new_direct());
        let id = CallId(next(&mut self.minted.calls));
        let (session, sdp) = (attempt.session, attempt.sdp.clone());
        let mut call = CallState::new(session, Stage::Dialling, sdp, now);
        call.port = port;
        call.direct = direct;
        call.early_media = request.early_media.unwrap_or(self.config.early_media);
        call.redirects = Redirects::new(&request, &self.config.redirects, &attempt.target);
        call.begin(attempt);
        call.codecs = request.codecs;
        call.recorded = request.recorded;
        self.sessions.insert(session, id);
        self.calls.insert(id, call);
        if let Some(data) = request.data {
            self.set_data(now, id, data)?;
        }
        if let Some(other) = request.on_behalf_of {
            self.share_data(other, id);
        }
        let own = self.own_uri();
        let callee = request.to.as_ref().unwrap_or(&request.target);
        self.show_callee(now, id, callee, request.from.as_ref().unwrap_or(&own));
        self.take_signalling(now);
        Ok(id)
    }

    /// Sends an INVITE with an offer of media at `port`, or without any.
    pub(super) fn attempt(
        &mut self,
        now: Instant,
        request: &DialRequest,
        port: Option<MediaPort>,
    ) -> Result<Attempt, CallError> {
        let (mut invite, trusted) = self.invite_for(request)?;
        let flow = invite.flow;
        let target = invite.target.clone();
        let next_hop = invite.route.first().unwrap_or(&invite.target);
        let hidden = flow.is_none() && route::next_hop(next_hop).is_ok_and(|hop| hop.is_secure());
        let hint = flow_address(flow).or(next_hop.host_ip());
        let mut sdp = self.new_negotiator();
        let security = self.new_security(request.media_security, hidden);
        if let Some(port) = port {
            let offer = sdp
                .offer(&self.local_media(port, false, &security, request.codecs.as_deref()))
                .map_err(|error| CallError::Invalid(error.to_string()))?;
            invite.body = Some(Body::sdp(offer));
        }
        self.carry_data(request, &mut invite)?;
        let session = self.agent.invite(now, invite).map_err(refused)?;
        Ok(Attempt {
            session,
            sdp,
            security,
            hint,
            trusted,
            target,
        })
    }

    /// The INVITE, and whether its next hop belongs to the trust domain.
    pub(super) fn invite_for(&self, request: &DialRequest) -> Result<(Invite, bool), CallError> {
        let invalid = |what: &str, error: String| CallError::Invalid(format!("{what}: {error}"));
        let uri = |what: &str, text: &str| {
            Uri::parse(text).map_err(|error| invalid(what, error.to_string()))
        };
        let target = uri("the called URI", &request.target)?;
        let hidden = request.from.is_none() && request.details.privacy.hides_identity();
        let own = match hidden {
            true => ANONYMOUS.to_owned(),
            false => self.own_uri(),
        };
        let from = uri("the caller's URI", request.from.as_deref().unwrap_or(&own))?;
        let mut from = NameAddr::new(&from);
        let anonymous = hidden.then_some("Anonymous");
        if let Some(name) = request.display_name.as_deref().or(anonymous) {
            from = from
                .with_display_name(name)
                .map_err(|error| invalid("the display name", error.to_string()))?;
        }
        let mut invite = Invite::new(target, from);
        for route in &request.routes {
            invite.route.push(uri("the route", route)?);
        }
        if let Some(to) = &request.to {
            invite.to = Some(NameAddr::new(&uri("the called party's URI", to)?));
        }
        invite.flow = request.flow;
        invite.max_forwards = request.max_forwards;
        let next_hop = invite.route.first().unwrap_or(&invite.target);
        let told = request.flow.is_none() && self.config.trust.tells(next_hop);
        let trusted = request.trusted.unwrap_or(told);
        let headers = request.headers.iter();
        let kept = headers.filter(|(name, _)| trusted || is_public(name));
        invite.headers = kept.cloned().collect();
        let details = request.details.headers(trusted).ok_or_else(too_many)?;
        invite.headers.extend(details);
        invite.session_uuid = request.session_uuid;
        if let Some(replaces) = &request.replaces {
            invite
                .headers
                .push(("Replaces".into(), replaces.to_string()));
        }
        invite.account = request.account.clone();
        invite.ring_timeout = request.ring_timeout.or(Some(self.config.ring_timeout));
        Ok((invite, trusted))
    }

    /// The engine's own URI, shown as From where nothing else is asked for.
    pub(super) fn own_uri(&self) -> String {
        let host = self
            .config
            .listeners
            .first()
            .map(|listener| listener.advertise.unwrap_or(listener.bind).ip());
        match host {
            Some(std::net::IpAddr::V6(ip)) => format!("sip:{}@[{ip}]", self.config.user),
            Some(ip) => format!("sip:{}@{ip}", self.config.user),
            None => format!("sip:{}@invalid", self.config.user),
        }
    }
}

/// The host that a datagram's way leads to, from which media may come as well.
fn flow_address(flow: Option<Path>) -> Option<std::net::IpAddr> {
    match flow? {
        Path::Datagram { destination, .. } => Some(destination.ip()),
        Path::Stream { .. } => None,
    }
}
