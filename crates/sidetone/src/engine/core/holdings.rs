//! What an engine holds at a moment, so that leaks show.

use crate::engine::core::Core;

/// What an engine holds now: all of it but bindings and ports is nothing once its calls are over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holdings {
    /// Calls in progress.
    pub calls: usize,
    /// Media legs, those on their way between workers included.
    pub legs: usize,
    /// Rooms that are open.
    pub rooms: usize,
    /// Prompts and tones that play.
    pub plays: usize,
    /// Forks of calls and rooms.
    pub forks: usize,
    /// Recordings whose files are open.
    pub recordings: usize,
    /// Digit collections that wait.
    pub collections: usize,
    /// Handles that wait for something: an end, digits, a consent, a moment.
    pub waiters: usize,
    /// Bindings of users who are registered here.
    pub bindings: usize,
    /// Media port pairs that no call uses.
    pub free_ports: usize,
    /// Media port pairs altogether.
    pub ports: usize,
}

impl Core {
    /// What is held now; waiters are the handles' and not counted here.
    pub fn holdings(&self) -> Holdings {
        let (legs, rooms) = self.placement.counts();
        Holdings {
            calls: self.calls.len().max(self.sessions.len()),
            legs: self.legs.len().max(legs),
            rooms: self.rooms.len().max(rooms),
            plays: self.plays.len(),
            forks: self.forks.len(),
            recordings: self.recordings.len(),
            collections: self.collecting.len(),
            waiters: 0,
            bindings: self.agent.registered(),
            free_ports: self.ports.len(),
            ports: self.ports_held,
        }
    }
}
