//! Session timers: sessions that are refreshed, or ended where they are not (RFC 4028).

use super::command::{Headers, SessionId};
use super::event::{Cause, Event};
use super::reply::Refusal;
use super::session::{Clock, Session};
use super::{Agent, Part};
use crate::sip::header::Name;
use crate::sip::header::value::Refresher;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::time::{Duration, Instant};

/// The shortest interval that the RFC allows, in seconds (RFC 4028 §4).
pub(super) const LEAST: u32 = 90;

/// How often a request is repeated with the interval that a 422 asks for.
const MAX_RAISES: u8 = 3;

/// How long after a refresh that could not be made or was refused the next is tried.
const PAUSE: Duration = Duration::from_secs(10);

/// The session timer of one session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SessionTimer {
    /// The agreed interval in seconds, once there is one.
    interval: Option<u32>,
    /// Whether we refresh.
    ours: bool,
    /// The longest Min-SE that was asked for.
    least: u32,
    raises: u8,
    /// Whether the peer takes UPDATE, by its Allow.
    peer_updates: bool,
    /// What our first INVITE asks for.
    wanted: Option<u32>,
}

impl SessionTimer {
    pub(super) fn wanting(interval: Option<Duration>) -> Self {
        Self {
            wanted: interval.map(|interval| seconds(interval).max(LEAST)),
            ..Self::default()
        }
    }

