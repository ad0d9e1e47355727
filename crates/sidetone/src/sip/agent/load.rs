//! Overload: new requests refused early, and servers spared that want to be (RFC 7339).

use super::draft::Draft;
use super::reply::Refusal;
use super::{Agent, Owner, Part};
use crate::sip::header::Name;
use crate::sip::header::via::Via;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::overload::admission::{Admission, Precedence};
use crate::sip::overload::feedback::Feedback;
use crate::sip::overload::precedence;
use crate::sip::status::StatusCode;
use crate::sip::transaction::layer::TransactionId;
use crate::sip::transport::{Destination, Path, Transport};
use crate::time::{Duration, Instant};

impl Agent {
    /// Takes in that what is handed over next has waited for so long.
    pub fn handle_wait(&mut self, now: Instant, wait: Duration) {
        self.admission.handle_wait(now, wait);
    }

    /// Takes in how many ticks the media workers have run since they began, and how many of them late.
    pub fn handle_ticks(&mut self, now: Instant, ticks: u64, late: u64) {
        self.admission.handle_ticks(now, ticks, late);
    }

    /// How much new work is let in, and what was refused.
    pub fn load(&self) -> &Admission {
        &self.admission
    }

    /// Why a request is not let in for load: told when to come back, each somewhat differently, so that
    /// they do not come back all at once.
    pub(super) fn refusal_for_load(
        &mut self,
        now: Instant,
        request: &Message,
        method: &Method,
    ) -> Option<Refusal> {
        let worth = precedence::of_request(self.admission.config(), request, method);
        if worth == Precedence::InProgress || self.admission.admit(now, worth) {
            return None;
        }
        let least = u64::from(self.admission.config().retry_after);
        let seconds = least + self.rng.below(least + 1);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.counters.refused_overload += 1;
        Some(Refusal::with(status, Name::RetryAfter, seconds.to_string()))
    }

    /// Sets down what senders are told about our load from now on.
    pub(super) fn set_feedback(&mut self, now: Instant) {
        let told = self.admission.feedback(now, self.config.epoch);
        self.told = told.map(|told| told.to_string());
    }

    /// What the sender of a request is told about our load in its Via, where it wants to be.
    pub(super) fn feedback_for(&self, request: &Message) -> Option<&str> {
        let told = self.told.as_deref()?;
        let via = request.top_via_lenient().ok()?;
        Feedback::is_wanted(&via).then_some(told)
    }

    /// Takes in what a server says of its load in our Via.
    pub(super) fn heed(&mut self, now: Instant, transaction: TransactionId, via: &Via) {
        if !self.config.obeys_overload {
            return;
        }
        let Some(told) = Feedback::read(via) else {
            return;
        };
        let path = self.transactions.path(transaction);
        if let Some(server) = path.and_then(|path| self.destination_of(path)) {
            self.throttle.handle_feedback(now, server, told);
        }
    }

    fn destination_of(&self, path: Path) -> Option<Destination> {
        match path {
            Path::Datagram { destination, .. } => Some(Destination {
                transport: Transport::Udp,
                address: destination,
            }),
            Path::Stream { connection } => self.connections.destination(connection),
        }
    }

    /// Leaves those places out that want to be spared this request.
    pub(super) fn spare(
        &mut self,
        now: Instant,
        owner: Owner,
        draft: &Draft,
        to: &mut Vec<Destination>,
    ) {
        let begins = matches!(owner, Owner::Session(_, Part::Invite) | Owner::Errand(_));
        if !begins || !self.config.obeys_overload {
            return;
        }
        let config = self.admission.config();
        let worth = precedence::of_draft(config, &draft.uri, &draft.headers);
        let (throttle, rng) = (&mut self.throttle, &mut self.rng);
        to.retain(|server| throttle.allows(now, server, worth, rng));
    }

    /// Whether a listener is asked by an emergency's URI, which names no host.
    pub(super) fn is_emergency(&self, request: &Message) -> bool {
        let uri = request.request_uri();
        uri.is_ok_and(|uri| precedence::is_emergency(uri.as_str()))
    }
}
