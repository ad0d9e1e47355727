//! What a server tells its clients in the Via of its responses: how much they shall spare it
//! (RFC 7339 §4).

use std::fmt;

use crate::sip::header::via::Via;
use crate::time::{Duration, Instant, WallTime};

/// How long what is told holds where nothing is said (RFC 7339 §4.4).
const VALIDITY: Duration = Duration::from_millis(500);

/// The longest that is believed.
const MAX_VALIDITY: Duration = Duration::from_secs(60);

/// What a client adds to the Via of its requests to say that it obeys (RFC 7339 §4.1, §4.2).
pub const OFFER: &str = ";oc;oc-algo=\"loss\"";

/// How much a client shall spare a server, by the loss-based algorithm (RFC 7339 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// The share of new requests not to be sent, in per cent (`oc`).
    pub reduction: u8,
    /// How long it holds (`oc-validity`); nothing ends it.
    pub validity: Duration,
    /// What tells the newer from the older (`oc-seq`), in hundred-thousandths.
    pub sequence: u64,
}

impl Feedback {
    /// What is to be told at `now`: to be spared `reduction` per cent, or nothing any more.
    /// `epoch` is civil time at the clock's zero.
    pub fn new(now: Instant, epoch: WallTime, reduction: u8) -> Self {
        Self {
            reduction: reduction.min(100),
            validity: match reduction {
                0 => Duration::ZERO,
                _ => VALIDITY,
            },
            sequence: (epoch.as_unix_nanos() + now.as_nanos()) / 10_000,
        }
    }

    /// Whether the client that wrote this Via obeys the loss-based algorithm.
    pub fn is_wanted(via: &Via) -> bool {
        let mut params = via.params();
        if !params.any(|param| param.is("oc") && param.value.is_none()) {
            return false;
        }
        let algorithms = via.param("oc-algo");
        algorithms.is_none_or(|list| {
            let mut names = list.split(',').map(str::trim);
            names.any(|name| name.eq_ignore_ascii_case("loss"))
        })
    }

    /// What a server says in our Via; `None` where it says nothing, or what does not hold together.
    pub fn read(via: &Via) -> Option<Self> {
        let number = |name: &str| via.param(name)?.parse::<u64>().ok();
        let reduction = number("oc").filter(|oc| *oc <= 100)?;
        let algorithm = via.param("oc-algo")?;
        if !algorithm.eq_ignore_ascii_case("loss") {
            return None;
        }
        let validity = match via.param("oc-validity") {
            None => VALIDITY,
            Some(text) => Duration::from_millis(text.parse().ok()?),
        };
        let sequence = sequence(&via.param("oc-seq")?)?;
        Some(Self {
            reduction: u8::try_from(reduction).ok()?,
            validity: validity.min(MAX_VALIDITY),
            sequence,
        })
    }
}

/// `1*12DIGIT "." 1*5DIGIT` in hundred-thousandths.
fn sequence(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.')?;
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !(digits(whole, 12) && digits(part, 5)) {
        return None;
    }
    let scale = 10_u64.pow(5 - u32::try_from(part.len()).ok()?);
    let part = part.parse::<u64>().ok()? * scale;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(100_000)?
        .checked_add(part)
}

/// As parameters of a Via, each behind its semicolon.
impl fmt::Display for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.sequence / 100_000, self.sequence % 100_000);
        write!(
            f,
            ";oc={};oc-algo=\"loss\";oc-validity={};oc-seq={whole}.{part:05}",
            self.reduction,
            self.validity.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(params: &str) -> Via {
        Via::parse(&format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1{params}")).unwrap()
    }

    #[test]
    fn what_is_told_reads_back() {
        let now = Instant::ZERO + Duration::from_millis(1_234_567);
        for reduction in [0, 1, 20, 100] {
            let told = Feedback::new(now, WallTime::from_unix_nanos(1 << 60), reduction);
            assert_eq!(Feedback::read(&via(&told.to_string())), Some(told));
            assert!(!Feedback::is_wanted(&via(&told.to_string())));
        }
        assert!(Feedback::is_wanted(&via(OFFER)));
        assert_eq!(Feedback::read(&via(OFFER)), None);
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let told = via(
            ";received=192.0.2.111;oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782",
        );
        let expected = Feedback {
            reduction: 20,
            validity: Duration::from_millis(500),
            sequence: 128_232_161_578_200,
        };
        assert_eq!(Feedback::read(&told), Some(expected));
    }

    #[test]
    fn nonsense_is_no_feedback() {
        for params in [
            "",
            ";oc=20",
            ";oc=20;oc-algo=\"loss\"",
            ";oc=101;oc-algo=\"loss\";oc-seq=1.1",
            ";oc=-1;oc-algo=\"loss\";oc-seq=1.1",
            ";oc=20;oc-algo=\"rate\";oc-seq=1.1",
            ";oc=20;oc-algo=\"loss\";oc-seq=1",
            ";oc=20;oc-algo=\"loss\";oc-seq=1.",
            ";oc=20;oc-algo=\"loss\";oc-seq=1234567890123.1",
            ";oc=20;oc-algo=\"loss\";oc-seq=1.123456",
            ";oc=20;oc-algo=\"loss\";oc-validity=x;oc-seq=1.1",
        ] {
            assert_eq!(Feedback::read(&via(params)), None, "{params}");
        }
        for params in ["", ";oc=1", ";oc;oc-algo=\"rate\""] {
            assert!(!Feedback::is_wanted(&via(params)), "{params}");
        }
        assert!(Feedback::is_wanted(&via(";oc")));
        assert!(Feedback::is_wanted(&via(";oc;oc-algo=\"rate, Loss\"")));
    }
}
