//! The offer/answer machine (RFC 3264).

pub mod error;
mod remote;
pub mod state;

use std::net::{IpAddr, SocketAddr};

use crate::sdp::attribute::{Direction, EventSet, Format};
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::remote::RemoteAudio;
use crate::sdp::negotiate::state::{State, Verb};
use crate::sdp::session::{Attribute, Connection, Media, Origin, SessionDescription};
use crate::time::Duration;

/// The payload type that we offer telephone-event under where it is free; what everybody uses.
const TELEPHONE_EVENT_NUMBER: u8 = 101;

/// Whose order of codecs decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// The offerer's, as RFC 3264 §6.1 recommends. The default.
    #[default]
    Peer,
    /// Ours.
    Own,
}

/// What we can do and want, as the call layer states it for each offer or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// The address that the peer shall send to.
    pub address: IpAddr,
    /// Our RTP port.
    pub rtp_port: u16,
    /// Our RTCP port. Default the next one.
    pub rtcp_port: u16,
    /// Codecs in our order, without telephone-event. A dynamic payload type is a wish: numbers
    /// already used in the session, and the peer's in an answer, come first.
    pub formats: Vec<Format>,
    /// Whether to negotiate telephone-event for the codecs' clock rates. Default yes.
    pub telephone_event: bool,
    /// What we want: [`Direction::SendOnly`] holds the peer. Default both ways.
    pub direction: Direction,
    /// The packet time that we ask for. Default 20 ms.
    pub ptime: Duration,
    /// Whether RTP and RTCP may share a port (RFC 5761). Default yes.
    pub rtcp_mux: bool,
    /// Whose order of codecs decides in our answers. Default the peer's.
    pub preference: Preference,
}

impl LocalMedia {
    /// Media at `address` and `rtp_port` with these codecs, everything else by default.
    pub fn new(address: IpAddr, rtp_port: u16, formats: Vec<Format>) -> Self {
        Self {
            address,
            rtp_port,
            rtcp_port: rtp_port.saturating_add(1),
            formats,
            telephone_event: true,
            direction: Direction::SendReceive,
            ptime: Duration::from_millis(20),
            rtcp_mux: true,
            preference: Preference::Peer,
        }
    }
}

/// What both parties have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Where the peer takes RTP; `None` while it holds in the old style, with `c=0.0.0.0`.
    pub remote_rtp: Option<SocketAddr>,
    /// Where the peer takes RTCP: its RTP port where `rtcp_mux` is set.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTP and RTCP share a port, both ways.
    pub rtcp_mux: bool,
    /// Our direction: what we may send and should expect.
    pub direction: Direction,
    /// The peer does not take media: we are on hold.
    pub held: bool,
    /// The codec to send, under the payload type that the peer expects.
    pub send: Format,
    /// Everything that may arrive, telephone-event and comfort noise included, under our payload
    /// types.
    pub receive: Vec<Format>,
    /// How to send DTMF; `None` where the peer does not take telephone-event.
    pub telephone_event: Option<TelephoneEventFormat>,
    /// The packet time that the peer asks for, 10 to 120 ms.
    pub ptime: Option<Duration>,
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

/// How we answer to one media line of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Audio,
    Refused {
        kind: String,
        protocol: String,
        formats: Vec<String>,
    },
}

impl Line {
    fn refusing(media: &Media) -> Self {
        Self::Refused {
            kind: media.kind.clone(),
            protocol: media.protocol.clone(),
            // One format suffices, and the grammar wants one (RFC 3264 §6).
            formats: media.formats.iter().take(1).cloned().collect(),
        }
    }

    fn kind(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Refused { kind, .. } => kind,
        }
    }
}

