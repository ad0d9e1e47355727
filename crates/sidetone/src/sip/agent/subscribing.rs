//! Our own subscriptions to somebody's state: made, refreshed, made anew, taken back (RFC 6665 §4.1).

use super::command::{CommandError, Headers, Subscribe, SubscribeId};
use super::draft::{self, Draft};
use super::errand::{Done, Purpose, SignIn, pause};
use super::event::{Event, Lapse, SubscriptionState};
use super::options::Apart;
use super::reply::Refusal;
use super::{Agent, Arrival, Deadline};
use crate::sip::dialog::Dialog;
use crate::sip::event::notifier::Reason;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::registrar::Reply;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::time::{Duration, Instant};

/// Notifiers that one subscription may have by forks.
const MAX_BRANCHES: usize = 8;

/// The longest subscription that a 423 may make us ask for, in seconds.
const MAX_EXPIRES: u32 = 7 * 86_400;

/// How often in a row a SUBSCRIBE is sent again because of 423.
const MAX_RAISES: u8 = 3;

/// The least that a subscription has to have lasted for the next attempt to be made at once.
const LASTING: Duration = Duration::from_secs(30);

/// The longest Retry-After that is followed.
const MAX_RETRY: Duration = Duration::from_secs(3600);

/// One subscription of ours, with as many notifiers as a fork has found.
pub(super) struct Subscribed {
    command: Subscribe,
    sign_in: Option<Box<SignIn>>,
    /// The SUBSCRIBE of this attempt, whose Call-ID and tag make the dialogs.
    draft: Draft,
    tag: u64,
    attempt: u32,
    began: Instant,
    /// Whether a notifier has come forward in this attempt.
    established: bool,
    /// Until when notifiers may come forward (Timer N).
    awaiting: Option<Instant>,
    /// For how long the subscription was granted by the answer to the first SUBSCRIBE, in seconds.
    granted: Option<u32>,
    branches: Vec<Branch>,
    last_branch: u32,
    raises: u8,
    failures: u32,
    retry_at: Option<Instant>,
    leaving: bool,
    state: SubscriptionState,
    queued: Option<Instant>,
}

/// The subscription at one notifier.
struct Branch {
    number: u32,
    dialog: Dialog,
    expires: Instant,
    refresh_at: Option<Instant>,
    /// Until when a NOTIFY has to come after a SUBSCRIBE (Timer N).
    overdue_at: Option<Instant>,
    pending: bool,
}

impl Subscribed {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let branches = self.branches.iter().flat_map(|branch| {
            let refresh = branch.refresh_at;
            [refresh, branch.overdue_at, Some(branch.expires)]
        });
        let own = [self.awaiting, self.retry_at];
        branches.chain(own).flatten().min()
    }

    pub(super) fn is_queued(&self, at: Instant) -> bool {
        self.queued == Some(at)
    }

    /// How it stands by what its notifiers have said.
    fn judged(&self) -> SubscriptionState {
        let active = self.branches.iter().filter(|branch| !branch.pending);
        match active.map(|branch| branch.expires).max() {
            Some(until) => SubscriptionState::Active { until },
            None => SubscriptionState::Pending,
        }
    }
}

impl Agent {
    /// Subscribes to somebody's state, and keeps that up until [`unsubscribe`](Self::unsubscribe) or
    /// until the notifier ends it for good. [`Event::Subscription`] tells how it stands,
    /// [`Event::Notified`] the state.
    ///
    /// # Errors
    /// [`CommandError`] where nothing was sent.
    pub fn subscribe(
        &mut self,
        now: Instant,
        command: Subscribe,
    ) -> Result<SubscribeId, CommandError> {
        if self.draining {
            return Err(CommandError::Draining);
        }
        if self.subscriptions.len() >= self.config.max_subscriptions {
            return Err(CommandError::Full);
        }
        draft::check(&command.headers, None)?;
        let lines = [("Event".to_owned(), command.event.clone())];
        draft::check(&lines.to_vec(), None)?;
        let hop = command.route.first().unwrap_or(&command.target);
        self.check_route(hop, command.listener)?;
        let id = SubscribeId(self.next_id());
        let (draft, tag) = self.subscribe_draft(&command)?;
        let sign_in = command.account.as_ref().map(SignIn::new);
        let subscribed = Subscribed {
            command,
            sign_in,
            draft,
            tag,
            attempt: 0,
            began: now,
            established: false,
            awaiting: None,
            granted: None,
            branches: Vec::new(),
            last_branch: 0,
            raises: 0,
            failures: 0,
            retry_at: None,
            leaving: false,
            state: SubscriptionState::Subscribing,
            queued: None,
        };
        self.subscriptions.insert(id, Box::new(subscribed));
        self.tell_subscription(id, SubscriptionState::Subscribing);
        self.send_first_subscribe(now, id);
        self.flush(now);
        Ok(id)
    }

