//! Dialog state documents: which calls somebody has, and how they stand (RFC 4235).

use std::collections::BTreeMap;

use super::xml::{Element, Writer, XmlError};

/// The media type of a dialog state document.
pub const DIALOG_INFO: &str = "application/dialog-info+xml";

/// The most dialogs of one document, and of what is kept of several.
const MAX_DIALOGS: usize = 256;

/// How a dialog stands (RFC 4235 §3.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DialogState {
    /// The INVITE is under way and nothing has come back.
    Trying,
    /// A provisional response without a tag has come back.
    Proceeding,
    /// It rings.
    Early,
    /// It is answered.
    Confirmed,
    /// It is over.
    Terminated,
}

impl DialogState {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Trying, "trying"),
        (Self::Proceeding, "proceeding"),
        (Self::Early, "early"),
        (Self::Confirmed, "confirmed"),
        (Self::Terminated, "terminated"),
    ];

    /// The word of the RFC.
    pub fn as_str(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(state, _)| *state == self)
            .map_or("", |(_, text)| text)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, word)| *word == text).map(|(state, _)| *state)
    }
}

/// Whether the one whose dialogs these are called or was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// They called.
    Initiator,
    /// They were called.
    Recipient,
}

/// One dialog of somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// What tells it from the others of the same entity.
    pub id: String,
    /// How it stands.
    pub state: DialogState,
    /// Who called.
    pub direction: Option<Direction>,
    /// Call-ID, our tag and the peer's, as the one whose dialog it is has them. Who knows them can
    /// ask for the call by Replaces.
    pub identifiers: Option<(String, String, String)>,
    /// The URI of the one whose dialog it is.
    pub local: Option<String>,
    /// The other party's URI.
    pub remote: Option<String>,
    /// The other party's name.
    pub remote_name: Option<String>,
}

impl Dialog {
    /// A dialog of which nothing but its state is known.
    pub fn new(id: &str, state: DialogState) -> Self {
        Self {
            id: id.to_owned(),
            state,
            direction: None,
            identifiers: None,
            local: None,
            remote: None,
            remote_name: None,
        }
    }
}

/// A dialog state document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialogInfo {
    /// Counts the documents of one subscription, from 0.
    pub version: u32,
    /// Whether only those dialogs stand in it that have changed.
    pub partial: bool,
    /// Whose dialogs they are.
    pub entity: String,
    /// The dialogs; 256 at most are read.
    pub dialogs: Vec<Dialog>,
}

impl DialogInfo {
    /// A full document of the first version.
    pub fn full(entity: &str, dialogs: Vec<Dialog>) -> Self {
        Self {
            version: 0,
            partial: false,
            entity: entity.to_owned(),
            dialogs,
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`XmlError`] where it is none.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let root = Element::parse(document)?;
        if root.name != "dialog-info" {
            return Err(XmlError::Unexpected("no dialog-info"));
        }
        let version = root.attribute("version").and_then(|v| v.parse().ok());
        let entity = root.attribute("entity");
        Ok(Self {
            version: version.ok_or(XmlError::Unexpected("no version"))?,
            partial: match root.attribute("state") {
                Some("full") => false,
                Some("partial") => true,
                _ => return Err(XmlError::Unexpected("neither full nor partial")),
            },
            entity: entity.ok_or(XmlError::Unexpected("no entity"))?.to_owned(),
            dialogs: root
                .all("dialog")
                .take(MAX_DIALOGS)
                .filter_map(dialog)
                .collect(),
        })
    }

