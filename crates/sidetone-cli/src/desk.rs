//! What `answer` does with each caller.

use std::collections::BTreeSet;
use std::time::Duration;

use sidetone::b2bua::plan::{Identity, Plan, Policy, Target};
use sidetone::call::keys::DigitPolicy;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::engine::remote::RemotePlan;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::fork::Fork;
use sidetone::face::play::Playback;
use sidetone::face::prompt::Prompt;
use sidetone::face::room::Room;
use sidetone::sip::registrar::binding::ChangeKind;
use tokio::sync::mpsc;

use crate::answer::Answer;
use crate::line::{Outcome, complain, say};

/// How long those may ring whom a caller is to be connected with.
const RING: Duration = Duration::from_secs(30);

/// A validated set of arguments with its sound loaded.
pub(crate) struct Desk {
    pub(crate) arguments: Answer,
    pub(crate) sound: Option<Prompt>,
    /// Where all callers meet.
    pub(crate) room: Option<Room>,
    /// Whose calls are put through.
    pub(crate) users: BTreeSet<String>,
    pub(crate) ring: Duration,
    pub(crate) duration: Option<Duration>,
    /// Takes what calls are forked to.
    pub(crate) forks: mpsc::UnboundedSender<Fork>,
    /// Told of each call that has ended.
    pub(crate) done: mpsc::UnboundedSender<()>,
}

impl Desk {
    pub(crate) async fn handle(&self, call: Call) -> Result<(), CallError> {
        let from = call
            .caller()
            .map(|caller| caller.from())
            .unwrap_or_default();
        self.say(&call, &format!("incoming from {from}"));
        match self.plan(&call).await? {
            Some(plan) => self.connect(call, plan).await,
            None => self.serve(call).await,
        }
    }

    /// Whom to connect the caller with: the telephones of a registered user, or who is connected with
    /// everybody; `None` where the call is for us.
    async fn plan(&self, call: &Call) -> Result<Option<Plan>, CallError> {
        let called = call.caller().map(|caller| caller.invite().request_uri());
        if let Some(Ok(called)) = called
            && let Some(name) = called.user_decoded()
            && self.users.contains(&*name)
        {
            let address = called.to_string();
            let bindings = call.engine().bindings(&address).await?;
            let targets = bindings.iter().map(|it| Target::binding(&address, it));
            let mut policy = Policy::default();
            policy.identity = Identity::Kept;
            let plan = Plan::to_all(targets).within(RING);
            return Ok(Some(plan.policy(policy.into())));
        }
        let targets = self.arguments.connect.iter().map(|uri| Target::new(uri));
        let plan = Plan::to_all(targets).within(RING);
        Ok(Some(plan).filter(|plan| plan.target_count() > 0))
    }

    async fn connect(&self, call: Call, plan: Plan) -> Result<(), CallError> {
        if plan.target_count() == 0 {
            // It fails only where the caller has given up meanwhile.
            let _over = call.reject(480).await;
            return self.finish(&call, false).await;
        }
        let passage = call.connect(plan).await?;
        let carried = async {
            if passage.answered().await.is_ok() {
                self.say(passage.caller(), "put through");
                self.record(passage.caller()).await?;
            }
            passage.ended().await
        };
        tokio::select! {
            // How a call ends is told by its report.
            _ = carried => {}
            _ = self.tell(passage.caller()) => {}
        }
        self.finish(passage.caller(), false).await
    }

    async fn serve(&self, call: Call) -> Result<(), CallError> {
        let moved = tokio::select! {
            // How a call ends is told by its report.
            _ = self.welcome(&call) => None,
            moved = self.tell(&call) => moved,
        };
        self.finish(&call, moved.is_some()).await?;
        let Some(mut call) = moved else {
            return Ok(());
        };
        // Who was called for the other party may have himself transferred in turn.
        loop {
            self.say(&call, "goes on in place of the one before");
            let moved = tokio::select! {
                _ = self.talk(&call, None) => None,
                moved = self.tell(&call) => moved,
            };
            self.finish(&call, moved.is_some()).await?;
            match moved {
                Some(next) => call = next,
                None => return Ok(()),
            }
        }
    }

    /// Hangs up and reports. Who has transferred a call hangs up himself.
    async fn finish(&self, call: &Call, moved: bool) -> Result<(), CallError> {
        if moved {
            let patience = Duration::from_secs(5);
            let _patient = call.engine().timeout(patience, call.ended()).await;
        }
        // It fails only where the call is over already.
        let _over = call.hang_up().await;
        let end = call.ended().await?;
        if !self.arguments.quiet {
            Outcome::new(&end).print(self.arguments.json);
        }
        // The receiver is gone where enough calls have ended already.
        let _enough = self.done.send(());
        Ok(())
    }