    /// Takes a subscription back. [`SubscriptionState::Ended`] follows.
    pub fn unsubscribe(&mut self, now: Instant, id: SubscribeId) {
        let Some(subscribed) = self.subscriptions.get_mut(&id).filter(|s| !s.leaving) else {
            return;
        };
        subscribed.leaving = true;
        let numbers: Vec<_> = subscribed.branches.iter().map(|b| b.number).collect();
        if numbers.is_empty() {
            // A notifier that comes forward now gets 481, which ends it there as well.
            self.subscription_over(id, Lapse::TakenBack);
        }
        for number in numbers {
            self.send_refresh_subscribe(now, id, number);
        }
        self.requeue_subscription(id);
        self.flush(now);
    }

    /// Takes every subscription back.
    pub fn unsubscribe_all(&mut self, now: Instant) {
        let all: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in all {
            self.unsubscribe(now, id);
        }
    }

    /// Asks the notifiers of a subscription for their whole state, as after a document was missed.
    pub fn refetch(&mut self, now: Instant, id: SubscribeId) {
        let subscribed = self.subscriptions.get(&id).filter(|s| !s.leaving);
        let Some(subscribed) = subscribed else { return };
        let idle = subscribed.branches.iter();
        let idle = idle.filter(|branch| branch.overdue_at.is_none());
        let numbers: Vec<_> = idle.map(|branch| branch.number).collect();
        for number in numbers {
            self.send_refresh_subscribe(now, id, number);
        }
        self.requeue_subscription(id);
        self.flush(now);
    }

    fn subscribe_draft(&mut self, command: &Subscribe) -> Result<(Draft, u64), CommandError> {
        let apart = Apart {
            target: command.target.clone(),
            from: command.from.clone(),
            to: None,
            route: command.route.clone(),
            listener: command.listener,
        };
        let draft = self.draft_apart(Method::Subscribe, &apart)?;
        let tag = draft
            .from
            .tag()
            .and_then(|t| u64::from_str_radix(t, 16).ok());
        let tag = tag.ok_or_else(|| CommandError::Header("From".into()))?;
        Ok((draft, tag))
    }

    fn send_first_subscribe(&mut self, now: Instant, id: SubscribeId) {
        let timer_n = self.config.timers.timeout();
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscribed.attempt += 1;
        subscribed.began = now;
        subscribed.established = false;
        subscribed.retry_at = None;
        subscribed.granted = None;
        subscribed.awaiting = Some(now + timer_n);
        self.subscriber_tags.insert(subscribed.tag, id);
        let headers = subscribe_headers(&subscribed.command, subscribed.command.expires);
        let draft = subscribed.draft.clone();
        let draft = draft.with(headers, subscribed.command.body.clone());
        let purpose = Purpose::Subscribe(id, subscribed.attempt, None);
        let sign_in = subscribed.sign_in.clone();
        self.requeue_subscription(id);
        self.run_errand(now, purpose, draft, sign_in, None);
    }

