//! Moments in header fields: Date and Timestamp (RFC 3261 §20.17, §20.38).

use std::fmt;

use crate::sip::header::Problem;
use crate::sip::lex;
use crate::time::{Duration, WallTime};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: i64 = 86_400;
/// Days from the first of March of the year 0 to the first of January 1970.
const EPOCH: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;
/// The digits at most of a number in Timestamp.
const MAX_DIGITS: usize = 32;

/// The Date header field: a moment in GMT, to the second, the only form of RFC 1123 that SIP allows.
///
/// ```
/// use sidetone::sip::header::date::Date;
/// use sidetone::time::WallTime;
/// let date = Date::parse("Sat, 13 Nov 2010 23:29:00 GMT")?;
/// assert_eq!(date.wall(), Some(WallTime::from_unix_nanos(1_289_690_940_000_000_000)));
/// assert_eq!(date.to_string(), "Sat, 13 Nov 2010 23:29:00 GMT");
/// assert!(Date::parse("Sat, 13 Nov 2010 23:29:00 EST").is_err());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Seconds since 1970, from the year 0 to 9999.
    seconds: i64,
}

impl Date {
    /// The date of a moment; what is less than a second is left out.
    pub fn at(wall: WallTime) -> Self {
        Self {
            seconds: (wall.as_unix_nanos() / 1_000_000_000) as i64,
        }
    }

    /// Parses the value of the header field. The day of the week is not compared with the date.
    ///
    /// # Errors
    /// [`Problem::Syntax`] for any other form, other zones included.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_value(text.as_bytes())
    }

    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(raw).ok();
        let seconds = text.and_then(seconds_of);
        let seconds = seconds.ok_or(Problem::Syntax("not a date in GMT"))?;
        Ok(Self { seconds })
    }

    /// The moment; `None` before 1970 and after 2554, which no [`WallTime`] holds.
    pub fn wall(self) -> Option<WallTime> {
        let seconds = u64::try_from(self.seconds).ok()?;
        seconds
            .checked_mul(1_000_000_000)
            .map(WallTime::from_unix_nanos)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, time) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        // The first day of 1970 was a Thursday.
        let weekday = DAYS[(days + 3).rem_euclid(7) as usize];
        let month = MONTHS[month];
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        write!(
            f,
            "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
        )
    }
}

/// Seconds since 1970 of `Sat, 13 Nov 2010 23:29:00 GMT`.
fn seconds_of(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [weekday, day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let number = |text: &str, lengths: &[usize], max: i64| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number: i64 = text.parse().ok()?;
        (digits && lengths.contains(&text.len()) && number <= max).then_some(number)
    };
    let weekday = weekday.strip_suffix(',')?;
    DAYS.contains(&weekday).then_some(())?;
    let day = number(day, &[1, 2], 31).filter(|day| *day > 0)?;
    let month = MONTHS.iter().position(|known| *known == month)?;
    let year = number(year, &[4], 9999)?;
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock[..] else {
        return None;
    };
    let (hour, minute) = (number(hour, &[2], 23)?, number(minute, &[2], 59)?);
    // A leap second is the first of the next minute.
    let second = number(second, &[2], 60)?;
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second)
}

