//! The handle to a registration of ours at somebody's registrar.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tokio::sync::watch;

use crate::engine::core::registering::RegisterRequest;
use crate::engine::event::CallError;
use crate::face::engine::{Dial, Engine};
use crate::face::hub::Hub;
use crate::face::link::Link;
use crate::sip::agent::registration::{Outbound, RegistrationId, RegistrationState};
use crate::sip::auth::client::Account;
use crate::time::Instant;

impl Engine {
    /// Registers an address of ours, such as `sip:6001@pbx.example`, at its registrar, and keeps it
    /// registered while the handle lives.
    pub fn register(&self, address: &str) -> Register {
        Register::new(self.clone(), self.link().clone(), address)
    }
}

/// A registration about to be made; await it.
#[must_use = "nothing is registered until it is awaited"]
pub struct Register {
    engine: Engine,
    link: Link,
    request: RegisterRequest,
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("address", &self.request.address)
            .finish_non_exhaustive()
    }
}

impl Register {
    fn new(engine: Engine, link: Link, address: &str) -> Self {
        Self {
            engine,
            link,
            request: RegisterRequest {
                address: address.to_owned(),
                registrars: Vec::new(),
                account: None,
                expires: 3600,
                outbound: None,
            },
        }
    }

    /// Adds a registrar, as a URI; those added later are asked where the earlier ones fail. Default:
    /// the host of the address.
    pub fn registrar(mut self, uri: &str) -> Self {
        self.request.registrars.push(uri.to_owned());
        self
    }

    /// What to sign in with, at the registrar and in calls by [`Registration::dial`].
    pub fn account(mut self, account: Account) -> Self {
        self.request.account = Some(account);
        self
    }

    /// How long a binding shall last, in seconds. Default 3,600. The registrar decides.
    pub fn expires(mut self, seconds: u32) -> Self {
        self.request.expires = seconds;
        self
    }

    /// Calls shall come by the way that this registration goes (RFC 5626), as from behind a translator.
    /// It is kept alive, by STUN over UDP and by empty lines on connections, and the address registered
    /// anew where it fails. `instance` is this device's own for ever, such as
    /// `urn:uuid:00000000-0000-1000-8000-000A95A0E128`. Not every registrar serves that; one that does
    /// not registers as without it.
    pub fn outbound(mut self, instance: &str) -> Self {
        self.request.outbound = Some(Outbound {
            instance: instance.to_owned(),
            flow: 1,
        });
        self
    }
}

impl IntoFuture for Register {
    type Output = Result<Registration, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the first REGISTER; [`Registration::registered`] waits for its answer.
    fn into_future(self) -> Self::IntoFuture {
        let Self {
            engine,
            link,
            request,
        } = self;
        let own = link.clone();
        Box::pin(async move {
            let made = link.make(move |hub: &mut Hub, now: Instant| {
                let id = hub.core().register(now, &request)?;
                Ok(Registration {
                    state: hub.watch_registration(id),
                    engine,
                    link: own,
                    id,
                    request,
                })
            });
            made.await
        })
    }
}

/// An address of ours that is kept registered: signed in, refreshed in time, tried again with growing
/// pauses where the registrar fails.
///
/// Dropping the handle takes the registration back, and so does the engine's shutdown.
pub struct Registration {
    engine: Engine,
    link: Link,
    id: RegistrationId,
    request: RegisterRequest,
    state: watch::Receiver<RegistrationState>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("address", &self.request.address)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// How it stands.
    pub fn state(&self) -> RegistrationState {
        self.state.borrow().clone()
    }

    /// Waits until it stands differently, refreshed included, and says how.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`], also where it was taken back and nothing more will happen.
    pub async fn changed(&mut self) -> Result<RegistrationState, CallError> {
        let changed = self.state.changed().await;
        changed.map_err(|_| CallError::EngineStopped)?;
        Ok(self.state())
    }

    /// Waits until the registrar has granted it.
    ///
    /// # Errors
    /// [`CallError::Refused`] with the status where it was refused (408 where nobody answered), though
    /// it goes on being tried; [`CallError::EngineStopped`].
    pub async fn registered(&self) -> Result<(), CallError> {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| *state != RegistrationState::Registering);
        match decided.await.as_deref() {
            Ok(RegistrationState::Registered { .. }) => Ok(()),
            Ok(RegistrationState::Failed { status, .. }) => Err(CallError::Refused(
                status.map_or(408, |status| status.code()),
            )),
            Ok(_) | Err(_) => Err(CallError::EngineStopped),
        }
    }

    /// Calls `uri` as the registered address: signed with its account, by the registrar's
    /// Service-Route where it gave one.
    pub fn dial(&self, uri: &str) -> Dial {
        let dial = self.engine.dial(uri).from(&self.request.address);
        let dial = match &self.request.account {
            Some(account) => dial.account(account.clone()),
            None => dial,
        };
        match &*self.state.borrow() {
            RegistrationState::Registered { service_route, .. } => {
                dial.routes(service_route.iter().map(ToString::to_string).collect())
            }
            _ => dial,
        }
    }

    /// Takes the registration back and waits until the registrar has acknowledged it, or has not.
    pub async fn unregister(self) {
        let id = self.id;
        self.link.tell(move |core, now| core.unregister(now, id));
        let mut state = self.state.clone();
        // An error means that the engine has stopped, which takes everything back.
        let _stopped = state
            .wait_for(|state| *state == RegistrationState::Unregistered)
            .await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell(move |core, now| core.unregister(now, id));
    }
}
