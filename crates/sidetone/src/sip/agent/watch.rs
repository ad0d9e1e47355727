//! Peers that are watched: asked by OPTIONS whether they are alive (RFC 3261 §11).

use super::Agent;
use super::command::{CommandError, Options};
use super::errand::{Done, Purpose, SignIn};
use super::event::{Event, Failure};
use crate::sip::health::{Health, Outcome, Pinging, WatchId};
use crate::sip::status::StatusCode;
use crate::time::Instant;

/// What a peer is asked with.
pub(super) struct Watched {
    query: Options,
    sign_in: Option<Box<SignIn>>,
}

impl Agent {
    /// Watches a peer: asks it again and again with `query`, from now on. [`Event::Health`] tells when
    /// it stands differently. Watching goes on while the agent drains.
    ///
    /// # Errors
    /// [`CommandError::Full`] where as many are watched as may be; [`CommandError`] where it could not
    /// be asked.
    pub fn watch(
        &mut self,
        now: Instant,
        query: Options,
        pinging: Pinging,
    ) -> Result<WatchId, CommandError> {
        if self.watched.len() >= self.config.max_watches {
            return Err(CommandError::Full);
        }
        self.check_options(&query)?;
        let id = WatchId(self.next_id());
        let sign_in = query.account.as_ref().map(SignIn::new);
        self.watched.insert(id, Watched { query, sign_in });
        self.monitor.add(now, id, pinging);
        self.go_on_watching(now);
        self.flush(now);
        Ok(id)
    }

    /// Watches a peer no more; no event follows.
    pub fn unwatch(&mut self, id: WatchId) {
        self.watched.remove(&id);
        self.monitor.remove(id);
    }

    /// Watches nobody any more.
    pub fn unwatch_all(&mut self) {
        for id in std::mem::take(&mut self.watched).into_keys() {
            self.monitor.remove(id);
        }
    }

    /// How a watched peer stands.
    pub fn health(&self, id: WatchId) -> Health {
        self.monitor.health(id)
    }

    /// Asks whom the monitor wants asked, and tells what it has found.
    pub(super) fn go_on_watching(&mut self, now: Instant) {
        while let Some((id, number)) = self.monitor.poll_ping() {
            let Some(Watched { query, sign_in }) = self.watched.get(&id) else {
                continue;
            };
            let (query, sign_in, flow) = (query.clone(), sign_in.clone(), query.flow);
            // Checked when it was watched first.
            if let Ok(draft) = self.options_draft(query) {
                self.run_errand(now, Purpose::Ping(id, number), draft, sign_in, flow);
            }
        }
        self.tell_health();
    }

    fn tell_health(&mut self) {
        while let Some(change) = self.monitor.poll_event() {
            self.events.push_back(Event::Health(change));
        }
    }

    pub(super) fn ping_done(&mut self, now: Instant, id: WatchId, number: u64, done: Done) {
        let Some(watched) = self.watched.get_mut(&id) else {
            return;
        };
        watched.sign_in = done.sign_in;
        let outcome = match done.result {
            Ok(response) => Outcome::Answered {
                status: response.status().unwrap_or(StatusCode::BAD_REQUEST),
                retry_after: response.retry_after().ok().flatten().map(|it| it.seconds),
            },
            Err(Failure::Timeout) => Outcome::Silent,
            Err(Failure::Full) => Outcome::NotAsked,
            Err(Failure::Transport | Failure::Unresolved) => Outcome::Unreachable,
        };
        self.monitor.handle_outcome(now, id, number, outcome);
        self.tell_health();
    }
}
