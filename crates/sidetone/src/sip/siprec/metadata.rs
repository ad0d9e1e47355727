//! Recording metadata (RFC 7865): who takes part in what is recorded, and which stream is whose.

use crate::sip::event::xml::{Element, Writer, XmlError};
use crate::sip::header::date::timestamp;
use crate::time::WallTime;

/// The media type of recording metadata (RFC 7866 §9.1).
pub const METADATA: &str = "application/rs-metadata+xml";

/// The name space of its documents (RFC 7865 §10.1).
const NAMESPACE: &str = "urn:ietf:params:xml:ns:recording:1";

/// The most elements of one kind that are kept; further ones are left out.
pub const MAX_ITEMS: usize = 64;

/// The longest text that is kept of any value, in bytes; identifiers that are longer are left out.
pub const MAX_TEXT: usize = 256;

/// The most names of one participant, and the most streams that one sends or receives.
const MAX_NAMES: usize = 16;

/// Whether a document says everything, or only what has changed (RFC 7865 §5.1, §7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataMode {
    /// Everything; what it does not say is over. The default.
    #[default]
    Complete,
    /// Only what has changed.
    Partial,
}

/// When something began and ended, as dates of XML; not checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// The beginning, if it is told.
    pub from: Option<String>,
    /// The end; `None` while it lasts.
    pub until: Option<String>,
}

impl Span {
    /// Since `wall`.
    pub fn since(wall: WallTime) -> Self {
        Self {
            from: Some(timestamp(wall)),
            until: None,
        }
    }

    /// The same, over since `wall`.
    #[must_use]
    pub fn ended(mut self, wall: WallTime) -> Self {
        self.until = Some(timestamp(wall));
        self
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.until.is_some()
    }
}

/// Sessions that belong together (RFC 7865 §6.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its identifier.
    pub id: String,
    /// When it was recorded.
    pub span: Span,
}

/// One communication session (RFC 7865 §6.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Communication {
    /// Its identifier.
    pub id: String,
    /// The group that it belongs to.
    pub group: Option<String>,
    /// The values of Session-ID (RFC 7989) of its dialogs.
    pub sip_session_ids: Vec<String>,
    /// Why it ended.
    pub reason: Option<String>,
    /// When it took place.
    pub span: Span,
}

/// One party (RFC 7865 §6.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Participant {
    /// Its identifier.
    pub id: String,
    /// Its addresses of record, each with a name to show.
    pub names: Vec<(String, Option<String>)>,
}

impl Participant {
    /// A party at `aor`.
    pub fn new(id: &str, aor: &str, name: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            names: vec![(aor.to_owned(), name.map(str::to_owned))],
        }
    }

    /// The first name to show, or else the first address.
    pub fn shown(&self) -> Option<&str> {
        let named = self.names.iter().find_map(|(_, name)| name.as_deref());
        named.or_else(|| self.names.first().map(|(aor, _)| aor.as_str()))
    }

    /// The first address of record.
    pub fn aor(&self) -> Option<&str> {
        self.names.first().map(|(aor, _)| aor.as_str())
    }
}

/// One media stream of the recording session (RFC 7865 §6.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// Its identifier.
    pub id: String,
    /// The communication session that it is of.
    pub session: Option<String>,
    /// The label of its media line (`a=label`).
    pub label: Option<String>,
}

/// That a party takes part in a communication session (RFC 7865 §6.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attendance {
    /// The party.
    pub participant: String,
    /// The communication session.
    pub session: String,
    /// When it did.
    pub span: Span,
}

/// Which streams a party sends and receives (RFC 7865 §6.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// The party.
    pub participant: String,
    /// The streams that it sends.
    pub sends: Vec<String>,
    /// The streams that it receives.
    pub receives: Vec<String>,
    /// When it did.
    pub span: Span,
}

