//! Our own publications at somebody's compositor: made, changed, refreshed, taken back (RFC 3903 §4).

use super::command::{Body, CommandError, PublicationId, Publish};
use super::draft;
use super::errand::{Done, Purpose, SignIn, pause};
use super::event::{Event, PublicationState};
use super::options::Apart;
use super::{Agent, Deadline};
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::time::{Duration, Instant};

/// The longest publication that a 423 may make us ask for, in seconds.
const MAX_EXPIRES: u32 = 7 * 86_400;

/// The longest Retry-After that is followed.
const MAX_RETRY: Duration = Duration::from_secs(3600);

/// The longest entity tag that is kept.
const MAX_TAG: usize = 256;

/// How often in a row a PUBLISH is sent again at once because of 412 or 423.
const MAX_ROUNDS: u8 = 3;

/// One publication of ours.
pub(super) struct Published {
    command: Publish,
    sign_in: Option<Box<SignIn>>,
    /// What the compositor knows it by (RFC 3903 §11.3.1).
    tag: Option<String>,
    /// Whether the document has changed since it was sent.
    changed: bool,
    busy: bool,
    leaving: bool,
    rounds: u8,
    failures: u32,
    due: Option<Instant>,
}

impl Agent {
    /// Publishes a document, and keeps it published until [`unpublish`](Self::unpublish);
    /// [`Event::Publication`] tells how it goes.
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn publish(
        &mut self,
        now: Instant,
        command: Publish,
    ) -> Result<PublicationId, CommandError> {
        if self.draining {
            return Err(CommandError::Draining);
        }
        if self.publications.len() >= self.config.max_subscriptions {
            return Err(CommandError::Full);
        }
        let lines = vec![("Event".to_owned(), command.event.clone())];
        draft::check(&lines, Some(&command.document))?;
        let hop = command.route.first().unwrap_or(&command.target);
        self.check_route(hop, command.listener)?;
        let id = PublicationId(self.next_id());
        let published = Published {
            sign_in: command.account.as_ref().map(SignIn::new),
            command,
            tag: None,
            changed: true,
            busy: false,
            leaving: false,
            rounds: 0,
            failures: 0,
            due: None,
        };
        self.publications.insert(id, Box::new(published));
        self.tell_publication(id, PublicationState::Publishing);
        self.send_publish(now, id);
        self.flush(now);
        Ok(id)
    }

    /// Puts another document in the place of a published one.
    ///
    /// # Errors
    /// [`CommandError::NoSuchSession`] where it is not published any more, [`CommandError::Header`],
    /// [`CommandError::TooLarge`].
    pub fn republish(
        &mut self,
        now: Instant,
        id: PublicationId,
        document: Body,
    ) -> Result<(), CommandError> {
        draft::check(&Vec::new(), Some(&document))?;
        let published = self.publications.get_mut(&id).filter(|p| !p.leaving);
        let published = published.ok_or(CommandError::NoSuchSession)?;
        published.command.document = document;
        published.changed = true;
        self.send_publish(now, id);
        self.flush(now);
        Ok(())
    }

    /// Takes a publication back; [`PublicationState::Withdrawn`] follows.
    pub fn unpublish(&mut self, now: Instant, id: PublicationId) {
        let Some(published) = self.publications.get_mut(&id).filter(|p| !p.leaving) else {
            return;
        };
        published.leaving = true;
        published.rounds = 0;
        if published.tag.is_none() && !published.busy {
            return self.publication_over(id);
        }
        self.send_publish(now, id);
        self.flush(now);
    }

    /// Takes every publication back.
    pub fn unpublish_all(&mut self, now: Instant) {
        let all: Vec<_> = self.publications.keys().copied().collect();
        for id in all {
            self.unpublish(now, id);
        }
    }

    /// Sends what is due; one PUBLISH at a time (RFC 3903 §4.1).
    fn send_publish(&mut self, now: Instant, id: PublicationId) {
        let Some(published) = self.publications.get(&id).filter(|p| !p.busy) else {
            return;
        };
        let command = &published.command;
        let apart = Apart {
            target: command.target.clone(),
            from: command.from.clone(),
            to: None,
            route: command.route.clone(),
            listener: command.listener,
        };
        let Ok(draft) = self.draft_apart(Method::Publish, &apart) else {
            return self.publication_over(id);
        };
        let Some(published) = self.publications.get_mut(&id) else {
            return;
        };
        let expires = match published.leaving {
            true => 0,
            false => published.command.expires,
        };
        let mut headers = vec![
            ("Event".to_owned(), published.command.event.clone()),
            ("Expires".to_owned(), expires.to_string()),
        ];
        let whole = published.tag.is_none() || published.changed;
        let body = (whole && !published.leaving).then(|| published.command.document.clone());
        if let Some(tag) = &published.tag {
            headers.push(("SIP-If-Match".to_owned(), tag.clone()));
        }
        published.changed = false;
        published.busy = true;
        published.due = None;
        let sign_in = published.sign_in.clone();
        let draft = draft.with(headers, body);
        self.run_errand(now, Purpose::Publish(id), draft, sign_in, None);
    }

