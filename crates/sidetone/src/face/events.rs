//! Subscriptions, publications, and the state of the engine's own domain (RFC 6665, RFC 3903).

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::engine::core::events::EventRequest;
use crate::engine::event::CallError;
use crate::face::engine::Engine;
use crate::face::hub::Hub;
use crate::face::link::Link;
use crate::face::news::Notice;
use crate::sip::agent::command::{Body, PublicationId, SubscribeId};
use crate::sip::agent::event::{Lapse, PublicationState, SubscriptionState};
use crate::sip::auth::client::Account;
use crate::sip::event::notifier::Waiting;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::time::Instant;

impl Engine {
    /// Subscribes to somebody's state in a package, such as `dialog`, `presence` or
    /// `message-summary`, and keeps that up while the handle lives.
    ///
    /// ```no_run
    /// # use sidetone::engine::event::CallError;
    /// # use sidetone::face::engine::Engine;
    /// # use sidetone::face::events::SubscriptionEvent;
    /// use sidetone::sip::event::summary::Summary;
    ///
    /// # async fn example(engine: Engine) -> Result<(), CallError> {
    /// let mut mailbox = engine.subscribe("sip:6001@pbx.example", "message-summary").await?;
    /// while let Some(event) = mailbox.next().await {
    ///     if let SubscriptionEvent::Document(document) = event
    ///         && let Some(summary) = Summary::parse(&document.body())
    ///     {
    ///         println!("{} new messages", summary.new_messages());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(&self, target: &str, event: &str) -> Subscribe {
        Subscribe {
            link: self.link().clone(),
            request: EventRequest::new(target, event),
        }
    }

    /// Publishes a document of a package for `target`, and keeps it published while the handle lives.
    pub fn publish(
        &self,
        target: &str,
        event: &str,
        content_type: &str,
        document: impl Into<Bytes>,
    ) -> Publish {
        Publish {
            link: self.link().clone(),
            request: EventRequest::new(target, event),
            document: Body {
                content_type: content_type.to_owned(),
                bytes: document.into(),
            },
        }
    }

    /// Puts the engine's own document into the state of `user` of its domain, beside what others
    /// publish; `None` takes it back. Subscribers are told.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where the package is not served here
    /// ([`Config::events`](crate::engine::config::Config::events)), [`CallError::EngineStopped`].
    pub async fn set_state(
        &self,
        package: &str,
        user: &str,
        document: Option<Bytes>,
    ) -> Result<(), CallError> {
        let (package, user) = (package.to_owned(), user.to_owned());
        let put =
            move |hub: &mut Hub, now: Instant| hub.core().put_state(now, &package, &user, document);
        self.link().ask(put).await?
    }

    /// The state of `user` of the engine's domain, as subscribers are told it; `None` where the package
    /// is not served here.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn state_of(&self, package: &str, user: &str) -> Result<Option<Bytes>, CallError> {
        let (package, user) = (package.to_owned(), user.to_owned());
        let look = move |hub: &mut Hub, _: Instant| hub.core().state_of(&package, &user);
        self.link().ask(look).await
    }

    /// Takes the subscriptions that a package wants decided on
    /// ([`Decision::Wait`](crate::sip::event::package::Decision::Wait)), from now on. Without somebody
    /// who decides they are rejected.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn subscription_requests(&self) -> Result<SubscriptionRequests, CallError> {
        let waiting = self.link().ask(|hub, _| hub.news().read_waiting()).await?;
        Ok(SubscriptionRequests {
            link: self.link().clone(),
            waiting,
        })
    }
}

/// A subscription about to be made; await it.
#[must_use = "nothing is subscribed to until it is awaited"]
pub struct Subscribe {
    link: Link,
    request: EventRequest,
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("target", &self.request.target)
            .field("event", &self.request.event)
            .finish_non_exhaustive()
    }
}

impl Subscribe {
    /// A media type that is understood. Default: whatever the package's is.
    pub fn accept(mut self, content_type: &str) -> Self {
        self.request.accept.push(content_type.to_owned());
        self
    }

    /// For how long at a time, in seconds. Default 3,600. The notifier decides.
    pub fn expires(mut self, seconds: u32) -> Self {
        self.request.expires = seconds;
        self
    }

