//! The registrar as the engine has it: its domain's addresses, and whom it knows.

use std::net::SocketAddr;

use crate::engine::config::Config;
use crate::engine::core::Core;
use crate::engine::core::commands::refused;
use crate::engine::event::CallError;
use crate::sip::agent::registration::{Outbound, Register, RegistrationId};
use crate::sip::auth::client::Account;
use crate::sip::registrar::RegistrarCounters;
use crate::sip::registrar::binding::Binding;
use crate::sip::registrar::config::RegistrarConfig;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// What to register of our own, and where.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The address of record.
    pub address: String,
    /// The registrars in the order to be tried; the address's own domain where there are none.
    pub registrars: Vec<String>,
    /// What to sign in with.
    pub account: Option<Account>,
    /// How long a binding shall last, in seconds.
    pub expires: u32,
    /// Whether calls shall come by the way that the registration goes (RFC 5626).
    pub outbound: Option<Outbound>,
}

impl Core {
    /// Where a registered user is reached, best first. None where nobody is registered under
    /// `address`, a URI such as `sip:6001@pbx.example`.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where `address` is no URI.
    pub fn bindings(&mut self, now: Instant, address: &str) -> Result<Vec<Binding>, CallError> {
        self.now = now;
        let address = Uri::parse(address)
            .map_err(|error| CallError::Invalid(format!("the address of record: {error}")))?;
        Ok(self.agent.bindings(now, &address))
    }

    /// Registers an address of ours at a registrar and keeps it registered; events tell how it stands.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where a URI cannot be used, [`CallError::Busy`] where there are too many
    /// or the engine is stopping.
    pub fn register(
        &mut self,
        now: Instant,
        request: &RegisterRequest,
    ) -> Result<RegistrationId, CallError> {
        self.now = now;
        let uri = |text: &str| {
            Uri::parse(text).map_err(|error| CallError::Invalid(format!("{text}: {error}")))
        };
        let mut register = Register::new(uri(&request.address)?);
        for registrar in &request.registrars {
            register.registrars.push(uri(registrar)?);
        }
        register.account.clone_from(&request.account);
        register.expires = request.expires;
        register.outbound.clone_from(&request.outbound);
        let registered = self.agent.register(now, register).map_err(refused)?;
        self.take_signalling(now);
        Ok(registered)
    }

    /// Takes a registration back.
    pub fn unregister(&mut self, now: Instant, registration: RegistrationId) {
        self.agent.unregister(now, registration);
        self.take_signalling(now);
    }

    /// What the registrar has counted.
    pub fn registrar_counters(&self) -> RegistrarCounters {
        self.agent.registrar_counters()
    }
}

/// The registrar's configuration, with the listeners' addresses as names of its domain.
pub(super) fn registrar_of(config: &Config, bound: &[SocketAddr]) -> Option<RegistrarConfig> {
    let mut registrar = config.registrar.clone()?;
    let shown = config.listeners.iter().filter_map(|l| l.advertise);
    let addresses = shown.chain(bound.iter().copied()).map(|at| at.ip());
    for ip in addresses.filter(|ip| !ip.is_unspecified()) {
        let ip = ip.to_string();
        if !registrar.aliases.contains(&ip) {
            registrar.aliases.push(ip);
        }
    }
    Some(registrar)
}
