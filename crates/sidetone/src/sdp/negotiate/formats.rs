//! Which formats offer and answer have in common, and under which payload types.

use std::fmt;

use crate::sdp::attribute::{Direction, EventSet, Format, parse_payload_type};
use crate::sdp::negotiate::control::AgreedControl;
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::remote::RemoteAudio;
use crate::sdp::negotiate::{Agreed, LocalMedia, Preference};
use crate::sdp::session::Media;

/// The payload type that we offer telephone-event under where it is free; what everybody uses.
const TELEPHONE_EVENT_NUMBER: u8 = 101;

/// What the parameters of formats mean for offer and answer, as each payload format's RFC says.
pub trait FormatRules: fmt::Debug + Send + Sync {
    /// Judges a format of the peer's against `own`, which has the same encoding, clock rate and
    /// channels. `Some` holds the parameters that we state in an answer; `None` finds no agreement.
    fn agree(&self, own: &Format, theirs: &Format) -> Option<Option<String>>;
}

/// Takes formats under any parameters and states our own.
#[derive(Debug, Clone, Copy)]
pub struct AnyParameters;

impl FormatRules for AnyParameters {
    fn agree(&self, own: &Format, _: &Format) -> Option<Option<String>> {
        Some(own.fmtp.clone())
    }
}

/// A format that both parties have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedFormat {
    /// As we number and describe it: what arrives.
    pub own: Format,
    /// As the peer numbers and describes it: what may be sent.
    pub theirs: Format,
}

/// The agreed telephone-event format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEventFormat {
    /// The payload type to send.
    pub send_payload_type: u8,
    /// The payload type that arrives for the same clock rate; further ones are in
    /// [`Agreed::receive`].
    pub receive_payload_type: u8,
    /// Ticks a second of the events' clock: the codec's, or 8000 where the peer has no better.
    pub clock_rate: u32,
    /// The events that the peer takes.
    pub events: EventSet,
}

/// Which codec each payload type has meant in a session (RFC 3264 §8.3.2).
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    used: Vec<Format>,
}

impl Numbers {
    /// The formats of an offer of ours with their payload types.
    pub(super) fn of_offer(&self, local: &LocalMedia) -> Vec<Format> {
        let mut formats: Vec<Format> = Vec::new();
        let mut clock_rates: Vec<u32> = Vec::new();
        for format in &local.formats {
            if let Some(payload_type) = self.number(format, &formats) {
                formats.push(Format {
                    payload_type,
                    ..format.clone()
                });
                if !format.is_comfort_noise() && !clock_rates.contains(&format.clock_rate) {
                    clock_rates.push(format.clock_rate);
                }
            }
        }
        if local.redundancy {
            for red in redundancy_of(&formats) {
                if let Some(payload_type) = self.number(&red, &formats) {
                    formats.push(Format {
                        payload_type,
                        ..red
                    });
                }
            }
        }
        if !local.telephone_event {
            return formats;
        }
        for clock_rate in clock_rates {
            let event = telephone_event(TELEPHONE_EVENT_NUMBER, clock_rate);
            if let Some(payload_type) = self.number(&event, &formats) {
                formats.push(Format {
                    payload_type,
                    ..event
                });
            }
        }
        formats
    }

    /// The payload type for a format of ours: the one that it has had in this session, its static
    /// one, the one wished for, or a free one.
    fn number(&self, format: &Format, taken: &[Format]) -> Option<u8> {
        let is_taken = |used: &&Format| taken.iter().any(|t| t.payload_type == used.payload_type);
        let mut used = self.used.iter().filter(|used| used.matches(format));
        if let Some(used) = used.find(|used| !is_taken(used)) {
            return Some(used.payload_type);
        }
        let wish = format.payload_type;
        let fixed = Format::from_static(wish).is_some_and(|fixed| fixed.matches(format));
        let is_free = |number: &u8| {
            let same = |other: &Format| other.payload_type == *number;
            !self.used.iter().any(same) && !taken.iter().any(same)
        };
        std::iter::once(wish)
            .filter(|wish| fixed || *wish >= 96)
            .chain(96..=127)
            .find(is_free)
    }

    pub(super) fn remember(&mut self, formats: &[Format]) {
        for format in formats {
            self.used
                .retain(|held| held.payload_type != format.payload_type);
            self.used.push(format.clone());
        }
    }
}

/// The formats that both parties have.
#[derive(Debug)]
pub(super) struct Common {
    codecs: Vec<AgreedFormat>,
    redundancy: Vec<AgreedFormat>,
    events: Vec<AgreedFormat>,
}

