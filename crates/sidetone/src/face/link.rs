//! What every handle holds: the way to the engine.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::core::Core;
use crate::engine::event::CallError;
use crate::face::callers::Callers;
use crate::face::hub::{Ends, Hub, Request, Waiting};
use crate::face::spawn::{Flow, Spawn};
use crate::media::frame::FRAME_DURATION;
use crate::media::recorder::recovery::Recovered;
use crate::time::{Duration, Instant};

/// The way to an engine. Every handle holds one, and together they keep the engine running.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    requests: mpsc::UnboundedSender<Request>,
    incoming: Callers<Waiting>,
    running: watch::Receiver<bool>,
    calls: watch::Receiver<usize>,
    spawner: Arc<dyn Spawn>,
    listening: Vec<SocketAddr>,
    recovered: OnceLock<Vec<Recovered>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("listening", &self.0.listening)
            .finish_non_exhaustive()
    }
}

/// How long after a tick's time its frames are looked for: a tick takes as long where a thread has much to do.
const TICK_TAKES: Duration = Duration::from_millis(4);

/// The next moment at which a tick has been.
fn after_tick(now: Instant) -> Instant {
    let tick = FRAME_DURATION.as_nanos() as u64;
    let (nanos, takes) = (now.as_nanos(), TICK_TAKES.as_nanos() as u64);
    let ticks = nanos.saturating_sub(takes) / tick + 1;
    Instant::from_nanos(ticks * tick + takes)
}

impl Link {
    pub(crate) fn new(ends: Ends, listening: Vec<SocketAddr>, spawner: Arc<dyn Spawn>) -> Self {
        let Ends {
            requests,
            incoming,
            running,
            calls,
        } = ends;
        Self(Arc::new(Shared {
            requests,
            incoming,
            running,
            calls,
            spawner,
            listening,
            recovered: OnceLock::new(),
        }))
    }

    /// What the driver has recovered; it says so once.
    pub(crate) fn recovered(&self) -> &OnceLock<Vec<Recovered>> {
        &self.0.recovered
    }

    pub(crate) fn listening(&self) -> &[SocketAddr] {
        &self.0.listening
    }

    pub(crate) fn spawn(&self, flow: Flow) {
        self.0.spawner.spawn(flow);
    }

    /// The next caller that nobody has taken.
    pub(crate) async fn incoming(&self) -> Option<Waiting> {
        self.0.incoming.next().await
    }

    /// The number of calls in progress, and its changes.
    pub(crate) fn calls(&self) -> watch::Receiver<usize> {
        self.0.calls.clone()
    }

    /// Waits for `duration` on the engine's clock.
    pub(crate) async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let (done, waited) = oneshot::channel();
        let request = move |hub: &mut Hub, now: Instant| hub.add_timer(now + duration, done);
        if self.0.requests.send(Box::new(request)).is_ok() {
            // An error means that the engine has stopped, and its clock with it.
            let _stopped = waited.await;
        }
    }

    /// Waits until the media workers' next tick has just been, on the engine's clock; false where that has
    /// stopped.
    pub(crate) async fn tick(&self) -> bool {
        let (done, waited) = oneshot::channel();
        let request = move |hub: &mut Hub, now: Instant| hub.add_timer(after_tick(now), done);
        self.0.requests.send(Box::new(request)).is_ok() && waited.await.is_ok()
    }

    /// Waits until the engine has stopped.
    pub(crate) async fn stopped(&self) {
        let mut running = self.0.running.clone();
        // An error means that the driver is gone, which is what is waited for.
        let _gone = running.wait_for(|&running| !running).await;
    }

    /// Has `request` run on the engine and waits for its result.
    pub(crate) async fn ask<T, F>(&self, request: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Hub, Instant) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = move |hub: &mut Hub, now: Instant| {
            // The asker may have gone meanwhile; what was asked still holds.
            let _gone = reply.send(request(hub, now));
        };
        self.0
            .requests
            .send(Box::new(request))
            .map_err(|_| CallError::EngineStopped)?;
        answer.await.map_err(|_| CallError::EngineStopped)
    }

    /// As [`Self::ask`] for a request that makes a handle: it is not run where the asker has gone
    /// before, and the handle is dropped where the asker goes before taking it.
    pub(crate) async fn make<T, F>(&self, request: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Hub, Instant) -> Result<T, CallError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = move |hub: &mut Hub, now: Instant| {
            if !reply.is_closed() {
                // Where the asker has gone just now, the handle is dropped here.
                let _gone = reply.send(request(hub, now));
            }
        };
        self.0
            .requests
            .send(Box::new(request))
            .map_err(|_| CallError::EngineStopped)?;
        answer.await.map_err(|_| CallError::EngineStopped)?
    }

    /// Has `request` run on the engine; used where nobody can wait, as in `drop`.
    pub(crate) fn tell(&self, request: impl FnOnce(&mut Core, Instant) + Send + 'static) {
        self.tell_hub(move |hub, now| request(hub.core(), now));
    }

    /// As [`Self::tell`] where the hub holds something for the handle.
    pub(crate) fn tell_hub(&self, request: impl FnOnce(&mut Hub, Instant) + Send + 'static) {
        // A stopped engine has ended everything already.
        let _stopped = self.0.requests.send(Box::new(request));
    }
}
