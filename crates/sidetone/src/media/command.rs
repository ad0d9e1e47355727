//! What signalling asks of a media worker and what the worker reports.

use crate::id::{ForkId, LegId, PlayId, RecordingId, RoomId};
use crate::media::detect::MachineTone;
use crate::media::dtmf::Digit;
use crate::media::fork::ForkTap;
use crate::media::leg::digits::{DigitPath, DigitString};
use crate::media::leg::ears::Ears;
use crate::media::leg::update::LegUpdate;
use crate::media::leg::{Leg, LegReport};
use crate::media::level::vad::SpeechEvent;
use crate::media::mixer::{Gain, Room};
use crate::media::player::Player;
use crate::media::quality::Change;
use crate::media::recorder::Tap;
use crate::media::recorder::note::Note;
use crate::media::resample::Resampler;
use crate::time::Duration;

/// Signalling to a media worker.
///
/// Everything large is boxed and built outside, so that the media thread neither allocates nor
/// frees. A command that names something the worker does not hold, or for which it has no room, comes
/// back whole in [`Event::Rejected`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Takes a leg: a new one, or one that another worker gave back (a move). Players and a
    /// recording that it carries go on. In no room, a leg hears its own players only.
    AddLeg(Box<Leg>),
    /// Changes a leg after negotiation.
    ConfigureLeg {
        /// The leg.
        leg: LegId,
        /// What changes.
        update: Box<LegUpdate>,
    },
    /// Gives a leg back in [`Event::LegRemoved`], players and recording with it. It leaves its room.
    RemoveLeg {
        /// The leg.
        leg: LegId,
        /// Whether its stream is over, which an RTCP BYE tells the peer (RFC 3550 §6.3.7); false
        /// for a move to another worker.
        goodbye: bool,
    },
    /// Takes an empty room.
    AddRoom {
        /// Its identifier.
        room: RoomId,
        /// The room; its capacity bounds the members.
        mixer: Box<Room>,
    },
    /// Lets a room go on at another rate, members, gains and players with it. Every member must have
    /// been made for rooms of that rate.
    RetuneRoom {
        /// The room.
        room: RoomId,
        /// An empty room of the new rate and the old capacity.
        mixer: Box<Room>,
        /// From the rate that the room was made with, which its players keep, to the new one; `None`
        /// where they are the same.
        converter: Option<Box<Resampler>>,
    },
    /// Gives a room back in [`Event::RoomRemoved`]. Its members stay on the worker in no room, its
    /// players end with [`PlayEndReason::TargetGone`].
    RemoveRoom {
        /// The room.
        room: RoomId,
    },
    /// Puts a leg into a room, out of any other: it hears everyone else there and is heard, at unity.
    Join {
        /// The room.
        room: RoomId,
        /// The leg.
        leg: LegId,
    },
    /// Takes a leg out of its room. Without effect where it is in none.
    Leave {
        /// The leg.
        leg: LegId,
    },
    /// Sets how loud one member hears another. Forgotten when either leaves the room.
    SetGain {
        /// The room.
        room: RoomId,
        /// Who speaks.
        from: LegId,
        /// Who hears.
        to: LegId,
        /// How loud.
        gain: Gain,
    },
    /// Starts a player; it ends with exactly one [`Event::PlayEnded`].
    Play {
        /// Its identifier.
        play: PlayId,
        /// Who hears it.
        on: PlayOn,
        /// The player, at the rate of the leg, or at the rate that the room was made with.
        player: Box<Player>,
    },
    /// Acts on a playing player.
    ControlPlay {
        /// The play.
        play: PlayId,
        /// What to do.
        action: PlayAction,
    },
    /// Sends digits, after those still to be sent on the same path; ends with
    /// [`Event::DigitsSent`].
    SendDigits {
        /// The leg.
        leg: LegId,
        /// The digits.
        digits: DigitString,
        /// How long each is held, 40 ms to 30 s; 100 ms suits everybody.
        press: Duration,
        /// How they travel.
        path: DigitPath,
    },
    /// Listens to what a leg's peer says by other ears; the former ones come back in
    /// [`Event::Listening`].
    Listen {
        /// The leg.
        leg: LegId,
        /// The ears, at the leg's rate.
        ears: Box<Ears>,
    },
    /// Taps a leg for a recording, which may be one of several legs. Four at most for one leg.
    StartRecording {
        /// The leg.
        leg: LegId,
        /// The recording.
        recording: RecordingId,
        /// The media side of the recording.
        tap: Box<Tap>,
    },
    /// Writes into a recording's timeline, from this moment on where it pauses or masks.
    NoteRecording {
        /// The leg.
        leg: LegId,
        /// The recording.
        recording: RecordingId,
        /// What.
        note: Note,
    },
    /// Stops a recording; the tap comes back in [`Event::RecordingStopped`].
    StopRecording {
        /// The leg.
        leg: LegId,
        /// The recording.
        recording: RecordingId,
    },
    /// Writes what is said and heard to a fork; it ends with exactly one [`Event::ForkStopped`], or with its
    /// leg. Four at most for one leg or room.
    StartFork {
        /// Whose sound.
        on: ForkOn,
        /// Its identifier.
        fork: ForkId,
        /// The media side of the fork.
        tap: Box<ForkTap>,
    },
    /// Ends a fork; the tap comes back in [`Event::ForkStopped`].
    StopFork {
        /// Whose sound.
        on: ForkOn,
        /// The fork.
        fork: ForkId,
    },
    /// Asks for an [`Event::LegReport`].
    QueryLeg {
        /// The leg.
        leg: LegId,
        /// Where the figures are put: `Box::default()`.
        report: Box<LegReport>,
    },
}

