//! What most of the tests stand on.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone_sim::sim::Sim;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What flows write down, in order.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn write(&self, line: impl Into<String>) {
        self.0.lock().expect("one thread").push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("one thread").clone()
    }
}

/// Serves every caller with a flow that need not end well.
pub(crate) fn serve<F, T>(sim: &Sim, engine: &Engine, flow: F)
where
    F: Fn(Call) -> T + 'static,
    T: Future<Output = Result<(), CallError>> + Send + 'static,
{
    let engine = engine.clone();
    sim.spawn(async move { engine.serve(flow).await });
}
