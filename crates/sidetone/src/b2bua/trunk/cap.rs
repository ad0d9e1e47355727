//! Limits: calls in a time, and caps on what an account may call and spend (toll fraud).

use std::collections::{BTreeMap, BTreeSet};

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

/// What calls may cost in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The cost, in the unit of the prices.
    pub limit: u64,
    /// The time.
    pub window: Duration,
}

/// What an account has left to spend: filled evenly over the budget's window, emptied by talking.
#[derive(Debug, Clone, Copy)]
struct Purse {
    budget: Budget,
    left: f64,
    /// What the calls that talk now cost in a minute.
    burning: u64,
    at: Instant,
}

impl Purse {
    fn new(now: Instant, budget: Budget) -> Self {
        Self {
            budget,
            left: budget.limit as f64,
            burning: 0,
            at: now,
        }
    }

    /// What is added in a second, less what is spent.
    fn slope(&self) -> f64 {
        let window = self.budget.window.as_secs_f64().max(1e-9);
        self.budget.limit as f64 / window - self.burning as f64 / 60.0
    }

    fn settle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let left = self.left + passed * self.slope();
        self.left = left.min(self.budget.limit as f64);
        self.at = self.at.max(now);
    }

    /// When it is empty, at the price that is paid now.
    fn empty_at(&self) -> Option<Instant> {
        let slope = self.slope();
        let seconds = (slope < 0.0).then(|| self.left.max(0.0) / -slope)?;
        // A millisecond more, lest rounding leaves a little.
        Some(self.at + Duration::try_from_secs_f64(seconds).ok()? + Duration::from_millis(1))
    }

    /// Whether a call of this price may begin: for a minute, or as long as the whole budget lasts.
    fn affords(&mut self, now: Instant, price: u64) -> bool {
        self.settle(now);
        self.left >= price.min(self.budget.limit).max(1) as f64
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.left >= self.budget.limit as f64
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
/// // No account spends more than 50 euros a day abroad, in cents.
/// let abroad = Cap::new("abroad", ["00", "+"])
///     .spend(5_000, Duration::from_secs(86_400))
///     .price("", 10)
///     .price("0088", 600);
/// // Nor talks for more than 600 minutes a day in all.
/// let minutes = Cap::new("minutes", []).spend(600, Duration::from_secs(86_400));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    pub(crate) name: String,
    pub(crate) prefixes: Vec<String>,
    pub(crate) max_calls: Option<usize>,
    pub(crate) rate: Option<Rate>,
    pub(crate) budget: Option<Budget>,
    prices: Vec<(String, u64)>,
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
            budget: None,
            prices: Vec::new(),
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

    /// What the calls of each account may cost in `window`, from answer to end. A call begins only where
    /// a minute of it can be paid, and calls that talk are ended when nothing is left. The budget fills
    /// evenly over the window, so that no window sees more than twice of it.
    #[must_use]
    pub fn spend(mut self, limit: u64, window: Duration) -> Self {
        self.budget = Some(Budget { limit, window });
        self
    }

    /// What a minute costs to numbers that begin with `prefix`; of several prefixes the longest counts.
    /// Default 1, so that the budget is one of minutes.
    #[must_use]
    pub fn price(mut self, prefix: &str, a_minute: u64) -> Self {
        self.prices.push((prefix.to_owned(), a_minute));
        self
    }

    fn price_of(&self, number: &str) -> u64 {
        let prices = self.prices.iter();
        let known = prices.filter(|(prefix, _)| number.starts_with(prefix.as_str()));
        let longest = known.max_by_key(|(prefix, _)| prefix.len());
        longest.map_or(1, |(_, price)| *price)
    }

    fn covers(&self, number: &str) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.prefixes.is_empty() || prefixes.any(|prefix| number.starts_with(prefix.as_str()))
    }

    fn allows_nothing(&self) -> bool {
        self.max_calls.is_none() && self.rate.is_none() && self.budget.is_none()
    }
}

