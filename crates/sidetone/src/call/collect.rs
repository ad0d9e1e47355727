//! Digit collection: how many digits, until when, and whether a prompt may be interrupted.

use crate::media::dtmf::Digit;
use crate::time::{Duration, Instant};

/// A key that is held longer than this may be taken for one whose release was lost.
const LONGEST_PRESS: Duration = Duration::from_secs(10);

/// What to collect and when to stop waiting.
///
/// ```
/// use sidetone::call::collect::Collect;
/// use std::time::Duration;
/// let pin = Collect::digits(4).terminated_by('#').first_digit_within(Duration::from_secs(8));
/// assert_eq!(pin.max_digits(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    max_digits: usize,
    terminators: Vec<char>,
    first_digit: Duration,
    inter_digit: Duration,
    barge_in: bool,
    by_speech: bool,
    type_ahead: bool,
}

impl Collect {
    /// The most digits that one collection can take.
    pub const MAX_DIGITS: usize = 64;

    /// Collects at most `max` digits (1 to [`Self::MAX_DIGITS`], clamped), with no terminator,
    /// 5 s for the first digit, 3 s between digits, barge-in and type-ahead allowed.
    pub fn digits(max: usize) -> Self {
        Self {
            max_digits: max.clamp(1, Self::MAX_DIGITS),
            terminators: Vec::new(),
            first_digit: Duration::from_secs(5),
            inter_digit: Duration::from_secs(3),
            barge_in: true,
            by_speech: false,
            type_ahead: true,
        }
    }

    /// Also ends at `digit` (one of `0-9*#A-D`), which is not part of the result. May be called
    /// several times.
    #[must_use]
    pub fn terminated_by(mut self, digit: char) -> Self {
        self.terminators.push(digit.to_ascii_uppercase());
        self
    }

    /// How long to wait for the first digit, from the end of the prompt or, where there is none,
    /// from the start. Default 5 s.
    #[must_use]
    pub fn first_digit_within(mut self, timeout: Duration) -> Self {
        self.first_digit = timeout;
        self
    }

    /// How long to wait for each further key to go down, from the release of the one before it.
    /// Default 3 s.
    #[must_use]
    pub fn next_digit_within(mut self, timeout: Duration) -> Self {
        self.inter_digit = timeout;
        self
    }

    /// Whether a key stops the prompt (default). Without barge-in, keys pressed before the end of
    /// the prompt are discarded, those typed ahead included.
    #[must_use]
    pub fn barge_in(mut self, allowed: bool) -> Self {
        self.barge_in = allowed;
        self
    }

    /// Whether speech stops the prompt too (default not): the caller is heard out, while digits are
    /// still what is collected. Only with [`Self::barge_in`].
    #[must_use]
    pub fn barge_in_by_speech(mut self, allowed: bool) -> Self {
        self.by_speech = allowed;
        self
    }

    /// Whether keys pressed before the collection began count (default) or are forgotten.
    #[must_use]
    pub fn type_ahead(mut self, allowed: bool) -> Self {
        self.type_ahead = allowed;
        self
    }

    /// The most digits that this collection takes.
    pub fn max_digits(&self) -> usize {
        self.max_digits
    }

    /// Whether a key stops the prompt.
    pub fn allows_barge_in(&self) -> bool {
        self.barge_in
    }

    /// Whether speech stops the prompt.
    pub fn allows_barge_in_by_speech(&self) -> bool {
        self.barge_in && self.by_speech
    }

    /// Whether keys pressed before the collection began count.
    pub fn uses_type_ahead(&self) -> bool {
        self.type_ahead
    }
}

/// Why a collection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectEnd {
    /// The wanted number of digits was pressed.
    Complete,
    /// A terminator was pressed.
    Terminator(char),
    /// No digit came in time.
    NoInput,
    /// The next digit did not come in time.
    InterDigitTimeout,
}

/// What the caller pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The digits, without a terminator; empty where nothing was pressed.
    pub digits: String,
    /// Why the collection ended.
    pub end: CollectEnd,
}

