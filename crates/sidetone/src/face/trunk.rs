//! Trunks by the engine's handle.

use tokio::sync::mpsc;

use crate::b2bua::trunk::table::TrunkCounters;
use crate::b2bua::trunk::{Trunk, TrunkEvent, TrunkState};
use crate::engine::event::CallError;
use crate::face::engine::Engine;
use crate::id::TrunkId;

impl Engine {
    /// Adds a trunk: registers there where it wants that, and watches its addresses. Calls to it are
    /// placed by [`Target::trunk`](crate::b2bua::plan::Target::trunk); calls that come from its
    /// addresses say so ([`Caller::trunk`](crate::engine::event::Caller::trunk)) and count too.
    ///
    /// ```no_run
    /// # use sidetone::engine::event::CallError;
    /// # use sidetone::face::engine::Engine;
    /// use sidetone::b2bua::plan::{Plan, Target};
    /// use sidetone::b2bua::trunk::{Address, Trunk};
    ///
    /// # async fn example(engine: Engine) -> Result<(), CallError> {
    /// let carrier = Trunk::new("carrier", [
    ///     Address::new("sip:192.0.2.7"),
    ///     Address::new("sip:192.0.2.8").ranked(1, 1),
    /// ]);
    /// let carrier = engine.add_trunk(carrier.max_calls(30)).await?;
    /// engine.serve(move |caller| async move {
    ///     let number = caller.caller().map(|caller| caller.to()).unwrap_or_default();
    ///     let number = number.trim_start_matches("sip:").split('@').next().unwrap_or_default();
    ///     let plan = Plan::to(Target::trunk(carrier, number));
    ///     caller.connect(plan).await?.ended().await
    /// }).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Invalid`] where one of its URIs cannot be used, [`CallError::Busy`] where a table
    /// is full, [`CallError::EngineStopped`].
    pub async fn add_trunk(&self, trunk: Trunk) -> Result<TrunkId, CallError> {
        let add = self.link().ask(|hub, now| hub.core().add_trunk(now, trunk));
        add.await?
    }

    /// Removes a trunk: its registration is taken back, and nobody watches it any more. Its calls go
    /// on.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn remove_trunk(&self, trunk: TrunkId) -> Result<(), CallError> {
        let remove = move |hub: &mut crate::face::hub::Hub, now| {
            hub.core().remove_trunk(now, trunk);
        };
        self.link().ask(remove).await
    }

    /// How a trunk stands, and what it has counted.
    ///
    /// # Errors
    /// [`CallError::Gone`] where it was removed, [`CallError::EngineStopped`].
    pub async fn trunk(&self, trunk: TrunkId) -> Result<(TrunkState, TrunkCounters), CallError> {
        let look = self.link().ask(move |hub, _| hub.core().trunk(trunk));
        look.await?.ok_or(CallError::Gone)
    }

    /// What happens from now on to trunks, and which caps are reached.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn watch_trunks(&self) -> Result<TrunkWatch, CallError> {
        let events = self.link().ask(|hub, _| hub.watch_trunks()).await?;
        Ok(TrunkWatch { events })
    }
}

/// Tells what happens to trunks.
///
/// Does not keep the engine running. 1,024 events wait for whoever reads them; further ones are
/// dropped and counted in [`EngineReport::lost_events`](crate::face::hub::EngineReport::lost_events).
#[derive(Debug)]
pub struct TrunkWatch {
    events: mpsc::Receiver<TrunkEvent>,
}

impl TrunkWatch {
    /// The next event; `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<TrunkEvent> {
        self.events.recv().await
    }
}
