//! The call flow: what a caller goes through, from top to bottom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::{Prompt, PromptError};

/// Told each thing that happens, one line each.
pub type Progress = Arc<dyn Fn(String) + Send + Sync>;

/// The IVR with its prompts; serves any number of callers.
pub struct Ivr {
    prompts: Prompts,
    progress: Progress,
}

struct Prompts {
    menu: Prompt,
    hours: Prompt,
    order: Prompt,
    heard: Prompt,
    nothing: Prompt,
    invalid: Prompt,
    goodbye: Prompt,
    digits: [Prompt; 10],
}

impl Ivr {
    /// An IVR with the embedded prompts; a WAV file of the same name in `directory` takes the place
    /// of an embedded one.
    ///
    /// # Errors
    /// A file in `directory` is no usable WAV file.
    pub fn new(directory: Option<&Path>, progress: Progress) -> Result<Self, PromptError> {
        Ok(Self {
            prompts: Prompts::load(directory)?,
            progress,
        })
    }

    /// Serves callers until the engine stops.
    pub async fn serve(self: Arc<Self>, engine: &Engine) {
        engine
            .serve(|caller| {
                let ivr = Arc::clone(&self);
                async move { ivr.handle(caller).await }
            })
            .await;
    }

    async fn handle(&self, caller: Call) -> Result<(), CallError> {
        let from = caller
            .caller()
            .map(|caller| caller.from())
            .unwrap_or_default();
        self.say(&caller, format!("incoming from {from}"));
        let outcome = self.menu(&caller).await;
        match &outcome {
            Ok(()) => self.say(&caller, "hung up".into()),
            Err(error) => self.say(&caller, error.to_string()),
        }
        outcome
    }

    async fn menu(&self, caller: &Call) -> Result<(), CallError> {
        caller.answer().await?;
        let mut misses = 0;
        while misses < 3 {
            let choice = caller
                .prompt_and_collect(&self.prompts.menu, Collect::digits(1))
                .await?;
            self.say(caller, format!("chose \"{}\"", choice.digits));
            match choice.digits.as_str() {
                "1" => {
                    caller.play(&self.prompts.hours).await?;
                }
                "2" => self.order(caller).await?,
                "9" => break,
                "" => {
                    caller.play(&self.prompts.nothing).await?;
                    misses += 1;
                }
                _ => {
                    caller.play(&self.prompts.invalid).await?;
                    misses += 1;
                }
            }
        }
        caller.play(&self.prompts.goodbye).await?;
        caller.hang_up().await
    }

    async fn order(&self, caller: &Call) -> Result<(), CallError> {
        let number = Collect::digits(4)
            .terminated_by('#')
            .first_digit_within(Duration::from_secs(6))
            .next_digit_within(Duration::from_secs(4));
        let entered = caller
            .prompt_and_collect(&self.prompts.order, number)
            .await?;
        self.say(caller, format!("order \"{}\"", entered.digits));
        if entered.digits.is_empty() {
            caller.play(&self.prompts.nothing).await?;
            return Ok(());
        }
        caller.play(&self.prompts.heard).await?;
        for digit in entered.digits.chars() {
            match digit
                .to_digit(10)
                .and_then(|value| self.prompts.digits.get(value as usize))
            {
                Some(prompt) => caller.play(prompt).await?,
                None => caller.play(&self.prompts.invalid).await?,
            };
        }
        Ok(())
    }

    fn say(&self, call: &Call, what: String) {
        (self.progress)(format!("call {}: {what}", call.id()));
    }
}

impl Prompts {
    fn load(directory: Option<&Path>) -> Result<Self, PromptError> {
        macro_rules! prompt {
            ($name:literal) => {
                load(
                    directory,
                    $name,
                    include_bytes!(concat!("../prompts/", $name)),
                )?
            };
        }
        Ok(Self {
            menu: prompt!("menu.wav"),
            hours: prompt!("hours.wav"),
            order: prompt!("order.wav"),
            heard: prompt!("heard.wav"),
            nothing: prompt!("nothing.wav"),
            invalid: prompt!("invalid.wav"),
            goodbye: prompt!("goodbye.wav"),
            digits: [
                prompt!("0.wav"),
                prompt!("1.wav"),
                prompt!("2.wav"),
                prompt!("3.wav"),
                prompt!("4.wav"),
                prompt!("5.wav"),
                prompt!("6.wav"),
                prompt!("7.wav"),
                prompt!("8.wav"),
                prompt!("9.wav"),
            ],
        })
    }
}

fn load(directory: Option<&Path>, name: &str, embedded: &[u8]) -> Result<Prompt, PromptError> {
    match directory.map(|directory| directory.join(name)) {
        Some(file) if file.exists() => Prompt::from_file(file),
        _ => Prompt::from_wav(embedded),
    }
}