/// Who hears a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayOn {
    /// This leg alone, over whatever else it hears. The player moves with it.
    Leg(LegId),
    /// Every member of this room, also those who join later.
    Room(RoomId),
}

/// Whose sound a fork gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForkOn {
    /// What this leg's party says, hears, or both. The fork moves with the leg.
    Leg(LegId),
    /// What is mixed in this room: all that its members say, and what is played to all of them.
    Room(RoomId),
}

/// What to do with a playing player.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum PlayAction {
    /// Ends it, with [`PlayEndReason::Stopped`].
    Stop,
    /// Falls silent until [`PlayAction::Resume`].
    Pause,
    /// Goes on where it paused.
    Resume,
    /// Goes to this position from the start of the clip.
    Seek(Duration),
    /// Sets its loudness.
    SetGain(Gain),
}

/// Why a player ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayEndReason {
    /// It came to its end.
    Finished,
    /// It was told to stop.
    Stopped,
    /// The room it played in was removed.
    TargetGone,
}

/// A media worker to signalling.
///
/// The queue is bounded. [`PlayEnded`](Self::PlayEnded), [`LegRemoved`](Self::LegRemoved),
/// [`LegConfigured`](Self::LegConfigured), [`Listening`](Self::Listening),
/// [`RoomRetuned`](Self::RoomRetuned), [`RoomRemoved`](Self::RoomRemoved), [`RecordingStopped`](Self::RecordingStopped),
/// [`ForkStopped`](Self::ForkStopped) and [`Rejected`](Self::Rejected) are never lost; of the rest, the newest are dropped and counted when
/// signalling does not keep up.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The first packet of the leg's peer was accepted; again when media comes back after
    /// [`Event::MediaTimeout`].
    MediaStarted {
        /// The leg.
        leg: LegId,
    },
    /// Nothing acceptable came for the leg's media time-out while it was to receive. Told again after
    /// each further period, since the queue may have dropped it, until media comes back.
    MediaTimeout {
        /// The leg.
        leg: LegId,
        /// Time since the last accepted packet, or since receiving began.
        silent_for: Duration,
    },
    /// The peer pressed a key.
    DigitStarted {
        /// The leg.
        leg: LegId,
        /// The digit.
        digit: Digit,
        /// How it was told.
        path: DigitPath,
    },
    /// The peer let the key go, or its reports stopped.
    DigitEnded {
        /// The leg.
        leg: LegId,
        /// The digit.
        digit: Digit,
        /// How long it was held, by the peer's own count or by its tones.
        duration: Duration,
        /// How it was told.
        path: DigitPath,
    },
    /// All digits that the leg was told to send have been sent.
    DigitsSent {
        /// The leg.
        leg: LegId,
    },
    /// A machine at the other end said something by a tone.
    Tone {
        /// The leg.
        leg: LegId,
        /// What.
        tone: MachineTone,
    },
    /// The peer begins or stops to speak.
    Speech {
        /// The leg.
        leg: LegId,
        /// Which.
        speech: SpeechEvent,
    },
    /// The answer to [`Command::Listen`].
    Listening {
        /// The leg.
        leg: LegId,
        /// The former ears, to be dropped outside the media thread.
        spent: Option<Box<Ears>>,
    },
    /// One way of the leg has begun to sound bad, sounds bad for other reasons, or is good again.
    Quality {
        /// The leg.
        leg: LegId,
        /// What changed.
        change: Change,
    },
    /// A player ended.
    PlayEnded {
        /// The play.
        play: PlayId,
        /// Why.
        reason: PlayEndReason,
        /// How much of it was played.
        played: Duration,
        /// The player, to be dropped outside the media thread.
        player: Box<Player>,
    },
    /// A recording stopped.
    RecordingStopped {
        /// The leg it was on.
        leg: LegId,
        /// The recording.
        recording: RecordingId,
        /// The tap; dropping it closes the file.
        tap: Box<Tap>,
    },
    /// Speech that is written while it plays has something to [report](crate::media::speech::SpeechReport).
    Spoken {
        /// The play.
        play: PlayId,
    },
    /// A fork stopped, and its leg or room goes on, or the room is removed.
    ForkStopped {
        /// The fork.
        fork: ForkId,
        /// The tap; dropping it tells the reader.
        tap: Box<ForkTap>,
    },
    /// The worker cannot keep up, and has suspended the forks that are optional; or it keeps up again, and
    /// they go on.
    Shedding {
        /// Whether they are suspended.
        is_shedding: bool,
        /// How late the last tick was.
        late: Duration,
    },
    /// The answer to [`Command::QueryLeg`].
    LegReport {
        /// The leg.
        leg: LegId,
        /// Its figures.
        report: Box<LegReport>,
    },
    /// The answer to [`Command::ConfigureLeg`].
    LegConfigured {
        /// The leg.
        leg: LegId,
        /// What the update replaced, to be dropped outside the media thread.
        spent: Box<LegUpdate>,
    },
    /// A leg was removed, to be dropped or added to another worker.
    LegRemoved(Box<Leg>),
    /// A room was removed.
    RoomRemoved {
        /// Its identifier.
        room: RoomId,
        /// The room, to be dropped outside the media thread.
        mixer: Box<Room>,
    },
    /// The answer to [`Command::RetuneRoom`].
    RoomRetuned {
        /// The room.
        room: RoomId,
        /// What it worked with before, to be dropped outside the media thread.
        mixer: Box<Room>,
        /// The converter of its players before.
        converter: Option<Box<Resampler>>,
    },
    /// A command was refused and did nothing.
    Rejected {
        /// Why.
        reason: RejectReason,
        /// The command, with everything it carried.
        command: Command,
    },
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// It names a leg, room, play or recording that the worker does not hold.
    Unknown,
    /// Its leg, port, room, play or recording is there already.
    Exists,
    /// The worker, the room or the leg can hold no more of these.
    Full,
    /// The leg cannot do it: no telephone events were negotiated, or the rate of the player or the
    /// ears is another.
    Unsupported,
}
