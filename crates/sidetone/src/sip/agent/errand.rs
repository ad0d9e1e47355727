//! Requests of ours outside of calls: each sent, signed in where it is asked to, and its end told to
//! whom it is for (RFC 3261 §8.1, §22).

use std::collections::HashMap;

use super::command::{MessageId, OptionsId, PublicationId, SubscribeId};
use super::draft::{Draft, Signed};
use super::event::Failure;
use super::sign_in::is_genuine;
use super::{Agent, Owner};
use crate::id::ListenerId;
use crate::rng::Rng;
use crate::sip::auth::client::{Account, Answerer};
use crate::sip::event::notifier::SubscriptionId;
use crate::sip::header::Name;
use crate::sip::health::WatchId;
use crate::sip::message::Message;
use crate::sip::status::StatusCode;
use crate::sip::transport::Path;
use crate::time::{Duration, Instant};

/// How often in a row a request is sent again because of challenges.
const MAX_ROUNDS: u8 = 3;

/// The first pause after something has failed; doubled with each further failure.
const BASE_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(1800);

/// How long to wait after so many failures before, 50 to 100 % of it, so that not all clients of a
/// server come back at once.
pub(super) fn pause(failures: u32, rng: &mut Rng) -> Duration {
    let doubled = BASE_PAUSE.saturating_mul(1 << failures.min(8));
    doubled.min(MAX_PAUSE).mul_f64(0.5 + 0.5 * rng.next_f64())
}

/// One request of ours outside of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ErrandId(u64);

/// What a request of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A query of what a peer can do.
    Options(OptionsId),
    /// The question of this number to a peer that is watched.
    Ping(WatchId, u64),
    /// A message.
    Message(MessageId),
    /// A NOTIFY for a subscription of somebody else.
    Notify(SubscriptionId),
    /// A SUBSCRIBE of this attempt: the first, or one at a notifier that has come forward.
    Subscribe(SubscribeId, u32, Option<u32>),
    /// A PUBLISH.
    Publish(PublicationId),
}

/// A request under way.
pub(super) struct Errand {
    purpose: Purpose,
    /// What is sent again with credentials, where there are any to give.
    draft: Option<Draft>,
    sign_in: Option<Box<SignIn>>,
    flow: Option<Path>,
    rounds: u8,
}

/// What we sign in with, and the header field that was asked for last.
#[derive(Clone)]
pub(super) struct SignIn {
    answerer: Answerer,
    name: Name<'static>,
}

impl SignIn {
    pub(super) fn new(account: &Account) -> Box<Self> {
        Box::new(Self {
            answerer: Answerer::new(account.clone()),
            name: Name::Authorization,
        })
    }
}

/// How a request of ours ended, and what was learnt of signing in.
pub(super) struct Done {
    pub(super) result: Result<Message, Failure>,
    pub(super) sign_in: Option<Box<SignIn>>,
}

/// Every request under way.
#[derive(Default)]
pub(super) struct Errands(HashMap<ErrandId, Errand>);