/// What one account does under one cap.
#[derive(Debug)]
struct Use {
    calls: usize,
    bucket: Option<Bucket>,
    purse: Option<Purse>,
    /// When the purse will be empty, where it is in the queue.
    empty: Option<Instant>,
    /// The number that was called last.
    last: String,
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
pub(crate) struct Caps {
    kept: Vec<Kept>,
    /// When which account's purse is empty.
    empty: BTreeSet<(Instant, usize, String)>,
}

/// A call that is counted under some caps; to be given back when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    account: String,
    /// The caps, and what a minute costs under each.
    caps: Vec<(usize, u64)>,
    talks: bool,
}

/// An account has nothing left to spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spent {
    cap: usize,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) number: String,
}

impl Spent {
    /// Whether a call that talks is to end for it.
    pub(crate) fn ends(&self, counted: &Counted) -> bool {
        let caps = counted.caps.iter();
        let under = caps.filter(|(cap, price)| *cap == self.cap && *price > 0);
        counted.talks && counted.account == self.account && under.count() > 0
    }
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
        Self {
            kept: caps.into_iter().map(kept).collect(),
            empty: BTreeSet::new(),
        }
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
        let concerned = self.kept.iter().enumerate();
        let concerned = concerned.filter(|(_, kept)| kept.cap.covers(&number));
        let priced = concerned.map(|(index, kept)| (index, kept.cap.price_of(&number)));
        let caps: Vec<(usize, u64)> = priced.collect();
        for (index, price) in &caps {
            if let Some(kept) = self.kept.get_mut(*index) {
                kept.check(now, account, *price)?;
            }
        }
        for (index, _) in &caps {
            if let Some(used) = self.used(*index, account) {
                used.calls += 1;
                used.told = false;
                used.last.clone_from(&number);
                if let Some(bucket) = &mut used.bucket {
                    bucket.take(now);
                }
            }
        }
        Ok(Counted {
            account: account.to_owned(),
            caps,
            talks: false,
        })
    }

    fn used(&mut self, cap: usize, account: &str) -> Option<&mut Use> {
        self.kept.get_mut(cap)?.accounts.get_mut(account)
    }

    /// A call is answered: it costs from now on.
    pub(crate) fn talk(&mut self, now: Instant, counted: &mut Counted) {
        if !std::mem::replace(&mut counted.talks, true) {
            self.burn(now, counted, |burning, price| burning + price);
        }
    }

    /// Gives a call back.
    pub(crate) fn end(&mut self, now: Instant, counted: &Counted) {
        for (index, _) in &counted.caps {
            if let Some(used) = self.used(*index, &counted.account) {
                used.calls = used.calls.saturating_sub(1);
            }
        }
        if counted.talks {
            self.burn(now, counted, u64::saturating_sub);
        }
    }

    /// Changes what the calls of an account cost now.
    fn burn(&mut self, now: Instant, counted: &Counted, change: fn(u64, u64) -> u64) {
        let account = &counted.account;
        for (index, price) in &counted.caps {
            let Some(used) = self.used(*index, account) else {
                continue;
            };
            let Some(purse) = &mut used.purse else {
                continue;
            };
            purse.settle(now);
            purse.burning = change(purse.burning, *price);
            let empty = purse.empty_at();
            let former = std::mem::replace(&mut used.empty, empty);
            former.map(|at| self.empty.remove(&(at, *index, account.clone())));
            empty.map(|at| self.empty.insert((at, *index, account.clone())));
        }
    }

    /// When the next purse is empty.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.empty.first().map(|(at, ..)| *at)
    }

    /// An account whose purse is empty at `now`, each once: its calls are to be ended.
    pub(crate) fn poll_spent(&mut self, now: Instant) -> Option<Spent> {
        self.empty.first().filter(|(at, ..)| *at <= now)?;
        let (_, cap, account) = self.empty.pop_first()?;
        let used = self.used(cap, &account)?;
        used.empty = None;
        used.told = true;
        let number = used.last.clone();
        Some(Spent {
            cap,
            name: self.kept.get(cap)?.cap.name.clone(),
            account,
            number,
        })
    }
}