    /// The URI shown as ours (From). Default: the engine's own.
    pub fn from(mut self, uri: &str) -> Self {
        self.request.from = Some(uri.to_owned());
        self
    }

    /// Sends the SUBSCRIBE through this proxy (a loose route, `sip:proxy.example.com;lr`).
    pub fn via(mut self, route: &str) -> Self {
        self.request.routes = vec![route.to_owned()];
        self
    }

    /// What to sign in with where somebody asks for it.
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }

    /// Lets every notifier answer that a fork finds. Default: the first one only.
    pub fn forks(mut self) -> Self {
        self.request.forks = true;
        self
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the first SUBSCRIBE; [`Subscription::next`] tells what comes of it.
    fn into_future(self) -> Self::IntoFuture {
        let Self { link, request } = self;
        let own = link.clone();
        Box::pin(async move {
            let made = link.make(move |hub: &mut Hub, now: Instant| {
                let id = hub.core().subscribe(now, &request)?;
                let (notices, state) = hub.news().watch_subscription(id);
                Ok(Subscription {
                    link: own,
                    id,
                    notices,
                    state,
                })
            });
            made.await
        })
    }
}

/// Something that happened to a subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// It stands differently now.
    State(SubscriptionState),
    /// A notifier has told its state.
    Document(Box<Document>),
}

/// The state that a notifier has told.
#[derive(Debug, Clone)]
pub struct Document {
    notifier: u32,
    request: Box<Message>,
}

impl Document {
    /// Which of the notifiers it is from, numbered from 1 in the order in which they came forward, and
    /// on with each attempt.
    pub fn notifier(&self) -> u32 {
        self.notifier
    }

    /// The media type of the document; empty where there is none.
    pub fn content_type(&self) -> String {
        let row = self.request.header(Name::ContentType);
        row.map_or(String::new(), |row| row.text().into_owned())
    }

    /// The document; empty while nobody has decided on the subscription.
    pub fn body(&self) -> Bytes {
        self.request.body()
    }

    /// The NOTIFY itself.
    pub fn request(&self) -> &Message {
        &self.request
    }
}

/// A subscription of ours: refreshed in time, and made anew where the notifier ends it for a while.
///
/// Dropping the handle takes the subscription back, and so does the engine's shutdown. 64 events wait
/// for whoever reads them; further ones are dropped and counted in
/// [`EngineReport::lost_events`](crate::face::hub::EngineReport::lost_events).
pub struct Subscription {
    link: Link,
    id: SubscribeId,
    notices: mpsc::Receiver<Notice>,
    state: watch::Receiver<SubscriptionState>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// How it stands.
    pub fn state(&self) -> SubscriptionState {
        self.state.borrow().clone()
    }

    /// What happens next; `None` after it has ended for good, and once the engine has stopped.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        Some(match self.notices.recv().await? {
            Notice::State(state) => SubscriptionEvent::State(state),
            Notice::Document(notifier, request) => {
                SubscriptionEvent::Document(Box::new(Document { notifier, request }))
            }
        })
    }

    /// Waits until the notifier has granted it.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the status where it was refused: 408 where nobody answered, 603
    /// where the notifier ended it. It may go on being tried. [`CallError::EngineStopped`].
    pub async fn granted(&self) -> Result<(), CallError> {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| {
            !matches!(
                state,
                SubscriptionState::Subscribing | SubscriptionState::Pending
            )
        });
        let lapse = match decided.await.as_deref() {
            Ok(SubscriptionState::Lapsed { lapse, .. } | SubscriptionState::Ended { lapse }) => {
                lapse.clone()
            }
            Ok(_) => return Ok(()),
            Err(_) => return Err(CallError::EngineStopped),
        };
        Err(CallError::Refused(match lapse {
            Lapse::Refused(status) => status.code(),
            Lapse::Ended(_) => 603,
            _ => 408,
        }))
    }

    /// Asks for the whole state anew, as where a document of differences was missed.
    pub fn refetch(&self) {
        let id = self.id;
        self.link.tell(move |core, now| core.refetch(now, id));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell(move |core, now| core.unsubscribe(now, id));
    }
}

/// A publication about to be made; await it.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish {
    link: Link,
    request: EventRequest,
    document: Body,
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("target", &self.request.target)
            .field("event", &self.request.event)
            .finish_non_exhaustive()
    }
}

