//! The table of trunks: which address takes the next call, and whether there is room for it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use thiserror::Error;

use crate::b2bua::trunk::cap::{Bucket, Cap, Caps, Counted, Spent};
use crate::b2bua::trunk::{Trunk, TrunkEvent, TrunkState, covers};
use crate::id::TrunkId;
use crate::rng::Rng;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// Addresses of one trunk at most.
const MAX_ADDRESSES: usize = 32;

/// Trunks at most.
const MAX_TRUNKS: usize = 10_000;

/// Events that nobody has taken; further ones are dropped.
const MAX_EVENTS: usize = 1_024;

/// What a trunk has counted since it was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrunkCounters {
    /// Calls at present, both ways.
    pub calls: usize,
    /// Calls begun towards it, each address tried counted.
    pub outgoing: u64,
    /// Calls that came from it.
    pub incoming: u64,
    /// Calls refused, both ways, since it had as many as it may.
    pub refused_calls: u64,
    /// Calls refused, both ways, since it had as many as it may in the time.
    pub refused_rate: u64,
    /// Calls refused since no address was usable.
    pub refused_down: u64,
    /// Calls refused by a cap.
    pub refused_cap: u64,
    /// Calls that failed at one of its addresses: no answer, 503 and the like.
    pub failures: u64,
}

/// Why a trunk takes no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrunkRefusal {
    /// There is no such trunk.
    #[error("no such trunk")]
    Unknown,
    /// It has as many calls as it may.
    #[error("as many calls as it may have")]
    Calls,
    /// As many calls have begun as may in the time.
    #[error("as many calls a second as it may have")]
    Rate,
    /// None of its addresses is usable, or none that was not tried.
    #[error("no usable address")]
    Down,
    /// A cap on what the account may call is reached.
    #[error("the account's cap is reached")]
    Cap,
    /// The number cannot be dialled.
    #[error("not a number")]
    Number,
}

impl TrunkRefusal {
    /// The SIP status that says so.
    pub fn status(self) -> u16 {
        match self {
            Self::Unknown | Self::Number => 404,
            Self::Cap => 403,
            Self::Calls | Self::Rate | Self::Down => 503,
        }
    }
}

/// A trunk that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrunkError {
    /// No address, or more than 32.
    #[error("a trunk has 1 to 32 addresses")]
    Addresses,
    /// An address is no SIP URI without a user part.
    #[error("`{0}` is no SIP URI of a host")]
    Address(String),
    /// There are 10,000 trunks.
    #[error("too many trunks")]
    TooMany,
}

/// One address as it stands.
#[derive(Debug, Clone)]
struct Standing {
    uri: Uri,
    priority: u16,
    weight: u16,
    /// What its watch says; `None` where nobody has asked yet.
    alive: Option<bool>,
    /// Until when it is left out since a call has failed there.
    resting: Option<Instant>,
}

impl Standing {
    fn is_usable(&self, now: Instant) -> bool {
        self.alive != Some(false) && self.resting.is_none_or(|until| until <= now)
    }
}

/// One trunk as it stands.
#[derive(Debug)]
struct Kept {
    trunk: Trunk,
    addresses: Vec<Standing>,
    bucket: Option<Bucket>,
    /// Whether its registration stands; `None` where it is not told yet, or needs none.
    registered: Option<bool>,
    routes: Vec<String>,
    state: TrunkState,
    told_full: bool,
    counters: TrunkCounters,
}

/// A call that is counted; to be given back by [`Trunks::end`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    trunk: TrunkId,
    /// The address that it goes to, for an outgoing call.
    address: Option<usize>,
    counted: Option<Counted>,
}

impl Permit {
    /// The trunk.
    pub fn trunk(&self) -> TrunkId {
        self.trunk
    }

    /// Whether the call is to end since its account has nothing left to spend.
    pub(crate) fn ends_for(&self, spent: &Spent) -> bool {
        self.counted
            .as_ref()
            .is_some_and(|counted| spent.ends(counted))
    }

    /// The number of the address that it goes to.
    pub fn address(&self) -> Option<usize> {
        self.address
    }
}

