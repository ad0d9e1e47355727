//! Placing calls.

use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::commands::refused;
use crate::engine::core::{Core, next};
use crate::engine::event::CallError;
use crate::id::CallId;
use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::agent::command::{Body, Invite};
use crate::sip::auth::client::Account;
use crate::sip::header::address::NameAddr;
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
    /// The dialog at the target to take the place of (RFC 3891).
    pub replaces: Option<Replaces>,
}

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
            replaces: None,
        }
    }
}

impl Core {
    /// Calls a party. The first offer is made at once; `Answered` or `Ended` follows.
    pub fn dial(&mut self, now: Instant, request: DialRequest) -> Result<CallId, CallError> {
        self.now = now;
        if self.stopping.is_some() {
            return Err(CallError::Busy("the engine is stopping"));
        }
        if self.calls.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many calls as allowed are in progress"));
        }
        let mut invite = self.invite_for(&request)?;
        let flow = invite.flow;
        let next_hop = invite.route.first().unwrap_or(&invite.target);
        let hidden = flow.is_none() && route::next_hop(next_hop).is_ok_and(|hop| hop.is_secure());
        let next_hop = next_hop.host_ip();
        let port = self
            .take_port()
            .ok_or(CallError::Busy("no media port is free"))?;
        let mut sdp = self.new_negotiator();
        let security = self.new_security(request.media_security, hidden);
        let offered = sdp.offer(&self.local_media(port, false, &security));
        let dialled = offered
            .map_err(|error| CallError::Invalid(error.to_string()))
            .and_then(|offer| {
                invite.body = Some(Body::sdp(offer));
                self.agent.invite(now, invite).map_err(refused)
            });
        let session = match dialled {
            Ok(session) => session,
            Err(error) => {
                self.give_port_back(port);
                return Err(error);
            }
        };
        let id = CallId(next(&mut self.minted.calls));
        let mut call = CallState::new(session, Stage::Dialling, sdp, now);
        call.offer = Some(Box::new(call.sdp.clone()));
        call.port = Some(port);
        call.hint = flow_address(flow).or(next_hop);
        call.security = security;
        self.sessions.insert(session, id);
        self.calls.insert(id, call);
        self.take_signalling(now);
        Ok(id)
    }

    fn invite_for(&self, request: &DialRequest) -> Result<Invite, CallError> {
        let invalid = |what: &str, error: String| CallError::Invalid(format!("{what}: {error}"));
        let uri = |what: &str, text: &str| {
            Uri::parse(text).map_err(|error| invalid(what, error.to_string()))
        };
        let target = uri("the called URI", &request.target)?;
        let own = self.own_uri();
        let from = uri("the caller's URI", request.from.as_deref().unwrap_or(&own))?;
        let mut from = NameAddr::new(&from);
        if let Some(name) = &request.display_name {
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
        invite.headers = request.headers.clone();
        if let Some(replaces) = &request.replaces {
            invite
                .headers
                .push(("Replaces".into(), replaces.to_string()));
        }
        invite.account = request.account.clone();
        invite.ring_timeout = request.ring_timeout.or(Some(self.config.ring_timeout));
        Ok(invite)
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
