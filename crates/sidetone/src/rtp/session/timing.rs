//! When RTCP is due: intervals, reconsideration and members (RFC 3550 §6.2, §6.3).

use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Compensation for timer reconsideration, e − 3/2 (RFC 3550 §6.3.1).
const COMPENSATION: f64 = 1.218_28;
/// Octets a second for all RTCP of the session: 5 % of 64 kbit/s (RFC 3550 §6.2).
const BANDWIDTH: f64 = 400.0;
/// Bytes of IP and UDP headers, which count as well (RFC 3550 §6.2).
const OVERHEAD: usize = 28;
/// The size of a compound packet before any was seen.
const FIRST_SIZE: f64 = 128.0;
/// Other members held; more of them count as so many. With one peer there is one.
const MAX_MEMBERS: usize = 16;
/// A member not heard for so many intervals is gone (RFC 3550 §6.3.5).
const MEMBER_INTERVALS: u32 = 5;

/// Another participant.
#[derive(Debug, Clone, Copy)]
struct Member {
    ssrc: u32,
    heard: Instant,
    sends: bool,
}

/// The timer of RTCP; names as in RFC 3550 §6.3.
#[derive(Debug)]
pub(super) struct Timing {
    rng: Rng,
    minimum: Duration,
    members: [Option<Member>; MAX_MEMBERS],
    /// Members, ourselves included, when the timer was set.
    members_before: usize,
    average_size: f64,
    initial: bool,
    last: Instant,
    due: Option<Instant>,
}

impl Timing {
    pub(super) fn new(now: Instant, minimum: Duration, rng: Rng) -> Self {
        let mut timing = Self {
            rng,
            minimum: bounded(minimum),
            members: [None; MAX_MEMBERS],
            members_before: 1,
            average_size: FIRST_SIZE,
            initial: true,
            last: now,
            due: None,
        };
        timing.due = Some(now + timing.draw(false));
        timing
    }

