//! Trunks as the engine has them: registered at, watched, dialled by their addresses, and known by
//! them.

use std::collections::BTreeMap;

use crate::b2bua::plan::Target;
use crate::b2bua::trunk::table::{Permit, TrunkCounters, TrunkError, TrunkRefusal, Trunks};
use crate::b2bua::trunk::{Trunk, TrunkState};
use crate::engine::core::Core;
use crate::engine::core::dialling::DialRequest;
use crate::engine::core::registering::RegisterRequest;
use crate::engine::core::watching::WatchRequest;
use crate::engine::event::{CallError, Caller, Event};
use crate::id::{CallId, TrunkId};
use crate::sip::agent::registration::{RegistrationId, RegistrationState};
use crate::sip::health::{Change, Health, WatchId};
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// Why a call ends whose account has nothing left to spend.
const SPENT: &str = "SIP;cause=403;text=\"Nothing left to spend\"";

/// The trunks, and what of the engine serves which.
#[derive(Debug)]
pub(super) struct Trunking {
    table: Trunks,
    /// Which address of which trunk is watched.
    watches: BTreeMap<WatchId, (TrunkId, usize)>,
    registrations: BTreeMap<RegistrationId, TrunkId>,
    /// What calls are counted as.
    permits: BTreeMap<CallId, Permit>,
}

impl Trunking {
    pub(super) fn new(table: Trunks) -> Self {
        Self {
            table,
            watches: BTreeMap::new(),
            registrations: BTreeMap::new(),
            permits: BTreeMap::new(),
        }
    }
}

impl Core {
    /// Adds a trunk: registers there where it wants that, and watches its addresses.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where an address, a proxy or the address of record cannot be used,
    /// [`CallError::Busy`] where a table is full; nothing is left of it then.
    pub fn add_trunk(&mut self, now: Instant, trunk: Trunk) -> Result<TrunkId, CallError> {
        self.now = now;
        let id = self
            .trunking
            .table
            .add(now, trunk.clone())
            .map_err(|error| match error {
                TrunkError::TooMany => CallError::Busy("as many trunks as may be"),
                error => CallError::Invalid(error.to_string()),
            })?;
        let served = self.serve_trunk(now, id, &trunk);
        if served.is_err() {
            self.remove_trunk(now, id);
        }
        self.tell_of_trunks();
        served.map(|()| id)
    }

    fn serve_trunk(&mut self, now: Instant, id: TrunkId, trunk: &Trunk) -> Result<(), CallError> {
        if let Some(registering) = &trunk.registering {
            let request = RegisterRequest {
                address: registering.address.clone(),
                registrars: trunk.addresses.iter().map(|a| a.uri.clone()).collect(),
                account: trunk.account.clone(),
                expires: registering.expires,
                outbound: None,
            };
            let registration = self.register(now, &request)?;
            self.trunking.registrations.insert(registration, id);
        }
        let Some(pinging) = &trunk.pinging else {
            return Ok(());
        };
        for (index, address) in trunk.addresses.iter().enumerate() {
            let mut request = WatchRequest::new(&address.uri);
            request.account.clone_from(&trunk.account);
            request.pinging = pinging.clone();
            let watch = self.watch(now, &request)?;
            self.trunking.watches.insert(watch, (id, index));
        }
        Ok(())
    }

    /// Removes a trunk: takes its registration back and watches it no more. Its calls go on.
    pub fn remove_trunk(&mut self, now: Instant, id: TrunkId) {
        self.now = now;
        self.trunking.table.remove(id);
        let watches = self.trunking.watches.iter();
        let watches = watches.filter(|(_, (trunk, _))| *trunk == id);
        let watches: Vec<WatchId> = watches.map(|(watch, _)| *watch).collect();
        for watch in watches {
            self.trunking.watches.remove(&watch);
            self.unwatch(watch);
        }
        let registrations = self.trunking.registrations.iter();
        let registrations = registrations.filter(|(_, trunk)| **trunk == id);
        let registrations: Vec<RegistrationId> = registrations.map(|(id, _)| *id).collect();
        for registration in registrations {
            self.trunking.registrations.remove(&registration);
            self.unregister(now, registration);
        }
    }

    /// How a trunk stands, and what it has counted; `None` where it is none any more.
    pub fn trunk(&self, id: TrunkId) -> Option<(TrunkState, TrunkCounters)> {
        let table = &self.trunking.table;
        Some((table.state(id)?, table.counters(id)?))
    }

    /// A watched peer stands differently; gives it back where it is no trunk's address.
    pub(super) fn hear_of_trunk(&mut self, now: Instant, change: Change) -> Option<Change> {
        let Some((id, index)) = self.trunking.watches.get(&change.watch).copied() else {
            return Some(change);
        };
        if change.health != Health::Unknown {
            let usable = change.health.is_usable();
            self.trunking.table.handle_health(now, id, index, usable);
        }
        self.tell_of_trunks();
        None
    }

