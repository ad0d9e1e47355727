//! XML as event packages use it: a small tree, read within bounds, and an escaping writer.

use std::fmt::Write;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The longest document that is read.
pub const MAX_BYTES: usize = 64 * 1024;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 16;
/// The most elements of a document.
pub const MAX_ELEMENTS: usize = 2_000;
/// The most attributes of an element.
pub const MAX_ATTRIBUTES: usize = 32;

/// Why a document is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// It is not well-formed, or not UTF-8.
    #[error("not well-formed")]
    Syntax,
    /// It brings a document type, entities of its own, or processing instructions. Nothing that event
    /// packages define needs them, and attacks do.
    #[error("document types, entities and instructions are not read")]
    Forbidden,
    /// It is larger or deeper than anybody needs.
    #[error("too large")]
    TooLarge,
    /// It is well-formed, and something else than it should be.
    #[error("not the document that was expected: {0}")]
    Unexpected(&'static str),
}

/// One element with what is in it. Names are without their prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// The local name.
    pub name: String,
    /// The attributes, in order; declarations of name spaces are left out.
    pub attributes: Vec<(String, String)>,
    /// The elements in it, in order.
    pub children: Vec<Element>,
    /// The text in it, that of its children left out, without surrounding white space.
    pub text: String,
}

impl Element {
    /// Reads a document: its outermost element.
    ///
    /// # Errors
    /// [`XmlError`]; the document is the peer's, and so is the blame.
    pub fn parse(document: &[u8]) -> Result<Self, XmlError> {
        if document.len() > MAX_BYTES {
            return Err(XmlError::TooLarge);
        }
        let text = std::str::from_utf8(document).map_err(|_| XmlError::Syntax)?;
        must_be_readable(text)?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut building = Building::default();
        loop {
            let event = reader.read_event().map_err(|_| XmlError::Syntax)?;
            if building.take(event)? {
                return building.root.ok_or(XmlError::Syntax);
            }
        }
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut found = self.attributes.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The elements of this name in it.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element of this name in it.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first element of this name in it, where it has some.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        let text = self.child(name)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }
}

/// A document as far as it is read.
#[derive(Default)]
struct Building {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Building {
    /// Takes in what comes next; true at the end of the document.
    fn take(&mut self, event: Event<'_>) -> Result<bool, XmlError> {
        match event {
            Event::Start(start) => self.start(&start)?,
            Event::Empty(start) => {
                self.start(&start)?;
                self.end()?;
            }
            Event::End(_) => self.end()?,
            Event::Text(text) => self.text(&text.xml10_content())?,
            Event::CData(text) => self.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => predefined(&reference.xml10_content())?,
                    Err(_) => return Err(XmlError::Syntax),
                };
                if is_forbidden(character) {
                    return Err(XmlError::Syntax);
                }
                self.text(character.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) | Event::PI(_) => return Err(XmlError::Forbidden),
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Eof if self.open.is_empty() => return Ok(true),
            Event::Eof => return Err(XmlError::Syntax),
        }
        Ok(false)
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), XmlError> {
        self.count += 1;
        if self.count > MAX_ELEMENTS || self.open.len() >= MAX_DEPTH {
            return Err(XmlError::TooLarge);
        }
        if self.root.is_some() {
            return Err(XmlError::Syntax);
        }
        let mut element = Element {
            name: start.local_name().into_inner().to_owned(),
            ..Element::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| XmlError::Syntax)?;
            if element.attributes.len() >= MAX_ATTRIBUTES {
                return Err(XmlError::TooLarge);
            }
            let key = attribute.key.into_inner();
            if key == "xmlns" || key.starts_with("xmlns:") {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|_| XmlError::Forbidden)?.into_owned();
            must_be_readable(&value)?;
            let name = attribute.key.local_name().into_inner().to_owned();
            element.attributes.push((name, value));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let mut element = self.open.pop().ok_or(XmlError::Syntax)?;
        let trimmed = element.text.trim();
        if trimmed.len() != element.text.len() {
            element.text = trimmed.to_owned();
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(XmlError::Syntax),
        }
        Ok(())
    }
}

/// An error where there is what no document may hold, be it written out or as a reference (XML 1.0, 2.2).
fn must_be_readable(text: &str) -> Result<(), XmlError> {
    match text.chars().any(is_forbidden) {
        true => Err(XmlError::Syntax),
        false => Ok(()),
    }
}

fn is_forbidden(character: char) -> bool {
    let is_space = matches!(character, '\t' | '\n' | '\r');
    matches!(character, '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') && !is_space
}

fn predefined(name: &str) -> Result<char, XmlError> {
    match name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(XmlError::Forbidden),
    }
}

/// Writes a document. Values are escaped, and what XML cannot carry at all becomes U+FFFD.
#[derive(Debug)]
pub struct Writer {
    out: String,
    open: Vec<&'static str>,
    /// Whether the last start tag waits for its `>`.
    within: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A document with nothing but its declaration.
    pub fn new() -> Self {
        Self {
            out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n".into(),
            open: Vec::new(),
            within: false,
        }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &'static str) -> &mut Self {
        self.finish_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.within = true;
        self
    }

