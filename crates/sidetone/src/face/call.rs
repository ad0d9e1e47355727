//! The handle to a call.

use std::fmt;
use std::future::IntoFuture;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::call::cause::Cause;
use crate::call::collect::{Collect, Collected};
use crate::call::details::Details;
use crate::call::keys::DigitPolicy;
use crate::engine::core::Core;
use crate::engine::core::playing::Audience;
use crate::engine::event::{CallEnd, CallError, CallEvent, Caller};
use crate::engine::recording::RecordingPlan;
use crate::engine::recording::policy::RecordingChoice;
use crate::engine::remote::RemotePlan;
use crate::face::fork::ForkPlan;
use crate::face::hub::{Stage, Waiting, ended_error};
use crate::face::link::Link;
use crate::face::play::Play;
use crate::face::prompt::Prompt;
use crate::face::recording::Recording;
use crate::face::remote::RemoteRecording;
use crate::face::speech::Speak;
use crate::id::CallId;
use crate::media::leg::LegReport;
use crate::media::leg::ears::Listening;
use crate::media::quality::Quality;
use crate::media::recorder::track::Role;
use crate::media::tone::Tone;
use crate::sip::header::reason::Reason;
use crate::sip::header::session_id::{SessionIdentifier, SessionUuid};
use crate::time::Instant;

/// A call with one party: one who called, or one who was dialled.
///
/// Every method fails with [`CallError::Ended`] once the call is over, so a flow reads from top to
/// bottom and ends by `?` when the party hangs up.
///
/// Dropping the handle ends the call: an unanswered caller is refused with 480, an unanswered
/// attempt is given up (CANCEL), an established call is hung up with cause 16.
pub struct Call {
    link: Link,
    id: CallId,
    caller: Option<Caller>,
    events: Mutex<mpsc::Receiver<CallEvent>>,
    stage: watch::Receiver<Stage>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn new(link: Link, waiting: Waiting) -> Self {
        let Waiting {
            id,
            caller,
            events,
            stage,
        } = waiting;
        Self {
            link,
            id,
            caller,
            events: Mutex::new(events),
            stage,
        }
    }

