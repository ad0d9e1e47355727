//! Playing prompts and tones.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tokio::sync::oneshot;

use crate::engine::core::playing::{Audience, PlayRequest};
use crate::engine::event::{CallError, PlayEnd};
use crate::face::link::Link;
use crate::face::prompt::Prompt;
use crate::id::{CallId, PlayId, RoomId};
use crate::media::command::PlayAction;
use crate::media::mixer::Gain;
use crate::media::player::Repeat;
use crate::time::Duration;

/// A prompt about to be played: awaiting it plays it to its end, and dropping that future stops it.
#[derive(Debug)]
#[must_use = "nothing is played until it is awaited or started"]
pub struct Play<'a> {
    link: &'a Link,
    audience: Audience,
    request: PlayRequest,
}

impl<'a> Play<'a> {
    pub(crate) fn on_call(link: &'a Link, call: CallId, prompt: &Prompt) -> Self {
        Self {
            link,
            audience: Audience::Call(call),
            request: PlayRequest::new(&prompt.0),
        }
    }

    pub(crate) fn in_room(link: &'a Link, room: RoomId, prompt: &Prompt) -> Self {
        Self {
            link,
            audience: Audience::Room(room),
            request: PlayRequest::new(&prompt.0),
        }
    }

    /// Plays it again and again until it is stopped. A tone with a cadence does so by itself.
    pub fn looped(mut self) -> Self {
        self.request.repeat = Repeat::Forever;
        self
    }

    /// Plays it `times` times; 0 counts as 1. A tone with a cadence repeats by itself.
    pub fn times(mut self, times: u32) -> Self {
        self.request.repeat = Repeat::Times(times.max(1));
        self
    }

    /// Plays it louder or softer.
    pub fn gain(mut self, gain: Gain) -> Self {
        self.request.gain = gain;
        self
    }

    /// Begins `offset` into it.
    pub fn from(mut self, offset: Duration) -> Self {
        self.request.offset = offset;
        self
    }

    /// Starts it and returns at once.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet, [`CallError::Ended`] or
    /// [`CallError::Gone`] where the call or room is over.
    pub async fn start(self) -> Result<Playback, CallError> {
        let Self {
            link,
            audience,
            request,
        } = self;
        let own = link.clone();
        let started = link.make(move |hub, now| {
            let play = hub.core().play(now, audience, request)?;
            Ok(Playback {
                link: own,
                play,
                wait: Some(hub.on_play_end(play)),
            })
        });
        started.await
    }
}

impl<'a> IntoFuture for Play<'a> {
    type Output = Result<PlayEnd, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().await?.ended().await })
    }
}

/// A prompt that is playing. Dropping it stops the prompt.
#[derive(Debug)]
pub struct Playback {
    link: Link,
    play: PlayId,
    wait: Option<oneshot::Receiver<PlayEnd>>,
}

impl Playback {
    /// Waits until it has been played to its end, was stopped, or was cut short by the end of the
    /// call or room; [`PlayEnd::finished`] tells which.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the engine stopped first.
    pub async fn ended(mut self) -> Result<PlayEnd, CallError> {
        let Some(wait) = self.wait.as_mut() else {
            return Err(CallError::Gone);
        };
        let end = wait.await.map_err(|_| CallError::Gone);
        self.wait = None;
        end
    }

    /// Stops it, with a fade too short to hear, and says how far it came.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the engine stopped first.
    pub async fn stop(self) -> Result<PlayEnd, CallError> {
        self.control(PlayAction::Stop);
        self.ended().await
    }

    /// Stops the clock of the prompt; silence is heard.
    pub fn pause(&self) {
        self.control(PlayAction::Pause);
    }

    /// Goes on where [`Self::pause`] stopped.
    pub fn resume(&self) {
        self.control(PlayAction::Resume);
    }

    /// Goes on at `offset` from its beginning; beyond the end it ends.
    pub fn seek(&self, offset: Duration) {
        self.control(PlayAction::Seek(offset));
    }

    /// Plays on louder or softer.
    pub fn set_gain(&self, gain: Gain) {
        self.control(PlayAction::SetGain(gain));
    }

    fn control(&self, action: PlayAction) {
        let play = self.play;
        self.link
            .tell(move |core, now| core.control_play(now, play, action));
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        if self.wait.is_some() {
            self.control(PlayAction::Stop);
        }
    }
}