    async fn welcome(&self, call: &Call) -> Result<(), CallError> {
        if let Some(status) = self.arguments.reject {
            return call.reject(status).await;
        }
        let mut playing = None;
        if self.arguments.early {
            call.early_media().await?;
            playing = self.play(call).await?;
        } else if !self.ring.is_zero() {
            call.ring().await?;
        }
        call.unless_ended(call.engine().sleep(self.ring)).await?;
        self.arguments.course.answer(call).await?;
        self.talk(call, playing).await
    }

    /// Has a call that is up.
    async fn talk(&self, call: &Call, playing: Option<Playback>) -> Result<(), CallError> {
        let keys = self.arguments.keys.policy();
        if keys != DigitPolicy::default() {
            call.set_digits(keys).await?;
        }
        self.record(call).await?;
        if let Some(room) = &self.room {
            room.join(call).await?;
        }
        let playing = match playing {
            Some(playing) => Some(playing),
            None => self.play(call).await?,
        };
        self.arguments.course.run(call, self.duration).await?;
        drop(playing);
        Ok(())
    }

    async fn record(&self, call: &Call) -> Result<(), CallError> {
        if self.arguments.fork {
            // Nobody reads it any more where the program ends.
            let _over = self.forks.send(call.fork().await?);
        }
        if let Some(directory) = &self.arguments.record {
            let file = directory.join(format!("call-{}.wav", call.id()));
            if self.arguments.party_alone {
                call.record_party_alone(file).await?;
            } else {
                call.record(file).await?;
            }
        }
        if let Some((first, others)) = self.arguments.record_at.split_first() {
            let plan = RemotePlan::to(first);
            let plan = others.iter().fold(plan, |plan, server| plan.or(server));
            call.record_remotely(plan).await?;
        }
        Ok(())
    }

    async fn play(&self, call: &Call) -> Result<Option<Playback>, CallError> {
        let Some(prompt) = &self.sound else {
            return Ok(None);
        };
        let play = call.play(prompt);
        let play = match self.arguments.sound.looped {
            true => play.looped(),
            false => play,
        };
        play.start().await.map(Some)
    }

    /// Tells what happens, one line an event, until the call is over; gives the call that takes its
    /// place where the other party transfers it.
    async fn tell(&self, call: &Call) -> Option<Call> {
        while let Some(event) = call.next_event().await {
            match event {
                CallEvent::Answered => self.say(call, "answered"),
                CallEvent::MediaStarted => self.say(call, "sound arrives"),
                CallEvent::Digit { digit, .. } => self.say(call, &format!("digit {digit}")),
                CallEvent::Held => self.say(call, "held"),
                CallEvent::Resumed => self.say(call, "resumed"),
                CallEvent::RemoteStarted { server, .. } => {
                    self.say(call, &format!("recorded by {server}"));
                }
                CallEvent::RemoteFailed { server, reason, .. } => {
                    self.say(call, &format!("not recorded by {server}: {reason}"));
                }
                CallEvent::RecordingFailed { error, .. } => complain(&error.to_string()),
                CallEvent::TransferRequested(wish) => {
                    if let Some(new) = self.arguments.course.follow(call, &wish).await {
                        return Some(new);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn say(&self, call: &Call, what: &str) {
        if !self.arguments.json && !self.arguments.quiet {
            say(&format!("call {}: {what}", call.id()));
        }
    }
}

/// Tells who registers and who goes, one line each, where that is wanted.
pub(crate) async fn watch(engine: &Engine, is_wanted: bool) {
    if !is_wanted {
        return std::future::pending().await;
    }
    let Ok(mut changes) = engine.watch_bindings().await else {
        return;
    };
    while let Some(change) = changes.next().await {
        let kind = match change.kind {
            ChangeKind::Registered => "registered",
            ChangeKind::Refreshed => "refreshed",
            ChangeKind::Expired => "expired",
            ChangeKind::Removed => "removed",
            _ => "lost",
        };
        say(&format!(
            "{kind} {} at {}",
            change.address,
            change.binding.contact()
        ));
    }
}

/// Takes the messages that come (MESSAGE, RFC 3428), and prints each on a line unless `quiet`.
pub(crate) async fn take_messages(engine: &Engine, quiet: bool) {
    let Ok(mut inbox) = engine.messages().await else {
        return;
    };
    while let Some(message) = inbox.next().await {
        if !quiet {
            // Quoted, so that no message looks like a line of ours.
            say(&format!(
                "message from {}: {:?}",
                message.from(),
                message.text()
            ));
        }
        message.accept();
    }
}
