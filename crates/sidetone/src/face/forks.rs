//! Many forks at once, and what becomes of them on a machine with too much to do.

use tokio::sync::mpsc;

use crate::engine::event::{CallError, SheddingNews};
use crate::face::engine::Engine;
use crate::face::fork::Fork;
use crate::face::link::Link;
use crate::media::fork::{ForkFrame, ForkState};

/// What a fork of a group has brought.
#[derive(Debug)]
pub enum ForkNews<'a> {
    /// A frame.
    Frame(&'a ForkFrame),
    /// It is over, and leaves the group.
    Ended,
}

/// Many forks that one task serves: it wakes once a tick for all of them.
///
/// ```no_run
/// # use sidetone::face::{call::Call, engine::Engine};
/// # use sidetone::face::forks::{ForkNews, Forks};
/// # use sidetone::engine::event::CallError;
/// # struct Recogniser;
/// # impl Recogniser { fn take(&mut self, _: &[i16]) {} fn finish(&mut self) {} }
/// # async fn serve(engine: Engine, calls: Vec<Call>) -> Result<(), CallError> {
/// let mut forks = Forks::new(&engine);
/// for call in &calls {
///     forks.add(call.fork().await?, Recogniser);
/// }
/// while !forks.is_empty() {
///     forks.tick(|recogniser, news| match news {
///         ForkNews::Frame(frame) => recogniser.take(frame.samples()),
///         ForkNews::Ended => recogniser.finish(),
///     }).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Forks<T> {
    link: Link,
    forks: Vec<(Fork, T)>,
    frame: ForkFrame,
}

impl<T> Forks<T> {
    /// None yet.
    pub fn new(engine: &Engine) -> Self {
        Self {
            link: engine.link().clone(),
            forks: Vec::new(),
            frame: ForkFrame::new(),
        }
    }

    /// Serves one more, whose frames go with `with`.
    pub fn add(&mut self, fork: Fork, with: T) {
        self.forks.push((fork, with));
    }

    /// How many it serves.
    pub fn len(&self) -> usize {
        self.forks.len()
    }

    /// Whether it serves none.
    pub fn is_empty(&self) -> bool {
        self.forks.is_empty()
    }

    /// The forks and what goes with them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Fork, &mut T)> {
        self.forks.iter_mut().map(|(fork, with)| (fork, with))
    }

    /// Waits for the next tick, and gives all that has come since to `each`, fork by fork.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    ///
    /// # Cancel safety
    /// No frame is lost when the future is dropped.
    pub async fn tick(
        &mut self,
        mut each: impl FnMut(&mut T, ForkNews<'_>),
    ) -> Result<(), CallError> {
        if !self.link.tick().await {
            return Err(CallError::EngineStopped);
        }
        let frame = &mut self.frame;
        self.forks.retain_mut(|(fork, with)| {
            loop {
                match fork.read(frame) {
                    ForkState::Frame => each(with, ForkNews::Frame(frame)),
                    ForkState::Waiting => return true,
                    ForkState::Ended => {
                        each(with, ForkNews::Ended);
                        return false;
                    }
                }
            }
        });
        Ok(())
    }
}

impl Engine {
    /// Which media workers come too late from now on, and suspend the forks that are optional.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn watch_shedding(&self) -> Result<SheddingWatch, CallError> {
        let news = self.link().ask(|hub, _| hub.watch_shedding()).await?;
        Ok(SheddingWatch { news })
    }
}

/// Tells when media workers suspend optional forks, and when these go on.
///
/// Does not keep the engine running. 1,024 pieces of news wait for whoever reads them; further ones are dropped and
/// counted in [`EngineReport::lost_events`](crate::face::hub::EngineReport::lost_events).
#[derive(Debug)]
pub struct SheddingWatch {
    news: mpsc::Receiver<SheddingNews>,
}

impl SheddingWatch {
    /// The next piece of news; `None` once the engine has stopped.
    ///
    /// # Cancel safety
    /// None is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<SheddingNews> {
        self.news.recv().await
    }
}
