//! The pool of agents and the order in which their phones ring.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::select_ok;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;

use crate::settings::Strategy;

/// Agents, reached by SIP URIs.
pub struct AgentPool {
    uris: Vec<String>,
    strategy: Strategy,
    next: AtomicUsize,
}

/// An agent who answered.
pub struct Agent {
    /// Which one.
    pub uri: String,
    /// The call with the agent.
    pub call: Call,
}

impl AgentPool {
    /// A pool of these agents.
    pub fn new(uris: Vec<String>, strategy: Strategy) -> Self {
        Self {
            uris,
            strategy,
            next: AtomicUsize::new(0),
        }
    }

    /// Rings until an agent answers; `None` where nobody does. Dropping the future stops all
    /// ringing.
    pub async fn ring(&self, engine: &Engine, timeout: Duration) -> Option<Agent> {
        if self.uris.is_empty() {
            return None;
        }
        match self.strategy {
            Strategy::RingAll => {
                let attempts = self
                    .uris
                    .iter()
                    .map(|uri| Box::pin(dial(engine, uri, timeout)));
                // The attempts that lost are dropped, which cancels them.
                select_ok(attempts).await.ok().map(|(agent, _others)| agent)
            }
            Strategy::RoundRobin => {
                let first = self.next.fetch_add(1, Ordering::Relaxed) % self.uris.len();
                let (before, after) = self.uris.split_at(first);
                for uri in after.iter().chain(before) {
                    if let Ok(agent) = dial(engine, uri, timeout).await {
                        return Some(agent);
                    }
                }
                None
            }
        }
    }
}

/// Rings one agent; an error where that one does not answer.
async fn dial(engine: &Engine, uri: &str, timeout: Duration) -> Result<Agent, ()> {
    let call = engine
        .dial(uri)
        .ring_timeout(timeout)
        .await
        .map_err(|_| ())?;
    Ok(Agent {
        uri: uri.to_owned(),
        call,
    })
}
