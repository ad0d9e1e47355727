//! What a recording's timeline tells beside the sound.

use crate::media::recorder::track::Track;

/// Something that happened at a moment of a recording. What is told by people is text; it is written down
/// escaped, and never is part of a file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// From here on nothing is recorded: silence stands in the file.
    Paused,
    /// A pause is over.
    Resumed,
    /// From here on silence stands in the file, for this reason, such as `card`.
    Masked(Box<str>),
    /// A masked span is over.
    Unmasked,
    /// The call is held, by whom.
    Held(Box<str>),
    /// The call is no longer held.
    Retrieved,
    /// A key was pressed; which one is not written down.
    Digit,
    /// The tone sounded that tells of the recording.
    Beep,
    /// Whatever the integrator wants to be found again: who speaks, what is transcribed.
    Mark(Box<str>),
    /// Somebody joins the recording: a party of the conversation.
    Joined {
        /// The track of what is said.
        track: Track,
        /// Who it is.
        who: Box<str>,
    },
    /// Who was on this track has left the recording.
    Left {
        /// Which track.
        track: Track,
    },
    /// The journal's disk fails or does not keep up: a crash would now cost more than a second.
    Unguarded,
    /// The journal is kept again, and what was written meanwhile is synced.
    Guarded,
    /// The network lost sound of a track, which was made up instead.
    Lost {
        /// Of which track.
        track: Track,
        /// How many samples.
        samples: u64,
    },
    /// Frames were dropped since storage did not keep up; silence stands in their place.
    Dropped {
        /// Of which track.
        track: Track,
        /// How many frames so far.
        frames: u64,
    },
    /// The track's source was replaced or has leapt: its clock is anchored anew.
    Leap {
        /// Of which track.
        track: Track,
    },
    /// It is known by now how far the sound that stands here lies from where it belongs: told of the first seconds of a
    /// track, of which the network had not said it then.
    Placed {
        /// Of which track.
        track: Track,
        /// By how many samples it is too late; below zero, too early.
        samples: i64,
    },
    /// From here on the track has the packets of Opus as they came or went, not encoded anew.
    Original {
        /// Of which track.
        track: Track,
        /// How many samples later than it belongs their sound plays; below zero, earlier.
        samples: i64,
    },
    /// From here on the track is encoded anew: its party does not speak Opus in packets of 20 ms frames, several speak on
    /// it, or something was silenced.
    Encoded {
        /// Which track.
        track: Track,
    },
    /// The sender's clock has run away by the better part of a packet: this many samples of silence were put in
    /// (positive), or the packet was left out that comes here (negative).
    Slipped {
        /// Of which track.
        track: Track,
        /// How many samples.
        samples: i64,
    },
    /// The sender's clock drifts: this many samples were put in (positive) or left out so far.
    Drift {
        /// Of which track.
        track: Track,
        /// How many samples.
        samples: i64,
    },
}

impl Note {
    /// The word that stands for it in a record.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Masked(_) => "masked",
            Self::Unmasked => "unmasked",
            Self::Held(_) => "held",
            Self::Retrieved => "retrieved",
            Self::Digit => "digit",
            Self::Beep => "beep",
            Self::Mark(_) => "mark",
            Self::Joined { .. } => "joined",
            Self::Left { .. } => "left",
            Self::Unguarded => "unguarded",
            Self::Guarded => "guarded",
            Self::Lost { .. } => "lost",
            Self::Dropped { .. } => "dropped",
            Self::Leap { .. } => "leap",
            Self::Placed { .. } => "placed",
            Self::Original { .. } => "original",
            Self::Encoded { .. } => "encoded",
            Self::Slipped { .. } => "slipped",
            Self::Drift { .. } => "drift",
        }
    }

    /// The text that it carries.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Masked(text) | Self::Held(text) | Self::Mark(text) => Some(text),
            Self::Joined { who, .. } => Some(who),
            _ => None,
        }
    }

    /// The track that it is about.
    pub const fn track(&self) -> Option<Track> {
        match *self {
            Self::Lost { track, .. }
            | Self::Dropped { track, .. }
            | Self::Placed { track, .. }
            | Self::Drift { track, .. }
            | Self::Original { track, .. }
            | Self::Slipped { track, .. }
            | Self::Encoded { track }
            | Self::Leap { track }
            | Self::Joined { track, .. }
            | Self::Left { track } => Some(track),
            _ => None,
        }
    }

    /// The number that it carries.
    pub const fn count(&self) -> Option<i64> {
        match *self {
            Self::Lost { samples, .. } => Some(samples as i64),
            Self::Dropped { frames, .. } => Some(frames as i64),
            Self::Placed { samples, .. }
            | Self::Original { samples, .. }
            | Self::Slipped { samples, .. }
            | Self::Drift { samples, .. } => Some(samples),
            Self::Leap { .. } | Self::Encoded { .. } => Some(1),
            _ => None,
        }
    }

    /// Whether it was told by signalling rather than found by the media plane.
    pub(super) const fn is_told(&self) -> bool {
        self.count().is_none()
    }
}
