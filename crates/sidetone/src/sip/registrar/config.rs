//! What a registrar is configured with, and who may register what.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::id::ListenerId;
use crate::sip::uri::Uri;

/// What a [`Registrar`](super::Registrar) is told once, when it is made.
///
/// ```
/// use sidetone::sip::registrar::config::RegistrarConfig;
/// let config = RegistrarConfig::new("pbx.example").alias("192.0.2.1");
/// assert_eq!(config.max_expires, 3600);
/// ```
#[derive(Debug, Clone)]
pub struct RegistrarConfig {
    /// The domain whose addresses of record are registered here.
    pub domain: String,
    /// Other names and numeric addresses that stand for the same domain in requests. An engine adds
    /// the addresses of its listeners.
    pub aliases: Vec<String>,
    /// Who may register what. Default [`OwnAddress`].
    pub policy: Arc<dyn Policy>,
    /// How long a binding lasts where the request says nothing, in seconds. Default 3,600.
    pub default_expires: u32,
    /// The shortest time that is granted, in seconds; who asks for less gets 423. At most 3,600
    /// (RFC 3261 §10.3). Default 60.
    pub min_expires: u32,
    /// The longest time that is granted, in seconds; who asks for more gets this. Default 3,600.
    pub max_expires: u32,
    /// The route that registered users are told to send their requests by (Service-Route,
    /// RFC 3608). Default none.
    pub service_route: Vec<Uri>,
    /// Bindings of one address of record at most; who wants more gets 503. Default 10.
    pub max_bindings_per_address: usize,
    /// Bindings at most that one IP address has made, so that no single source fills the table; who
    /// wants more gets 503. Default 20,000, since an office or a proxy may stand behind one.
    pub max_bindings_per_source: usize,
    /// Bindings at most in all; one more gets 503. About 470 bytes each. Default 200,000.
    pub max_bindings: usize,
}

impl RegistrarConfig {
    /// The defaults for `domain`.
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            aliases: Vec::new(),
            policy: Arc::new(OwnAddress),
            default_expires: 3600,
            min_expires: 60,
            max_expires: 3600,
            service_route: Vec::new(),
            max_bindings_per_address: 10,
            max_bindings_per_source: 20_000,
            max_bindings: 200_000,
        }
    }

    /// Adds a name or numeric address that stands for the domain.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Lets `policy` decide who may register what.
    #[must_use]
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Whether the times and bounds make sense together.
    pub fn is_possible(&self) -> bool {
        let ordered = self.min_expires <= self.default_expires
            && self.default_expires <= self.max_expires
            && (1..=3600).contains(&self.min_expires);
        let some = self.max_bindings_per_address.min(self.max_bindings) > 0
            && self.max_bindings_per_source > 0;
        ordered && some && !self.domain.is_empty()
    }

    /// Whether `host` stands for the domain.
    pub(super) fn is_ours(&self, host: &str) -> bool {
        let names = self.aliases.iter().chain([&self.domain]);
        let host = bare(host);
        names
            .map(|name| bare(name))
            .any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// A host without a final dot and the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.trim_end_matches('.')
        .trim_start_matches('[')
        .trim_end_matches(']')
}

/// Who wants to register what.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The user part of the address of record, without escapes.
    pub name: &'a str,
    /// The domain of the address of record.
    pub domain: &'a str,
    /// Who signed in; `None` where the listener is open to them.
    pub user: Option<&'a str>,
    /// Where the request came from.
    pub source: SocketAddr,
    /// The listener that it came in by.
    pub listener: Option<ListenerId>,
}

/// Decides who may register, look up and remove bindings of which address of record (RFC 3261
/// §10.3, step 4).
pub trait Policy: Send + Sync + fmt::Debug {
    /// Whether the request is allowed; otherwise it gets 403. Asked once a request, on the
    /// signalling thread: it must not wait for anything.
    fn allows(&self, asking: &Asking<'_>) -> bool;

    /// Whether a request from somebody who has not signed in can be allowed at all. Where it cannot,
    /// even those are challenged whom the listener's access list lets in by their address. Default
    /// no.
    fn allows_strangers(&self) -> bool {
        false
    }
}

/// A user who signed in registers the address of record of the same name, and no other: the name
/// alone (`6001`) or with the domain (`6001@pbx.example`).
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnAddress;

impl Policy for OwnAddress {
    fn allows(&self, asking: &Asking<'_>) -> bool {
        let Some(user) = asking.user else {
            return false;
        };
        let full = user.rsplit_once('@').is_some_and(|(name, domain)| {
            name == asking.name && domain.eq_ignore_ascii_case(asking.domain)
        });
        full || user == asking.name
    }
}

/// Everybody whom the listener lets in registers whatever they like.
///
/// Such a registrar belongs on a listener that only a trusted network reaches: a stranger could have
/// anybody's calls sent to himself, have calls sent to any third party by naming its address as
/// Contact, and draw answers larger than his requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anybody;

impl Policy for Anybody {
    fn allows(&self, _: &Asking<'_>) -> bool {
        true
    }

    fn allows_strangers(&self) -> bool {
        true
    }
}