    pub(super) fn publish_done(&mut self, now: Instant, id: PublicationId, done: Done) {
        let Some(published) = self.publications.get_mut(&id) else {
            return;
        };
        published.busy = false;
        if done.sign_in.is_some() {
            published.sign_in = done.sign_in;
        }
        let response = done.result.as_ref().ok();
        let status = response.and_then(Message::status);
        if published.leaving {
            return self.left(now, id, status.filter(|s| s.is_success()).and(response));
        }
        let again = match status {
            Some(StatusCode::CONDITIONAL_REQUEST_FAILED) => published.tag.take().is_some(),
            Some(StatusCode::INTERVAL_TOO_BRIEF) => {
                response.is_some_and(|response| published.lengthen(response))
            }
            _ => false,
        };
        if again && published.rounds < MAX_ROUNDS {
            published.rounds += 1;
            published.changed = true;
            return self.send_publish(now, id);
        }
        match response.filter(|_| status.is_some_and(StatusCode::is_success)) {
            Some(response) => self.publish_granted(now, id, response),
            None => {
                let wanted = response.and_then(|r| r.retry_after().ok().flatten());
                self.publish_failed(now, id, status, wanted.map(|it| it.seconds));
            }
        }
    }

    /// An answer came after the publication was taken back: to the PUBLISH that does it, or to one
    /// before.
    fn left(&mut self, now: Instant, id: PublicationId, granted: Option<&Message>) {
        let Some(published) = self.publications.get_mut(&id) else {
            return;
        };
        let tag = granted.and_then(entity_tag);
        let removed = granted.is_some_and(|it| it.expires().ok().flatten() == Some(0));
        published.rounds += 1;
        match tag {
            Some(tag) if !removed && published.rounds == 1 => {
                published.tag = Some(tag);
                self.send_publish(now, id);
            }
            _ => self.publication_over(id),
        }
    }

    fn publish_granted(&mut self, now: Instant, id: PublicationId, response: &Message) {
        let part = 0.8 + 0.1 * self.rng.next_f64();
        let Some(published) = self.publications.get_mut(&id) else {
            return;
        };
        // Without a tag it could never be refreshed (RFC 3903 §4.1).
        let Some(tag) = entity_tag(response) else {
            return self.publish_failed(now, id, None, None);
        };
        published.tag = Some(tag);
        (published.failures, published.rounds) = (0, 0);
        let granted = response.expires().ok().flatten();
        let granted = granted.unwrap_or(published.command.expires);
        let granted = Duration::from_secs(u64::from(granted.clamp(1, MAX_EXPIRES)));
        let changed = published.changed;
        let state = PublicationState::Published {
            until: now + granted,
        };
        self.tell_publication(id, state);
        match changed {
            true => self.send_publish(now, id),
            false => self.wake_publication(id, now + granted.mul_f64(part)),
        }
    }

    fn publish_failed(
        &mut self,
        now: Instant,
        id: PublicationId,
        status: Option<StatusCode>,
        wanted: Option<u32>,
    ) {
        let Some(published) = self.publications.get_mut(&id) else {
            return;
        };
        published.changed = true;
        let failures = published.failures;
        published.failures += 1;
        published.rounds = 0;
        let wanted = Duration::from_secs(u64::from(wanted.unwrap_or_default())).min(MAX_RETRY);
        let retry_at = now + pause(failures, &mut self.rng).max(wanted);
        self.wake_publication(id, retry_at);
        self.tell_publication(id, PublicationState::Failed { status, retry_at });
    }

    pub(super) fn publication_due(&self, id: PublicationId) -> Option<Instant> {
        self.publications.get(&id)?.due
    }

    pub(super) fn refresh_publication(&mut self, now: Instant, at: Instant, id: PublicationId) {
        if self.publication_due(id) == Some(at) {
            self.send_publish(now, id);
        }
    }

    fn wake_publication(&mut self, id: PublicationId, at: Instant) {
        if let Some(published) = self.publications.get_mut(&id) {
            published.due = Some(at);
            self.deadlines.push(at, Deadline::Publication(id));
            self.compact();
        }
    }

    fn publication_over(&mut self, id: PublicationId) {
        if self.publications.remove(&id).is_some() {
            self.tell_publication(id, PublicationState::Withdrawn);
        }
    }

    fn tell_publication(&mut self, publication: PublicationId, state: PublicationState) {
        self.events
            .push_back(Event::Publication { publication, state });
    }
}

impl Published {
    /// Takes in 423: true where the compositor wants a longer time that we can ask for.
    fn lengthen(&mut self, response: &Message) -> bool {
        let least = response.min_expires().ok().flatten().unwrap_or_default();
        let helps = least > self.command.expires && least <= MAX_EXPIRES;
        if helps {
            self.command.expires = least;
        }
        helps
    }
}

fn entity_tag(response: &Message) -> Option<String> {
    let tag = response.header(Name::SipETag)?.text().into_owned();
    let fits = !tag.is_empty() && tag.len() <= MAX_TAG && !tag.contains(char::is_control);
    fits.then_some(tag)
}