impl Publish {
    /// For how long at a time, in seconds. Default 3,600. The compositor decides.
    pub fn expires(mut self, seconds: u32) -> Self {
        self.request.expires = seconds;
        self
    }

    /// The URI shown as ours (From). Default: the target's.
    pub fn from(mut self, uri: &str) -> Self {
        self.request.from = Some(uri.to_owned());
        self
    }

    /// Sends the PUBLISH through this proxy (a loose route, `sip:proxy.example.com;lr`).
    pub fn via(mut self, route: &str) -> Self {
        self.request.routes = vec![route.to_owned()];
        self
    }

    /// What to sign in with where somebody asks for it.
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }
}

impl IntoFuture for Publish {
    type Output = Result<Publication, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the first PUBLISH; [`Publication::changed`] tells what comes of it.
    fn into_future(self) -> Self::IntoFuture {
        let Self {
            link,
            request,
            document,
        } = self;
        let own = link.clone();
        Box::pin(async move {
            let made = link.make(move |hub: &mut Hub, now: Instant| {
                let content_type = document.content_type.clone();
                let id = hub.core().publish(now, &request, document)?;
                Ok(Publication {
                    state: hub.news().watch_publication(id),
                    link: own,
                    id,
                    content_type,
                })
            });
            made.await
        })
    }
}

/// A publication of ours: refreshed in time, made anew where the compositor has forgotten it.
///
/// Dropping the handle takes the publication back, and so does the engine's shutdown.
pub struct Publication {
    link: Link,
    id: PublicationId,
    content_type: String,
    state: watch::Receiver<PublicationState>,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Publication {
    /// How it stands.
    pub fn state(&self) -> PublicationState {
        self.state.borrow().clone()
    }

    /// Waits until it stands differently, and says how.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`], also where it was taken back and nothing more will happen.
    pub async fn changed(&mut self) -> Result<PublicationState, CallError> {
        let changed = self.state.changed().await;
        changed.map_err(|_| CallError::EngineStopped)?;
        Ok(self.state.borrow_and_update().clone())
    }

    /// Puts another document in its place.
    ///
    /// # Errors
    /// [`CallError::Gone`] where it is not published any more, [`CallError::Invalid`] where the
    /// document is too large, [`CallError::EngineStopped`].
    pub async fn update(&self, document: impl Into<Bytes>) -> Result<(), CallError> {
        let body = Body {
            content_type: self.content_type.clone(),
            bytes: document.into(),
        };
        let id = self.id;
        let update = move |hub: &mut Hub, now: Instant| hub.core().republish(now, id, body);
        self.link.ask(update).await?
    }

    /// Takes it back, and waits until the compositor has acknowledged that, or has not.
    pub async fn withdraw(self) {
        let id = self.id;
        self.link.tell(move |core, now| core.unpublish(now, id));
        let mut state = self.state.clone();
        // An error means that the engine has stopped, which takes everything back.
        let _stopped = state
            .wait_for(|state| *state == PublicationState::Withdrawn)
            .await;
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell(move |core, now| core.unpublish(now, id));
    }
}

/// Subscriptions of others that wait for a decision. 64 wait for whoever reads them; further ones are
/// rejected.
pub struct SubscriptionRequests {
    link: Link,
    waiting: mpsc::Receiver<Waiting>,
}

impl fmt::Debug for SubscriptionRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionRequests")
            .finish_non_exhaustive()
    }
}

impl SubscriptionRequests {
    /// The next one; `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// None is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<SubscriptionRequest> {
        let waiting = self.waiting.recv().await?;
        Some(SubscriptionRequest {
            link: self.link.clone(),
            waiting,
        })
    }
}

/// Somebody who wants to watch somebody. Undecided, it is told nothing, and given up when it expires.
pub struct SubscriptionRequest {
    link: Link,
    waiting: Waiting,
}

impl fmt::Debug for SubscriptionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionRequest")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl SubscriptionRequest {
    /// Who wants to watch whom.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Lets the subscriber watch.
    pub fn grant(self) {
        self.decide(true);
    }

    /// Turns the subscriber away for good.
    pub fn reject(self) {
        self.decide(false);
    }

    fn decide(self, grant: bool) {
        let id = self.waiting.subscription;
        self.link.tell(move |core, now| {
            core.decide_subscription(now, id, grant);
        });
    }
}
