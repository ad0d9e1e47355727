//! Limits: calls in a time, and caps on what an account may call (toll fraud).

use std::collections::BTreeMap;

use crate::time::{Duration, Instant};

/// Accounts that are remembered for each cap at most. Beyond it accounts that have no call and have
/// not called lately are forgotten; where there are none, calls are refused.
const MAX_ACCOUNTS: usize = 10_000;

/// How many calls may begin in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The calls.
    pub calls: u32,
    /// The time.
    pub window: Duration,
}

/// A bucket of tokens: as many as the rate's calls, filled evenly over its window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant, rate: Rate) -> Self {
        Self {
            rate,
            tokens: f64::from(rate.calls),
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let window = self.rate.window.as_secs_f64().max(1e-9);
        let most = f64::from(self.rate.calls);
        self.tokens = (self.tokens + passed / window * most).min(most);
        self.at = self.at.max(now);
    }

    /// Whether there is a token.
    pub(crate) fn has(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= 1.0
    }

    /// Takes a token, where there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has = self.has(now);
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= f64::from(self.rate.calls)
    }
}

/// A limit on what each account may call: what a stolen password can cost.
///
/// ```
/// use std::time::Duration;
/// use sidetone::b2bua::trunk::cap::Cap;
///
/// // No account calls more than 3 premium or satellite numbers at once, and 20 an hour.
/// let cap = Cap::new("premium", ["0900", "+88"])
///     .max_calls(3)
///     .rate(20, Duration::from_secs(3600));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    pub(crate) name: String,
    pub(crate) prefixes: Vec<String>,
    pub(crate) max_calls: Option<usize>,
    pub(crate) rate: Option<Rate>,
}

impl Cap {
    /// A cap on calls to numbers that begin with one of `prefixes`; on all calls where there is none.
    /// It allows none at all until it is given a limit.
    pub fn new<'a>(name: &str, prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            name: name.to_owned(),
            prefixes: prefixes.into_iter().map(str::to_owned).collect(),
            max_calls: None,
            rate: None,
        }
    }

    /// Calls at once, of each account.
    #[must_use]
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = Some(calls);
        self
    }

    /// Calls begun in `window`, of each account.
    #[must_use]
    pub fn rate(mut self, calls: u32, window: Duration) -> Self {
        self.rate = Some(Rate { calls, window });
        self
    }

    fn covers(&self, number: &str) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.prefixes.is_empty() || prefixes.any(|prefix| number.starts_with(prefix.as_str()))
    }

    fn allows_nothing(&self) -> bool {
        self.max_calls.is_none() && self.rate.is_none()
    }
}

/// What one account does under one cap.
#[derive(Debug)]
struct Use {
    calls: usize,
    bucket: Option<Bucket>,
    /// Whether it was told that the cap is reached.
    told: bool,
}

/// One cap with its accounts.
#[derive(Debug)]
struct Kept {
    cap: Cap,
    accounts: BTreeMap<String, Use>,
}

/// All caps.
#[derive(Debug, Default)]
pub(crate) struct Caps(Vec<Kept>);

/// A call that is counted under some caps; to be given back when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    account: String,
    caps: Vec<usize>,
}

/// A cap that a call would break, and whether that is news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) cap: String,
    pub(crate) news: bool,
}

impl Caps {
    pub(crate) fn new(caps: Vec<Cap>) -> Self {
        let kept = |cap| Kept {
            cap,
            accounts: BTreeMap::new(),
        };
        Self(caps.into_iter().map(kept).collect())
    }

    /// Counts a call of `account` to `number`; refused where a cap is reached, and counted nowhere
    /// then.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        account: &str,
        number: &str,
    ) -> Result<Counted, Reached> {
        let number = plain(number);
        let concerned = self.0.iter().enumerate();
        let concerned = concerned.filter(|(_, kept)| kept.cap.covers(&number));
        let caps: Vec<usize> = concerned.map(|(index, _)| index).collect();
        for index in &caps {
            if let Some(kept) = self.0.get_mut(*index) {
                kept.check(now, account)?;
            }
        }
        for index in &caps {
            if let Some(used) = self
                .0
                .get_mut(*index)
                .and_then(|k| k.accounts.get_mut(account))
            {
                used.calls += 1;
                used.told = false;
                if let Some(bucket) = &mut used.bucket {
                    bucket.take(now);
                }
            }
        }
        Ok(Counted {
            account: account.to_owned(),
            caps,
        })
    }

    /// Gives a call back.
    pub(crate) fn end(&mut self, counted: &Counted) {
        for index in &counted.caps {
            let kept = self.0.get_mut(*index);
            if let Some(used) = kept.and_then(|kept| kept.accounts.get_mut(&counted.account)) {
                used.calls = used.calls.saturating_sub(1);
            }
        }
    }
}

