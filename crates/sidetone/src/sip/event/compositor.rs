//! The event state compositor: documents that sources publish, each for a while, and what comes of
//! them together (RFC 3903).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::package::{Asking, Decision, EventConfig, EventCounters, Lifetime};
use crate::rng::Rng;
use crate::sip::header::Name;
use crate::sip::header::value::MediaType;
use crate::sip::message::Message;
use crate::sip::registrar::Reply;
use crate::sip::status::StatusCode;
use crate::time::{Duration, Instant};

/// The seconds after which one who met a bound may try again.
const FULL_FOR: u32 = 60;

/// Some resource's state in one package: the package's number, and the user part of the resource.
pub type Topic = (usize, Arc<str>);

/// Who a document is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The engine itself, under this number.
    Local(u64),
    /// A PUBLISH, whose entity tag this is.
    Published(u64),
}

#[derive(Debug)]
struct Document {
    source: Source,
    bytes: Bytes,
    expires: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    documents: Vec<Document>,
    /// What they come to, once somebody has asked.
    composed: Option<Bytes>,
}

/// Holds what is published for the resources of one domain.
///
/// Hand it PUBLISH requests that have been let in, with who signed in; it answers each. After each
/// input poll [`poll_changed`](Self::poll_changed) until it says `None`, and call
/// [`handle_timeout`](Self::handle_timeout) when the moment of [`poll_timeout`](Self::poll_timeout)
/// has come.
pub struct Compositor {
    config: Arc<EventConfig>,
    rng: Rng,
    entries: BTreeMap<Topic, Entry>,
    published: usize,
    deadlines: BTreeSet<(Instant, Topic)>,
    changed: BTreeSet<Topic>,
    counters: EventCounters,
}

/// What a PUBLISH asks for (RFC 3903 §4.1).
enum Wanted {
    Initial,
    Refresh(usize),
    Modify(usize),
    Remove(usize),
}

impl Compositor {
    /// An empty one; entity tags are drawn from `rng`.
    pub fn new(config: Arc<EventConfig>, rng: Rng) -> Self {
        Self {
            config,
            rng,
            entries: BTreeMap::new(),
            published: 0,
            deadlines: BTreeSet::new(),
            changed: BTreeSet::new(),
            counters: EventCounters::default(),
        }
    }

    /// Publications held, those of the engine itself not counted.
    pub fn len(&self) -> usize {
        self.published
    }

    /// Whether nothing is published.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was counted so far.
    pub fn counters(&self) -> EventCounters {
        self.counters
    }

    /// What all documents of a topic come to.
    pub fn state(&mut self, topic: &Topic) -> Bytes {
        let entity = format!("sip:{}@{}", topic.1, self.config.domain);
        let Some(package) = self.config.packages.get(topic.0) else {
            return Bytes::new();
        };
        let Some(entry) = self.entries.get_mut(topic) else {
            return package.compose(&entity, &[]);
        };
        if let Some(composed) = &entry.composed {
            return composed.clone();
        }
        let documents: Vec<_> = entry.documents.iter().map(|d| d.bytes.clone()).collect();
        let composed = package.compose(&entity, &documents);
        entry.composed = Some(composed.clone());
        composed
    }

    /// Puts the engine's own document number `source` of a topic in place; `None` takes it back.
    pub fn put(&mut self, topic: Topic, source: u64, document: Option<Bytes>) {
        let entry = self.entries.entry(topic.clone()).or_default();
        let at = entry
            .documents
            .iter()
            .position(|d| d.source == Source::Local(source));
        match (at, document) {
            (Some(at), Some(bytes)) if entry.documents[at].bytes == bytes => return,
            (Some(at), Some(bytes)) => entry.documents[at].bytes = bytes,
            (None, Some(bytes)) => entry.documents.push(Document {
                source: Source::Local(source),
                bytes,
                expires: None,
            }),
            (Some(at), None) => {
                entry.documents.remove(at);
            }
            (None, None) => return self.forget_if_empty(&topic),
        }
        self.note_change(topic);
    }