    /// What our next INVITE or UPDATE says of it.
    pub(super) fn headers(&self) -> Headers {
        let refresher = match (self.interval, self.ours) {
            (None, _) => "",
            (Some(_), true) => ";refresher=uac",
            (Some(_), false) => ";refresher=uas",
        };
        let Some(interval) = self.interval.or(self.wanted) else {
            return Headers::new();
        };
        let interval = interval.max(self.least);
        let mut headers = vec![("Session-Expires".into(), format!("{interval}{refresher}"))];
        if self.least > LEAST {
            headers.push(("Min-SE".into(), self.least.to_string()));
        }
        headers
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

impl Agent {
    /// Why an INVITE or UPDATE of the peer cannot be taken: its interval is too short, and it
    /// understands 422 (RFC 4028 §9).
    pub(super) fn too_short_an_interval(&self, request: &Message) -> Option<Refusal> {
        let asked = request.session_expires().ok()??;
        let least = seconds(self.config.min_session_expires).max(LEAST);
        let short = asked.seconds < least && request.supported().has("timer");
        let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
        short.then(|| Refusal::with(status, Name::MinSe, least.to_string()))
    }

    /// Settles the session timer by a request of the peer that we answer with 2xx, and what the 2xx
    /// says of it (RFC 4028 §9).
    pub(super) fn settle_timer(
        &mut self,
        now: Instant,
        id: SessionId,
        request: &Message,
    ) -> Headers {
        let ours = self.config.session_expires.map(seconds);
        let least = seconds(self.config.min_session_expires).max(LEAST);
        let Some(session) = self.session(id) else {
            return Headers::new();
        };
        session.note_abilities(request);
        let supported = request.supported().has("timer");
        let asked = request.session_expires().ok().flatten();
        let min = request.min_se().ok().flatten().unwrap_or(LEAST);
        let (interval, refresher) = match (asked, supported, ours) {
            (Some(asked), true, _) => (asked.seconds, asked.refresher.unwrap_or(Refresher::Uac)),
            // A proxy asks, whose caller knows nothing of it: the refreshing is left to us.
            (Some(asked), false, _) => (asked.seconds.max(least), Refresher::Uas),
            (None, true, Some(ours)) => (ours.max(min), Refresher::Uas),
            (None, _, _) => {
                self.set_timer(now, id, None, false);
                return Headers::new();
            }
        };
        self.set_timer(now, id, Some(interval), refresher == Refresher::Uas);
        let value = format!("{interval};refresher={}", refresher.as_str());
        let mut headers = vec![("Session-Expires".into(), value)];
        if supported {
            headers.push(("Require".into(), "timer".into()));
        }
        headers
    }

    /// Settles the session timer by the 2xx to our INVITE or UPDATE (RFC 4028 §7.2).
    pub(super) fn timer_answered(&mut self, now: Instant, id: SessionId, response: &Message) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.note_abilities(response);
        session.timer.raises = 0;
        let said = response.session_expires().ok().flatten();
        // An answer without it says that the session does not expire. Refreshes faster than the RFC
        // allows would be the peer's to drive us to.
        let interval = said.as_ref().map(|said| said.seconds.max(LEAST));
        let ours = said.is_some_and(|said| said.refresher != Some(Refresher::Uas));
        self.set_timer(now, id, interval, ours);
    }

    fn set_timer(&mut self, now: Instant, id: SessionId, interval: Option<u32>, ours: bool) {
        let Some(session) = self.session(id) else {
            return;
        };
        session.timer.interval = interval;
        session.timer.ours = ours;
        session.stop_clock(Clock::SessionRefresh);
        session.stop_clock(Clock::SessionExpiry);
        let Some(interval) = interval else { return };
        let whole = Duration::from_secs(interval.into());
        if ours {
            self.set_clock(id, Clock::SessionRefresh, now + whole / 2);
        }
        let margin = Duration::from_secs(32).min(whole / 3);
        self.set_clock(id, Clock::SessionExpiry, now + whole - margin);
    }

    /// It is our turn to refresh: by UPDATE where the peer takes it, else by a re-INVITE, which is
    /// the user's to make (RFC 4028 §7.4).
    pub(super) fn refresh_due(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.session(id).filter(|session| !session.ended) else {
            return;
        };
        let by_update = session.timer.peer_updates;
        // Until it is answered; the answer sets the clock anew.
        self.set_clock(id, Clock::SessionRefresh, now + PAUSE);
        if by_update {
            // Out of turn, another change is under way, and refreshes the session itself.
            let _later = self.send_refresh(now, id);
        } else {
            self.emit(id, Event::RefreshDue { session: id });
        }
    }

    /// Nobody has refreshed the session: it ends shortly before its interval does (RFC 4028 §10).
    pub(super) fn session_expired(&mut self, now: Instant, id: SessionId) {
        if self.open_session(id).is_err() {
            return;
        }
        let reason = "Q.850;cause=102;text=\"Session expired\"";
        self.leave(now, id, vec![("Reason".into(), reason.into())]);
        self.end(id, Cause::SessionExpired);
        self.forget_if_spent(id);
    }

    /// Takes the interval that a 422 asks for; whether the request is worth sending again.
    pub(super) fn raise_interval(&mut self, id: SessionId, response: &Message) -> bool {
        let Some(session) = self.session(id).filter(|session| !session.ended) else {
            return false;
        };
        let Ok(Some(least)) = response.min_se() else {
            return false;
        };
        if response.status() != Some(StatusCode::SESSION_INTERVAL_TOO_SMALL)
            || session.timer.raises >= MAX_RAISES
            || least <= session.timer.least
        {
            return false;
        }
        session.timer.raises += 1;
        session.timer.least = least;
        true
    }

    /// Sends our INVITE again with the interval that a 422 asks for (RFC 4028 §7.3).
    pub(super) fn interval_answered(
        &mut self,
        now: Instant,
        id: SessionId,
        part: Part,
        response: &Message,
    ) -> bool {
        if !matches!(part, Part::Invite | Part::Reinvite) || !self.raise_interval(id, response) {
            return false;
        }
        let Some(session) = self.session(id) else {
            return false;
        };
        let timer = session.timer;
        let Some(mut draft) = session.invite_again(part) else {
            return false;
        };
        draft.timer = timer.headers();
        if let Some(client) = &mut session.client {
            client.draft = draft.clone();
        }
        self.send_request(now, super::Owner::Session(id, part), draft);
        true
    }

    /// A refresh was refused: by a peer that does not know UPDATE after all, the next is a
    /// re-INVITE.
    pub(super) fn refresh_refused(&mut self, now: Instant, id: SessionId, status: StatusCode) {
        let unknown = matches!(
            status,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );
        if let Some(session) = self.session(id).filter(|_| unknown) {
            session.timer.peer_updates = false;
            self.refresh_due(now, id);
        }
    }
}

impl Session {
    /// Remembers whether the peer takes UPDATE.
    fn note_abilities(&mut self, message: &Message) {
        if message.header(Name::Allow).is_some() {
            self.timer.peer_updates = message.allow().any(|m| m == Method::Update.as_str());
        }
    }
}
