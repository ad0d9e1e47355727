//! Whether peers are alive: when each is asked, what its answers mean, and when it counts as up or
//! down. The asking is by OPTIONS (RFC 3261 §11), and not done here.

use std::collections::{BTreeMap, VecDeque};

use crate::rng::Rng;
use crate::sip::status::StatusCode;
use crate::sip::transaction::queue::DeadlineQueue;
use crate::time::{Duration, Instant};

/// The longest Retry-After of a peer that is followed.
const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The shortest time between two questions to one peer.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// One peer that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// Which final responses show that a peer is alive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Alive {
    /// All but 408, 502, 503 and 504, which say that somebody on the way has lost it, or that it
    /// takes nothing. A peer that answers 404 or 405 to OPTIONS is alive. The default.
    #[default]
    AnyAnswer,
    /// A 2xx only.
    Success,
    /// Only these codes.
    Codes(Vec<u16>),
}

impl Alive {
    fn counts(&self, status: StatusCode) -> bool {
        match self {
            Self::AnyAnswer => !matches!(status.code(), 408 | 502..=504),
            Self::Success => status.is_success(),
            Self::Codes(codes) => codes.contains(&status.code()),
        }
    }
}

/// How a peer is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinging {
    /// From one question to the next while the peer is up; 30 s, at least 0.5 s. Each is drawn anew
    /// between 90 and 110 % of it, so that many peers are not asked at once.
    pub interval: Duration,
    /// The same while it is not up; 10 s.
    pub retry: Duration,
    /// How long an answer may take; 4 s. A later one no longer counts.
    pub timeout: Duration,
    /// Failures in a row until a peer counts as down; 2. A 503 says so itself, and the first is
    /// enough.
    pub failures: u8,
    /// Answers in a row until a peer that was down counts as up; 1.
    pub successes: u8,
    /// Which answers count.
    pub alive: Alive,
}

impl Default for Pinging {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            retry: Duration::from_secs(10),
            timeout: Duration::from_secs(4),
            failures: 2,
            successes: 1,
            alive: Alive::default(),
        }
    }
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A final response.
    Answered {
        /// Its status.
        status: StatusCode,
        /// Its Retry-After, in seconds.
        retry_after: Option<u32>,
    },
    /// No answer in time.
    Silent,
    /// It could not be sent: no address, or no connection.
    Unreachable,
    /// Our own tables were full, which says nothing about the peer.
    NotAsked,
}

/// Why a peer counts as down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It gave no answer in time.
    Silent,
    /// Nothing could be sent to it: no address, or no connection.
    Unreachable,
    /// It answered with a status that does not count.
    Answered(StatusCode),
    /// It answered 503: it is there, and takes nothing now.
    Busy,
}

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Health {
    /// It has not been asked often enough to tell.
    #[default]
    Unknown,
    /// It is alive.
    Up,
    /// It is not, or takes nothing.
    Down(Trouble),
}

impl Health {
    /// Whether requests to the peer make sense: it is up, or nobody knows better yet.
    pub fn is_usable(self) -> bool {
        !matches!(self, Self::Down(_))
    }
}

/// A peer stands differently now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which peer.
    pub watch: WatchId,
    /// How it stands.
    pub health: Health,
    /// How long its last answer took, name look-up and sign-in included; `None` where there was none.
    pub round_trip: Option<Duration>,
}

#[derive(Debug)]
struct Peer {
    pinging: Pinging,
    health: Health,
    /// The question that waits for its answer: its number, and when it went out.
    asked: Option<(u64, Instant)>,
    due: Instant,
    failures: u8,
    successes: u8,
}

/// Watches any number of peers.
///
/// After each input poll [`poll_ping`](Self::poll_ping) and [`poll_event`](Self::poll_event) until
/// both say `None`, and call [`handle_timeout`](Self::handle_timeout) when the moment of
/// [`poll_timeout`](Self::poll_timeout) has come. The same inputs with the same generator give the
/// same outputs.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone::sip::health::{Health, Monitor, Outcome, Pinging, WatchId};
/// use sidetone::sip::status::StatusCode;
/// use sidetone::time::Instant;
///
/// let mut monitor = Monitor::new(Rng::new(1));
/// let trunk = WatchId(7);
/// monitor.add(Instant::ZERO, trunk, Pinging::default());
/// let (watch, number) = monitor.poll_ping().unwrap();
/// assert_eq!(watch, trunk);
/// let answer = Outcome::Answered { status: StatusCode::OK, retry_after: None };
/// monitor.handle_outcome(Instant::ZERO, trunk, number, answer);
/// assert_eq!(monitor.poll_event().unwrap().health, Health::Up);
/// ```
pub struct Monitor {
    rng: Rng,
    peers: BTreeMap<WatchId, Peer>,
    deadlines: DeadlineQueue<WatchId>,
    pings: VecDeque<(WatchId, u64)>,
    events: VecDeque<Change>,
    last: u64,
}

