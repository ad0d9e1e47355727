//! The notifier: subscriptions of others to the state of our resources (RFC 6665 §4.2).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::compositor::{Compositor, Topic, is_type, lifetime, package_of};
use super::package::{Asking, Decision, EventConfig, EventCounters};
use crate::id::ListenerId;
use crate::rng::Rng;
use crate::sip::dialog::Dialog;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::registrar::Reply;
use crate::sip::status::StatusCode;
use crate::sip::transaction::queue::DeadlineQueue;
use crate::sip::transport::Path;
use crate::time::{Duration, Instant};

/// The seconds after which one who met a bound may try again.
const FULL_FOR: u32 = 60;

/// The longest Retry-After of a subscriber that is waited for.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// The longest id of an Event.
const MAX_EVENT_ID: usize = 128;

/// One subscription of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

/// Why a subscription ends (RFC 6665 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is to be made anew at once, perhaps elsewhere.
    Deactivated,
    /// It is to be made anew later.
    Probation,
    /// Somebody has decided against it.
    Rejected,
    /// It was not refreshed in time, or taken back.
    Timeout,
    /// Nobody has decided on it in time; it may be asked for anew later.
    Giveup,
    /// The resource is gone for good.
    NoResource,
    /// The state can never change again.
    Invariant,
    /// Any other word, or none.
    Other(String),
}

impl Reason {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Giveup => "giveup",
            Self::NoResource => "noresource",
            Self::Invariant => "invariant",
            Self::Other(word) => word,
        }
    }

    /// The reason of this word.
    pub fn parse(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "deactivated" => Self::Deactivated,
            "probation" => Self::Probation,
            "rejected" => Self::Rejected,
            "timeout" => Self::Timeout,
            "giveup" => Self::Giveup,
            "noresource" => Self::NoResource,
            "invariant" => Self::Invariant,
            _ => Self::Other(word.to_owned()),
        }
    }
}

/// Who waits for a decision ([`Decision::Wait`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// To be given to [`Notifier::decide`].
    pub subscription: SubscriptionId,
    /// The package.
    pub package: String,
    /// The user part of the resource.
    pub resource: String,
    /// Who signed in.
    pub user: Option<String>,
    /// The subscriber's URI, by its own claim where it has not signed in.
    pub from: String,
}

/// How a SUBSCRIBE came, beside who asks.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The socket that it came in by, and NOTIFYs leave by.
    pub listener: Option<ListenerId>,
    /// The way that NOTIFYs go if not to the Contact.
    pub flow: Option<Path>,
}

/// What a SUBSCRIBE is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status and header fields.
    pub reply: Reply,
    /// Our To tag, where it made or belongs to a subscription.
    pub tag: Option<String>,
}

/// A NOTIFY to be sent within a subscription's dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Event and Subscription-State.
    pub headers: Vec<(String, String)>,
    /// The media type and the document; none while nobody has decided.
    pub body: Option<(String, Bytes)>,
}

/// What became of a NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A final response.
    Answered {
        /// Its status.
        status: StatusCode,
        /// Its Retry-After, in seconds.
        retry_after: Option<u32>,
    },
    /// None in time, or no way.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending,
    Active,
    Ended(Reason, Option<u32>),
}

