//! Digits of a leg: those that its peer presses, and those that it is told to send.

use thiserror::Error;

use crate::media::dtmf::press::TonePresses;
use crate::media::dtmf::{
    Digit, DtmfEvent, DtmfReceiver, DtmfReceiverConfig, DtmfSender, DtmfSenderConfig, DtmfStats,
    QUEUE_LEN, SendTick,
};
use crate::media::frame::{FRAME_DURATION, Frame, SampleRate};
use crate::media::leg::config::TelephoneEventFormat;
use crate::rtp::event::EVENT_LEN;
use crate::rtp::packet::{HEADER_LEN, View};
use crate::rtp::session::receiver::Position;
use crate::rtp::session::sender::Sender;
use crate::time::{Duration, Instant};

/// Reports that wait to be polled: one a tick, and a late driver makes up for several ticks.
const MAX_REPORTS: usize = 8;

/// Up to 32 digits, stored inline.
///
/// ```
/// use sidetone::media::leg::digits::DigitString;
/// let digits: DigitString = "12#".parse()?;
/// assert_eq!(digits.to_string(), "12#");
/// # Ok::<(), sidetone::media::leg::digits::DigitStringError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitString {
    digits: [Digit; QUEUE_LEN],
    len: u8,
}

impl DigitString {
    /// The digits.
    pub fn digits(&self) -> &[Digit] {
        &self.digits[..usize::from(self.len)]
    }
}

impl From<Digit> for DigitString {
    fn from(digit: Digit) -> Self {
        Self {
            digits: [digit; QUEUE_LEN],
            len: 1,
        }
    }
}

impl std::str::FromStr for DigitString {
    type Err = DigitStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut string = Self {
            digits: [Digit::FLASH; QUEUE_LEN],
            len: 0,
        };
        for name in text.chars() {
            let digit = Digit::from_char(name).ok_or(DigitStringError::NotADigit(name))?;
            let place = string.digits.get_mut(usize::from(string.len));
            *place.ok_or(DigitStringError::TooLong)? = digit;
            string.len += 1;
        }
        Ok(string)
    }
}

impl std::fmt::Display for DigitString {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digits().iter().try_for_each(|digit| digit.fmt(f))
    }
}

/// Why text is no [`DigitString`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DigitStringError {
    /// A character is none of `0` to `9`, `*`, `#`, `A` to `D`, `!`.
    #[error("{0:?} is not a digit")]
    NotADigit(char),
    /// There are more than 32 digits.
    #[error("more than {QUEUE_LEN} digits")]
    TooLong,
}

/// How digits travel on a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigitPath {
    /// As telephone events (RFC 4733).
    Events,
    /// As tones in the sound (ITU-T Q.23).
    Tones,
}

/// A report that waits to be sent.
#[derive(Debug, Clone, Copy)]
struct Report {
    timestamp: u32,
    marker: bool,
    payload: [u8; EVENT_LEN],
}

/// Both ways of a leg's telephone events.
#[derive(Debug)]
pub(super) struct Digits {
    receiver: DtmfReceiver,
    sender: DtmfSender,
    tones: TonePresses,
    payload_type: u8,
    sending: bool,
    reports: [Option<Report>; MAX_REPORTS],
}

impl Digits {
    pub(super) fn new(format: Option<TelephoneEventFormat>, rate: SampleRate) -> Self {
        Self {
            receiver: DtmfReceiver::new(DtmfReceiverConfig::default()),
            sender: new_sender(format),
            tones: TonePresses::new(rate),
            payload_type: format.map_or(0, |f| f.send_payload_type),
            sending: false,
            reports: [None; MAX_REPORTS],
        }
    }

    /// Goes on as negotiated anew. What was still to be sent is dropped where events are not
    /// negotiated any more, and sent under the new payload type where they are.
    pub(super) fn configure(&mut self, format: Option<TelephoneEventFormat>) {
        match format {
            Some(format) => {
                self.payload_type = format.send_payload_type;
                self.receiver.set_clock_rate(format.clock_rate);
                self.sender.set_clock_rate(format.clock_rate);
            }
            None => self.sender.clear(),
        }
    }

    pub(super) fn stats(&self) -> DtmfStats {
        self.receiver.stats()
    }

