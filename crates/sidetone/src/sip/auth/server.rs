//! The server's side: challenges with stateless nonces, replay, and sources that guess
//! (RFC 3261 §22, RFC 7616 §3.3, RFC 8760 §2.4).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::digest::{Algorithm, Inputs, Protecting, Secret, hex};
use crate::rng::Rng;
use crate::sip::header::auth::{AuthenticationInfo, Challenge, Credentials, ServerProof};
use crate::sip::uri::Uri;
use crate::time::{Duration, Instant};

/// How a server asks for credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierConfig {
    /// The realm, shown to users.
    pub realm: String,
    /// The algorithms that are offered, the best first, each in a challenge of its own (RFC 8760
    /// §2.4). Default SHA-256, then MD5, which most telephones need; some of them (libre 1.1 of
    /// baresip 1.0 among them) read only the first challenge and give up unless it is MD5.
    pub algorithms: Vec<Algorithm>,
    /// As what it asks: as the server that the request is for, or as a proxy on the way. Default
    /// the former.
    pub challenge_as: ChallengeAs,
    /// Whether `auth-int`, which covers the body too, is offered beside `auth`. Default off:
    /// application gateways that change SDP break it.
    pub integrity: bool,
    /// How long a nonce serves. Default 5 minutes.
    pub nonce_lifetime: Duration,
    /// Nonces in use at most whose counts are remembered; the oldest goes stale for one too many.
    /// Default 20,000, about 100 bytes each.
    pub max_nonces: usize,
    /// Failures that a source may have before it has to wait. Default 10.
    pub free_failures: u32,
    /// The first wait after that, doubled with each further failure. Default 1 s.
    pub wait: Duration,
    /// The longest wait. Default 10 minutes; a source is forgiven when it has been quiet for so long.
    pub max_wait: Duration,
    /// Sources at most whose failures are remembered; the oldest is forgotten for one too many.
    /// Default 20,000.
    pub max_sources: usize,
}

impl VerifierConfig {
    /// The defaults for `realm`.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            challenge_as: ChallengeAs::Server,
            integrity: false,
            nonce_lifetime: Duration::from_secs(300),
            max_nonces: 20_000,
            free_failures: 10,
            wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(600),
            max_sources: 20_000,
        }
    }
}

/// In which role credentials are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeAs {
    /// 401 with WWW-Authenticate, answered with Authorization (RFC 3261 §22.2).
    Server,
    /// 407 with Proxy-Authenticate, answered with Proxy-Authorization (§22.3).
    Proxy,
}

/// What is known of credentials before the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screening {
    /// They are worth looking the user's secret up.
    LookUp,
    /// They are good for nothing: challenge anew, with the `stale` flag where the nonce is only old.
    Challenge {
        /// Whether the nonce was ours, but is used up.
        stale: bool,
    },
}

/// What a verification came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The user has the secret.
    Accepted,
    /// The secret is wrong, or there is no such user: challenge anew.
    Refused,
    /// The nonce is used up or the count has been seen: challenge anew with the `stale` flag.
    Stale,
}

/// What has been counted. None of these ever goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifierCounters {
    /// Credentials accepted.
    pub accepted: u64,
    /// Credentials refused: no such user, or another secret.
    pub refused: u64,
    /// Credentials with a nonce that is used up, or not ours.
    pub stale: u64,
    /// Credentials whose nonce count had been used: a replay.
    pub replayed: u64,
    /// Credentials not looked at, since their source has guessed too often.
    pub throttled: u64,
}

/// The request that credentials came with.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI, which the credentials must name, in these words or in equivalent ones.
    pub uri: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// Where it came from.
    pub source: IpAddr,
}

/// Bits of a nonce count window.
const WINDOW: u32 = 64;
/// Bytes of the code that shows a nonce to be ours.
const CODE_BYTES: usize = 16;