struct Subscription {
    dialog: Dialog,
    tag: u64,
    topic: Topic,
    event_id: Option<String>,
    merge_key: Box<str>,
    source: IpAddr,
    listener: Option<ListenerId>,
    flow: Option<Path>,
    state: State,
    expires: Instant,
    version: u32,
    /// The state that it was sent last, where it has answered that.
    told: Option<Bytes>,
    /// Whether there is something to tell, and from when on.
    news: Option<Instant>,
    /// Whether a NOTIFY is under way.
    busy: bool,
    /// When the last NOTIFY went out.
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Subscription {
    /// The moment for which it waits.
    fn deadline(&self) -> Option<Instant> {
        match (self.busy, &self.state, self.news) {
            (true, State::Ended(..), _) => None,
            (true, ..) => Some(self.expires),
            (false, _, Some(news)) => Some(news.min(self.expires)),
            (false, State::Ended(..), None) => None,
            (false, _, None) => Some(self.expires),
        }
    }
}

/// Holds the subscriptions to the resources of one domain.
///
/// Hand it SUBSCRIBE requests that have been let in; it answers each. After each input, and once the
/// answer has gone out, poll [`poll_notice`](Self::poll_notice) until it says `None`, send each and
/// tell [`handle_delivery`](Self::handle_delivery) what became of it; call
/// [`handle_timeout`](Self::handle_timeout) when the moment of [`poll_timeout`](Self::poll_timeout)
/// has come. One NOTIFY of a subscription is under way at a time: what changes meanwhile is told
/// with the next.
pub struct Notifier {
    config: Arc<EventConfig>,
    rng: Rng,
    subscriptions: BTreeMap<SubscriptionId, Box<Subscription>>,
    tags: HashMap<u64, SubscriptionId>,
    merge_keys: HashSet<Box<str>>,
    topics: BTreeMap<Topic, BTreeSet<SubscriptionId>>,
    sources: HashMap<IpAddr, usize>,
    deadlines: DeadlineQueue<SubscriptionId>,
    ready: VecDeque<SubscriptionId>,
    waiting: VecDeque<Waiting>,
    counters: EventCounters,
    last: u64,
}

impl Notifier {
    /// One without subscriptions; tags are drawn from `rng`.
    pub fn new(config: Arc<EventConfig>, rng: Rng) -> Self {
        Self {
            config,
            rng,
            subscriptions: BTreeMap::new(),
            tags: HashMap::new(),
            merge_keys: HashSet::new(),
            topics: BTreeMap::new(),
            sources: HashMap::new(),
            deadlines: DeadlineQueue::default(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            counters: EventCounters::default(),
            last: 0,
        }
    }

    /// Subscriptions held, those included whose last NOTIFY is under way.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Whether every table is empty that subscriptions fill.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_clean(&self) -> bool {
        self.subscriptions.is_empty()
            && self.tags.is_empty()
            && self.merge_keys.is_empty()
            && self.topics.is_empty()
            && self.sources.is_empty()
    }

    /// What was counted so far.
    pub fn counters(&self) -> EventCounters {
        self.counters
    }

    /// The subscription that a request belongs to by its tags and Call-ID.
    pub fn subscription_of(&self, request: &Message) -> Option<SubscriptionId> {
        let to = request.to().ok()?;
        let tag = to.tag().filter(|tag| tag.len() == 16)?;
        let id = *self.tags.get(&u64::from_str_radix(tag, 16).ok()?)?;
        let from = request.from().ok()?;
        let remote = from.tag().unwrap_or_default();
        let call_id = request.call_id().ok()?;
        let subscription = self.subscriptions.get(&id)?;
        subscription.dialog.matches(call_id, remote).then_some(id)
    }

    /// The address that a subscription was made from.
    pub fn source(&self, id: SubscriptionId) -> Option<IpAddr> {
        Some(self.subscriptions.get(&id)?.source)
    }

    /// The dialog of a subscription, and how requests in it are sent.
    pub fn dialog(
        &mut self,
        id: SubscriptionId,
    ) -> Option<(&mut Dialog, Option<ListenerId>, Option<Path>)> {
        let subscription = self.subscriptions.get_mut(&id)?;
        let (listener, flow) = (subscription.listener, subscription.flow);
        Some((&mut subscription.dialog, listener, flow))
    }

    /// Takes in a SUBSCRIBE for `resource` and says what to answer (RFC 6665 §4.2.1).
    pub fn handle_subscribe(
        &mut self,
        now: Instant,
        request: &Message,
        resource: &str,
        asking: &Asking<'_>,
        origin: Origin,
    ) -> Answer {
        let answer = self.subscribe(now, request, resource, asking, origin);
        answer.unwrap_or_else(|reply| {
            self.counters.refused(reply.status);
            Answer { reply, tag: None }
        })
    }

    /// Takes in a SUBSCRIBE with a To tag: it refreshes a subscription, or takes it back.
    pub fn handle_refresh(&mut self, now: Instant, request: &Message) -> Answer {
        let Some(id) = self.subscription_of(request) else {
            let status = StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST;
            self.counters.refused(status);
            let reply = Reply::new(status);
            return Answer { reply, tag: None };
        };
        let reply = self.refresh(now, id, request);
        let tag = self.subscriptions.get(&id).map(|it| it.tag);
        let tag = tag.map(|tag| format!("{tag:016x}"));
        let reply = reply.unwrap_or_else(|reply| {
            self.counters.refused(reply.status);
            reply
        });
        Answer { reply, tag }
    }