impl Kept {
    fn check(&mut self, now: Instant, account: &str) -> Result<(), Reached> {
        let reached = |name: &str, news| Reached {
            cap: name.to_owned(),
            news,
        };
        if !self.accounts.contains_key(account) && !self.make_room(now) {
            return Err(reached(&self.cap.name, false));
        }
        let bucket = || self.cap.rate.map(|rate| Bucket::new(now, rate));
        let used = self
            .accounts
            .entry(account.to_owned())
            .or_insert_with(|| Use {
                calls: 0,
                bucket: bucket(),
                told: false,
            });
        let many = self.cap.max_calls.is_some_and(|most| used.calls >= most);
        let fast = used.bucket.as_mut().is_some_and(|bucket| !bucket.has(now));
        if many || fast || self.cap.allows_nothing() {
            let news = !std::mem::replace(&mut used.told, true);
            return Err(reached(&self.cap.name, news));
        }
        Ok(())
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.accounts.retain(|_, used| {
                let full = used
                    .bucket
                    .as_mut()
                    .is_none_or(|bucket| bucket.is_full(now));
                used.calls > 0 || !full
            });
        }
        self.accounts.len() < MAX_ACCOUNTS
    }
}

/// A number without what only makes it readable (RFC 3966 §5.1.1): caps must not be got round by a
/// dash.
fn plain(number: &str) -> String {
    let number = number.split(';').next().unwrap_or_default();
    let readable = |c: &char| !matches!(c, '-' | '.' | '(' | ')' | ' ');
    number.chars().filter(readable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_bucket_fills_evenly() {
        let second = Duration::from_secs(1);
        let rate = Rate {
            calls: 5,
            window: second,
        };
        let mut now = Instant::ZERO;
        let mut bucket = Bucket::new(now, rate);
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 5);
        now += second / 5;
        assert!(bucket.take(now) && !bucket.take(now));
        now += second * 100;
        assert_eq!((0..9).filter(|_| bucket.take(now)).count(), 5);
    }

    #[test]
    fn a_stolen_account_stops_at_the_cap_and_others_go_on() {
        let cap = Cap::new("premium", ["0900", "+88"])
            .max_calls(2)
            .rate(4, HOUR);
        let mut caps = Caps::new(vec![cap]);
        let now = Instant::ZERO;
        let first = caps.begin(now, "6001", "0900123").unwrap();
        caps.begin(now, "6001", "+8816").unwrap();
        let reached = |news| Reached {
            cap: "premium".into(),
            news,
        };
        // Not even by writing the number otherwise.
        assert_eq!(caps.begin(now, "6001", "09-00 1"), Err(reached(true)));
        assert_eq!(caps.begin(now, "6001", "0900"), Err(reached(false)));
        assert!(caps.begin(now, "6001", "069123").is_ok());
        assert!(caps.begin(now, "6002", "0900123").is_ok());
        caps.end(&first);
        let again = caps.begin(now, "6001", "0900123").unwrap();
        caps.end(&again);
        let last = caps.begin(now, "6001", "0900123").unwrap();
        caps.end(&last);
        // Four in this hour.
        assert_eq!(caps.begin(now, "6001", "0900123"), Err(reached(true)));
        assert!(caps.begin(now + HOUR, "6001", "0900123").is_ok());
    }

    #[test]
    fn a_cap_without_a_limit_forbids() {
        let mut caps = Caps::new(vec![Cap::new("none", ["00"])]);
        assert!(caps.begin(Instant::ZERO, "a", "0049").is_err());
        assert!(caps.begin(Instant::ZERO, "a", "110").is_ok());
    }

    #[test]
    fn accounts_are_bounded() {
        let mut caps = Caps::new(vec![Cap::new("all", []).rate(1, HOUR)]);
        let mut now = Instant::ZERO;
        for number in 0..MAX_ACCOUNTS {
            let counted = caps.begin(now, &number.to_string(), "1").unwrap();
            caps.end(&counted);
        }
        assert!(caps.begin(now, "one more", "1").is_err());
        now += HOUR;
        assert!(caps.begin(now, "one more", "1").is_ok());
        assert!(caps.0[0].accounts.len() <= MAX_ACCOUNTS);
    }
}
