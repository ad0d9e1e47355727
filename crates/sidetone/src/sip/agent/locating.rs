//! Responses whose connection is gone and whose sender cannot be reached where it came from: found by the
//! name in their Via (RFC 3261 §18.2.2, RFC 3263 §5).

use super::connection::Queued;
use super::event::{DriverRequest, LookupId};
use super::{Agent, Deadline};
use crate::sip::message::Message;
use crate::sip::transport::resolve::{Question, Record, Resolution, Wanted};
use crate::sip::transport::{Destination, Transport, route};
use crate::time::Instant;
use bytes::Bytes;

/// A response that waits for the addresses of a name.
pub(super) struct Locating {
    resolution: Resolution,
    bytes: Bytes,
}

impl Agent {
    /// A connection for a message did not open. A request has failed by itself; a response goes to the
    /// next of its sender's addresses, which the DNS is asked for once, where that is allowed.
    pub(super) fn find_another_way(&mut self, now: Instant, message: Queued) {
        let Queued { bytes, others } = message;
        match others {
            Some(others) => self.try_addresses(now, bytes, others),
            None if self.config.responses_by_name => self.locate(now, bytes),
            None => {}
        }
    }

    fn locate(&mut self, now: Instant, bytes: Bytes) {
        let Some((transport, host, port)) = sender(&bytes) else {
            return;
        };
        if self.lookups.len() + self.locating.len() >= self.config.max_transactions {
            return;
        }
        let wanted = Wanted {
            host: &host,
            port,
            transport: Some(transport),
            secure: transport.is_secure(),
        };
        let listeners = self.config.listeners.iter();
        let able: Vec<_> = listeners
            .map(|l| (l.transport, l.local.is_ipv4()))
            .collect();
        let resolution = Resolution::new(&wanted, &able, self.rng.fork());
        let lookup = LookupId(self.next_id());
        self.locating.insert(lookup, Locating { resolution, bytes });
        let deadline = now + self.config.resolve_timeout;
        self.deadlines.push(deadline, Deadline::Lookup(lookup));
        self.go_on_locating(now, lookup);
    }

    /// The DNS has answered a question about a response's sender.
    pub(super) fn located(
        &mut self,
        now: Instant,
        lookup: LookupId,
        question: &Question,
        records: &[Record],
    ) {
        if let Some(waiting) = self.locating.get_mut(&lookup) {
            waiting.resolution.handle_answer(question, records);
            self.go_on_locating(now, lookup);
        }
    }

    fn go_on_locating(&mut self, now: Instant, lookup: LookupId) {
        let Some(waiting) = self.locating.get_mut(&lookup) else {
            return;
        };
        while let Some(question) = waiting.resolution.poll_question() {
            let query = DriverRequest::Query { lookup, question };
            self.driver.push_back(query);
        }
        if waiting.resolution.is_done() {
            self.location_done(now, lookup);
        }
    }

    /// All that can be found of a response's sender is found, or the time is up.
    pub(super) fn location_done(&mut self, now: Instant, lookup: LookupId) {
        if let Some(Locating { resolution, bytes }) = self.locating.remove(&lookup) {
            let mut found = resolution.destinations();
            let transport = sender(&bytes).map(|(transport, ..)| transport);
            found.retain(|found| Some(found.transport) == transport);
            self.try_addresses(now, bytes, found);
        }
    }

    fn try_addresses(&mut self, now: Instant, bytes: Bytes, mut others: Vec<Destination>) {
        let name = sender(&bytes).map(|(_, host, _)| host);
        while !others.is_empty() {
            let destination = others.remove(0);
            let listener = route::select_listener(&self.config.listeners, None, destination);
            let patience = self.config.timers.timeout();
            let connection = listener.and_then(|listener| {
                self.connection_to(now, destination, name.as_deref(), listener, patience)
            });
            let Some(connection) = connection else {
                continue;
            };
            if self.connections.is_open(connection) {
                let path = crate::sip::transport::Path::Stream { connection };
                return self.put_on_wire(path, None, bytes);
            }
            let queued = Queued {
                bytes: bytes.clone(),
                others: Some(others.clone()),
            };
            if self.connections.enqueue(connection, queued) {
                return;
            }
        }
        self.counters.transport_errors += 1;
    }
}

/// By which connections, and under which name, the sender of a response's request says it is reached;
/// `None` for a request, and where no name is said.
fn sender(bytes: &Bytes) -> Option<(Transport, String, Option<u16>)> {
    let message = Message::parse(bytes.clone()).ok();
    let message = message.filter(|message| !message.is_request())?;
    let via = message.top_via().ok()?;
    let transport = Transport::from_name(via.transport());
    let transport = transport.filter(|t| *t != Transport::Udp && !t.is_framed())?;
    let named = via.host_ip().is_none();
    let host = via.host().trim_end_matches('.').to_ascii_lowercase();
    let port = via.port().filter(|port| *port != 0);
    (named && !host.is_empty()).then_some((transport, host, port))
}
