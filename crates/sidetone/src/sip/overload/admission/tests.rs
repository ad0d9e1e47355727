//! Admission over a model of a slow core in virtual time.

use super::*;
use crate::rng::Rng;
use crate::sip::overload::throttle::Throttle;
use crate::sip::transport::{Destination, Transport};
use std::collections::{BTreeMap, VecDeque};

/// What the core has to do for each kind of message.
const SET_UP: Duration = Duration::from_micros(600);
const LATER: Duration = Duration::from_micros(200);
const REFUSAL: Duration = Duration::from_micros(25);

/// Calls a second that the core can do: each has its set-up, an ACK and a BYE.
const CAPACITY: f64 = 1000.0;

/// A caller that has heard nothing for this long sends its INVITE again, seven times in all.
const REPEAT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Invite(u64),
    Ack,
    Bye,
}

/// How the core protects itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    None,
    Refusing,
    RefusingAndTelling,
}

/// A core that does one thing after another, and callers that call at random.
struct Model {
    rng: Rng,
    now: Instant,
    queue: VecDeque<(Instant, Kind)>,
    busy_until: Instant,
    coming: BTreeMap<(Instant, u64), Kind>,
    number: u64,
    admission: Admission,
    protection: Protection,
    throttle: Throttle,
    answered: BTreeMap<u64, bool>,
    set_up: u64,
    worst: Duration,
}

impl Model {
    fn new(seed: u64, protection: Protection) -> Self {
        Self {
            rng: Rng::new(seed),
            now: Instant::ZERO,
            queue: VecDeque::new(),
            busy_until: Instant::ZERO,
            coming: BTreeMap::new(),
            number: 0,
            admission: Admission::new(AdmissionConfig::default()),
            protection,
            throttle: Throttle::default(),
            answered: BTreeMap::new(),
            set_up: 0,
            worst: Duration::ZERO,
        }
    }

    fn peer() -> Destination {
        Destination {
            transport: Transport::Udp,
            address: "192.0.2.1:5060".parse().unwrap(),
        }
    }

    fn schedule(&mut self, at: Instant, kind: Kind) {
        self.number += 1;
        self.coming.insert((at, self.number), kind);
    }

    /// Runs for `seconds` at `load` times the capacity; gives the calls set up a second.
    fn run(&mut self, seconds: u64, load: f64) -> f64 {
        let end = self.now + Duration::from_secs(seconds);
        let before = self.set_up;
        let mut next_call = self.now;
        while self.now < end {
            let gap = -self.rng.next_f64().max(1e-12).ln() / (CAPACITY * load);
            next_call += Duration::from_secs_f64(gap);
            self.number += 1;
            let call = self.number;
            if self
                .throttle
                .allows(next_call, &Self::peer(), Precedence::Normal, &mut self.rng)
            {
                self.schedule(next_call, Kind::Invite(call));
            }
            self.work_until(next_call);
        }
        (self.set_up - before) as f64 / seconds as f64
    }