/// What is known of what is recorded.
///
/// ```
/// use sidetone::sip::siprec::metadata::{Flow, Metadata, Participant, Stream};
///
/// let mut metadata = Metadata::default();
/// metadata.participants.push(Participant::new("p1", "sip:bob@pbx.example", Some("Bob")));
/// metadata.streams.push(Stream {
///     id: "s1".into(),
///     label: Some("96".into()),
///     ..Stream::default()
/// });
/// metadata.flows.push(Flow {
///     participant: "p1".into(),
///     sends: vec!["s1".into()],
///     ..Flow::default()
/// });
/// let read = Metadata::parse(metadata.to_xml().as_bytes())?;
/// assert_eq!(read.speaker("96").and_then(Participant::shown), Some("Bob"));
/// # Ok::<(), sidetone::sip::event::xml::XmlError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Whether this is everything.
    pub mode: DataMode,
    /// The groups of sessions.
    pub groups: Vec<Group>,
    /// The communication sessions.
    pub sessions: Vec<Communication>,
    /// The parties.
    pub participants: Vec<Participant>,
    /// The streams.
    pub streams: Vec<Stream>,
    /// Which communication sessions the recording session has been recording, and when: identifier and
    /// span (RFC 7865 §6.4).
    pub recorded: Vec<(String, Span)>,
    /// Who took part in which session.
    pub attendances: Vec<Attendance>,
    /// Who sends and receives which streams.
    pub flows: Vec<Flow>,
}

