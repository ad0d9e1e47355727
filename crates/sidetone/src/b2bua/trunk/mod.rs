//! Trunks: the far ends that calls are placed to and come from, each with its addresses, their health,
//! and its limits.

pub mod cap;
pub mod table;

use ipnet::IpNet;
use std::net::IpAddr;

use crate::b2bua::trunk::cap::Rate;
use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::auth::client::Account;
use crate::sip::health::Pinging;
use crate::time::Duration;

/// One of the addresses at which a trunk is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A SIP URI without a user part, such as `sip:192.0.2.7:5070;transport=tcp` or
    /// `sips:trunk.example.com`.
    pub uri: String,
    /// Those of the lowest priority are tried first.
    pub priority: u16,
    /// Among those of one priority, how often this one comes first, against the others.
    pub weight: u16,
}

impl Address {
    /// An address of priority 0 and weight 1.
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            priority: 0,
            weight: 1,
        }
    }

    /// Another priority and weight.
    #[must_use]
    pub fn ranked(mut self, priority: u16, weight: u16) -> Self {
        self.priority = priority;
        self.weight = weight;
        self
    }
}

/// Where a trunk registers us.
#[derive(Debug, Clone)]
pub struct Registering {
    /// The address of record, such as `sip:4912345@carrier.example`; shown as From of calls to the
    /// trunk.
    pub address: String,
    /// How long a registration shall last, in seconds.
    pub expires: u32,
}

/// A far end: a carrier or another exchange.
///
/// ```
/// use sidetone::b2bua::trunk::{Address, Trunk};
///
/// let trunk = Trunk::new("carrier", [
///     Address::new("sip:192.0.2.7").ranked(0, 3),
///     Address::new("sip:192.0.2.8").ranked(0, 1),
///     Address::new("sip:198.51.100.7").ranked(1, 1),
/// ])
/// .max_calls(30)
/// .calls_per_second(5);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trunk {
    /// Its name, for people.
    pub name: String,
    /// Where it is reached, 1 to 32 addresses.
    pub addresses: Vec<Address>,
    /// What to sign in with where it asks for that. Default none.
    pub account: Option<Account>,
    /// Whether this engine registers there first. Default: it is static.
    pub registering: Option<Registering>,
    /// The URI shown as the caller's (From) on calls to it. Default: as the policy of the call says;
    /// with registration the address of record.
    pub from: Option<String>,
    /// The networks that its calls come from. Default: the numeric hosts of its addresses.
    pub sources: Vec<IpNet>,
    /// The domains whose certificates its calls are known by over TLS, wherever they come from. Default
    /// none.
    pub domains: Vec<String>,
    /// Calls at once, both ways; more are refused. Default: as many as the engine has.
    pub max_calls: usize,
    /// Calls begun in a second, both ways, and how many at once; more are refused. Default `None`.
    pub rate: Option<Rate>,
    /// How its addresses are watched by OPTIONS. `None` watches none: then only calls that fail tell
    /// that one is down. Default: as [`Pinging`] says.
    pub pinging: Option<Pinging>,
    /// How long an address is left out after a call to it has failed, where nobody watches it.
    /// Default 30 s.
    pub rest: Duration,
    /// Whether media is protected. Default: the engine's configuration.
    pub media_security: Option<MediaSecurity>,
}

impl Trunk {
    /// A static trunk without limits, watched as the defaults say.
    pub fn new(name: &str, addresses: impl IntoIterator<Item = Address>) -> Self {
        Self {
            name: name.to_owned(),
            addresses: addresses.into_iter().collect(),
            account: None,
            registering: None,
            from: None,
            sources: Vec::new(),
            domains: Vec::new(),
            max_calls: usize::MAX,
            rate: None,
            pinging: Some(Pinging::default()),
            rest: Duration::from_secs(30),
            media_security: None,
        }
    }

    /// What to sign in with.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// Registers there as this address of record for an hour at a time.
    #[must_use]
    pub fn registering(mut self, address: &str) -> Self {
        self.registering = Some(Registering {
            address: address.to_owned(),
            expires: 3600,
        });
        self
    }

    /// Calls at once, both ways.
    #[must_use]
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// Calls begun in a second on average, both ways, and at once at most.
    #[must_use]
    pub fn calls_per_second(mut self, calls: u32) -> Self {
        self.rate = Some(Rate {
            calls,
            window: Duration::from_secs(1),
        });
        self
    }

    /// A network that its calls come from, besides its addresses.
    #[must_use]
    pub fn source(mut self, network: IpNet) -> Self {
        self.sources.push(network);
        self
    }

    /// A domain whose certificate its calls are known by over TLS.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domains.push(domain.to_owned());
        self
    }

    /// Watches its addresses in this way, or not at all.
    #[must_use]
    pub fn pinging(mut self, pinging: Option<Pinging>) -> Self {
        self.pinging = pinging;
        self
    }
}

/// How a trunk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrunkState {
    /// Every address is usable.
    Up,
    /// Some addresses are not.
    Degraded,
    /// None is, or the registration has failed.
    Down,
}

/// Something happened to a trunk or a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrunkEvent {
    /// A trunk stands differently.
    State {
        /// Its name.
        trunk: String,
        /// How.
        state: TrunkState,
    },
    /// A trunk has as many calls as it may, or as many in this second; told once until there is room
    /// again.
    Full {
        /// Its name.
        trunk: String,
    },
    /// An account has reached a cap: calls are refused until it is below again, and where it has nothing
    /// left to spend its calls are ended. Told once until then.
    /// It may be a stolen account.
    CapReached {
        /// The cap's name.
        cap: String,
        /// Whose calls.
        account: String,
        /// The number that was called last.
        number: String,
    },
}

/// The far end that a source belongs to needs no more than this of it.
pub(crate) fn covers(network: &IpNet, source: IpAddr) -> bool {
    network.contains(&source.to_canonical())
}