    /// The call's number, unique within its engine.
    pub fn id(&self) -> CallId {
        self.id
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Who calls whom; `None` for a dialled party.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Tells the caller that it rings (180).
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered or was dialled.
    pub async fn ring(&self) -> Result<(), CallError> {
        self.command(|core, now, id| core.ring(now, id)).await
    }

    /// Opens a path for sound before the answer (183 with SDP): prompts and tones played from now on
    /// are heard by the caller, who as a rule does not pay for it yet.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered, was dialled, or came without an offer.
    pub async fn early_media(&self) -> Result<(), CallError> {
        self.command(|core, now, id| core.early_media(now, id))
            .await
    }

    /// Answers the caller and waits until the answer is confirmed (ACK), so that the first word
    /// played is heard.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the caller asks for the place of another call: see
    /// [`Self::replace`].
    /// [`CallError::Ended`] where the caller has given up meanwhile.
    pub async fn answer(&self) -> Result<(), CallError> {
        self.take_up(|core, now, id| core.answer(now, id)).await
    }

    /// Refuses the caller with a SIP status of 300 to 699, for instance 486 (busy).
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered, [`CallError::Invalid`] for a status
    /// outside 300 to 699.
    pub async fn reject(&self, status: u16) -> Result<(), CallError> {
        self.command(move |core, now, id| core.reject(now, id, status))
            .await
    }

    /// Sends the caller elsewhere, with a SIP status of 300 to 399 (302 as a rule) and 1 to 20 URIs, the
    /// best first. Whether the caller's side calls them is its own affair.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(caller: Call) -> Result<(), CallError> {
    /// caller.redirect(302, &["sip:night@pbx.example"]).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered, [`CallError::Invalid`] for another status
    /// or what is no URI.
    pub async fn redirect(&self, status: u16, targets: &[&str]) -> Result<(), CallError> {
        let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
        self.command(move |core, now, id| core.redirect(now, id, status, &targets))
            .await
    }

    /// What this side's answers to the caller say from now on beside their status: who is reached
    /// (P-Asserted-Identity), reasons, references and others.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered or was dialled, [`CallError::Invalid`] for
    /// more values than are sent.
    pub async fn set_details(&self, details: Details) -> Result<(), CallError> {
        self.command(move |core, now, id| core.set_details(now, id, details))
            .await
    }

    /// The identifier of the call's session, from end to end (RFC 7989): `local` is our part, `remote`
    /// that of the party, nil before the party has told it. It stays the same over re-INVITEs.
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn session_identifier(&self) -> Result<SessionIdentifier, CallError> {
        let id = self.id;
        let asked = self.link.ask(move |hub, _| {
            let identifier = hub.core().session_identifier(id);
            identifier.ok_or(CallError::Gone)
        });
        let identifier = asked.await?;
        self.told(identifier)
    }

    /// Gives the call another identifier on our side, that of the party for which we stand in it, so
    /// that both parties of a bridge see each other's.
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn set_session_uuid(&self, uuid: SessionUuid) -> Result<(), CallError> {
        self.command(move |core, now, id| core.set_session_uuid(now, id, uuid))
            .await
    }

    /// Waits until the call is answered.
    ///
    /// # Errors
    /// [`CallError::Ended`] with the reason where it ends unanswered: busy, no answer, given up.
    pub async fn answered(&self) -> Result<(), CallError> {
        let mut stage = self.stage.clone();
        let decided = stage
            .wait_for(|stage| !matches!(stage, Stage::Pending))
            .await;
        match decided.map_err(|_| CallError::EngineStopped).as_deref() {
            Ok(Stage::Up) => Ok(()),
            Ok(stage) => Err(ended_error(stage)),
            Err(error) => Err(error.clone()),
        }
    }

    /// Waits until the call is over, and says how it went.
    pub async fn ended(&self) -> Result<Arc<CallEnd>, CallError> {
        let mut stage = self.stage.clone();
        let ended = stage
            .wait_for(|stage| matches!(stage, Stage::Ended(_)))
            .await;
        match ended.as_deref() {
            Ok(Stage::Ended(end)) => Ok(Arc::clone(end)),
            _ => Err(CallError::EngineStopped),
        }
    }

    /// What `work` brings, unless the call ends first: then `work` is dropped.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(caller: Call) -> Result<(), CallError> {
    /// // A caller who hangs up while the agent's phone rings ends the ringing too.
    /// let agent = caller.unless_ended(caller.engine().dial("sip:agent@192.0.2.7")).await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Ended`] with the reason where the call ends first.
    pub async fn unless_ended<W: IntoFuture>(&self, work: W) -> Result<W::Output, CallError> {
        tokio::select! {
            biased;
            output = work.into_future() => Ok(output),
            end = self.ended() => Err(CallError::Ended(end?.reason.clone())),
        }
    }

    /// The next event of the call; `None` after its end. What becomes of a recording after that,
    /// [`Recording::closed`] tells. A flow that waits by the other methods
    /// needs no events; 64 are kept for it, further ones are dropped.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn next_event(&self) -> Option<CallEvent> {
        self.events.lock().await.recv().await
    }

    /// Plays a prompt or tone to this party: await it to hear it to its end, or start it and go on.
    ///
    /// ```no_run
    /// # use sidetone::face::{call::Call, prompt::Prompt};
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(call: Call, greeting: Prompt, music: Prompt) -> Result<(), CallError> {
    /// call.play(&greeting).await?;
    /// let music = call.play(&music).looped().start().await?;
    /// music.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn play(&self, prompt: &Prompt) -> Play<'_> {
        Play::on_call(&self.link, self.id, prompt)
    }

