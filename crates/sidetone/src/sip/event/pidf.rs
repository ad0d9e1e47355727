//! Presence documents: PIDF with basic status and notes (RFC 3863).

use super::xml::{Element, Writer, XmlError};

/// The media type of a presence document.
pub const PIDF: &str = "application/pidf+xml";

/// The most tuples of a document that are kept.
const MAX_TUPLES: usize = 64;

/// How somebody may be reached, in one document.
///
/// ```
/// use sidetone::sip::event::pidf::{Presence, Tuple};
///
/// let mut presence = Presence::new("pres:alice@pbx.example");
/// presence.tuples.push(Tuple::new("desk", true));
/// let again = Presence::parse(presence.to_xml().as_bytes())?;
/// assert!(again.is_open());
/// # Ok::<(), sidetone::sip::event::xml::XmlError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whose presence it is, a `pres:` or `sip:` URI.
    pub entity: String,
    /// The ways to reach them; 64 at most are read.
    pub tuples: Vec<Tuple>,
    /// What there is to say about all of them.
    pub notes: Vec<String>,
}

/// One way to reach somebody (RFC 3863 §4.1.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuple {
    /// What tells it from the others of the same document.
    pub id: String,
    /// The basic status: open, closed, or neither said.
    pub open: Option<bool>,
    /// The URI to reach it by.
    pub contact: Option<String>,
    /// What there is to say about it.
    pub note: Option<String>,
}

impl Tuple {
    /// A tuple that is open or closed, and nothing else.
    pub fn new(id: &str, open: bool) -> Self {
        Self {
            id: id.to_owned(),
            open: Some(open),
            ..Self::default()
        }
    }
}

impl Presence {
    /// A document about `entity` that says nothing yet.
    pub fn new(entity: &str) -> Self {
        Self {
            entity: entity.to_owned(),
            ..Self::default()
        }
    }

    /// Whether any tuple is open.
    pub fn is_open(&self) -> bool {
        self.tuples.iter().any(|tuple| tuple.open == Some(true))
    }

    /// The first note, of a tuple or of all.
    pub fn note(&self) -> Option<&str> {
        let tuples = self.tuples.iter().filter_map(|tuple| tuple.note.as_deref());
        tuples.chain(self.notes.iter().map(String::as_str)).next()
    }

    /// Reads a document. Extensions such as RPID are passed over.
    ///
    /// # Errors
    /// [`XmlError`] where it is none.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        let root = Element::parse(document)?;
        if root.name != "presence" {
            return Err(XmlError::Unexpected("no presence"));
        }
        let entity = root.attribute("entity");
        Ok(Self {
            entity: entity.ok_or(XmlError::Unexpected("no entity"))?.to_owned(),
            tuples: root.all("tuple").take(MAX_TUPLES).map(tuple).collect(),
            notes: notes(&root),
        })
    }

    /// The document as it goes on the wire.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new();
        writer
            .open("presence")
            .attribute("xmlns", "urn:ietf:params:xml:ns:pidf")
            .attribute("entity", &self.entity);
        for tuple in &self.tuples {
            writer.open("tuple").attribute("id", &tuple.id);
            writer.open("status");
            if let Some(open) = tuple.open {
                writer.leaf("basic", if open { "open" } else { "closed" });
            }
            writer.close();
            if let Some(contact) = &tuple.contact {
                writer.leaf("contact", contact);
            }
            if let Some(note) = &tuple.note {
                writer.leaf("note", note);
            }
            writer.close();
        }
        for note in &self.notes {
            writer.leaf("note", note);
        }
        writer.finish()
    }
}

fn tuple(element: &Element) -> Tuple {
    let status = element.child("status");
    let basic = status.and_then(|status| status.text_of("basic"));
    Tuple {
        id: element.attribute("id").unwrap_or_default().to_owned(),
        open: match basic {
            Some("open") => Some(true),
            Some("closed") => Some(false),
            _ => None,
        },
        contact: element.text_of("contact").map(str::to_owned),
        note: notes(element).into_iter().next(),
    }
}

fn notes(element: &Element) -> Vec<String> {
    let notes = element.all("note").filter(|note| !note.text.is_empty());
    notes
        .take(MAX_TUPLES)
        .map(|note| note.text.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // After RFC 3863 §5.
        let text = br#"<?xml version="1.0" encoding="UTF-8"?>
            <impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf" entity="pres:someone@example.com">
              <impp:tuple id="sg89ae"><impp:status><impp:basic>open</impp:basic></impp:status>
                <impp:contact priority="0.8">tel:+09012345678</impp:contact></impp:tuple>
              <impp:note xml:lang="en">Don't Disturb Please!</impp:note>
            </impp:presence>"#;
        let presence = Presence::parse(text).unwrap();
        assert_eq!(presence.entity, "pres:someone@example.com");
        assert!(presence.is_open());
        assert_eq!(presence.note(), Some("Don't Disturb Please!"));
        assert_eq!(presence.tuples[0].id, "sg89ae");
        let contact = presence.tuples[0].contact.as_deref();
        assert_eq!(contact, Some("tel:+09012345678"));
        let again = Presence::parse(presence.to_xml().as_bytes()).unwrap();
        assert_eq!(again, presence);
    }

    #[test]
    fn a_status_that_says_nothing_is_neither() {
        let text = b"<presence entity='x'><tuple id='1'><status/></tuple><tuple/></presence>";
        let presence = Presence::parse(text).unwrap();
        assert_eq!(presence.tuples.len(), 2);
        assert!(presence.tuples.iter().all(|tuple| tuple.open.is_none()));
        assert!(!presence.is_open());
        assert!(Presence::parse(b"<presence/>").is_err());
        assert!(Presence::parse(b"<dialog-info entity='x'/>").is_err());
    }
}