    /// Reports come at least so far apart from now on, on average; what is due sooner stays due.
    pub(super) fn set_minimum(&mut self, now: Instant, minimum: Duration) {
        let minimum = bounded(minimum);
        if self.minimum == minimum {
            return;
        }
        self.minimum = minimum;
        let sooner = now + self.draw(false);
        self.due = self.due.map(|due| due.min(sooner));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A goodbye is due at once; with fewer than 50 members nothing holds it back (§6.3.7).
    pub(super) fn leave(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// A member was heard.
    pub(super) fn heard(&mut self, now: Instant, ssrc: u32, sends: bool) {
        let known = self.members.iter_mut().flatten().find(|m| m.ssrc == ssrc);
        if let Some(member) = known {
            member.heard = now;
            member.sends = sends;
        } else if let Some(free) = self.members.iter_mut().find(|m| m.is_none()) {
            *free = Some(Member {
                ssrc,
                heard: now,
                sends,
            });
        }
    }

    /// A compound packet of the peer, or of ours, had `len` bytes (§6.3.3).
    pub(super) fn note_size(&mut self, len: usize) {
        let size = (len + OVERHEAD) as f64;
        self.average_size += (size - self.average_size) / 16.0;
    }

    /// A member has said goodbye: the next report comes sooner, in proportion (§6.3.4).
    pub(super) fn left(&mut self, now: Instant, ssrc: u32) {
        let before = self.members_before;
        if let Some(place) = self
            .members
            .iter_mut()
            .find(|m| m.is_some_and(|m| m.ssrc == ssrc))
        {
            *place = None;
        }
        let members = self.count();
        if members >= before {
            return;
        }
        let share = members as f64 / before as f64;
        if let Some(due) = &mut self.due {
            *due = now + due.saturating_duration_since(now).mul_f64(share);
        }
        let passed = now.saturating_duration_since(self.last).mul_f64(share);
        self.last = Instant::from_nanos(now.as_nanos().saturating_sub(passed.as_nanos() as u64));
        self.members_before = members;
    }

    /// Whether a report goes out `now`: the interval is drawn again when the timer runs out, and
    /// the timer set on where it now comes out longer (§6.3.6).
    pub(super) fn expires(&mut self, now: Instant, we_sent: bool) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.forget(now);
        let again = self.last + self.draw(we_sent);
        self.members_before = self.count();
        if again > now {
            self.due = Some(again);
            return false;
        }
        true
    }

    /// A report was sent.
    pub(super) fn sent(&mut self, now: Instant, we_sent: bool) {
        self.initial = false;
        self.last = now;
        self.due = Some(now + self.draw(we_sent));
    }

    /// Early feedback was sent: the next report comes one interval later (RFC 4585 §3.5.2).
    pub(super) fn postpone(&mut self) {
        if let Some(due) = &mut self.due {
            *due += due.saturating_duration_since(self.last);
        }
    }

    /// Nothing is ever due again.
    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    fn count(&self) -> usize {
        1 + self.members.iter().flatten().count()
    }

    fn forget(&mut self, now: Instant) {
        let patience = self.interval(false) * MEMBER_INTERVALS;
        for place in &mut self.members {
            place.take_if(|m| now.saturating_duration_since(m.heard) > patience);
        }
    }

    /// The deterministic interval (§6.3.1): the members' share of the bandwidth, where a quarter is
    /// kept for senders while they are few, and not below the minimum, half of it at first.
    fn interval(&self, we_sent: bool) -> Duration {
        let senders = self.members.iter().flatten().filter(|m| m.sends).count();
        let (members, senders) = (self.count(), senders + usize::from(we_sent));
        let (share, among) = match (senders * 4 <= members, we_sent) {
            (false, _) => (1.0, members),
            (true, true) => (0.25, senders),
            (true, false) => (0.75, members - senders),
        };
        let seconds = self.average_size * among as f64 / (BANDWIDTH * share);
        let minimum = if self.initial {
            self.minimum / 2
        } else {
            self.minimum
        };
        Duration::from_secs_f64(seconds).max(minimum)
    }

    fn draw(&mut self, we_sent: bool) -> Duration {
        let factor = (self.rng.next_f64() + 0.5) / COMPENSATION;
        self.interval(we_sent).mul_f64(factor)
    }
}

fn bounded(minimum: Duration) -> Duration {
    minimum.clamp(Duration::from_millis(500), Duration::from_secs(120))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn timing(seed: u64) -> Timing {
        Timing::new(Instant::ZERO, Duration::from_secs(5), Rng::new(seed))
    }

    /// When reports go out in so many seconds.
    fn run(timing: &mut Timing, seconds: u64, mut each: impl FnMut(&mut Timing, u64)) -> Vec<u64> {
        let mut sent = Vec::new();
        for ms in 0..seconds * 1_000 {
            each(timing, ms);
            if timing.expires(at(ms), true) {
                timing.sent(at(ms), true);
                sent.push(ms);
            }
        }
        sent
    }

    #[test]
    fn two_parties_report_every_five_seconds_on_average() {
        for seed in 0..5 {
            let mut timing = timing(seed);
            let sent = run(&mut timing, 3_600, |t, ms| {
                if ms % 5_000 == 0 {
                    t.heard(at(ms), 7, true);
                }
            });
            assert!((1_000..3_100).contains(&sent[0]), "first at {}", sent[0]);
            for pair in sent.windows(2) {
                assert!((2_000..6_300).contains(&(pair[1] - pair[0])));
            }
            let mean = (sent[sent.len() - 1] - sent[0]) / (sent.len() as u64 - 1);
            assert!((4_600..5_400).contains(&mean), "{mean} ms on average");
        }
    }

    #[test]
    fn a_crowd_shares_the_bandwidth_and_is_bounded() {
        let mut timing = timing(1);
        for ssrc in 0..1_000 {
            timing.heard(at(0), ssrc, true);
            timing.note_size(1_000);
        }
        assert_eq!(timing.count(), 1 + MAX_MEMBERS);
        let interval = timing.interval(true).as_secs_f64();
        assert!(
            (interval - 17.0 * 1_028.0 / 400.0).abs() < 0.1,
            "{interval}"
        );
        // Few senders among many keep a quarter for themselves.
        for member in timing.members.iter_mut().flatten() {
            member.sends = false;
        }
        let alone = timing.interval(true).as_secs_f64();
        assert!((alone - 1_028.0 / 100.0).abs() < 0.1, "{alone}");
    }

    #[test]
    fn a_goodbye_brings_the_next_report_forward() {
        let mut timing = timing(1);
        for ssrc in 0..9 {
            timing.heard(at(0), ssrc, false);
        }
        timing.members_before = timing.count();
        timing.due = Some(at(10_000));
        for ssrc in 0..8 {
            timing.left(at(5_000), ssrc);
        }
        // Two of ten are left: a fifth of the time remains.
        let due = timing.due.unwrap().as_nanos() / 1_000_000;
        assert!((5_990..=6_000).contains(&due), "{due}");
        timing.left(at(5_000), 99);
        assert_eq!(timing.due.unwrap().as_nanos() / 1_000_000, due);
    }

    #[test]
    fn silent_members_are_forgotten() {
        let mut timing = timing(1);
        timing.heard(at(0), 7, true);
        run(&mut timing, 60, |_, _| {});
        assert_eq!(timing.count(), 1);
    }
}
