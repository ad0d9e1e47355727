//! Several audio streams in one session, as recording sessions have them: a negotiator for each line.

use std::net::IpAddr;

use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::state::{State, Verb};
use crate::sdp::negotiate::{Agreed, LocalMedia, Negotiator};
use crate::sdp::session::{Attribute, Connection, Media, Origin, SessionDescription};

/// The longest label (RFC 4574) that is kept.
const MAX_LABEL: usize = 64;

/// What the peer's open offer asks for on one media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The line's label (RFC 4574), if it has one.
    pub label: Option<String>,
    /// Whether it is audio that is not given up (port 0).
    pub is_audio: bool,
}

/// Negotiates any number of audio streams, each on a media line of its own, over the life of a session
/// (RFC 3264 §5.1, §8.1, §8.2).
///
/// A line keeps its place for ever: a stream that ends leaves it with port 0, and a later one may take
/// it over. Other media is refused line by line. Every error leaves everything as it was.
///
/// ```
/// use sidetone::sdp::attribute::{Direction, Format};
/// use sidetone::sdp::negotiate::LocalMedia;
/// use sidetone::sdp::negotiate::streams::Streams;
///
/// let media = |port, direction| LocalMedia {
///     direction,
///     ..LocalMedia::new("192.0.2.1".parse().unwrap(), port, vec![Format::pcmu()])
/// };
/// let address = "192.0.2.1".parse()?;
/// let mut client = Streams::new(1);
/// let mut server = Streams::new(2);
///
/// let sends = [4000, 4002].map(|port| Some((media(port, Direction::SendOnly), port.to_string())));
/// let offer = client.offer(address, &sends)?;
/// server.handle_offer(offer.as_bytes())?;
/// assert_eq!(server.offered()[1].label.as_deref(), Some("4002"));
/// let takes = [5000, 5002].map(|port| Some(media(port, Direction::ReceiveOnly)));
/// let (answer, agreed) = server.answer(address, &takes)?;
/// assert!(agreed.iter().flatten().all(|stream| stream.direction == Direction::ReceiveOnly));
/// assert_eq!(client.handle_answer(answer.as_bytes())?.iter().flatten().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Streams {
    session_id: u64,
    state: State,
    lines: Vec<Line>,
    version: u64,
    last_sent: Option<SessionDescription>,
    offer: Option<SessionDescription>,
}

/// One media line of the session.
#[derive(Debug, Clone)]
struct Line {
    /// `None` where the line carries nothing.
    negotiator: Option<Negotiator>,
    label: Option<String>,
    /// What the line looks like where it carries nothing.
    refused: Media,
}

impl Streams {
    /// A session without streams yet; `session_id` should be random.
    pub fn new(session_id: u64) -> Self {
        Self {
            session_id: session_id & (u64::MAX >> 1),
            state: State::Stable,
            lines: Vec::new(),
            version: 1,
            last_sent: None,
            offer: None,
        }
    }

    /// Where the exchange stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How many media lines the session has.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether the session has no media line yet.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Makes an offer: each stream with its label, `None` for lines that carry nothing (any more).
    ///
    /// # Errors
    /// [`NegotiationError::State`] while an exchange is open, [`NegotiationError::MediaLines`] where
    /// `locals` are fewer than the session has lines.
    pub fn offer(
        &mut self,
        address: IpAddr,
        locals: &[Option<(LocalMedia, String)>],
    ) -> Result<String, NegotiationError> {
        let next = self.next_state(Verb::Offer)?;
        if locals.len() < self.lines.len() {
            return Err(NegotiationError::MediaLines);
        }
        let mut lines = self.lines.clone();
        let mut media = Vec::new();
        for (index, local) in locals.iter().enumerate() {
            if index >= lines.len() {
                lines.push(Line::default());
            }
            let line = &mut lines[index];
            let Some((local, label)) = local else {
                line.negotiator = None;
                media.push(line.refused.clone());
                continue;
            };
            let mut negotiator = line.stream(self.session_id, Some(label));
            let text = negotiator.offer(local)?;
            media.push(labelled(only_media(&text)?, Some(label)));
            line.negotiator = Some(negotiator);
        }
        let text = self.print(address, media);
        self.lines = lines;
        self.state = next;
        Ok(text)
    }