/// Challenges requests and verifies their credentials, for one realm.
///
/// A challenge costs no memory: the nonce carries the time it was made and a code that only this
/// server can write. Memory is spent on those who have shown that they know a secret (their nonce
/// counts, so that nothing can be replayed) and on sources that have failed; both are bounded.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone::sip::auth::client::{Account, Answerer};
/// use sidetone::sip::auth::digest::Secret;
/// use sidetone::sip::auth::server::{Asked, Screening, Verdict, Verifier, VerifierConfig};
/// use sidetone::time::Instant;
///
/// let now = Instant::ZERO;
/// let mut verifier = Verifier::new(VerifierConfig::new("pbx.example"), Rng::new(1));
/// let challenges = verifier.challenge(now, false);
///
/// let account = Account::new("pbx.example", "6001", Secret::password("opensesame"));
/// let mut answerer = Answerer::new(account);
/// let texts: Vec<String> = challenges.iter().map(ToString::to_string).collect();
/// assert!(answerer.take(texts.iter().map(String::as_bytes), &mut Rng::new(2)));
/// let credentials = answerer.credentials("INVITE", "sip:6002@pbx.example", b"").unwrap();
///
/// let source = "192.0.2.1".parse().unwrap();
/// let asked = Asked { method: "INVITE", uri: "sip:6002@pbx.example", body: b"", source };
/// assert_eq!(verifier.screen(now, &asked, &credentials), Screening::LookUp);
/// let secret = Secret::password("opensesame");
/// assert_eq!(verifier.verify(now, &asked, &credentials, Some(&secret)), Verdict::Accepted);
/// assert_eq!(verifier.verify(now, &asked, &credentials, Some(&secret)), Verdict::Stale);
/// ```
pub struct Verifier {
    config: VerifierConfig,
    key: Zeroizing<[u8; 32]>,
    rng: Rng,
    nonces: Nonces,
    sources: Sources,
    counters: VerifierCounters,
}

impl Verifier {
    /// A verifier whose nonces are drawn and signed with what `rng` gives.
    pub fn new(config: VerifierConfig, mut rng: Rng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&rng.next_u64().to_be_bytes());
        }
        Self {
            nonces: Nonces::default(),
            sources: Sources::default(),
            counters: VerifierCounters::default(),
            config,
            key,
            rng,
        }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.config.realm
    }

    /// As what it asks.
    pub fn challenge_as(&self) -> ChallengeAs {
        self.config.challenge_as
    }

    /// What has been counted.
    pub fn counters(&self) -> VerifierCounters {
        self.counters
    }

    /// The challenges for one 401 or 407, the best algorithm first.
    pub fn challenge(&mut self, now: Instant, stale: bool) -> Vec<Challenge> {
        let nonce = self.new_nonce(now);
        let mut qop = vec!["auth".to_owned()];
        if self.config.integrity {
            qop.insert(0, "auth-int".to_owned());
        }
        let algorithms = self.config.algorithms.iter();
        let challenges = algorithms.map(|algorithm| Challenge {
            realm: self.config.realm.clone(),
            nonce: nonce.clone(),
            opaque: None,
            algorithm: Some(algorithm.token().to_owned()),
            qop: qop.clone(),
            stale,
        });
        challenges.collect()
    }

    /// Looks at credentials before the user's secret is known, so that nobody is looked up for
    /// nothing.
    pub fn screen(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        credentials: &Credentials,
    ) -> Screening {
        if self.sources.must_wait(now, asked.source, &self.config) {
            self.counters.throttled += 1;
            return Screening::Challenge { stale: false };
        }
        if !self.is_well_formed(asked, credentials) {
            self.counters.refused += 1;
            self.sources.failed(now, asked.source, &self.config);
            return Screening::Challenge { stale: false };
        }
        match self.nonce_time(now, &credentials.nonce) {
            Some(_) => Screening::LookUp,
            None => {
                self.counters.stale += 1;
                Screening::Challenge { stale: true }
            }
        }
    }

    /// Verifies credentials that passed the screening against the user's secret; `None` where there
    /// is no such user, which takes as long and looks the same.
    pub fn verify(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        credentials: &Credentials,
        secret: Option<&Secret>,
    ) -> Verdict {
        let nobody = Secret::password("");
        let secret_or_nobody = secret.unwrap_or(&nobody);
        let right = is_right(asked, credentials, secret_or_nobody) && secret.is_some();
        if !right {
            self.counters.refused += 1;
            self.sources.failed(now, asked.source, &self.config);
            return Verdict::Refused;
        }
        let Some(made) = self.nonce_time(now, &credentials.nonce) else {
            self.counters.stale += 1;
            return Verdict::Stale;
        };
        let count = credentials.qop.as_ref().map_or(0, |qop| qop.count);
        if !self
            .nonces
            .take(made, &credentials.nonce, count, &self.config)
        {
            self.counters.replayed += 1;
            return Verdict::Stale;
        }
        self.sources.forgive(asked.source);
        self.counters.accepted += 1;
        Verdict::Accepted
    }

    /// What those who have sent good credentials are answered: that we know the secret too, and the
    /// next nonce once half of this one's life is over (RFC 7616 §3.5).
    pub fn proof(&mut self, now: Instant, credentials: Credentials, secret: Secret) -> Proof {
        let half = self.config.nonce_lifetime.as_millis() / 2;
        let age = self.nonce_time(now, &credentials.nonce).map(|made| {
            let now = (now - Instant::ZERO).as_millis();
            now.saturating_sub(u128::from(made))
        });
        let ages = age.is_none_or(|age| age > half);
        Proof {
            next_nonce: ages.then(|| self.new_nonce(now)),
            credentials,
            secret,
        }
    }

    /// Whether the credentials answer a challenge of ours for this request, as far as can be seen.
    fn is_well_formed(&self, asked: &Asked<'_>, credentials: &Credentials) -> bool {
        let algorithm = Algorithm::from_token(credentials.algorithm.as_deref());
        let qop = credentials.qop.as_ref().map(|qop| qop.qop.as_str());
        let protected = match qop {
            Some("auth") => true,
            Some("auth-int") => self.config.integrity,
            _ => false,
        };
        protected
            && algorithm.is_some_and(|algorithm| self.config.algorithms.contains(&algorithm))
            && credentials.realm == self.config.realm
            && is_for(&credentials.uri, asked.uri)
    }

    /// `time "-" random "-" code`, in hexadecimal.
    fn new_nonce(&mut self, now: Instant) -> String {
        let millis = (now - Instant::ZERO).as_millis() as u64;
        let head = format!("{millis:x}-{:016x}", self.rng.next_u64());
        let code = self.code(&head);
        format!("{head}-{code}")
    }

    fn code(&self, head: &str) -> String {
        // An HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.key) else {
            return String::new();
        };
        mac.update(head.as_bytes());
        mac.update(self.config.realm.as_bytes());
        hex(&mac.finalize().into_bytes()[..CODE_BYTES])
    }

    /// When a nonce was made, where it is ours and still serves.
    fn nonce_time(&self, now: Instant, nonce: &str) -> Option<u64> {
        use subtle::ConstantTimeEq as _;
        let (head, code) = nonce.rsplit_once('-')?;
        let (millis, _) = head.split_once('-')?;
        let made = u64::from_str_radix(millis, 16).ok()?;
        if !bool::from(self.code(head).as_bytes().ct_eq(code.as_bytes())) {
            return None;
        }
        let age = (now - Instant::ZERO).as_millis() as u64;
        let age = age.saturating_sub(made);
        let serves = u128::from(age) <= self.config.nonce_lifetime.as_millis();
        (serves && made >= self.nonces.floor).then_some(made)
    }
}

