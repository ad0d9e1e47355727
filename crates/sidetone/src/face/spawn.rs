//! How call flows are started.

use std::future::Future;
use std::pin::Pin;

/// A boxed future without a result: one call flow.
pub type Flow = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts call flows. The real driver gives tokio's spawner, the simulator its own.
pub trait Spawn: Send + Sync {
    /// Runs `flow` beside everything else.
    fn spawn(&self, flow: Flow);
}