    /// Takes the peer's answer: what is agreed on each line, `None` where the line carries nothing.
    ///
    /// # Errors
    /// [`NegotiationError`] where the answer cannot be read or does not fit our offer, which stays open.
    pub fn handle_answer(
        &mut self,
        answer: &[u8],
    ) -> Result<Vec<Option<Agreed>>, NegotiationError> {
        let next = self.next_state(Verb::HandleAnswer)?;
        let answer = SessionDescription::parse(answer)?;
        if answer.media.len() != self.lines.len() {
            return Err(NegotiationError::MediaLines);
        }
        let mut lines = self.lines.clone();
        let mut agreed = Vec::new();
        for (line, media) in lines.iter_mut().zip(&answer.media) {
            agreed.push(match &mut line.negotiator {
                None => None,
                Some(_) if media.port == 0 => {
                    line.negotiator = None;
                    None
                }
                Some(negotiator) => {
                    Some(negotiator.handle_answer(alone(&answer, media).as_bytes())?)
                }
            });
        }
        self.lines = lines;
        self.state = next;
        Ok(agreed)
    }

    /// Takes the peer's offer; [`Self::offered`] tells what is in it, [`Self::answer`] judges it.
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
        self.offer = Some(offer);
        self.state = next;
        Ok(())
    }

    /// The lines of the peer's open offer; none where there is no such offer.
    pub fn offered(&self) -> Vec<Offered> {
        let media = self.offer.iter().flat_map(|offer| &offer.media);
        let offered = media.map(|media| Offered {
            label: label_of(media),
            is_audio: media.kind == "audio" && media.port != 0,
        });
        offered.collect()
    }

    /// Answers the peer's open offer: a line with a local side is taken where it can be, every other
    /// one is refused with port 0.
    ///
    /// # Errors
    /// [`NegotiationError`] where audio is offered and none of it can be taken. The offer stays open.
    pub fn answer(
        &mut self,
        address: IpAddr,
        locals: &[Option<LocalMedia>],
    ) -> Result<(String, Vec<Option<Agreed>>), NegotiationError> {
        let next = self.next_state(Verb::Answer)?;
        let offer = self.offer.clone().ok_or(NegotiationError::NoAudio)?;
        let mut lines = self.lines.clone();
        let (mut media, mut agreed) = (Vec::new(), Vec::new());
        let mut fault = None;
        for (index, offered) in offer.media.iter().enumerate() {
            if index >= lines.len() {
                lines.push(Line::default());
            }
            let line = &mut lines[index];
            line.refused = refusing(offered);
            let is_audio = offered.kind == "audio" && offered.port != 0;
            let local = locals.get(index).and_then(Option::as_ref);
            let taken = match local.filter(|_| is_audio) {
                Some(local) => line.take(self.session_id, &offer, offered, local),
                None if is_audio => Err(NegotiationError::NoAudio),
                None => {
                    line.negotiator = None;
                    agreed.push(None);
                    media.push(line.refused.clone());
                    continue;
                }
            };
            match taken {
                Ok((own, stream)) => {
                    media.push(own);
                    agreed.push(Some(stream));
                }
                Err(error) => {
                    line.negotiator = None;
                    fault.get_or_insert(error);
                    media.push(line.refused.clone());
                    agreed.push(None);
                }
            }
        }
        let none = agreed.iter().all(Option::is_none);
        if let Some(error) = fault.filter(|_| none) {
            return Err(error);
        }
        if offer.media.is_empty() {
            return Err(NegotiationError::NoAudio);
        }
        let text = self.print(address, media);
        self.lines = lines;
        self.offer = None;
        self.state = next;
        Ok((text, agreed))
    }

    /// Gives up the open exchange; what was agreed before stays in force.
    ///
    /// # Errors
    /// [`NegotiationError::State`] where no exchange is open.
    pub fn withdraw(&mut self) -> Result<(), NegotiationError> {
        self.state = self.next_state(Verb::Withdraw)?;
        self.offer = None;
        for negotiator in self.lines.iter_mut().filter_map(|l| l.negotiator.as_mut()) {
            // Those without an open exchange are as they should be.
            let _stable = negotiator.withdraw();
        }
        Ok(())
    }

    fn next_state(&self, verb: Verb) -> Result<State, NegotiationError> {
        let state = self.state;
        state
            .after(verb)
            .ok_or(NegotiationError::State { state, verb })
    }

    /// The description; its version grows only where anything else has changed (RFC 3264 §8).
    fn print(&mut self, address: IpAddr, media: Vec<Media>) -> String {
        let mut description = SessionDescription {
            origin: Origin {
                username: "-".to_owned(),
                session_id: self.session_id.to_string(),
                version: self.version.to_string(),
                address: Connection::Ip(address),
            },
            connection: Some(Connection::Ip(address)),
            attributes: Vec::new(),
            media,
        };
        let last = self.last_sent.as_ref();
        if last.is_some_and(|last| *last != description) {
            self.version += 1;
            description.origin.version = self.version.to_string();
        }
        let text = description.to_string();
        self.last_sent = Some(description);
        text
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            negotiator: None,
            label: None,
            refused: nothing(),
        }
    }
}

