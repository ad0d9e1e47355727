//! The tracks of a recording.

/// The tracks of a recording, in the order of the file's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// Left: the caller.
    Caller,
    /// Right: the agent, or whatever the caller talks to.
    Agent,
}

impl Track {
    /// Both tracks, left first.
    pub const ALL: [Self; 2] = [Self::Caller, Self::Agent];

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The word that stands for it in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
        }
    }
}
