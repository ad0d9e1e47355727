//! How the worker carries out what signalling asks of it.

use crate::id::{LegId, PlayId, RecordingId, RoomId};
use crate::media::command::{Command, Event, PlayAction, PlayEndReason, PlayOn, RejectReason};
use crate::media::frame::SampleRate;
use crate::media::leg::ears::Ears;
use crate::media::leg::players::Players;
use crate::media::leg::update::LegUpdate;
use crate::media::leg::{Leg, LegReport, SendDigitsError, StartRecordingError};
use crate::media::mixer::{Gain, Room, RoomError};
use crate::media::player::Player;
use crate::media::recorder::Tap;
use crate::media::recorder::note::Note;
use crate::media::resample::Resampler;
use crate::media::worker::{Goodbye, Hall, MAX_GOODBYES, Membership, NO_ROOM, Seat, Worker};
use crate::rtp::session::control::MAX_COMPOUND_LEN;
use crate::time::Instant;

/// A command carried out, or given back with the reason.
type Done = Result<(), (RejectReason, Command)>;

impl Worker {
    /// Carries out a command. One that cannot be carried out does nothing and comes back in
    /// [`Event::Rejected`].
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        self.wake_for(&command);
        let done = match command {
            Command::AddLeg(leg) => self.add_leg(now, leg),
            Command::ConfigureLeg { leg, update } => self.configure_leg(now, leg, update),
            Command::RemoveLeg { leg, goodbye } => {
                let removed = self.remove_leg(now, leg, goodbye);
                refuse(removed, Command::RemoveLeg { leg, goodbye })
            }
            Command::AddRoom { room, mixer } => self.add_room(room, mixer),
            Command::RetuneRoom {
                room,
                mixer,
                converter,
            } => self.retune_room(room, mixer, converter),
            Command::RemoveRoom { room } => {
                refuse(self.remove_room(room), Command::RemoveRoom { room })
            }
            Command::Join { room, leg } => {
                refuse(self.join(room, leg), Command::Join { room, leg })
            }
            Command::Leave { leg } => refuse(self.leave(leg), Command::Leave { leg }),
            Command::SetGain {
                room,
                from,
                to,
                gain,
            } => refuse(self.set_gain(room, from, to, gain), command),
            Command::Play { play, on, player } => self.play(now, play, on, player),
            Command::ControlPlay { play, action } => {
                refuse(self.control_play(play, action), command)
            }
            Command::SendDigits {
                leg,
                ref digits,
                press,
                path,
            } => {
                let sent = self.seat_mut(leg).and_then(|seat| {
                    let sent = seat.leg.send_digits(digits, press, path);
                    sent.map_err(|error| match error {
                        SendDigitsError::NotNegotiated => RejectReason::Unsupported,
                        SendDigitsError::Full => RejectReason::Full,
                    })
                });
                refuse(sent, command)
            }
            Command::Listen { leg, ears } => self.listen_by(leg, ears),
            Command::StartRecording {
                leg,
                recording,
                tap,
            } => self.start_recording(now, leg, recording, tap),
            Command::NoteRecording {
                leg,
                recording,
                note,
            } => self.note_recording(now, leg, recording, note),
            Command::StopRecording { leg, recording } => {
                refuse(self.stop_recording(leg, recording), command)
            }
            Command::StartFork { on, fork, tap } => self.start_fork(on, fork, tap),
            Command::StopFork { on, fork } => refuse(self.stop_fork(on, fork), command),
            Command::QueryLeg { leg, report } => self.query_leg(leg, report),
        };
        if let Err((reason, command)) = done {
            self.stats.rejected_commands += 1;
            self.ledger.events.push(Event::Rejected { reason, command });
        }
        if !self.has_work() {
            self.next_tick = None;
        }
    }

    fn add_leg(&mut self, now: Instant, leg: Box<Leg>) -> Done {
        if let Err(reason) = self.admit_leg(&leg) {
            return Err((reason, Command::AddLeg(leg)));
        }
        let Some(slot) = self.legs.vacant() else {
            return Err((RejectReason::Full, Command::AddLeg(leg)));
        };
        // Cannot fail: room and absence were checked.
        let _ = self.leg_ids.insert(leg.id().0, slot);
        let _ = self.ports.insert(u64::from(leg.port().0), slot);
        for play in leg.players().plays() {
            let _ = self.ledger.plays.insert(play.0, slot * 2);
            self.ledger.counts.plays += 1;
        }
        self.ledger.counts.legs += 1;
        self.ledger.counts.recordings += leg.recordings().count();
        self.ledger.counts.forks += leg.forks().count();
        let mut leg = leg;
        leg.suspend_forks(self.shedding.is_on());
        let membership = None;
        self.legs.put(
            slot,
            Seat {
                leg,
                membership,
                wire: None,
                keeps: false,
                is_passing: false,
                is_passed_to: false,
                group: None,
                alike: 0,
                turn: 0,
            },
        );
        let place = self.order.partition_point(|&rank| rank < (NO_ROOM, slot));
        self.order.insert(place, (NO_ROOM, slot));
        self.start_ticking(now);
        Ok(())
    }

    fn admit_leg(&self, leg: &Leg) -> Result<(), RejectReason> {
        let known = self.leg_slot(leg.id()).is_some();
        if known || self.ports.find(u64::from(leg.port().0)).is_some() {
            return Err(RejectReason::Exists);
        }
        let mut plays = leg.players().plays();
        if plays.any(|play| self.ledger.plays.find(play.0).is_some()) {
            return Err(RejectReason::Exists);
        }
        if self.ledger.counts.plays + leg.players().plays().count() > self.config.max_plays {
            return Err(RejectReason::Full);
        }
        Ok(())
    }

    fn configure_leg(&mut self, now: Instant, leg: LegId, mut update: Box<LegUpdate>) -> Done {
        if let Some(slot) = self.leg_slot(leg) {
            self.part(slot);
        }
        match self.seat_mut(leg) {
            Ok(seat) => seat.leg.configure(now, &mut update),
            Err(reason) => return Err((reason, Command::ConfigureLeg { leg, update })),
        }
        if let Some(slot) = self.leg_slot(leg) {
            self.rewire_around(slot);
        }
        self.ledger
            .events
            .push(Event::LegConfigured { leg, spent: update });
        Ok(())
    }

    fn remove_leg(&mut self, now: Instant, leg: LegId, goodbye: bool) -> Result<(), RejectReason> {
        let slot = self.leg_slot(leg).ok_or(RejectReason::Unknown)?;
        self.leave_room(slot);
        let seat = self.legs.take(slot).ok_or(RejectReason::Unknown)?;
        self.unseat((NO_ROOM, slot));
        let mut leg = seat.leg;
        self.leg_ids.remove(leg.id().0);
        self.ports.remove(u64::from(leg.port().0));
        for play in leg.players().plays() {
            self.ledger.plays.remove(play.0);
            self.ledger.counts.plays -= 1;
        }
        self.ledger.counts.legs -= 1;
        self.ledger.counts.recordings -= leg.recordings().count();
        self.ledger.counts.forks -= leg.forks().count();
        if goodbye {
            self.say_goodbye(now, &mut leg);
        }
        self.ledger.events.push(Event::LegRemoved(leg));
        Ok(())
    }

    fn say_goodbye(&mut self, now: Instant, leg: &mut Leg) {
        if self.goodbyes.len() >= MAX_GOODBYES {
            return;
        }
        let mut bytes = [0; MAX_COMPOUND_LEN];
        if let Some(sent) = leg.goodbye(now, &mut bytes) {
            self.goodbyes.push_back(Goodbye {
                port: leg.port(),
                channel: sent.channel,
                destination: sent.destination,
                length: sent.length,
                bytes,
            });
        }
    }

    fn add_room(&mut self, room: RoomId, mixer: Box<Room>) -> Done {
        if self.room_slot(room).is_some() {
            return Err((RejectReason::Exists, Command::AddRoom { room, mixer }));
        }
        let Some(slot) = self.rooms.vacant() else {
            return Err((RejectReason::Full, Command::AddRoom { room, mixer }));
        };
        // Cannot fail: a slot was free and the room is not there.
        let _ = self.room_ids.insert(room.0, slot);
        self.ledger.counts.rooms += 1;
        self.rooms.put(slot, Hall::new(mixer));
        Ok(())
    }

    /// Lets a room go on at another rate: the new mixer takes over members and gains.
    fn retune_room(
        &mut self,
        room: RoomId,
        mut mixer: Box<Room>,
        mut converter: Option<Box<Resampler>>,
    ) -> Done {
        let rate = mixer.rate();
        let suits = self.room_slot(room).ok_or(RejectReason::Unknown);
        let suits = suits.and_then(|slot| {
            let mut members = self.order[self.members(slot)].iter();
            let reach = |&(_, leg): &(usize, usize)| {
                self.legs.get(leg).is_some_and(|seat| seat.leg.suits(rate))
            };
            let hall = self.rooms.get_mut(slot).ok_or(RejectReason::Unknown)?;
            let fits = members.all(reach) && mixer.take_over(&hall.mixer);
            fits.then_some(hall).ok_or(RejectReason::Unsupported)
        });
        match suits {
            Ok(hall) => {
                std::mem::swap(&mut hall.mixer, &mut mixer);
                std::mem::swap(&mut hall.converter, &mut converter);
                self.ledger.events.push(Event::RoomRetuned {
                    room,
                    mixer,
                    converter,
                });
                Ok(())
            }
            Err(reason) => Err((
                reason,
                Command::RetuneRoom {
                    room,
                    mixer,
                    converter,
                },
            )),
        }
    }

    fn remove_room(&mut self, room: RoomId) -> Result<(), RejectReason> {
        let slot = self.room_slot(room).ok_or(RejectReason::Unknown)?;
        while let Some(member) = self.first_member(slot) {
            self.leave_room(member);
        }
        let mut hall = self.rooms.take(slot).ok_or(RejectReason::Unknown)?;
        if let Some(prompts) = hall.prompts {
            hall.mixer.close_source(prompts);
        }
        while let Some(ended) = hall.players.take_any() {
            self.ledger.end_play(ended, PlayEndReason::TargetGone);
        }
        while let Some(fork) = hall.take_fork(|_| true) {
            let (fork, tap) = fork.into_parts();
            self.ledger.end_fork(fork, tap);
        }
        self.room_ids.remove(room.0);
        self.ledger.counts.rooms -= 1;
        let mixer = hall.mixer;
        self.ledger.events.push(Event::RoomRemoved { room, mixer });
        Ok(())
    }

    fn join(&mut self, room: RoomId, leg: LegId) -> Result<(), RejectReason> {
        let slot = self.leg_slot(leg).ok_or(RejectReason::Unknown)?;
        let place = self.room_slot(room).ok_or(RejectReason::Unknown)?;
        let (seat, hall) = self.seat_and_hall(slot, place)?;
        if seat.membership.is_some_and(|m| m.room == place) {
            return Ok(());
        }
        if !seat.leg.suits(hall.mixer.rate()) {
            return Err(RejectReason::Unsupported);
        }
        let (source, sink) = hall.mixer.open_party().map_err(|_| RejectReason::Full)?;
        self.leave_room(slot);
        let membership = Membership {
            room: place,
            source,
            sink,
        };
        self.seat(slot, Some(membership));
        self.rewire(place);
        Ok(())
    }

    fn leave(&mut self, leg: LegId) -> Result<(), RejectReason> {
        let slot = self.leg_slot(leg).ok_or(RejectReason::Unknown)?;
        self.leave_room(slot);
        Ok(())
    }

    fn leave_room(&mut self, slot: usize) {
        self.part(slot);
        let Some(membership) = self.seat(slot, None) else {
            return;
        };
        if let Some(hall) = self.rooms.get_mut(membership.room) {
            hall.mixer.close_sink(membership.sink);
            hall.mixer.close_source(membership.source);
        }
        if let Some(seat) = self.legs.get_mut(slot) {
            seat.wire = None;
        }
        self.rewire(membership.room);
    }

    /// Gives the leg in `slot` another place, keeps the order, and returns its former place.
    fn seat(&mut self, slot: usize, membership: Option<Membership>) -> Option<Membership> {
        let seat = self.legs.get_mut(slot)?;
        let from = seat.rank(slot);
        let former = std::mem::replace(&mut seat.membership, membership);
        let to = seat.rank(slot);
        self.unseat(from);
        let place = self.order.partition_point(|&rank| rank < to);
        self.order.insert(place, to);
        former
    }

    /// The slot of a leg in the room in slot `room`.
    fn first_member(&self, room: usize) -> Option<usize> {
        let &(_, slot) = self.order[self.members(room)].first()?;
        Some(slot)
    }

    fn unseat(&mut self, rank: (usize, usize)) {
        if let Ok(place) = self.order.binary_search(&rank) {
            self.order.remove(place);
        }
    }

    fn set_gain(
        &mut self,
        room: RoomId,
        from: LegId,
        to: LegId,
        gain: Gain,
    ) -> Result<(), RejectReason> {
        let place = self.room_slot(room).ok_or(RejectReason::Unknown)?;
        let source = self.membership(from, place)?.source;
        let sink = self.membership(to, place)?.sink;
        let hall = self.rooms.get_mut(place).ok_or(RejectReason::Unknown)?;
        let set = hall.mixer.set_gain(source, sink, gain);
        self.rewire(place);
        set.map_err(|error| match error {
            RoomError::Full => RejectReason::Full,
            _ => RejectReason::Unknown,
        })
    }

    fn play(&mut self, now: Instant, play: PlayId, on: PlayOn, player: Box<Player>) -> Done {
        let admitted = self.admit_player(play, on, &player);
        let place = match admitted {
            Ok(place) => place,
            Err(reason) => return Err((reason, Command::Play { play, on, player })),
        };
        // Cannot fail: room and absence were checked.
        let _ = self.ledger.plays.insert(play.0, place);
        let Some(players) = self.players_of(play) else {
            return Ok(());
        };
        if let Err(player) = players.add(play, player) {
            self.ledger.plays.remove(play.0);
            return Err((RejectReason::Full, Command::Play { play, on, player }));
        }
        self.ledger.counts.plays += 1;
        self.start_ticking(now);
        Ok(())
    }

    /// Where the player will sound, in the terms of the table of plays.
    fn admit_player(
        &mut self,
        play: PlayId,
        on: PlayOn,
        player: &Player,
    ) -> Result<usize, RejectReason> {
        if self.ledger.plays.find(play.0).is_some() {
            return Err(RejectReason::Exists);
        }
        if self.ledger.plays.is_full() {
            return Err(RejectReason::Full);
        }
        match on {
            PlayOn::Leg(leg) => {
                let slot = self.leg_slot(leg).ok_or(RejectReason::Unknown)?;
                let leg = &self.seat_mut(leg)?.leg;
                admit(leg.rate(), leg.players(), player)?;
                Ok(slot * 2)
            }
            PlayOn::Room(room) => {
                let slot = self.room_slot(room).ok_or(RejectReason::Unknown)?;
                let hall = self.rooms.get_mut(slot).ok_or(RejectReason::Unknown)?;
                admit(hall.prompt_rate, &hall.players, player)?;
                if hall.prompts.is_none() {
                    let opened = hall.mixer.open_source(true);
                    hall.prompts = Some(opened.map_err(|_| RejectReason::Full)?);
                    self.rewire(slot);
                }
                Ok(slot * 2 + 1)
            }
        }
    }

    fn control_play(&mut self, play: PlayId, action: PlayAction) -> Result<(), RejectReason> {
        let players = self.players_of(play).ok_or(RejectReason::Unknown)?;
        if action == PlayAction::Stop {
            return players
                .stop(play)
                .then_some(())
                .ok_or(RejectReason::Unknown);
        }
        let player = players.player_mut(play).ok_or(RejectReason::Unknown)?;
        match action {
            PlayAction::Stop => {}
            PlayAction::Pause => player.pause(),
            PlayAction::Resume => player.resume(),
            PlayAction::Seek(position) => player.seek(position),
            PlayAction::SetGain(gain) => player.set_gain(gain),
        }
        Ok(())
    }

    fn start_recording(
        &mut self,
        now: Instant,
        leg: LegId,
        recording: RecordingId,
        tap: Box<Tap>,
    ) -> Done {
        let started = match self.seat_mut(leg) {
            Ok(seat) => {
                let started = seat.leg.start_recording(now, recording, tap);
                started.map_err(|(error, tap)| match error {
                    StartRecordingError::Recording => (RejectReason::Exists, tap),
                    StartRecordingError::Full => (RejectReason::Full, tap),
                    StartRecordingError::WrongRate => (RejectReason::Unsupported, tap),
                })
            }
            Err(reason) => Err((reason, tap)),
        };
        if let Err((reason, tap)) = started {
            let command = Command::StartRecording {
                leg,
                recording,
                tap,
            };
            return Err((reason, command));
        }
        self.ledger.counts.recordings += 1;
        Ok(())
    }

    fn note_recording(
        &mut self,
        now: Instant,
        leg: LegId,
        recording: RecordingId,
        note: Note,
    ) -> Done {
        let noted = match self.seat_mut(leg) {
            Ok(seat) if seat.leg.recordings().any(|it| it == recording) => {
                let noted = seat.leg.note_recording(now, recording, note);
                noted.map_err(|note| (RejectReason::Full, note))
            }
            Ok(_) => Err((RejectReason::Unknown, note)),
            Err(reason) => Err((reason, note)),
        };
        noted.map_err(|(reason, note)| {
            let command = Command::NoteRecording {
                leg,
                recording,
                note,
            };
            (reason, command)
        })
    }

    fn stop_recording(&mut self, leg: LegId, recording: RecordingId) -> Result<(), RejectReason> {
        let seat = self.seat_mut(leg)?;
        let tap = seat.leg.stop_recording(recording);
        let tap = tap.ok_or(RejectReason::Unknown)?;
        self.ledger.counts.recordings -= 1;
        self.ledger.events.push(Event::RecordingStopped {
            leg,
            recording,
            tap,
        });
        Ok(())
    }

    fn listen_by(&mut self, leg: LegId, ears: Box<Ears>) -> Done {
        let changed = match self.seat_mut(leg) {
            Ok(seat) => seat.leg.listen_by(ears),
            Err(reason) => return Err((reason, Command::Listen { leg, ears })),
        };
        match changed {
            Ok(spent) => {
                let told = Event::Listening { leg, spent };
                self.ledger.events.push(told);
                Ok(())
            }
            Err(ears) => Err((RejectReason::Unsupported, Command::Listen { leg, ears })),
        }
    }

    fn query_leg(&mut self, leg: LegId, mut report: Box<LegReport>) -> Done {
        match self.seat_mut(leg) {
            Ok(seat) => *report = seat.leg.report(),
            Err(reason) => return Err((reason, Command::QueryLeg { leg, report })),
        }
        self.ledger.events.push(Event::LegReport { leg, report });
        Ok(())
    }

    pub(super) fn seat_mut(&mut self, leg: LegId) -> Result<&mut Seat, RejectReason> {
        let slot = self.leg_slot(leg).ok_or(RejectReason::Unknown)?;
        self.legs.get_mut(slot).ok_or(RejectReason::Unknown)
    }

    fn seat_and_hall(
        &mut self,
        slot: usize,
        place: usize,
    ) -> Result<(&mut Seat, &mut Hall), RejectReason> {
        let seat = self.legs.get_mut(slot).ok_or(RejectReason::Unknown)?;
        let hall = self.rooms.get_mut(place).ok_or(RejectReason::Unknown)?;
        Ok((seat, hall))
    }

    /// The leg's place in the room in slot `place`.
    fn membership(&mut self, leg: LegId, place: usize) -> Result<Membership, RejectReason> {
        let membership = self.seat_mut(leg)?.membership;
        let membership = membership.filter(|m| m.room == place);
        membership.ok_or(RejectReason::Unknown)
    }
}

impl Hall {
    fn new(mixer: Box<Room>) -> Self {
        Self {
            prompt_rate: mixer.rate(),
            mixer,
            players: Default::default(),
            prompts: None,
            converter: None,
            groups: Default::default(),
            quiet: 0,
            counted: Default::default(),
            forks: Default::default(),
        }
    }
}

fn refuse(result: Result<(), RejectReason>, command: Command) -> Done {
    result.map_err(|reason| (reason, command))
}

fn admit(rate: SampleRate, players: &Players, player: &Player) -> Result<(), RejectReason> {
    if rate != player.rate() {
        return Err(RejectReason::Unsupported);
    }
    if players.is_full() {
        return Err(RejectReason::Full);
    }
    Ok(())
}
