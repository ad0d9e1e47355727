//! The flows of our own registrations: kept alive by STUN over UDP, and made anew where they fail
//! (RFC 5626 §4.4, §4.5); and the answers to keep-alives of others.

use super::registration::RegistrationId;
use super::{Agent, Deadline, Owner};
use crate::id::{ConnectionId, ListenerId};
use crate::rng::Rng;
use crate::sip::message::Message;
use crate::sip::transport::Path;
use crate::sip::transport::access::Admission;
use crate::sip::transport::stun::{Stun, TransactionId};
use crate::time::{Duration, Instant};
use bytes::Bytes;
use std::net::SocketAddr;

/// The longest pause between two keep-alives over UDP, unless the server says otherwise (§4.4.2).
const PAUSE: Duration = Duration::from_secs(29);

/// When a keep-alive is repeated first, how often it is sent in all, and for how many times the first
/// pause the last one waits (RFC 5389 §7.2.1).
const REPEAT: Duration = Duration::from_millis(500);
const SENT: u32 = 7;
const LAST_WAIT: u32 = 16;

/// The shortest and longest Flow-Timer that is followed.
const FLOW_TIMER: (u32, u32) = (10, 900);

/// The way that a registration went, and whether it still leads there.
#[derive(Debug)]
pub(super) struct Flow {
    path: Path,
    due: Option<Instant>,
    probe: Option<Probe>,
    pause: Duration,
    /// How the server sees us; another address means that a translator has forgotten us.
    mapped: Option<SocketAddr>,
}

/// A keep-alive without an answer yet.
#[derive(Debug)]
struct Probe {
    id: TransactionId,
    sent: u32,
}

impl Flow {
    fn rest(&mut self, now: Instant, rng: &mut Rng) {
        self.probe = None;
        self.due = Some(now + self.pause.mul_f64(0.83 + 0.17 * rng.next_f64()));
    }
}

impl Agent {
    /// Remembers the way that a REGISTER goes.
    pub(super) fn note_flow(&mut self, owner: Owner, path: Path) {
        let Owner::Registration(id) = owner else {
            return;
        };
        let Some(registration) = self.registrations.get_mut(&id) else {
            return;
        };
        let same = registration.flow.as_ref().is_some_and(|f| f.path == path);
        if registration.keeps_flow() && !same {
            registration.flow = Some(Flow {
                path,
                due: None,
                probe: None,
                pause: PAUSE,
                mapped: None,
            });
        }
    }

    /// A registration is granted: its flow is kept alive from now on.
    pub(super) fn keep_flow(&mut self, now: Instant, id: RegistrationId, response: &Message) {
        let timer = response.flow_timer().ok().flatten();
        let timer = timer.map(|seconds| seconds.clamp(FLOW_TIMER.0, FLOW_TIMER.1));
        let timer = timer.map(|seconds| Duration::from_secs(u64::from(seconds)));
        let registration = self.registrations.get_mut(&id);
        let Some(flow) = registration.and_then(|registration| registration.flow.as_mut()) else {
            return;
        };
        match flow.path {
            Path::Datagram { .. } => {
                flow.pause = timer.unwrap_or(PAUSE);
                flow.rest(now, &mut self.rng);
                self.queue_flow(id);
            }
            // Lines are sent on connections in any case.
            Path::Stream { connection } => {
                if let Some(timer) = timer {
                    self.connections.set_flow_timer(connection, timer);
                }
            }
        }
    }

    /// The moment for which a flow waits.
    pub(super) fn flow_due(&self, id: RegistrationId) -> Option<Instant> {
        self.registrations.get(&id)?.flow.as_ref()?.due
    }

    fn queue_flow(&mut self, id: RegistrationId) {
        if let Some(due) = self.flow_due(id) {
            self.deadlines.push(due, Deadline::Flow(id));
        }
    }