/// Negotiates one audio stream over the life of a session (RFC 3264).
///
/// [`State`] says which verb is allowed when. Every error leaves the negotiator as it was. Of
/// several media lines the first acceptable audio is taken, the others are refused with port 0 and
/// keep their place in all later descriptions. A clone serves another dialog of a forked INVITE.
///
/// Answers are taken generously: formats that were not offered are left out, and a direction that
/// the offer does not allow counts as the nearest one that it does.
///
/// ```
/// use sidetone::sdp::attribute::Format;
/// use sidetone::sdp::negotiate::{LocalMedia, Negotiator};
///
/// let caller_media = LocalMedia::new("192.0.2.1".parse()?, 4000, vec![Format::pcmu()]);
/// let callee_media = LocalMedia::new("192.0.2.2".parse()?, 5000, vec![Format::pcma(), Format::pcmu()]);
/// let mut caller = Negotiator::new(1);
/// let mut callee = Negotiator::new(2);
///
/// let offer = caller.offer(&caller_media)?;
/// callee.handle_offer(offer.as_bytes())?;
/// let (answer, callee_agreed) = callee.answer(&callee_media)?;
/// let caller_agreed = caller.handle_answer(answer.as_bytes())?;
///
/// assert_eq!(caller_agreed.remote_rtp, Some("192.0.2.2:5000".parse()?));
/// assert_eq!(callee_agreed.send.encoding, "PCMU");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Negotiator {
    session_id: u64,
    state: State,
    /// The session's media lines, in order; none before the first exchange.
    lines: Vec<Line>,
    protocol: String,
    /// Which codec each payload type has meant in this session (RFC 3264 §8.3.2).
    numbers: Vec<Format>,
    version: u64,
    last_sent: Option<SessionDescription>,
    /// What our open offer held.
    offered: Option<(LocalMedia, Vec<Format>)>,
    remote_offer: Option<SessionDescription>,
}

impl Negotiator {
    /// A negotiator for a new session; `session_id` should be random. Its highest bit is not sent,
    /// since some peers read a signed number.
    pub fn new(session_id: u64) -> Self {
        Self {
            session_id: session_id & (u64::MAX >> 1),
            state: State::Stable,
            lines: Vec::new(),
            protocol: "RTP/AVP".to_owned(),
            numbers: Vec::new(),
            version: 1,
            last_sent: None,
            offered: None,
            remote_offer: None,
        }
    }

    /// Makes an offer: the first, or a later one that changes the session (RFC 3264 §5, §8).
    ///
    /// # Errors
    /// [`NegotiationError::State`] while an exchange is open, [`NegotiationError::NoCommonFormat`]
    /// where `local` has no codec.
    pub fn offer(&mut self, local: &LocalMedia) -> Result<String, NegotiationError> {
        let next = self.next_state(Verb::Offer)?;
        let formats = self.number_formats(local);
        if formats.is_empty() {
            return Err(NegotiationError::NoCommonFormat);
        }
        if !self.lines.contains(&Line::Audio) {
            self.lines.push(Line::Audio);
        }
        self.remember(&formats);
        let media = self.media(local, &formats, local.direction, local.rtcp_mux);
        let text = self.print(local.address, media);
        self.offered = Some((local.clone(), formats));
        self.state = next;
        Ok(text)
    }

    /// Takes the peer's offer; [`Negotiator::answer`] judges it.
    ///
    /// # Errors
    /// [`NegotiationError`] where the offer cannot be read, has fewer media lines than the session,
    /// or an exchange is open.
    pub fn handle_offer(&mut self, offer: &[u8]) -> Result<(), NegotiationError> {
        let next = self.next_state(Verb::HandleOffer)?;
        let offer = SessionDescription::parse(offer)?;
        if offer.media.len() < self.lines.len() {
            return Err(NegotiationError::MediaLines);
        }
        self.remote_offer = Some(offer);
        self.state = next;
        Ok(())
    }

    /// The address of the first audio in the peer's open offer, by which the call layer may choose
    /// an interface of ours.
    pub fn offered_address(&self) -> Option<IpAddr> {
        let offer = self.remote_offer.as_ref()?;
        let audio = offer.media.iter().find(|media| media.kind == "audio")?;
        remote::address_of(offer, audio).ok()
    }