impl Monitor {
    /// One that watches nobody yet; `rng` spreads the questions.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            peers: BTreeMap::new(),
            deadlines: DeadlineQueue::default(),
            pings: VecDeque::new(),
            events: VecDeque::new(),
            last: 0,
        }
    }

    /// Peers that are watched.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nobody is watched.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// How a peer stands; `Unknown` also for one that is not watched.
    pub fn health(&self, watch: WatchId) -> Health {
        self.peers
            .get(&watch)
            .map_or(Health::Unknown, |peer| peer.health)
    }

    /// Watches a peer from now on; it is asked at once.
    pub fn add(&mut self, now: Instant, watch: WatchId, pinging: Pinging) {
        let peer = Peer {
            pinging,
            health: Health::Unknown,
            asked: None,
            due: now,
            failures: 0,
            successes: 0,
        };
        self.peers.insert(watch, peer);
        self.ask(now, watch);
    }

    /// Watches a peer no more; nothing more is told of it.
    pub fn remove(&mut self, watch: WatchId) {
        self.peers.remove(&watch);
        self.pings.retain(|(of, _)| *of != watch);
        self.events.retain(|change| change.watch != watch);
    }

    /// Takes in what became of question `number` to a peer. One that is too late changes nothing.
    pub fn handle_outcome(&mut self, now: Instant, watch: WatchId, number: u64, outcome: Outcome) {
        let Some(peer) = self.peers.get_mut(&watch) else {
            return;
        };
        let Some((_, sent)) = peer.asked.take_if(|(asked, _)| *asked == number) else {
            return;
        };
        if outcome == Outcome::NotAsked {
            return self.wait(now, watch, None);
        }
        let trouble = peer.trouble_of(outcome);
        let round_trip = match outcome {
            Outcome::Answered { .. } => Some(now - sent),
            _ => None,
        };
        let before = peer.health;
        peer.judge(trouble);
        let health = peer.health;
        if health != before {
            self.events.push_back(Change {
                watch,
                health,
                round_trip,
            });
        }
        let wanted = match outcome {
            Outcome::Answered { retry_after, .. } if trouble.is_some() => retry_after,
            _ => None,
        };
        self.wait(now, watch, wanted);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, watch)) = self.deadlines.peek().filter(|(at, _)| *at <= now) {
            self.deadlines.pop();
            let Some(peer) = self.peers.get(&watch).filter(|peer| peer.due == at) else {
                continue;
            };
            match peer.asked {
                Some((number, _)) => self.handle_outcome(now, watch, number, Outcome::Silent),
                None => self.ask(now, watch),
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        loop {
            let (at, watch) = self.deadlines.peek()?;
            if self.peers.get(&watch).is_some_and(|peer| peer.due == at) {
                return Some(at);
            }
            self.deadlines.pop();
        }
    }

    /// The next peer to ask, and the number of the question.
    pub fn poll_ping(&mut self) -> Option<(WatchId, u64)> {
        self.pings.pop_front()
    }

    /// The next change.
    pub fn poll_event(&mut self) -> Option<Change> {
        self.events.pop_front()
    }

    fn ask(&mut self, now: Instant, watch: WatchId) {
        self.last += 1;
        let number = self.last;
        let Some(peer) = self.peers.get_mut(&watch) else {
            return;
        };
        peer.asked = Some((number, now));
        let timeout = peer.pinging.timeout;
        self.pings.push_back((watch, number));
        self.wake(watch, now + timeout);
    }

    /// Waits until the peer is to be asked again, and as long as it wants itself.
    fn wait(&mut self, now: Instant, watch: WatchId, wanted: Option<u32>) {
        let part = 0.9 + 0.2 * self.rng.next_f64();
        let Some(peer) = self.peers.get(&watch) else {
            return;
        };
        let pause = match peer.health {
            Health::Up if peer.failures == 0 => peer.pinging.interval,
            _ => peer.pinging.retry,
        };
        let pause = pause.max(MIN_INTERVAL).mul_f64(part);
        let wanted = Duration::from_secs(u64::from(wanted.unwrap_or_default()));
        self.wake(watch, now + pause.max(wanted.min(MAX_PAUSE)));
    }

    fn wake(&mut self, watch: WatchId, at: Instant) {
        let Some(peer) = self.peers.get_mut(&watch) else {
            return;
        };
        peer.due = at;
        self.deadlines.push(at, watch);
        let peers = &self.peers;
        self.deadlines.compact(peers.len(), |at, watch| {
            peers.get(&watch).is_some_and(|peer| peer.due == at)
        });
    }
}