    /// Refreshes at one notifier, or takes the subscription back there.
    fn send_refresh_subscribe(&mut self, now: Instant, id: SubscribeId, number: u32) {
        let timer_n = self.config.timers.timeout();
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let expires = match subscribed.leaving {
            true => 0,
            false => subscribed.command.expires,
        };
        let headers = subscribe_headers(&subscribed.command, expires);
        let listener = subscribed.command.listener;
        let purpose = Purpose::Subscribe(id, subscribed.attempt, Some(number));
        let sign_in = subscribed.sign_in.clone();
        let mut branches = subscribed.branches.iter_mut();
        let Some(branch) = branches.find(|branch| branch.number == number) else {
            return;
        };
        branch.refresh_at = None;
        branch.overdue_at = Some(now + timer_n);
        let sequence = branch.dialog.next_sequence();
        let draft = Draft::in_dialog(&branch.dialog, Method::Subscribe, sequence, listener);
        let body = subscribed.command.body.clone();
        self.run_errand(now, purpose, draft.with(headers, body), sign_in, None);
    }

    /// The CSeq number of a SUBSCRIBE that is sent once more.
    pub(super) fn subscribe_sequence(
        &mut self,
        id: SubscribeId,
        branch: Option<u32>,
    ) -> Option<u32> {
        let subscribed = self.subscriptions.get_mut(&id)?;
        let Some(number) = branch else {
            subscribed.draft.sequence = (subscribed.draft.sequence + 1) & 0x7fff_ffff;
            return Some(subscribed.draft.sequence);
        };
        let mut branches = subscribed.branches.iter_mut();
        let branch = branches.find(|branch| branch.number == number)?;
        Some(branch.dialog.next_sequence())
    }

    /// The final response to a SUBSCRIBE of ours, or none.
    pub(super) fn subscribe_done(
        &mut self,
        now: Instant,
        (id, attempt, branch): (SubscribeId, u32, Option<u32>),
        done: Done,
    ) {
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        if done.sign_in.is_some() {
            subscribed.sign_in = done.sign_in;
        }
        if subscribed.attempt != attempt {
            return;
        }
        let response = done.result.as_ref().ok();
        let status = response.and_then(Message::status);
        let raised = status == Some(StatusCode::INTERVAL_TOO_BRIEF)
            && response.is_some_and(|response| subscribed.lengthen(response));
        match branch {
            None if raised => self.subscribe_anew(now, id),
            Some(number) if raised => self.send_refresh_subscribe(now, id, number),
            None => self.first_subscribe_done(now, id, response),
            Some(number) => self.refresh_done(now, id, number, response),
        }
        self.requeue_subscription(id);
    }

    fn first_subscribe_done(&mut self, now: Instant, id: SubscribeId, response: Option<&Message>) {
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let status = response.and_then(Message::status);
        match status {
            Some(status) if status.is_success() => {
                let granted = response.and_then(|response| response.expires().ok().flatten());
                subscribed.granted = granted;
            }
            // A notifier has come forward before: the answer is one of another branch, or of a proxy.
            _ if !subscribed.branches.is_empty() => {}
            Some(status) => {
                let wanted = response.and_then(|r| r.retry_after().ok().flatten());
                let wanted = wanted.map(|it| it.seconds);
                self.lapse(now, id, Lapse::Refused(status), wanted);
            }
            None => self.lapse(now, id, Lapse::Silent, None),
        }
    }

    /// RFC 6665 §4.1.2.2: some answers say that the notifier knows the subscription no more; after
    /// others it holds until it expires.
    fn refresh_done(
        &mut self,
        now: Instant,
        id: SubscribeId,
        number: u32,
        response: Option<&Message>,
    ) {
        let part = 0.8 + 0.1 * self.rng.next_f64();
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let leaving = subscribed.leaving;
        let asked = subscribed.command.expires;
        let mut branches = subscribed.branches.iter_mut();
        let Some(branch) = branches.find(|branch| branch.number == number) else {
            return;
        };
        match response.and_then(Message::status) {
            Some(status) if status.is_success() && leaving => {}
            Some(status) if status.is_success() => {
                let granted = response.and_then(|response| response.expires().ok().flatten());
                let granted = Duration::from_secs(u64::from(granted.unwrap_or(asked)));
                branch.expires = now + granted;
                branch.refresh_at = Some(now + granted.mul_f64(part));
            }
            Some(status) if leaving || is_end(status) => {
                self.branch_gone(now, id, number, Lapse::Refused(status), None);
            }
            None if leaving => self.branch_gone(now, id, number, Lapse::Silent, None),
            _ => {
                branch.overdue_at = None;
                let left = (branch.expires - now).div_f64(2.0);
                branch.refresh_at = Some(now + left.max(Duration::from_secs(1)));
            }
        }
    }