    /// A registration stands differently; true where it is a trunk's.
    pub(super) fn hear_of_registration(
        &mut self,
        now: Instant,
        registration: RegistrationId,
        state: &RegistrationState,
    ) -> bool {
        let Some(id) = self.trunking.registrations.get(&registration).copied() else {
            return false;
        };
        let table = &mut self.trunking.table;
        match state {
            RegistrationState::Registered { service_route, .. } => {
                let routes = service_route.iter().map(ToString::to_string);
                table.handle_registration(now, id, true, routes.collect());
            }
            RegistrationState::Failed { .. } | RegistrationState::Unregistered => {
                table.handle_registration(now, id, false, Vec::new());
            }
            _ => {}
        }
        self.tell_of_trunks();
        true
    }

    /// The way to a target by its trunk: `request` is completed with it. The permit belongs to the
    /// call that comes of it.
    pub(super) fn by_trunk(
        &mut self,
        now: Instant,
        (trunk, account): (TrunkId, &str),
        target: &Target,
        tried: &[usize],
        request: &mut DialRequest,
    ) -> Result<Permit, StatusCode> {
        let begun = self
            .trunking
            .table
            .begin(now, trunk, account, &target.uri, tried);
        self.tell_of_trunks();
        let permit = begun.map_err(status_of)?;
        let table = &self.trunking.table;
        let (Some(settings), Some((uri, routes))) =
            (table.get(trunk), table.route(&permit, &target.uri))
        else {
            self.trunking.table.end(now, &permit);
            return Err(StatusCode::NOT_FOUND);
        };
        request.target = uri;
        if request.routes.is_empty() {
            request.routes = routes;
        }
        let registered = settings.registering.as_ref().map(|r| r.address.clone());
        if let Some(from) = settings.from.clone().or(registered) {
            request.from = Some(from);
        }
        request.account = request.account.take().or_else(|| settings.account.clone());
        request.media_security = request.media_security.or(settings.media_security);
        Ok(permit)
    }

    /// A call that is counted at a trunk has come about, or not.
    pub(super) fn count_at_trunk(&mut self, permit: Option<Permit>, call: Option<CallId>) {
        let Some(permit) = permit else {
            return;
        };
        match call.filter(|call| self.calls.contains_key(call)) {
            Some(call) => {
                self.trunking.permits.insert(call, permit);
            }
            None => self.trunking.table.end(self.now, &permit),
        }
    }

    /// A caller is counted at the trunk that it comes from.
    ///
    /// # Errors
    /// The status to refuse it with, where that has as many calls as it may.
    pub(super) fn count_caller(
        &mut self,
        now: Instant,
        trunk: Option<TrunkId>,
    ) -> Result<Option<Permit>, StatusCode> {
        let Some(trunk) = trunk else {
            return Ok(None);
        };
        let taken = self.trunking.table.take_in(now, trunk);
        self.tell_of_trunks();
        taken.map(Some).map_err(status_of)
    }

    /// The trunk that a caller comes from.
    pub(super) fn trunk_of(&self, caller: &Caller) -> Option<TrunkId> {
        let table = &self.trunking.table;
        table.identify(caller.source().ip(), caller.domains())
    }

    /// The trunk that a call is counted at.
    pub(super) fn trunk_of_call(&self, call: CallId) -> Option<TrunkId> {
        Some(self.trunking.permits.get(&call)?.trunk())
    }

    /// A call is answered: what it costs its account counts from now on.
    pub(super) fn talk_at_trunk(&mut self, now: Instant, call: CallId) {
        if let Some(permit) = self.trunking.permits.get_mut(&call) {
            self.trunking.table.talk(now, permit);
        }
    }

    /// When an account has nothing left to spend.
    pub(super) fn trunk_timeout(&self) -> Option<Instant> {
        self.trunking.table.poll_timeout()
    }

    /// Ends the calls of accounts that have nothing left to spend.
    pub(super) fn end_spenders(&mut self, now: Instant) {
        while let Some(spent) = self.trunking.table.poll_spent(now) {
            self.tell_of_trunks();
            let permits = self.trunking.permits.iter();
            let permits = permits.filter(|(_, permit)| permit.ends_for(&spent));
            let calls: Vec<CallId> = permits.map(|(call, _)| *call).collect();
            for call in calls {
                let reason = ("Reason".to_owned(), SPENT.to_owned());
                // It fails only where the call is over already.
                let _over = self.hang_up_saying(now, call, vec![reason]);
            }
        }
    }

    /// A call is over: its place at a trunk is free. `failed` where nothing works at the address that
    /// it went to.
    pub(super) fn leave_trunk(&mut self, now: Instant, call: CallId, failed: bool) {
        let Some(permit) = self.trunking.permits.remove(&call) else {
            return;
        };
        if failed {
            self.trunking.table.handle_failure(now, &permit);
        }
        self.trunking.table.end(now, &permit);
        self.tell_of_trunks();
    }

    pub(super) fn trunk_name(&self, id: TrunkId) -> Option<String> {
        Some(self.trunking.table.get(id)?.name.clone())
    }

    fn tell_of_trunks(&mut self) {
        while let Some(event) = self.trunking.table.poll_event() {
            self.events.push_back(Event::Trunk(event));
        }
    }
}

fn status_of(refusal: TrunkRefusal) -> StatusCode {
    StatusCode::new(refusal.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}
