//! The registrar as the engine has it: its domain's addresses, and whom it knows.

use std::net::SocketAddr;

use crate::engine::config::Config;
use crate::engine::core::Core;
use crate::engine::event::CallError;
use crate::sip::registrar::RegistrarCounters;
use crate::sip::registrar::binding::Binding;
use crate::sip::registrar::config::RegistrarConfig;
use crate::sip::uri::Uri;
use crate::time::Instant;

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