    /// Takes in that the state of a topic has changed.
    pub fn handle_change(&mut self, now: Instant, topic: &Topic) {
        let Some(ids) = self.topics.get(topic).cloned() else {
            return;
        };
        let pause = self.config.packages.get(topic.0);
        let pause = pause.map_or(Duration::ZERO, |package| package.pause());
        for id in ids {
            let Some(subscription) = self.subscriptions.get_mut(&id) else {
                continue;
            };
            if subscription.state != State::Active || subscription.news.is_some() {
                continue;
            }
            let at = subscription.last.map_or(now, |last| last + pause);
            subscription.news = Some(at.max(now));
            self.settle(now, id);
        }
    }

    /// Takes in what became of a NOTIFY (RFC 6665 §4.2.2).
    pub fn handle_delivery(&mut self, now: Instant, id: SubscriptionId, delivery: Delivery) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.busy = false;
        let ended = matches!(subscription.state, State::Ended(..));
        match delivery {
            Delivery::Answered { status, .. } if status.is_success() => {
                // The NOTIFY that says so may still be due.
                if ended && subscription.news.is_none() {
                    return self.remove(id);
                }
            }
            Delivery::Answered {
                status,
                retry_after: Some(seconds),
            } if status != StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST && !ended => {
                self.counters.undelivered += 1;
                let pause = Duration::from_secs(u64::from(seconds)).min(MAX_RETRY);
                // What it does not know it is told in whole.
                subscription.told = None;
                subscription.news = Some(now + pause.max(Duration::from_secs(1)));
            }
            Delivery::Answered { .. } | Delivery::Failed => {
                self.counters.undelivered += 1;
                return self.remove(id);
            }
        }
        self.settle(now, id);
    }

