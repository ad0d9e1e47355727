//! The handle to a caller that is connected to somebody else.

use tokio::sync::watch;

use crate::b2bua::plan::Plan;
use crate::call::cause::Cause;
use crate::engine::event::{CallError, PassageState};
use crate::face::call::Call;
use crate::id::{CallId, PassageId};

impl Call {
    /// Connects this caller, who is not answered yet, to whoever of `plan` answers: a back-to-back
    /// user agent. Targets are dialled first; what they say before the answer is told to the caller;
    /// the caller is answered with the target and refused with its refusal; and from then on what
    /// either side does goes through to the other: hanging up and why, hold, keys, INFO.
    ///
    /// ```no_run
    /// use sidetone::b2bua::plan::{Plan, Target};
    /// # use sidetone::engine::event::CallError;
    /// # use sidetone::face::engine::Engine;
    /// # async fn example(engine: Engine) {
    /// engine.serve(|caller| async move {
    ///     let passage = caller.connect(Plan::to(Target::new("sip:100@192.0.2.7"))).await?;
    ///     passage.ended().await
    /// }).await;
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::WrongState`] where the call is answered or was dialled, [`CallError::Invalid`]
    /// where the plan has no target or no codec. The caller is refused then, since its handle is
    /// dropped.
    pub async fn connect(self, plan: Plan) -> Result<Passage, CallError> {
        let Some(caller) = self.caller() else {
            return Err(CallError::WrongState("this side placed the call"));
        };
        let (id, caller) = (self.id(), caller.clone());
        let begun = self.link().ask(move |hub, now| {
            let passage = hub.core().connect(now, id, &caller, plan)?;
            Ok((passage, hub.watch_passage(passage)))
        });
        let (id, state) = begun.await??;
        Ok(Passage {
            caller: self,
            id,
            state,
        })
    }
}

/// A caller and whoever is dialled for it. Dropping it ends both.
#[derive(Debug)]
pub struct Passage {
    caller: Call,
    id: PassageId,
    state: watch::Receiver<PassageState>,
}

impl Passage {
    /// The caller, for instance to record what both say.
    pub fn caller(&self) -> &Call {
        &self.caller
    }

    /// How far it has come.
    pub fn state(&self) -> PassageState {
        *self.state.borrow()
    }

    /// Waits until a target has answered, and gives its number in the plan and its call.
    ///
    /// # Errors
    /// [`CallError::Refused`] with what the caller was told where nobody answered,
    /// [`CallError::Gone`] where the caller gave up first, [`CallError::EngineStopped`].
    pub async fn answered(&self) -> Result<(usize, CallId), CallError> {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| *state != PassageState::Dialling);
        let decided = *decided.await.map_err(|_| CallError::EngineStopped)?;
        match decided {
            PassageState::Answered { call, target } => Ok((target, call)),
            PassageState::Ended {
                refused: Some(status),
            } => Err(CallError::Refused(status)),
            _ => Err(CallError::Gone),
        }
    }

    /// Waits until both sides have ended.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn ended(&self) -> Result<(), CallError> {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| matches!(state, PassageState::Ended { .. }));
        ended.await.map_err(|_| CallError::EngineStopped)?;
        Ok(())
    }

    /// Hangs both sides up, or gives the attempt up.
    ///
    /// # Errors
    /// [`CallError::EngineStopped`].
    pub async fn hang_up(&self, cause: Cause) -> Result<(), CallError> {
        let id = self.id;
        let asked = self
            .caller
            .link()
            .ask(move |hub, now| hub.core().disconnect(now, id, &cause));
        asked.await
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let id = self.id;
        let link = self.caller.link();
        link.tell(move |core, now| core.disconnect(now, id, &Cause::normal()));
    }
}
