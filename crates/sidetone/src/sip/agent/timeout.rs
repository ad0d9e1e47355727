//! Deadlines: of transactions, sessions, look-ups and connections.

use super::command::SessionId;
use super::session::Clock;
use super::{Agent, Deadline};
use crate::time::Instant;

impl Agent {
    /// The agent's own next deadline; outdated entries are thrown away on the way.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        loop {
            let (at, key) = self.deadlines.peek()?;
            let is_due = match key {
                Deadline::Session(id) => self
                    .sessions
                    .get(&id)
                    .is_some_and(|s| s.deadline() == Some(at)),
                Deadline::Lookup(id) => self.is_looking(id),
                Deadline::Credentials(id) => self.gate.is_waiting(id),
                Deadline::Connection(id) => self.connection_deadline(id) == Some(at),
                Deadline::Registration(id) => self.registration_due(id) == Some(at),
                Deadline::Flow(id) => self.flow_due(id) == Some(at),
                Deadline::Subscription(_) | Deadline::Publication(_) | Deadline::Message(_) => true,
            };
            let is_current = self.is_current(at, key);
            if is_due && is_current {
                return Some(at);
            }
            self.deadlines.pop();
            match key {
                Deadline::Session(id) if is_current => self.requeue_emptied(id),
                Deadline::Connection(id) if is_current => self.requeue_connection(id),
                _ => {}
            }
        }
    }

    /// Whether an entry of the queue is the newest of its kind.
    fn is_current(&self, at: Instant, key: Deadline) -> bool {
        match key {
            Deadline::Session(id) => self.sessions.get(&id).is_some_and(|s| s.queued == Some(at)),
            Deadline::Lookup(id) => self.is_looking(id),
            Deadline::Credentials(id) => self.gate.is_waiting(id),
            Deadline::Connection(id) => self.is_queued_connection(at, id),
            Deadline::Registration(id) => self.registration_due(id) == Some(at),
            Deadline::Flow(id) => self.flow_due(id) == Some(at),
            Deadline::Subscription(id) => {
                let subscribed = self.subscriptions.get(&id);
                subscribed.is_some_and(|subscribed| subscribed.is_queued(at))
            }
            Deadline::Publication(id) => self.publication_due(id) == Some(at),
            Deadline::Message(ticket) => self.inbox.due(ticket) == Some(at),
        }
    }

    /// Throws outdated entries away once they are many.
    pub(super) fn compact(&mut self) {
        let mut deadlines = std::mem::take(&mut self.deadlines);
        let others = self.subscriptions.len() + self.publications.len();
        let others = others + self.locating.len() + 2 * self.registrations.len();
        let live = self.sessions.len() + self.lookups.len() + self.config.max_connections + others;
        deadlines.compact(live, |at, key| self.is_current(at, key));
        self.deadlines = deadlines;
    }

    fn requeue_emptied(&mut self, id: SessionId) {
        if let Some(session) = self.session(id) {
            session.queued = None;
        }
        self.requeue(id);
    }

    /// Puts a session's next deadline into the queue, unless one as early is there.
    pub(super) fn requeue(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(deadline) = session.deadline() else {
            return;
        };
        if session.queued.is_some_and(|at| at <= deadline) {
            return;
        }
        session.queued = Some(deadline);
        self.deadlines.push(deadline, Deadline::Session(id));
        self.compact();
    }

    pub(super) fn set_clock(&mut self, id: SessionId, clock: Clock, at: Instant) {
        if let Some(session) = self.session(id) {
            session.set_clock(clock, at);
            self.requeue(id);
        }
    }

    pub(super) fn fire_all(&mut self, now: Instant) {
        while let Some((transaction, owner, reaction)) = self.transactions.fire(now) {
            self.react(now, transaction, owner, reaction);
        }
        while let Some((at, key)) = self.deadlines.peek() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            match key {
                Deadline::Session(id) => self.session_due(now, at, id),
                Deadline::Lookup(id) => self.lookup_overdue(now, id),
                Deadline::Credentials(id) => self.credentials_overdue(now, id),
                Deadline::Connection(id) => self.connection_due(now, at, id),
                Deadline::Registration(id) => self.refresh_registration(now, at, id),
                Deadline::Subscription(id) => self.subscription_due(now, at, id),
                Deadline::Publication(id) => self.refresh_publication(now, at, id),
                Deadline::Message(ticket) => self.message_overdue(now, ticket),
                Deadline::Flow(id) => self.attend_flow(now, at, id),
            }
        }
    }

    fn lookup_overdue(&mut self, now: Instant, id: super::event::LookupId) {
        self.lookup_done(now, id);
        self.location_done(now, id);
    }

    /// Whether a look-up still goes on.
    fn is_looking(&self, id: super::event::LookupId) -> bool {
        self.lookups.contains_key(&id) || self.locating.contains_key(&id)
    }

    fn session_due(&mut self, now: Instant, at: Instant, id: SessionId) {
        let Some(session) = self
            .session(id)
            .filter(|session| session.queued == Some(at))
        else {
            return;
        };
        session.queued = None;
        while let Some(clock) = self.session(id).and_then(|session| session.take_due(now)) {
            match clock {
                Clock::RepeatAnswer => self.repeat_answer(now, id),
                Clock::AckOverdue => self.ack_overdue(now, id),
                Clock::RingTimeout => self.ring_timeout(now, id),
                Clock::CancelOverdue => self.cancel_overdue(now, id),
                Clock::GlareRetry => self.glare_retry(now, id),
                Clock::KeepRinging => self.keep_ringing(now, id),
                Clock::RepeatReliable => self.repeat_reliable(now, id),
                Clock::SessionRefresh => self.refresh_due(now, id),
                Clock::SessionExpiry => self.session_expired(now, id),
                Clock::AskedOverdue => self.answer_overdue(now, id, false),
            }
        }
        self.requeue(id);
    }
}
