//! Commands for media threads whose queues are full, kept in order until there is room.

use std::collections::{BTreeMap, VecDeque};

use crate::id::WorkerId;
use crate::media::command::Command;
use crate::net::media::{MediaThreads, SendError};

/// Commands that wait for one thread at most; further ones are refused.
const MOST: usize = 16_384;

/// Commands on their way to media threads.
///
/// Thousands of calls may end at one moment, as when an engine stops, and each needs its leg back:
/// what takes things away is never refused, and there is one such command a leg or room.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<WorkerId, VecDeque<Command>>,
}

impl Outbox {
    /// Sends a command, after those that wait.
    ///
    /// # Errors
    /// Gives the command back where it can never arrive, or too many wait.
    pub(super) fn send(
        &mut self,
        media: &mut MediaThreads,
        worker: WorkerId,
        command: Command,
    ) -> Result<(), Command> {
        let waiting = self.waiting.get(&worker).map_or(0, VecDeque::len);
        let command = match waiting {
            0 => match media.send(worker, command) {
                Ok(()) => return Ok(()),
                Err(SendError::QueueFull(command)) => command,
                Err(SendError::UnknownWorker(command) | SendError::UnknownPort(command)) => {
                    return Err(command);
                }
            },
            _ => command,
        };
        let takes_away = matches!(
            command,
            Command::RemoveLeg { .. } | Command::RemoveRoom { .. }
        );
        if waiting >= MOST && !takes_away {
            return Err(command);
        }
        self.waiting.entry(worker).or_default().push_back(command);
        Ok(())
    }

    /// Sends what waits, as far as there is room, and gives back what can never arrive.
    pub(super) fn retry(&mut self, media: &mut MediaThreads) -> Vec<(WorkerId, Command)> {
        let mut refused = Vec::new();
        for (worker, waiting) in &mut self.waiting {
            while let Some(command) = waiting.pop_front() {
                match media.send(*worker, command) {
                    Ok(()) => {}
                    Err(SendError::QueueFull(command)) => {
                        waiting.push_front(command);
                        break;
                    }
                    Err(SendError::UnknownWorker(command) | SendError::UnknownPort(command)) => {
                        refused.push((*worker, command));
                    }
                }
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
        refused
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;
    use crate::id::LegId;
    use crate::media::command::Event;
    use crate::net::clock::Clock;
    use crate::net::media::MediaConfig;
    use crate::net::media::ports::PortPool;

    #[tokio::test]
    async fn a_full_queue_delays_and_loses_nothing() {
        let bell = Arc::new(Notify::new());
        let config = MediaConfig {
            commands: 4,
            events: 4,
            ..MediaConfig::default()
        };
        let ports = PortPool::new(None);
        let mut media = MediaThreads::start(&config, Clock::start(), ports, &bell).unwrap();
        let mut outbox = Outbox::default();
        let worker = WorkerId(0);
        for leg in 0..1_000 {
            let command = Command::RemoveLeg {
                leg: LegId(leg),
                goodbye: true,
            };
            outbox.send(&mut media, worker, command).unwrap();
        }
        let mut rejected = Vec::new();
        while rejected.len() < 1_000 {
            bell.notified().await;
            while let Some(event) = media.poll_event(worker) {
                let Event::Rejected { command, .. } = event else {
                    panic!("{event:?}");
                };
                rejected.push(command);
                assert!(outbox.retry(&mut media).is_empty());
            }
        }
        assert!(outbox.is_empty());
        let in_order = rejected.iter().enumerate().all(|(index, command)| {
            matches!(command, Command::RemoveLeg { leg, .. } if leg.0 == index as u64)
        });
        assert!(in_order);
        assert!(
            outbox
                .send(&mut media, WorkerId(7), rejected.remove(0))
                .is_err()
        );
    }
}