impl Peer {
    fn trouble_of(&self, outcome: Outcome) -> Option<Trouble> {
        match outcome {
            Outcome::NotAsked => None,
            Outcome::Silent => Some(Trouble::Silent),
            Outcome::Unreachable => Some(Trouble::Unreachable),
            Outcome::Answered { status, .. } if self.pinging.alive.counts(status) => None,
            Outcome::Answered { status, .. } if status == StatusCode::SERVICE_UNAVAILABLE => {
                Some(Trouble::Busy)
            }
            Outcome::Answered { status, .. } => Some(Trouble::Answered(status)),
        }
    }

    /// Counts one more answer or failure, and says what the peer is by that.
    fn judge(&mut self, trouble: Option<Trouble>) {
        let Some(trouble) = trouble else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            let enough = match self.health {
                Health::Down(_) => self.successes >= self.pinging.successes,
                Health::Unknown | Health::Up => true,
            };
            if enough {
                self.health = Health::Up;
            }
            return;
        };
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let enough = match self.health {
            Health::Down(_) => true,
            Health::Unknown | Health::Up => {
                trouble == Trouble::Busy || self.failures >= self.pinging.failures
            }
        };
        if enough {
            self.health = Health::Down(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PEER: WatchId = WatchId(1);

    fn answered(code: u16) -> Outcome {
        let status = StatusCode::new(code).unwrap();
        let retry_after = None;
        Outcome::Answered {
            status,
            retry_after,
        }
    }

    /// Runs for `time`; each question has the outcome that `of` says for its moment, after a second.
    fn run(
        monitor: &mut Monitor,
        now: &mut Instant,
        time: Duration,
        of: impl Fn(Instant) -> Option<Outcome>,
    ) -> (Vec<Instant>, Vec<(Instant, Health)>) {
        let end = *now + time;
        let (mut asked, mut changes) = (Vec::new(), Vec::new());
        let mut answers: Vec<(Instant, u64, Outcome)> = Vec::new();
        loop {
            while let Some((watch, number)) = monitor.poll_ping() {
                assert_eq!(watch, PEER);
                asked.push(*now);
                answers.extend(of(*now).map(|outcome| (*now + SECOND, number, outcome)));
            }
            while let Some(change) = monitor.poll_event() {
                changes.push((*now, change.health));
            }
            let answer = answers.iter().map(|(at, ..)| *at).min();
            let next = monitor.poll_timeout().into_iter().chain(answer).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                *now = end;
                return (asked, changes);
            };
            *now = next;
            if let Some(index) = answers.iter().position(|(at, ..)| *at <= next) {
                let (_, number, outcome) = answers.remove(index);
                monitor.handle_outcome(next, PEER, number, outcome);
            }
            monitor.handle_timeout(next);
        }
    }

    fn monitor(pinging: Pinging) -> Monitor {
        let mut monitor = Monitor::new(Rng::new(4));
        monitor.add(Instant::ZERO, PEER, pinging);
        monitor
    }

    #[test]
    fn a_peer_is_asked_steadily_and_not_in_step() {
        let mut monitor = monitor(Pinging::default());
        let mut now = Instant::ZERO;
        let (asked, changes) = run(&mut monitor, &mut now, 3600 * SECOND, |_| {
            Some(answered(200))
        });
        assert_eq!(changes, [(Instant::ZERO + SECOND, Health::Up)]);
        // Each 27 to 33 s, and the second that the answer takes.
        assert!((105..=130).contains(&asked.len()), "{}", asked.len());
        let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|p| (28..=34).contains(&p.as_secs())));
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn two_failures_make_it_down_and_one_answer_up() {
        let mut monitor = monitor(Pinging::default());
        let mut now = Instant::ZERO;
        let dead = Instant::ZERO + 100 * SECOND..Instant::ZERO + 300 * SECOND;
        let (asked, changes) = run(&mut monitor, &mut now, 600 * SECOND, |at| {
            (!dead.contains(&at)).then(|| answered(200))
        });
        let states: Vec<_> = changes.iter().map(|(_, health)| *health).collect();
        let down = Health::Down(Trouble::Silent);
        assert_eq!(states, [Health::Up, down, Health::Up]);
        // The first failure is looked into sooner than the interval.
        let (down_at, up_at) = (changes[1].0, changes[2].0);
        assert!(down_at - dead.start < 54 * SECOND, "{down_at:?}");
        assert!(up_at - dead.end < 17 * SECOND, "{up_at:?}");
        assert!(asked.len() > 20);
    }

