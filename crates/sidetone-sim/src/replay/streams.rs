//! Finding the RTP streams of a capture.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sidetone::rtp::packet::{View, is_rtcp};
use sidetone::sdp::attribute::Format;
use sidetone::time::Duration;

use super::describe::Descriptions;
use crate::capture::{Capture, Transport};

/// Streams looked at, at most; packets of further ones are left out.
const MAX_STREAMS: usize = 16_384;
/// Packets that a stream needs to be taken for one where no signalling names it.
const FEWEST: u64 = 8;

/// An RTP stream of a capture.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who was to receive it.
    pub destination: SocketAddr,
    /// Its synchronisation source; the first, where others took its place (see [`Stream::ssrcs`]).
    pub ssrc: u32,
    /// All synchronisation sources, one after another.
    pub ssrcs: Vec<u32>,
    /// When its first packet was seen, from the beginning of the capture.
    pub first: Duration,
    /// When its last packet was seen.
    pub last: Duration,
    /// Its packets.
    pub packets: u64,
    /// How many packets had which payload type, most first.
    pub payload_types: Vec<(u8, u64)>,
    /// What its payload types mean, as far as signalling or RFC 3551 tells.
    pub formats: Vec<Format>,
    /// Whether it is protected by SRTP, as signalling says or as it looks.
    pub protected: bool,
    /// Where its packets stand in the capture.
    pub(super) places: Vec<usize>,
    /// Where RTCP for its receiver stands in the capture.
    pub(super) control: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: SocketAddr,
    destination: SocketAddr,
    ssrc: u32,
}

#[derive(Debug, Default)]
struct Found {
    places: Vec<usize>,
    payload_types: BTreeMap<u8, u64>,
    /// Payload lengths of G.711 and how many packets had them, to tell protection.
    lengths: BTreeMap<usize, u64>,
    last: u16,
    orderly: u64,
}

/// Finds the RTP streams of a capture, by the order in which they began.
///
/// Whatever looks like RTP and goes on in sequence is one, whether or not signalling names it. A
/// stream that follows another between the same addresses without overlap, under a new SSRC, is the
/// same stream to its receiver and so here.
pub fn find(capture: &Capture) -> Vec<Stream> {
    let descriptions = Descriptions::find(capture);
    let mut found: BTreeMap<Key, Found> = BTreeMap::new();
    let mut control = Vec::new();
    for (place, datagram) in capture.datagrams().iter().enumerate() {
        let content = capture.payload(datagram);
        if datagram.transport != Transport::Udp {
            continue;
        }
        if is_rtcp(content) {
            control.push(place);
            continue;
        }
        let Ok(view) = View::parse(content) else {
            continue;
        };
        let key = Key {
            source: datagram.source,
            destination: datagram.destination,
            ssrc: view.ssrc(),
        };
        if found.len() < MAX_STREAMS || found.contains_key(&key) {
            found.entry(key).or_default().take(place, &view);
        }
    }
    let mut streams: Vec<Stream> = found
        .into_iter()
        .filter(|(_, f)| f.is_stream())
        .map(|(key, found)| found.into_stream(key, capture, &descriptions))
        .collect();
    streams.sort_by_key(|s| (s.first, s.source, s.destination, s.ssrc));
    let mut streams = join(streams);
    for stream in &mut streams {
        let datagrams = capture.datagrams();
        let for_it = |&place: &usize| stream.is_controlled_by(&datagrams[place]);
        stream.control = control.iter().copied().filter(for_it).collect();
    }
    streams
}

impl Found {
    fn take(&mut self, place: usize, view: &View<'_>) {
        let step = view.sequence().wrapping_sub(self.last);
        self.orderly += u64::from((1..=10).contains(&step));
        self.last = view.sequence();
        self.places.push(place);
        *self.payload_types.entry(view.payload_type()).or_default() += 1;
        if matches!(view.payload_type(), 0 | 8) && self.lengths.len() < 64 {
            *self.lengths.entry(view.payload().len()).or_default() += 1;
        }
    }

    /// Whether it goes on in sequence, as nothing else does by chance.
    fn is_stream(&self) -> bool {
        let packets = self.places.len() as u64;
        packets >= FEWEST && self.orderly * 10 >= packets * 6
    }

    /// Whether the packets of a codec of 8 bytes a millisecond are all too long by a tag of SRTP.
    fn looks_protected(&self) -> bool {
        let tagged = |&length: &usize| [4, 10, 16].contains(&(length % 80));
        let all: u64 = self.lengths.values().sum();
        let long: u64 = self
            .lengths
            .iter()
            .filter(|(l, _)| tagged(l))
            .map(|(_, n)| n)
            .sum();
        all >= FEWEST && long * 10 >= all * 9
    }

    fn into_stream(self, key: Key, capture: &Capture, descriptions: &Descriptions) -> Stream {
        let described = descriptions.of(key.destination);
        let at = |place: Option<&usize>| {
            let datagram = place.and_then(|&p| capture.datagrams().get(p));
            datagram.map_or(Duration::ZERO, |d| d.at)
        };
        let mut payload_types: Vec<(u8, u64)> =
            self.payload_types.iter().map(|(&t, &n)| (t, n)).collect();
        payload_types.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let meaning = |&(number, _): &(u8, u64)| {
            let mut said = described.formats.iter();
            let said = said.find(|f| f.payload_type == number).cloned();
            said.or_else(|| Format::from_static(number))
        };
        Stream {
            source: key.source,
            destination: key.destination,
            ssrc: key.ssrc,
            ssrcs: vec![key.ssrc],
            first: at(self.places.first()),
            last: at(self.places.last()),
            packets: self.places.len() as u64,
            formats: payload_types.iter().filter_map(meaning).collect(),
            payload_types,
            protected: described.protected || self.looks_protected(),
            places: self.places,
            control: Vec::new(),
        }
    }
}

/// Puts streams together of which one takes the other's place.
fn join(streams: Vec<Stream>) -> Vec<Stream> {
    let mut joined: Vec<Stream> = Vec::new();
    for stream in streams {
        let before = joined.iter_mut().rev().find(|s| {
            (s.source, s.destination) == (stream.source, stream.destination)
                && s.last < stream.first
                && s.payload_types.first().map(|p| p.0) == stream.payload_types.first().map(|p| p.0)
        });
        match before {
            Some(before) => before.append(stream),
            None => joined.push(stream),
        }
    }
    joined
}

impl Stream {
    fn append(&mut self, next: Self) {
        self.ssrcs.extend(next.ssrcs);
        self.last = next.last;
        self.packets += next.packets;
        self.places.extend(next.places);
        for (number, packets) in next.payload_types {
            match self.payload_types.iter_mut().find(|(n, _)| *n == number) {
                Some((_, n)) => *n += packets,
                None => self.payload_types.push((number, packets)),
            }
        }
        self.payload_types
            .sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        for format in next.formats {
            if self
                .formats
                .iter()
                .all(|f| f.payload_type != format.payload_type)
            {
                self.formats.push(format);
            }
        }
    }

    /// What a payload type means, as far as it is known.
    pub fn format(&self, payload_type: u8) -> Option<&Format> {
        self.formats.iter().find(|f| f.payload_type == payload_type)
    }

    /// Whether RTCP in this datagram is its sender's, for its receiver.
    fn is_controlled_by(&self, datagram: &crate::capture::Datagram) -> bool {
        let hosts = (datagram.source.ip(), datagram.destination.ip());
        let port = datagram.destination.port();
        hosts == (self.source.ip(), self.destination.ip())
            && [0, 1].contains(&port.wrapping_sub(self.destination.port()))
    }
}