/// What a server can say of itself in the 2xx to a request with good credentials.
#[derive(Clone)]
pub struct Proof {
    credentials: Credentials,
    secret: Secret,
    next_nonce: Option<String>,
}

impl Proof {
    /// The value of Authentication-Info in an answer with this body.
    pub fn info(&self, body: &[u8]) -> AuthenticationInfo {
        let proof = self.credentials.qop.clone().and_then(|protection| {
            let response = answered(&self.credentials, body)?.response(&self.secret)?;
            Some(ServerProof {
                response,
                protection,
            })
        });
        AuthenticationInfo {
            next_nonce: self.next_nonce.clone(),
            proof,
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("config", &self.config)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Whether both URIs name the same resource (RFC 7616 §3.4.6 by RFC 3261 §19.1.4): peers write the same
/// URI with other escapes or parameters.
fn is_for(signed: &str, asked: &str) -> bool {
    let equivalent = || {
        let (signed, asked) = (Uri::parse(signed).ok()?, Uri::parse(asked).ok()?);
        Some(signed.is_equivalent(&asked))
    };
    signed == asked || equivalent().unwrap_or(false)
}

fn is_right(asked: &Asked<'_>, credentials: &Credentials, secret: &Secret) -> bool {
    let inputs = inputs(credentials, asked.method, asked.body);
    inputs.is_some_and(|inputs| inputs.verify(secret, &credentials.response))
}

/// What the server's own proof is computed over: as the client's, but without a method (RFC 7616 §3.5).
fn answered<'a>(credentials: &'a Credentials, body: &'a [u8]) -> Option<Inputs<'a>> {
    inputs(credentials, "", body)
}

fn inputs<'a>(credentials: &'a Credentials, method: &'a str, body: &'a [u8]) -> Option<Inputs<'a>> {
    let algorithm = Algorithm::from_token(credentials.algorithm.as_deref())?;
    let protection = credentials.qop.as_ref().map(|qop| Protecting {
        cnonce: &qop.cnonce,
        count: qop.count,
        body: (qop.qop == "auth-int").then_some(body),
    });
    Some(Inputs {
        algorithm,
        username: &credentials.username,
        realm: &credentials.realm,
        nonce: &credentials.nonce,
        method,
        uri: &credentials.uri,
        protection,
    })
}

/// Counts of the nonces that good credentials have used, the oldest nonce first.
#[derive(Debug, Default)]
struct Nonces {
    used: BTreeMap<(u64, Box<str>), Count>,
    /// Nonces older than this serve no more: their counts are forgotten.
    floor: u64,
}

/// The highest count seen, and which of the [`WINDOW`] up to it.
#[derive(Debug, Clone, Copy)]
struct Count {
    highest: u32,
    seen: u64,
}

impl Nonces {
    /// Uses a count of a nonce; false where it has been used, or is too far behind to tell.
    fn take(&mut self, made: u64, nonce: &str, count: u32, config: &VerifierConfig) -> bool {
        let key = (made, Box::from(nonce));
        if let Some(known) = self.used.get_mut(&key) {
            return known.take(count);
        }
        if count == 0 {
            return false;
        }
        self.used.insert(
            key,
            Count {
                highest: count,
                seen: 1,
            },
        );
        while self.used.len() > config.max_nonces.max(1) {
            if let Some(((oldest, _), _)) = self.used.pop_first() {
                self.floor = self.floor.max(oldest + 1);
            }
        }
        true
    }
}

impl Count {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = match behind {
            0..WINDOW => 1u64 << behind,
            _ => return false,
        };
        let fresh = count != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

/// Sources that have failed.
#[derive(Debug, Default)]
struct Sources {
    failures: HashMap<IpAddr, Failures>,
    /// Sources by their first failure, those forgiven since included.
    order: VecDeque<(u64, IpAddr)>,
    made: u64,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    number: u64,
    count: u32,
    last: Instant,
}

impl Sources {
    /// Whether a source has to wait before its credentials are looked at.
    fn must_wait(&self, now: Instant, source: IpAddr, config: &VerifierConfig) -> bool {
        let Some(failures) = self.failures.get(&network(source)) else {
            return false;
        };
        let Some(beyond) = failures.count.checked_sub(config.free_failures) else {
            return false;
        };
        let doubled = 1u32.checked_shl(beyond.min(31)).unwrap_or(u32::MAX);
        let wait = config.wait.saturating_mul(doubled).min(config.max_wait);
        (now - failures.last) < wait
    }

