//! The tracks of a recording: one for each role, and which of them a file has as channels.

/// A track of a recording. Which of them a file has, and in which order, its [`Tracks`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// The party that is recorded.
    Caller,
    /// The agent; where one party alone is recorded, whatever it hears.
    Agent,
    /// A second agent at the same time.
    Agent2,
    /// A third.
    Agent3,
    /// A fourth; further ones are mixed into this track.
    Agent4,
    /// A speech robot.
    Robot,
    /// A supervisor.
    Supervisor,
    /// Prompts, tones and music that the recorded party hears.
    Prompts,
    /// Those of them that a whole room hears; in a file without a track for them they are on that of the prompts.
    Room,
}

impl Track {
    /// All tracks that there are.
    pub const ALL: [Self; 9] = [
        Self::Caller,
        Self::Agent,
        Self::Agent2,
        Self::Agent3,
        Self::Agent4,
        Self::Robot,
        Self::Supervisor,
        Self::Prompts,
        Self::Room,
    ];

    /// The two tracks of a stereo recording, left first.
    pub const STEREO: [Self; 2] = [Self::Caller, Self::Agent];

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The word that stands for it in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Agent2 => "agent2",
            Self::Agent3 => "agent3",
            Self::Agent4 => "agent4",
            Self::Robot => "robot",
            Self::Supervisor => "supervisor",
            Self::Prompts => "prompts",
            Self::Room => "room",
        }
    }

    /// The track of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|track| track.name() == name)
    }
}

/// Who a party of a recorded conversation is, which decides its track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The customer.
    Caller,
    /// An agent: up to four at once have tracks of their own.
    Agent,
    /// A speech robot.
    Robot,
    /// A supervisor who listens in, whispers or takes over.
    Supervisor,
}

impl Role {
    /// The tracks that it may have, best first; the last is shared where all are taken.
    pub(crate) const fn tracks(self) -> &'static [Track] {
        match self {
            Self::Caller => &[Track::Caller],
            Self::Agent => &[Track::Agent, Track::Agent2, Track::Agent3, Track::Agent4],
            Self::Robot => &[Track::Robot],
            Self::Supervisor => &[Track::Supervisor],
        }
    }
}

/// Channels that a file has at most.
pub const MAX_CHANNELS: usize = 8;

/// The tracks that a file has as channels, in their order.
///
/// Whatever belongs on a track that the file does not have is mixed into a neighbour: prompts of a room into the
/// other prompts, the agents beyond the last that it has into that one, everybody else (and a party's second agent in a stereo file) into the last
/// agent's, or where there is none into the last channel.
///
/// ```
/// use sidetone::media::recorder::track::{Track, Tracks};
///
/// let tracks = Tracks::new(&[Track::Caller, Track::Agent, Track::Prompts]).expect("three tracks");
/// assert_eq!(tracks.channel_of(Track::Prompts), 2);
/// assert_eq!(tracks.channel_of(Track::Agent2), 1);
/// assert_eq!(Tracks::STEREO.channel_of(Track::Robot), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracks {
    order: [Track; MAX_CHANNELS],
    count: u8,
}

impl Tracks {
    /// The caller left, everybody and everything else right.
    pub const STEREO: Self = Self {
        order: {
            let mut order = [Track::Agent; MAX_CHANNELS];
            order[0] = Track::Caller;
            order
        },
        count: 2,
    };

    /// A channel for each track that there is, but one for all prompts.
    pub const ALL: Self = Self {
        order: [
            Track::Caller,
            Track::Agent,
            Track::Agent2,
            Track::Agent3,
            Track::Agent4,
            Track::Robot,
            Track::Supervisor,
            Track::Prompts,
        ],
        count: MAX_CHANNELS as u8,
    };

    /// These tracks in this order; `None` where there is none, one comes twice, or there are more than
    /// [`MAX_CHANNELS`].
    pub fn new(tracks: &[Track]) -> Option<Self> {
        let mut order = Self::STEREO.order;
        let twice = |(n, track): (usize, &Track)| tracks.iter().take(n).any(|other| other == track);
        if tracks.is_empty() || tracks.iter().enumerate().any(twice) {
            return None;
        }
        order.get_mut(..tracks.len())?.copy_from_slice(tracks);
        Some(Self {
            order,
            count: tracks.len() as u8,
        })
    }

    /// The tracks in the order of their channels.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Track> + '_ {
        self.order.iter().take(usize::from(self.count)).copied()
    }

    /// How many channels the file has: 1 to 8.
    pub const fn channels(&self) -> u16 {
        self.count as u16
    }

    /// The channel that what belongs on `track` goes to.
    pub fn channel_of(&self, track: Track) -> usize {
        let find = |wanted: Track| self.iter().position(|it| it == wanted);
        let prompts = || find(Track::Prompts).filter(|_| track == Track::Room);
        let agents = Role::Agent.tracks();
        let last_agent = || agents.iter().rev().find_map(|&agent| find(agent));
        let last = usize::from(self.count).saturating_sub(1);
        let own = find(track).or_else(prompts);
        own.or_else(last_agent).unwrap_or(last)
    }

    /// Their names, as a record has them.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.iter().map(Track::name).collect();
        names.join(",")
    }

    /// The tracks of these names.
    pub(super) fn from_names(names: &str) -> Option<Self> {
        let tracks: Option<Vec<_>> = names.split(',').map(Track::named).collect();
        Self::new(&tracks?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_every_track_has_a_channel() {
        for tracks in [Tracks::STEREO, Tracks::ALL] {
            assert_eq!(Tracks::from_names(&tracks.names()), Some(tracks));
            for track in Track::ALL {
                assert!(tracks.channel_of(track) < usize::from(tracks.channels()));
            }
        }
        for wrong in ["", "caller,", "caller,caller", "caller,nobody"] {
            assert_eq!(Tracks::from_names(wrong), None, "{wrong}");
        }
        assert_eq!(Tracks::ALL.channel_of(Track::Room), 7);
        assert_eq!(Tracks::new(&Track::ALL), None);
        let prompts = Tracks::new(&[Track::Prompts]).expect("one");
        assert_eq!(prompts.channel_of(Track::Caller), 0);
    }
}