/// What the owner of a [`Collector`] must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on feeding it.
    Continue,
    /// Stop the prompt: the caller barged in.
    StopPrompt,
    /// The collection is over.
    Done(Collected),
}

/// The collecting machine of one call.
#[derive(Debug)]
pub(crate) struct Collector {
    options: Collect,
    digits: String,
    prompting: bool,
    deadline: Option<Instant>,
}

impl Collector {
    /// Starts collecting; while `prompting`, the first-digit timer does not run.
    pub(crate) fn new(now: Instant, options: Collect, prompting: bool) -> Self {
        let deadline = (!prompting).then(|| now + options.first_digit);
        Self {
            options,
            digits: String::new(),
            prompting,
            deadline,
        }
    }

    /// A key went down.
    pub(crate) fn handle_key_down(&mut self, now: Instant, digit: Digit) -> Step {
        let ignored = self.prompting && !self.options.barge_in;
        if ignored || digit == Digit::FLASH {
            return Step::Continue;
        }
        // The key's release sets the next deadline. This one is for a release that is never told.
        self.deadline = Some(now + LONGEST_PRESS.max(self.options.first_digit));
        match std::mem::take(&mut self.prompting) {
            true => Step::StopPrompt,
            false => Step::Continue,
        }
    }

    /// A key was released, so its digit counts.
    pub(crate) fn handle_digit(&mut self, now: Instant, digit: Digit) -> Step {
        let ignored = self.prompting && !self.options.barge_in;
        // The hook flash is no digit that anyone collects.
        if ignored || digit == Digit::FLASH {
            return Step::Continue;
        }
        self.prompting = false;
        let digit = digit.to_char();
        if self.options.terminators.contains(&digit) {
            return self.finish(CollectEnd::Terminator(digit));
        }
        self.digits.push(digit);
        if self.digits.len() >= self.options.max_digits {
            return self.finish(CollectEnd::Complete);
        }
        self.deadline = Some(now + self.options.inter_digit);
        Step::Continue
    }

    /// The caller began to speak.
    pub(crate) fn handle_speech(&mut self, now: Instant) -> Step {
        if !self.options.allows_barge_in_by_speech() || !std::mem::take(&mut self.prompting) {
            return Step::Continue;
        }
        self.deadline = Some(now + self.options.first_digit);
        Step::StopPrompt
    }

    /// The prompt has been heard to its end.
    pub(crate) fn handle_prompt_ended(&mut self, now: Instant) {
        if std::mem::take(&mut self.prompting) {
            self.deadline = Some(now + self.options.first_digit);
        }
    }

