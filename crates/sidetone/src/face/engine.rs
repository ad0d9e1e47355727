//! The handle to an engine.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::call::details::Details;
use crate::call::early::EarlyMediaPolicy;
use crate::call::redirect::RedirectPolicy;
use crate::engine::core::Core;
use crate::engine::core::dialling::DialRequest;
use crate::engine::event::CallError;
use crate::engine::recording::policy::RecordingChoice;
use crate::face::call::Call;
use crate::face::hub::{EngineReport, Hub};
use crate::face::link::Link;
use crate::face::room::Room;
use crate::face::spawn::Spawn;
use crate::media::recorder::recovery::Recovered;
use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::auth::client::Account;
use crate::sip::header::session_id::SessionUuid;
use crate::sip::registrar::binding::{Binding, Change};
use crate::time::{Duration, Instant};

/// A running engine. Cheap to clone; every handle made from it keeps it running.
///
/// When the last handle (engines, calls, rooms) is dropped, the engine ends what is left and stops.
/// Two engines can live in one process; they share nothing.
///
/// ```no_run
/// use sidetone::engine::config::Config;
/// use sidetone::face::{engine::Engine, prompt::Prompt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let greeting = Prompt::from_file("greeting.wav")?;
/// let engine = Engine::start(Config::default()).await?;
/// engine
///     .serve(move |call| {
///         let greeting = greeting.clone();
///         async move {
///             call.answer().await?;
///             call.play(&greeting).await?;
///             call.hang_up().await
///         }
///     })
///     .await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    link: Link,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("listening", &self.link.listening())
            .finish()
    }
}

impl Engine {
    /// Puts handles on `core` for a driver, which runs the hub; the core's SIP listeners are bound to
    /// `listening`, and flows are started through `spawner`.
    ///
    /// Integrators use `Engine::start`, which brings the real driver.
    pub fn attach(core: Core, listening: Vec<SocketAddr>, spawner: Box<dyn Spawn>) -> (Self, Hub) {
        let spawner: Arc<dyn Spawn> = Arc::from(spawner);
        let (ends, hub) = Hub::new(core, Arc::clone(&spawner));
        (
            Self {
                link: Link::new(ends, listening, spawner),
            },
            hub,
        )
    }

    /// The same engine, knowing what its driver has recovered.
    #[must_use]
    pub fn with_recovered(self, recordings: Vec<Recovered>) -> Self {
        self.link.recovered().get_or_init(|| recordings);
        self
    }

    /// The recordings that an engine before this one left unfinished and that were completed from the
    /// journal at the start, or could not be.
    pub fn recovered(&self) -> &[Recovered] {
        self.link.recovered().get().map_or(&[], Vec::as_slice)
    }

    /// The addresses that the engine's SIP listeners are bound to, in the order of the configuration.
    pub fn listening(&self) -> &[SocketAddr] {
        self.link.listening()
    }

    /// The next caller; `None` once the engine has stopped.
    ///
    /// A caller waits undecided (the INVITE is answered with 100 only) until the flow rings, answers
    /// or rejects. Where nobody takes callers, 64 wait and further ones are refused with 503; one who
    /// gives up waits no more.
    ///
    /// # Cancel safety
    /// No caller is lost when the future is dropped.
    pub async fn incoming(&self) -> Option<Call> {
        let waiting = self.link.incoming().await?;
        Some(Call::new(self.link.clone(), waiting))
    }

    /// Serves callers until the engine stops, each by a flow of its own.
    ///
    /// A flow that returns an error because its call ended needs no care; when the flow ends, its
    /// call handle is dropped and the call with it.
    pub async fn serve<F, T, E>(&self, flow: F)
    where
        F: Fn(Call) -> T,
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: Send + 'static,
    {
        while let Some(call) = self.incoming().await {
            let flow = flow(call);
            self.spawn(async move {
                let _ended = flow.await;
            });
        }
    }

    /// Runs `flow` beside everything else, through the driver's own executor.
    pub fn spawn(&self, flow: impl Future<Output = ()> + Send + 'static) {
        self.link.spawn(Box::pin(flow));
    }

