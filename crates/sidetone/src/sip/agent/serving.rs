//! SUBSCRIBE and PUBLISH as they arrive, and the NOTIFYs that follow (RFC 6665 §4.2, RFC 3903 §6).

use std::net::IpAddr;
use std::sync::Arc;

use super::command::Body;
use super::draft::Draft;
use super::errand::{Done, Purpose};
use super::event::Event;
use super::reply::Refusal;
use super::{Agent, Arrival};
use crate::rng::Rng;
use crate::sip::event::compositor::Compositor;
use crate::sip::event::notifier::{Answer, Delivery, Notice, Notifier, Origin, SubscriptionId};
use crate::sip::event::package::{Asking, EventConfig, EventCounters};
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::registrar::Reply;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transport::access::Admission;
use crate::time::Instant;
use bytes::Bytes;

/// Whose state may be watched here, by whom, and what it is.
pub(super) struct EventServer {
    config: Arc<EventConfig>,
    pub(super) notifier: Notifier,
    pub(super) compositor: Compositor,
    /// Whether NOTIFYs are being sent just now, so that one that fails at once does not begin anew.
    notifying: bool,
}

impl EventServer {
    pub(super) fn new(config: EventConfig, rng: &mut Rng) -> Self {
        let config = Arc::new(config);
        Self {
            notifier: Notifier::new(Arc::clone(&config), rng.fork()),
            compositor: Compositor::new(Arc::clone(&config), rng.fork()),
            config,
            notifying: false,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.notifier.handle_timeout(now);
        self.compositor.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let notifier = self.notifier.poll_timeout();
        notifier
            .into_iter()
            .chain(self.compositor.poll_timeout())
            .min()
    }
}

impl Agent {
    /// Puts a document of our own into a resource's state, as the source number `source`; `None` takes
    /// it back. Subscribers are told. False where there is no such package, or no server of events.
    pub fn put_state(
        &mut self,
        now: Instant,
        package: &str,
        resource: &str,
        source: u64,
        document: Option<Bytes>,
    ) -> bool {
        let Some(server) = &mut self.event_server else {
            return false;
        };
        let Some(number) = server.config.find(package) else {
            return false;
        };
        let topic = (number, resource.into());
        server.compositor.put(topic, source, document);
        self.go_on_notifying(now);
        self.flush(now);
        true
    }

    /// The state of a resource, as a subscriber would be told it; `None` where there is no such
    /// package.
    pub fn state_of(&mut self, package: &str, resource: &str) -> Option<Bytes> {
        let server = self.event_server.as_mut()?;
        let number = server.config.find(package)?;
        Some(server.compositor.state(&(number, resource.into())))
    }

    /// Decides on a subscription that waits ([`Event::SubscriptionWaits`]). False where it does not
    /// wait any more.
    pub fn decide_subscription(&mut self, now: Instant, id: SubscriptionId, grant: bool) -> bool {
        let Some(server) = &mut self.event_server else {
            return false;
        };
        let decided = server.notifier.decide(now, id, grant);
        self.go_on_notifying(now);
        self.flush(now);
        decided
    }

    /// Ends all subscriptions of others; they may be made anew after the configured Retry-After.
    pub fn end_subscriptions(&mut self, now: Instant) {
        let seconds = self.config.retry_after;
        if let Some(server) = &mut self.event_server {
            server.notifier.end_all(now, seconds);
            self.go_on_notifying(now);
            self.flush(now);
        }
    }

    /// Subscriptions of others that are held.
    pub fn subscribed(&self) -> usize {
        let server = self.event_server.as_ref();
        server.map_or(0, |server| server.notifier.len())
    }

    /// Publications of others that are held.
    pub fn published(&self) -> usize {
        let server = self.event_server.as_ref();
        server.map_or(0, |server| server.compositor.len())
    }

    /// What the server of events has counted.
    pub fn event_counters(&self) -> EventCounters {
        let server = self.event_server.as_ref();
        server.map_or_else(EventCounters::default, |server| {
            server.notifier.counters().and(server.compositor.counters())
        })
    }

    /// Whether nothing is left of any subscription, publication or message.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn has_no_events(&self) -> bool {
        let server = self.event_server.as_ref();
        server.is_none_or(|server| server.notifier.is_clean())
            && self.subscriptions.is_empty()
            && self.subscriber_tags.is_empty()
            && self.publications.is_empty()
            && self.inbox.is_empty()
            && self.errands.is_empty()
    }

    /// Whether a SUBSCRIBE or PUBLISH has to be signed although its source is known.
    pub(super) fn raise_for_events(&self, method: &Method, admission: Admission) -> Admission {
        let strict = self
            .event_server
            .as_ref()
            .is_some_and(|s| !s.config.strangers);
        let asked = matches!(method, Method::Subscribe | Method::Publish);
        match admission {
            Admission::Open if strict && asked => Admission::Authenticate,
            other => other,
        }
    }

