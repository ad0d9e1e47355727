//! The call flow: what happens to a caller, from top to bottom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::{Prompt, PromptError};

use crate::agents::AgentPool;
use crate::settings::Settings;

/// Told each thing that happens, one line each.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// A service desk with its prompts and agents; serves any number of callers.
pub struct Desk {
    prompts: Prompts,
    agents: AgentPool,
    recordings: PathBuf,
    ring_timeout: Duration,
    progress: Progress,
}

/// What callers hear.
struct Prompts {
    greeting: Prompt,
    music: Prompt,
    sorry: Prompt,
    goodbye: Prompt,
}

impl Desk {
    /// A desk by `settings`, that reports its progress.
    ///
    /// # Errors
    /// A prompt named in the settings cannot be loaded.
    pub fn new(settings: &Settings, progress: Progress) -> Result<Self, PromptError> {
        Ok(Self {
            prompts: Prompts::load(settings)?,
            agents: AgentPool::new(settings.agents.clone(), settings.strategy),
            recordings: settings.recordings.clone(),
            ring_timeout: Duration::from_secs(settings.ring_seconds),
            progress,
        })
    }

    /// Serves callers until the engine stops.
    pub async fn serve(self: Arc<Self>, engine: &Engine) {
        engine
            .serve(|caller| {
                let desk = Arc::clone(&self);
                async move { desk.handle(caller).await }
            })
            .await;
    }

    /// One caller's way through the desk.
    async fn handle(&self, caller: Call) -> Result<(), CallError> {
        let from = caller
            .caller()
            .map(|caller| caller.from())
            .unwrap_or_default();
        self.say(&caller, format!("incoming from {from}"));
        let outcome = self.welcome(&caller).await;
        if let Err(error) = &outcome {
            self.say(&caller, error.to_string());
        }
        if caller.hang_up().await.is_ok() {
            self.say(&caller, "hung up".into());
        }
        outcome
    }

    async fn welcome(&self, caller: &Call) -> Result<(), CallError> {
        caller.answer().await?;
        self.say(caller, "answered".into());
        let path = self.recordings.join(format!("call-{}.wav", caller.id()));
        let recording = caller.record(&path).await?;
        let started = recording.started();
        let started = caller
            .engine()
            .timeout(Duration::from_secs(2), started)
            .await;
        self.say(
            caller,
            match started {
                Some(Ok(())) => format!("recording to {}", path.display()),
                Some(Err(error)) => error.to_string(),
                None => "the disk has not answered yet".into(),
            },
        );

        let served = self.serve_caller(caller).await;

        match recording.stop().await {
            Ok(report) => self.say(
                caller,
                format!("recorded {:.1} s", report.duration.as_secs_f64()),
            ),
            Err(error) => self.say(caller, error.to_string()),
        }
        served
    }

    async fn serve_caller(&self, caller: &Call) -> Result<(), CallError> {
        for _ in 0..3 {
            self.say(caller, "greeting".into());
            let menu = Collect::digits(1).first_digit_within(Duration::from_secs(5));
            let choice = caller
                .prompt_and_collect(&self.prompts.greeting, menu)
                .await?;
            match choice.digits.as_str() {
                "2" => {
                    self.say(caller, "pressed 2".into());
                    return self.connect(caller).await;
                }
                "" => self.say(caller, "pressed nothing".into()),
                other => self.say(caller, format!("pressed {other}, which means nothing here")),
            }
        }
        caller.play(&self.prompts.goodbye).await?;
        Ok(())
    }

    /// Holds the caller with music until an agent answers, then lets the two talk.
    async fn connect(&self, caller: &Call) -> Result<(), CallError> {
        let music = caller.play(&self.prompts.music).looped().start().await?;
        self.say(caller, "music on hold".into());
        let engine = caller.engine();
        let ringing = self.agents.ring(&engine, self.ring_timeout);
        let agent = caller.unless_ended(ringing).await?;
        music.stop().await?;
        let Some(agent) = agent else {
            self.say(caller, "no agent answered".into());
            caller.play(&self.prompts.sorry).await?;
            return Ok(());
        };
        self.say(caller, format!("agent {} answered", agent.uri));
        let bridge = caller.bridge(&agent.call).await?;
        self.say(caller, "bridged".into());
        let end = bridge.ended().await?;
        let who = if end.call == caller.id() {
            "the caller"
        } else {
            "the agent"
        };
        self.say(caller, format!("{who} left: {}", end.reason));
        Ok(())
    }

    fn say(&self, call: &Call, what: String) {
        (self.progress)(format!("call {}: {what}", call.id()));
    }
}

impl Prompts {
    fn load(settings: &Settings) -> Result<Self, PromptError> {
        let load = |file: &Option<PathBuf>, embedded: &[u8]| match file {
            Some(path) => Prompt::from_file(path),
            None => Prompt::from_wav(embedded),
        };
        Ok(Self {
            greeting: load(
                &settings.greeting,
                include_bytes!("../prompts/greeting.wav"),
            )?,
            music: load(&settings.music, include_bytes!("../prompts/music.wav"))?,
            sorry: load(&settings.sorry, include_bytes!("../prompts/sorry.wav"))?,
            goodbye: load(&settings.goodbye, include_bytes!("../prompts/goodbye.wav"))?,
        })
    }
}