impl Metadata {
    /// Reads a document. What extensions and earlier drafts have put in it is read as far as it can be
    /// understood, and passed over otherwise.
    ///
    /// # Errors
    /// [`XmlError`] where it is none.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let root = Element::parse(document)?;
        if root.name != "recording" && root.name != "recording-metadata" {
            return Err(XmlError::Unexpected("no recording"));
        }
        let mode = root.text_of("datamode").or(root.text_of("dataMode"));
        let mut metadata = Self {
            mode: match mode {
                Some(mode) if mode.eq_ignore_ascii_case("partial") => DataMode::Partial,
                _ => DataMode::Complete,
            },
            ..Self::default()
        };
        for element in &root.children {
            metadata.take(element);
        }
        Ok(metadata)
    }

    fn take(&mut self, element: &Element) {
        match element.name.as_str() {
            "group" => keep(&mut self.groups, group(element)),
            "session" => keep(&mut self.sessions, communication(element)),
            "participant" => {
                // Drafts before the RFC had the streams within the participant.
                keep(
                    &mut self.flows,
                    flow(element).filter(|flow| !flow.sends.is_empty()),
                );
                keep(&mut self.participants, participant(element));
            }
            "stream" => keep(&mut self.streams, stream(element)),
            "sessionrecordingassoc" => {
                let id = id(element, &["session_id"]);
                keep(&mut self.recorded, id.map(|id| (id, span(element))));
            }
            "participantsessionassoc" => keep(&mut self.attendances, attendance(element)),
            "participantstreamassoc" => keep(&mut self.flows, flow(element)),
            _ => {}
        }
    }

    /// Takes in what a later document says: all of it, or what has changed.
    pub fn update(&mut self, later: Self) {
        if later.mode == DataMode::Complete {
            *self = later;
            return;
        }
        merge(&mut self.groups, later.groups, |it| it.id.clone());
        merge(&mut self.sessions, later.sessions, |it| it.id.clone());
        merge(&mut self.participants, later.participants, |it| {
            it.id.clone()
        });
        merge(&mut self.streams, later.streams, |it| it.id.clone());
        merge(&mut self.recorded, later.recorded, |it| it.0.clone());
        merge(&mut self.attendances, later.attendances, |it| {
            (it.participant.clone(), it.session.clone())
        });
        merge(&mut self.flows, later.flows, |it| it.participant.clone());
    }

    /// The party whose voice is on the stream of this label; `None` where that is not said, or no
    /// longer so.
    pub fn speaker(&self, label: &str) -> Option<&Participant> {
        let labelled = |stream: &&Stream| stream.label.as_deref() == Some(label);
        // A label may have been another stream's before.
        let stream = self.streams.iter().rev().find(labelled)?;
        let sends = |flow: &&Flow| flow.sends.contains(&stream.id) && !flow.span.is_over();
        let flow = self.flows.iter().find(sends)?;
        self.participant(&flow.participant)
    }

    /// The party of this identifier.
    pub fn participant(&self, id: &str) -> Option<&Participant> {
        self.participants.iter().find(|it| it.id == id)
    }

    /// Whether there is enough to know who speaks on the stream of a label: somebody sends it, or nobody does since
    /// somebody who is there says nothing ([`is_silent`](Self::is_silent)).
    pub fn explains(&self, label: &str) -> bool {
        self.speaker(label).is_some() || self.is_silent(label)
    }

    /// Whether the stream of a label is known, nobody sends it, and a party that is still there sends nothing at all: it
    /// is on hold, and the stream is its own.
    pub fn is_silent(&self, label: &str) -> bool {
        let mut streams = self.streams.iter();
        let is_known = streams.any(|stream| stream.label.as_deref() == Some(label));
        let says_nothing = |party: &Participant| {
            let mut attended = self.attendances.iter().peekable();
            let is_here = attended.peek().is_none()
                || attended.any(|it| it.participant == party.id && !it.span.is_over());
            let flows = self.flows.iter().filter(|it| it.participant == party.id);
            let mut sending = flows.clone().filter(|it| !it.span.is_over());
            is_here && flows.count() > 0 && sending.all(|it| it.sends.is_empty())
        };
        is_known && self.speaker(label).is_none() && self.participants.iter().any(says_nothing)
    }

    /// The document as it goes on the wire.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new();
        writer.open("recording").attribute("xmlns", NAMESPACE);
        writer.leaf(
            "datamode",
            match self.mode {
                DataMode::Complete => "complete",
                DataMode::Partial => "partial",
            },
        );
        for group in &self.groups {
            writer.open("group").attribute("group_id", &group.id);
            association(&mut writer, &group.span);
            writer.close();
        }
        for session in &self.sessions {
            session.write(&mut writer);
        }
        for participant in &self.participants {
            participant.write(&mut writer);
        }
        for stream in &self.streams {
            writer.open("stream").attribute("stream_id", &stream.id);
            if let Some(session) = &stream.session {
                writer.attribute("session_id", session);
            }
            if let Some(label) = &stream.label {
                writer.leaf("label", label);
            }
            writer.close();
        }
        self.write_associations(&mut writer);
        writer.finish()
    }

    fn write_associations(&self, writer: &mut Writer) {
        for (session, span) in &self.recorded {
            writer.open("sessionrecordingassoc");
            writer.attribute("session_id", session);
            association(writer, span);
            writer.close();
        }
        for attendance in &self.attendances {
            writer.open("participantsessionassoc");
            writer.attribute("participant_id", &attendance.participant);
            writer.attribute("session_id", &attendance.session);
            association(writer, &attendance.span);
            writer.close();
        }
        for flow in &self.flows {
            writer.open("participantstreamassoc");
            writer.attribute("participant_id", &flow.participant);
            for stream in &flow.sends {
                writer.leaf("send", stream);
            }
            for stream in &flow.receives {
                writer.leaf("recv", stream);
            }
            association(writer, &flow.span);
            writer.close();
        }
    }
}

impl Communication {
    fn write(&self, writer: &mut Writer) {
        writer.open("session").attribute("session_id", &self.id);
        for id in &self.sip_session_ids {
            writer.leaf("sipSessionID", id);
        }
        if let Some(reason) = &self.reason {
            writer.leaf("reason", reason);
        }
        if let Some(group) = &self.group {
            writer.leaf("group-ref", group);
        }
        if let Some(from) = &self.span.from {
            writer.leaf("start-time", from);
        }
        if let Some(until) = &self.span.until {
            writer.leaf("stop-time", until);
        }
        writer.close();
    }
}