    /// A keep-alive is due, for the first time or again, or has gone unanswered for too long.
    pub(super) fn attend_flow(&mut self, now: Instant, at: Instant, id: RegistrationId) {
        if self.flow_due(id) != Some(at) {
            return;
        }
        let mut fresh = [0; 12];
        for part in fresh.chunks_exact_mut(4) {
            part.copy_from_slice(&self.rng.next_u32().to_be_bytes());
        }
        let registration = self.registrations.get_mut(&id);
        let Some(flow) = registration.and_then(|registration| registration.flow.as_mut()) else {
            return;
        };
        let probe = flow.probe.get_or_insert(Probe { id: fresh, sent: 0 });
        if probe.sent >= SENT {
            return self.flow_failed(now, id);
        }
        probe.sent += 1;
        let wait = match probe.sent {
            SENT => REPEAT * LAST_WAIT,
            sent => REPEAT * (1 << (sent - 1)),
        };
        flow.due = Some(now + wait);
        let request = Stun::Request {
            id: probe.id,
            unknown: Vec::new(),
        };
        let path = flow.path;
        self.put_on_wire(path, None, request.to_bytes().into());
        self.queue_flow(id);
    }

    /// A STUN message has come to a socket of ours.
    pub(super) fn on_stun(
        &mut self,
        now: Instant,
        listener: ListenerId,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let at = self.config.listeners.get(usize::from(listener.0));
        let refused = at.is_none_or(|at| at.access.admission(source.ip()) == Admission::Ignore);
        let path = Path::Datagram {
            listener,
            destination: source,
        };
        match Stun::parse(datagram).filter(|_| !refused) {
            Some(Stun::Request { id, unknown }) => {
                self.counters.keepalives += 1;
                let answer = Stun::answer(id, &unknown, source);
                self.put_on_wire(path, None, Bytes::from(answer));
            }
            Some(Stun::Success { id, mapped }) => self.flow_answered(now, path, id, mapped),
            Some(Stun::Error { id }) => self.flow_answered(now, path, id, None),
            None => self.counters.dropped_malformed += 1,
        }
    }

    /// A keep-alive of ours is answered: the flow stands unless we are seen at another address.
    fn flow_answered(
        &mut self,
        now: Instant,
        path: Path,
        answered: TransactionId,
        mapped: Option<SocketAddr>,
    ) {
        let asked = |flow: &Flow| {
            flow.path == path && flow.probe.as_ref().is_some_and(|p| p.id == answered)
        };
        let mut flows = self.registrations.iter_mut();
        let found = flows.find_map(|(id, registration)| {
            let flow = registration.flow.as_mut()?;
            asked(flow).then_some((*id, flow))
        });
        let Some((id, flow)) = found else {
            self.counters.dropped_stray_responses += 1;
            return;
        };
        self.counters.keepalives += 1;
        let moved = flow.mapped.is_some_and(|known| Some(known) != mapped);
        if moved || mapped.is_none() {
            return self.flow_failed(now, id);
        }
        flow.mapped = mapped;
        flow.rest(now, &mut self.rng);
        self.queue_flow(id);
    }

    /// A connection is gone, and the flows of ours that were on it.
    pub(super) fn own_flow_closed(&mut self, now: Instant, connection: ConnectionId) {
        let path = Path::Stream { connection };
        let lost = |flow: &Flow| flow.path == path;
        let registrations = self.registrations.iter();
        let lost = registrations.filter(|(_, one)| one.flow.as_ref().is_some_and(lost));
        let lost: Vec<RegistrationId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            self.flow_failed(now, id);
        }
    }

    /// A flow has failed: a new one is made, after a pause so that not all clients of a server that has
    /// gone come back at one moment (§4.5).
    fn flow_failed(&mut self, now: Instant, id: RegistrationId) {
        self.counters.flows_failed += 1;
        if let Some(registration) = self.registrations.get_mut(&id) {
            registration.flow = None;
        }
        self.register_anew(now, id);
    }
}
