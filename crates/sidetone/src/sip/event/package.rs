//! What an event package is (RFC 6665 §5), and how a server of events is configured.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::ListenerId;
use crate::sip::status::StatusCode;
use crate::sip::uri::{Scheme, Uri};
use crate::time::Duration;

/// Who wants to subscribe to, or to publish, the state of which resource.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The user part of the resource's address, without escapes.
    pub resource: &'a str,
    /// The domain of the resource.
    pub domain: &'a str,
    /// Who signed in; `None` where strangers are let in.
    pub user: Option<&'a str>,
    /// Where the request came from.
    pub source: SocketAddr,
    /// The listener that it came in by.
    pub listener: Option<ListenerId>,
}

impl Asking<'_> {
    /// Whether who asks has signed in as the resource itself, by its name alone or with the domain.
    pub fn is_owner(&self) -> bool {
        let Some(user) = self.user else {
            return false;
        };
        let full = user.rsplit_once('@').is_some_and(|(name, domain)| {
            name == self.resource && domain.eq_ignore_ascii_case(self.domain)
        });
        full || user == self.resource
    }
}

/// What becomes of a request to subscribe or publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is granted.
    Grant,
    /// A subscription that somebody has yet to decide on: it is told no state until then (RFC 6665
    /// §4.2.1.2). A publication is refused with 403.
    Wait,
    /// It is refused with this status, 403 as a rule.
    Refuse(StatusCode),
}

/// How long subscriptions and publications last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Where the request says nothing.
    pub default: u32,
    /// Who asks for less gets 423; at most 3,600 (RFC 6665 §4.2.1.1).
    pub least: u32,
    /// Who asks for more gets this.
    pub most: u32,
}

impl Default for Lifetime {
    /// One hour, from one minute to one hour.
    fn default() -> Self {
        Self {
            default: 3600,
            least: 60,
            most: 3600,
        }
    }
}

/// An event package: which state there is, who may see it, and how it looks on the wire.
///
/// State is a document of bytes. Several sources may each publish one; the package makes one of them
/// all, and where subscribers are told differences only, those.
///
/// Everything is asked on the signalling thread: it must not wait for anything.
///
/// ```
/// use bytes::Bytes;
/// use sidetone::sip::event::package::Package;
///
/// /// How long the queue of a hotline is.
/// #[derive(Debug)]
/// struct QueueLength;
///
/// impl Package for QueueLength {
///     fn name(&self) -> &str {
///         "x-queue-length"
///     }
///     fn content_type(&self) -> &str {
///         "text/plain"
///     }
///     fn accepts(&self, document: &[u8]) -> bool {
///         std::str::from_utf8(document).is_ok_and(|text| text.parse::<u32>().is_ok())
///     }
///     fn compose(&self, _entity: &str, documents: &[Bytes]) -> Bytes {
///         documents.last().cloned().unwrap_or_else(|| Bytes::from_static(b"0"))
///     }
/// }
/// ```
pub trait Package: fmt::Debug + Send + Sync {
    /// The name in Event, without `.winfo` or other templates.
    fn name(&self) -> &str;

    /// The media type of its documents.
    fn content_type(&self) -> &str;

    /// How long subscriptions and publications last. Default an hour.
    fn lifetime(&self) -> Lifetime {
        Lifetime::default()
    }