    /// Forks the sound of this call to whoever recognises speech: await it for the
    /// [`Fork`](crate::face::fork::Fork).
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// # fn recognise(_: &[i16]) {}
    /// # async fn flow(call: Call) -> Result<(), CallError> {
    /// let mut fork = call.fork().await?;
    /// while let Some(frame) = fork.next().await {
    ///     recognise(frame.samples()); // 20 ms at 16 kHz
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Awaiting it: [`CallError::WrongState`] where the call has no media yet, [`CallError::Busy`] for a fifth
    /// fork, [`CallError::Gone`] where the call is over.
    pub fn fork(&self) -> ForkPlan<'_> {
        ForkPlan::new(&self.link, Audience::Call(self.id))
    }

    /// Speaks to this party what is written while it is heard: await it for the
    /// [`Speech`](crate::face::speech::Speech) to write to.
    ///
    /// # Errors
    /// Awaiting it: [`CallError::WrongState`] where the call has no media yet, [`CallError::Gone`] where it is
    /// over.
    pub fn speak(&self) -> Speak<'_> {
        Speak::new(&self.link, Audience::Call(self.id))
    }

    /// Plays a tone to this party: ringback or busy of its nation, a beep. Where it repeats, it sounds
    /// until it is stopped.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// use sidetone::media::tone::national::{Country, Signal};
    /// # async fn flow(caller: Call) -> Result<(), CallError> {
    /// // The caller hears it ring, before it pays for the call.
    /// caller.early_media().await?;
    /// let ringback = caller.play_tone(Country::Germany.tone(Signal::Ringback)).start().await?;
    /// // ... until the agent has answered.
    /// ringback.stop().await?;
    /// caller.answer().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn play_tone(&self, tone: Tone) -> Play<'_> {
        Play::on_call(&self.link, self.id, &Prompt::tone(tone))
    }

    /// Listens to what this party says for all that `listening` asks, and for nothing else any more:
    /// tones of machines, speech, levels; and changes its gain.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::{CallError, CallEvent};
    /// use sidetone::media::detect::MachineTone;
    /// use sidetone::media::leg::ears::Listening;
    /// # async fn flow(callee: Call) -> Result<(), CallError> {
    /// callee.listen(Listening { tones: true, ..Listening::default() }).await?;
    /// while let Some(event) = callee.next_event().await {
    ///     if let CallEvent::Tone(MachineTone::Beep) = event {
    ///         break; // An answering machine: leave the message now.
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn listen(&self, listening: Listening) -> Result<(), CallError> {
        self.command(move |core, now, id| core.listen(now, id, listening))
            .await
    }

    /// Lets digits travel by `policy` from now on; the default takes what the party offers.
    ///
    /// # Errors
    /// [`CallError::Ended`] where the call is over.
    pub async fn set_digits(&self, policy: DigitPolicy) -> Result<(), CallError> {
        self.command(move |core, now, id| core.set_digits(now, id, policy))
            .await
    }

    /// Collects digits, without a prompt.
    ///
    /// Dropping the future ends the collection; digits pressed so far are lost with it.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where another collection runs on this call.
    pub async fn collect(&self, options: Collect) -> Result<Collected, CallError> {
        self.collect_while(options, None).await
    }

    /// Plays `prompt` and collects digits, by default already during the prompt (barge-in).
    ///
    /// # Errors
    /// [`CallError::WrongState`] where another collection runs on this call.
    pub async fn prompt_and_collect(
        &self,
        prompt: &Prompt,
        options: Collect,
    ) -> Result<Collected, CallError> {
        self.collect_while(options, Some(prompt)).await
    }

    async fn collect_while(
        &self,
        options: Collect,
        prompt: Option<&Prompt>,
    ) -> Result<Collected, CallError> {
        let id = self.id;
        let sound = prompt.map(|prompt| prompt.0.clone());
        let mut guard = CollectGuard::new(self.link.clone(), id);
        let started = self.link.make(move |hub, now| {
            hub.core().collect(now, id, options, sound)?;
            guard.armed = true;
            Ok((guard, hub.on_collected(id)))
        });
        let (mut guard, wait) = self.told(started.await)?;
        let collected = self.or_ended(wait).await;
        guard.armed = false;
        collected
    }

    /// Sends digits (`0-9*#A-D`, at most 32), 100 ms each with 60 ms between, and returns once they are
    /// queued. They travel by the call's [policy](Self::set_digits): as RFC 4733 events where the party
    /// takes them, else as tones. `CallEvent::DigitsSent` tells when they are out,
    /// `CallEvent::DigitsFailed` that they could not be sent.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for anything that is no digit, [`CallError::WrongState`] where the call has
    /// no media yet, or the policy allows telephone events alone and the party did not agree to them.
    pub async fn send_digits(&self, digits: &str) -> Result<(), CallError> {
        let digits = digits.to_owned();
        self.command(move |core, now, id| core.send_digits(now, id, &digits))
            .await
    }

    /// Sends an INFO with a body to the party (RFC 6086 §4; legacy usage).
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is not up.
    pub async fn send_info(&self, content_type: &str, body: &[u8]) -> Result<(), CallError> {
        let (content_type, body) = (content_type.to_owned(), body.to_vec());
        self.command(move |core, now, id| core.send_info(now, id, &content_type, body))
            .await
    }

    /// Puts the party on hold (re-INVITE with `sendonly`) and waits for its consent. It still hears
    /// what is played to it.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where another change is under way, [`CallError::Refused`] where the
    /// party does not consent; the call then goes on as before.
    pub async fn hold(&self) -> Result<(), CallError> {
        self.renegotiate(|core, now, id| core.hold(now, id)).await
    }

    /// Takes the party from hold.
    ///
    /// # Errors
    /// As [`Self::hold`].
    pub async fn resume(&self) -> Result<(), CallError> {
        self.renegotiate(|core, now, id| core.resume(now, id)).await
    }

    /// Connects this party with that of `other`, media flowing between the two and not here; both calls
    /// were [dialled without media](crate::face::engine::Dial::without_media) and are up. Click-to-dial
    /// where this engine shall only signal:
    ///
    /// ```no_run
    /// # use sidetone::face::engine::Engine;
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(engine: Engine) -> Result<(), CallError> {
    /// let desk = engine.dial("sip:6001@pbx.example").without_media().await?;
    /// let customer = engine.dial("sip:+4930123@carrier.example").without_media();
    /// let customer = desk.unless_ended(customer).await??;
    /// desk.connect_directly(&customer).await?;
    /// customer.unless_ended(desk.ended()).await?.map(drop)
    /// # }
    /// ```
    ///
    /// What either party changes later (hold, another address) goes on to the other. When one hangs up,
    /// the other hears nothing: hang it up, or connect it with somebody else.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where one of the calls has media here or is not up,
    /// [`CallError::Refused`] where the two cannot agree; both stay up then, and nothing flows.
    pub async fn connect_directly(&self, other: &Self) -> Result<(), CallError> {
        let other = other.id;
        self.renegotiate(move |core, now, id| core.connect_parties(now, id, other))
            .await
    }

    /// Asks the party to call `uri` in place of this call (blind transfer, REFER), and waits until it
    /// tells that it is connected. This call is still up then: hang it up.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// # async fn flow(caller: Call) -> Result<(), CallError> {
    /// caller.transfer("sip:sales@example.com").await?;
    /// caller.hang_up().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Refused`] where the party does not want to, or could not reach `uri`, with the
    /// status that it tells; the call goes on. [`CallError::Ended`] where it hangs up without a word
    /// of how it went.
    pub async fn transfer(&self, uri: &str) -> Result<(), CallError> {
        let (id, uri) = (self.id, uri.to_owned());
        let reference = self.stored_for_refer().await?;
        let begun = self.link.ask(move |hub, now| {
            hub.core().transfer(now, id, &uri, reference.as_deref())?;
            Ok(hub.on_transferred(id))
        });
        let wait = self.told(begun.await?)?;
        self.or_ended(wait).await?
    }

    /// Connects this party with that of `other`, by asking it to take this engine's place in that call
    /// (attended transfer: REFER with Replaces). Otherwise as [`Self::transfer`].
    ///
    /// # Errors
    /// As [`Self::transfer`]; [`CallError::WrongState`] where one of the calls is not up.
    pub async fn transfer_to(&self, other: &Call) -> Result<(), CallError> {
        let (id, other) = (self.id, other.id);
        let reference = self.stored_for_refer().await?;
        let begun = self.link.ask(move |hub, now| {
            let core = hub.core();
            core.transfer_to(now, id, other, reference.as_deref())?;
            Ok(hub.on_transferred(id))
        });
        let wait = self.told(begun.await?)?;
        self.or_ended(wait).await?
    }

    /// Does what the party asked for with `CallEvent::TransferRequested`: dials its target, and gives
    /// that call while it is on its way; the party is told how it goes. Once it is answered it takes
    /// this call's place in its room or bridge, of which the others there notice nothing.
    ///
    /// Dialling costs: check the target first.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where nothing is asked for, [`CallError::Invalid`] for a target that
    /// cannot be dialled; the party is told then.
    pub async fn accept_transfer(&self) -> Result<Call, CallError> {
        let (id, link) = (self.id, self.link.clone());
        let reference = self.stored_for_follower().await?;
        let accepted = self.link.make(move |hub, now| {
            let new = hub.core().accept_transfer(now, id, reference)?;
            Ok(Call::new(link, hub.adopt(new, None)))
        });
        accepted.await
    }

    /// Declines what the party asked for with `CallEvent::TransferRequested`, with a SIP status of 400
    /// to 699, for instance 603.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where nothing is asked for, [`CallError::Invalid`] for another
    /// status.
    pub async fn decline_transfer(&self, status: u16) -> Result<(), CallError> {
        self.command(move |core, now, id| core.decline_transfer(now, id, status))
            .await
    }

    /// Answers a caller that asks for the place of another call ([`Caller::replaces`]), and waits until
    /// it is confirmed: that call then ends with `EndReason::Replaced`, and this one has its place in
    /// its room or bridge.
    ///
    /// # Errors
    /// [`CallError::Gone`] where the other call is over already; the caller is refused then.
    pub async fn replace(&self) -> Result<(), CallError> {
        self.take_up(|core, now, id| core.replace(now, id)).await
    }

    /// Starts recording this call into a stereo WAV file: what this party says on the left, what it
    /// hears (agents, prompts, music) on the right, aligned by RTP time.
    ///
    /// The file must not exist yet; missing directories are made. The recording goes on over bridges
    /// and hold until it is stopped or the call ends.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet or is being recorded already.
    /// Trouble with the disk does not end the call: [`Recording::started`] and
    /// `CallEvent::RecordingFailed` tell of it.
    pub async fn record(&self, path: impl AsRef<Path>) -> Result<Recording, CallError> {
        self.record_as(RecordingPlan::party(path.as_ref())).await
    }

    /// Starts recording what this party says, and nothing else, into a stereo WAV file: its left channel on
    /// the left and its right channel on the right where it speaks in stereo, the same on both otherwise.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn record_party_alone(&self, path: impl AsRef<Path>) -> Result<Recording, CallError> {
        self.record_as(RecordingPlan::party_alone(path.as_ref()))
            .await
    }

    /// Starts a recording by a plan: of this party, or of the conversation that it takes part in, which
    /// follows it over bridges, hold, transfers and conferences.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub async fn record_as(&self, plan: RecordingPlan) -> Result<Recording, CallError> {
        let id = self.id;
        let started = self.link.ask(move |hub, now| {
            let recording = hub.core().record(now, id, plan)?;
            Ok((recording, hub.watch_recording(recording, false)))
        });
        let (recording, stage) = self.told(started.await?)?;
        Ok(Recording::new(self.link.clone(), recording, stage))
    }

    /// The recording that runs, of this party or of its conversation: one by policy too.
    ///
    /// # Errors
    /// As [`Call`] says of all methods.
    pub async fn recording(&self) -> Result<Option<Recording>, CallError> {
        let id = self.id;
        let asked = self.link.ask(move |hub, _| {
            let (recording, is_open) = hub.core().recording_of(id)?;
            Some((recording, hub.watch_recording(recording, is_open)))
        });
        let made = |(id, stage)| Recording::new(self.link.clone(), id, stage);
        Ok(asked.await?.map(made))
    }

    /// Says of this call that it is to be recorded whatever the
    /// [policy](crate::engine::recording::policy::RecordingPolicy) draws, or not to be; also once it is answered:
    /// its recording by policy ends then.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where no policy is configured.
    pub async fn set_recorded(&self, choice: RecordingChoice) -> Result<(), CallError> {
        self.command(move |core, now, id| core.set_recorded(now, id, choice))
            .await
    }

    /// Lets a session recording server elsewhere record the conversation that this party takes part in, until
    /// the call ends: each party on a stream of its own, as they come and go. [`CallEvent::RemoteStarted`],
    /// [`CallEvent::RemoteFailed`] and [`CallEvent::RemoteEnded`] tell how that goes; the call is disturbed by
    /// none of it.
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// use sidetone::engine::remote::RemotePlan;
    /// # async fn flow(call: Call) -> Result<(), CallError> {
    /// call.answer().await?;
    /// let plan = RemotePlan::to("sips:srs@recorder.example").or("sips:srs@spare.example");
    /// let recording = call.record_remotely(plan).await?;
    /// recording.pause().await?;
    /// // The card number is told.
    /// recording.resume().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet, or two servers record it already,
    /// [`CallError::Invalid`] where no server can be called, [`CallError::Busy`] where calls or ports have run
    /// out.
    pub async fn record_remotely(&self, plan: RemotePlan) -> Result<RemoteRecording, CallError> {
        let id = self.id;
        let begun = self
            .link
            .ask(move |hub, now| hub.core().record_remotely(now, id, plan));
        let recording = self.told(begun.await?)?;
        Ok(RemoteRecording::new(self.link.clone(), recording))
    }

    /// Says who this party is in recordings of conversations, which decides its track: by default the party
    /// that is recorded is the caller, and all others are agents.
    ///
    /// # Errors
    /// As [`Call`] says of all methods.
    pub async fn set_role(&self, role: Role) -> Result<(), CallError> {
        let id = self.id;
        let set = self
            .link
            .ask(move |hub, now| hub.core().set_role(now, id, role));
        self.told(set.await?)
    }

    /// The media counters of the call up to now.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet.
    pub async fn report(&self) -> Result<LegReport, CallError> {
        let id = self.id;
        let asked = self.link.ask(move |hub, now| {
            hub.core().query(now, id)?;
            Ok(hub.on_report(id))
        });
        let wait = self.told(asked.await?)?;
        self.or_ended(wait).await.map(|report| *report)
    }

    /// How both ways of the call sound, as far as it has come, and why where they sound bad.
    /// `CallEvent::Quality` tells of changes as they happen.
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call has no media yet.
    pub async fn quality(&self) -> Result<Quality, CallError> {
        self.report().await.map(|report| report.quality)
    }

    /// Hangs up with the normal cause, or refuses or gives up a call that is not answered yet.
    pub async fn hang_up(&self) -> Result<(), CallError> {
        self.hang_up_with(Cause::normal()).await
    }

    /// Hangs up with a cause, shown to the party in a Reason header.
    pub async fn hang_up_with(&self, cause: Cause) -> Result<(), CallError> {
        self.command(move |core, now, id| core.hang_up(now, id, cause))
            .await
    }

    /// Hangs up, refuses or gives up for reasons in several vocabularies, which go with the BYE, the
    /// refusal or the CANCEL (RFC 3326).
    ///
    /// ```no_run
    /// # use sidetone::face::call::Call;
    /// # use sidetone::engine::event::CallError;
    /// use sidetone::sip::header::reason::Reason;
    /// # async fn flow(still_ringing: Call) -> Result<(), CallError> {
    /// // Another phone has answered: this one shall not show a missed call.
    /// still_ringing.hang_up_for(&[Reason::completed_elsewhere()]).await
    /// # }
    /// ```
    pub async fn hang_up_for(&self, reasons: &[Reason]) -> Result<(), CallError> {
        let reasons = reasons.to_vec();
        self.command(move |core, now, id| core.hang_up_for(now, id, &reasons))
            .await
    }

    async fn renegotiate<F>(&self, change: F) -> Result<(), CallError>
    where
        F: FnOnce(&mut Core, Instant, CallId) -> Result<(), CallError> + Send + 'static,
    {
        let id = self.id;
        let begun = self.link.ask(move |hub, now| {
            change(hub.core(), now, id)?;
            Ok(hub.on_renegotiated(id))
        });
        let wait = self.told(begun.await?)?;
        self.or_ended(wait).await?
    }

    /// Runs what answers the call, and waits until it is answered.
    async fn take_up<F>(&self, command: F) -> Result<(), CallError>
    where
        F: FnOnce(&mut Core, Instant, CallId) -> Result<(), CallError> + Send + 'static,
    {
        let id = self.id;
        let (done, answered) = oneshot::channel();
        // One message there and one back, at the end: most of what a call costs is waking threads.
        self.link
            .tell_hub(move |hub, now| match command(hub.core(), now, id) {
                Ok(()) => hub.on_answered(id, done),
                // The asker may have gone meanwhile.
                Err(error) => drop(done.send(Err(error))),
            });
        match answered.await {
            Ok(outcome) => self.told(outcome),
            // The call is over, or the engine has stopped.
            Err(_) => self.answered().await,
        }
    }

    pub(crate) async fn command<F>(&self, command: F) -> Result<(), CallError>
    where
        F: FnOnce(&mut Core, Instant, CallId) -> Result<(), CallError> + Send + 'static,
    {
        if let stage @ Stage::Ended(_) = &*self.stage.borrow() {
            return Err(ended_error(stage));
        }
        let id = self.id;
        let done = self
            .link
            .ask(move |hub, now| command(hub.core(), now, id))
            .await?;
        self.told(done)
    }

    /// A call that has ended says why, rather than that it is gone.
    pub(crate) fn told<T>(&self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        match (outcome, &*self.stage.borrow()) {
            (Err(CallError::Gone), stage @ Stage::Ended(_)) => Err(ended_error(stage)),
            (outcome, _) => outcome,
        }
    }

    /// What `wait` brings, or why the call ended first.
    async fn or_ended<T>(&self, wait: oneshot::Receiver<T>) -> Result<T, CallError> {
        let waited = self.unless_ended(wait).await?;
        self.told(waited.map_err(|_| CallError::Gone))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if matches!(*self.stage.borrow(), Stage::Ended(_)) {
            return;
        }
        let id = self.id;
        self.link.tell(move |core, now| {
            // It fails only where the call has ended just now.
            let _over = core.abandon(now, id);
        });
    }
}

/// Ends a collection whose future is dropped.
struct CollectGuard {
    link: Link,
    call: CallId,
    armed: bool,
}

impl CollectGuard {
    fn new(link: Link, call: CallId) -> Self {
        Self {
            link,
            call,
            armed: false,
        }
    }
}

impl Drop for CollectGuard {
    fn drop(&mut self) {
        if self.armed {
            let id = self.call;
            self.link
                .tell(move |core, now| core.cancel_collect(now, id));
        }
    }
}