    /// Answers the peer's open offer (RFC 3264 §6).
    ///
    /// # Errors
    /// [`NegotiationError`] where nothing in the offer is acceptable. The offer stays open: answer
    /// otherwise, or refuse it by [`NegotiationError::status`] and [`Negotiator::withdraw`].
    pub fn answer(&mut self, local: &LocalMedia) -> Result<(String, Agreed), NegotiationError> {
        let next = self.next_state(Verb::Answer)?;
        let offer = self.remote_offer.as_ref();
        let offer = offer.ok_or(NegotiationError::NoAudio)?;
        let (index, remote, common) = self.choose(offer, local)?;
        let direction = remote.our_direction(local.direction);
        let rtcp_mux = remote.rtcp_mux && local.rtcp_mux;
        let receive = common.receive();
        let agreed = common.agree(&remote, direction, rtcp_mux)?;
        self.lines = offer.media.iter().map(Line::refusing).collect();
        self.lines[index] = Line::Audio;
        self.protocol.clone_from(&remote.protocol);
        self.remember(&remote.formats);
        let media = self.media(local, &receive, direction, rtcp_mux);
        let text = self.print(local.address, media);
        self.remote_offer = None;
        self.state = next;
        Ok((text, agreed))
    }

    /// Takes an answer from a provisional response: media may flow by it, and the final response
    /// may repeat or change it.
    ///
    /// # Errors
    /// [`NegotiationError`] where the answer does not fit our offer.
    pub fn handle_early_answer(&mut self, answer: &[u8]) -> Result<Agreed, NegotiationError> {
        let next = self.next_state(Verb::HandleEarlyAnswer)?;
        let agreed = self.read_answer(answer)?;
        self.state = next;
        Ok(agreed)
    }

    /// Takes the peer's answer to our open offer.
    ///
    /// # Errors
    /// [`NegotiationError`] where the answer does not fit our offer, which stays open.
    pub fn handle_answer(&mut self, answer: &[u8]) -> Result<Agreed, NegotiationError> {
        let next = self.next_state(Verb::HandleAnswer)?;
        let agreed = self.read_answer(answer)?;
        self.offered = None;
        self.state = next;
        Ok(agreed)
    }

    /// Lets the early answer stand, where the final response has none.
    ///
    /// # Errors
    /// [`NegotiationError::State`] where there was no early answer.
    pub fn confirm(&mut self) -> Result<(), NegotiationError> {
        self.state = self.next_state(Verb::Confirm)?;
        self.offered = None;
        Ok(())
    }

    /// Gives up the open exchange: our offer was refused, or we refuse the peer's. What was agreed
    /// before stays in force (RFC 3264 §8).
    ///
    /// # Errors
    /// [`NegotiationError::State`] where no exchange is open.
    pub fn withdraw(&mut self) -> Result<(), NegotiationError> {
        self.state = self.next_state(Verb::Withdraw)?;
        self.offered = None;
        self.remote_offer = None;
        Ok(())
    }

    /// Where the exchange stands.
    pub fn state(&self) -> State {
        self.state
    }

    fn next_state(&self, verb: Verb) -> Result<State, NegotiationError> {
        let state = self.state;
        state
            .after(verb)
            .ok_or(NegotiationError::State { state, verb })
    }

    /// The first acceptable audio of an offer; the line that carried it before comes first.
    fn choose(
        &self,
        offer: &SessionDescription,
        local: &LocalMedia,
    ) -> Result<(usize, RemoteAudio, Common), NegotiationError> {
        let active = self.lines.iter().position(|line| *line == Line::Audio);
        let order = active
            .into_iter()
            .chain((0..offer.media.len()).filter(|index| Some(*index) != active));
        let mut error = NegotiationError::NoAudio;
        for index in order {
            let Some(media) = offer.media.get(index) else {
                continue;
            };
            let judged = RemoteAudio::read(offer, media, local.address)
                .and_then(|remote| Ok((Common::answering(&remote, local)?, remote)));
            match judged {
                Ok((common, remote)) => return Ok((index, remote, common)),
                // The first audio's fault is the one to report.
                Err(fault) if error == NegotiationError::NoAudio => error = fault,
                Err(_) => {}
            }
        }
        Err(error)
    }

    fn read_answer(&mut self, answer: &[u8]) -> Result<Agreed, NegotiationError> {
        let answer = SessionDescription::parse(answer)?;
        let (local, offered) = self.offered.as_ref().ok_or(NegotiationError::NoAudio)?;
        let same_kinds = answer
            .media
            .iter()
            .map(|media| media.kind.as_str())
            .eq(self.lines.iter().map(Line::kind));
        if !same_kinds {
            return Err(NegotiationError::MediaLines);
        }
        let index = self.lines.iter().position(|line| *line == Line::Audio);
        let media = index.and_then(|index| answer.media.get(index));
        let media = media.ok_or(NegotiationError::NoAudio)?;
        let mut remote = RemoteAudio::read(&answer, media, local.address)?;
        remote.formats = restore_formats(media, remote.formats, offered);
        let direction = remote.our_direction(local.direction);
        let rtcp_mux = remote.rtcp_mux && local.rtcp_mux;
        Common::answered(&remote, offered).agree(&remote, direction, rtcp_mux)
    }