    /// The least time between two NOTIFYs of a subscription, but for those that answer a SUBSCRIBE or
    /// end it. What changes meanwhile is told at once then. Default 1 s.
    fn pause(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Who may subscribe. Default everybody who was let in.
    fn admits(&self, asking: &Asking<'_>) -> Decision {
        let _ = asking;
        Decision::Grant
    }

    /// Who may publish. Default the resource itself, signed in.
    fn admits_publication(&self, asking: &Asking<'_>) -> Decision {
        match asking.is_owner() {
            true => Decision::Grant,
            false => Decision::Refuse(StatusCode::FORBIDDEN),
        }
    }

    /// Whether a document that somebody wants to publish is one of this package; otherwise it gets
    /// 400.
    fn accepts(&self, document: &[u8]) -> bool;

    /// One document of all those that sources have published, in the order in which the sources came;
    /// also of none at all. `entity` is the resource's URI.
    fn compose(&self, entity: &str, documents: &[Bytes]) -> Bytes;

    /// What a subscriber is sent: `state` is what was composed, `told` what it was sent the last time,
    /// `None` where it has to be told everything; `version` counts from 0. Default the whole state.
    fn render(&self, state: &Bytes, told: Option<&Bytes>, version: u32) -> Bytes {
        let _ = (told, version);
        state.clone()
    }
}

/// What a server of events is told once, when it is made.
///
/// ```
/// use sidetone::sip::event::package::EventConfig;
/// use sidetone::sip::event::packages::{DialogPackage, Presence};
/// let config = EventConfig::new("pbx.example").package(Presence).package(DialogPackage);
/// assert_eq!(config.names(), "presence, dialog");
/// ```
#[derive(Debug, Clone)]
pub struct EventConfig {
    /// The domain whose users have state here.
    pub domain: String,
    /// Other names and numeric addresses that stand for the domain in requests. An engine adds the
    /// addresses of its listeners.
    pub aliases: Vec<String>,
    /// The packages that are served. Default none.
    pub packages: Vec<Arc<dyn Package>>,
    /// Whether those may subscribe and publish who have not signed in, where the listener lets them in.
    /// Default no. Such a server belongs on a listener that only a trusted network reaches: a stranger
    /// could have NOTIFYs sent to any third party by naming its address as Contact.
    pub strangers: bool,
    /// Subscriptions at most in all; one more gets 503. Default 50,000.
    pub max_subscriptions: usize,
    /// Subscriptions at most that one IP address has made; one more gets 503. Default 5,000, since an
    /// office or a proxy may stand behind one.
    pub max_subscriptions_per_source: usize,
    /// Publications at most in all; one more gets 503. Default 50,000.
    pub max_publications: usize,
    /// Publications at most of one resource and package, each from another source; one more gets 503.
    /// Default 10.
    pub max_publications_per_resource: usize,
    /// The longest document that may be published, in bytes; a longer one gets 413. Default 16 KiB.
    pub max_document: usize,
}

impl EventConfig {
    /// The defaults for `domain`.
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            aliases: Vec::new(),
            packages: Vec::new(),
            strangers: false,
            max_subscriptions: 50_000,
            max_subscriptions_per_source: 5_000,
            max_publications: 50_000,
            max_publications_per_resource: 10,
            max_document: 16 * 1024,
        }
    }

    /// Serves one more package.
    #[must_use]
    pub fn package(mut self, package: impl Package + 'static) -> Self {
        self.packages.push(Arc::new(package));
        self
    }

    /// Adds a name or numeric address that stands for the domain.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Lets those subscribe and publish who have not signed in.
    #[must_use]
    pub fn strangers(mut self) -> Self {
        self.strangers = true;
        self
    }

    /// The names of the packages: the value of Allow-Events.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.packages.iter().map(|p| p.name()).collect();
        names.join(", ")
    }

    /// Whether the domain, the bounds and the lifetimes make sense.
    pub fn is_possible(&self) -> bool {
        let bounds = [
            self.max_subscriptions,
            self.max_subscriptions_per_source,
            self.max_publications,
            self.max_publications_per_resource,
            self.max_document,
        ];
        let ordered = |lifetime: Lifetime| {
            lifetime.least <= lifetime.default
                && lifetime.default <= lifetime.most
                && (1..=3600).contains(&lifetime.least)
        };
        let mut packages = self.packages.iter();
        !self.domain.is_empty()
            && bounds.iter().all(|bound| *bound > 0)
            && packages.all(|package| ordered(package.lifetime()))
    }

    /// The number of the package that is called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let mut packages = self.packages.iter();
        packages.position(|package| package.name() == name)
    }

    /// The resource that a URI names; `None` where it is none of our domain.
    pub fn resource_of(&self, uri: &Uri) -> Option<String> {
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) || !self.is_ours(uri.host()) {
            return None;
        }
        let name = uri.user_decoded()?;
        // What is logged, compared and shown: no control characters, and none that ends a name.
        let plain = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '@');
        plain.then(|| name.into_owned())
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare = |host: &str| {
            let host = host.trim_end_matches('.').trim_start_matches('[');
            host.trim_end_matches(']').to_ascii_lowercase()
        };
        let host = bare(host);
        let mut names = self.aliases.iter().chain([&self.domain]);
        names.any(|name| bare(name) == host)
    }
}

/// What servers of events have counted since they were made. None of these ever goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounters {
    /// Subscriptions that were granted, fetches included.
    pub subscribed: u64,
    /// Subscriptions that were refreshed.
    pub refreshed: u64,
    /// Subscriptions that have ended, whatever the reason.
    pub ended: u64,
    /// NOTIFYs that were sent, repetitions for credentials not counted.
    pub notified: u64,
    /// NOTIFYs that were refused or not answered.
    pub undelivered: u64,
    /// Publications that were made or changed.
    pub published: u64,
    /// Publications that were not refreshed in time.
    pub expired: u64,
    /// SUBSCRIBEs and PUBLISHes refused with 403 or whatever a package said.
    pub refused_policy: u64,
    /// Refused with 404: not a resource of the domain.
    pub refused_unknown: u64,
    /// Refused with 489: no such package.
    pub refused_event: u64,
    /// Refused with 400, 406, 412, 413, 415, 423, 481 or 482.
    pub refused_invalid: u64,
    /// Refused with 503: a bound was met.
    pub refused_full: u64,
}

impl EventCounters {
    /// Counts a refusal.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        let counter = match status {
            StatusCode::NOT_FOUND => &mut self.refused_unknown,
            StatusCode::BAD_EVENT => &mut self.refused_event,
            StatusCode::SERVICE_UNAVAILABLE => &mut self.refused_full,
            status
                if matches!(
                    status.code(),
                    400 | 406 | 412 | 413 | 415 | 423 | 481 | 482 | 500
                ) =>
            {
                &mut self.refused_invalid
            }
            _ => &mut self.refused_policy,
        };
        *counter += 1;
    }

    /// The sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            subscribed: self.subscribed + other.subscribed,
            refreshed: self.refreshed + other.refreshed,
            ended: self.ended + other.ended,
            notified: self.notified + other.notified,
            undelivered: self.undelivered + other.undelivered,
            published: self.published + other.published,
            expired: self.expired + other.expired,
            refused_policy: self.refused_policy + other.refused_policy,
            refused_unknown: self.refused_unknown + other.refused_unknown,
            refused_event: self.refused_event + other.refused_event,
            refused_invalid: self.refused_invalid + other.refused_invalid,
            refused_full: self.refused_full + other.refused_full,
        }
    }
}