/// A moment as XML writes it, in UTC and to the second: `2010-12-16T23:41:07Z` (RFC 3339).
pub(crate) fn timestamp(wall: WallTime) -> String {
    let seconds = Date::at(wall).seconds;
    let (days, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let month = month + 1;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 of a date of the Gregorian calendar; `month` counts from 0.
fn days(year: i64, month: usize, day: i64) -> i64 {
    let month = month as i64;
    // Years that begin in March end with the day that may be missing.
    let year = year - i64::from(month < 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// Year, month from 0, and day of the month, of a day since 1970.
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days + EPOCH;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let month = (march + 2) % 12;
    let year = era * 400 + of_era + i64::from(month < 2);
    (year, month as usize, of_year - (153 * march + 2) / 5 + 1)
}

/// The Timestamp header field: when the client sent the request, in seconds of a clock of its own, and
/// in the answer how long the server took (RFC 3261 §8.2.6.1).
///
/// ```
/// use sidetone::sip::header::date::Timestamp;
/// use sidetone::time::Duration;
/// let asked = Timestamp::parse("54.25")?;
/// let answered = asked.answered_after(Duration::from_millis(1_500));
/// assert_eq!(answered.to_string(), "54.25 1.500");
/// assert_eq!(answered.delay(), Some(Duration::from_millis(1_500)));
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// As the client wrote it: it gets it back unchanged.
    sent: String,
    delay: Option<String>,
}

impl Timestamp {
    /// What a client sends `since` the start of its clock.
    pub fn new(since: Duration) -> Self {
        Self {
            sent: format!("{:.3}", since.as_secs_f64()),
            delay: None,
        }
    }

    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem::Syntax`] where it is no number, with or without a second one.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_value(text.as_bytes())
    }

    pub(crate) fn from_value(raw: &[u8]) -> Result<Self, Problem> {
        let end = raw.iter().position(|&b| lex::is_lws(b));
        let (sent, rest) = raw.split_at(end.unwrap_or(raw.len()));
        let delay = lex::trim(rest);
        let sent = decimal(sent).filter(|text| text.as_bytes()[0].is_ascii_digit());
        let sent = sent.ok_or(Problem::Syntax("no number of seconds"))?;
        let delay = match delay {
            [] => None,
            delay => Some(decimal(delay).ok_or(Problem::Syntax("delay is no number"))?),
        };
        Ok(Self {
            sent: sent.to_owned(),
            delay: delay.map(str::to_owned),
        })
    }

    /// The same with the time that the server took, as the answer has it.
    pub fn answered_after(&self, delay: Duration) -> Self {
        Self {
            sent: self.sent.clone(),
            delay: (!delay.is_zero()).then(|| format!("{:.3}", delay.as_secs_f64())),
        }
    }

    /// When the request was sent, on the client's clock; saturates at the year 584.
    pub fn sent(&self) -> Duration {
        duration(&self.sent)
    }

    /// How long the server took, where it says so.
    pub fn delay(&self) -> Option<Duration> {
        self.delay.as_deref().map(duration)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sent)?;
        match &self.delay {
            Some(delay) => write!(f, " {delay}"),
            None => Ok(()),
        }
    }
}

/// A number with at most one point; the digits before it or after it may be missing.
fn decimal(raw: &[u8]) -> Option<&str> {
    let points = raw.iter().filter(|&&b| b == b'.').count();
    let digits = raw.iter().filter(|b| b.is_ascii_digit()).count();
    let valid = points <= 1 && digits > 0 && digits <= MAX_DIGITS && points + digits == raw.len();
    valid.then(|| std::str::from_utf8(raw).ok()).flatten()
}

fn duration(decimal: &str) -> Duration {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    let whole = match whole {
        "" => 0,
        whole => whole.parse().unwrap_or(u64::MAX),
    };
    let nanos = part.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Duration::new(whole, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gmt_only() {
        for good in [
            "Sat, 13 Nov 2010 23:29:00 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Tue, 29 Feb 2000 12:00:59 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
        ] {
            assert_eq!(Date::parse(good).unwrap().to_string(), good);
        }
        let short = Date::parse("Mon, 1 Nov 2010 23:29:00 GMT").unwrap();
        assert_eq!(short.to_string(), "Mon, 01 Nov 2010 23:29:00 GMT");
        for bad in [
            "Fri, 01 Jan 2010 16:00:00 EST",
            "",
            "Sat, 32 Nov 2010 23:29:00 GMT",
            "Sat, 0 Nov 2010 23:29:00 GMT",
            "Sat, +1 Nov 2010 23:29:00 GMT",
            "Sat, 13 Nov 2010 24:29:00 GMT",
            "Sat, 13 Nov 2010 23:29 GMT",
            "Sat 13 Nov 2010 23:29:00 GMT",
            "Sat, 13 November 2010 23:29:00 GMT",
            "Sat, 13 Nov 10 23:29:00 GMT",
        ] {
            assert!(Date::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        for day in 0..ERA {
            let wall = WallTime::from_unix_nanos((day * DAY) as u64 * 1_000_000_000);
            let date = Date::at(wall);
            assert_eq!(Date::parse(&date.to_string()), Ok(date));
            assert_eq!(date.wall(), Some(wall));
        }
    }

    #[test]
    fn timestamps_come_back_as_they_were_written() {
        for (text, sent, delay) in [
            ("54", 54.0, None),
            ("54.", 54.0, None),
            ("0.5 .25", 0.5, Some(0.25)),
            ("1.5\t 2", 1.5, Some(2.0)),
        ] {
            let parsed = Timestamp::parse(text).unwrap();
            assert_eq!(parsed.sent(), Duration::from_secs_f64(sent), "{text}");
            assert_eq!(parsed.delay(), delay.map(Duration::from_secs_f64), "{text}");
            assert_eq!(Timestamp::parse(&parsed.to_string()), Ok(parsed));
        }
        let kept = Timestamp::parse("007.50 9").unwrap();
        assert_eq!(kept.answered_after(Duration::ZERO).to_string(), "007.50");
        assert_eq!(
            Timestamp::new(Duration::from_millis(7)).to_string(),
            "0.007"
        );
        let long = "9".repeat(MAX_DIGITS + 1);
        for bad in [
            "", ".", ".5", "-1", "1 2 3", "1.2.3", "x", "1 x", "1 .", &long,
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad:?}");
        }
        let huge = Timestamp::parse(&"9".repeat(MAX_DIGITS)).unwrap();
        assert_eq!(huge.sent(), Duration::from_secs(u64::MAX));
    }
}
