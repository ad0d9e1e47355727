//! Redirections of our calls: which are followed, in which order, and what the next target is told
//! (RFC 3261 §8.1.3.4, RFC 5806, RFC 7044).

use std::cmp::Reverse;

use crate::call::details::MAX_VALUES;
use crate::call::redirect::RedirectPolicy;
use crate::engine::core::Core;
use crate::engine::core::call::{CallState, Stage};
use crate::engine::core::dialling::{Attempt, DialRequest};
use crate::engine::event::{CallError, CallEvent};
use crate::id::CallId;
use crate::sip::agent::event::{Cause as AgentCause, Failure};
use crate::sip::header::address::NameAddr;
use crate::sip::header::diversion::{Diversion, DivertedFor};
use crate::sip::header::history::{HistoryEntry, Origin};
use crate::sip::header::reason::Reason;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::uri::{Scheme, Uri};
use crate::time::Instant;

/// What is needed to call somebody else in place of the party first called.
#[derive(Debug)]
pub(super) struct Redirects {
    /// What was asked for.
    request: DialRequest,
    policy: RedirectPolicy,
    history: Vec<HistoryEntry>,
    /// The one that is called now.
    current: Target,
    tried: Vec<Uri>,
    /// Those still to be called, the best first.
    waiting: Vec<Target>,
}

/// Somebody to call.
#[derive(Debug, Clone)]
struct Target {
    uri: Uri,
    /// How much it is liked, in thousandths.
    q: u16,
    /// Redirections that led here.
    hops: u8,
    /// The index of the entry in the history that it was made from.
    parent: Option<String>,
    diversions: Vec<Diversion>,
}

impl Redirects {
    /// For a call to `target`; `None` where no redirection is followed.
    pub(super) fn new(
        request: &DialRequest,
        policy: &RedirectPolicy,
        target: &Uri,
    ) -> Option<Box<Self>> {
        let policy = request.redirects.as_ref().unwrap_or(policy);
        if policy.hosts.is_empty() {
            return None;
        }
        let target = target.detach();
        let current = Target {
            uri: target.clone(),
            q: 1_000,
            hops: 0,
            parent: None,
            diversions: request.details.diversions.clone(),
        };
        Some(Box::new(Self {
            request: request.clone(),
            policy: policy.clone(),
            history: request.details.history.clone(),
            current,
            tried: vec![target],
            waiting: Vec::new(),
        }))
    }

    /// The party that is called now has refused with `status`, or sent the call elsewhere.
    fn leave(&mut self, status: u16, response: Option<&Message>) {
        let index = self.note_departure(status);
        let Some(response) = response.filter(|_| (300..400).contains(&status)) else {
            return;
        };
        let hops = self.current.hops + 1;
        if hops > self.policy.max_hops {
            return;
        }
        let diversions = self.diversions(status, response);
        let contacts = response.contacts().take(MAX_VALUES);
        for contact in contacts.filter_map(Result::ok) {
            let uri = contact.uri().without_headers().detach();
            if self.is_callable(&uri) {
                self.waiting.push(Target {
                    uri,
                    q: quality(&contact),
                    hops,
                    parent: index.clone(),
                    diversions: diversions.clone(),
                });
            }
        }
        self.waiting.sort_by_key(|target| Reverse(target.q));
    }

    fn is_callable(&self, uri: &Uri) -> bool {
        let waiting = self.waiting.iter().map(|target| &target.uri);
        let known = self
            .tried
            .iter()
            .chain(waiting)
            .any(|other| other.is_equivalent(uri));
        let first = self.tried.first().map(Uri::scheme);
        // A call that asked for TLS on every hop keeps asking.
        let exposed = first == Some(Scheme::Sips) && uri.scheme() != Scheme::Sips;
        !known && !exposed && self.policy.allows(uri)
    }

    /// Writes into the history why the current target was left; gives its index.
    fn note_departure(&mut self, status: u16) -> Option<String> {
        if !self.policy.telling.history() {
            return None;
        }
        let phrase = StatusCode::new(status).map_or("", StatusCode::reason_phrase);
        let reason = Reason::sip(status, phrase);
        if self.history.is_empty() {
            let first = HistoryEntry::new(&self.current.uri, "1").ok()?;
            self.history.push(first);
        }
        let entry = self.history.last_mut()?;
        if let Ok(told) = entry.left_for(&reason) {
            *entry = told;
        }
        Some(entry.index().to_owned())
    }

    /// The diversions that lead to the next target: those that the party tells, or that by the party.
    fn diversions(&self, status: u16, response: &Message) -> Vec<Diversion> {
        if !self.policy.telling.diversion() {
            return self.current.diversions.clone();
        }
        let told = response.diversions().take(MAX_VALUES);
        let mut all: Vec<Diversion> = told.filter_map(Result::ok).collect();
        if all.is_empty() {
            let own = Diversion::new(&self.current.uri, DivertedFor::of_status(status));
            all.extend(own.ok());
        }
        all.extend(self.current.diversions.iter().cloned());
        all.truncate(MAX_VALUES);
        all
    }

