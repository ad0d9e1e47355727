//! Peers that the engine watches: asked by OPTIONS whether they are alive.

use crate::engine::core::Core;
use crate::engine::core::commands::refused;
use crate::engine::event::CallError;
use crate::sip::agent::command::Options;
use crate::sip::auth::client::Account;
use crate::sip::header::address::NameAddr;
use crate::sip::health::{Health, Pinging, WatchId};
use crate::sip::transport::Path;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// Whom to watch, and how.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// The peer's URI, such as `sip:trunk.example.com` or `sip:192.0.2.7:5070;transport=tcp`.
    pub target: String,
    /// The URI shown as ours (From); the engine's own by default.
    pub from: Option<String>,
    /// Proxies to go through, in order.
    pub routes: Vec<String>,
    /// The way to a registered user's telephone.
    pub flow: Option<Path>,
    /// What to sign in with where the peer asks for it.
    pub account: Option<Account>,
    /// How often, and what counts.
    pub pinging: Pinging,
}

impl WatchRequest {
    /// Watches `target` as the defaults say.
    pub fn new(target: &str) -> Self {
        Self {
            target: target.to_owned(),
            from: None,
            routes: Vec::new(),
            flow: None,
            account: None,
            pinging: Pinging::default(),
        }
    }
}

impl Core {
    /// Watches a peer from now on; `Event::Health` tells when it stands differently.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where a URI cannot be used, [`CallError::Busy`] where as many are
    /// watched as may be.
    pub fn watch(&mut self, now: Instant, request: &WatchRequest) -> Result<WatchId, CallError> {
        self.now = now;
        let own = self.own_uri();
        let from = uri(request.from.as_deref().unwrap_or(&own))?;
        let mut query = Options::new(uri(&request.target)?, NameAddr::new(&from));
        for route in &request.routes {
            query.route.push(uri(route)?);
        }
        query.flow = request.flow;
        query.account.clone_from(&request.account);
        let pinging = request.pinging.clone();
        let watch = self.agent.watch(now, query, pinging).map_err(refused)?;
        self.take_signalling(now);
        Ok(watch)
    }

    /// Watches a peer no more.
    pub fn unwatch(&mut self, watch: WatchId) {
        self.agent.unwatch(watch);
    }

    /// How a watched peer stands.
    pub fn health(&self, watch: WatchId) -> Health {
        self.agent.health(watch)
    }
}

/// The URI that `text` is.
pub(super) fn uri(text: &str) -> Result<Uri, CallError> {
    Uri::parse(text).map_err(|error| CallError::Invalid(format!("{text}: {error}")))
}
