//! Passages step by step, and by the hundred thousand at random.

use super::*;
use crate::b2bua::plan::Target;
use crate::rng::Rng;

const CALLER: CallId = CallId(1);
const SECOND: Duration = Duration::from_secs(1);

fn targets(count: usize) -> impl Iterator<Item = Target> {
    (0..count).map(|index| Target::new(&format!("sip:{index}@192.0.2.1")))
}

fn farewell(status: u16) -> Farewell {
    Farewell {
        status,
        fields: Fields::new(),
    }
}

fn begin(plan: &Plan) -> Passage {
    Passage::new(Instant::ZERO, CALLER, plan, EarlyMedia::Pass)
}

fn actions(passage: &mut Passage) -> Vec<Action> {
    std::iter::from_fn(|| passage.poll_action()).collect()
}

fn dials(passage: &mut Passage) -> Vec<usize> {
    let target = |action| match action {
        Action::Dial { target, .. } => target,
        other => panic!("{other:?}"),
    };
    actions(passage).into_iter().map(target).collect()
}

/// Lets every dial wanted make a call numbered 10 and the target's number on.
fn dialled(passage: &mut Passage) -> Vec<CallId> {
    let targets = dials(passage);
    let calls = targets.iter().map(|target| CallId(10 + *target as u64));
    let calls: Vec<_> = calls.collect();
    for (target, call) in targets.iter().zip(&calls) {
        passage.handle_dialled(Instant::ZERO, *target, Ok(*call));
    }
    calls
}

fn hang_up(call: CallId, why: &str) -> Action {
    let fields = match why {
        "" => Fields::new(),
        why => reason(why),
    };
    Action::HangUp { call, fields }
}

#[test]
fn nobody_is_answered_before_the_target_is() {
    let mut passage = begin(&Plan::to(Target::new("sip:a@192.0.2.1")));
    let [callee] = dialled(&mut passage)[..] else {
        panic!("one call");
    };
    passage.handle_progress(callee, 180, false, Fields::new());
    passage.handle_progress(callee, 180, false, Fields::new());
    passage.handle_progress(callee, 183, true, Fields::new());
    let tell = |status, described| Action::Tell {
        status,
        described,
        fields: Fields::new(),
    };
    assert_eq!(actions(&mut passage), [tell(180, false), tell(183, true)]);
    assert_eq!(passage.pair(), Some((CALLER, callee)));
    passage.handle_answer(Instant::ZERO, callee, Fields::new());
    let answer = Action::Answer {
        callee,
        fields: Fields::new(),
    };
    assert_eq!(actions(&mut passage), [answer]);
    passage.handle_end(Instant::ZERO, callee, farewell(0));
    assert_eq!(actions(&mut passage), [hang_up(CALLER, "")]);
    assert!(!passage.is_over());
    passage.handle_end(Instant::ZERO, CALLER, farewell(0));
    assert!(passage.is_over());
}

#[test]
fn the_first_answer_ends_the_ringing_of_the_others() {
    let mut passage = begin(&Plan::to_all(targets(3)));
    let calls = dialled(&mut passage);
    passage.handle_progress(calls[0], 183, true, Fields::new());
    // The caller hears the first; the second is not told.
    passage.handle_progress(calls[1], 183, true, Fields::new());
    assert_eq!(actions(&mut passage).len(), 1);
    passage.handle_answer(Instant::ZERO, calls[1], Fields::new());
    // A second answer that crosses the CANCEL.
    passage.handle_answer(Instant::ZERO, calls[2], Fields::new());
    let expected = [
        hang_up(calls[0], ELSEWHERE),
        hang_up(calls[2], ELSEWHERE),
        Action::Answer {
            callee: calls[1],
            fields: Fields::new(),
        },
    ];
    assert_eq!(actions(&mut passage), expected);
    assert_eq!(passage.pair(), Some((CALLER, calls[1])));
}

#[test]
fn a_caller_that_gives_up_takes_all_attempts_along() {
    let mut passage = begin(&Plan::to_all(targets(2)));
    let calls = dialled(&mut passage);
    let why = Farewell {
        status: 487,
        fields: reason("Q.850;cause=31"),
    };
    passage.handle_end(Instant::ZERO, CALLER, why);
    let expected = [
        hang_up(calls[0], "Q.850;cause=31"),
        hang_up(calls[1], "Q.850;cause=31"),
    ];
    assert_eq!(actions(&mut passage), expected);
    // The 200 that crosses is nobody's.
    passage.handle_answer(Instant::ZERO, calls[0], Fields::new());
    assert!(actions(&mut passage).is_empty());
}

