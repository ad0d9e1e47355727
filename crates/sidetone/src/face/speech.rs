//! Speech that an integrator makes while it is heard.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::engine::core::playing::Audience;
use crate::engine::event::{CallError, PlayEnd};
use crate::face::link::Link;
use crate::id::PlayId;
use crate::media::command::PlayAction;
use crate::media::speech::{DEFAULT_QUEUE, SpeechError, SpeechReport, SpeechWriter};
use crate::time::Duration;

/// How long a writer waits for room in the queue before it looks again.
const PATIENCE: Duration = Duration::from_millis(60);

/// Speech about to be heard: await it to begin to write.
#[derive(Debug)]
#[must_use = "nothing is heard until it is awaited"]
pub struct Speak<'a> {
    link: &'a Link,
    audience: Audience,
    queue: Duration,
}

impl<'a> Speak<'a> {
    pub(crate) fn new(link: &'a Link, audience: Audience) -> Self {
        Self {
            link,
            audience,
            queue: DEFAULT_QUEUE,
        }
    }

    /// How much may wait to be heard, 40 ms to 2 minutes. Default 10 s.
    pub fn queue(mut self, queue: Duration) -> Self {
        self.queue = queue;
        self
    }

    async fn start(self) -> Result<Speech, CallError> {
        let Self {
            link,
            audience,
            queue,
        } = self;
        let own = link.clone();
        let started = link.make(move |hub, now| {
            let (play, writer) = hub.core().speak(now, audience, queue)?;
            let news = Arc::new(Notify::new());
            hub.on_spoken(play, Arc::clone(&news));
            Ok(Speech {
                link: own,
                play,
                writer,
                news,
                is_loud: false,
                wait: Some(hub.on_play_end(play)),
            })
        });
        started.await
    }
}

impl<'a> IntoFuture for Speak<'a> {
    type Output = Result<Speech, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// Speech that is written while it is heard, by one party or a room. Dropping it stops it.
///
/// What is reported as heard has been sent, and as long has passed as it lasts; on its way through the network and
/// in the party's own buffer it may still be. While the party holds the call nothing is heard, and speech waits.
///
/// ```no_run
/// # use sidetone::face::call::Call;
/// # use sidetone::engine::event::CallError;
/// use sidetone::media::speech::SpeechReport;
/// # async fn flow(call: Call, synthesised: Vec<i16>) -> Result<(), CallError> {
/// let mut speech = call.speak().await?;
/// speech.say(24_000, &synthesised).await?;
/// speech.mark(1)?;
/// match speech.next().await {
///     Some(SpeechReport::Reached { mark: 1, .. }) => {} // The party has heard all of it.
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Speech {
    link: Link,
    play: PlayId,
    writer: SpeechWriter,
    news: Arc<Notify>,
    /// Something has been queued since it was last quiet.
    is_loud: bool,
    wait: Option<oneshot::Receiver<PlayEnd>>,
}

impl Speech {
    /// Queues speech at `hz` (4 to 192 kHz) behind what waits, as much as there is room for, and says how many
    /// samples that were; never waits.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a rate that cannot be converted, [`CallError::Gone`] where nobody hears it any
    /// more.
    pub fn write(&mut self, hz: u32, samples: &[i16]) -> Result<usize, CallError> {
        let taken = self.writer.write(hz, samples).map_err(refused)?;
        self.is_loud |= taken > 0;
        Ok(taken)
    }

    /// Queues speech at `hz`, and waits for room where there is none.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// What has been queued when the future is dropped is heard; how much that was is not known.
    pub async fn say(&mut self, hz: u32, samples: &[i16]) -> Result<(), CallError> {
        let mut rest = samples;
        loop {
            let taken = self.write(hz, rest)?;
            rest = rest.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            self.link.sleep(PATIENCE).await;
        }
    }

    /// Asks to be told ([`next`](Self::next)) when all that has been queued so far has been heard, or cleared.
    ///
    /// # Errors
    /// [`CallError::Busy`] where 256 have not been read yet, [`CallError::Gone`] where nobody hears it any more.
    pub fn mark(&mut self, mark: u64) -> Result<(), CallError> {
        self.writer.mark(mark).map_err(refused)
    }

    /// Throws away all that has not been heard, with a fade too short to hear: for a party that begins to speak
    /// (barge-in). It takes effect with the next tick; what is written from now on is heard at once.
    pub fn clear(&mut self) {
        self.writer.clear();
    }

    /// What has become of marks, and when all has been heard; `None` once it has ended. What nobody reads is kept.
    ///
    /// # Cancel safety
    /// No report is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<SpeechReport> {
        loop {
            // In this order: what was reported before the end is seen after it.
            let is_ended = self.writer.is_ended();
            if let Some(report) = self.writer.poll_report() {
                if matches!(report, SpeechReport::Quiet { .. }) {
                    self.is_loud = !self.writer.waiting().is_zero();
                }
                return Some(report);
            }
            if is_ended {
                return None;
            }
            self.news.notified().await;
        }
    }

    /// Waits until all that has been queued has been heard, or cleared, and says how much has been heard in all.
    /// Reports that wait are read.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the call, the room or the engine is over before.
    pub async fn quiet(&mut self) -> Result<Duration, CallError> {
        while self.is_loud {
            self.next().await.ok_or(CallError::Gone)?;
        }
        Ok(self.writer.heard())
    }

    /// How much waits to be heard.
    pub fn waiting(&self) -> Duration {
        self.writer.waiting()
    }

    /// How much has been heard in all.
    pub fn heard(&self) -> Duration {
        self.writer.heard()
    }

    /// Lets what waits be heard, then ends it, and says how much has been heard.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the engine stopped first.
    pub async fn finish(mut self) -> Result<PlayEnd, CallError> {
        self.writer.end();
        let Some(wait) = self.wait.as_mut() else {
            return Err(CallError::Gone);
        };
        let end = wait.await.map_err(|_| CallError::Gone);
        self.wait = None;
        end
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        if self.wait.is_some() {
            let play = self.play;
            self.link
                .tell(move |core, now| core.control_play(now, play, PlayAction::Stop));
        }
    }
}

fn refused(error: SpeechError) -> CallError {
    match error {
        SpeechError::Marks => CallError::Busy("too many marks wait"),
        SpeechError::Ended => CallError::Gone,
        SpeechError::Rate(_) => CallError::Invalid(error.to_string()),
    }
}