    /// Whether the peer holds a key down.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiver.active().is_some()
    }

    /// Takes a report whose clock ticks `clock_rate` times a second.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        position: Position,
        packet: &View<'_>,
        clock_rate: u32,
    ) {
        self.receiver.set_clock_rate(clock_rate);
        self.receiver
            .handle_report(now, position, packet.marker(), packet.payload());
    }

    /// Lets time pass for the keys of the peer.
    pub(super) fn check(&mut self, now: Instant) {
        self.receiver.handle_timeout(now);
    }

    pub(super) fn poll_received(&mut self) -> Option<DtmfEvent> {
        self.receiver.poll_event()
    }

    /// Queues all of `digits`, or none where not all find room.
    pub(super) fn send(&mut self, digits: &DigitString, press: Duration, path: DigitPath) -> bool {
        match path {
            DigitPath::Events => self.send_events(digits, press),
            DigitPath::Tones => self.send_tones(digits, press),
        }
    }

    fn send_tones(&mut self, digits: &DigitString, press: Duration) -> bool {
        let digits = digits.digits();
        if digits.len() > self.tones.room() {
            return false;
        }
        // Cannot fail: there is room for all.
        let mut queued = digits.iter().map(|&digit| self.tones.press(digit, press));
        self.sending |= queued.all(|result| result.is_ok());
        true
    }

    fn send_events(&mut self, digits: &DigitString, press: Duration) -> bool {
        let mut sender = self.sender.clone();
        let mut queued = digits.digits().iter().map(|&d| sender.press(d, press));
        if queued.any(|result| result.is_err()) {
            return false;
        }
        drop(queued);
        self.sender = sender;
        self.sending = true;
        true
    }

    /// Whether, in the tick that begins at `timestamp`, a report takes the place of audio.
    pub(super) fn tick(&mut self, timestamp: u32) -> bool {
        let SendTick::Event {
            timestamp,
            marker,
            payload,
        } = self.sender.tick(timestamp)
        else {
            return false;
        };
        if let Some(free) = self.reports.iter_mut().find(|r| r.is_none()) {
            *free = Some(Report {
                timestamp,
                marker,
                payload,
            });
        }
        true
    }

    /// Whether digits sound in place of what `heard` holds.
    pub(super) fn sound(&mut self, heard: &mut Frame) -> bool {
        self.tones.fill(heard)
    }

    /// Whether digits are being sent, or wait for it.
    pub(super) fn is_sending(&self) -> bool {
        self.sending || self.reports.iter().any(Option::is_some)
    }

    /// True once, when everything has been sent.
    pub(super) fn poll_sent(&mut self) -> bool {
        let done = self.sending && self.sender.is_idle() && self.tones.is_idle();
        self.sending &= !done;
        done
    }

    /// Writes the next report into `buf` and returns the packet's length.
    pub(super) fn poll(&mut self, sender: &mut Sender, buf: &mut [u8]) -> Option<usize> {
        let report = self.reports[0].take()?;
        self.reports.rotate_left(1);
        let payload = buf.get_mut(HEADER_LEN..HEADER_LEN + EVENT_LEN)?;
        payload.copy_from_slice(&report.payload);
        let (timestamp, marker) = (report.timestamp, report.marker);
        let header = sender.event(self.payload_type, timestamp, marker, EVENT_LEN);
        Some(header.emit(buf) + EVENT_LEN)
    }
}

fn new_sender(format: Option<TelephoneEventFormat>) -> DtmfSender {
    let default = DtmfSenderConfig::default();
    DtmfSender::new(DtmfSenderConfig {
        clock_rate: format.map_or(default.clock_rate, |f| f.clock_rate),
        ptime: FRAME_DURATION,
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digit_strings_are_bounded_and_checked() {
        let digits: DigitString = "0123456789*#abcd!".parse().unwrap();
        assert_eq!(digits.to_string(), "0123456789*#ABCD!");
        let none: Result<DigitString, _> = "12 3".parse();
        assert_eq!(none, Err(DigitStringError::NotADigit(' ')));
        assert!("1".repeat(32).parse::<DigitString>().is_ok());
        let none: Result<DigitString, _> = "1".repeat(33).parse();
        assert_eq!(none, Err(DigitStringError::TooLong));
    }

    #[test]
    fn digits_that_do_not_all_fit_are_not_queued() {
        let mut digits = Digits::new(None, SampleRate::HZ_8000);
        let twenty = "1".repeat(20).parse().unwrap();
        assert!(digits.send(&twenty, Duration::from_millis(100), DigitPath::Events));
        assert!(!digits.send(&twenty, Duration::from_millis(100), DigitPath::Events));
        let twelve = "2".repeat(12).parse().unwrap();
        assert!(digits.send(&twelve, Duration::from_millis(100), DigitPath::Events));
    }
}
