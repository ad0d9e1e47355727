//! The handle to a peer that is watched: asked by OPTIONS whether it is alive.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tokio::sync::watch;

use crate::engine::core::watching::WatchRequest;
use crate::engine::event::CallError;
use crate::face::engine::Engine;
use crate::face::hub::Hub;
use crate::face::link::Link;
use crate::sip::auth::client::Account;
use crate::sip::health::{Alive, Change, Health, Pinging, WatchId};
use crate::sip::registrar::binding::Binding;
use crate::time::{Duration, Instant};

impl Engine {
    /// Watches a peer, such as a trunk's proxy: asks it by OPTIONS at every interval while the handle
    /// lives.
    ///
    /// ```no_run
    /// # use sidetone::engine::event::CallError;
    /// # use sidetone::face::engine::Engine;
    /// # use sidetone::time::Duration;
    /// # async fn example(engine: Engine) -> Result<(), CallError> {
    /// let every = Duration::from_secs(15);
    /// let mut trunk = engine.watch("sip:trunk.example.com").interval(every).await?;
    /// loop {
    ///     println!("the trunk is {:?}", trunk.changed().await?.health);
    /// }
    /// # }
    /// ```
    pub fn watch(&self, target: &str) -> Watch {
        Watch {
            link: self.link().clone(),
            request: WatchRequest::new(target),
        }
    }

    /// Watches a registered user's telephone by the way that it registered by.
    pub fn watch_binding(&self, binding: &Binding) -> Watch {
        let mut watch = self.watch(binding.contact());
        watch.request.routes = binding.path().map(str::to_owned).collect();
        watch.request.flow = Some(binding.flow());
        watch
    }
}

/// A peer about to be watched; await it.
#[must_use = "nobody is watched until it is awaited"]
pub struct Watch {
    link: Link,
    request: WatchRequest,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("target", &self.request.target)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// How often the peer is asked while it is up. Default 30 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.request.pinging.interval = interval;
        self
    }

    /// How often it is asked while it is not. Default 10 s.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.request.pinging.retry = retry;
        self
    }

    /// How long an answer may take. Default 4 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.pinging.timeout = timeout;
        self
    }

    /// After how many failures in a row the peer counts as down (2), and after how many answers in a
    /// row as up again (1).
    pub fn thresholds(mut self, failures: u8, successes: u8) -> Self {
        let Pinging {
            failures: down,
            successes: up,
            ..
        } = &mut self.request.pinging;
        (*down, *up) = (failures, successes);
        self
    }

    /// Which answers show that it is alive. Default [`Alive::AnyAnswer`].
    pub fn alive(mut self, alive: Alive) -> Self {
        self.request.pinging.alive = alive;
        self
    }

    /// Sends the questions through this proxy (a loose route, `sip:proxy.example.com;lr`).
    pub fn via(mut self, route: &str) -> Self {
        self.request.routes = vec![route.to_owned()];
        self
    }

    /// The URI shown as ours (From). Default: the engine's own.
    pub fn from(mut self, uri: &str) -> Self {
        self.request.from = Some(uri.to_owned());
        self
    }

    /// What to sign in with where the peer asks for it. Default: none, and a challenge is an answer
    /// like others.
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }
}

impl IntoFuture for Watch {
    type Output = Result<WatchedPeer, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { link, request } = self;
        let own = link.clone();
        Box::pin(async move {
            let made = link.make(move |hub: &mut Hub, now: Instant| {
                let id = hub.core().watch(now, &request)?;
                Ok(WatchedPeer {
                    state: hub.watch_health(id),
                    link: own,
                    id,
                })
            });
            made.await
        })
    }
}

/// A peer that is watched while this handle lives.
pub struct WatchedPeer {
    link: Link,
    id: WatchId,
    state: watch::Receiver<Change>,
}

impl fmt::Debug for WatchedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedPeer")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

impl WatchedPeer {
    /// How the peer stands.
    pub fn health(&self) -> Health {
        self.state.borrow().health
    }

    /// Waits until it stands differently, and says how. Of changes that nobody waits for, the last
    /// one is kept.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    ///
    /// # Cancel safety
    /// No change is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<Change, CallError> {
        let changed = self.state.changed().await;
        changed.map_err(|_| CallError::EngineStopped)?;
        Ok(*self.state.borrow_and_update())
    }
}

impl Drop for WatchedPeer {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell_hub(move |hub, _| hub.unwatch_health(id));
    }
}
