//! One tick of the worker: room after room, so that each leg is touched while it is in the cache.

use std::ops::Range;

use crate::media::command::{Event, PlayEndReason};
use crate::media::frame::Frame;
use crate::media::leg::{Leg, LegEvent};
use crate::media::mixer::Mixed;
use crate::media::worker::{Hall, Ledger, Seat, Worker};
use crate::time::{Duration, Instant};

/// Legs that are asked for ahead of their turn: a room of two, mostly.
const AHEAD: usize = 2;

impl Worker {
    /// Listens to every leg, mixes every room and speaks to every leg.
    pub(super) fn tick(&mut self, at: Instant, late: Duration) {
        let next = self.plan_visits(at, late);
        for visit in 0..self.visits.len() {
            let (room, members) = self.visits[visit].clone();
            self.expect_visits(visit);
            self.wake(room);
            self.tick_room(at, late, room, members.clone());
            self.note_due(members);
        }
        self.note_due(next..self.order.len());
        for &(_, slot) in &self.order[next..] {
            let Some(seat) = self.legs.get_mut(slot) else {
                continue;
            };
            if seat.leg.is_ahead(at) {
                seat.leg.listen_passing(at);
            } else {
                seat.leg.listen(at, &mut self.scratch);
            }
            if seat.leg.is_provided(at) {
                seat.leg.speak_passing(at);
                finish(late, seat, &mut self.ledger);
                continue;
            }
            self.heard.reset(seat.leg.rate());
            speak(
                at,
                late,
                seat,
                false,
                &mut self.heard,
                &mut self.scratch,
                &mut self.ledger,
            );
        }
    }

    /// Notes which rooms are visited; gives the place in the order behind the last member of a room.
    fn plan_visits(&mut self, at: Instant, late: Duration) -> usize {
        let mut next = 0;
        self.visits.clear();
        for room in 0..self.rooms.end() {
            let own = self.order[next..].iter();
            let members = next..next + own.take_while(|&&(own, _)| own <= room).count();
            next = members.end;
            if !self.rests(room, at, late) {
                self.visits.push((room, members));
            }
        }
        next
    }

    /// While a room is mixed, the legs of the next ones come into the caches.
    fn expect_visits(&self, visit: usize) {
        if let Some((_, members)) = self.visits.get(visit + 2) {
            for &(_, slot) in self.order[members.clone()].iter().take(AHEAD) {
                if let Some(seat) = self.legs.get(slot) {
                    seat.leg.expect_tick();
                }
                self.expect_learning(slot);
            }
        }
        if let Some((_, members)) = self.visits.get(visit + 1) {
            for &(_, slot) in self.order[members.clone()].iter().take(AHEAD) {
                if let Some(seat) = self.legs.get(slot) {
                    seat.leg.expect_at_once();
                }
            }
        }
    }

    /// The legs that stand at `places` in the order are to be asked for packets.
    fn note_due(&mut self, places: Range<usize>) {
        for &(_, slot) in &self.order[places] {
            let seat = self.legs.get_mut(slot);
            if let Some(seat) = seat.filter(|seat| seat.turn != self.turn) {
                seat.turn = self.turn;
                self.due.push(slot);
            }
        }
    }

    /// One room, whose members stand at `members` in the order.
    fn tick_room(&mut self, at: Instant, late: Duration, room: usize, members: Range<usize>) {
        for place in members.clone() {
            self.mark_passing(at, self.order[place].1);
        }
        let Some(hall) = self.rooms.get_mut(room) else {
            return;
        };
        let places = members.clone();
        let mut is_calm = members.len() == 2 && !hall.has_forks();
        for &(_, slot) in &self.order[members] {
            let Some(seat) = self.legs.get_mut(slot) else {
                continue;
            };
            if seat.is_passing || seat.leg.is_ahead(at) {
                seat.leg.listen_passing(at);
            } else {
                listen(at, seat, hall, &mut self.scratch);
            }
            is_calm &= seat.is_passing && seat.leg.can_rest();
        }
        let plays = play(hall, &mut self.prompt, &mut self.scratch);
        self.share(at, room, places.clone());
        let Some(hall) = self.rooms.get_mut(room) else {
            return;
        };
        for &(_, slot) in &self.order[places] {
            let Some(seat) = self.legs.get_mut(slot) else {
                continue;
            };
            if std::mem::take(&mut seat.is_passed_to) || seat.leg.is_provided(at) {
                seat.leg.speak_passing(at);
                finish(late, seat, &mut self.ledger);
                continue;
            }
            if plays {
                seat.leg.record_prompt(at, &self.prompt);
            }
            let group = seat.group.and_then(|it| hall.groups.get(usize::from(it)));
            if let Some(print) = group.and_then(|group| group.print) {
                seat.leg.speak_shared(at, print, &self.prints);
                self.stats.shared_packets += 1;
                finish(late, seat, &mut self.ledger);
                continue;
            }
            let mixed = seat
                .membership
                .map(|m| hall.mixer.take(m.sink, &mut self.heard));
            let sounds = matches!(mixed, Some(Ok(Mixed::Sound)));
            if sounds {
                seat.leg.fit(&mut self.heard, &mut self.scratch);
            } else {
                self.heard.reset(seat.leg.rate());
            }
            speak(
                at,
                late,
                seat,
                sounds,
                &mut self.heard,
                &mut self.scratch,
                &mut self.ledger,
            );
        }
        let suspended = hall.write_forks(at, &mut self.heard);
        self.ledger.suspended_frames += suspended as u64;
        hall.mixer.end_tick();
        let counted = hall.mixer.selection_stats();
        let before = std::mem::replace(&mut hall.counted, counted);
        self.stats.chosen_speakers += counted.chosen.saturating_sub(before.chosen);
        self.stats.frames_left_out += counted.left_out.saturating_sub(before.left_out);
        let ledger = &mut self.ledger;
        hall.players
            .tell_news(|play| ledger.offer(Event::Spoken { play }));
        if end_plays(hall, &mut self.ledger) {
            self.rewire(room);
        }
        if is_calm {
            self.let_rest(room);
        }
    }
}