    /// Whether a SUBSCRIBE belongs to a subscription and comes from where that was made.
    pub(super) fn is_from_subscriber(&self, request: &Message, source: IpAddr) -> bool {
        let Some(server) = &self.event_server else {
            return false;
        };
        let id = server.notifier.subscription_of(request);
        id.and_then(|id| server.notifier.source(id)) == Some(source)
    }

    /// A SUBSCRIBE outside of a dialog.
    pub(super) fn on_subscribe(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        user: Option<&str>,
    ) {
        let origin = Origin {
            listener: self.listener_id_of(arrival),
            flow: self.flow_of(arrival, request),
        };
        let Some(server) = &mut self.event_server else {
            return self.refuse_method(now, arrival, request);
        };
        let resource = request.request_uri().ok();
        let resource = resource.and_then(|uri| server.config.resource_of(&uri));
        let answer = match &resource {
            Some(resource) => {
                let asking = asking(resource, &server.config.domain, arrival, user);
                let notifier = &mut server.notifier;
                notifier.handle_subscribe(now, request, resource, &asking, origin)
            }
            None => Answer {
                reply: Reply::new(StatusCode::NOT_FOUND),
                tag: None,
            },
        };
        self.answer_once(
            now,
            (arrival, request, key),
            answer.reply,
            answer.tag.as_deref(),
        );
        self.go_on_notifying(now);
    }

    /// A SUBSCRIBE within a dialog: one that it refreshes or takes back.
    pub(super) fn on_resubscribe(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
    ) {
        let Some(server) = &mut self.event_server else {
            return self.refuse_method(now, arrival, request);
        };
        let Answer { reply, tag } = server.notifier.handle_refresh(now, request);
        self.answer_once(now, (arrival, request, key), reply, tag.as_deref());
        self.go_on_notifying(now);
    }

    pub(super) fn on_publish(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        key: ServerKey,
        user: Option<&str>,
    ) {
        let Some(server) = &mut self.event_server else {
            return self.refuse_method(now, arrival, request);
        };
        let resource = request.request_uri().ok();
        let resource = resource.and_then(|uri| server.config.resource_of(&uri));
        let reply = match &resource {
            Some(resource) => {
                let asking = asking(resource, &server.config.domain, arrival, user);
                let compositor = &mut server.compositor;
                compositor.handle_publish(now, request, resource, &asking)
            }
            None => Reply::new(StatusCode::NOT_FOUND),
        };
        self.answer_once(now, (arrival, request, key), reply, None);
        self.go_on_notifying(now);
    }

    fn refuse_method(&mut self, now: Instant, arrival: Arrival, request: &Message) {
        let allow = self.config.allow();
        let name = crate::sip::header::Name::Allow;
        let refusal = Refusal::with(StatusCode::METHOD_NOT_ALLOWED, name, allow);
        self.refuse(now, arrival, request, &refusal);
    }

    /// Tells subscribers what has changed.
    pub(super) fn go_on_notifying(&mut self, now: Instant) {
        let Some(server) = self.event_server.as_mut().filter(|s| !s.notifying) else {
            return;
        };
        server.notifying = true;
        while let Some(notice) = self.next_notice(now) {
            self.send_notice(now, notice);
        }
        let Some(server) = &mut self.event_server else {
            return;
        };
        server.notifying = false;
        while let Some(waiting) = server.notifier.poll_waiting() {
            self.events.push_back(Event::SubscriptionWaits(waiting));
        }
    }

    fn next_notice(&mut self, now: Instant) -> Option<Notice> {
        let server = self.event_server.as_mut()?;
        while let Some(topic) = server.compositor.poll_changed() {
            server.notifier.handle_change(now, &topic);
        }
        server.notifier.poll_notice(now, &mut server.compositor)
    }

    fn send_notice(&mut self, now: Instant, notice: Notice) {
        let id = notice.subscription;
        let server = self.event_server.as_mut();
        let Some((dialog, listener, flow)) = server.and_then(|s| s.notifier.dialog(id)) else {
            return;
        };
        let sequence = dialog.next_sequence();
        let draft = Draft::in_dialog(dialog, Method::Notify, sequence, listener);
        let body = notice.body.map(|(content_type, bytes)| Body {
            content_type,
            bytes,
        });
        let draft = draft.with(notice.headers, body);
        self.run_errand(now, Purpose::Notify(id), draft, None, flow);
    }

    /// What became of a NOTIFY of ours.
    pub(super) fn notice_done(&mut self, now: Instant, id: SubscriptionId, done: Done) {
        let delivery = match &done.result {
            Ok(response) => Delivery::Answered {
                status: response.status().unwrap_or(StatusCode::BAD_REQUEST),
                retry_after: response.retry_after().ok().flatten().map(|it| it.seconds),
            },
            Err(_) => Delivery::Failed,
        };
        if let Some(server) = &mut self.event_server {
            server.notifier.handle_delivery(now, id, delivery);
            self.go_on_notifying(now);
        }
    }
}

fn asking<'a>(
    resource: &'a str,
    domain: &'a str,
    arrival: Arrival,
    user: Option<&'a str>,
) -> Asking<'a> {
    Asking {
        resource,
        domain,
        user,
        source: arrival.source,
        listener: arrival.listener,
    }
}
