//! Watching for media that starts, stops and comes back.

use crate::time::{Duration, Instant};

/// Times the silence of a peer, while it is expected to be heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Silence {
    /// The last accepted packet, or when listening began; `None` while nobody listens.
    since: Option<Instant>,
    started: bool,
    /// How often this silence has been told.
    reported: u32,
}

impl Silence {
    /// Time counts from `now`, unless it counts already.
    pub(super) fn listen(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Time no longer counts.
    pub(super) fn stop_listening(&mut self) {
        self.since = None;
        self.reported = 0;
    }

    /// Whether anything was ever accepted.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// Takes note of an accepted packet; true where media starts or comes back with it.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.since = Some(now);
        let news = !self.started || self.reported > 0;
        self.started = true;
        self.reported = 0;
        news
    }

    /// The length of the silence when it has reached `limit`, and again after each further `limit`:
    /// what is told may be lost on the way.
    pub(super) fn check(&mut self, now: Instant, limit: Option<Duration>) -> Option<Duration> {
        let silent_for = now.saturating_duration_since(self.since?);
        if silent_for < limit?.saturating_mul(self.reported.saturating_add(1)) {
            return None;
        }
        self.reported = self.reported.saturating_add(1);
        Some(silent_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn silence_is_told_after_each_period_and_armed_again_by_media() {
        let limit = Some(Duration::from_millis(100));
        let mut silence = Silence::default();
        assert_eq!(silence.check(at(1_000), limit), None);
        silence.listen(at(1_000));
        silence.listen(at(1_050));
        assert_eq!(silence.check(at(1_099), limit), None);
        assert_eq!(silence.check(at(1_100), limit), limit);
        assert_eq!(silence.check(at(1_199), limit), None);
        assert_eq!(
            silence.check(at(1_200), limit),
            Some(Duration::from_millis(200))
        );
        assert!(silence.heard(at(1_300)));
        assert!(!silence.heard(at(1_320)));
        assert_eq!(
            silence.check(at(1_421), limit),
            Some(Duration::from_millis(101))
        );
    }

    #[test]
    fn a_pause_in_listening_starts_the_time_anew() {
        let limit = Some(Duration::from_millis(100));
        let mut silence = Silence::default();
        silence.listen(at(0));
        silence.stop_listening();
        assert_eq!(silence.check(at(500), limit), None);
        silence.listen(at(500));
        assert_eq!(silence.check(at(599), limit), None);
        assert_eq!(silence.check(at(600), limit), limit);
        assert_eq!(silence.check(at(9_000), None), None);
    }
}