#[test]
fn a_plan_is_gone_through_by_what_the_failures_say() {
    // (hunting, statuses of the targets in turn, told to the caller)
    for (hunting, statuses, told) in [
        (false, vec![486], 486),
        (false, vec![503, 486], 486),
        (false, vec![408, 503, 502], 408),
        (true, vec![486, 404, 480], 486),
        (true, vec![486, 484, 480], 484),
        (true, vec![486, 603], 603),
        (true, vec![407, 407, 407], 403),
        (false, vec![503, 503, 503], 500),
        (false, vec![302], 480),
    ] {
        let mut plan = Plan::to(Target::new("sip:0@192.0.2.1"));
        for target in targets(2) {
            plan = plan.then(target);
        }
        if hunting {
            plan = plan.hunting();
        }
        let mut passage = begin(&plan);
        for status in &statuses {
            let [call] = dialled(&mut passage)[..] else {
                panic!("{statuses:?}: nobody is dialled");
            };
            passage.handle_end(Instant::ZERO, call, farewell(*status));
            if [408, 502, 503].contains(status) {
                // Its next address, which it has not.
                let [target] = dials(&mut passage)[..] else {
                    panic!("{statuses:?}: no second address is tried");
                };
                passage.handle_dialled(Instant::ZERO, target, Err(503));
            }
        }
        let refuse = Action::Refuse {
            status: told,
            fields: Fields::new(),
        };
        assert_eq!(actions(&mut passage), [refuse], "{statuses:?}");
    }
}

#[test]
fn who_does_not_answer_in_time_is_given_up_for_the_next() {
    let plan = Plan::to(Target::new("sip:a@192.0.2.1"))
        .within(20 * SECOND)
        .then(Target::new("sip:b@192.0.2.1"));
    let mut passage = begin(&plan);
    let calls = dialled(&mut passage);
    let due = passage.poll_timeout().expect("a limit");
    assert_eq!(due, Instant::ZERO + 20 * SECOND);
    passage.handle_timeout(due);
    let expected = [
        hang_up(calls[0], TOO_LONG),
        Action::Dial {
            target: 1,
            redial: 0,
        },
    ];
    assert_eq!(actions(&mut passage), expected);
    passage.handle_dialled(due, 1, Ok(CallId(11)));
    // The first one's end is no news.
    passage.handle_end(due, calls[0], farewell(487));
    assert!(actions(&mut passage).is_empty());
    assert_eq!(passage.poll_timeout(), None);
}

#[test]
fn a_target_that_is_sent_elsewhere_rings_for_its_whole_time() {
    let plan = Plan::to(Target::new("sip:a@192.0.2.1")).within(20 * SECOND);
    let mut passage = begin(&plan);
    let call = dialled(&mut passage)[0];
    let later = Instant::ZERO + 15 * SECOND;
    passage.handle_redirected(later, CallId(99));
    assert_eq!(passage.poll_timeout(), Some(Instant::ZERO + 20 * SECOND));
    passage.handle_redirected(later, call);
    assert_eq!(passage.poll_timeout(), Some(later + 20 * SECOND));
    passage.handle_answer(later, call, Fields::new());
    passage.handle_redirected(later, call);
    assert_eq!(passage.poll_timeout(), None);
}

#[test]
fn a_side_that_transfers_may_hang_up_before_its_follower_answers() {
    for follower_answers in [true, false] {
        let mut passage = begin(&Plan::to(Target::new("sip:a@192.0.2.1")));
        let callee = dialled(&mut passage)[0];
        passage.handle_answer(Instant::ZERO, callee, Fields::new());
        let follower = CallId(20);
        passage.handle_follower(callee, follower);
        passage.handle_end(Instant::ZERO, callee, farewell(0));
        actions(&mut passage);
        assert_eq!(passage.pair(), None);
        if follower_answers {
            passage.handle_answer(Instant::ZERO, follower, Fields::new());
            assert_eq!(passage.pair(), Some((CALLER, follower)));
            assert!(actions(&mut passage).is_empty());
        } else {
            passage.handle_end(Instant::ZERO, follower, farewell(486));
            assert_eq!(actions(&mut passage), [hang_up(CALLER, "")]);
        }
    }
}

#[test]
fn who_was_replaced_is_hung_up_after_a_while() {
    let mut passage = begin(&Plan::to(Target::new("sip:a@192.0.2.1")));
    let callee = dialled(&mut passage)[0];
    passage.handle_answer(Instant::ZERO, callee, Fields::new());
    actions(&mut passage);
    passage.handle_replaced(Instant::ZERO, CALLER, CallId(30));
    assert_eq!(passage.pair(), Some((CallId(30), callee)));
    passage.handle_timeout(Instant::ZERO + LEAVING);
    assert_eq!(actions(&mut passage), [hang_up(CALLER, "")]);
}