    /// Takes in a PUBLISH and says what to answer (RFC 3903 §6).
    pub fn handle_publish(
        &mut self,
        now: Instant,
        request: &Message,
        resource: &str,
        asking: &Asking<'_>,
    ) -> Reply {
        let reply = self.publish(now, request, resource, asking);
        if let Err(refusal) = &reply {
            self.counters.refused(refusal.status);
        }
        reply.unwrap_or_else(|refusal| refusal)
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, topic)) = self.deadlines.first().filter(|(at, _)| *at <= now).cloned() {
            self.deadlines.pop_first();
            let Some(entry) = self.entries.get_mut(&topic) else {
                continue;
            };
            let before = entry.documents.len();
            entry
                .documents
                .retain(|document| document.expires.is_none_or(|at| at > now));
            let gone = before - entry.documents.len();
            if gone > 0 {
                self.published -= gone;
                self.counters.expired += gone as u64;
                self.note_change(topic);
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next topic whose state has changed.
    pub fn poll_changed(&mut self) -> Option<Topic> {
        self.changed.pop_first()
    }

    fn publish(
        &mut self,
        now: Instant,
        request: &Message,
        resource: &str,
        asking: &Asking<'_>,
    ) -> Result<Reply, Reply> {
        let config = Arc::clone(&self.config);
        let package = package_of(request, &config)?;
        let topic: Topic = (package, resource.into());
        let package = &config.packages[package];
        match package.admits_publication(asking) {
            Decision::Grant => {}
            Decision::Wait => return Err(Reply::new(StatusCode::FORBIDDEN)),
            Decision::Refuse(status) => return Err(Reply::new(status)),
        }
        let wanted = self.wanted(request, &topic)?;
        let seconds = match wanted {
            Wanted::Remove(_) => 0,
            _ => lifetime(request, package.lifetime())?,
        };
        let body = request.body();
        if matches!(wanted, Wanted::Initial | Wanted::Modify(_)) {
            let media = request.content_type().ok().flatten();
            if !media.is_some_and(|media| is_type(&media, package.content_type())) {
                let refusal = Reply::new(StatusCode::UNSUPPORTED_MEDIA_TYPE);
                return Err(refusal.and(Name::Accept, package.content_type()));
            }
            if body.len() > config.max_document {
                return Err(Reply::new(StatusCode::REQUEST_ENTITY_TOO_LARGE));
            }
            if !package.accepts(&body) {
                return Err(Reply::new(StatusCode::BAD_REQUEST));
            }
        }
        if matches!(wanted, Wanted::Initial) {
            self.check_room(&topic)?;
        }
        let expires = now + Duration::from_secs(u64::from(seconds));
        let tag = self.new_tag();
        self.commit(topic, wanted, tag, body, expires);
        Ok(Reply::new(StatusCode::OK)
            .and(Name::Expires, seconds.to_string())
            .and(Name::SipETag, format!("{tag:016x}")))
    }

    /// An initial publication has a body and no entity tag; the others have the one of what they
    /// change (RFC 3903 §4.1).
    fn wanted(&self, request: &Message, topic: &Topic) -> Result<Wanted, Reply> {
        let bad = || Reply::new(StatusCode::BAD_REQUEST);
        let has_body = !request.body().is_empty();
        let expires = request.expires().map_err(|_| bad())?;
        let Some(tag) = request.header(Name::SipIfMatch) else {
            return match (has_body, expires) {
                (true, Some(0)) | (false, _) => Err(bad()),
                (true, _) => Ok(Wanted::Initial),
            };
        };
        let outdated = || Reply::new(StatusCode::CONDITIONAL_REQUEST_FAILED);
        let tag = Some(tag.text()).filter(|tag| tag.len() == 16);
        let tag = tag.and_then(|tag| u64::from_str_radix(&tag, 16).ok());
        let source = Source::Published(tag.ok_or_else(outdated)?);
        let documents = self.entries.get(topic).map_or(&[][..], |e| &e.documents);
        let at = documents.iter().position(|d| d.source == source);
        let at = at.ok_or_else(outdated)?;
        Ok(match (expires, has_body) {
            (Some(0), _) => Wanted::Remove(at),
            (_, true) => Wanted::Modify(at),
            (_, false) => Wanted::Refresh(at),
        })
    }

    fn check_room(&self, topic: &Topic) -> Result<(), Reply> {
        let held = self.entries.get(topic).map_or(0, |entry| {
            let published = |d: &&Document| matches!(d.source, Source::Published(_));
            entry.documents.iter().filter(published).count()
        });
        let full = held >= self.config.max_publications_per_resource
            || self.published >= self.config.max_publications;
        match full {
            true => Err(Reply::new(StatusCode::SERVICE_UNAVAILABLE)
                .and(Name::RetryAfter, FULL_FOR.to_string())),
            false => Ok(()),
        }
    }

    fn commit(&mut self, topic: Topic, wanted: Wanted, tag: u64, body: Bytes, expires: Instant) {
        let source = Source::Published(tag);
        let entry = self.entries.entry(topic.clone()).or_default();
        // Documents are small, and the request that this one came in is not kept for it.
        let bytes = Bytes::copy_from_slice(&body);
        let before = match wanted {
            Wanted::Initial => None,
            Wanted::Refresh(at) | Wanted::Modify(at) | Wanted::Remove(at) => {
                entry.documents[at].expires
            }
        };
        match wanted {
            Wanted::Initial => {
                self.published += 1;
                entry.documents.push(Document {
                    source,
                    bytes,
                    expires: Some(expires),
                });
            }
            Wanted::Remove(at) => {
                self.published -= 1;
                entry.documents.remove(at);
                self.drop_deadline(&topic, before);
                return self.note_change(topic);
            }
            Wanted::Refresh(at) | Wanted::Modify(at) => {
                let document = &mut entry.documents[at];
                document.source = source;
                document.expires = Some(expires);
                if !body.is_empty() {
                    document.bytes = bytes;
                }
            }
        }
        self.counters.published += 1;
        self.drop_deadline(&topic, before);
        self.deadlines.insert((expires, topic.clone()));
        if !body.is_empty() {
            self.note_change(topic);
        }
    }

    /// Forgets the deadline of a document that has none or another now, unless one beside it has the
    /// same.
    fn drop_deadline(&mut self, topic: &Topic, at: Option<Instant>) {
        let documents = self.entries.get(topic).map_or(&[][..], |e| &e.documents);
        if let Some(at) = at
            && documents
                .iter()
                .all(|document| document.expires != Some(at))
        {
            self.deadlines.remove(&(at, topic.clone()));
        }
    }

    /// An entity tag that nobody can foresee, and that never comes twice but by a chance of one in
    /// 2^64.
    fn new_tag(&mut self) -> u64 {
        self.rng.next_u64()
    }

    fn note_change(&mut self, topic: Topic) {
        if let Some(entry) = self.entries.get_mut(&topic) {
            entry.composed = None;
        }
        self.forget_if_empty(&topic);
        self.changed.insert(topic);
    }

    fn forget_if_empty(&mut self, topic: &Topic) {
        if self
            .entries
            .get(topic)
            .is_some_and(|entry| entry.documents.is_empty())
        {
            self.entries.remove(topic);
        }
    }
}

/// The package of a request's Event; 489 names those that there are (RFC 6665 §4.2.1.1, RFC 3903 §6).
pub(super) fn package_of(request: &Message, config: &EventConfig) -> Result<usize, Reply> {
    let event = request.event().ok().flatten();
    let found = event.and_then(|event| config.find(&event.value()));
    found.ok_or_else(|| {
        let refusal = Reply::new(StatusCode::BAD_EVENT);
        match config.packages.is_empty() {
            true => refusal,
            false => refusal.and(Name::AllowEvents, config.names()),
        }
    })
}

/// How long what is asked for lasts; 423 where that is too short. Nobody has to ask for more than an
/// hour (RFC 6665 §4.2.1.1, RFC 3903 §6).
pub(super) fn lifetime(request: &Message, lifetime: Lifetime) -> Result<u32, Reply> {
    let asked = request.expires();
    let asked = asked.map_err(|_| Reply::new(StatusCode::BAD_REQUEST))?;
    let seconds = asked.unwrap_or(lifetime.default).min(lifetime.most);
    match seconds < lifetime.least {
        true => Err(Reply::new(StatusCode::INTERVAL_TOO_BRIEF)
            .and(Name::MinExpires, lifetime.least.to_string())),
        false => Ok(seconds),
    }
}

/// Whether a media type is `text`, parameters aside.
pub(super) fn is_type(media: &MediaType, text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(kind, subtype)| media.is(kind, subtype))
}
