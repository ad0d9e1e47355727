//! DTMF digits as sound: a queue of key presses in place of what would be heard.

use crate::media::dtmf::{Digit, MAX_PRESS, MIN_PRESS, QUEUE_LEN, QueueFull};
use crate::media::frame::{Frame, SampleRate};
use crate::media::tone::{Generator, Tone};
use crate::time::Duration;

/// Silence after each digit, of which Q.24 asks 40 ms.
const GAP: Duration = Duration::from_millis(60);

/// Presses keys by tones (ITU-T Q.23): the low group at -9 dBm0, the high one at -7.
///
/// ```
/// use sidetone::media::dtmf::Digit;
/// use sidetone::media::dtmf::press::TonePresses;
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::time::Duration;
/// let mut presses = TonePresses::new(SampleRate::HZ_8000);
/// presses.press(Digit::from_char('7').expect("a digit"), Duration::from_millis(100))?;
/// let mut frame = Frame::silence(SampleRate::HZ_8000);
/// assert!(presses.fill(&mut frame) && !frame.is_silent());
/// # Ok::<(), sidetone::media::dtmf::QueueFull>(())
/// ```
#[derive(Debug, Clone)]
pub struct TonePresses {
    rate: SampleRate,
    queue: [(Digit, Duration); QUEUE_LEN],
    first: usize,
    len: usize,
    sounding: Option<Generator>,
}

impl TonePresses {
    /// Nothing pressed, for frames at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            queue: [(Digit::FLASH, Duration::ZERO); QUEUE_LEN],
            first: 0,
            len: 0,
            sounding: None,
        }
    }

    /// Queues a key press of `duration`, kept within [`MIN_PRESS`] and [`MAX_PRESS`]. The hook flash
    /// has no tone and is left out.
    ///
    /// # Errors
    /// [`QueueFull`] where [`QUEUE_LEN`] digits wait.
    pub fn press(&mut self, digit: Digit, duration: Duration) -> Result<(), QueueFull> {
        if self.len == QUEUE_LEN {
            return Err(QueueFull);
        }
        if digit != Digit::FLASH {
            let at = (self.first + self.len) % QUEUE_LEN;
            self.queue[at] = (digit, duration.clamp(MIN_PRESS, MAX_PRESS));
            self.len += 1;
        }
        Ok(())
    }

    /// Digits that still find room.
    pub fn room(&self) -> usize {
        QUEUE_LEN - self.len
    }

    /// Whether nothing is queued or sounding.
    pub fn is_idle(&self) -> bool {
        self.len == 0 && self.sounding.is_none()
    }

    /// Puts the next 20 ms of the presses and their pauses in the place of what `frame` holds; false,
    /// leaving it alone, while there are none.
    pub fn fill(&mut self, frame: &mut Frame) -> bool {
        if self.is_idle() {
            return false;
        }
        let mut filled = 0;
        let out = frame.samples_mut();
        out.fill(0);
        while filled < out.len() {
            let Some(generator) = self.sounding.as_mut() else {
                if !self.begin() {
                    break;
                }
                continue;
            };
            filled += generator.fill(&mut out[filled..]);
            if generator.is_finished() {
                self.sounding = None;
            }
        }
        true
    }

    fn begin(&mut self) -> bool {
        if self.len == 0 {
            return false;
        }
        let (digit, duration) = self.queue[self.first];
        self.first = (self.first + 1) % QUEUE_LEN;
        self.len -= 1;
        let tone = Tone::dtmf(digit.to_char(), duration).map(|tone| tone.followed_by(GAP));
        self.sounding = tone.map(|tone| Generator::new(&tone, self.rate));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dtmf::DtmfEvent;
    use crate::media::dtmf::detect::DtmfDetector;

    #[test]
    fn what_is_pressed_is_detected_at_every_rate() {
        for rate in [8_000, 16_000, 48_000] {
            let rate = SampleRate::from_hz(rate).expect("a rate");
            let mut presses = TonePresses::new(rate);
            let mut detector = DtmfDetector::new(rate);
            let digits = "0123456789*#ABCD!11";
            for name in digits.chars() {
                let digit = Digit::from_char(name).expect("a digit");
                presses
                    .press(digit, Duration::from_millis(1))
                    .expect("room");
            }
            let mut heard = String::new();
            let mut frame = Frame::from_samples(rate, &vec![900; rate.frame_samples()]);
            for _ in 0..150 {
                if !presses.fill(&mut frame) {
                    frame.reset(rate);
                }
                detector.process(&frame);
                while let Some(event) = detector.poll_event() {
                    if let DtmfEvent::Ended { digit, .. } = event {
                        heard.push(digit.to_char());
                    }
                }
            }
            assert_eq!(heard, "0123456789*#ABCD11", "{rate}");
            assert!(presses.is_idle());
        }
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut presses = TonePresses::new(SampleRate::HZ_8000);
        let digit = Digit::from_char('1').expect("a digit");
        for _ in 0..QUEUE_LEN {
            presses.press(digit, MIN_PRESS).expect("room");
        }
        assert_eq!(presses.press(digit, MIN_PRESS), Err(QueueFull));
        assert_eq!(presses.room(), 0);
    }
}
