//! Who may send us requests: access lists, challenges, and credentials being looked up
//! (RFC 3261 §22).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::command::SessionId;
use super::event::{DriverRequest, LookupId};
use super::reply::Refusal;
use super::uas::server_key;
use super::{Agent, Arrival, Deadline};
use crate::rng::Rng;
use crate::sip::auth::digest::Secret;
use crate::sip::auth::server::{
    Asked, ChallengeAs, Proof, Screening, Verdict, Verifier, VerifierConfig, VerifierCounters,
};
use crate::sip::header::Name;
use crate::sip::header::auth::Credentials;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::key::ServerKey;
use crate::sip::transport::Path;
use crate::sip::transport::access::Admission;
use crate::time::Instant;
use bytes::Bytes;

/// Requests with good credentials that wait for their answer at most, to be told that we know the secret
/// too; of those beyond, the oldest are not.
const MAX_PROOFS: usize = 4_096;

/// Challenges, and the requests whose users are being looked up.
pub(super) struct Gate {
    verifier: Option<Verifier>,
    waiting: HashMap<LookupId, Waiting>,
    keys: HashMap<ServerKey, LookupId>,
    proofs: Proofs,
}

/// What requests with good credentials are answered with, until they are; the oldest first.
#[derive(Default)]
struct Proofs {
    by_key: HashMap<ServerKey, Proof>,
    order: VecDeque<(Instant, ServerKey)>,
}

impl Proofs {
    /// Keeps one, and lets those go whose time is over, or that are one too many.
    fn keep(&mut self, now: Instant, until: Instant, key: ServerKey, proof: Proof) {
        while let Some((end, oldest)) = self.order.front()
            && (*end <= now || self.order.len() >= MAX_PROOFS)
        {
            self.by_key.remove(oldest);
            self.order.pop_front();
        }
        self.order.push_back((until, key.clone()));
        self.by_key.insert(key, proof);
    }
}

/// A request whose user is being looked up.
struct Waiting {
    arrival: Arrival,
    request: Message,
    method: Method,
    key: ServerKey,
    credentials: Credentials,
}

impl Gate {
    pub(super) fn new(config: Option<VerifierConfig>, rng: &mut Rng) -> Self {
        Self {
            verifier: config.map(|config| Verifier::new(config, rng.fork())),
            waiting: HashMap::new(),
            keys: HashMap::new(),
            proofs: Proofs::default(),
        }
    }

    pub(super) fn counters(&self) -> VerifierCounters {
        let verifier = self.verifier.as_ref();
        verifier.map(Verifier::counters).unwrap_or_default()
    }

    pub(super) fn is_waiting(&self, lookup: LookupId) -> bool {
        self.waiting.contains_key(&lookup)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self, lookup: LookupId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&lookup)?;
        self.keys.remove(&waiting.key);
        Some(waiting)
    }
}

impl Agent {
    /// What was counted of credentials.
    pub fn verifier_counters(&self) -> VerifierCounters {
        self.gate.counters()
    }

    /// Takes in the answer to [`DriverRequest::Credentials`]: what the user and we share, `None`
    /// where there is no such user.
    pub fn handle_credentials(&mut self, now: Instant, lookup: LookupId, secret: Option<Secret>) {
        self.credentials_found(now, lookup, secret.as_ref());
        self.flush(now);
    }

    /// Lets a request in, or answers it, or looks its user up first.
    pub(super) fn on_admissible(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        method: Method,
        key: ServerKey,
    ) {
        match self.admission(arrival, request, &method) {
            Admission::Open => self.let_in(now, arrival, request, &method, key, None),
            Admission::Ignore => self.counters.refused_access += 1,
            Admission::Refuse => {
                self.counters.refused_access += 1;
                let refusal = Refusal::new(StatusCode::FORBIDDEN);
                self.refuse(now, arrival, request, &refusal);
            }
            Admission::Authenticate => self.authenticate(now, arrival, request, method, key),
        }
    }

    /// What the listener's rules ask of a request. CANCEL cannot be challenged; it has to come from
    /// where its INVITE came from. Within a dialog its own peer is not asked again.
    fn admission(&self, arrival: Arrival, request: &Message, method: &Method) -> Admission {
        let Some(listener) = self.listener_of(arrival) else {
            return Admission::Refuse;
        };
        let source = arrival.source.ip();
        let admission = self.raise_admission(method, listener.access.admission(source));
        match self.raise_for_events(method, admission) {
            Admission::Authenticate if *method == Method::Cancel => Admission::Open,
            Admission::Authenticate if self.is_from_peer(request, source) => Admission::Open,
            // Who sends it knows the tag and Call-ID that we gave to the notifier alone.
            Admission::Authenticate
                if *method == Method::Notify && self.subscribed_of(request).is_some() =>
            {
                Admission::Open
            }
            Admission::Authenticate
                if *method == Method::Subscribe && self.is_from_subscriber(request, source) =>
            {
                Admission::Open
            }
            admission => admission,
        }
    }

    /// Whether a request belongs to a session and comes from its peer.
    fn is_from_peer(&self, request: &Message, source: IpAddr) -> bool {
        let session = self.session_of(request);
        let session = session.and_then(|id| self.sessions.get(&id));
        session.is_some_and(|session| session.peer == Some(source))
    }

