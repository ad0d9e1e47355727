//! Subscriptions and publications, our own and those of others, as the engine has them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::engine::config::Config;
use crate::engine::core::Core;
use crate::engine::core::commands::refused;
use crate::engine::core::watching::uri;
use crate::engine::event::{CallError, CallEvent, Caller};
use crate::id::CallId;
use crate::sip::agent::command::{Body, PublicationId, Publish, Subscribe, SubscribeId};
use crate::sip::auth::client::Account;
use crate::sip::event::dialog_info::{Dialog, DialogInfo, DialogState, Direction};
use crate::sip::event::notifier::SubscriptionId;
use crate::sip::event::package::{EventConfig, EventCounters};
use crate::sip::header::address::NameAddr;
use crate::sip::uri::Uri;
use crate::time::Instant;

/// The package that calls are told in.
const DIALOG: &str = "dialog";

/// What to subscribe to, or to publish, and as whom.
#[derive(Debug, Clone)]
pub struct EventRequest {
    /// Whose state.
    pub target: String,
    /// The package, as in Event.
    pub event: String,
    /// The URI shown as ours (From): for a subscription the engine's own by default, for a publication
    /// the target.
    pub from: Option<String>,
    /// The media types that are understood, for a subscription.
    pub accept: Vec<String>,
    /// For how long at a time, in seconds.
    pub expires: u32,
    /// Whether several notifiers may answer a subscription.
    pub forks: bool,
    /// Proxies to go through, in order.
    pub routes: Vec<String>,
    /// What to sign in with.
    pub account: Option<Account>,
}

impl EventRequest {
    /// An hour at a time, without signing in.
    pub fn new(target: &str, event: &str) -> Self {
        Self {
            target: target.to_owned(),
            event: event.to_owned(),
            from: None,
            accept: Vec::new(),
            expires: 3600,
            forks: false,
            routes: Vec::new(),
            account: None,
        }
    }
}

/// The calls that are shown to subscribers of the dialog package.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// Our domain, where calls are shown at all.
    config: Option<EventConfig>,
    calls: BTreeMap<CallId, (String, Dialog)>,
}

impl Shown {
    pub(super) fn new(config: Option<EventConfig>) -> Self {
        let shows = |config: &EventConfig| config.find(DIALOG).is_some();
        Self {
            config: config.filter(shows),
            calls: BTreeMap::new(),
        }
    }
}

impl Core {
    /// Subscribes to somebody's state; `Event::Subscription` and `Event::Notified` tell how it goes.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where a URI or the package's name is not possible, [`CallError::Busy`].
    pub fn subscribe(
        &mut self,
        now: Instant,
        request: &EventRequest,
    ) -> Result<SubscribeId, CallError> {
        self.now = now;
        let own = self.own_uri();
        let from = uri(request.from.as_deref().unwrap_or(&own))?;
        let target = uri(&request.target)?;
        let mut command = Subscribe::new(target, NameAddr::new(&from), &request.event);
        command.accept.clone_from(&request.accept);
        command.expires = request.expires;
        command.forks = request.forks;
        command.account.clone_from(&request.account);
        for route in &request.routes {
            command.route.push(uri(route)?);
        }
        let id = self.agent.subscribe(now, command).map_err(refused)?;
        self.take_signalling(now);
        Ok(id)
    }

    /// Takes a subscription of ours back.
    pub fn unsubscribe(&mut self, now: Instant, id: SubscribeId) {
        self.agent.unsubscribe(now, id);
        self.take_signalling(now);
    }

    /// Asks the notifiers of a subscription for their whole state.
    pub fn refetch(&mut self, now: Instant, id: SubscribeId) {
        self.agent.refetch(now, id);
        self.take_signalling(now);
    }

