//! Forks: the sound of a call or a room, frame by frame, for whoever recognises speech.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use crate::engine::core::forks::ForkRequest;
use crate::engine::core::playing::Audience;
use crate::engine::event::CallError;
use crate::face::link::Link;
use crate::id::ForkId;
use crate::media::fork::{ForkFrame, ForkReader, ForkSound, ForkState};
use crate::media::frame::SampleRate;
use crate::time::Duration;

/// A fork about to be made: await it. By default it gives what the party says, at 16 kHz, keeps a second for a
/// slow reader, and is never suspended.
#[derive(Debug)]
#[must_use = "nothing is forked until it is awaited"]
pub struct ForkPlan<'a> {
    link: &'a Link,
    of: Audience,
    request: ForkRequest,
}

impl<'a> ForkPlan<'a> {
    pub(crate) fn new(link: &'a Link, of: Audience) -> Self {
        Self {
            link,
            of,
            request: ForkRequest::default(),
        }
    }

    /// Gives frames of this rate, 8 or 16 kHz. Recognisers mostly want 16 kHz, even of narrow-band calls.
    pub fn rate(mut self, rate: SampleRate) -> Self {
        self.request.rate = rate;
        self
    }

    /// Gives another sound of the call than what its party says. A room's fork has one sound: all that is said
    /// in the room and played to all of it.
    pub fn sound(mut self, sound: ForkSound) -> Self {
        self.request.sound = sound;
        self
    }

    /// Keeps as much for a reader that is slow, up to a minute; older frames are dropped.
    pub fn queue(mut self, queue: Duration) -> Self {
        self.request.queue = queue;
        self
    }

    /// Lets a media thread that cannot keep up suspend it until it does
    /// ([`WorkerConfig::shedding`](crate::media::worker::WorkerConfig::shedding)): voice comes first.
    pub fn optional(mut self) -> Self {
        self.request.is_optional = true;
        self
    }

    async fn start(self) -> Result<Fork, CallError> {
        let Self { link, of, request } = self;
        let own = link.clone();
        let started = link.make(move |hub, now| {
            let (id, reader) = hub.core().fork(now, of, request)?;
            Ok(Fork {
                link: own,
                id,
                reader,
                frame: ForkFrame::new(),
            })
        });
        started.await
    }
}

impl<'a> IntoFuture for ForkPlan<'a> {
    type Output = Result<Fork, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// The sound of a call or a room, out of media. It goes on over holds, bridges, transfers, changes of codecs and
/// the leg's moves between workers, and ends with its call or room. Dropping it ends it too.
///
/// A flow with a fork or two awaits [`next`](Self::next); a thread that serves many reads them all once a tick
/// ([`Forks`](crate::face::forks::Forks)).
#[derive(Debug)]
pub struct Fork {
    link: Link,
    id: ForkId,
    reader: ForkReader,
    frame: ForkFrame,
}

impl Fork {
    /// Its number, unique within its engine.
    pub fn id(&self) -> ForkId {
        self.id
    }

    /// The rate of its frames.
    pub fn rate(&self) -> SampleRate {
        self.reader.rate()
    }

    /// The next frame, as soon as it is there; `None` once the fork is over and everything has been read.
    ///
    /// # Cancel safety
    /// No frame is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<&ForkFrame> {
        loop {
            match self.reader.read(&mut self.frame) {
                ForkState::Frame => return Some(&self.frame),
                ForkState::Ended => return None,
                ForkState::Waiting => {
                    if !self.link.tick().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes the next frame into `frame`, where it is there; never waits.
    pub fn read(&mut self, frame: &mut ForkFrame) -> ForkState {
        self.reader.read(frame)
    }

    /// How far the reader is behind.
    pub fn behind(&self) -> Duration {
        self.reader.behind()
    }

    /// How much has been dropped unread so far.
    pub fn lost(&self) -> Duration {
        self.reader.lost()
    }

    /// Leaves out all that waits but the newest `keep`; the next frame's gap says how much.
    pub fn skip_to(&mut self, keep: Duration) {
        self.reader.skip_to(keep);
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        let id = self.id;
        self.link.tell(move |core, now| core.stop_fork(now, id));
    }
}
