//! What media workers report, and the legs that calls have there.

use crate::call::cause::{Cause, EndReason};
use crate::call::keys::Source;
use crate::call::placement::Removed;
use crate::engine::agreement;
use crate::engine::core::call::Stage;
use crate::engine::core::{Core, next};
use crate::engine::event::{CallEvent, Event, PlayEnd};
use crate::engine::io::MediaPort;
use crate::id::{CallId, LegId, WorkerId};
use crate::media::command::{Command, Event as MediaEvent};
use crate::media::leg::Leg;
use crate::media::leg::digits::DigitPath;
use crate::media::leg::update::LegUpdate;
use crate::sdp::negotiate::security::{LocalSecurity, MediaSecurity};
use crate::sdp::negotiate::{LocalMedia, Negotiator};
use crate::time::Instant;

impl Core {
    pub(super) fn take_media(&mut self, now: Instant, worker: WorkerId, event: MediaEvent) {
        match event {
            MediaEvent::MediaStarted { leg } => {
                if let Some(id) = self.legs.get(&leg).copied() {
                    self.handle_sounding_stream(id, leg);
                    self.emit(id, CallEvent::MediaStarted);
                }
            }
            MediaEvent::MediaTimeout { leg, .. } => {
                if let Some(id) = self.legs.get(&leg).copied() {
                    if self.is_recording_session(id) {
                        return self.handle_silent_stream(now, id, leg);
                    }
                    self.counters.media_timeouts += 1;
                    self.end_for(now, id, EndReason::MediaTimeout, Cause::media_timeout());
                }
            }
            MediaEvent::DigitStarted { leg, digit, path } => {
                if let Some(id) = self.legs.get(&leg).copied() {
                    self.handle_press(now, id, digit, source_of(path));
                }
            }
            MediaEvent::DigitEnded {
                leg,
                digit,
                duration,
                path,
            } => {
                if let Some(id) = self.legs.get(&leg).copied() {
                    self.handle_release(now, id, digit, duration, source_of(path));
                }
            }
            MediaEvent::Quality { leg, change } => {
                self.tell_owner(leg, CallEvent::Quality(change));
            }
            MediaEvent::DigitsSent { leg } => self.tell_owner(leg, CallEvent::DigitsSent),
            MediaEvent::Tone { leg, tone } => self.tell_owner(leg, CallEvent::Tone(tone)),
            MediaEvent::Speech { leg, speech } => {
                if let Some(id) = self.legs.get(&leg).copied() {
                    self.handle_speech(now, id, speech);
                }
            }
            MediaEvent::PlayEnded {
                play,
                reason,
                played,
                ..
            } => {
                self.handle_play_ended(now, play, reason, played);
            }
            MediaEvent::LegReport { leg, report } => {
                self.tell_owner(leg, CallEvent::Report(report));
            }
            MediaEvent::Spoken { play } => self.events.push_back(Event::Spoken { play }),
            // Dropping the tap tells the reader.
            MediaEvent::ForkStopped { fork, .. } => self.handle_fork_stopped(fork),
            MediaEvent::Shedding { is_shedding, late } => {
                self.handle_shedding(worker, is_shedding, late);
            }
            MediaEvent::LegRemoved(leg) => self.handle_leg_removed(leg),
            // Dropping the tap closes the file; the rest is freed here, away from media.
            MediaEvent::RecordingStopped { .. }
            | MediaEvent::RoomRemoved { .. }
            | MediaEvent::Listening { .. }
            | MediaEvent::RoomRetuned { .. }
            | MediaEvent::LegConfigured { .. } => {}
            MediaEvent::Rejected { command, .. } => self.handle_rejection(now, command),
        }
    }

    fn tell_owner(&mut self, leg: LegId, event: CallEvent) {
        if let Some(id) = self.legs.get(&leg).copied() {
            self.emit(id, event);
        }
    }

    fn handle_leg_removed(&mut self, leg: Box<Leg>) {
        match self.placement.handle_removed(leg) {
            Removed::Moved => {}
            Removed::Gone(leg) => self.retire(leg),
        }
    }

    /// A leg is out of media for good: its players end with it, and so does its call.
    fn retire(&mut self, leg: Box<Leg>) {
        let Some(id) = self.legs.remove(&leg.id()) else {
            return;
        };
        let Some(leg) = self.retire_stream(id, leg) else {
            return;
        };
        for fork in leg.forks() {
            self.handle_fork_stopped(fork);
        }
        for (play, player) in leg.players().iter() {
            self.plays.remove(&play);
            if let Some(call) = self.calls.get_mut(&id) {
                call.plays.remove(&play);
            }
            let played = player.rate().duration_of(player.played());
            self.emit(
                id,
                CallEvent::PlayEnded {
                    play,
                    end: PlayEnd {
                        finished: false,
                        played,
                    },
                },
            );
        }
        match self.calls.get_mut(&id) {
            // It was never taken in; its session ends soon, and the call with it.
            Some(call) if call.ending.is_none() => call.leg = None,
            _ => self.finish(id, Some(leg.report())),
        }
    }

