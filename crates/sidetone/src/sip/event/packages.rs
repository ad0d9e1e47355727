//! The packages that come with the house: presence (RFC 3856), dialog states (RFC 4235), message
//! summaries (RFC 3842).

use bytes::Bytes;

use super::dialog_info::{DIALOG_INFO, DialogInfo};
use super::package::{Asking, Decision, Package};
use super::pidf::{self, PIDF, Tuple};
use super::summary::{SUMMARY, Summary};
use crate::sip::status::StatusCode;
use crate::time::Duration;

/// Whether somebody may be reached (RFC 3856): the tuples of all who publish for them, and closed
/// where nobody does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presence;

impl Package for Presence {
    fn name(&self) -> &str {
        "presence"
    }

    fn content_type(&self) -> &str {
        PIDF
    }

    /// RFC 3856 §6.10 asks for at least 5 s.
    fn pause(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn accepts(&self, document: &[u8]) -> bool {
        pidf::Presence::parse(document).is_ok()
    }

    fn compose(&self, entity: &str, documents: &[Bytes]) -> Bytes {
        let mut all = pidf::Presence::new(entity);
        for (number, document) in documents.iter().enumerate() {
            let Ok(one) = pidf::Presence::parse(document) else {
                continue;
            };
            // Two sources may have the same names for their tuples.
            all.tuples.extend(one.tuples.into_iter().map(|tuple| Tuple {
                id: format!("s{number}-{}", tuple.id),
                ..tuple
            }));
            all.notes.extend(one.notes);
        }
        if all.tuples.is_empty() {
            all.tuples.push(Tuple::new("none", false));
        }
        all.to_xml().into()
    }
}

/// Which calls somebody has (RFC 4235). After the first NOTIFY subscribers are told what changes.
///
/// Everybody who was let in may subscribe; the documents name the parties of calls. For another
/// policy, wrap it.
#[derive(Debug, Clone, Copy, Default)]
pub struct DialogPackage;

impl Package for DialogPackage {
    fn name(&self) -> &str {
        "dialog"
    }

    fn content_type(&self) -> &str {
        DIALOG_INFO
    }

    fn accepts(&self, document: &[u8]) -> bool {
        DialogInfo::parse(document).is_ok_and(|info| !info.partial)
    }

    fn compose(&self, entity: &str, documents: &[Bytes]) -> Bytes {
        let parsed = documents.iter().filter_map(|d| DialogInfo::parse(d).ok());
        let dialogs = parsed.flat_map(|info| info.dialogs);
        DialogInfo::full(entity, dialogs.collect()).to_xml().into()
    }

    fn render(&self, state: &Bytes, told: Option<&Bytes>, version: u32) -> Bytes {
        let Ok(mut info) = DialogInfo::parse(state) else {
            return state.clone();
        };
        let told = told.and_then(|told| DialogInfo::parse(told).ok());
        match told {
            Some(told) => info.since(&told, version).to_xml().into(),
            None => {
                info.version = version;
                info.to_xml().into()
            }
        }
    }
}

/// What waits in somebody's mailbox (RFC 3842): their own, or none at all where nobody has said.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageSummary;

impl Package for MessageSummary {
    fn name(&self) -> &str {
        "message-summary"
    }

    fn content_type(&self) -> &str {
        SUMMARY
    }

    /// Only the owner of the mailbox, where people sign in.
    fn admits(&self, asking: &Asking<'_>) -> Decision {
        match asking.user.is_none() || asking.is_owner() {
            true => Decision::Grant,
            false => Decision::Refuse(StatusCode::FORBIDDEN),
        }
    }

    fn accepts(&self, document: &[u8]) -> bool {
        Summary::parse(document).is_some()
    }

    fn compose(&self, entity: &str, documents: &[Bytes]) -> Bytes {
        match documents.last() {
            Some(document) => document.clone(),
            None => {
                let none = Summary {
                    account: Some(entity.to_owned()),
                    ..Summary::default()
                };
                none.to_text().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::event::dialog_info::{Dialog, DialogState};

    #[test]
    fn presence_of_several_sources_becomes_one() {
        let of = |open| {
            let mut presence = pidf::Presence::new("sip:a@b");
            presence.tuples.push(Tuple::new("x", open));
            Bytes::from(presence.to_xml())
        };
        let none = pidf::Presence::parse(&Presence.compose("sip:a@b", &[])).unwrap();
        assert!(!none.is_open());
        assert_eq!(none.tuples.len(), 1);
        let two = Presence.compose("sip:a@b", &[of(false), of(true)]);
        let two = pidf::Presence::parse(&two).unwrap();
        assert!(two.is_open());
        assert_ne!(two.tuples[0].id, two.tuples[1].id);
        let odd = Presence.compose("sip:a@b", &[Bytes::from_static(b"<x>")]);
        assert!(pidf::Presence::parse(&odd).is_ok());
    }

    #[test]
    fn dialogs_are_told_in_full_and_then_what_changes() {
        let of = |id: &str, state| {
            let dialogs = vec![Dialog::new(id, state)];
            Bytes::from(DialogInfo::full("sip:a@b", dialogs).to_xml())
        };
        let first = DialogPackage.compose("sip:a@b", &[of("1", DialogState::Early)]);
        let second = DialogPackage.compose(
            "sip:a@b",
            &[of("1", DialogState::Early), of("2", DialogState::Trying)],
        );
        let parse = |bytes: Bytes| DialogInfo::parse(&bytes).unwrap();
        let full = parse(DialogPackage.render(&second, None, 4));
        assert_eq!(
            (full.version, full.partial, full.dialogs.len()),
            (4, false, 2)
        );
        let news = parse(DialogPackage.render(&second, Some(&first), 5));
        assert_eq!(
            (news.version, news.partial, news.dialogs.len()),
            (5, true, 1)
        );
        assert_eq!(news.dialogs[0].id, "2");
        let gone = parse(DialogPackage.render(&first, Some(&second), 6));
        assert_eq!(gone.dialogs[0].state, DialogState::Terminated);
    }

    #[test]
    fn a_mailbox_is_its_owners() {
        let asking = |user| Asking {
            resource: "alice",
            domain: "pbx.example",
            user,
            source: "192.0.2.1:5060".parse().unwrap(),
            listener: None,
        };
        for (user, granted) in [
            (Some("alice"), true),
            (Some("alice@PBX.example"), true),
            (Some("bob"), false),
            (Some("alice@elsewhere.example"), false),
            (None, true),
        ] {
            let decision = MessageSummary.admits(&asking(user));
            assert_eq!(decision == Decision::Grant, granted, "{user:?}");
        }
        assert!(!asking(None).is_owner());
        let none = MessageSummary.compose("sip:alice@pbx.example", &[]);
        assert!(!Summary::parse(&none).unwrap().waiting);
    }
}