/// All trunks.
#[derive(Debug)]
pub struct Trunks {
    trunks: BTreeMap<TrunkId, Kept>,
    caps: Caps,
    last: u32,
    rng: Rng,
    events: VecDeque<TrunkEvent>,
}

impl Trunks {
    /// No trunk yet, and what accounts may call; `rng` draws by weights.
    pub fn new(caps: Vec<Cap>, rng: Rng) -> Self {
        Self {
            trunks: BTreeMap::new(),
            caps: Caps::new(caps),
            last: 0,
            rng,
            events: VecDeque::new(),
        }
    }

    /// Adds a trunk.
    ///
    /// # Errors
    /// [`TrunkError`] where its addresses cannot be used.
    pub fn add(&mut self, now: Instant, trunk: Trunk) -> Result<TrunkId, TrunkError> {
        if self.trunks.len() >= MAX_TRUNKS {
            return Err(TrunkError::TooMany);
        }
        if !(1..=MAX_ADDRESSES).contains(&trunk.addresses.len()) {
            return Err(TrunkError::Addresses);
        }
        let standing = trunk.addresses.iter().map(|address| {
            let uri = Uri::parse(&address.uri).ok();
            let uri = uri.filter(|uri| uri.is_sip() && uri.user().is_none());
            Ok(Standing {
                uri: uri.ok_or_else(|| TrunkError::Address(address.uri.clone()))?,
                priority: address.priority,
                weight: address.weight,
                alive: None,
                resting: None,
            })
        });
        let addresses = standing.collect::<Result<Vec<_>, _>>()?;
        self.last += 1;
        let id = TrunkId(self.last);
        let kept = Kept {
            bucket: trunk.rate.map(|rate| Bucket::new(now, rate)),
            trunk,
            addresses,
            registered: None,
            routes: Vec::new(),
            state: TrunkState::Up,
            told_full: false,
            counters: TrunkCounters::default(),
        };
        self.trunks.insert(id, kept);
        Ok(id)
    }

    /// Removes a trunk; its calls go on.
    pub fn remove(&mut self, id: TrunkId) -> Option<Trunk> {
        self.trunks.remove(&id).map(|kept| kept.trunk)
    }

    /// A trunk as it was added.
    pub fn get(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(&id).map(|kept| &kept.trunk)
    }

    /// How a trunk stands.
    pub fn state(&self, id: TrunkId) -> Option<TrunkState> {
        self.trunks.get(&id).map(|kept| kept.state)
    }