impl Common {
    /// What we have in common with an offer; its payload types are ours too (RFC 3264 §6.1).
    pub(super) fn answering(
        remote: &RemoteAudio,
        local: &LocalMedia,
    ) -> Result<Self, NegotiationError> {
        let mut codecs: Vec<(usize, AgreedFormat)> = Vec::new();
        let offered = || remote.formats.iter();
        for theirs in offered().filter(|f| !f.is_telephone_event() && !f.is_redundancy()) {
            let found = agreeable(local, &local.formats, theirs);
            let found = found.filter(|(rank, _)| codecs.iter().all(|(taken, _)| taken != rank));
            let Some((rank, fmtp)) = found else {
                continue;
            };
            let own = Format {
                payload_type: theirs.payload_type,
                fmtp,
                ..local.formats[rank].clone()
            };
            let theirs = theirs.clone();
            codecs.push((rank, AgreedFormat { own, theirs }));
        }
        if local.preference == Preference::Own {
            codecs.sort_by_key(|(rank, _)| *rank);
        }
        let codecs: Vec<_> = codecs.into_iter().map(|(_, format)| format).collect();
        if codecs.iter().all(|format| format.own.is_comfort_noise()) {
            return Err(NegotiationError::NoCommonFormat);
        }
        let events = if local.telephone_event {
            matching_events(remote, &codecs)
        } else {
            Vec::new()
        };
        let mut redundancy = Vec::new();
        for theirs in offered().filter(|f| local.redundancy && wraps(f, &codecs)) {
            let own = codecs.iter().map(|format| format.own.clone());
            let mut own = redundancy_of(&own.collect::<Vec<_>>()).into_iter();
            let Some(own) = own.find(|own| own.matches(theirs)) else {
                continue;
            };
            redundancy.push(AgreedFormat {
                own: Format {
                    payload_type: theirs.payload_type,
                    ..own
                },
                theirs: theirs.clone(),
            });
        }
        Ok(Self {
            codecs,
            redundancy,
            events,
        })
    }

    /// What an answer leaves of our offer, which was made for `local`.
    pub(super) fn answered(remote: &RemoteAudio, local: &LocalMedia, offered: &[Format]) -> Self {
        let mut codecs = Vec::new();
        let mut redundancy = Vec::new();
        let mut events = Vec::new();
        for theirs in &remote.formats {
            let own = if theirs.is_telephone_event() || theirs.is_redundancy() {
                offered.iter().find(|own| own.matches(theirs))
            } else {
                agreeable(local, offered, theirs).map(|(rank, _)| &offered[rank])
            };
            let Some(own) = own.cloned() else {
                continue;
            };
            let list = if own.is_telephone_event() {
                &mut events
            } else if own.is_redundancy() {
                &mut redundancy
            } else {
                &mut codecs
            };
            let theirs = theirs.clone();
            list.push(AgreedFormat { own, theirs });
        }
        redundancy.retain(|format: &AgreedFormat| wraps(&format.theirs, &codecs));
        Self {
            codecs,
            redundancy,
            events,
        }
    }

    /// The formats as we number and describe them.
    pub(super) fn own(&self) -> impl Iterator<Item = &Format> {
        let all = self.codecs.iter().chain(&self.redundancy);
        let all = all.chain(&self.events);
        all.map(|format| &format.own)
    }

    pub(super) fn agree(
        self,
        remote: &RemoteAudio,
        direction: Direction,
        rtcp_mux: bool,
    ) -> Result<Agreed, NegotiationError> {
        let mut codecs = self.codecs.iter();
        let send = codecs
            .find(|format| !format.own.is_comfort_noise())
            .map(|format| format.theirs.clone())
            .ok_or(NegotiationError::NoCommonFormat)?;
        let with_rate = |rate| self.events.iter().find(|f| f.theirs.clock_rate == rate);
        let event = with_rate(send.clock_rate).or_else(|| with_rate(8000));
        let telephone_event = event.map(|event| TelephoneEventFormat {
            send_payload_type: event.theirs.payload_type,
            receive_payload_type: event.own.payload_type,
            clock_rate: event.theirs.clock_rate,
            events: match &event.theirs.fmtp {
                Some(list) => EventSet::parse(list),
                None => EventSet::DIGITS,
            },
        });
        let redundancy = self.redundancy.iter().find(|format| {
            let red = &format.theirs;
            let same = (red.clock_rate, red.channels) == (send.clock_rate, send.channels);
            same && wrapped(red).is_none_or(|types| types.first() == Some(&send.payload_type))
        });
        let redundancy = redundancy.map(|format| format.theirs.payload_type);
        let wrappers = self.redundancy.into_iter();
        let receive = self.codecs.into_iter().chain(wrappers).chain(self.events);
        Ok(Agreed {
            remote_rtp: remote.rtp,
            remote_rtcp: if rtcp_mux { remote.rtp } else { remote.rtcp },
            rtcp_mux,
            direction,
            held: remote.holds(),
            send,
            receive: receive.collect(),
            redundancy,
            telephone_event,
            ptime: remote.ptime,
            security: None,
            control: AgreedControl::default(),
            record_preference: remote.record_preference,
        })
    }
}