    /// The subscription of ours that a NOTIFY is for, by its To tag and Call-ID.
    pub(super) fn subscribed_of(&self, request: &Message) -> Option<SubscribeId> {
        let to = request.to().ok()?;
        let tag = to.tag().filter(|tag| tag.len() == 16)?;
        let id = *self
            .subscriber_tags
            .get(&u64::from_str_radix(tag, 16).ok()?)?;
        let subscribed = self.subscriptions.get(&id)?;
        (request.call_id().ok()? == subscribed.draft.call_id).then_some(id)
    }

    /// A NOTIFY for a subscription of ours (RFC 6665 §4.1.3).
    pub(super) fn on_notify(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        let Some(id) = self.subscribed_of(request) else {
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            return self.refuse(now, arrival, request, &Refusal::new(status));
        };
        let noted = self.note_notify(now, id, request);
        let status = noted
            .as_ref()
            .map_or_else(|status| *status, |_| StatusCode::OK);
        let tag = request.to().ok().and_then(|to| to.tag().map(str::to_owned));
        let reply = Reply::new(status);
        self.answer_once(now, (arrival, request, key), reply, tag.as_deref());
        if let Ok(number) = noted {
            self.events.push_back(Event::Notified {
                subscription: id,
                notifier: number,
                request: request.clone(),
            });
            self.take_news(now, id, number, request);
            self.requeue_subscription(id);
        }
    }

    /// Finds the notifier of a NOTIFY, or makes its dialog; the error is the status to refuse it with.
    fn note_notify(
        &mut self,
        now: Instant,
        id: SubscribeId,
        request: &Message,
    ) -> Result<u32, StatusCode> {
        let unknown = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
        let subscribed = self.subscriptions.get_mut(&id).ok_or(unknown)?;
        let event = request.event().ok().flatten();
        let event = event.filter(|event| is_event(event, &subscribed.command.event));
        if event.is_none() {
            return Err(StatusCode::BAD_EVENT);
        }
        let state = request.parameterized(Name::SubscriptionState);
        if state.ok().flatten().is_none() {
            return Err(StatusCode::BAD_REQUEST);
        }
        let from = request.from().map_err(|_| StatusCode::BAD_REQUEST)?;
        let remote = from.tag().unwrap_or_default();
        let sequence = request.cseq().map_err(|_| StatusCode::BAD_REQUEST)?;
        let known = subscribed.branches.iter_mut();
        if let Some(branch) = known.into_iter().find(|b| b.dialog.remote_tag() == remote) {
            let ordered = branch.dialog.check_sequence(sequence.number());
            ordered.map_err(|_| StatusCode::SERVER_INTERNAL_ERROR)?;
            branch.dialog.refresh_target(request);
            return Ok(branch.number);
        }
        let more = match subscribed.command.forks {
            true => subscribed.branches.len() < MAX_BRANCHES,
            false => subscribed.branches.is_empty(),
        };
        if subscribed.awaiting.is_none() || subscribed.leaving || !more {
            return Err(unknown);
        }
        let tag = format!("{:016x}", subscribed.tag);
        let dialog = Dialog::uas(request, &tag, subscribed.draft.sequence);
        let mut dialog = dialog.map_err(|_| StatusCode::BAD_REQUEST)?;
        dialog.confirm();
        subscribed.established = true;
        subscribed.last_branch += 1;
        let number = subscribed.last_branch;
        subscribed.branches.push(Branch {
            number,
            dialog,
            expires: now,
            refresh_at: None,
            overdue_at: None,
            pending: false,
        });
        Ok(number)
    }