    fn failed(&mut self, now: Instant, source: IpAddr, config: &VerifierConfig) {
        let source = network(source);
        if let Some(failures) = self.failures.get_mut(&source) {
            let quiet = (now - failures.last) >= config.max_wait;
            failures.count = if quiet {
                1
            } else {
                failures.count.saturating_add(1)
            };
            failures.last = now;
            return;
        }
        self.made += 1;
        let number = self.made;
        self.failures.insert(
            source,
            Failures {
                number,
                count: 1,
                last: now,
            },
        );
        self.order.push_back((number, source));
        while self.order.len() > config.max_sources.max(1) {
            let Some((number, oldest)) = self.order.pop_front() else {
                return;
            };
            if self
                .failures
                .get(&oldest)
                .is_some_and(|f| f.number == number)
            {
                self.failures.remove(&oldest);
            }
        }
    }

    fn forgive(&mut self, source: IpAddr) {
        self.failures.remove(&network(source));
    }
}

/// Whom a source is counted as: an IPv4 address, or an IPv6 network of 64 bits, of which one host
/// has as many addresses as it likes.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::auth::client::{Account, Answerer};

    const URI: &str = "sip:pbx.example";

    fn asked(source: &str) -> Asked<'static> {
        Asked {
            method: "REGISTER",
            uri: URI,
            body: b"body",
            source: source.parse().unwrap(),
        }
    }

