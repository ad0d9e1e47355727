//! Reliable ordered byte streams: delay and partition, no loss, no order but the sender's.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sidetone::time::Instant;

use super::capture::{Carrier, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};
use super::{Delivery, HostId, InFlight, Network, NetworkError, StreamId};

/// One end of a stream. The other end has the number with the lowest bit flipped.
#[derive(Debug)]
pub(super) struct Stream {
    host: HostId,
    local: SocketAddr,
    remote: SocketAddr,
    peer_host: HostId,
    /// When the last segment that this end sent arrives; later ones do not overtake it.
    last_arrival: Instant,
    /// Bytes so far, for the numbers in captures.
    sent: u32,
    received: u32,
}

/// What travels on a stream; `to` is the receiving end.
#[derive(Debug)]
pub(super) struct Arrival {
    to: u64,
    what: Segment,
}

#[derive(Debug)]
enum Segment {
    Syn {
        host: HostId,
        local: SocketAddr,
        remote: SocketAddr,
        peer_host: HostId,
    },
    SynAck,
    Refused,
    Data(Bytes),
    End {
        reset: bool,
    },
}

impl Segment {
    /// The flags and the payload that a TCP segment would have.
    fn on_the_wire(&self) -> (u8, &[u8]) {
        match self {
            Self::Syn { .. } => (TCP_SYN, b""),
            Self::SynAck => (TCP_SYN | TCP_ACK, b""),
            Self::Refused | Self::End { reset: true } => (TCP_RST | TCP_ACK, b""),
            Self::Data(payload) => (TCP_ACK, payload),
            Self::End { reset: false } => (TCP_FIN | TCP_ACK, b""),
        }
    }
}

/// The largest payload of one segment, as on Ethernet.
const SEGMENT: usize = 1460;

impl Network {
    /// How long a stream survives a partition before it breaks: 2 minutes.
    pub const STREAM_PATIENCE: Duration = Duration::from_secs(120);

    /// Connects from a free port of the host. [`Delivery::Connected`] or [`Delivery::Refused`]
    /// follows.
    ///
    /// # Errors
    /// [`NetworkError::NoPort`], or [`NetworkError::ForeignAddress`] where the host has no address
    /// of the destination's family.
    pub fn connect(
        &mut self,
        now: Instant,
        host: HostId,
        destination: SocketAddr,
    ) -> Result<StreamId, NetworkError> {
        let family = |ip: &&std::net::IpAddr| ip.is_ipv4() == destination.is_ipv4();
        let ip = self.addresses(host).iter().find(family).copied();
        let ip = ip.ok_or(NetworkError::ForeignAddress(destination.ip()))?;
        let local = self.free_address(host, SocketAddr::new(ip, 0))?;
        let id = self.next_stream;
        self.next_stream += 2;
        self.counters.streams += 1;
        let Some(route) = self.route(now, host, local, destination) else {
            let refused = Segment::Refused;
            self.fly(
                now + Duration::from_secs(1),
                InFlight::Stream(Arrival {
                    to: id,
                    what: refused,
                }),
            );
            return Ok(StreamId(id));
        };
        let end = Stream {
            host,
            local,
            remote: destination,
            peer_host: route.host,
            last_arrival: now,
            sent: 0,
            received: 0,
        };
        self.streams.insert(id, end);
        let syn = Segment::Syn {
            host: route.host,
            local: route.destination,
            remote: route.source,
            peer_host: host,
        };
        self.transfer(now, id, syn);
        Ok(StreamId(id))
    }

    /// This end's own address.
    pub fn stream_address(&self, stream: StreamId) -> Option<SocketAddr> {
        self.streams.get(&stream.0).map(|end| end.local)
    }

    /// The address of the other side.
    pub fn stream_remote(&self, stream: StreamId) -> Option<SocketAddr> {
        self.streams.get(&stream.0).map(|end| end.remote)
    }

    /// Sends bytes on a stream; on one that is gone they go nowhere.
    pub fn write(&mut self, now: Instant, stream: StreamId, mut payload: Bytes) {
        while !payload.is_empty() {
            let segment = payload.split_to(payload.len().min(SEGMENT));
            self.transfer(now, stream.0, Segment::Data(segment));
        }
    }

    /// Closes a stream after what was written. This end is gone at once.
    pub fn close(&mut self, now: Instant, stream: StreamId) {
        self.transfer(now, stream.0, Segment::End { reset: false });
        self.streams.remove(&stream.0);
    }

    /// Resets a stream: the other side learns it as soon as the link permits.
    pub fn reset(&mut self, now: Instant, stream: StreamId) {
        self.transfer(now, stream.0, Segment::End { reset: true });
        self.streams.remove(&stream.0);
    }