    /// How to call the next target, if there is any.
    fn next(&mut self) -> Option<DialRequest> {
        if self.waiting.is_empty() || self.tried.len() >= usize::from(self.policy.max_targets) {
            return None;
        }
        self.current = self.waiting.remove(0);
        self.tried.push(self.current.uri.clone());
        self.note_arrival();
        let Self {
            request, current, ..
        } = self;
        let mut next = request.clone();
        next.to.get_or_insert_with(|| request.target.clone());
        next.target = current.uri.to_string();
        next.flow = None;
        next.details.diversions = current.diversions.clone();
        next.details.history = self.history.clone();
        if next.routes.is_empty() {
            // Neither credentials nor trust are the new peer's.
            next.trusted = None;
            let first = self.tried.first().map(Uri::host);
            let same_host = first.is_some_and(|host| host.eq_ignore_ascii_case(current.uri.host()));
            next.account = next.account.filter(|_| same_host);
        }
        Some(next)
    }

    /// Writes the new target into the history: a child of the one that named it.
    fn note_arrival(&mut self) {
        let Some(parent) = &self.current.parent else {
            return;
        };
        let is_child = |entry: &&HistoryEntry| {
            let origin = entry.origin();
            origin.is_some_and(|origin| origin == Origin::Mapped(parent.clone()))
        };
        let children = self.history.iter().filter(is_child).count();
        let index = format!("{parent}.{}", children + 1);
        let entry = HistoryEntry::new(&self.current.uri, &index)
            .and_then(|entry| entry.made_by(&Origin::Mapped(parent.clone())));
        if self.history.len() < MAX_VALUES {
            self.history.extend(entry.ok());
        }
    }
}

impl Core {
    /// Calls somebody else where the dialled party sent the call elsewhere and that is followed; false
    /// where the call is over.
    pub(super) fn go_elsewhere(&mut self, now: Instant, id: CallId, cause: &AgentCause) -> bool {
        let Some((status, response)) = refusal_of(cause) else {
            return false;
        };
        let stopping = self.stopping.is_some();
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        let over = call.stage != Stage::Dialling || call.verdict.is_some();
        if over || stopping || status >= 600 {
            return false;
        }
        let port = call.port;
        let Some(mut redirects) = call.redirects.take() else {
            return false;
        };
        redirects.leave(status, response);
        while let Some(request) = redirects.next() {
            let attempt = self.attempt(now, &request, port);
            if let Ok(attempt) = attempt {
                self.take_attempt(id, attempt, redirects);
                let target = request.target;
                self.emit(id, CallEvent::Redirected { target });
                return true;
            }
        }
        false
    }

    fn take_attempt(&mut self, id: CallId, attempt: Attempt, redirects: Box<Redirects>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        self.sessions.insert(attempt.session, id);
        call.begin(attempt);
        call.redirects = Some(redirects);
    }

    /// Answers a caller with where else to try: a status of 300 to 399 and targets, the best first.
    pub fn redirect(
        &mut self,
        now: Instant,
        id: CallId,
        status: u16,
        targets: &[String],
    ) -> Result<(), CallError> {
        let session = self.offered(now, id)?.session;
        let invalid = |what: String| CallError::Invalid(what);
        let status = StatusCode::new(status)
            .filter(|_| (300..400).contains(&status))
            .ok_or_else(|| invalid(format!("{status} redirects nothing")))?;
        if targets.is_empty() || targets.len() > MAX_VALUES {
            return Err(invalid(format!("not 1 to {MAX_VALUES} targets")));
        }
        let mut contacts = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let uri = Uri::parse(target).map_err(|error| invalid(format!("{target}: {error}")))?;
            let mut contact = NameAddr::new(&uri);
            if targets.len() > 1 {
                let q = format!("0.{:03}", 999 - index * 10);
                let weighed = contact.with_param("q", Some(&q));
                contact = weighed.map_err(|error| invalid(error.to_string()))?;
            }
            contacts.push(contact);
        }
        let headers = self.answer_headers(id);
        self.agent
            .redirect(now, session, status, &contacts, headers)
            .map_err(super::commands::refused)?;
        self.take_signalling(now);
        Ok(())
    }
}

impl CallState {
    /// Begins anew with another target.
    pub(super) fn begin(&mut self, attempt: Attempt) {
        self.session = attempt.session;
        self.offer = Some(Box::new(attempt.sdp.clone()));
        self.sdp = attempt.sdp;
        self.agreed = None;
        self.fork = None;
        self.forks.clear();
        self.hint = attempt.hint;
        self.security = attempt.security;
        self.trusted = attempt.trusted;
    }
}

/// How a dialled party has refused: the status, and what it answered where it did.
fn refusal_of(cause: &AgentCause) -> Option<(u16, Option<&Message>)> {
    match cause {
        AgentCause::Rejected { response } => {
            let status = response.status().map_or(0, StatusCode::code);
            Some((status, Some(response)))
        }
        AgentCause::NoAnswer | AgentCause::Failed(Failure::Timeout) => {
            Some((StatusCode::REQUEST_TIMEOUT.code(), None))
        }
        AgentCause::Failed(_) => Some((StatusCode::SERVICE_UNAVAILABLE.code(), None)),
        _ => None,
    }
}

/// The `q` of a Contact in thousandths; 1 where there is none (RFC 3261 §20.10).
fn quality(contact: &NameAddr) -> u16 {
    let q = contact.param("q");
    let q = q.and_then(|text| text.parse::<f32>().ok());
    q.map_or(1_000, |q| (q.clamp(0.0, 1.0) * 1_000.0) as u16)
}