    /// The formats of an offer of ours with their payload types.
    fn number_formats(&self, local: &LocalMedia) -> Vec<Format> {
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
        let used = self.numbers.iter().find(|used| used.matches(format));
        if let Some(used) = used {
            return Some(used.payload_type);
        }
        let wish = format.payload_type;
        let fixed = Format::from_static(wish).is_some_and(|fixed| fixed.matches(format));
        let is_free = |number: &u8| {
            let same = |other: &Format| other.payload_type == *number;
            !self.numbers.iter().any(same) && !taken.iter().any(same)
        };
        std::iter::once(wish)
            .filter(|wish| fixed || *wish >= 96)
            .chain(96..=127)
            .find(is_free)
    }

    fn remember(&mut self, formats: &[Format]) {
        for format in formats {
            self.numbers
                .retain(|held| held.payload_type != format.payload_type);
            self.numbers.push(format.clone());
        }
    }

    fn media(
        &self,
        local: &LocalMedia,
        formats: &[Format],
        direction: Direction,
        rtcp_mux: bool,
    ) -> Media {
        let mut attributes = Vec::new();
        for format in formats {
            attributes.push(Attribute::new("rtpmap", format));
            if let Some(fmtp) = &format.fmtp {
                let value = format!("{} {fmtp}", format.payload_type);
                attributes.push(Attribute::new("fmtp", value));
            }
        }
        attributes.push(Attribute::new("ptime", local.ptime.as_millis()));
        attributes.push(Attribute::flag(direction.name()));
        if Some(local.rtcp_port) != local.rtp_port.checked_add(1) {
            attributes.push(Attribute::new("rtcp", local.rtcp_port));
        }
        if rtcp_mux {
            attributes.push(Attribute::flag("rtcp-mux"));
        }
        Media {
            kind: "audio".to_owned(),
            port: local.rtp_port,
            protocol: self.protocol.clone(),
            formats: formats.iter().map(|f| f.payload_type.to_string()).collect(),
            connection: None,
            attributes,
        }
    }

    /// The description with `audio` in its place; its version grows only where anything else has
    /// changed (RFC 3264 §8).
    fn print(&mut self, address: IpAddr, audio: Media) -> String {
        let lines = self.lines.iter().map(|line| match line {
            Line::Audio => audio.clone(),
            Line::Refused {
                kind,
                protocol,
                formats,
            } => Media {
                kind: kind.clone(),
                port: 0,
                protocol: protocol.clone(),
                formats: formats.clone(),
                connection: None,
                attributes: Vec::new(),
            },
        });
        let mut description = SessionDescription {
            origin: Origin {
                username: "-".to_owned(),
                session_id: self.session_id.to_string(),
                version: self.version.to_string(),
                address: Connection::Ip(address),
            },
            connection: Some(Connection::Ip(address)),
            attributes: Vec::new(),
            media: lines.collect(),
        };
        if self
            .last_sent
            .as_ref()
            .is_some_and(|last| *last != description)
        {
            self.version += 1;
            description.origin.version = self.version.to_string();
        }
        let text = description.to_string();
        self.last_sent = Some(description);
        text
    }
}

/// Formats that both parties have, paired: as the peer numbers and describes them, and as we do.
#[derive(Debug)]
struct Common {
    codecs: Vec<(Format, Format)>,
    events: Vec<(Format, Format)>,
}

