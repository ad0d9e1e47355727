//! What is listened for on a call, how its digits travel, and what that brings.

use crate::call::info;
use crate::call::keys::{DigitPolicy, DigitTransport, Source};
use crate::engine::core::Core;
use crate::engine::core::call::CallState;
use crate::engine::core::commands::refused;
use crate::engine::event::{CallError, CallEvent};
use crate::id::{CallId, LegId};
use crate::media::command::Command;
use crate::media::dtmf::Digit;
use crate::media::leg::digits::{DigitPath, DigitString};
use crate::media::leg::ears::{Ears, Listening};
use crate::media::level::vad::{SpeechConfig, SpeechEvent};
use crate::sip::agent::command::{Body, Headers, SessionId};
use crate::sip::status::StatusCode;
use crate::time::{Duration, Instant};

/// Digits that wait to be sent by INFO at most.
const MAX_INFO: usize = 64;

/// An INFO of ours that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It carried a digit.
    Digit(Digit),
    /// It carried what the owner of the call wanted.
    Other,
}

impl Core {
    /// Listens for what `listening` asks, from now or from the moment when the call has media.
    pub fn listen(
        &mut self,
        now: Instant,
        id: CallId,
        listening: Listening,
    ) -> Result<(), CallError> {
        self.now = now;
        self.call_mut(id)?.listening = listening;
        self.update_ears(id);
        Ok(())
    }

    /// Lets digits travel by `policy`, from now on.
    pub fn set_digits(
        &mut self,
        now: Instant,
        id: CallId,
        policy: DigitPolicy,
    ) -> Result<(), CallError> {
        self.now = now;
        self.call_mut(id)?.digits = policy;
        self.update_ears(id);
        Ok(())
    }

    /// Gives a call's leg the ears that everything about it asks for, where it has others.
    pub(super) fn update_ears(&mut self, id: CallId) {
        let relays = self.config.relay_digits;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(leg) = call.leg else {
            return;
        };
        let mut wanted = call.listening;
        if call.digits.hears_tones(call.takes_events()) {
            wanted.digits = true;
            // The other side is told of the key; it must not hear it besides.
            wanted.mute_digits |= relays;
        }
        let by_speech = call.collecting.as_ref().is_some_and(|c| c.hears_speech);
        if by_speech {
            wanted.speech.get_or_insert(SpeechConfig::default());
        }
        if call.ears.unwrap_or_default() == wanted {
            return;
        }
        call.ears = Some(wanted);
        let ears = Box::new(Ears::new(call.rate, wanted));
        self.placement.tell_leg(leg, Command::Listen { leg, ears });
    }