    #[test]
    fn a_single_loss_is_no_trouble() {
        let mut monitor = monitor(Pinging::default());
        let mut now = Instant::ZERO;
        let lost = Instant::ZERO + 10 * SECOND..Instant::ZERO + 40 * SECOND;
        let (_, changes) = run(&mut monitor, &mut now, 300 * SECOND, |at| {
            (!lost.contains(&at)).then(|| answered(200))
        });
        assert_eq!(changes.len(), 1, "{changes:?}");
    }

    #[test]
    fn a_busy_peer_is_down_at_once_and_left_alone_as_long_as_it_wants() {
        let mut monitor = monitor(Pinging::default());
        let (_, number) = monitor.poll_ping().unwrap();
        let outcome = Outcome::Answered {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(120),
        };
        monitor.handle_outcome(Instant::ZERO, PEER, number, outcome);
        let change = monitor.poll_event().unwrap();
        assert_eq!(change.health, Health::Down(Trouble::Busy));
        assert!(!monitor.health(PEER).is_usable());
        let due = monitor.poll_timeout().unwrap();
        assert_eq!(due, Instant::ZERO + 120 * SECOND);
        // Not for ever, whatever it says.
        monitor.handle_timeout(due);
        let (_, number) = monitor.poll_ping().unwrap();
        let outcome = Outcome::Answered {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(u32::MAX),
        };
        monitor.handle_outcome(due, PEER, number, outcome);
        assert_eq!(monitor.poll_timeout(), Some(due + MAX_PAUSE));
    }

    #[test]
    fn what_counts_is_configurable() {
        let cases = [
            (Alive::AnyAnswer, 404, true),
            (Alive::AnyAnswer, 408, false),
            (Alive::AnyAnswer, 504, false),
            (Alive::Success, 404, false),
            (Alive::Success, 202, true),
            (Alive::Codes(vec![483]), 483, true),
            (Alive::Codes(vec![483]), 200, false),
        ];
        for (alive, code, up) in cases {
            let mut monitor = monitor(Pinging {
                alive: alive.clone(),
                failures: 1,
                ..Pinging::default()
            });
            let (_, number) = monitor.poll_ping().unwrap();
            monitor.handle_outcome(Instant::ZERO, PEER, number, answered(code));
            assert_eq!(monitor.health(PEER) == Health::Up, up, "{alive:?} {code}");
        }
    }

    #[test]
    fn late_and_foreign_outcomes_change_nothing() {
        let mut monitor = monitor(Pinging::default());
        let (_, number) = monitor.poll_ping().unwrap();
        monitor.handle_outcome(Instant::ZERO, WatchId(9), number, answered(200));
        monitor.handle_outcome(Instant::ZERO, PEER, number + 7, answered(200));
        assert_eq!(monitor.health(PEER), Health::Unknown);
        let late = monitor.poll_timeout().unwrap();
        monitor.handle_timeout(late);
        monitor.handle_outcome(late, PEER, number, answered(200));
        assert_eq!(monitor.health(PEER), Health::Unknown);
        monitor.remove(PEER);
        assert_eq!(monitor.poll_timeout(), None);
        assert!(monitor.poll_event().is_none() && monitor.is_empty());
    }

    #[test]
    fn ups_can_be_asked_for_in_a_row() {
        let mut monitor = monitor(Pinging {
            failures: 1,
            successes: 3,
            ..Pinging::default()
        });
        let mut now = Instant::ZERO;
        let start = Instant::ZERO + 5 * SECOND;
        let (asked, changes) = run(&mut monitor, &mut now, 120 * SECOND, |at| {
            (at >= start).then(|| answered(200))
        });
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert_eq!(changes[1], (asked[3] + SECOND, Health::Up));
    }
}
