//! The offer/answer machine (RFC 3264).

pub mod control;
pub mod error;
pub mod formats;
mod remote;
pub mod security;
pub mod state;
pub mod streams;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::sdp::attribute::{Direction, Format, RecordPreference};
use crate::sdp::negotiate::control::{AgreedControl, LocalControl, Tags};
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::formats::{
    AgreedFormat, AnyParameters, Common, FormatRules, Numbers, TelephoneEventFormat,
    restore_formats,
};
use crate::sdp::negotiate::remote::RemoteAudio;
use crate::sdp::negotiate::security::{AgreedSecurity, LocalSecurity};
use crate::sdp::negotiate::state::{State, Verb};
use crate::sdp::session::{Attribute, Connection, Media, Origin, SessionDescription};
use crate::time::Duration;

/// About as long as a description of ours is, in bytes.
const USUAL_LENGTH: usize = 512;

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
#[derive(Debug, Clone)]
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
    /// What the parameters of a format (`a=fmtp`) mean for offer and answer. Default that any may be
    /// given, and that ours are told as they are.
    pub rules: Arc<dyn FormatRules>,
    /// Whether to negotiate redundant audio (RFC 2198) for each clock rate of the codecs. Default no.
    pub redundancy: bool,
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
    /// Whether the stream is protected, and our keys. Default that it is not.
    pub security: LocalSecurity,
    /// What we are ready for beside plain RTP and RTCP.
    pub control: LocalControl,
    /// What the peer is told of whether it is recorded (`a=record`). Default nothing.
    pub record: Option<Recorded>,
}

/// Whether a party is recorded, as it is told where it wants to know (RFC 7866 §7.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is.
    On,
    /// It is not.
    Off,
    /// It will be again.
    Paused,
}

impl Recorded {
    /// The value of `a=record`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Paused => "paused",
        }
    }
}

impl LocalMedia {
    /// Media at `address` and `rtp_port` with these codecs, everything else by default.
    pub fn new(address: IpAddr, rtp_port: u16, formats: Vec<Format>) -> Self {
        Self {
            address,
            rtp_port,
            rtcp_port: rtp_port.saturating_add(1),
            formats,
            rules: Arc::new(AnyParameters),
            redundancy: false,
            telephone_event: true,
            direction: Direction::SendReceive,
            ptime: Duration::from_millis(20),
            rtcp_mux: true,
            preference: Preference::Peer,
            security: LocalSecurity::default(),
            control: LocalControl::default(),
            record: None,
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
    /// Everything that may arrive, telephone-event and comfort noise included, in the order of
    /// preference.
    pub receive: Vec<AgreedFormat>,
    /// The payload type under which the peer takes `send` with redundancy (RFC 2198), if it does.
    pub redundancy: Option<u8>,
    /// How to send DTMF; `None` where the peer does not take telephone-event.
    pub telephone_event: Option<TelephoneEventFormat>,
    /// The packet time that the peer asks for, 10 to 120 ms.
    pub ptime: Option<Duration>,
    /// How the stream is protected; `None` for plain RTP.
    pub security: Option<AgreedSecurity>,
    /// What was agreed about RTCP and header extensions.
    pub control: AgreedControl,
    /// What the peer would like of being recorded (`a=recordpref`); `None` where it says nothing.
    pub record_preference: Option<RecordPreference>,
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
    numbers: Numbers,
    version: u64,
    last_sent: Option<SessionDescription>,
    /// What our open offer held.
    offered: Option<(LocalMedia, Vec<Format>)>,
    remote_offer: Option<SessionDescription>,
    tags: Tags,
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
            numbers: Numbers::default(),
            version: 1,
            last_sent: None,
            offered: None,
            remote_offer: None,
            tags: Tags::default(),
        }
    }