    /// The party begins or stops to speak.
    pub(super) fn handle_speech(&mut self, now: Instant, id: CallId, speech: SpeechEvent) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let asked = call.listening.speech.is_some();
        if speech == SpeechEvent::Started {
            self.handle_speech_in_collection(now, id);
        }
        if asked {
            self.emit(
                id,
                match speech {
                    SpeechEvent::Started => CallEvent::SpeechStarted,
                    SpeechEvent::Ended => CallEvent::SpeechEnded,
                },
            );
        }
    }

    /// A key of the party went down, as told in one of several ways.
    pub(super) fn handle_press(&mut self, now: Instant, id: CallId, digit: Digit, source: Source) {
        if self.is_news(id, source, |call| call.presses.begin(now, digit, source)) {
            self.handle_key_down(now, id, digit);
        }
    }

    /// A key of the party was let go, as told in one of several ways.
    pub(super) fn handle_release(
        &mut self,
        now: Instant,
        id: CallId,
        digit: Digit,
        duration: Duration,
        source: Source,
    ) {
        if self.is_news(id, source, |call| call.presses.end(now, digit, source)) {
            self.handle_digit(now, id, digit, duration);
        }
    }

    fn is_news(
        &mut self,
        id: CallId,
        source: Source,
        tell: impl FnOnce(&mut CallState) -> bool,
    ) -> bool {
        let call = self.calls.get_mut(&id);
        call.filter(|call| call.digits.takes(source))
            .is_some_and(tell)
    }

    /// Sends digits to a party in the way that it takes.
    pub(super) fn transmit_digits(
        &mut self,
        now: Instant,
        id: CallId,
        digits: DigitString,
        press: Duration,
    ) -> Result<(), CallError> {
        let call = self.call_mut(id)?;
        let leg = call
            .leg
            .ok_or(CallError::WrongState("the call has no media yet"))?;
        let events = call.takes_events();
        let path = match call.digits.send {
            DigitTransport::Info => return self.send_by_info(now, id, digits, press),
            DigitTransport::Rfc4733 if !events => {
                return Err(CallError::WrongState("the party takes no telephone events"));
            }
            DigitTransport::Rfc4733 => DigitPath::Events,
            DigitTransport::Auto if events => DigitPath::Events,
            DigitTransport::Auto | DigitTransport::InBand => DigitPath::Tones,
        };
        let command = Command::SendDigits {
            leg,
            digits,
            press,
            path,
        };
        self.placement.tell_leg(leg, command);
        Ok(())
    }

    fn send_by_info(
        &mut self,
        now: Instant,
        id: CallId,
        digits: DigitString,
        press: Duration,
    ) -> Result<(), CallError> {
        let call = self.call_mut(id)?;
        let digits = digits.digits();
        if call.info_digits.len() + digits.len() > MAX_INFO {
            return Err(CallError::Busy("too many digits wait"));
        }
        let waiting = digits.iter().map(|&digit| (digit, press));
        call.info_digits.extend(waiting);
        self.next_info_digit(now, id)
    }

    /// Sends the next digit by INFO, unless the one before is still to be answered: an INFO that
    /// overtakes another would be refused.
    fn next_info_digit(&mut self, now: Instant, id: CallId) -> Result<(), CallError> {
        let call = self.call_mut(id)?;
        if !call.asked.is_empty() {
            return Ok(());
        }
        let Some((digit, press)) = call.info_digits.pop_front() else {
            return Ok(());
        };
        let session = call.session;
        let sent = self.ask(now, id, session, info::body_of(digit, press));
        if sent.is_err() {
            self.call_mut(id)?.info_digits.clear();
            return sent;
        }
        self.call_mut(id)?.asked.push_back(Asked::Digit(digit));
        self.take_signalling(now);
        Ok(())
    }

    fn ask(
        &mut self,
        now: Instant,
        _id: CallId,
        session: SessionId,
        body: Body,
    ) -> Result<(), CallError> {
        self.agent
            .info(now, session, Headers::new(), Some(body))
            .map_err(refused)
    }

    /// An INFO of ours was answered.
    pub(super) fn handle_info_answer(&mut self, now: Instant, id: CallId, status: StatusCode) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let asked = call.asked.pop_front();
        if let Some(Asked::Digit(digit)) = asked {
            if status.code() >= 300 {
                let rest = std::mem::take(&mut call.info_digits);
                let mut digits = digit.to_string();
                digits.extend(rest.iter().map(|(digit, _)| digit.to_char()));
                self.emit(id, CallEvent::DigitsFailed { digits });
                return;
            }
            if call.info_digits.is_empty() {
                self.emit(id, CallEvent::DigitsSent);
                return;
            }
        }
        // It fails only where the call is over.
        let _over = self.next_info_digit(now, id);
    }

    /// A worker refused digits: the leg has too many, or takes telephone events no more.
    pub(super) fn handle_refused_digits(&mut self, leg: LegId, digits: &DigitString) {
        if let Some(id) = self.legs.get(&leg).copied() {
            let digits = digits.to_string();
            self.emit(id, CallEvent::DigitsFailed { digits });
        }
    }
}