    fn work_until(&mut self, until: Instant) {
        loop {
            let arrival = self.coming.first_key_value().map(|(key, _)| key.0);
            let start = self.queue.front().map(|(at, _)| (*at).max(self.busy_until));
            match (arrival, start) {
                (Some(arrival), start)
                    if arrival <= until && start.is_none_or(|s| arrival <= s) =>
                {
                    self.now = arrival;
                    if let Some((_, kind)) = self.coming.pop_first() {
                        self.arrive(kind);
                    }
                }
                (_, Some(start)) if start <= until => {
                    self.now = start;
                    self.serve();
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, kind: Kind) {
        if let Kind::Invite(call) = kind {
            match self.answered.get(&call) {
                Some(true) => return,
                _ => {
                    self.answered.insert(call, false);
                    self.schedule(self.now + REPEAT, kind);
                }
            }
        }
        // The socket's buffer is not endless.
        if self.queue.len() < 20_000 {
            self.queue.push_back((self.now, kind));
        }
    }

    fn serve(&mut self) {
        let Some((at, kind)) = self.queue.pop_front() else {
            return;
        };
        let wait = self.now - at;
        self.worst = self.worst.max(wait);
        self.admission.handle_wait(self.now, wait);
        let cost = match kind {
            Kind::Ack | Kind::Bye => LATER,
            Kind::Invite(call) if self.answered.get(&call) == Some(&true) => REFUSAL,
            Kind::Invite(call) => {
                self.answered.insert(call, true);
                let guarded = self.protection != Protection::None;
                if guarded && !self.admission.admit(self.now, Precedence::Normal) {
                    REFUSAL
                } else {
                    // An answer that comes later than the caller waits is no call.
                    if wait < Duration::from_secs(2) {
                        self.set_up += 1;
                        let after = Duration::from_millis(50);
                        self.schedule(self.now + after, Kind::Ack);
                        self.schedule(self.now + after * 10, Kind::Bye);
                    }
                    SET_UP
                }
            }
        };
        self.busy_until = self.now + cost;
        if self.protection == Protection::RefusingAndTelling
            && let Some(told) = self.admission.feedback(self.now, WallTime::default())
        {
            self.throttle.handle_feedback(self.now, Self::peer(), told);
        }
    }
}

#[test]
fn goodput_stays_near_capacity_at_three_times_the_load() {
    for protection in [Protection::Refusing, Protection::RefusingAndTelling] {
        for seed in 1..=2 {
            let mut model = Model::new(seed, protection);
            let light = model.run(10, 0.7);
            assert!(
                (660.0..740.0).contains(&light),
                "seed {seed}: {light} at a light load"
            );
            assert_eq!(
                model.admission.counters().refused,
                0,
                "seed {seed}: refused at a light load"
            );
            model.run(5, 3.0);
            let heavy = model.run(20, 3.0);
            let share = heavy / CAPACITY;
            assert!(
                share >= 0.9,
                "seed {seed}, {protection:?}: {share:.3} of capacity"
            );
            // And it comes back.
            model.run(5, 0.7);
            let refused = model.admission.counters().refused;
            let light = model.run(10, 0.7);
            assert!(
                (660.0..740.0).contains(&light),
                "seed {seed}: {light} afterwards"
            );
            assert_eq!(model.admission.counters().refused, refused, "seed {seed}");
        }
    }
}

#[test]
fn without_protection_the_model_collapses() {
    let mut model = Model::new(1, Protection::None);
    model.run(10, 3.0);
    let share = model.run(20, 3.0) / CAPACITY;
    assert!(
        share < 0.6,
        "the model proves nothing: {share:.3} of capacity"
    );
}

#[test]
fn nothing_waits_long_at_three_times_the_load() {
    let mut model = Model::new(1, Protection::Refusing);
    model.run(5, 3.0);
    model.worst = Duration::ZERO;
    model.run(20, 3.0);
    let worst = model.worst;
    assert!(worst < Duration::from_millis(250), "waited {worst:?}");
}

#[test]
fn what_has_precedence_is_let_in_and_what_is_in_progress_always() {
    let mut admission = Admission::new(AdmissionConfig::default());
    let mut now = Instant::ZERO;
    for _ in 0..200 {
        now += Duration::from_millis(10);
        admission.handle_wait(now, Duration::from_millis(150));
    }
    assert!(!admission.admit(now, Precedence::Normal));
    assert!(admission.admit(now, Precedence::High));
    for _ in 0..200 {
        now += Duration::from_millis(10);
        admission.handle_wait(now, Duration::from_secs(1));
    }
    assert!(!admission.admit(now, Precedence::High));
    assert!(admission.admit(now, Precedence::InProgress));
    assert_eq!(admission.counters().refused_high, 1);
}

#[test]
fn late_ticks_of_media_are_load_too() {
    let mut admission = Admission::new(AdmissionConfig::default());
    let mut now = Instant::ZERO;
    for step in 1..=100_u64 {
        now += Duration::from_millis(20);
        admission.handle_ticks(now, step * 10, step);
    }
    assert!(admission.share() < 0.25, "{}", admission.share());
    for _ in 0..500 {
        now += Duration::from_millis(20);
        admission.handle_ticks(now, 1_000, 100);
    }
    assert!(!admission.is_overloaded(), "{}", admission.share());
}

/// A machine that stands still for `pause` once in a second, with `calls` messages in a second and one worker.
fn pausing(pause: Duration, calls: u64) -> Admission {
    let mut admission = Admission::new(AdmissionConfig::default());
    let mut now = Instant::ZERO + Duration::from_secs(1);
    let (mut ticks, mut late) = (50, 0);
    for _ in 0..20 {
        // What came during the pause is looked at after it, one in 200 us, and its ticks are made up for.
        let came = now;
        now += pause;
        let waiting = (calls as f64 * pause.as_secs_f64()).ceil() as u64;
        for number in 0..waiting {
            now += Duration::from_micros(200);
            let at = came + pause.mul_f64((number as f64 + 0.5) / waiting as f64);
            admission.handle_wait(now, now - at);
            assert!(admission.admit(now, Precedence::Normal), "{number} waited");
        }
        let missed = (pause.as_millis() / 20) as u64;
        (ticks, late) = (ticks + missed, late + missed);
        admission.handle_ticks(now, ticks, late);
        while now < came + Duration::from_secs(1) {
            now += Duration::from_millis(20);
            ticks += 1;
            admission.handle_ticks(now, ticks, late);
            assert!(admission.admit(now, Precedence::Normal), "after the pause");
        }
    }
    admission
}

#[test]
fn a_pause_of_the_machine_is_no_load() {
    for pause in [40, 120, 300, 450] {
        for calls in [1, 20, 500] {
            let admission = pausing(Duration::from_millis(pause), calls);
            let name = format!("{pause} ms, {calls} a second");
            assert_eq!(admission.counters().refused, 0, "{name}");
            assert!(!admission.is_overloaded(), "{name}: {}", admission.share());
        }
    }
}

#[test]
fn a_queue_that_a_pause_left_and_that_stays_is_load() {
    let mut admission = Admission::new(AdmissionConfig::default());
    let mut now = Instant::ZERO + Duration::from_secs(2);
    // As many come as are done: everybody waits for the second that was lost.
    for number in 0..400 {
        now += Duration::from_millis(1);
        admission.handle_wait(now, Duration::from_secs(1));
        let admitted = admission.admit(now, Precedence::Normal);
        assert!(number < 200 || !admitted, "let in at {number} ms");
    }
}
