//! What a tap gives, heard again while it is said: the sound of a party for somebody elsewhere.

use crate::media::frame::SampleRate;
use crate::media::recorder::{Content, Feed};
use crate::time::Duration;

/// How much later it is heard. What comes late in the network, or is taken out of order, is there by then.
pub const DELAY: Duration = Duration::from_millis(400);

/// By how much the two threads' ticks may differ before the listener is put right.
const SLACK: Duration = Duration::from_millis(100);

/// How much is kept: the delay, what is early, and room for a pause of the listener's thread.
const KEPT: Duration = Duration::from_secs(1);

/// A party's sound as it comes, [`DELAY`] late, silence where nothing was said.
///
/// It goes by the positions of the tap's clock: two that are tapped from the same moment on are heard in step,
/// whatever jitter each party's network has. Nothing allocates after construction.
#[derive(Debug)]
pub struct Live {
    feed: Feed,
    /// The sample of position `n` is at `n` modulo the length; silence where nothing has come.
    ring: Box<[i16]>,
    /// The position that is heard next; below zero while the delay has not passed yet.
    next: Option<i64>,
}

impl Live {
    /// What is heard of `feed`.
    pub fn new(feed: Feed) -> Self {
        let length = feed.rate().samples_in(KEPT) as usize;
        Self {
            feed,
            ring: vec![0; length].into_boxed_slice(),
            next: None,
        }
    }

    /// The rate of the sound.
    pub fn rate(&self) -> SampleRate {
        self.feed.rate()
    }

    /// Fills `out` with what comes next.
    pub fn fill(&mut self, out: &mut [i16]) {
        let wanted = self.wanted();
        let slack = self.rate().samples_in(SLACK);
        let next = match self.next {
            Some(next) if next.abs_diff(wanted) <= slack => next,
            _ => {
                self.ring.fill(0);
                wanted
            }
        };
        self.take(next);
        for (position, sample) in (next..).zip(out.iter_mut()) {
            *sample = self.place(position).map_or(0, std::mem::take);
        }
        self.next = Some(next + out.len() as i64);
    }

    /// Where a listener should be by the clock of who is tapped.
    fn wanted(&self) -> i64 {
        let delay = self.rate().samples_in(DELAY);
        self.feed.end() as i64 - delay as i64
    }

    /// Where the sample of a position is; `None` before the first one.
    fn place(&mut self, position: i64) -> Option<&mut i16> {
        let position = u64::try_from(position).ok()?;
        let place = position % self.ring.len() as u64;
        self.ring.get_mut(place as usize)
    }

    /// Takes what has come. What is too late or far too early is left out.
    fn take(&mut self, next: i64) {
        let kept = next..next + self.ring.len() as i64;
        while let Some(block) = self.feed.pop() {
            let (Content::Sound(samples) | Content::Covered(samples)) = &block.content else {
                continue;
            };
            let samples = samples.iter().take(usize::from(block.len));
            for (position, sample) in (block.position as i64..).zip(samples) {
                if kept.contains(&position)
                    && let Some(place) = self.place(position)
                {
                    *place = *sample;
                }
            }
        }
        // Nobody reads the notes of a party that is not written down.
        while self.feed.pop_note().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::Frame;
    use crate::media::recorder::track::Track;
    use crate::media::recorder::{Tap, TapPlan};

    const RATE: SampleRate = SampleRate::HZ_8000;

    /// A tap and who listens to it, tick by tick; what is said counts upwards from one.
    struct Bench {
        tap: Tap,
        live: Live,
        said: i16,
        at: i64,
    }

    impl Bench {
        fn new() -> Self {
            let (tap, feed) = TapPlan::new(RATE).make();
            let live = Live::new(feed);
            Self {
                tap,
                live,
                said: 0,
                at: 0,
            }
        }

        fn frame(&mut self) -> Frame {
            let mut samples = [0; 160];
            for sample in &mut samples {
                self.said += 1;
                *sample = self.said;
            }
            Frame::from_samples(RATE, &samples)
        }

        fn say(&mut self, position: i64) {
            let frame = self.frame();
            assert!(self.tap.push(Track::Caller, position, &frame));
        }

        fn tick(&mut self) {
            self.at += 160;
            self.tap.extend_to(self.at as u64);
        }

        fn hear(&mut self) -> Vec<i16> {
            let mut out = [7; 160];
            self.live.fill(&mut out);
            out.to_vec()
        }
    }

    #[test]
    fn what_is_said_is_heard_whole_and_late() {
        let mut bench = Bench::new();
        let mut heard = Vec::new();
        for _ in 0..100 {
            let at = bench.at;
            bench.say(at);
            bench.tick();
            heard.extend(bench.hear());
        }
        let first = heard.iter().position(|&sample| sample == 1).expect("heard");
        assert!((2_880..=3_200).contains(&first), "{first}");
        assert!(
            heard[first..]
                .iter()
                .zip(1..)
                .all(|(&sample, n)| sample == n)
        );
    }

    #[test]
    fn late_frames_find_their_place_and_gaps_are_silent() {
        let mut bench = Bench::new();
        let mut heard = Vec::new();
        for tick in 0..60 {
            let at = bench.at;
            // The frame of the tenth tick comes 200 ms late, that of the twentieth never.
            match tick {
                10 | 20 => {}
                _ => bench.say(at),
            }
            if tick == 20 {
                bench.say(10 * 160);
            }
            bench.tick();
            heard.extend(bench.hear());
        }
        let silent = heard
            .chunks(160)
            .skip(25)
            .filter(|frame| frame.iter().all(|&s| s == 0));
        assert_eq!(silent.count(), 1);
    }

    #[test]
    fn a_listener_that_paused_is_put_right_and_one_without_a_source_hears_nothing() {
        let mut bench = Bench::new();
        for _ in 0..50 {
            let at = bench.at;
            bench.say(at);
            bench.tick();
            bench.hear();
        }
        // The listener's thread stands still for 300 ms.
        for _ in 0..15 {
            let at = bench.at;
            bench.say(at);
            bench.tick();
        }
        bench.hear();
        assert_eq!(bench.live.next, Some(bench.at - 3_200 + 160));
        drop(bench.tap);
        for _ in 0..100 {
            let mut out = [7; 160];
            bench.live.fill(&mut out);
        }
        let mut out = [7; 160];
        bench.live.fill(&mut out);
        assert!(out.iter().all(|&sample| sample == 0));
    }
}