    fn authenticate(
        &mut self,
        now: Instant,
        arrival: Arrival,
        request: &Message,
        method: Method,
        key: ServerKey,
    ) {
        let Some(verifier) = &mut self.gate.verifier else {
            let refusal = Refusal::new(StatusCode::FORBIDDEN);
            return self.refuse(now, arrival, request, &refusal);
        };
        if self.gate.keys.contains_key(&key) {
            self.counters.absorbed += 1;
            return;
        }
        let Some(credentials) = credentials_for(request, verifier) else {
            return self.challenge(now, arrival, request, false);
        };
        let about = About::new(request);
        match verifier.screen(now, &about.asked(&method, arrival), &credentials) {
            Screening::LookUp => {
                let waiting = Waiting {
                    arrival,
                    request: request.clone(),
                    method,
                    key,
                    credentials,
                };
                self.look_user_up(now, waiting);
            }
            Screening::Challenge { stale } => self.challenge(now, arrival, request, stale),
        }
    }

    fn look_user_up(&mut self, now: Instant, waiting: Waiting) {
        if self.gate.waiting.len() >= self.config.max_credential_lookups {
            let refusal = self.full();
            return self.refuse(now, waiting.arrival, &waiting.request, &refusal);
        }
        let lookup = LookupId(self.next_id());
        self.driver.push_back(DriverRequest::Credentials {
            lookup,
            realm: waiting.credentials.realm.clone(),
            username: waiting.credentials.username.clone(),
        });
        self.gate.keys.insert(waiting.key.clone(), lookup);
        self.gate.waiting.insert(lookup, waiting);
        let deadline = now + self.config.resolve_timeout;
        self.deadlines.push(deadline, Deadline::Credentials(lookup));
    }

    fn credentials_found(&mut self, now: Instant, lookup: LookupId, secret: Option<&Secret>) {
        let (Some(waiting), Some(verifier)) = (self.gate.take(lookup), &mut self.gate.verifier)
        else {
            return;
        };
        let Waiting {
            arrival,
            request,
            method,
            key,
            credentials,
        } = waiting;
        let about = About::new(&request);
        let verdict = verifier.verify(now, &about.asked(&method, arrival), &credentials, secret);
        match (verdict, secret) {
            (Verdict::Accepted, Some(secret)) => {
                let user = credentials.username.clone();
                // Authentication-Info belongs to Authorization, not to a proxy's (RFC 3261 §20.6).
                if verifier.challenge_as() == ChallengeAs::Server {
                    let proof = verifier.proof(now, credentials, secret.clone());
                    let until = now + self.config.pending_timeout;
                    self.gate.proofs.keep(now, until, key.clone(), proof);
                }
                self.let_in(now, arrival, &request, &method, key, Some(&user));
            }
            (Verdict::Accepted | Verdict::Refused, _) => {
                self.challenge(now, arrival, &request, false);
            }
            (Verdict::Stale, _) => self.challenge(now, arrival, &request, true),
        }
    }

    /// The value of Authentication-Info in a 2xx to a request, where it had good credentials.
    pub(super) fn authentication_info(&self, request: &Message, body: &[u8]) -> Option<String> {
        if self.gate.proofs.by_key.is_empty() {
            return None;
        }
        let key = server_key(request, request.method()?, false)?;
        let proof = self.gate.proofs.by_key.get(&key)?;
        Some(proof.info(body).to_string())
    }

    /// The store of credentials did not answer.
    pub(super) fn credentials_overdue(&mut self, now: Instant, lookup: LookupId) {
        if let Some(waiting) = self.gate.take(lookup) {
            let refusal = self.full();
            self.refuse(now, waiting.arrival, &waiting.request, &refusal);
        }
    }

    /// Asks for credentials, keeping no state.
    fn challenge(&mut self, now: Instant, arrival: Arrival, request: &Message, stale: bool) {
        let Some(verifier) = &mut self.gate.verifier else {
            return;
        };
        let (status, name) = match verifier.challenge_as() {
            ChallengeAs::Server => (StatusCode::UNAUTHORIZED, Name::WwwAuthenticate),
            ChallengeAs::Proxy => (
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                Name::ProxyAuthenticate,
            ),
        };
        let challenges = verifier.challenge(now, stale);
        let mut refusal = Refusal::new(status);
        for challenge in challenges {
            refusal = refusal.and(name, challenge.to_string());
        }
        self.counters.challenged += 1;
        self.refuse(now, arrival, request, &refusal);
    }
}

/// The credentials for the verifier's realm, of those that a request carries.
fn credentials_for(request: &Message, verifier: &Verifier) -> Option<Credentials> {
    let name = match verifier.challenge_as() {
        ChallengeAs::Server => Name::Authorization,
        ChallengeAs::Proxy => Name::ProxyAuthorization,
    };
    let rows = request.header_all(name);
    let parsed = rows.filter_map(|row| Credentials::parse(row.text().as_bytes()).ok());
    let mut ours = parsed.filter(|credentials| credentials.realm == verifier.realm());
    ours.next()
}

/// What credentials vouch for.
struct About {
    uri: String,
    body: Bytes,
}

impl About {
    fn new(request: &Message) -> Self {
        Self {
            uri: request
                .request_uri()
                .map_or(String::new(), |uri| uri.to_string()),
            body: request.body(),
        }
    }

    fn asked<'a>(&'a self, method: &'a Method, arrival: Arrival) -> Asked<'a> {
        Asked {
            method: method.as_str(),
            uri: &self.uri,
            body: &self.body,
            source: arrival.source.ip(),
        }
    }
}

impl Agent {
    /// Remembers whom a session's requests come from.
    pub(super) fn note_peer(&mut self, id: SessionId, path: Path) {
        let peer = match path {
            Path::Datagram { destination, .. } => Some(destination.ip()),
            Path::Stream { connection } => self.connections.peer(connection),
        };
        if let Some(session) = self.session(id) {
            session.peer = peer.map(|ip| ip.to_canonical());
        }
    }
}