/// A world in which calls are made and end, as an engine would do it.
struct World {
    rng: Rng,
    now: Instant,
    passage: Passage,
    live: BTreeSet<CallId>,
    hung_up: BTreeSet<CallId>,
    wanted: Vec<usize>,
    last: u64,
    answers: u32,
    refusals: u32,
    operations: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::to_all(targets(1 + rng.below(3) as usize));
        for _ in 0..rng.below(4) {
            plan = plan.then_all(targets(1 + rng.below(3) as usize));
            if rng.below(2) == 0 {
                plan = plan.within(SECOND * (1 + rng.below(20) as u32));
            }
        }
        if rng.below(2) == 0 {
            plan = plan.hunting();
        }
        let early = [EarlyMedia::Pass, EarlyMedia::Ringing][rng.below(2) as usize];
        Self {
            passage: Passage::new(Instant::ZERO, CALLER, &plan, early),
            rng,
            now: Instant::ZERO,
            live: BTreeSet::from([CALLER]),
            hung_up: BTreeSet::new(),
            wanted: Vec::new(),
            last: 1,
            answers: 0,
            refusals: 0,
            operations: 0,
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
                Action::Tell { .. } => assert_eq!(self.answers + self.refusals, 0),
                Action::Answer { callee, .. } => {
                    assert_eq!((self.answers, self.refusals), (0, 0), "decided twice");
                    assert!(self.live.contains(&callee), "answered by nobody");
                    self.answers += 1;
                }
                Action::Refuse { status, .. } => {
                    assert!((300..700).contains(&status));
                    assert_eq!(self.refusals, 0, "refused twice");
                    self.refusals += 1;
                    assert!(self.hung_up.insert(CALLER), "refused after its end");
                }
                Action::HangUp { call, .. } => {
                    assert!(self.live.contains(&call), "hung up after its end");
                    assert!(self.hung_up.insert(call), "hung up twice");
                }
            }
        }
    }

    fn any(&mut self) -> CallId {
        let index = self.rng.below(self.live.len() as u64) as usize;
        self.live.iter().nth(index).copied().unwrap_or(CALLER)
    }

    fn dial_one(&mut self) {
        let index = self.rng.below(self.wanted.len() as u64) as usize;
        let target = self.wanted.swap_remove(index);
        let outcome = match self.rng.below(4) {
            0 => Err([503, 400, 404][self.rng.below(3) as usize]),
            _ => Ok(self.mint()),
        };
        self.passage.handle_dialled(self.now, target, outcome);
    }

    fn end_one(&mut self) {
        let call = self.any();
        self.live.remove(&call);
        let status = [0, 404, 408, 486, 503, 603, 302][self.rng.below(7) as usize];
        self.passage.handle_end(self.now, call, farewell(status));
    }

    fn step(&mut self) {
        self.operations += 1;
        let call = match self.live.is_empty() {
            true => CALLER,
            false => self.any(),
        };
        match self.rng.below(12) {
            0..=3 if !self.wanted.is_empty() => self.dial_one(),
            4 => {
                let status = 100 + self.rng.below(100) as u16;
                let described = self.rng.below(2) == 0;
                self.passage
                    .handle_progress(call, status, described, Fields::new());
            }
            5 => self.passage.handle_answer(self.now, call, Fields::new()),
            6 if !self.live.is_empty() => self.end_one(),
            7 => {
                let by = self.mint();
                match self.passage.other(call) {
                    Some(_) if self.rng.below(2) == 0 => self.passage.handle_follower(call, by),
                    Some(_) => self.passage.handle_replaced(self.now, call, by),
                    None => {
                        self.live.remove(&by);
                    }
                }
            }
            8 => {
                self.now += Duration::from_millis(self.rng.below(8_000));
                self.passage.handle_timeout(self.now);
            }
            9 if self.rng.below(8) == 0 => self.passage.handle_unanswerable(488),
            10 if self.rng.below(20) == 0 => self.passage.end(&Fields::new()),
            _ => {}
        }
        self.obey();
    }

    /// Lets everything come to its end: whoever was hung up ends, the rest hang up by themselves.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            self.obey();
            if self.passage.is_over() && self.live.is_empty() {
                return;
            }
            match self.wanted.is_empty() {
                false => self.dial_one(),
                true if self.live.is_empty() => panic!("nothing lives, and it is not over"),
                true => self.end_one(),
            }
        }
        panic!("it does not come to its end: {:?}", self.passage);
    }
}

#[test]
fn a_hundred_thousand_random_operations_leave_nothing_behind() {
    let mut operations = 0;
    let mut seed = 0;
    while operations < 100_000 {
        seed += 1;
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..60 {
                world.step();
            }
            world.finish();
            world.operations
        });
        operations += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
}