impl Common {
    /// What we have in common with an offer; its payload types are ours too (RFC 3264 §6.1).
    fn answering(remote: &RemoteAudio, local: &LocalMedia) -> Result<Self, NegotiationError> {
        let ours = |theirs: &Format, own: &Format| Format {
            payload_type: theirs.payload_type,
            ..own.clone()
        };
        let mut codecs = Vec::new();
        for theirs in remote.formats.iter().filter(|f| !f.is_telephone_event()) {
            let own = local.formats.iter().position(|own| own.matches(theirs));
            let twice = codecs
                .iter()
                .any(|(_, other, _): &(Format, Format, usize)| other.matches(theirs));
            if let (Some(rank), false) = (own, twice) {
                codecs.push((theirs.clone(), ours(theirs, &local.formats[rank]), rank));
            }
        }
        if local.preference == Preference::Own {
            codecs.sort_by_key(|(_, _, rank)| *rank);
        }
        let codecs: Vec<_> = codecs.into_iter().map(|(a, b, _)| (a, b)).collect();
        if codecs.iter().all(|(theirs, _)| theirs.is_comfort_noise()) {
            return Err(NegotiationError::NoCommonFormat);
        }
        let events = if local.telephone_event {
            matching_events(remote, &codecs)
        } else {
            Vec::new()
        };
        Ok(Self { codecs, events })
    }

    /// What an answer leaves of our offer.
    fn answered(remote: &RemoteAudio, offered: &[Format]) -> Self {
        let pairs = |events: bool| {
            remote
                .formats
                .iter()
                .filter(|theirs| theirs.is_telephone_event() == events)
                .filter_map(|theirs| {
                    let own = offered.iter().find(|own| own.matches(theirs))?;
                    Some((theirs.clone(), own.clone()))
                })
                .collect()
        };
        Self {
            codecs: pairs(false),
            events: pairs(true),
        }
    }

    fn receive(&self) -> Vec<Format> {
        let pairs = self.codecs.iter().chain(&self.events);
        pairs.map(|(_, own)| own.clone()).collect()
    }

    fn agree(
        &self,
        remote: &RemoteAudio,
        direction: Direction,
        rtcp_mux: bool,
    ) -> Result<Agreed, NegotiationError> {
        let (send, _) = self
            .codecs
            .iter()
            .find(|(theirs, _)| !theirs.is_comfort_noise())
            .ok_or(NegotiationError::NoCommonFormat)?;
        let with_rate = |rate| self.events.iter().find(|(f, _)| f.clock_rate == rate);
        let event = with_rate(send.clock_rate).or_else(|| with_rate(8000));
        Ok(Agreed {
            remote_rtp: remote.rtp,
            remote_rtcp: if rtcp_mux { remote.rtp } else { remote.rtcp },
            rtcp_mux,
            direction,
            held: remote.holds(),
            send: send.clone(),
            receive: self.receive(),
            telephone_event: event.map(|(theirs, own)| TelephoneEventFormat {
                send_payload_type: theirs.payload_type,
                receive_payload_type: own.payload_type,
                clock_rate: theirs.clock_rate,
                events: match &theirs.fmtp {
                    Some(list) => EventSet::parse(list),
                    None => EventSet::DIGITS,
                },
            }),
            ptime: remote.ptime,
        })
    }
}

/// The peer's telephone-event formats for the codecs' clock rates, or that of 8000 Hz where there
/// is none (RFC 4733 §2.1 wants the codec's rate, many peers know 8000 only).
fn matching_events(remote: &RemoteAudio, codecs: &[(Format, Format)]) -> Vec<(Format, Format)> {
    let events = || remote.formats.iter().filter(|f| f.is_telephone_event());
    let of_rate = |fits: &dyn Fn(u32) -> bool| {
        events()
            .filter(|theirs| fits(theirs.clock_rate))
            .map(|theirs| {
                let own = telephone_event(theirs.payload_type, theirs.clock_rate);
                (theirs.clone(), own)
            })
            .collect::<Vec<_>>()
    };
    let of_codecs = of_rate(&|rate| codecs.iter().any(|(codec, _)| codec.clock_rate == rate));
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
fn restore_formats(media: &Media, read: Vec<Format>, offered: &[Format]) -> Vec<Format> {
    let numbers = media.formats.iter().filter_map(|text| text.parse().ok());
    numbers
        .filter_map(|number: u8| {
            let named = |list: &[Format]| list.iter().find(|f| f.payload_type == number).cloned();
            named(&read).or_else(|| named(offered))
        })
        .collect()
}

#[cfg(test)]
mod tests;
