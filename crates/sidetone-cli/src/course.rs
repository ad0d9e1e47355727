//! What happens in a call besides talk, which `call` and `answer` have in common: hold and transfer.

use std::time::Duration;

use clap::Args;
use sidetone::call::transfer::Referral;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;

use crate::line::{complain, say};

/// What happens in a call besides talk.
#[derive(Debug, Clone, Args)]
pub(crate) struct CourseArguments {
    /// Puts the other party on hold for so long, half a second after the answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    hold: Option<Duration>,
    /// Before it hangs up, asks the other party to call this URI instead (blind transfer).
    #[arg(long, value_name = "URI", conflicts_with = "consult")]
    transfer: Option<String>,
    /// Before it hangs up, calls this URI and connects the two other parties (attended transfer).
    #[arg(long, value_name = "URI")]
    consult: Option<String>,
    /// Lets the other party transfer the call: calls whom it names, and gives up the call to whoever
    /// comes in its place. By default it may not.
    #[arg(long)]
    transfers: bool,
}

/// A time in seconds, as a command line has it.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let value: Option<f64> = text.parse().ok();
    let time = value.and_then(|value| Duration::try_from_secs_f64(value).ok());
    time.ok_or_else(|| format!("{text} is no time in seconds"))
}

impl CourseArguments {
    /// Has the call from its answer until it is to be hung up; without a `duration` the other party
    /// does that.
    pub(crate) async fn run(
        &self,
        call: &Call,
        duration: Option<Duration>,
    ) -> Result<(), CallError> {
        let talk = async {
            match duration {
                Some(duration) => call.unless_ended(call.engine().sleep(duration)).await,
                None => call.ended().await.map(drop),
            }
        };
        let (talked, held) = tokio::join!(talk, self.hold(call));
        talked?;
        if let Err(error) = held {
            complain(&format!("hold: {error}"));
        }
        match self.part(call).await {
            Some(Ok(())) => say("transferred"),
            Some(Err(error)) => complain(&format!("not transferred: {error}")),
            None => {}
        }
        Ok(())
    }

    async fn hold(&self, call: &Call) -> Result<(), CallError> {
        let Some(time) = self.hold else {
            return Ok(());
        };
        let engine = call.engine();
        engine.sleep(Duration::from_millis(500)).await;
        call.hold().await?;
        say("put on hold");
        engine.sleep(time).await;
        call.resume().await?;
        say("taken from hold");
        Ok(())
    }

    /// Connects the other party with somebody else; `None` where nobody asked for that.
    async fn part(&self, call: &Call) -> Option<Result<(), CallError>> {
        if let Some(uri) = &self.transfer {
            return Some(call.transfer(uri).await);
        }
        let uri = self.consult.as_ref()?;
        let connect = async {
            let other = call.unless_ended(call.engine().dial(uri)).await??;
            say("consulting");
            call.transfer_to(&other).await
        };
        Some(connect.await)
    }

    /// Answers a caller; one that asks for the place of another call only where it may have it.
    pub(crate) async fn answer(&self, call: &Call) -> Result<(), CallError> {
        let replaces = call
            .caller()
            .is_some_and(|caller| caller.replaces().is_some());
        match (replaces, self.transfers) {
            (false, _) => call.answer().await,
            (true, true) => call.replace().await,
            (true, false) => call.reject(403).await,
        }
    }

    /// Does what the other party asks for, where it may; the call that takes the place of this one.
    pub(crate) async fn follow(&self, call: &Call, wish: &Referral) -> Option<Call> {
        if !self.transfers {
            let _over = call.decline_transfer(603).await;
            return None;
        }
        say(&format!("asked to call {}", wish.target()));
        let called = async {
            let new = call.accept_transfer().await?;
            new.answered().await?;
            Ok::<Call, CallError>(new)
        };
        match called.await {
            Ok(new) => Some(new),
            Err(error) => {
                complain(&format!("{}: {error}", wish.target()));
                None
            }
        }
    }
}
