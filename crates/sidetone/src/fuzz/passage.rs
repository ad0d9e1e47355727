//! Callers being connected, with anything happening to anybody in any order; and what goes through.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::b2bua::headers::HeaderRules;
use crate::b2bua::passage::{Action, Farewell, Fields, Passage};
use crate::b2bua::plan::{EarlyMedia, Plan, Target};
use crate::id::CallId;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::time::{Duration, Instant};

const CALLER: CallId = CallId(1);

/// The statuses that ends and refusals have.
const STATUSES: [u16; 8] = [0, 302, 404, 408, 486, 503, 603, 699];

/// Calls as an engine would have them.
struct World {
    passage: Passage,
    live: BTreeSet<CallId>,
    hung_up: BTreeSet<CallId>,
    wanted: Vec<usize>,
    last: u64,
    decided: u32,
}

/// Whatever happens, each call is hung up at most once and never after its end, the caller is decided
/// on at most once, and once all calls have ended it is over.
///
/// # Panics
/// A promise is broken.
pub fn passage(data: &[u8]) {
    let mut data = data.iter().copied();
    let Some(shape) = data.next() else { return };
    let targets = |count: u8| (0..count).map(|_| Target::new("sip:a@192.0.2.1"));
    let mut plan = Plan::to_all(targets(1 + shape % 3));
    for _ in 0..shape / 4 % 4 {
        plan = plan
            .then_all(targets(1 + shape % 2))
            .within(Duration::from_secs(5));
    }
    if shape & 0x40 != 0 {
        plan = plan.hunting();
    }
    let mut now = Instant::ZERO;
    let mut world = World {
        passage: Passage::new(now, CALLER, &plan, EarlyMedia::Pass),
        live: BTreeSet::from([CALLER]),
        hung_up: BTreeSet::new(),
        wanted: Vec::new(),
        last: 1,
        decided: 0,
    };
    world.obey();
    while let (Some(what), Some(whom)) = (data.next(), data.next()) {
        now += Duration::from_millis(u64::from(what) * 10);
        world.step(now, what, whom);
        world.obey();
    }
    for _ in 0..2_000 {
        match (world.wanted.pop(), world.live.pop_first()) {
            (Some(target), live) => {
                world.live.extend(live);
                world.passage.handle_dialled(now, target, Err(503));
            }
            (None, Some(call)) => world.passage.handle_end(now, call, Farewell::default()),
            (None, None) => break,
        }
        world.obey();
    }
    assert!(world.passage.is_over(), "it does not come to its end");
}

impl World {
    fn step(&mut self, now: Instant, what: u8, whom: u8) {
        let call = self
            .live
            .iter()
            .nth(usize::from(whom) % self.live.len().max(1));
        let call = call.copied().unwrap_or(CALLER);
        let status = STATUSES[usize::from(whom / 8) % STATUSES.len()];
        match what % 8 {
            0 | 1 => {
                if let Some(target) = self.wanted.pop() {
                    let outcome = match whom % 4 {
                        0 => Err(status),
                        _ => Ok(self.mint()),
                    };
                    self.passage.handle_dialled(now, target, outcome);
                }
            }
            2 => {
                let status = 100 + u16::from(whom) % 100;
                self.passage
                    .handle_progress(call, status, what & 0x80 != 0, Fields::new());
            }
            3 => self.passage.handle_answer(now, call, Fields::new()),
            4 if self.live.remove(&call) => {
                let fields = Fields::new();
                self.passage
                    .handle_end(now, call, Farewell { status, fields });
            }
            5 if self.passage.other(call).is_some() => {
                let new = self.mint();
                match whom & 1 {
                    0 => self.passage.handle_follower(call, new),
                    _ => self.passage.handle_replaced(now, call, new),
                }
            }
            6 => self.passage.handle_timeout(now),
            7 if whom == 0 => self.passage.end(&Fields::new()),
            7 if whom == 1 => self.passage.handle_unanswerable(488),
            _ => {}
        }
    }

    fn mint(&mut self) -> CallId {
        self.last += 1;
        self.live.insert(CallId(self.last));
        CallId(self.last)
    }

    fn obey(&mut self) {
        while let Some(action) = self.passage.poll_action() {
            match action {
                Action::Dial { target, .. } => self.wanted.push(target),
                Action::Tell { .. } => assert_eq!(self.decided, 0, "told after the decision"),
                Action::Answer { .. } => {
                    self.decided += 1;
                    assert_eq!(self.decided, 1, "answered after the decision");
                }
                Action::Refuse { status, .. } => {
                    assert!((300..700).contains(&status));
                    self.decided += 1;
                    assert!(self.decided <= 2 && self.hung_up.insert(CALLER));
                }
                Action::HangUp { call, .. } => {
                    assert!(self.live.contains(&call), "hung up after its end");
                    assert!(self.hung_up.insert(call), "hung up twice");
                }
            }
        }
    }
}

/// Whatever message comes, what is carried through can be sent, is bounded, and is nothing of one hop.
///
/// # Panics
/// A promise is broken.
pub fn headers(data: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(data)) else {
        return;
    };
    let rules = HeaderRules::default().trusting().pass_others();
    let carried = rules.apply(&message);
    assert!(carried.len() <= 64);
    for (name, value) in carried {
        let parsed = Name::parse(&name).expect("a name");
        let own = [
            Name::Via,
            Name::From,
            Name::To,
            Name::CallId,
            Name::CSeq,
            Name::Contact,
            Name::Route,
            Name::RecordRoute,
            Name::ContentLength,
            Name::Authorization,
            Name::ProxyAuthorization,
        ];
        assert!(!own.contains(&parsed), "{name} is of one hop");
        assert!(!value.chars().any(|c| c.is_control() && c != '\t'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("passage", passage);
        crate::fuzz::run_seeds("sip_message", headers);
    }

    #[test]
    fn random_courses_keep_every_promise() {
        let mut rng = Rng::new(7092);
        for _ in 0..5_000 {
            let length = rng.below(200);
            let data: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
            passage(&data);
        }
    }
}