    /// Calls `uri`, for instance `sip:agent@192.0.2.7` or `sip:1001@example.com;transport=tcp`.
    ///
    /// Awaiting the result waits until the call is answered; [`Dial::start`] gives the call at once.
    pub fn dial(&self, uri: &str) -> Dial {
        Dial {
            link: self.link.clone(),
            request: DialRequest::new(uri),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Where a registered user is reached, what the user likes best first; nothing where nobody is
    /// registered under `address`, a URI such as `sip:6001@pbx.example`.
    ///
    /// # Errors
    /// [`CallError::Invalid`] where `address` is no URI, [`CallError::EngineStopped`].
    pub async fn bindings(&self, address: &str) -> Result<Vec<Binding>, CallError> {
        let address = address.to_owned();
        let look = move |hub: &mut Hub, now: Instant| hub.core().bindings(now, &address);
        self.link.ask(look).await?
    }

    /// Calls a registered user at one of the places that [`Self::bindings`] gave: through the proxies
    /// of its Path, or back by the socket or connection that it registered by, so that devices behind
    /// a NAT are reached. `address` is shown as the called party's (To).
    pub fn dial_binding(&self, address: &str, binding: &Binding) -> Dial {
        let mut dial = self.dial(binding.contact());
        dial.request.to = Some(address.to_owned());
        dial.request.routes = binding.path().map(str::to_owned).collect();
        dial.request.flow = Some(binding.flow());
        dial
    }

    /// What happens from now on to the bindings of registered users.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn watch_bindings(&self) -> Result<BindingWatch, CallError> {
        let changes = self.link.ask(|hub, _| hub.watch_bindings()).await?;
        Ok(BindingWatch { changes })
    }

    /// Makes an empty room.
    ///
    /// # Errors
    /// [`CallError::Busy`] where as many rooms as calls are open, [`CallError::EngineStopped`].
    pub async fn room(&self) -> Result<Room, CallError> {
        let link = self.link.clone();
        self.link
            .make(move |hub, now| Ok(Room::new(link, hub.core().create_room(now)?)))
            .await
    }

    /// Waits for `duration` on the engine's clock, which is virtual in the simulator.
    pub async fn sleep(&self, duration: Duration) {
        self.link.sleep(duration).await;
    }

    /// What `work` brings, or `None` where it takes longer than `limit` on the engine's clock; it is
    /// dropped then.
    pub async fn timeout<W: IntoFuture>(&self, limit: Duration, work: W) -> Option<W::Output> {
        tokio::select! {
            biased;
            output = work.into_future() => Some(output),
            () = self.sleep(limit) => None,
        }
    }

    /// The number of calls in progress.
    pub fn call_count(&self) -> usize {
        *self.link.calls().borrow()
    }

    /// What the engine has counted since its start, for monitoring.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn report(&self) -> Result<EngineReport, CallError> {
        self.link.ask(|hub, _| hub.report()).await
    }

    /// Stops politely: new callers are refused with 503 from now on, calls in progress may go on for
    /// `grace`, then they are hung up, recordings are closed, and the engine stops.
    pub async fn shutdown(&self, grace: Duration) {
        if self
            .link
            .ask(|hub, now| hub.core().drain(now))
            .await
            .is_err()
        {
            return;
        }
        let mut calls = self.link.calls();
        let idle = async { calls.wait_for(|&count| count == 0).await.is_ok() };
        self.timeout(grace, idle).await;
        let stop = |hub: &mut Hub, now: Instant| hub.stop(now);
        if self.link.ask(stop).await.is_ok() {
            self.stopped().await;
        }
    }

    /// Waits until the engine has stopped: everything is hung up, closed and written.
    pub async fn stopped(&self) {
        self.link.stopped().await;
    }
}

/// Tells what happens to the bindings of registered users.
///
/// Does not keep the engine running. 1,024 changes wait for whoever reads them; further ones are
/// dropped and counted in [`EngineReport::lost_events`].
#[derive(Debug)]
pub struct BindingWatch {
    changes: mpsc::Receiver<Change>,
}

impl BindingWatch {
    /// The next change; `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// No change is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

/// An outgoing call about to be made.
///
/// `engine.dial(uri).await` waits for the answer; dropping that future gives the attempt up
/// (CANCEL).
#[derive(Debug)]
#[must_use = "nothing is dialled until it is awaited or started"]
pub struct Dial {
    pub(crate) link: Link,
    pub(crate) request: DialRequest,
}

impl Dial {
    /// Sends the request through these proxies, in order.
    pub(crate) fn routes(mut self, routes: Vec<String>) -> Self {
        self.request.routes = routes;
        self
    }