    /// The document as it goes on the wire.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new();
        writer
            .open("dialog-info")
            .attribute("xmlns", "urn:ietf:params:xml:ns:dialog-info")
            .attribute("version", &self.version.to_string())
            .attribute("state", if self.partial { "partial" } else { "full" })
            .attribute("entity", &self.entity);
        for dialog in &self.dialogs {
            write(&mut writer, dialog);
        }
        writer.finish()
    }

    /// What somebody who knows `told` has yet to be told: the dialogs that are new or stand
    /// differently, and those that are gone, as terminated.
    pub fn since(&self, told: &Self, version: u32) -> Self {
        let before: BTreeMap<&str, &Dialog> =
            told.dialogs.iter().map(|d| (d.id.as_str(), d)).collect();
        let now: BTreeMap<&str, &Dialog> =
            self.dialogs.iter().map(|d| (d.id.as_str(), d)).collect();
        let changed = self.dialogs.iter();
        let changed = changed.filter(|d| before.get(d.id.as_str()) != Some(d));
        let gone = told.dialogs.iter();
        let gone = gone.filter(|d| !now.contains_key(d.id.as_str()));
        let gone = gone.filter(|d| d.state != DialogState::Terminated);
        let gone = gone.map(|dialog| Dialog {
            state: DialogState::Terminated,
            ..dialog.clone()
        });
        Self {
            version,
            partial: true,
            entity: self.entity.clone(),
            dialogs: changed.cloned().chain(gone).collect(),
        }
    }
}

fn dialog(element: &Element) -> Option<Dialog> {
    let state = DialogState::parse(element.text_of("state")?)?;
    let mut dialog = Dialog::new(element.attribute("id")?, state);
    dialog.direction = match element.attribute("direction") {
        Some("initiator") => Some(Direction::Initiator),
        Some("recipient") => Some(Direction::Recipient),
        _ => None,
    };
    let of = |name| element.attribute(name).map(str::to_owned);
    if let (Some(call), Some(local)) = (of("call-id"), of("local-tag")) {
        let remote = of("remote-tag").unwrap_or_default();
        dialog.identifiers = Some((call, local, remote));
    }
    let party = |name| element.child(name)?.child("identity");
    let uri = |identity: &Element| identity.text.clone();
    dialog.local = party("local").map(uri).filter(|uri| !uri.is_empty());
    if let Some(remote) = party("remote") {
        dialog.remote = Some(uri(remote)).filter(|uri| !uri.is_empty());
        let name = remote
            .attribute("display")
            .or(remote.attribute("display-name"));
        dialog.remote_name = name.map(str::to_owned);
    }
    Some(dialog)
}

fn write(writer: &mut Writer, dialog: &Dialog) {
    writer.open("dialog").attribute("id", &dialog.id);
    if let Some((call, local, remote)) = &dialog.identifiers {
        writer
            .attribute("call-id", call)
            .attribute("local-tag", local);
        if !remote.is_empty() {
            writer.attribute("remote-tag", remote);
        }
    }
    match dialog.direction {
        Some(Direction::Initiator) => {
            writer.attribute("direction", "initiator");
        }
        Some(Direction::Recipient) => {
            writer.attribute("direction", "recipient");
        }
        None => {}
    }
    writer.leaf("state", dialog.state.as_str());
    if let Some(local) = &dialog.local {
        writer.open("local").leaf("identity", local).close();
    }
    if let Some(remote) = &dialog.remote {
        writer.open("remote").open("identity");
        if let Some(name) = &dialog.remote_name {
            writer.attribute("display", name);
        }
        writer.text(remote).close().close();
    }
    writer.close();
}

/// What became of a document that was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// It is older than what is known, and was left out.
    Stale,
    /// One before it was missed: refresh the subscription, so that all dialogs are told again.
    Gap,
    /// It is taken in.
    Taken,
}

/// The dialogs of one entity, put together from full and partial documents (RFC 4235 §4.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialogs {
    version: Option<u32>,
    dialogs: BTreeMap<String, Dialog>,
}

impl Dialogs {
    /// The dialogs that are not over, by their names.
    pub fn iter(&self) -> impl Iterator<Item = &Dialog> {
        self.dialogs.values()
    }

    /// Dialogs that are not over.
    pub fn len(&self) -> usize {
        self.dialogs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dialogs.is_empty()
    }