impl Line {
    /// The line's negotiator: the one it has, or a new one where another stream takes the line over.
    fn stream(&mut self, session_id: u64, label: Option<&str>) -> Negotiator {
        let is_other = self.label.as_deref() != label;
        if is_other {
            self.negotiator = None;
            self.label = label.map(str::to_owned);
        }
        let known = self.negotiator.take();
        known.unwrap_or_else(|| Negotiator::new(session_id))
    }

    fn take(
        &mut self,
        session_id: u64,
        offer: &SessionDescription,
        offered: &Media,
        local: &LocalMedia,
    ) -> Result<(Media, Agreed), NegotiationError> {
        let label = label_of(offered);
        let mut negotiator = self.stream(session_id, label.as_deref());
        negotiator.handle_offer(alone(offer, offered).as_bytes())?;
        let (text, agreed) = negotiator.answer(local)?;
        self.negotiator = Some(negotiator);
        Ok((labelled(only_media(&text)?, label.as_deref()), agreed))
    }
}

/// The description of one stream, as if it were the only one.
fn alone(description: &SessionDescription, media: &Media) -> String {
    let ours = |attribute: &&Attribute| attribute.name != "group";
    let attributes = description.attributes.iter().filter(ours);
    let one = SessionDescription {
        origin: description.origin.clone(),
        connection: description.connection.clone(),
        attributes: attributes.cloned().collect(),
        media: vec![media.clone()],
    };
    one.to_string()
}

fn only_media(text: &str) -> Result<Media, NegotiationError> {
    let description = SessionDescription::parse(text.as_bytes())?;
    let media = description.media.into_iter().next();
    media.ok_or(NegotiationError::NoAudio)
}

fn labelled(mut media: Media, label: Option<&str>) -> Media {
    let label = label.map(|label| Attribute::new("label", label));
    media.attributes.extend(label);
    media
}

fn label_of(media: &Media) -> Option<String> {
    let fits = |label: &&str| !label.is_empty() && label.len() <= MAX_LABEL;
    media.value("label").filter(fits).map(str::to_owned)
}

/// A line that carries nothing.
fn nothing() -> Media {
    Media {
        kind: "audio".to_owned(),
        port: 0,
        protocol: "RTP/AVP".to_owned(),
        formats: vec!["0".to_owned()],
        connection: None,
        attributes: Vec::new(),
    }
}

/// How a line of the peer's is refused: one format suffices, and the grammar wants one (RFC 3264 §6).
fn refusing(offered: &Media) -> Media {
    let mut formats: Vec<String> = offered.formats.iter().take(1).cloned().collect();
    if formats.is_empty() {
        formats.push("0".to_owned());
    }
    Media {
        kind: offered.kind.clone(),
        protocol: offered.protocol.clone(),
        formats,
        ..nothing()
    }
}

#[cfg(test)]
mod tests;
