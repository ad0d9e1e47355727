//! What of a call is recorded, and into which file.

pub mod beep;
pub mod policy;

use std::path::PathBuf;

use crate::engine::recording::beep::Beep;
use crate::media::frame::SampleRate;
use crate::media::recorder::layout::Format;
use crate::media::recorder::retention::Label;
use crate::media::recorder::track::Tracks;

/// What of a call is recorded, and how.
///
/// ```
/// use sidetone::engine::recording::RecordingPlan;
/// use sidetone::media::recorder::track::Tracks;
///
/// // The caller, up to four agents, robot, supervisor and prompts, each on a channel of its own.
/// let plan = RecordingPlan::conversation("spool/1.wav", Tracks::ALL);
/// assert!(plan.follows);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordingPlan {
    /// The file to make. It must not exist; missing directories above it are made. Build its name from
    /// identifiers of your own; words from the network go through
    /// [`escape`](crate::media::recorder::name::escape).
    pub path: PathBuf,
    /// The channels of the file.
    pub tracks: Tracks,
    /// Whether the recording is one of the conversation rather than of this party: each call that shares a
    /// room with it is recorded at its source, on a track by its role, and if another call takes the place
    /// of this one the recording goes on with that.
    pub follows: bool,
    /// Whether only what this party says is recorded: its left channel on the left, its right channel on the right.
    /// Means nothing for a conversation.
    pub alone: bool,
    /// The rate of the file; that of the call's codec by default. Parties at other rates are converted.
    pub rate: Option<SampleRate>,
    /// How long it must be kept; by the engine's configuration by default. What is labelled is sealed.
    pub label: Option<Label>,
    /// What file it is; as the engine's configuration says by default. Ogg Opus wants Opus among the engine's codecs,
    /// and FLAC and Ogg Opus are always sealed.
    pub format: Option<Format>,
    /// The tone that tells that it runs; by the engine's configuration by default.
    pub beep: Option<Beep>,
}

impl RecordingPlan {
    /// One party in stereo: what it says on the left, what it hears on the right.
    pub fn party(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tracks: Tracks::STEREO,
            follows: false,
            alone: false,
            rate: None,
            label: None,
            format: None,
            beep: None,
        }
    }

    /// What one party says, and nothing else: its left channel on the left and its right channel on the right where it
    /// speaks in stereo, the same on both otherwise.
    pub fn party_alone(path: impl Into<PathBuf>) -> Self {
        Self {
            alone: true,
            ..Self::party(path)
        }
    }

    /// The conversation that a party takes part in, as its parties come and go, with a channel for each of
    /// `tracks`.
    pub fn conversation(path: impl Into<PathBuf>, tracks: Tracks) -> Self {
        Self {
            tracks,
            follows: true,
            ..Self::party(path)
        }
    }
}