    struct Lab {
        verifier: Verifier,
        answerer: Answerer,
        now: Instant,
    }

    impl Lab {
        fn new(change: impl FnOnce(&mut VerifierConfig)) -> Self {
            let mut config = VerifierConfig::new("r");
            change(&mut config);
            let account = Account::new("r", "u", Secret::password("right"));
            Self {
                verifier: Verifier::new(config, Rng::new(1)),
                answerer: Answerer::new(account),
                now: Instant::ZERO + Duration::from_secs(1_000),
            }
        }

        fn challenge(&mut self) {
            let texts = self.verifier.challenge(self.now, true);
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            let taken = self
                .answerer
                .take(texts.iter().map(String::as_bytes), &mut Rng::new(2));
            assert!(taken);
        }

        fn credentials(&mut self) -> Credentials {
            self.answerer.credentials("REGISTER", URI, b"body").unwrap()
        }

        fn verify(&mut self, source: &str, credentials: &Credentials, password: &str) -> Verdict {
            let secret = Secret::password(password);
            self.verifier
                .verify(self.now, &asked(source), credentials, Some(&secret))
        }
    }

    #[test]
    fn a_count_serves_once_and_may_come_late() {
        let mut lab = Lab::new(|_| {});
        lab.challenge();
        let all: Vec<Credentials> = (0..70).map(|_| lab.credentials()).collect();
        let mut expect = |index: usize, verdict| {
            assert_eq!(
                lab.verify("192.0.2.1", &all[index], "right"),
                verdict,
                "{index}"
            );
        };
        expect(0, Verdict::Accepted);
        expect(0, Verdict::Stale);
        expect(3, Verdict::Accepted);
        expect(2, Verdict::Accepted);
        expect(2, Verdict::Stale);
        expect(69, Verdict::Accepted);
        expect(6, Verdict::Accepted);
        expect(5, Verdict::Stale);
        expect(3, Verdict::Stale);
        assert_eq!(lab.verifier.counters().replayed, 4);
    }

    #[test]
    fn nonces_are_ours_and_grow_old() {
        let mut lab = Lab::new(|_| {});
        lab.challenge();
        let good = lab.credentials();
        let source = asked("192.0.2.1");
        for forged in ["", "-", "--", "3e8-0-00", &good.nonce[1..], "zz-0-0"] {
            let credentials = Credentials {
                nonce: forged.into(),
                ..good.clone()
            };
            let screening = lab.verifier.screen(lab.now, &source, &credentials);
            assert_eq!(screening, Screening::Challenge { stale: true }, "{forged}");
        }
        assert_eq!(
            lab.verifier.screen(lab.now, &source, &good),
            Screening::LookUp
        );
        lab.now += Duration::from_secs(301);
        assert_eq!(
            lab.verifier.screen(lab.now, &source, &good),
            Screening::Challenge { stale: true }
        );
        assert_eq!(lab.verify("192.0.2.1", &good, "right"), Verdict::Stale);
    }

    #[test]
    fn a_nonce_that_was_forgotten_cannot_be_replayed() {
        let mut lab = Lab::new(|config| config.max_nonces = 2);
        lab.challenge();
        let first = lab.credentials();
        assert_eq!(lab.verify("192.0.2.1", &first, "right"), Verdict::Accepted);
        for _ in 0..2 {
            lab.now += Duration::from_secs(1);
            lab.challenge();
            let next = lab.credentials();
            assert_eq!(lab.verify("192.0.2.1", &next, "right"), Verdict::Accepted);
        }
        assert_eq!(lab.verify("192.0.2.1", &first, "right"), Verdict::Stale);
        assert_eq!(lab.verifier.nonces.used.len(), 2);
    }

    #[test]
    fn credentials_for_another_request_are_refused() {
        let mut lab = Lab::new(|config| config.integrity = true);
        lab.challenge();
        let good = lab.credentials();
        assert_eq!(good.qop.as_ref().unwrap().qop, "auth-int");
        let request = asked("192.0.2.1");
        let refused = Screening::Challenge { stale: false };
        let change = |what: &str| {
            let mut changed = good.clone();
            match what {
                "uri" => changed.uri = "sip:other".into(),
                "realm" => changed.realm = "s".into(),
                "session" => changed.algorithm = Some("MD5-sess".into()),
                "not offered" => changed.algorithm = Some("SHA-512-256".into()),
                _ => changed.qop = None,
            }
            changed
        };
        for what in ["uri", "realm", "session", "not offered", "no protection"] {
            let screening = lab.verifier.screen(lab.now, &request, &change(what));
            assert_eq!(screening, refused, "{what}");
        }
        let secret = Secret::password("right");
        for other in [
            Asked {
                method: "INVITE",
                ..request
            },
            Asked {
                body: b"changed",
                ..request
            },
        ] {
            let verdict = lab.verifier.verify(lab.now, &other, &good, Some(&secret));
            assert_eq!(verdict, Verdict::Refused);
        }
        assert_eq!(lab.verify("192.0.2.1", &good, "right"), Verdict::Accepted);
    }