/// The first of our formats that `theirs` agrees with: its place, and the parameters that we state
/// in an answer.
fn agreeable(
    local: &LocalMedia,
    own: &[Format],
    theirs: &Format,
) -> Option<(usize, Option<String>)> {
    let mut same = own
        .iter()
        .enumerate()
        .filter(|(_, own)| own.matches(theirs));
    same.find_map(|(rank, own)| Some((rank, local.rules.agree(own, theirs)?)))
}

/// The peer's telephone-event formats for the codecs' clock rates, or that of 8000 Hz where there
/// is none (RFC 4733 §2.1 wants the codec's rate, many peers know 8000 only).
fn matching_events(remote: &RemoteAudio, codecs: &[AgreedFormat]) -> Vec<AgreedFormat> {
    let events = || remote.formats.iter().filter(|f| f.is_telephone_event());
    let of_rate = |fits: &dyn Fn(u32) -> bool| {
        let fitting = events().filter(|theirs| fits(theirs.clock_rate));
        fitting
            .map(|theirs| AgreedFormat {
                own: telephone_event(theirs.payload_type, theirs.clock_rate),
                theirs: theirs.clone(),
            })
            .collect::<Vec<_>>()
    };
    let of_codecs = of_rate(&|rate| codecs.iter().any(|codec| codec.own.clock_rate == rate));
    if of_codecs.is_empty() {
        of_rate(&|rate| rate == 8000)
    } else {
        of_codecs
    }
}

/// Redundant audio of these formats, which have their numbers: one for each clock rate and number of
/// channels, with the first codec of them as what it wraps (RFC 2198 §5).
fn redundancy_of(formats: &[Format]) -> Vec<Format> {
    let mut all: Vec<Format> = Vec::new();
    for codec in formats.iter().filter(|f| !f.is_comfort_noise()) {
        let red = Format {
            channels: codec.channels,
            fmtp: Some(format!("{0}/{0}", codec.payload_type)),
            ..Format::new(96, Format::REDUNDANCY, codec.clock_rate)
        };
        if !codec.is_redundancy() && !all.iter().any(|other| other.matches(&red)) {
            all.push(red);
        }
    }
    all
}

/// The payload types that redundant audio wraps; `None` where it does not say, or not readably.
fn wrapped(red: &Format) -> Option<Vec<u8>> {
    let list = red.fmtp.as_deref()?.split('/');
    list.map(|text| parse_payload_type(text.trim())).collect()
}

/// Whether redundant audio wraps nothing but codecs that are agreed on.
fn wraps(red: &Format, codecs: &[AgreedFormat]) -> bool {
    let same_clock = |codec: &&AgreedFormat| {
        let codec = &codec.theirs;
        (codec.clock_rate, codec.channels) == (red.clock_rate, red.channels)
    };
    let mut known = codecs
        .iter()
        .filter(same_clock)
        .map(|codec| codec.theirs.payload_type);
    red.is_redundancy()
        && match (&red.fmtp, wrapped(red)) {
            (None, _) => known.next().is_some(),
            (Some(_), types) => {
                let known: Vec<u8> = known.collect();
                types.is_some_and(|types| types.iter().all(|number| known.contains(number)))
            }
        }
}

fn telephone_event(payload_type: u8, clock_rate: u32) -> Format {
    Format {
        fmtp: Some("0-16".to_owned()),
        ..Format::new(payload_type, Format::TELEPHONE_EVENT, clock_rate)
    }
}

/// Some peers leave out the `a=rtpmap` of dynamic formats in an answer: then their numbers mean
/// what they meant in our offer.
pub(super) fn restore_formats(media: &Media, read: Vec<Format>, offered: &[Format]) -> Vec<Format> {
    let numbers = media.formats.iter().filter_map(|text| text.parse().ok());
    numbers
        .filter_map(|number: u8| {
            let named = |list: &[Format]| list.iter().find(|f| f.payload_type == number).cloned();
            named(&read).or_else(|| named(offered))
        })
        .collect()
}