    /// What a trunk has counted.
    pub fn counters(&self, id: TrunkId) -> Option<TrunkCounters> {
        self.trunks.get(&id).map(|kept| kept.counters)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<TrunkEvent> {
        self.events.pop_front()
    }

    /// The trunk that a call comes from: the one that a domain belongs to for which its certificate
    /// speaks, or else by the address of its source the one of the narrowest network that covers it. A
    /// trunk that is known by its domains is not known by an address.
    pub fn identify(&self, source: IpAddr, domains: &[String]) -> Option<TrunkId> {
        let speaks = |own: &String| {
            domains
                .iter()
                .any(|domain| domain.eq_ignore_ascii_case(own))
        };
        let mut trunks = self.trunks.iter();
        if let Some((id, _)) = trunks.find(|(_, kept)| kept.trunk.domains.iter().any(speaks)) {
            return Some(*id);
        }
        let source = source.to_canonical();
        let open = self.trunks.iter();
        let open = open.filter(|(_, kept)| kept.trunk.domains.is_empty());
        let best = open.filter_map(|(id, kept)| {
            let hosts = kept.addresses.iter().filter_map(|a| a.uri.host_ip());
            let host = hosts.map(|ip| ip.to_canonical()).any(|ip| ip == source);
            let networks = kept.trunk.sources.iter();
            let covering = networks.filter(|network| covers(network, source));
            let width = covering.map(|network| network.prefix_len()).max();
            let width = if host { Some(128) } else { width };
            width.map(|width| (width, *id))
        });
        // Among equals the first that was added.
        best.min_by_key(|(width, id)| (u8::MAX - width, *id))
            .map(|(_, id)| id)
    }

    /// Counts a call of `account` to a number at a trunk, for the `tried`-th address that is tried for
    /// it.
    ///
    /// # Errors
    /// [`TrunkRefusal`]; nothing is counted as a call then.
    pub fn begin(
        &mut self,
        now: Instant,
        id: TrunkId,
        account: &str,
        number: &str,
        tried: &[usize],
    ) -> Result<Permit, TrunkRefusal> {
        if dialled(number).is_none() {
            return Err(TrunkRefusal::Number);
        }
        let address = self.choose(now, id, tried)?;
        self.take_room(now, id)?;
        let counted = match self.caps.begin(now, account, number) {
            Ok(counted) => counted,
            Err(reached) => {
                if reached.news {
                    self.tell(TrunkEvent::CapReached {
                        cap: reached.cap,
                        account: account.to_owned(),
                        number: number.to_owned(),
                    });
                }
                if let Some(kept) = self.trunks.get_mut(&id) {
                    kept.counters.refused_cap += 1;
                }
                return Err(TrunkRefusal::Cap);
            }
        };
        if let Some(kept) = self.trunks.get_mut(&id) {
            kept.counters.calls += 1;
            kept.counters.outgoing += 1;
        }
        Ok(Permit {
            trunk: id,
            address: Some(address),
            counted: Some(counted),
        })
    }

    /// Counts a call that has come from a trunk.
    ///
    /// # Errors
    /// [`TrunkRefusal`]; nothing is counted as a call then.
    pub fn take_in(&mut self, now: Instant, id: TrunkId) -> Result<Permit, TrunkRefusal> {
        self.take_room(now, id)?;
        let kept = self.trunks.get_mut(&id).ok_or(TrunkRefusal::Unknown)?;
        kept.counters.calls += 1;
        kept.counters.incoming += 1;
        Ok(Permit {
            trunk: id,
            address: None,
            counted: None,
        })
    }

    /// A counted call is answered: what it costs counts from now on.
    pub fn talk(&mut self, now: Instant, permit: &mut Permit) {
        if let Some(counted) = &mut permit.counted {
            self.caps.talk(now, counted);
        }
    }

    /// When an account has nothing left to spend, if its calls go on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.caps.poll_timeout()
    }

    /// An account that has nothing left to spend at `now`, each once.
    pub(crate) fn poll_spent(&mut self, now: Instant) -> Option<Spent> {
        let spent = self.caps.poll_spent(now)?;
        self.tell(TrunkEvent::CapReached {
            cap: spent.name.clone(),
            account: spent.account.clone(),
            number: spent.number.clone(),
        });
        Some(spent)
    }

    /// A counted call is over.
    pub fn end(&mut self, now: Instant, permit: &Permit) {
        if let Some(counted) = &permit.counted {
            self.caps.end(now, counted);
        }
        if let Some(kept) = self.trunks.get_mut(&permit.trunk) {
            kept.counters.calls = kept.counters.calls.saturating_sub(1);
            kept.told_full &= kept.counters.calls >= kept.trunk.max_calls;
        }
    }

    /// A call to an address has failed in a way that says that nothing works there.
    pub fn handle_failure(&mut self, now: Instant, permit: &Permit) {
        let Some(kept) = self.trunks.get_mut(&permit.trunk) else {
            return;
        };
        kept.counters.failures += 1;
        let until = now + kept.trunk.rest;
        let address = permit
            .address
            .and_then(|index| kept.addresses.get_mut(index));
        if let Some(address) = address.filter(|address| address.alive.is_none()) {
            address.resting = Some(until);
        }
        self.judge(now, permit.trunk);
    }

    /// The watch of an address has something to tell.
    pub fn handle_health(&mut self, now: Instant, id: TrunkId, address: usize, alive: bool) {
        let kept = self.trunks.get_mut(&id);
        if let Some(address) = kept.and_then(|kept| kept.addresses.get_mut(address)) {
            address.alive = Some(alive);
            address.resting = None;
        }
        self.judge(now, id);
    }

    /// The registration stands, with the routes that it gives, or has failed.
    pub fn handle_registration(
        &mut self,
        now: Instant,
        id: TrunkId,
        registered: bool,
        routes: Vec<String>,
    ) {
        if let Some(kept) = self.trunks.get_mut(&id) {
            kept.registered = Some(registered);
            kept.routes = routes;
        }
        self.judge(now, id);
    }