    /// Takes in what a NOTIFY says of the subscription.
    fn take_news(&mut self, now: Instant, id: SubscribeId, number: u32, request: &Message) {
        let part = 0.8 + 0.1 * self.rng.next_f64();
        let state = request.parameterized(Name::SubscriptionState);
        let (Ok(Some(state)), Some(subscribed)) = (state, self.subscriptions.get_mut(&id)) else {
            return;
        };
        let seconds = |name: &str| state.param(name).and_then(|text| text.parse::<u32>().ok());
        if state.is("terminated") {
            let reason = state.param("reason").unwrap_or_default();
            let lapse = Lapse::Ended(Reason::parse(&reason));
            let wanted = seconds("retry-after");
            return self.branch_gone(now, id, number, lapse, wanted);
        }
        let granted = subscribed.granted.unwrap_or(subscribed.command.expires);
        let mut branches = subscribed.branches.iter_mut();
        let Some(branch) = branches.find(|branch| branch.number == number) else {
            return;
        };
        let fresh = branch.refresh_at.is_none();
        if !subscribed.leaving {
            branch.overdue_at = None;
        }
        branch.pending = !state.is("active");
        let said = seconds("expires");
        if let Some(seconds) = said.or(fresh.then_some(granted)) {
            let left = Duration::from_secs(u64::from(seconds.min(MAX_EXPIRES)));
            branch.expires = now + left;
            if !subscribed.leaving {
                branch.refresh_at = Some(now + left.mul_f64(part));
            }
        }
        if subscribed.leaving {
            return;
        }
        if now - subscribed.began >= LASTING {
            subscribed.failures = 0;
        }
        let state = subscribed.judged();
        self.tell_subscription(id, state);
    }

    /// One notifier has ended the subscription, or is lost; with the last of them it has lapsed.
    fn branch_gone(
        &mut self,
        now: Instant,
        id: SubscribeId,
        number: u32,
        lapse: Lapse,
        wanted: Option<u32>,
    ) {
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscribed.branches.retain(|branch| branch.number != number);
        if !subscribed.branches.is_empty() {
            return;
        }
        match subscribed.leaving {
            true => self.subscription_over(id, Lapse::TakenBack),
            false => self.lapse(now, id, lapse, wanted),
        }
    }

    /// The subscription is gone: it is made anew, at once or later, or not at all (RFC 6665 §4.1.3).
    fn lapse(&mut self, now: Instant, id: SubscribeId, lapse: Lapse, wanted: Option<u32>) {
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscribed.awaiting = None;
        if subscribed.leaving || lapse.is_final() {
            return self.subscription_over(id, lapse);
        }
        let lasted = subscribed.established && now - subscribed.began >= LASTING;
        let wanted = wanted.map(|seconds| Duration::from_secs(u64::from(seconds)).min(MAX_RETRY));
        if lasted {
            subscribed.failures = 0;
        }
        if lapse.is_anew_at_once() && lasted && wanted.is_none() {
            return self.subscribe_anew(now, id);
        }
        let failures = subscribed.failures;
        subscribed.failures += 1;
        let drawn = pause(failures, &mut self.rng);
        let retry_at = now + wanted.unwrap_or_default().max(drawn);
        if let Some(subscribed) = self.subscriptions.get_mut(&id) {
            subscribed.retry_at = Some(retry_at);
        }
        self.tell_subscription(id, SubscriptionState::Lapsed { lapse, retry_at });
        self.requeue_subscription(id);
    }

    /// A new attempt, with a Call-ID and tag of its own.
    fn subscribe_anew(&mut self, now: Instant, id: SubscribeId) {
        let Some(subscribed) = self.subscriptions.get(&id) else {
            return;
        };
        let (old, command) = (subscribed.tag, subscribed.command.clone());
        self.subscriber_tags.remove(&old);
        let Ok((draft, tag)) = self.subscribe_draft(&command) else {
            return self.subscription_over(id, Lapse::Silent);
        };
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        (subscribed.draft, subscribed.tag) = (draft, tag);
        subscribed.branches.clear();
        self.tell_subscription(id, SubscriptionState::Subscribing);
        self.send_first_subscribe(now, id);
    }

    fn subscription_over(&mut self, id: SubscribeId, lapse: Lapse) {
        if let Some(subscribed) = self.subscriptions.remove(&id) {
            self.subscriber_tags.remove(&subscribed.tag);
            self.events.push_back(Event::Subscription {
                subscription: id,
                state: SubscriptionState::Ended { lapse },
            });
        }
    }