impl Errands {
    /// The way that a request is bound to.
    pub(super) fn flow(&self, id: ErrandId) -> Option<Path> {
        self.0.get(&id)?.flow
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Agent {
    /// Sends a request; [`Agent::errand_done`] comes exactly once, perhaps before this returns.
    pub(super) fn run_errand(
        &mut self,
        now: Instant,
        purpose: Purpose,
        draft: Draft,
        sign_in: Option<Box<SignIn>>,
        flow: Option<Path>,
    ) {
        let id = ErrandId(self.next_id());
        let errand = Errand {
            purpose,
            draft: sign_in.is_some().then(|| draft.clone()),
            sign_in,
            flow,
            rounds: 0,
        };
        self.errands.0.insert(id, errand);
        self.send_request(now, Owner::Errand(id), draft);
    }

    /// Signs a request ahead of being asked, once somebody has asked before.
    pub(super) fn sign_errand(&mut self, id: ErrandId, draft: &mut Draft) {
        let errand = self.errands.0.get_mut(&id);
        let Some(sign_in) = errand.and_then(|errand| errand.sign_in.as_mut()) else {
            return;
        };
        let (method, uri) = (draft.method.as_str(), draft.uri.to_string());
        let body = draft.body.as_ref().map_or(&b""[..], |body| &body.bytes);
        let credentials = sign_in.answerer.credentials(method, &uri, body);
        draft.credentials = credentials.map(|credentials| Signed {
            name: sign_in.name,
            value: credentials.to_string(),
        });
    }

    /// A response to such a request.
    pub(super) fn errand_answered(&mut self, now: Instant, id: ErrandId, response: &Message) {
        let Some(status) = response.status().filter(|status| status.is_final()) else {
            return;
        };
        let again = match status {
            StatusCode::UNAUTHORIZED => self.challenge_taken(id, Name::WwwAuthenticate, response),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                self.challenge_taken(id, Name::ProxyAuthenticate, response)
            }
            _ => None,
        };
        if let Some(mut draft) = again {
            self.counters.challenges_answered += 1;
            draft.sequence = self.sequence_again(id, draft.sequence);
            return self.send_request(now, Owner::Errand(id), draft);
        }
        let Some(mut errand) = self.errands.0.remove(&id) else {
            return;
        };
        let asked = status == StatusCode::UNAUTHORIZED
            || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if let Some(sign_in) = errand.sign_in.as_mut().filter(|_| !asked) {
            let genuine = is_genuine(&mut sign_in.answerer, response);
            self.counters.impostors += u64::from(!genuine);
        }
        let done = Done {
            result: Ok(response.clone()),
            sign_in: errand.sign_in,
        };
        self.errand_done(now, errand.purpose, done);
    }

    /// Such a request got no response.
    pub(super) fn errand_failed(&mut self, now: Instant, id: ErrandId, failure: Failure) {
        if let Some(errand) = self.errands.0.remove(&id) {
            let done = Done {
                result: Err(failure),
                sign_in: errand.sign_in,
            };
            self.errand_done(now, errand.purpose, done);
        }
    }

    /// Takes in a challenge: the request to send again, where answering can help.
    fn challenge_taken(
        &mut self,
        id: ErrandId,
        name: Name<'static>,
        response: &Message,
    ) -> Option<Draft> {
        let errand = self.errands.0.get_mut(&id)?;
        let sign_in = errand.sign_in.as_mut()?;
        let rows: Vec<_> = response.header_all(name).map(|row| row.text()).collect();
        let values = rows.iter().map(|text| text.as_bytes());
        if errand.rounds >= MAX_ROUNDS || !sign_in.answerer.take(values, &mut self.rng) {
            return None;
        }
        errand.rounds += 1;
        sign_in.name = match name == Name::ProxyAuthenticate {
            true => Name::ProxyAuthorization,
            false => Name::Authorization,
        };
        errand.draft.clone()
    }

    /// The CSeq number of a request that is sent once more: within a dialog the dialog's next.
    fn sequence_again(&mut self, id: ErrandId, last: u32) -> u32 {
        let purpose = self.errands.0.get(&id).map(|errand| errand.purpose);
        let next = match purpose {
            Some(Purpose::Subscribe(id, _, branch)) => self.subscribe_sequence(id, branch),
            _ => None,
        };
        let next = next.unwrap_or((last + 1) & 0x7fff_ffff);
        if let Some(draft) = self.errands.0.get_mut(&id).and_then(|e| e.draft.as_mut()) {
            draft.sequence = next;
        }
        next
    }

    fn errand_done(&mut self, now: Instant, purpose: Purpose, done: Done) {
        match purpose {
            Purpose::Options(id) => self.options_done(id, done.result),
            Purpose::Ping(id, number) => self.ping_done(now, id, number, done),
            Purpose::Message(id) => self.message_done(id, done.result),
            Purpose::Notify(id) => self.notice_done(now, id, done),
            Purpose::Subscribe(id, attempt, branch) => {
                self.subscribe_done(now, (id, attempt, branch), done);
            }
            Purpose::Publish(id) => self.publish_done(now, id, done),
        }
    }

    /// The listener and path of a flow, where it can still be used.
    pub(super) fn way_of(&self, flow: Path) -> Option<(ListenerId, Path)> {
        match flow {
            Path::Datagram { listener, .. } => Some((listener, flow)),
            Path::Stream { connection } => Some((self.connections.listener(connection)?, flow)),
        }
    }
}
