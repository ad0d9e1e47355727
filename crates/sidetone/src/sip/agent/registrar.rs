//! REGISTER as it arrives: handed to the registrar, answered within a transaction.

use super::reply::Refusal;
use super::{Agent, Arrival};
use crate::id::ConnectionId;
use crate::sip::header::Name;
use crate::sip::header::date::Date;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::registrar::binding::{Binding, Change};
use crate::sip::registrar::{Origin, Registrar, RegistrarCounters};
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transport::Path;
use crate::sip::transport::access::Admission;
use crate::sip::uri::Uri;
use crate::time::{Instant, WallTime};

impl Agent {
    /// Where an address of record is reached, best first; see [`Registrar::bindings`].
    pub fn bindings(&self, now: Instant, address: &Uri) -> Vec<Binding> {
        let registrar = self.registrar.as_ref();
        registrar.map_or_else(Vec::new, |registrar| registrar.bindings(now, address))
    }

    /// Bindings that the registrar holds.
    pub fn registered(&self) -> usize {
        self.registrar.as_ref().map_or(0, Registrar::len)
    }

    /// What the registrar has counted.
    pub fn registrar_counters(&self) -> RegistrarCounters {
        let registrar = self.registrar.as_ref();
        registrar.map(Registrar::counters).unwrap_or_default()
    }

    /// The next thing that happened to a binding of the registrar.
    pub fn poll_binding(&mut self) -> Option<Change> {
        self.registrar.as_mut()?.poll_event()
    }

    /// Whether a REGISTER has to be signed although its source is known: only a user can register
    /// his own address.
    pub(super) fn raise_admission(&self, method: &Method, admission: Admission) -> Admission {
        let registrar = self
            .registrar
            .as_ref()
            .filter(|_| *method == Method::Register);
        let strict = registrar.is_some_and(|r| !r.config().policy.allows_strangers());
        match admission {
            Admission::Open if strict && self.config.authentication.is_some() => {
                Admission::Authenticate
            }
            other => other,
        }
    }

    pub(super) fn on_register(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        user: Option<&str>,
    ) {
        let Some(registrar) = &mut self.registrar else {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED);
            return self.refuse(now, arrival, request, &refusal);
        };
        let origin = Origin {
            flow: arrival.path,
            source: arrival.source,
            listener: arrival.listener,
            user,
        };
        let mut reply = registrar.handle_register(now, request, &origin);
        if self.config.epoch != WallTime::default() {
            let date = Date::at(self.config.epoch + (now - Instant::ZERO));
            reply.headers.push((Name::Date, date.to_string()));
        }
        self.answer_once(now, (arrival, request, key), reply, None);
    }

    /// A connection is gone, and the outbound bindings that live on it.
    pub(super) fn flow_closed(&mut self, connection: ConnectionId) {
        if let Some(registrar) = &mut self.registrar {
            registrar.handle_closed(connection);
        }
    }

    /// Whether requests can still be sent by the way that a REGISTER came.
    pub(super) fn is_alive(&self, flow: Path) -> bool {
        match flow {
            Path::Datagram { listener, .. } => {
                usize::from(listener.0) < self.config.listeners.len()
            }
            Path::Stream { connection } => self.connections.is_open(connection),
        }
    }
}