    pub(super) fn subscription_due(&mut self, now: Instant, at: Instant, id: SubscribeId) {
        let Some(subscribed) = self.subscriptions.get_mut(&id).filter(|s| s.is_queued(at)) else {
            return;
        };
        subscribed.queued = None;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(subscribed.awaiting) {
            subscribed.awaiting = None;
            if subscribed.branches.is_empty() {
                self.lapse(now, id, Lapse::Silent, None);
                return self.requeue_subscription(id);
            }
        }
        if due(subscribed.retry_at) {
            return self.subscribe_anew(now, id);
        }
        let branches = subscribed.branches.iter();
        let branches: Vec<_> = branches
            .map(|b| {
                (
                    b.number,
                    due(b.overdue_at) || b.expires <= now,
                    due(b.refresh_at),
                )
            })
            .collect();
        for (number, lost, refresh) in branches {
            if lost {
                self.branch_gone(now, id, number, Lapse::Silent, None);
            } else if refresh {
                self.send_refresh_subscribe(now, id, number);
            }
        }
        self.requeue_subscription(id);
    }

    pub(super) fn requeue_subscription(&mut self, id: SubscribeId) {
        let Some(subscribed) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let deadline = subscribed.deadline();
        if subscribed.queued == deadline {
            return;
        }
        subscribed.queued = deadline;
        if let Some(at) = deadline {
            self.deadlines.push(at, Deadline::Subscription(id));
            self.compact();
        }
    }

    fn tell_subscription(&mut self, id: SubscribeId, state: SubscriptionState) {
        if let Some(subscribed) = self.subscriptions.get_mut(&id) {
            let first = subscribed.attempt == 0;
            if subscribed.state == state && !first {
                return;
            }
            subscribed.state = state.clone();
        }
        self.events.push_back(Event::Subscription {
            subscription: id,
            state,
        });
    }
}

impl Subscribed {
    /// Takes in 423: true where the notifier wants a longer time that we can ask for.
    fn lengthen(&mut self, response: &Message) -> bool {
        let least = response.min_expires().ok().flatten().unwrap_or_default();
        let helps = least > self.command.expires
            && least <= MAX_EXPIRES
            && self.raises < MAX_RAISES
            && !self.leaving;
        if helps {
            self.raises += 1;
            self.command.expires = least;
        }
        helps
    }
}

impl Lapse {
    /// Whether asking again would be of no use.
    fn is_final(&self) -> bool {
        match self {
            Self::Ended(reason) => matches!(
                reason,
                Reason::Rejected | Reason::NoResource | Reason::Invariant
            ),
            Self::Refused(status) => match status.code() {
                404 | 408 | 480 | 481 | 486 | 491 => false,
                code => matches!(code, 300..=499 | 501 | 505 | 513 | 600..),
            },
            Self::TakenBack => true,
            Self::Silent => false,
        }
    }

    fn is_anew_at_once(&self) -> bool {
        match self {
            Self::Ended(reason) => !matches!(reason, Reason::Probation | Reason::Giveup),
            Self::Refused(_) | Self::Silent => true,
            Self::TakenBack => false,
        }
    }
}

/// Whether a refusal of a refresh ends the subscription (RFC 6665 §4.1.2.2).
fn is_end(status: StatusCode) -> bool {
    matches!(
        status.code(),
        404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604
    )
}

/// Whether an Event names what was subscribed to, with the same id.
fn is_event(event: &crate::sip::header::value::Parameterized, wanted: &str) -> bool {
    let Ok(wanted) = crate::sip::header::value::Parameterized::parse(wanted) else {
        return false;
    };
    event.is(&wanted.value()) && event.param("id") == wanted.param("id")
}

fn subscribe_headers(command: &Subscribe, expires: u32) -> Headers {
    let mut headers = vec![
        ("Event".to_owned(), command.event.clone()),
        ("Expires".to_owned(), expires.to_string()),
    ];
    if !command.accept.is_empty() {
        headers.push(("Accept".to_owned(), command.accept.join(", ")));
    }
    headers.extend(command.headers.iter().cloned());
    headers
}
