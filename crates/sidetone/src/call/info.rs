//! DTMF digits in INFO bodies, as old peers send and take them.

use crate::media::dtmf::Digit;
use crate::sip::agent::command::Body;
use crate::time::Duration;

/// The length taken for a digit that names none.
const DEFAULT: Duration = Duration::from_millis(160);

/// The digit of an INFO body of type `application/dtmf-relay` (`Signal=5`, `Duration=160`) or
/// `application/dtmf` (the digit alone); `None` for anything else.
pub(crate) fn digit_of(content_type: &str, body: &[u8]) -> Option<(Digit, Duration)> {
    let kind = content_type.split(';').next()?.trim();
    let text = std::str::from_utf8(body)
        .ok()
        .filter(|text| text.len() <= 256)?;
    if kind.eq_ignore_ascii_case("application/dtmf") {
        return Some((single(text)?, DEFAULT));
    }
    if !kind.eq_ignore_ascii_case("application/dtmf-relay") {
        return None;
    }
    let mut digit = None;
    let mut duration = DEFAULT;
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "signal" => digit = single(value),
            "duration" => {
                let millis: u64 = value.trim().parse().ok()?;
                duration = Duration::from_millis(millis.min(60_000));
            }
            _ => {}
        }
    }
    digit.map(|digit| (digit, duration))
}

/// The INFO body of a digit.
pub(crate) fn body_of(digit: Digit, press: Duration) -> Body {
    let millis = press.as_millis();
    Body {
        content_type: "application/dtmf-relay".to_owned(),
        bytes: format!("Signal={digit}\r\nDuration={millis}\r\n").into(),
    }
}

fn single(text: &str) -> Option<Digit> {
    let mut characters = text.trim().chars();
    let digit = Digit::from_char(characters.next()?)?;
    characters.next().is_none().then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &str) -> Option<(char, u64)> {
        digit_of(content_type, body.as_bytes())
            .map(|(digit, duration)| (digit.to_char(), duration.as_millis() as u64))
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(
            read("application/dtmf-relay", "Signal=5\r\nDuration=240\r\n"),
            Some(('5', 240))
        );
        assert_eq!(
            read("Application/DTMF-Relay; x=y", "signal= #\n"),
            Some(('#', 160))
        );
        assert_eq!(read("application/dtmf", "7\r\n"), Some(('7', 160)));
    }

    #[test]
    fn what_is_sent_is_read() {
        for name in "0123456789*#ABCD!".chars() {
            let digit = Digit::from_char(name).expect("a digit");
            let body = body_of(digit, Duration::from_millis(120));
            let read = digit_of(&body.content_type, &body.bytes);
            assert_eq!(read, Some((digit, Duration::from_millis(120))));
        }
    }

    #[test]
    fn anything_else_is_no_digit() {
        assert_eq!(read("application/dtmf-relay", "Signal=55"), None);
        assert_eq!(
            read("application/dtmf-relay", "Signal=5\nDuration=-1"),
            None
        );
        assert_eq!(read("text/plain", "5"), None);
        assert_eq!(read("application/dtmf", ""), None);
        assert_eq!(digit_of("application/dtmf", &[0xff, 0xfe]), None);
    }
}