    #[test]
    fn credentials_may_name_the_uri_in_other_words() {
        for (signed, same) in [
            ("sip:pbx.example", true),
            ("SIP:PBX.example;newparam=5", true),
            ("sip:pbx.example;transport=tcp", false),
            ("sip:pbx.example:5060", false),
            ("sip:u@pbx.example", false),
            ("pbx.example", false),
            ("", false),
        ] {
            let mut lab = Lab::new(|_| {});
            lab.challenge();
            let credentials = lab.answerer.credentials("REGISTER", signed, b"body");
            let screening =
                lab.verifier
                    .screen(lab.now, &asked("192.0.2.1"), &credentials.unwrap());
            let passed = screening == Screening::LookUp;
            assert_eq!(passed, same, "{signed}");
        }
    }

    #[test]
    fn guessing_is_slowed_by_source_and_forgiven() {
        let mut lab = Lab::new(|_| {});
        lab.challenge();
        let credentials = lab.credentials();
        for guess in 0..10 {
            let verdict = lab.verify("192.0.2.1", &credentials, &guess.to_string());
            assert_eq!(verdict, Verdict::Refused);
        }
        let screen = |lab: &mut Lab, source: &str| {
            lab.verifier.screen(lab.now, &asked(source), &credentials)
        };
        let slowed = Screening::Challenge { stale: false };
        assert_eq!(screen(&mut lab, "192.0.2.1"), slowed);
        assert_eq!(screen(&mut lab, "192.0.2.2"), Screening::LookUp);
        assert_eq!(lab.verifier.counters().throttled, 1);
        lab.now += Duration::from_secs(1);
        assert_eq!(screen(&mut lab, "192.0.2.1"), Screening::LookUp);
        assert_eq!(lab.verify("192.0.2.1", &credentials, "x"), Verdict::Refused);
        lab.now += Duration::from_millis(1_999);
        assert_eq!(screen(&mut lab, "192.0.2.1"), slowed);
        lab.now += Duration::from_millis(1);
        assert_eq!(
            lab.verify("192.0.2.1", &credentials, "right"),
            Verdict::Accepted
        );
        assert!(lab.verifier.sources.failures.is_empty());
    }

    #[test]
    fn failing_sources_are_bounded_and_an_ipv6_host_is_one() {
        let mut lab = Lab::new(|config| config.max_sources = 100);
        lab.challenge();
        let credentials = lab.credentials();
        for host in 0..1_000u32 {
            let source = format!("10.0.{}.{}", host / 256, host % 256);
            lab.verify(&source, &credentials, "wrong");
        }
        assert_eq!(lab.verifier.sources.failures.len(), 100);
        assert_eq!(lab.verifier.sources.order.len(), 100);
        for host in 0..11 {
            lab.verify(&format!("2001:db8::{host}"), &credentials, "wrong");
        }
        let screening = lab
            .verifier
            .screen(lab.now, &asked("2001:db8::abcd"), &credentials);
        assert_eq!(screening, Screening::Challenge { stale: false });
    }

    #[test]
    fn nobody_is_refused_like_a_wrong_secret() {
        let mut lab = Lab::new(|_| {});
        lab.challenge();
        let credentials = lab.credentials();
        let request = asked("192.0.2.1");
        let verdict = lab.verifier.verify(lab.now, &request, &credentials, None);
        assert_eq!(verdict, Verdict::Refused);
        // Not even one who knows what nobody's secret is.
        let account = Account::new("r", "nobody", Secret::password(""));
        lab.answerer = Answerer::new(account);
        lab.challenge();
        let credentials = lab.credentials();
        let verdict = lab.verifier.verify(lab.now, &request, &credentials, None);
        assert_eq!(verdict, Verdict::Refused);
    }
}