impl Worker {
    /// Notes on both legs whether the sound of the one in `slot` is passed on in this tick.
    fn mark_passing(&mut self, at: Instant, slot: usize) {
        let keeps = self.legs.get(slot).is_none_or(|seat| seat.keeps);
        let wire = self.wire(slot).filter(|_| !keeps);
        let wire = wire.filter(|wire| {
            let other = self.legs.get(wire.to);
            other.is_some_and(|other| other.leg.is_relaying(at))
        });
        if let Some(other) = wire.and_then(|wire| self.legs.get_mut(wire.to)) {
            other.is_passed_to = true;
        }
        if let Some(seat) = self.legs.get_mut(slot) {
            seat.is_passing = wire.is_some();
        }
    }
}

/// What a leg's peer says goes to the room.
fn listen(at: Instant, seat: &mut Seat, hall: &mut Hall, scratch: &mut Frame) {
    let sounds = seat.leg.listen(at, scratch);
    if let Some(membership) = seat.membership.filter(|_| sounds) {
        let rate = hall.mixer.rate();
        // Cannot fail: the slot is open, and rates were compared when the leg joined.
        let _ = hall
            .mixer
            .put(membership.source, seat.leg.said_at(rate, scratch));
    }
}

/// The room's players go to the room; what they give, if anything, is in `prompt` then, at their own rate.
fn play(hall: &mut Hall, prompt: &mut Frame, scratch: &mut Frame) -> bool {
    let Some(prompts) = hall.prompts else {
        return false;
    };
    prompt.reset(hall.prompt_rate);
    hall.players.settle(true, true);
    if !hall.players.add_to(prompt, scratch) {
        return false;
    }
    let sound = match &mut hall.converter {
        Some(converter) => {
            converter.process(prompt, scratch);
            scratch
        }
        None => prompt,
    };
    // Cannot fail: the slot is open, and converter and room came together.
    let _ = hall.mixer.put(prompts, sound);
    true
}

/// Players that have come to their end leave the room, and with the last of them their source: true then.
fn end_plays(hall: &mut Hall, ledger: &mut Ledger) -> bool {
    let mut is_last = false;
    while let Some(ended) = hall.players.take_ended() {
        ledger.end_play(ended, PlayEndReason::Finished);
        if hall.players.is_empty()
            && let Some(prompts) = hall.prompts.take()
        {
            hall.mixer.close_source(prompts);
            is_last = true;
        }
    }
    is_last
}

/// What a leg hears goes to its peer, and what happened to it to signalling.
fn speak(
    at: Instant,
    late: Duration,
    seat: &mut Seat,
    sounds: bool,
    heard: &mut Frame,
    scratch: &mut Frame,
    ledger: &mut Ledger,
) {
    seat.leg.end_relay(at);
    seat.leg.speak(at, heard, sounds, scratch);
    finish(late, seat, ledger);
}

/// A tick of a leg is over.
fn finish(late: Duration, seat: &mut Seat, ledger: &mut Ledger) {
    seat.leg.watch(late);
    ledger.suspended_frames += seat.leg.suspended_forks() as u64;
    tell(&mut seat.leg, ledger);
    let players = seat.leg.players_mut();
    players.tell_news(|play| ledger.offer(Event::Spoken { play }));
    while let Some(ended) = seat.leg.players_mut().take_ended() {
        ledger.end_play(ended, PlayEndReason::Finished);
    }
}

/// Hands a leg's events on.
pub(super) fn tell(leg: &mut Leg, ledger: &mut Ledger) {
    let id = leg.id();
    while let Some(event) = leg.poll_event() {
        let leg = id;
        ledger.offer(match event {
            LegEvent::MediaStarted => Event::MediaStarted { leg },
            LegEvent::MediaTimeout { silent_for } => Event::MediaTimeout { leg, silent_for },
            LegEvent::DigitStarted { digit, path } => Event::DigitStarted { leg, digit, path },
            LegEvent::DigitEnded {
                digit,
                duration,
                path,
            } => Event::DigitEnded {
                leg,
                digit,
                duration,
                path,
            },
            LegEvent::Tone(tone) => Event::Tone { leg, tone },
            LegEvent::Speech(speech) => Event::Speech { leg, speech },
            LegEvent::DigitsSent => Event::DigitsSent { leg },
            LegEvent::Quality(change) => Event::Quality { leg, change },
        });
    }
}