    /// Makes an offer: the first, or a later one that changes the session (RFC 3264 §5, §8).
    ///
    /// # Errors
    /// [`NegotiationError::State`] while an exchange is open, [`NegotiationError::NoCommonFormat`]
    /// where `local` has no codec.
    pub fn offer(&mut self, local: &LocalMedia) -> Result<String, NegotiationError> {
        let next = self.next_state(Verb::Offer)?;
        let protocol = local.security.protocol(&self.protocol)?;
        let formats = self.numbers.of_offer(local);
        if formats.is_empty() {
            return Err(NegotiationError::NoCommonFormat);
        }
        if !self.lines.contains(&Line::Audio) {
            self.lines.push(Line::Audio);
        }
        self.numbers.remember(&formats);
        self.protocol = protocol.to_owned();
        let mut media = self.media(local, &formats, local.direction, local.rtcp_mux);
        media
            .attributes
            .extend(security::lines(local.security.offered()));
        media.attributes.extend(control::offered(&local.control));
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
        let (index, remote, common, security) = self.choose(offer, local)?;
        let direction = remote.our_direction(local.direction);
        let answered: Vec<Format> = common.own().cloned().collect();
        let rtcp_mux = remote.rtcp_mux && local.rtcp_mux && may_share(&answered);
        let mut agreed = common.agree(&remote, direction, rtcp_mux)?;
        agreed.security = security;
        let offered = &offer.media[index];
        agreed.control = AgreedControl::new(&local.control, offered);
        let control = control::answered(&agreed.control, offered);
        self.tags = Tags::answering(offer, index);
        self.lines = offer.media.iter().map(Line::refusing).collect();
        self.lines[index] = Line::Audio;
        self.protocol.clone_from(&remote.protocol);
        self.numbers.remember(&remote.formats);
        let mut media = self.media(local, &answered, direction, rtcp_mux);
        let chosen = agreed.security.as_ref().map(|s| &s.local);
        media
            .attributes
            .extend(security::lines(chosen.map_or(&[], std::slice::from_ref)));
        media.attributes.extend(control);
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
    ) -> Result<(usize, RemoteAudio, Common, Option<AgreedSecurity>), NegotiationError> {
        let active = self.lines.iter().position(|line| *line == Line::Audio);
        let order = active
            .into_iter()
            .chain((0..offer.media.len()).filter(|index| Some(*index) != active));
        let mut error = NegotiationError::NoAudio;
        for index in order {
            let Some(media) = offer.media.get(index) else {
                continue;
            };
            let judged = RemoteAudio::read(offer, media, local.address).and_then(|remote| {
                let security = &local.security;
                let security = security.answering(&remote.protocol, &remote.crypto)?;
                Ok((index, Common::answering(&remote, local)?, remote, security))
            });
            match judged {
                Ok((index, common, remote, security)) => {
                    return Ok((index, remote, common, security));
                }
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
        let security = local.security.answered(&remote.protocol, &remote.crypto)?;
        let common = Common::answered(&remote, local, offered);
        let agreed = common.agree(&remote, direction, rtcp_mux)?;
        Ok(Agreed {
            security,
            control: AgreedControl::new(&local.control, media),
            ..agreed
        })
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
        let record = local.record.map(Recorded::name);
        attributes.extend(record.map(|state| Attribute::new("record", state)));
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
        let lines = self.lines.iter().enumerate();
        let tagged = |index: usize, mut media: Media| {
            media.attributes.extend(self.tags.mid(index));
            media
        };
        let lines = lines.map(|(index, line)| match line {
            Line::Audio => tagged(index, audio.clone()),
            Line::Refused {
                kind,
                protocol,
                formats,
            } => tagged(
                index,
                Media {
                    kind: kind.clone(),
                    port: 0,
                    protocol: protocol.clone(),
                    formats: formats.clone(),
                    connection: None,
                    attributes: Vec::new(),
                },
            ),
        });
        let mut description = SessionDescription {
            origin: Origin {
                username: "-".to_owned(),
                session_id: self.session_id.to_string(),
                version: self.version.to_string(),
                address: Connection::Ip(address),
            },
            connection: Some(Connection::Ip(address)),
            attributes: self.tags.group().into_iter().collect(),
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
        let mut text = String::with_capacity(USUAL_LENGTH);
        // Writing into memory does not fail.
        let _written = write!(text, "{description}");
        text.shrink_to_fit();
        self.last_sent = Some(description);
        text
    }
}

/// Whether RTP and RTCP can be told apart on one port: payload types 64 to 95 look like RTCP
/// (RFC 5761 §4).
fn may_share(formats: &[Format]) -> bool {
    formats
        .iter()
        .all(|format| !matches!(format.payload_type, 64..=95))
}

#[cfg(test)]
mod tests;