    /// A worker had no use for a command. Most name what has ended meanwhile. A leg that a worker
    /// cannot take ends its call, a room is closed, and a recording ends with its tap.
    fn handle_rejection(&mut self, now: Instant, command: Command) {
        self.counters.media_rejections += 1;
        match command {
            Command::AddLeg(leg) => {
                let id = self.legs.get(&leg.id()).copied();
                if let Some(id) = id {
                    self.end_for(
                        now,
                        id,
                        EndReason::Unreachable,
                        Cause::new(47, "No media resource"),
                    );
                }
                self.handle_leg_removed(leg);
            }
            Command::Play { play, .. } => {
                let stopped = crate::media::command::PlayEndReason::TargetGone;
                self.handle_play_ended(now, play, stopped, std::time::Duration::ZERO);
            }
            Command::StartFork { fork, .. } => self.handle_fork_stopped(fork),
            Command::AddRoom { room, .. } => self.close_room(now, room),
            Command::SendDigits { leg, digits, .. } => self.handle_refused_digits(leg, &digits),
            Command::NoteRecording {
                recording, note, ..
            } => self.handle_refused_note(now, recording, &note),
            _ => {}
        }
    }

    /// The offer/answer state of a new call.
    pub(super) fn new_negotiator(&mut self) -> Negotiator {
        Negotiator::new(self.rng.next_u64() >> 2)
    }

    /// Keys for the protection of a new call's media, whose signalling TLS hides or not.
    pub(super) fn new_security(
        &mut self,
        policy: Option<MediaSecurity>,
        hidden: bool,
    ) -> LocalSecurity {
        let policy = policy.unwrap_or(self.config.media_security);
        agreement::own_security(&self.config, policy, hidden, &mut self.rng)
    }

    /// What this side can and wants to do with a call's media.
    pub(super) fn local_media(
        &self,
        port: MediaPort,
        hold: bool,
        security: &LocalSecurity,
        codecs: Option<&[String]>,
    ) -> LocalMedia {
        let mut local = agreement::local_media(&self.config, port, hold, security);
        if let Some(codecs) = codecs {
            agreement::choose(&mut local.formats, codecs);
        }
        local
    }

    fn renew_keys(&mut self, id: CallId) {
        let old = self.calls.get(&id).map(|call| &call.security);
        let policy = old.map(|security| security.policy);
        let hidden = old.is_some_and(|security| !security.keys.is_empty());
        let security = self.new_security(policy, hidden);
        if let Some(call) = self.calls.get_mut(&id) {
            call.security = security;
        }
    }

    /// Puts what offer and answer have agreed on to work: makes the leg or changes it.
    pub(super) fn apply_agreement(&mut self, now: Instant, id: CallId) {
        if self.is_recording_session(id) {
            return self.apply_streams(now, id);
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let (Some(agreed), Some(port)) = (call.agreed.as_ref(), call.port) else {
            return;
        };
        // Nobody need speak before the answer, and nobody who holds us.
        let expects_media = matches!(call.stage, Stage::Confirming | Stage::Up);
        let Some(mut settings) = agreement::settings(&self.config, agreed) else {
            self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
            return;
        };
        let held_by_peer = !settings.direction.send;
        if held_by_peer || !expects_media {
            settings.media_timeout = None;
        }
        let downgraded = call.secured && settings.keying.is_none();
        call.secured = settings.keying.is_some();
        let was_held = std::mem::replace(&mut call.held_by_peer, held_by_peer);
        if let Some(leg) = call.leg {
            settings.work_at(call.rate);
            let Ok(update) = LegUpdate::new(&settings, call.rate, agreement::jitter(&self.config))
            else {
                self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
                return;
            };
            let configure = Command::ConfigureLeg {
                leg,
                update: Box::new(update),
            };
            self.placement.tell_leg(leg, configure);
        } else {
            let leg_id = LegId(next(&mut self.minted.legs));
            let (hint, anchor) = (call.hint, self.anchor);
            call.rate = settings.rate();
            settings.work_at(call.rate);
            let made = agreement::config(
                &self.config,
                leg_id,
                port,
                settings,
                call.rate,
                hint,
                anchor,
            );
            let Ok(leg) = Leg::new(now, made, self.rng.fork()) else {
                self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
                return;
            };
            call.leg = Some(leg_id);
            self.legs.insert(leg_id, id);
            self.placement.add_leg(leg);
        }
        if downgraded {
            // A key that has protected a stream is not used for another.
            self.renew_keys(id);
        }
        self.update_ears(id);
        match (was_held, held_by_peer) {
            (false, true) => self.emit(id, CallEvent::Held),
            (true, false) => self.emit(id, CallEvent::Resumed),
            _ => {}
        }
        // Recording servers are told who is on hold.
        match self.calls.get(&id).and_then(|call| call.room) {
            Some(room) => self.attend_room(room),
            None => self.attend_remotes_of(id),
        }
        self.note_preference(id);
    }
}

fn source_of(path: DigitPath) -> Source {
    match path {
        DigitPath::Events => Source::Events,
        DigitPath::Tones => Source::Tones,
    }
}
