//! The worker's event queue: bounded, and never losing what somebody waits for.

use std::collections::VecDeque;

use crate::media::command::Event;

/// Events that one command causes at most, besides those that end something the worker holds.
pub(super) const EVENTS_A_COMMAND: usize = 2;

/// A queue with room for one event for each thing that the worker holds, and some besides.
///
/// The rule: `events + held + EVENTS_A_COMMAND <= capacity` before a command is taken. *Held* things
/// are legs, rooms, players, recordings and forks; each leaves through exactly one event that must not be
/// lost, or travels inside another. A tick turns held things into events one for one, so it never
/// raises the sum. A command raises it by at most [`EVENTS_A_COMMAND`] (a rejection, an answer) or by
/// what it brings, which the caller counts before taking it. Events that may be lost are taken only
/// while the sum leaves room for a command. So with a driver that asks [`accepts`](Self::accepts)
/// first, the queue cannot overflow; without, it grows rather than lose something, and counts that.
#[derive(Debug)]
pub(super) struct EventQueue {
    events: VecDeque<Event>,
    capacity: usize,
    dropped: u64,
    grown: u64,
}

impl EventQueue {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            events: VecDeque::with_capacity(capacity),
            capacity,
            dropped: 0,
            grown: 0,
        }
    }

    /// Whether a command may be taken that brings `brought` things to the `held` ones.
    pub(super) fn accepts(&self, held: usize, brought: usize) -> bool {
        self.events.len() + held + brought + EVENTS_A_COMMAND <= self.capacity
    }

    /// Queues an event that must not be lost.
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() >= self.capacity {
            self.grown += 1;
        }
        self.events.push_back(event);
    }

    /// Queues an event that is dropped where signalling does not keep up: false then.
    pub(super) fn offer(&mut self, event: Event, held: usize) -> bool {
        let fits = self.accepts(held, 1);
        match fits {
            true => self.events.push_back(event),
            false => self.dropped += 1,
        }
        fits
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Events dropped because signalling did not keep up.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events queued beyond the capacity, for a driver that did not ask first.
    pub(super) fn grown(&self) -> u64 {
        self.grown
    }
}
