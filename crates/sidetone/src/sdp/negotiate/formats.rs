//! Which formats offer and answer have in common, and under which payload types.

use std::fmt;

use crate::sdp::attribute::{Direction, EventSet, Format};
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
    events: Vec<AgreedFormat>,
}

impl Common {
    /// What we have in common with an offer; its payload types are ours too (RFC 3264 §6.1).
    pub(super) fn answering(
        remote: &RemoteAudio,
        local: &LocalMedia,
    ) -> Result<Self, NegotiationError> {
        let mut codecs: Vec<(usize, AgreedFormat)> = Vec::new();
        for theirs in remote.formats.iter().filter(|f| !f.is_telephone_event()) {
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
        Ok(Self { codecs, events })
    }

    /// What an answer leaves of our offer, which was made for `local`.
    pub(super) fn answered(remote: &RemoteAudio, local: &LocalMedia, offered: &[Format]) -> Self {
        let mut codecs = Vec::new();
        let mut events = Vec::new();
        for theirs in &remote.formats {
            let own = if theirs.is_telephone_event() {
                offered.iter().find(|own| own.matches(theirs))
            } else {
                agreeable(local, offered, theirs).map(|(rank, _)| &offered[rank])
            };
            let Some(own) = own.cloned() else {
                continue;
            };
            let list = if own.is_telephone_event() {
                &mut events
            } else {
                &mut codecs
            };
            let theirs = theirs.clone();
            list.push(AgreedFormat { own, theirs });
        }
        Self { codecs, events }
    }

    /// The formats as we number and describe them.
    pub(super) fn own(&self) -> impl Iterator<Item = &Format> {
        let all = self.codecs.iter().chain(&self.events);
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
        Ok(Agreed {
            remote_rtp: remote.rtp,
            remote_rtcp: if rtcp_mux { remote.rtp } else { remote.rtcp },
            rtcp_mux,
            direction,
            held: remote.holds(),
            send,
            receive: self.codecs.into_iter().chain(self.events).collect(),
            telephone_event,
            ptime: remote.ptime,
            security: None,
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