    /// Decides on a subscription that waits: it is told the state, or that it is rejected. False
    /// where it does not wait any more.
    pub fn decide(&mut self, now: Instant, id: SubscriptionId, grant: bool) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return false;
        };
        if subscription.state != State::Pending {
            return false;
        }
        subscription.state = match grant {
            true => State::Active,
            false => State::Ended(Reason::Rejected, None),
        };
        subscription.news = Some(now);
        self.settle(now, id);
        true
    }

    /// Ends every subscription; it may be made anew after `retry_after` seconds.
    pub fn end_all(&mut self, now: Instant, retry_after: u32) {
        let ids: Vec<_> = self.subscriptions.keys().copied().collect();
        for id in ids {
            self.end(now, id, Reason::Probation, Some(retry_after));
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.deadlines.peek().filter(|(at, _)| *at <= now) {
            self.deadlines.pop();
            let due = |s: &&mut Box<Subscription>| s.due == Some(at);
            let Some(subscription) = self.subscriptions.get_mut(&id).filter(due) else {
                continue;
            };
            subscription.due = None;
            let over = subscription.expires <= now;
            if over && !matches!(subscription.state, State::Ended(..)) {
                let reason = match subscription.state {
                    State::Pending => Reason::Giveup,
                    _ => Reason::Timeout,
                };
                self.end(now, id, reason, None);
            } else {
                self.settle(now, id);
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        loop {
            let (at, id) = self.deadlines.peek()?;
            if self
                .subscriptions
                .get(&id)
                .is_some_and(|s| s.due == Some(at))
            {
                return Some(at);
            }
            self.deadlines.pop();
        }
    }

    /// The next NOTIFY to send, with the state that `compositor` has.
    pub fn poll_notice(&mut self, now: Instant, compositor: &mut Compositor) -> Option<Notice> {
        loop {
            let id = self.ready.pop_front()?;
            let Some(subscription) = self.subscriptions.get_mut(&id) else {
                continue;
            };
            if subscription.busy || subscription.news.is_none_or(|at| at > now) {
                continue;
            }
            let state = compositor.state(&subscription.topic);
            let Some(package) = self.config.packages.get(subscription.topic.0) else {
                continue;
            };
            let event = match &subscription.event_id {
                Some(id) => format!("{};id={id}", package.name()),
                None => package.name().to_owned(),
            };
            let shows = match &subscription.state {
                State::Pending => false,
                State::Active => true,
                State::Ended(reason, _) => *reason == Reason::Timeout,
            };
            let body = shows.then(|| {
                let told = subscription.told.as_ref();
                let document = package.render(&state, told, subscription.version);
                (package.content_type().to_owned(), document)
            });
            if shows {
                subscription.told = Some(state);
                subscription.version = subscription.version.wrapping_add(1);
            }
            let headers = vec![
                ("Event".to_owned(), event),
                (
                    "Subscription-State".to_owned(),
                    state_value(now, subscription),
                ),
            ];
            subscription.news = None;
            subscription.busy = true;
            subscription.last = Some(now);
            self.counters.notified += 1;
            self.queue(id);
            return Some(Notice {
                subscription: id,
                headers,
                body,
            });
        }
    }

    /// The next subscription that waits for a decision.
    pub fn poll_waiting(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    fn subscribe(
        &mut self,
        now: Instant,
        request: &Message,
        resource: &str,
        asking: &Asking<'_>,
        origin: Origin,
    ) -> Result<Answer, Reply> {
        let bad = || Reply::new(StatusCode::BAD_REQUEST);
        let config = Arc::clone(&self.config);
        let number = package_of(request, &config)?;
        let package = &config.packages[number];
        let state = match package.admits(asking) {
            Decision::Grant => State::Active,
            Decision::Wait => State::Pending,
            Decision::Refuse(status) => return Err(Reply::new(status)),
        };
        let mut accepted = request.accept().filter_map(Result::ok).peekable();
        if accepted.peek().is_some()
            && !accepted.any(|range| accepts(&range, package.content_type()))
        {
            return Err(Reply::new(StatusCode::NOT_ACCEPTABLE));
        }
        let seconds = asked_for(request, package.lifetime())?;
        let event = request.event().map_err(|_| bad())?.ok_or_else(bad)?;
        let event_id = event.param("id").map(|id| id.into_owned());
        if event_id
            .as_ref()
            .is_some_and(|id| id.len() > MAX_EVENT_ID || id.is_empty())
        {
            return Err(bad());
        }
        let merge_key: Box<str> = merge_key(request).ok_or_else(bad)?.into();
        if self.merge_keys.contains(&merge_key) {
            return Err(Reply::new(StatusCode::LOOP_DETECTED));
        }
        let source = asking.source.ip();
        self.check_room(source)?;
        let tag = self.rng.next_u64();
        let first = (self.rng.next_u32() & 0xffff) + 1;
        let dialog = Dialog::uas(request, &format!("{tag:016x}"), first).map_err(|_| bad())?;
        self.last += 1;
        let id = SubscriptionId(self.last);
        let fetch = seconds == 0;
        let subscription = Subscription {
            dialog,
            tag,
            topic: (number, resource.into()),
            event_id,
            merge_key,
            source,
            listener: origin.listener,
            flow: origin.flow,
            state: match (fetch, &state) {
                (true, State::Active) => State::Ended(Reason::Timeout, None),
                (true, _) => State::Ended(Reason::Giveup, None),
                (false, _) => state.clone(),
            },
            expires: now + Duration::from_secs(u64::from(seconds)),
            version: 0,
            told: None,
            news: Some(now),
            busy: false,
            last: None,
            due: None,
        };
        if state == State::Pending && !fetch {
            self.waiting.push_back(Waiting {
                subscription: id,
                package: package.name().to_owned(),
                resource: resource.to_owned(),
                user: asking.user.map(str::to_owned),
                from: request
                    .from()
                    .map_or(String::new(), |from| from.uri().to_string()),
            });
        }
        self.insert(id, subscription);
        self.settle(now, id);
        self.counters.subscribed += 1;
        let reply = Reply::new(StatusCode::OK).and(Name::Expires, seconds.to_string());
        let tag = Some(format!("{tag:016x}"));
        Ok(Answer { reply, tag })
    }

    fn refresh(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        request: &Message,
    ) -> Result<Reply, Reply> {
        let bad = || Reply::new(StatusCode::BAD_REQUEST);
        let number = package_of(request, &self.config)?;
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return Err(Reply::new(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST));
        };
        let event = request.event().map_err(|_| bad())?.ok_or_else(bad)?;
        // Another subscription in the same dialog is what RFC 6665 §4.5.1 has done away with.
        let same = number == subscription.topic.0
            && event.param("id").as_deref() == subscription.event_id.as_deref();
        if !same {
            return Err(Reply::new(StatusCode::BAD_EVENT));
        }
        let sequence = request.cseq().map_err(|_| bad())?.number();
        if subscription.dialog.check_sequence(sequence).is_err() {
            return Err(Reply::new(StatusCode::SERVER_INTERNAL_ERROR));
        }
        if matches!(subscription.state, State::Ended(..)) {
            return Err(Reply::new(StatusCode::CALL_TRANSACTION_DOES_NOT_EXIST));
        }
        let lifetime = self.config.packages[number].lifetime();
        let seconds = asked_for(request, lifetime)?;
        subscription.dialog.refresh_target(request);
        // Who refreshes is told everything (RFC 6665 §4.2.2).
        subscription.told = None;
        subscription.expires = now + Duration::from_secs(u64::from(seconds));
        subscription.news = Some(now);
        if seconds == 0 {
            let reason = match subscription.state {
                State::Pending => Reason::Giveup,
                _ => Reason::Timeout,
            };
            subscription.state = State::Ended(reason, None);
        } else {
            self.counters.refreshed += 1;
        }
        self.settle(now, id);
        Ok(Reply::new(StatusCode::OK).and(Name::Expires, seconds.to_string()))
    }

    fn check_room(&self, source: IpAddr) -> Result<(), Reply> {
        let of_source = self.sources.get(&source).copied().unwrap_or_default();
        let full = self.subscriptions.len() >= self.config.max_subscriptions
            || of_source >= self.config.max_subscriptions_per_source;
        match full {
            true => Err(Reply::new(StatusCode::SERVICE_UNAVAILABLE)
                .and(Name::RetryAfter, FULL_FOR.to_string())),
            false => Ok(()),
        }
    }

    fn insert(&mut self, id: SubscriptionId, subscription: Subscription) {
        let topic = subscription.topic.clone();
        self.tags.insert(subscription.tag, id);
        self.merge_keys.insert(subscription.merge_key.clone());
        self.topics.entry(topic).or_default().insert(id);
        *self.sources.entry(subscription.source).or_default() += 1;
        self.subscriptions.insert(id, Box::new(subscription));
    }

    fn remove(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(&id) else {
            return;
        };
        self.counters.ended += 1;
        self.tags.remove(&subscription.tag);
        self.merge_keys.remove(&subscription.merge_key);
        if let Some(ids) = self.topics.get_mut(&subscription.topic) {
            ids.remove(&id);
            if ids.is_empty() {
                self.topics.remove(&subscription.topic);
            }
        }
        if let Some(count) = self.sources.get_mut(&subscription.source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&subscription.source);
            }
        }
        self.waiting.retain(|waiting| waiting.subscription != id);
    }

    fn end(&mut self, now: Instant, id: SubscriptionId, reason: Reason, retry: Option<u32>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        if matches!(subscription.state, State::Ended(..)) {
            return;
        }
        subscription.state = State::Ended(reason, retry);
        subscription.news = Some(now);
        self.settle(now, id);
    }

    /// Puts a subscription among those that have something to send, or into the queue.
    fn settle(&mut self, now: Instant, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.get(&id) else {
            return;
        };
        if !subscription.busy && subscription.news.is_some_and(|at| at <= now) {
            return self.ready.push_back(id);
        }
        self.queue(id);
    }

    fn queue(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        let deadline = subscription.deadline();
        if subscription.due == deadline {
            return;
        }
        subscription.due = deadline;
        if let Some(at) = deadline {
            self.deadlines.push(at, id);
        }
        let subscriptions = &self.subscriptions;
        self.deadlines.compact(subscriptions.len(), |at, id| {
            subscriptions.get(&id).is_some_and(|s| s.due == Some(at))
        });
    }
}

