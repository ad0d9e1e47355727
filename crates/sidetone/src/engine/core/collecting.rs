//! Digits: collecting those that arrive, sending ours.

use crate::call::collect::{Collect, Collected, Collector, Step};
use crate::engine::core::Core;
use crate::engine::core::call::{CallState, Collecting};
use crate::engine::core::playing::{Audience, PlayRequest, Sound};
use crate::engine::event::{CallError, CallEvent};
use crate::id::{CallId, PlayId};
use crate::media::command::PlayAction;
use crate::media::dtmf::{Digit, MAX_PRESS, MIN_PRESS};
use crate::media::leg::digits::DigitString;
use crate::time::{Duration, Instant};

/// How long each digit that we send is held.
const PRESS: Duration = Duration::from_millis(100);

/// Digits kept for a collection that has not begun; further ones are forgotten.
const TYPE_AHEAD: usize = 32;

impl Core {
    /// Collects digits, while `prompt` plays where there is one; ends with one `Collected` event,
    /// unless it is cancelled or the call ends.
    pub fn collect(
        &mut self,
        now: Instant,
        id: CallId,
        options: Collect,
        prompt: Option<Sound>,
    ) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        if call.collecting.is_some() {
            return Err(CallError::WrongState("digits are being collected already"));
        }
        if call.leg.is_none() {
            return Err(CallError::WrongState("the call has no media yet"));
        }
        let typed = std::mem::take(&mut call.typed_ahead);
        let typed = if options.uses_type_ahead() {
            typed
        } else {
            String::new()
        };
        // What was typed ahead is an answer to the prompt: it need not be heard, unless it must.
        let typed = match prompt {
            Some(_) if !options.allows_barge_in() => String::new(),
            _ => typed,
        };
        let prompt = prompt.filter(|_| typed.is_empty());
        let play = match prompt {
            Some(sound) => Some(self.play(now, Audience::Call(id), PlayRequest::new(&sound))?),
            None => None,
        };
        let hears_speech = options.allows_barge_in_by_speech() && play.is_some();
        let collector = Collector::new(now, options, play.is_some());
        let call = self.call_mut(id)?;
        call.collecting = Some(Collecting {
            collector,
            prompt: play,
            hears_speech,
            deadline: None,
        });
        self.update_ears(id);
        let mut typed = typed.chars().filter_map(Digit::from_char);
        while let Some(digit) = typed.next() {
            if self.step(now, id, |collector| collector.handle_digit(now, digit)) {
                // The rest waits for the next collection.
                if let Some(call) = self.calls.get_mut(&id) {
                    call.typed_ahead = typed.map(Digit::to_char).collect();
                }
                return Ok(());
            }
        }
        self.watch_collection(id);
        Ok(())
    }

    /// Ends a collection without a result; its prompt stops.
    pub fn cancel_collect(&mut self, now: Instant, id: CallId) {
        self.now = now;
        self.end_collection(now, id);
    }

    /// Sends digits in the way that the call's policy says.
    pub fn send_digits(&mut self, now: Instant, id: CallId, digits: &str) -> Result<(), CallError> {
        self.now = now;
        let digits: DigitString = digits
            .parse()
            .map_err(|error| CallError::Invalid(format!("{digits:?}: {error}")))?;
        self.transmit_digits(now, id, digits, PRESS)
    }

    /// The party pressed a key.
    pub(super) fn handle_key_down(&mut self, now: Instant, id: CallId, digit: Digit) {
        self.step(now, id, |collector| collector.handle_key_down(now, digit));
    }

    /// The party let a key go.
    pub(super) fn handle_digit(
        &mut self,
        now: Instant,
        id: CallId,
        digit: Digit,
        duration: Duration,
    ) {
        self.emit(
            id,
            CallEvent::Digit {
                digit: digit.to_char(),
                duration,
            },
        );
        let collects = |call: &CallState| call.collecting.is_some();
        if self.calls.get(&id).is_some_and(collects) {
            self.step(now, id, |collector| collector.handle_digit(now, digit));
        } else if let Some(other) = self.bridged_with(id) {
            self.relay_digit(now, other, digit, duration);
        } else {
            self.type_ahead(id, digit);
        }
    }

    /// Keeps a digit for a collection that has not begun.
    fn type_ahead(&mut self, id: CallId, digit: Digit) {
        let call = self.calls.get_mut(&id);
        let Some(call) = call.filter(|call| call.typed_ahead.len() < TYPE_AHEAD) else {
            return;
        };
        if digit != Digit::FLASH {
            call.typed_ahead.push(digit.to_char());
        }
    }

    /// The other party, where the call is in a room of two: a bridge.
    fn bridged_with(&self, id: CallId) -> Option<CallId> {
        let members = &self.rooms.get(&self.calls.get(&id)?.room?)?.members;
        match members.len() {
            2 => members.iter().copied().find(|member| *member != id),
            _ => None,
        }
    }

    /// Presses a key towards the other party of a bridge, which may be a machine that waits for it.
    fn relay_digit(&mut self, now: Instant, to: CallId, digit: Digit, duration: Duration) {
        if !self.config.relay_digits {
            return;
        }
        let press = duration.clamp(MIN_PRESS, MAX_PRESS);
        // Where the other party takes none in the way that its policy says, there is nobody to tell.
        let _untold = self.transmit_digits(now, to, DigitString::from(digit), press);
    }

    /// A prompt of the call has ended; the collection's own starts the first-digit timer.
    pub(super) fn collection_prompt_ended(&mut self, now: Instant, id: CallId, play: PlayId) {
        let Some(collecting) = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.collecting.as_mut())
        else {
            return;
        };
        if collecting.prompt == Some(play) {
            collecting.prompt = None;
            collecting.collector.handle_prompt_ended(now);
            self.watch_collection(id);
        }
    }

    /// Runs the collections whose deadline has passed.
    pub(super) fn run_collections(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, id)) = self.collecting.first().copied() {
            if at > now {
                return;
            }
            self.step(now, id, |collector| collector.handle_timeout(now));
        }
    }

    /// Forgets the collection of a call and stops its prompt.
    pub(super) fn end_collection(&mut self, now: Instant, id: CallId) {
        let Some(collecting) = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.collecting.take())
        else {
            return;
        };
        if let Some(deadline) = collecting.deadline {
            self.collecting.remove(&(deadline, id));
        }
        if let Some(play) = collecting.prompt {
            self.control_play(now, play, PlayAction::Stop);
        }
        self.update_ears(id);
    }

    /// The party speaks, which may stop a collection's prompt.
    pub(super) fn handle_speech_in_collection(&mut self, now: Instant, id: CallId) {
        self.step(now, id, |collector| collector.handle_speech(now));
    }

    /// Gives the collector of a call one input; whether that ended the collection.
    fn step(
        &mut self,
        now: Instant,
        id: CallId,
        input: impl FnOnce(&mut Collector) -> Step,
    ) -> bool {
        let Some(collecting) = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.collecting.as_mut())
        else {
            return false;
        };
        match input(&mut collecting.collector) {
            Step::Continue => {}
            Step::StopPrompt => {
                if let Some(play) = collecting.prompt.take() {
                    self.control_play(now, play, PlayAction::Stop);
                }
            }
            Step::Done(collected) => {
                self.finish_collection(now, id, collected);
                return true;
            }
        }
        self.watch_collection(id);
        false
    }

    fn finish_collection(&mut self, now: Instant, id: CallId, collected: Collected) {
        self.end_collection(now, id);
        self.emit(id, CallEvent::Collected(collected));
    }

    /// Keeps the core's deadlines in step with the collector's.
    fn watch_collection(&mut self, id: CallId) {
        let Some(collecting) = self
            .calls
            .get_mut(&id)
            .and_then(|call| call.collecting.as_mut())
        else {
            return;
        };
        let wanted = collecting.collector.poll_timeout();
        let had = std::mem::replace(&mut collecting.deadline, wanted);
        if had == wanted {
            return;
        }
        if let Some(at) = had {
            self.collecting.remove(&(at, id));
        }
        if let Some(at) = wanted {
            self.collecting.insert((at, id));
        }
    }
}