    /// Publishes a document at somebody's compositor; `Event::Publication` tells how it goes.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn publish(
        &mut self,
        now: Instant,
        request: &EventRequest,
        document: Body,
    ) -> Result<PublicationId, CallError> {
        self.now = now;
        let from = uri(request.from.as_deref().unwrap_or(&request.target))?;
        let target = uri(&request.target)?;
        let mut command = Publish::new(target, NameAddr::new(&from), &request.event, document);
        command.expires = request.expires;
        command.account.clone_from(&request.account);
        for route in &request.routes {
            command.route.push(uri(route)?);
        }
        let id = self.agent.publish(now, command).map_err(refused)?;
        self.take_signalling(now);
        Ok(id)
    }

    /// Puts another document in the place of a published one.
    ///
    /// # Errors
    /// [`CallError::Gone`] where it is not published any more, [`CallError::Invalid`].
    pub fn republish(
        &mut self,
        now: Instant,
        id: PublicationId,
        document: Body,
    ) -> Result<(), CallError> {
        self.now = now;
        self.agent.republish(now, id, document).map_err(refused)?;
        self.take_signalling(now);
        Ok(())
    }

    /// Takes a publication of ours back.
    pub fn unpublish(&mut self, now: Instant, id: PublicationId) {
        self.agent.unpublish(now, id);
        self.take_signalling(now);
    }

    /// Puts the engine's own document into the state of a resource of its domain; `None` takes it back.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where the package is not served here.
    pub fn put_state(
        &mut self,
        now: Instant,
        package: &str,
        resource: &str,
        document: Option<Bytes>,
    ) -> Result<(), CallError> {
        self.now = now;
        let put = self.agent.put_state(now, package, resource, 0, document);
        self.take_signalling(now);
        match put {
            true => Ok(()),
            false => Err(CallError::Invalid(format!("{package} is not served here"))),
        }
    }

    /// The state of a resource of the engine's domain; `None` where the package is not served here.
    pub fn state_of(&mut self, package: &str, resource: &str) -> Option<Bytes> {
        self.agent.state_of(package, resource)
    }

    /// Decides on a subscription that waits; false where it does not wait any more.
    pub fn decide_subscription(&mut self, now: Instant, id: SubscriptionId, grant: bool) -> bool {
        self.now = now;
        let decided = self.agent.decide_subscription(now, id, grant);
        self.take_signalling(now);
        decided
    }

    /// What the server of events has counted.
    pub fn event_counters(&self) -> EventCounters {
        self.agent.event_counters()
    }

    /// Shows a caller to those who watch its calls. Where people sign in, only who has is shown: From
    /// is the caller's own claim.
    pub(super) fn show_caller(&mut self, now: Instant, id: CallId, caller: &Caller) {
        let Some(config) = &self.shown.config else {
            return;
        };
        let from = caller.invite.from().ok();
        let claimed = from.and_then(|from| config.resource_of(from.uri()));
        let user = match (&caller.user, self.config.authentication.is_some()) {
            (Some(user), _) => user.split('@').next().map(str::to_owned),
            (None, true) => None,
            (None, false) => claimed,
        };
        if let Some(user) = user {
            self.show(now, id, user, Direction::Initiator, &caller.to());
        }
    }

    /// Shows a dialled party to those who watch its calls.
    pub(super) fn show_callee(&mut self, now: Instant, id: CallId, callee: &str, from: &str) {
        let Some(config) = &self.shown.config else {
            return;
        };
        let callee = Uri::parse(callee).ok();
        if let Some(user) = callee.and_then(|callee| config.resource_of(&callee)) {
            self.show(now, id, user, Direction::Recipient, from);
        }
    }

    fn show(&mut self, now: Instant, id: CallId, user: String, side: Direction, remote: &str) {
        let Some(config) = &self.shown.config else {
            return;
        };
        let mut dialog = Dialog::new(&id.0.to_string(), DialogState::Trying);
        dialog.direction = Some(side);
        dialog.local = Some(format!("sip:{user}@{}", config.domain));
        dialog.remote = Some(remote.to_owned());
        self.shown.calls.insert(id, (user, dialog));
        self.show_state(now, id, DialogState::Trying);
    }

    /// Shows how a call stands, where it is shown at all.
    pub(super) fn show_state(&mut self, now: Instant, id: CallId, state: DialogState) {
        let Some((user, dialog)) = self.shown.calls.get_mut(&id) else {
            return;
        };
        dialog.state = state;
        let document = (state != DialogState::Terminated).then(|| {
            let entity = dialog.local.clone().unwrap_or_default();
            let info = DialogInfo::full(&entity, vec![dialog.clone()]);
            Bytes::from(info.to_xml())
        });
        // The number 0 is for what integrators put there.
        let (user, source) = (user.clone(), id.0 + 1);
        if document.is_none() {
            self.shown.calls.remove(&id);
        }
        self.agent.put_state(now, DIALOG, &user, source, document);
    }

    /// Shows what an event says of its call.
    pub(super) fn show_event(&mut self, id: CallId, event: &CallEvent) {
        let state = match event {
            CallEvent::Progress { .. } | CallEvent::EarlyMedia => DialogState::Early,
            CallEvent::Answered => DialogState::Confirmed,
            CallEvent::Ended(_) => DialogState::Terminated,
            _ => return,
        };
        self.show_state(self.now, id, state);
    }
}

/// The configuration of the server of events, with the listeners' addresses and the registrar's names
/// as names of its domain.
pub(super) fn events_of(config: &Config, bound: &[SocketAddr]) -> Option<EventConfig> {
    let mut events = config.events.clone()?;
    let shown = config.listeners.iter().filter_map(|l| l.advertise);
    let addresses = shown.chain(bound.iter().copied()).map(|at| at.ip());
    let addresses = addresses.filter(|ip| !ip.is_unspecified());
    let hosts = config.listeners.iter().filter_map(|l| l.host.clone());
    let registrar = config.registrar.iter();
    let registrar = registrar.flat_map(|r| r.aliases.iter().chain([&r.domain]).cloned());
    let names = addresses.map(|ip| ip.to_string());
    for name in names.chain(hosts).chain(registrar) {
        if !events.aliases.contains(&name) {
            events.aliases.push(name);
        }
    }
    Some(events)
}