    /// Sends a segment from the end `id` to the other one.
    fn transfer(&mut self, now: Instant, id: u64, what: Segment) {
        let Some(end) = self.streams.get(&id) else {
            return;
        };
        let (ends, last) = ((end.host, end.peer_host), end.last_arrival);
        let start = match self.healed_at(now, ends) {
            Some(healed) if healed - now > Self::STREAM_PATIENCE => {
                self.give_up(now, id);
                return;
            }
            Some(healed) => healed,
            None => now,
        };
        let (flags, payload) = what.on_the_wire();
        let size = payload.len() + 40;
        self.record_departure(now, id, flags, payload);
        let at = self.path(ends).carry_reliably(start, size).max(last);
        if let Some(end) = self.streams.get_mut(&id) {
            end.last_arrival = at;
        }
        self.fly(at, InFlight::Stream(Arrival { to: id ^ 1, what }));
    }

    /// Both ends learn, when their patience is over, that nothing gets through.
    fn give_up(&mut self, now: Instant, id: u64) {
        let at = now + Self::STREAM_PATIENCE;
        if !self.streams.contains_key(&(id ^ 1)) {
            let what = Segment::Refused;
            self.fly(at, InFlight::Stream(Arrival { to: id, what }));
            return;
        }
        for to in [id, id ^ 1] {
            let what = Segment::End { reset: true };
            self.fly(at, InFlight::Stream(Arrival { to, what }));
        }
    }

    pub(super) fn stream_arrives(&mut self, now: Instant, arrival: Arrival) {
        let Arrival { to, what } = arrival;
        let stream = StreamId(to);
        if let Segment::Syn {
            host,
            local,
            remote,
            peer_host,
        } = what
        {
            self.accept(now, to, host, local, remote, peer_host);
            return;
        }
        let (flags, payload) = what.on_the_wire();
        self.record_segment(now, to, flags, payload);
        match what {
            Segment::Syn { .. } => {}
            Segment::SynAck if self.streams.contains_key(&to) => {
                self.deliveries.push_back(Delivery::Connected { stream });
            }
            // The side that connected closed its end meanwhile; the other end learns it.
            Segment::SynAck => {}
            Segment::Refused => {
                self.streams.remove(&to);
                self.deliveries.push_back(Delivery::Refused { stream });
            }
            Segment::Data(payload) => {
                let Some(end) = self.streams.get(&to) else {
                    return;
                };
                self.trace.packet(now, end.remote, end.local, &payload);
                self.deliveries
                    .push_back(Delivery::Data { stream, payload });
            }
            Segment::End { reset } => {
                if self.streams.remove(&to).is_some() {
                    self.deliveries
                        .push_back(Delivery::Closed { stream, reset });
                }
            }
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        id: u64,
        host: HostId,
        local: SocketAddr,
        remote: SocketAddr,
        peer_host: HostId,
    ) {
        let listener = self.listening.get(&local).copied();
        let end = Stream {
            host,
            local,
            remote,
            peer_host,
            last_arrival: now,
            sent: 0,
            received: 0,
        };
        self.streams.insert(id, end);
        self.record_segment(now, id, TCP_SYN, b"");
        let Some(listener) = listener else {
            self.transfer(now, id, Segment::Refused);
            self.streams.remove(&id);
            return;
        };
        self.transfer(now, id, Segment::SynAck);
        self.deliveries.push_back(Delivery::Accepted {
            listener,
            stream: StreamId(id),
            remote,
        });
    }

    /// Captures a segment as it leaves, where the capture sits there.
    fn record_departure(&mut self, now: Instant, id: u64, flags: u8, payload: &[u8]) {
        let wall = self.anchor.wall_at(now);
        let (Some((Some(host), capture)), Some(end)) =
            (&mut self.capture, self.streams.get_mut(&id))
        else {
            return;
        };
        if *host != end.host {
            return;
        }
        let first = u32::from(flags & TCP_SYN == 0);
        let carrier = Carrier::Tcp {
            sequence: end.sent.wrapping_add(first),
            acknowledgement: end.received.wrapping_add(1),
            flags,
        };
        end.sent = end.sent.wrapping_add(payload.len() as u32);
        capture.record(wall, end.local, end.remote, carrier, payload);
    }

    /// Captures a segment with the sequence numbers that a real one would have.
    fn record_segment(&mut self, now: Instant, to: u64, flags: u8, payload: &[u8]) {
        if self.capture.is_none() {
            return;
        }
        let acknowledged = self
            .streams
            .get(&(to ^ 1))
            .map_or(0, |other| other.received);
        let Some(end) = self.streams.get_mut(&to) else {
            return;
        };
        let first = u32::from(flags & TCP_SYN == 0);
        let carrier = Carrier::Tcp {
            sequence: end.received.wrapping_add(first),
            acknowledgement: acknowledged.wrapping_add(1),
            flags,
        };
        end.received = end.received.wrapping_add(payload.len() as u32);
        let (host, source, destination) = (end.host, end.remote, end.local);
        self.record_at(host, now, source, destination, carrier, payload);
    }
}
