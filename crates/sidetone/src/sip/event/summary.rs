//! Message summaries: what waits in a mailbox (RFC 3842).

use std::fmt::Write;

/// The media type of a message summary.
pub const SUMMARY: &str = "application/simple-message-summary";

/// The longest summary that is read, and the most lines of it.
const MAX_BYTES: usize = 16 * 1024;
const MAX_CLASSES: usize = 16;

/// Messages of one kind (RFC 3842 §5.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// The kind, such as `voice-message`, `fax-message` or `text-message`; in lower case.
    pub name: String,
    /// Messages that nobody has heard.
    pub new: u32,
    /// Messages that somebody has.
    pub old: u32,
    /// Urgent ones among each, where that is said.
    pub urgent: Option<(u32, u32)>,
}

/// What waits in a mailbox.
///
/// ```
/// use sidetone::sip::event::summary::Summary;
///
/// let summary = Summary::voice("sip:alice@pbx.example", 2, 8);
/// let text = summary.to_text();
/// assert!(text.starts_with("Messages-Waiting: yes\r\n"));
/// assert_eq!(Summary::parse(text.as_bytes()), Some(summary));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether anything new waits.
    pub waiting: bool,
    /// The mailbox's own URI.
    pub account: Option<String>,
    /// The messages, by kind.
    pub classes: Vec<Class>,
}

impl Summary {
    /// A mailbox with so many new and old voice messages.
    pub fn voice(account: &str, new: u32, old: u32) -> Self {
        Self {
            waiting: new > 0,
            account: Some(account.to_owned()),
            classes: vec![Class {
                name: "voice-message".into(),
                new,
                old,
                urgent: None,
            }],
        }
    }

    /// New messages of all kinds.
    pub fn new_messages(&self) -> u32 {
        let new = self.classes.iter().map(|class| class.new);
        new.fold(0, u32::saturating_add)
    }

    /// Reads a summary; header fields of single messages behind it are passed over.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.get(..text.len().min(MAX_BYTES))?).ok()?;
        let mut lines = text.lines().take_while(|line| !line.trim().is_empty());
        let (name, value) = lines.next()?.split_once(':')?;
        if !name.trim().eq_ignore_ascii_case("Messages-Waiting") {
            return None;
        }
        let mut summary = Self {
            waiting: match value.trim() {
                yes if yes.eq_ignore_ascii_case("yes") => true,
                no if no.eq_ignore_ascii_case("no") => false,
                _ => return None,
            },
            ..Self::default()
        };
        for line in lines.take(2 * MAX_CLASSES) {
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if name == "message-account" {
                summary.account = Some(value.to_owned());
            } else if let Some(class) = class(name, value)
                && summary.classes.len() < MAX_CLASSES
            {
                summary.classes.push(class);
            }
        }
        Some(summary)
    }

    /// The summary as it goes on the wire.
    pub fn to_text(&self) -> String {
        let waiting = if self.waiting { "yes" } else { "no" };
        let mut text = format!("Messages-Waiting: {waiting}\r\n");
        if let Some(account) = &self.account {
            // Writing to a string does not fail.
            let _fine = write!(text, "Message-Account: {}\r\n", plain(account));
        }
        for Class {
            name,
            new,
            old,
            urgent,
        } in &self.classes
        {
            let _fine = write!(text, "{}: {new}/{old}", plain(name));
            if let Some((new, old)) = urgent {
                let _fine = write!(text, " ({new}/{old})");
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// `2/8 (0/2)`.
fn class(name: String, value: &str) -> Option<Class> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.ends_with("-message") || !name.bytes().all(is_token) {
        return None;
    }
    let (counts, urgent) = match value.split_once('(') {
        Some((counts, urgent)) => (counts, Some(urgent.trim_end().strip_suffix(')')?)),
        None => (value, None),
    };
    let pair = |text: &str| {
        let (new, old) = text.split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    };
    let (new, old) = pair(counts)?;
    let urgent = match urgent {
        Some(text) => Some(pair(text)?),
        None => None,
    };
    Some(Class {
        name,
        new,
        old,
        urgent,
    })
}

/// A value without anything that would end its line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 3842 §6.
        let text = b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@vmail.example.com\r\n\
            Voice-Message: 4/8 (1/2)\r\nX-Other: 3\r\n\r\nTo: <alice@atlanta.example.com>\r\n";
        let summary = Summary::parse(text).unwrap();
        assert!(summary.waiting);
        let account = summary.account.as_deref();
        assert_eq!(account, Some("sip:alice@vmail.example.com"));
        let class = &summary.classes[0];
        assert_eq!((class.new, class.old, class.urgent), (4, 8, Some((1, 2))));
        assert_eq!(summary.new_messages(), 4);
        assert_eq!(Summary::parse(summary.to_text().as_bytes()), Some(summary));
    }

    #[test]
    fn what_is_none_is_refused_and_odd_lines_passed_over() {
        for text in [
            "",
            "x",
            "Messages-Waiting: perhaps\r\n",
            "Voice-Message: 1/2\r\n",
        ] {
            assert_eq!(Summary::parse(text.as_bytes()), None, "{text}");
        }
        let odd = b"messages-waiting:no\nVoice-Message: many\nFax-Message: 99999999999/0\n";
        let summary = Summary::parse(odd).unwrap();
        assert!(!summary.waiting && summary.classes.is_empty());
        let many = format!(
            "Messages-Waiting: yes\r\n{}",
            "a-message: 1/1\r\n".repeat(1000)
        );
        assert!(Summary::parse(many.as_bytes()).unwrap().classes.len() <= MAX_CLASSES);
    }

    #[test]
    fn nothing_ends_a_line_before_its_time() {
        let summary = Summary::voice("sip:a@b\r\nVoice-Message: 9/9", 0, 0);
        let again = Summary::parse(summary.to_text().as_bytes()).unwrap();
        assert_eq!(again.classes.len(), 1);
        assert!(!again.waiting);
    }
}
