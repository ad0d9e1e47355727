//! The disk of recordings by the engine's handle.

use tokio::sync::mpsc;

use crate::engine::event::{CallError, StorageNews};
use crate::face::engine::Engine;

impl Engine {
    /// How the disk of recordings stands from now on: whether the journal is kept, and whether there is room.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn watch_storage(&self) -> Result<StorageWatch, CallError> {
        let news = self.link().ask(|hub, _| hub.watch_storage()).await?;
        Ok(StorageWatch { news })
    }
}

/// Tells how the disk of recordings stands.
///
/// Does not keep the engine running. 1,024 pieces of news wait for whoever reads them; further ones are dropped and
/// counted in [`EngineReport::lost_events`](crate::face::hub::EngineReport::lost_events).
#[derive(Debug)]
pub struct StorageWatch {
    news: mpsc::Receiver<StorageNews>,
}

impl StorageWatch {
    /// The next piece of news; `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// None is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<StorageNews> {
        self.news.recv().await
    }
}