    /// The URI shown as the caller's (From). Default: the engine's own.
    pub fn from(mut self, uri: &str) -> Self {
        self.request.from = Some(uri.to_owned());
        self
    }

    /// The name shown beside the caller's URI.
    pub fn display_name(mut self, name: &str) -> Self {
        self.request.display_name = Some(name.to_owned());
        self
    }

    /// Adds a header to the INVITE. Names that the engine itself writes (From, Via, …) and values
    /// with control characters are refused when dialling.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request
            .headers
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// What to sign in with where a proxy or the party asks for it (401, 407). Only challenges for
    /// the account's own realm are answered, and only on this call. Default: none, and a challenge
    /// ends the attempt.
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }

    /// Sends the request through this proxy (a loose route, `sip:proxy.example.com;lr`).
    pub fn via(mut self, route: &str) -> Self {
        self.request.routes = vec![route.to_owned()];
        self
    }

    /// Whether the media is protected. Default: the configuration's `media_security`.
    pub fn media_security(mut self, policy: MediaSecurity) -> Self {
        self.request.media_security = Some(policy);
        self
    }

    /// How long the party may ring. Default: the configuration's `ring_timeout`.
    pub fn ring_timeout(mut self, timeout: Duration) -> Self {
        self.request.ring_timeout = Some(timeout);
        self
    }

    /// What else the INVITE says: asserted identity, privacy, diversions, references and others.
    ///
    /// ```no_run
    /// # use sidetone::face::{call::Call, engine::Engine};
    /// use sidetone::call::details::Details;
    /// use sidetone::sip::header::privacy::Privacy;
    /// # async fn flow(engine: Engine) -> Result<(), Box<dyn std::error::Error>> {
    /// let details = Details {
    ///     asserted: vec!["<sip:+4930123@carrier.example>".parse()?],
    ///     privacy: Privacy::ID,
    ///     ..Details::default()
    /// };
    /// let call = engine.dial("sip:+4940456@sbc.carrier.example").details(details).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn details(mut self, details: Details) -> Self {
        self.request.details = details;
        self
    }

    /// Whether the next hop belongs to the trust domain, and so is told who is asserted to call.
    /// Default: by the configuration's `trust`.
    pub fn trusted(mut self, trusted: bool) -> Self {
        self.request.trusted = Some(trusted);
        self
    }

    /// Which redirections (3xx) are followed. Default: the configuration's `redirects`.
    pub fn redirects(mut self, policy: RedirectPolicy) -> Self {
        self.request.redirects = Some(policy);
        self
    }

    /// What is heard of the party's side before the answer. Default: the configuration's
    /// `early_media`.
    pub fn early_media(mut self, policy: EarlyMediaPolicy) -> Self {
        self.request.early_media = Some(policy);
        self
    }

    /// What the call says against the policy of recording. Default: the policy decides.
    pub fn recorded(mut self, choice: RecordingChoice) -> Self {
        self.request.recorded = choice;
        self
    }

    /// Calls without media of ours (RFC 3725): the party is asked for its offer, and nothing flows until
    /// [`Call::connect_directly`] connects it with another such call. No media port is taken.
    pub fn without_media(mut self) -> Self {
        self.request.without_media = true;
        self
    }

    /// Our part of the session's identifier (RFC 7989): that of the party for whom this call is made,
    /// [`Call::session_identifier`]'s `remote`. Default: a random one.
    pub fn session_uuid(mut self, uuid: SessionUuid) -> Self {
        self.request.session_uuid = Some(uuid);
        self
    }

    /// Dials, and gives the call while it is on its way: wait with [`Call::answered`], watch
    /// [`Call::next_event`] for progress. Dropping the call gives the attempt up.
    ///
    /// # Errors
    /// The URI or a header is not usable ([`CallError::Invalid`]), or a table is full
    /// ([`CallError::Busy`]).
    pub async fn start(self) -> Result<Call, CallError> {
        let Self { link, request } = self.settled().await?;
        let own = link.clone();
        let dialled = link.make(move |hub, now| {
            let id = hub.core().dial(now, request)?;
            Ok(Call::new(own, hub.adopt(id, None)))
        });
        dialled.await
    }
}

impl IntoFuture for Dial {
    type Output = Result<Call, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let call = self.start().await?;
            call.answered().await?;
            Ok(call)
        })
    }
}

impl Call {
    /// The engine that the call belongs to.
    pub fn engine(&self) -> Engine {
        Engine {
            link: self.link().clone(),
        }
    }
}