    /// The URI of a number at an address of a trunk, and the routes to it.
    pub(crate) fn route(&self, permit: &Permit, number: &str) -> Option<(String, Vec<String>)> {
        let kept = self.trunks.get(&permit.trunk)?;
        let address = kept.addresses.get(permit.address?)?;
        let (scheme, rest) = address.uri.as_str().split_once(':')?;
        let uri = format!("{scheme}:{}@{rest}", dialled(number)?);
        Some((uri, kept.routes.clone()))
    }

    fn take_room(&mut self, now: Instant, id: TrunkId) -> Result<(), TrunkRefusal> {
        let kept = self.trunks.get_mut(&id).ok_or(TrunkRefusal::Unknown)?;
        let many = kept.counters.calls >= kept.trunk.max_calls;
        let fast = !many && kept.bucket.as_mut().is_some_and(|bucket| !bucket.take(now));
        if !(many || fast) {
            kept.told_full = false;
            return Ok(());
        }
        let counter = match many {
            true => &mut kept.counters.refused_calls,
            false => &mut kept.counters.refused_rate,
        };
        *counter += 1;
        if !std::mem::replace(&mut kept.told_full, true) {
            let trunk = kept.trunk.name.clone();
            self.tell(TrunkEvent::Full { trunk });
        }
        match many {
            true => Err(TrunkRefusal::Calls),
            false => Err(TrunkRefusal::Rate),
        }
    }

    /// The address for the next attempt: of the lowest priority, among equals by weight; never one
    /// that was tried.
    fn choose(
        &mut self,
        now: Instant,
        id: TrunkId,
        tried: &[usize],
    ) -> Result<usize, TrunkRefusal> {
        self.judge(now, id);
        let kept = self.trunks.get_mut(&id).ok_or(TrunkRefusal::Unknown)?;
        let usable = |(index, address): &(usize, &Standing)| {
            !tried.contains(index) && address.is_usable(now)
        };
        let candidates = || kept.addresses.iter().enumerate().filter(usable);
        let lowest = candidates().map(|(_, address)| address.priority).min();
        let Some(lowest) = lowest.filter(|_| kept.state != TrunkState::Down) else {
            kept.counters.refused_down += u64::from(tried.is_empty());
            return Err(TrunkRefusal::Down);
        };
        let equals = || candidates().filter(|(_, address)| address.priority == lowest);
        // A weight of 0 comes first now and then all the same (RFC 2782).
        let weight = |address: &Standing| u64::from(address.weight) * 100 + 1;
        let sum: u64 = equals().map(|(_, address)| weight(address)).sum();
        let mut at = self.rng.below(sum);
        for (index, address) in equals() {
            match at.checked_sub(weight(address)) {
                None => return Ok(index),
                Some(rest) => at = rest,
            }
        }
        Err(TrunkRefusal::Down)
    }

    /// Says how a trunk stands, where that has changed.
    fn judge(&mut self, now: Instant, id: TrunkId) {
        let Some(kept) = self.trunks.get_mut(&id) else {
            return;
        };
        let usable = kept.addresses.iter().filter(|a| a.is_usable(now)).count();
        let unregistered = kept.trunk.registering.is_some() && kept.registered == Some(false);
        let state = match usable {
            0 => TrunkState::Down,
            _ if unregistered => TrunkState::Down,
            usable if usable == kept.addresses.len() => TrunkState::Up,
            _ => TrunkState::Degraded,
        };
        if std::mem::replace(&mut kept.state, state) != state {
            let trunk = kept.trunk.name.clone();
            self.tell(TrunkEvent::State { trunk, state });
        }
    }

    fn tell(&mut self, event: TrunkEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }
}

/// A number or user as it stands in a URI; `None` where it holds what no number has.
fn dialled(number: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.!~*'()".contains(c);
    let fits = (1..=128).contains(&number.len()) && number.chars().all(|c| plain(c) || c == '#');
    fits.then(|| number.replace('#', "%23"))
}

#[cfg(test)]
mod tests;