impl Participant {
    fn write(&self, writer: &mut Writer) {
        writer
            .open("participant")
            .attribute("participant_id", &self.id);
        for (aor, name) in &self.names {
            writer.open("nameID").attribute("aor", aor);
            if let Some(name) = name {
                writer.leaf("name", name);
            }
            writer.close();
        }
        writer.close();
    }
}

fn association(writer: &mut Writer, span: &Span) {
    if let Some(from) = &span.from {
        writer.leaf("associate-time", from);
    }
    if let Some(until) = &span.until {
        writer.leaf("disassociate-time", until);
    }
}

fn group(element: &Element) -> Option<Group> {
    Some(Group {
        id: id(element, &["group_id", "id"])?,
        span: span(element),
    })
}

fn communication(element: &Element) -> Option<Communication> {
    let sessions = element.all("sipSessionID").take(MAX_NAMES);
    Some(Communication {
        id: id(element, &["session_id", "id"])?,
        group: element.text_of("group-ref").and_then(short),
        sip_session_ids: sessions.filter_map(|it| short(&it.text)).collect(),
        reason: element.text_of("reason").map(cut),
        span: span(element),
    })
}

fn participant(element: &Element) -> Option<Participant> {
    let names = element.all("nameID").take(MAX_NAMES).filter_map(|it| {
        let aor = it.attribute("aor").and_then(short)?;
        Some((aor, it.text_of("name").map(cut)))
    });
    let mut names: Vec<_> = names.collect();
    // As drafts before the RFC had it.
    if let Some(aor) = element.text_of("aor").and_then(short) {
        names.push((aor, element.text_of("name").map(cut)));
    }
    Some(Participant {
        id: id(element, &["participant_id", "id"])?,
        names,
    })
}

fn stream(element: &Element) -> Option<Stream> {
    Some(Stream {
        id: id(element, &["stream_id", "id"])?,
        session: id(element, &["session_id", "session"]),
        label: element.text_of("label").and_then(short),
    })
}

fn attendance(element: &Element) -> Option<Attendance> {
    Some(Attendance {
        participant: id(element, &["participant_id"])?,
        session: id(element, &["session_id"])?,
        span: span(element),
    })
}

fn flow(element: &Element) -> Option<Flow> {
    let all = |name| {
        let streams = element.all(name).take(MAX_NAMES);
        streams.filter_map(|it| short(&it.text)).collect()
    };
    Some(Flow {
        participant: id(element, &["participant_id", "id"])?,
        sends: all("send"),
        receives: all("recv"),
        span: span(element),
    })
}

fn span(element: &Element) -> Span {
    let read = |names: [&str; 2]| {
        let mut found = names.into_iter().filter_map(|name| element.text_of(name));
        found.next().and_then(short)
    };
    Span {
        from: read(["associate-time", "start-time"]),
        until: read(["disassociate-time", "stop-time"]),
    }
}

fn id(element: &Element, names: &[&str]) -> Option<String> {
    let mut found = names.iter().filter_map(|name| element.attribute(name));
    found.next().and_then(short)
}

/// The text, where it is one and not too long.
fn short(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= MAX_TEXT;
    fits.then(|| text.to_owned())
}

/// As much of the text as is kept.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text[..end].to_owned()
}

fn keep<T>(items: &mut Vec<T>, item: Option<T>) {
    if items.len() < MAX_ITEMS {
        items.extend(item);
    }
}

/// Puts later items in the place of those of the same key, or behind them all.
fn merge<T, K: PartialEq>(items: &mut Vec<T>, later: Vec<T>, key: impl Fn(&T) -> K) {
    for item in later {
        let known = items.iter().position(|it| key(it) == key(&item));
        match known.and_then(|place| items.get_mut(place)) {
            Some(place) => *place = item,
            None => keep(items, Some(item)),
        }
    }
}

#[cfg(test)]
mod tests;