    /// Takes in a document of the same subscription.
    pub fn merge(&mut self, info: &DialogInfo) -> Merged {
        match self.version {
            Some(known) if info.version <= known => return Merged::Stale,
            Some(known) if info.partial && info.version != known + 1 => return Merged::Gap,
            None if info.partial => return Merged::Gap,
            _ => {}
        }
        self.version = Some(info.version);
        if !info.partial {
            self.dialogs.clear();
        }
        for dialog in &info.dialogs {
            if dialog.state == DialogState::Terminated {
                self.dialogs.remove(&dialog.id);
            } else if self.dialogs.len() < MAX_DIALOGS || self.dialogs.contains_key(&dialog.id) {
                self.dialogs.insert(dialog.id.clone(), dialog.clone());
            }
        }
        Merged::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(id: &str, state: DialogState) -> Dialog {
        Dialog {
            direction: Some(Direction::Recipient),
            local: Some("sip:alice@pbx.example".into()),
            remote: Some("sip:bob@pbx.example".into()),
            remote_name: Some("Bob <\"&\">".into()),
            identifiers: Some(("call".into(), "ours".into(), "theirs".into())),
            ..Dialog::new(id, state)
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // After RFC 4235 §6.1.
        let text = br#"<?xml version="1.0"?>
            <dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full"
             entity="sip:alice@example.com"><dialog id="as7d900as8" call-id="a84b4c76e66710"
             local-tag="1928301774" direction="initiator"><state event="rejected" code="486"
             >terminated</state><duration>274</duration><local><target uri="sip:alice@pc33.example.com">
             </target></local></dialog><dialog id="x"><state>dancing</state></dialog></dialog-info>"#;
        let info = DialogInfo::parse(text).unwrap();
        assert_eq!((info.version, info.partial), (1, false));
        // A state that nobody knows is passed over.
        let [only] = &info.dialogs[..] else {
            panic!("{info:?}");
        };
        assert_eq!(only.state, DialogState::Terminated);
        assert_eq!(only.direction, Some(Direction::Initiator));
        let ids = only.identifiers.as_ref().unwrap();
        assert_eq!((ids.0.as_str(), ids.2.as_str()), ("a84b4c76e66710", ""));
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let states = DialogState::ALL.iter().enumerate();
        let dialogs = states.map(|(n, (state, _))| dialog(&n.to_string(), *state));
        let info = DialogInfo::full("sip:alice@pbx.example", dialogs.collect());
        let again = DialogInfo::parse(info.to_xml().as_bytes()).unwrap();
        assert_eq!(again, info);
    }

    #[test]
    fn partial_documents_lead_to_the_same_as_full_ones() {
        let mut rng = crate::rng::Rng::new(3);
        let mut told = DialogInfo::full("sip:a@b", Vec::new());
        let mut table = Dialogs::default();
        assert_eq!(table.merge(&told), Merged::Taken);
        for version in 1..500 {
            let mut next = told.clone();
            let id = rng.below(6).to_string();
            next.dialogs.retain(|d| d.id != id);
            if rng.below(3) > 0 {
                let (state, _) = DialogState::ALL[rng.below(4) as usize];
                next.dialogs.push(dialog(&id, state));
            }
            let news = next.since(&told, version);
            let news = DialogInfo::parse(news.to_xml().as_bytes()).unwrap();
            assert_eq!(table.merge(&news), Merged::Taken);
            let mut all: Vec<_> = next.dialogs.clone();
            all.sort_by(|a, b| a.id.cmp(&b.id));
            let merged: Vec<_> = table.iter().cloned().collect();
            assert_eq!(merged, all, "version {version}");
            told = next;
        }
    }

    #[test]
    fn a_gap_asks_for_everything_again() {
        let mut table = Dialogs::default();
        let mut info = DialogInfo::full("sip:a@b", vec![dialog("1", DialogState::Early)]);
        info.partial = true;
        assert_eq!(table.merge(&info), Merged::Gap);
        info.partial = false;
        assert_eq!(table.merge(&info), Merged::Taken);
        assert_eq!(table.merge(&info), Merged::Stale);
        (info.version, info.partial) = (2, true);
        assert_eq!(table.merge(&info), Merged::Gap);
        info.partial = false;
        info.dialogs.clear();
        assert_eq!(table.merge(&info), Merged::Taken);
        assert!(table.is_empty());
        info.version = u32::MAX;
        assert_eq!(table.merge(&info), Merged::Taken);
        info.partial = true;
        assert_eq!(table.merge(&info), Merged::Stale);
    }

    #[test]
    fn what_lacks_the_essential_is_refused() {
        for text in [
            "<dialog-info version='1' state='full'/>",
            "<dialog-info version='x' state='full' entity='e'/>",
            "<dialog-info version='1' state='half' entity='e'/>",
            "<presence entity='e'/>",
        ] {
            assert!(DialogInfo::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
