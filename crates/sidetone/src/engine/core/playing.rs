//! Prompts and tones on calls and in rooms.

use crate::engine::core::{Core, next};
use crate::engine::event::{CallError, CallEvent, PlayEnd};
use crate::id::{CallId, PlayId, RoomId};
use crate::media::command::{Command, PlayAction, PlayEndReason, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::mixer::Gain;
use crate::media::player::{Player, Repeat};
use crate::media::speech::{SpeechWriter, speech};
use crate::media::tone::Tone;
use crate::media::wav::Clip;
use crate::time::{Duration, Instant};

/// What a prompt is made of.
#[derive(Debug, Clone)]
pub enum Sound {
    /// Recorded audio; it is converted to the rate of who hears it.
    Clip(Clip),
    /// A generated tone.
    Tone(Box<Tone>),
}

/// Whom a sound is played to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One party.
    Call(CallId),
    /// Everyone in a room.
    Room(RoomId),
}

/// What to play and how.
#[derive(Debug, Clone)]
pub struct PlayRequest {
    /// What to play.
    pub sound: Sound,
    /// How often; a tone repeats by its own cadence. Default once.
    pub repeat: Repeat,
    /// How loud. Default as it is.
    pub gain: Gain,
    /// Where to begin. Default at the beginning.
    pub offset: Duration,
}

impl PlayRequest {
    /// Plays `sound` once, as it is.
    pub fn new(sound: &Sound) -> Self {
        Self {
            sound: sound.clone(),
            repeat: Repeat::Once,
            gain: Gain::UNITY,
            offset: Duration::ZERO,
        }
    }

    fn into_player(self, rate: SampleRate) -> Result<Player, CallError> {
        let mut player = match self.sound {
            Sound::Clip(clip) => Player::clip(clip.at(rate), rate, self.repeat)
                .map_err(|error| CallError::Invalid(error.to_string()))?,
            Sound::Tone(tone) => Player::tone(*tone, rate),
        };
        player.set_gain(self.gain);
        if !self.offset.is_zero() {
            player.seek(self.offset);
        }
        Ok(player)
    }
}

impl Core {
    /// Starts a prompt or tone; it ends with one `PlayEnded` event.
    pub fn play(
        &mut self,
        now: Instant,
        audience: Audience,
        request: PlayRequest,
    ) -> Result<PlayId, CallError> {
        self.now = now;
        let rate = match audience {
            Audience::Call(id) => self.call_mut(id)?.rate,
            Audience::Room(_) => self.config.highest_rate(),
        };
        let player = Box::new(request.into_player(rate)?);
        self.start_player(audience, player)
    }

    /// Plays speech that is written while it is heard; it ends with one `PlayEnded` event.
    pub fn speak(
        &mut self,
        now: Instant,
        audience: Audience,
        queue: Duration,
    ) -> Result<(PlayId, SpeechWriter), CallError> {
        self.now = now;
        let rate = match audience {
            Audience::Call(id) => self.call_mut(id)?.rate,
            Audience::Room(_) => self.config.highest_rate(),
        };
        let (source, writer) = speech(rate, queue);
        let player = Box::new(Player::speech(source));
        Ok((self.start_player(audience, player)?, writer))
    }

    fn start_player(
        &mut self,
        audience: Audience,
        player: Box<Player>,
    ) -> Result<PlayId, CallError> {
        let play = PlayId(next(&mut self.minted.plays));
        match audience {
            Audience::Call(id) => {
                let call = self.call_mut(id)?;
                let leg = call
                    .leg
                    .ok_or(CallError::WrongState("the call has no media yet"))?;
                call.plays.insert(play);
                let command = Command::Play {
                    play,
                    on: PlayOn::Leg(leg),
                    player,
                };
                self.placement.tell_leg(leg, command);
            }
            Audience::Room(room) => {
                if !self.placement.has_room(room) {
                    return Err(CallError::Gone);
                }
                let command = Command::Play {
                    play,
                    on: PlayOn::Room(room),
                    player,
                };
                self.placement.tell_room(room, command);
            }
        }
        self.plays.insert(play, audience);
        Ok(play)
    }

    /// Acts on a playing prompt; one that has ended takes no notice.
    pub fn control_play(&mut self, now: Instant, play: PlayId, action: PlayAction) {
        self.now = now;
        let command = Command::ControlPlay { play, action };
        match self.plays.get(&play) {
            Some(Audience::Room(room)) => self.placement.tell_room(*room, command),
            Some(Audience::Call(id)) => {
                if let Some(leg) = self.calls.get(id).and_then(|call| call.leg) {
                    self.placement.tell_leg(leg, command);
                }
            }
            None => {}
        }
    }

    /// A player has ended in media.
    pub(super) fn handle_play_ended(
        &mut self,
        now: Instant,
        play: PlayId,
        reason: PlayEndReason,
        played: Duration,
    ) {
        let end = PlayEnd {
            finished: reason == PlayEndReason::Finished,
            played,
        };
        let Some(audience) = self.plays.remove(&play) else {
            return;
        };
        let Audience::Call(id) = audience else {
            self.events
                .push_back(crate::engine::event::Event::RoomPlayEnded { play, end });
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.plays.remove(&play);
        self.emit(id, CallEvent::PlayEnded { play, end });
        self.collection_prompt_ended(now, id, play);
    }
}