/// The value of Subscription-State.
fn state_value(now: Instant, subscription: &Subscription) -> String {
    let left = (subscription.expires - now).as_secs();
    match &subscription.state {
        State::Pending => format!("pending;expires={left}"),
        State::Active => format!("active;expires={left}"),
        State::Ended(reason, None) => format!("terminated;reason={}", reason.as_str()),
        State::Ended(reason, Some(seconds)) => {
            format!(
                "terminated;reason={};retry-after={seconds}",
                reason.as_str()
            )
        }
    }
}

/// How long a subscription is asked for; nothing is fetching, or taking back.
fn asked_for(request: &Message, times: super::package::Lifetime) -> Result<u32, Reply> {
    match request.expires() {
        Ok(Some(0)) => Ok(0),
        _ => lifetime(request, times),
    }
}

fn accepts(range: &crate::sip::header::value::MediaType, text: &str) -> bool {
    is_type(range, text)
        || text
            .split_once('/')
            .is_some_and(|(kind, subtype)| range.accepts(kind, subtype))
}

/// What tells a request that came twice by different ways (RFC 3261 §8.2.2.2).
fn merge_key(request: &Message) -> Option<String> {
    let from = request.from().ok()?;
    let call_id = request.call_id().ok()?;
    let sequence = request.cseq().ok()?.number();
    let tag = from.tag().unwrap_or_default();
    Some(format!("{sequence} {tag} {call_id}"))
}