    /// Ends the collection where its deadline has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Step {
        match self.deadline {
            Some(deadline) if now >= deadline && self.digits.is_empty() => {
                self.finish(CollectEnd::NoInput)
            }
            Some(deadline) if now >= deadline => self.finish(CollectEnd::InterDigitTimeout),
            _ => Step::Continue,
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn finish(&mut self, end: CollectEnd) -> Step {
        self.deadline = None;
        Step::Done(Collected {
            digits: std::mem::take(&mut self.digits),
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn digit(c: char) -> Digit {
        Digit::from_char(c).expect("a DTMF digit")
    }

    fn done(digits: &str, end: CollectEnd) -> Step {
        Step::Done(Collected {
            digits: digits.into(),
            end,
        })
    }

    #[test]
    fn completes_at_the_wanted_number() {
        let mut c = Collector::new(at(0), Collect::digits(2), false);
        assert_eq!(c.handle_digit(at(10), digit('1')), Step::Continue);
        assert_eq!(
            c.handle_digit(at(20), digit('2')),
            done("12", CollectEnd::Complete)
        );
        assert_eq!(c.poll_timeout(), None);
    }

    #[test]
    fn terminator_is_not_part_of_the_digits() {
        let mut c = Collector::new(at(0), Collect::digits(9).terminated_by('#'), false);
        c.handle_digit(at(10), digit('7'));
        assert_eq!(
            c.handle_digit(at(20), digit('#')),
            done("7", CollectEnd::Terminator('#'))
        );
    }

    #[test]
    fn first_digit_timer_starts_when_the_prompt_ends() {
        let options = Collect::digits(4).first_digit_within(Duration::from_secs(1));
        let mut c = Collector::new(at(0), options, true);
        assert_eq!(c.poll_timeout(), None);
        assert_eq!(c.handle_timeout(at(60_000)), Step::Continue);
        c.handle_prompt_ended(at(60_000));
        assert_eq!(c.poll_timeout(), Some(at(61_000)));
        assert_eq!(c.handle_timeout(at(61_000)), done("", CollectEnd::NoInput));
    }

    #[test]
    fn inter_digit_timeout_keeps_what_was_pressed() {
        let options = Collect::digits(4).next_digit_within(Duration::from_secs(2));
        let mut c = Collector::new(at(0), options, false);
        c.handle_digit(at(100), digit('5'));
        assert_eq!(c.handle_timeout(at(2_099)), Step::Continue);
        assert_eq!(
            c.handle_timeout(at(2_100)),
            done("5", CollectEnd::InterDigitTimeout)
        );
    }

    #[test]
    fn barge_in_stops_the_prompt_at_key_down() {
        let mut c = Collector::new(at(0), Collect::digits(1), true);
        assert_eq!(c.handle_key_down(at(0), digit('2')), Step::StopPrompt);
        assert_eq!(c.handle_key_down(at(10), digit('2')), Step::Continue);
        assert_eq!(
            c.handle_digit(at(90), digit('2')),
            done("2", CollectEnd::Complete)
        );
    }

    #[test]
    fn speech_stops_the_prompt_where_it_may() {
        let mut c = Collector::new(at(0), Collect::digits(1), true);
        assert_eq!(c.handle_speech(at(0)), Step::Continue);
        let options = Collect::digits(1).barge_in_by_speech(true);
        let mut c = Collector::new(at(0), options, true);
        assert_eq!(c.handle_speech(at(100)), Step::StopPrompt);
        assert_eq!(c.poll_timeout(), Some(at(5_100)));
        assert_eq!(c.handle_speech(at(200)), Step::Continue);
    }

    #[test]
    fn a_hook_flash_neither_interrupts_nor_hangs() {
        let mut c = Collector::new(at(0), Collect::digits(1), true);
        assert_eq!(c.handle_key_down(at(10), Digit::FLASH), Step::Continue);
        assert_eq!(c.handle_digit(at(90), Digit::FLASH), Step::Continue);
        c.handle_prompt_ended(at(1_000));
        assert_eq!(c.handle_timeout(at(6_000)), done("", CollectEnd::NoInput));
    }

    #[test]
    fn a_key_whose_release_is_lost_does_not_hang() {
        let mut c = Collector::new(at(0), Collect::digits(1), true);
        assert_eq!(c.handle_key_down(at(10), digit('5')), Step::StopPrompt);
        assert_eq!(c.handle_timeout(at(10_009)), Step::Continue);
        assert_eq!(c.handle_timeout(at(10_010)), done("", CollectEnd::NoInput));
    }

    #[test]
    fn a_key_that_is_down_at_the_deadline_counts() {
        let mut c = Collector::new(at(0), Collect::digits(2), false);
        c.handle_digit(at(0), digit('1'));
        c.handle_key_down(at(2_900), digit('2'));
        assert_eq!(c.handle_timeout(at(3_000)), Step::Continue);
        assert_eq!(
            c.handle_digit(at(3_100), digit('2')),
            done("12", CollectEnd::Complete)
        );
    }

    #[test]
    fn without_barge_in_keys_during_the_prompt_are_discarded() {
        let mut c = Collector::new(at(0), Collect::digits(1).barge_in(false), true);
        assert_eq!(c.handle_key_down(at(10), digit('2')), Step::Continue);
        assert_eq!(c.handle_digit(at(90), digit('2')), Step::Continue);
        c.handle_prompt_ended(at(1000));
        assert_eq!(
            c.handle_digit(at(1100), digit('3')),
            done("3", CollectEnd::Complete)
        );
    }
}