impl Kept {
    fn check(&mut self, now: Instant, account: &str, price: u64) -> Result<(), Reached> {
        let reached = |name: &str, news| Reached {
            cap: name.to_owned(),
            news,
        };
        if !self.accounts.contains_key(account) && !self.make_room(now) {
            return Err(reached(&self.cap.name, false));
        }
        let bucket = || self.cap.rate.map(|rate| Bucket::new(now, rate));
        let purse = || self.cap.budget.map(|budget| Purse::new(now, budget));
        let used = self
            .accounts
            .entry(account.to_owned())
            .or_insert_with(|| Use {
                calls: 0,
                bucket: bucket(),
                purse: purse(),
                empty: None,
                last: String::new(),
                told: false,
            });
        let many = self.cap.max_calls.is_some_and(|most| used.calls >= most);
        let fast = used.bucket.as_mut().is_some_and(|bucket| !bucket.has(now));
        let purse = used.purse.as_mut();
        let poor = price > 0 && purse.is_some_and(|purse| !purse.affords(now, price));
        if many || fast || poor || self.cap.allows_nothing() {
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
                let purse = used.purse.as_mut();
                let rich = purse.is_none_or(|purse| purse.is_full(now));
                used.calls > 0 || !full || !rich
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
        caps.end(now, &first);
        let again = caps.begin(now, "6001", "0900123").unwrap();
        caps.end(now, &again);
        let last = caps.begin(now, "6001", "0900123").unwrap();
        caps.end(now, &last);
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
            caps.end(now, &counted);
        }
        assert!(caps.begin(now, "one more", "1").is_err());
        now += HOUR;
        assert!(caps.begin(now, "one more", "1").is_ok());
        assert!(caps.kept[0].accounts.len() <= MAX_ACCOUNTS);
    }

    #[test]
    fn minutes_are_spent_by_talking_and_come_back() {
        let minute = Duration::from_secs(60);
        let mut caps = Caps::new(vec![Cap::new("minutes", []).spend(60, 10 * HOUR)]);
        let mut now = Instant::ZERO;
        let mut first = caps.begin(now, "6001", "1").unwrap();
        let mut second = caps.begin(now, "6001", "2").unwrap();
        // Ringing costs nothing.
        now += HOUR;
        assert_eq!(caps.poll_timeout(), None);
        caps.talk(now, &mut first);
        caps.talk(now, &mut second);
        caps.talk(now, &mut second);
        // Two minutes a minute, and a tenth of one comes back meanwhile.
        let due = caps.poll_timeout().unwrap();
        let talked = due - now;
        assert!(talked > 31 * minute && talked < 32 * minute, "{talked:?}");
        assert_eq!(caps.poll_spent(now), None);
        let spent = caps.poll_spent(due).unwrap();
        assert_eq!(
            (spent.name.as_str(), spent.account.as_str()),
            ("minutes", "6001")
        );
        assert_eq!(spent.number, "2");
        assert!(spent.ends(&first) && spent.ends(&second));
        assert_eq!(caps.poll_spent(due), None);
        caps.end(due, &first);
        caps.end(due, &second);
        // Told already, and nobody else pays for it.
        assert!(!caps.begin(due, "6001", "1").unwrap_err().news);
        assert!(caps.begin(due, "6002", "1").is_ok());
        let later = due + 11 * minute;
        assert!(caps.begin(later, "6001", "1").is_ok());
    }

    #[test]
    fn numbers_have_prices_and_the_longest_prefix_counts() {
        let cap = Cap::new("abroad", ["00"]).spend(1_000, HOUR);
        let cap = cap.price("", 10).price("0088", 600).price("0033", 0);
        let mut caps = Caps::new(vec![cap]);
        let now = Instant::ZERO;
        let mut satellite = caps.begin(now, "a", "00-88 16").unwrap();
        caps.talk(now, &mut satellite);
        let due = caps.poll_timeout().unwrap() - now;
        // 600 a minute, of which 16.7 come back.
        assert!((102..=104).contains(&due.as_secs()), "{due:?}");
        let end = now + Duration::from_secs(60);
        caps.end(end, &satellite);
        assert_eq!(caps.poll_timeout(), None);
        // 417 are left.
        assert!(caps.begin(end, "a", "008816").is_err());
        let mut cheap = caps.begin(end, "a", "0049").unwrap();
        let mut free = caps.begin(end, "a", "0033").unwrap();
        caps.talk(end, &mut cheap);
        caps.talk(end, &mut free);
        assert_eq!(caps.poll_timeout(), None, "less than what comes back");
        // What is not under the cap costs nothing.
        assert!(caps.begin(end, "a", "110").is_ok());
    }
}