    /// Gives the element that was just opened an attribute.
    pub fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape(&mut self.out, value);
        self.out.push('"');
        self
    }

    /// Puts text into the element that is open.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.finish_tag();
        escape(&mut self.out, text);
        self
    }

    /// Closes the element that was opened last.
    pub fn close(&mut self) -> &mut Self {
        let Some(name) = self.open.pop() else {
            return self;
        };
        if std::mem::take(&mut self.within) {
            self.out.push_str("/>");
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
        self
    }

    /// An element with nothing but text in it.
    pub fn leaf(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.open(name).text(text).close()
    }

    /// The document, with everything closed.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn finish_tag(&mut self) {
        if std::mem::take(&mut self.within) {
            self.out.push('>');
        }
    }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                // Writing to a string does not fail.
                let _fine = write!(out, "&#{};", u32::from(character));
            }
            other if is_forbidden(other) => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_document_may_hold_is_refused_however_it_is_written() {
        for bad in [
            "<a>\u{0}</a>",
            "<a b='\u{8}'/>",
            "<a>&#1;</a>",
            "<a b='&#x1f;'/>",
            "<a>\u{ffff}</a>",
            "<!-- \u{1} --><a/>",
        ] {
            assert_eq!(
                Element::parse(bad.as_bytes()),
                Err(XmlError::Syntax),
                "{bad:?}"
            );
        }
        let good = Element::parse(b"<a b='&#9;'>&#10;x&#13;\t</a>").expect("white space");
        assert_eq!(good.attribute("b"), Some("\t"));
    }

    #[test]
    fn a_document_is_read_as_a_tree() {
        let root = Element::parse(
            b"<?xml version='1.0'?><!-- c --><p:a xmlns:p='urn:x' n='1 &lt; 2' p:m=\"&#65;\">\n\
              x &amp; <b/>y<![CDATA[<z>]]>\n<c>  two  words </c></p:a>\n",
        )
        .unwrap();
        assert_eq!(root.name, "a");
        assert_eq!(root.attribute("n"), Some("1 < 2"));
        assert_eq!(root.attribute("m"), Some("A"));
        assert_eq!(root.text, "x & y<z>");
        assert_eq!(root.text_of("c"), Some("two  words"));
        assert_eq!(root.text_of("b"), None);
        assert_eq!(root.all("b").count(), 1);
    }

    #[test]
    fn what_attacks_need_is_refused() {
        let bomb = b"<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        assert_eq!(Element::parse(bomb), Err(XmlError::Forbidden));
        let external = b"<!DOCTYPE x SYSTEM \"http://127.0.0.1/x\"><x/>";
        assert_eq!(Element::parse(external), Err(XmlError::Forbidden));
        for text in ["<x>&b;</x>", "<x y='&b;'/>", "<?go x?><x/>"] {
            let parsed = Element::parse(text.as_bytes());
            assert_eq!(parsed, Err(XmlError::Forbidden), "{text}");
        }
    }

    #[test]
    fn bounds_hold() {
        let deep = |n| ["<a>".repeat(n), "</a>".repeat(n)].concat();
        assert!(Element::parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        let deeper = deep(MAX_DEPTH + 1);
        assert_eq!(Element::parse(deeper.as_bytes()), Err(XmlError::TooLarge));
        let tags = deep(10_000);
        assert_eq!(Element::parse(tags.as_bytes()), Err(XmlError::TooLarge));
        let wide = |n| format!("<a>{}</a>", "<b/>".repeat(n));
        assert!(Element::parse(wide(MAX_ELEMENTS - 1).as_bytes()).is_ok());
        let wider = wide(MAX_ELEMENTS);
        assert_eq!(Element::parse(wider.as_bytes()), Err(XmlError::TooLarge));
        let attributes: String = (0..=MAX_ATTRIBUTES).map(|n| format!(" a{n}=''")).collect();
        let many = format!("<a{attributes}/>");
        assert_eq!(Element::parse(many.as_bytes()), Err(XmlError::TooLarge));
        let long = format!("<a>{}</a>", "x".repeat(MAX_BYTES));
        assert_eq!(Element::parse(long.as_bytes()), Err(XmlError::TooLarge));
    }

    #[test]
    fn what_is_broken_is_refused() {
        let broken = [
            "",
            " ",
            "x",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a b=1/>",
            "<a b='1' b='2'/>",
            "<a>&#0;</a>",
            "<a>&</a>",
            "<a b='<'",
            "<a>&#x110000;</a>",
        ];
        for text in broken {
            let parsed = Element::parse(text.as_bytes());
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>"), Err(XmlError::Syntax));
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let nasty = "a<b>&\"'\r\n\t]]> \u{1F600} &amp;";
        let mut writer = Writer::new();
        writer.open("root").attribute("value", nasty);
        writer.leaf("text", nasty).open("empty").close();
        let text = writer.finish();
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(root.attribute("value"), Some(nasty));
        assert_eq!(root.text_of("text"), Some(nasty));
        assert!(root.child("empty").is_some());
        let mut writer = Writer::new();
        writer.leaf("a", "\u{0}x\u{8}");
        let text = writer.finish();
        let root = Element::parse(text.as_bytes()).unwrap();
        assert_eq!(root.text, "\u{fffd}x\u{fffd}");
    }
}
