//! Our requests that a server challenges: signed, and sent again where that helps (RFC 3261 §22).

use super::command::SessionId;
use super::draft::{Draft, Signed};
use super::session::{Cancelling, Session};
use super::{Agent, Owner, Part};
use crate::sip::auth::client::{Account, Answerer};
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::status::StatusCode;
use crate::sip::transaction::layer::TransactionId;
use crate::time::Instant;

/// How often in a row the requests of a session are sent again because of challenges.
const MAX_ROUNDS: u8 = 3;

/// What a session that we began signs in with.
#[derive(Debug)]
pub(super) struct SignIn {
    answerer: Answerer,
    /// Whether a proxy asked (407), not the peer (401).
    proxy: bool,
    rounds: u8,
    /// What our last INVITE was signed with; its ACK for a 2xx carries the same (RFC 3261
    /// §13.2.2.4).
    invite: Option<Signed>,
    /// Requests that are neither INVITE nor ACK and have no final response.
    drafts: Vec<(TransactionId, Draft)>,
}

impl SignIn {
    pub(super) fn new(account: Account) -> Self {
        Self {
            answerer: Answerer::new(account),
            proxy: false,
            rounds: 0,
            invite: None,
            drafts: Vec::new(),
        }
    }

    fn name(&self) -> Name<'static> {
        match self.proxy {
            true => Name::ProxyAuthorization,
            false => Name::Authorization,
        }
    }

    /// Signs a request, once there has been a challenge.
    fn sign(&mut self, draft: &mut Draft) {
        draft.credentials = match draft.method {
            Method::Ack => self.invite.clone(),
            Method::Cancel => None,
            _ => {
                let (method, uri) = (draft.method.as_str(), draft.uri.to_string());
                let body = draft.body.as_ref().map_or(&b""[..], |body| &body.bytes);
                let credentials = self.answerer.credentials(method, &uri, body);
                credentials.map(|credentials| Signed {
                    name: self.name(),
                    value: credentials.to_string(),
                })
            }
        };
        if draft.method == Method::Invite {
            self.invite.clone_from(&draft.credentials);
        }
    }
}

/// Takes in that a server has let a request with credentials through; false where it shows that it
/// does not know their secret.
pub(super) fn is_genuine(answerer: &mut Answerer, response: &Message) -> bool {
    let info = response.authentication_info().ok().flatten();
    answerer.accepted(info.as_ref(), &response.body())
}

impl Agent {
    /// Signs a request whose owner signs in.
    pub(super) fn sign(&mut self, owner: Owner, draft: &mut Draft) {
        match owner {
            Owner::Session(id, _) => {
                if let Some(sign_in) = self.session(id).and_then(|s| s.sign_in.as_mut()) {
                    sign_in.sign(draft);
                }
            }
            Owner::Errand(id) => self.sign_errand(id, draft),
            Owner::Registration(_) | Owner::Nobody => {}
        }
    }

    /// Keeps a request that may be challenged. INVITEs are kept elsewhere.
    pub(super) fn keep_for_challenge(
        &mut self,
        owner: Owner,
        transaction: TransactionId,
        draft: Draft,
    ) {
        if let Owner::Session(id, Part::Info | Part::Farewell | Part::Request(_)) = owner
            && let Some(sign_in) = self.session(id).and_then(|s| s.sign_in.as_mut())
        {
            sign_in.drafts.push((transaction, draft));
        }
    }

    /// Takes in the final response to a request of ours; true where it was a challenge and the
    /// request has been sent again with credentials.
    ///
    /// Challenges within sessions that the peer began are never answered: anybody can call us, hang
    /// up the telephone that answers, and ask for our credentials ("digest leak").
    pub(super) fn challenge_answered(
        &mut self,
        now: Instant,
        id: SessionId,
        part: Part,
        transaction: TransactionId,
        response: &Message,
    ) -> bool {
        let Some(status) = response.status().filter(|status| !status.is_provisional()) else {
            return false;
        };
        let proxy = match status {
            StatusCode::UNAUTHORIZED => false,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => true,
            _ => {
                let sign_in = self.session(id).and_then(|s| s.sign_in.as_mut());
                let genuine = sign_in.is_none_or(|sign_in| {
                    sign_in.rounds = 0;
                    is_genuine(&mut sign_in.answerer, response)
                });
                self.counters.impostors += u64::from(!genuine);
                return false;
            }
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let Some(sign_in) = &mut session.sign_in else {
            return false;
        };
        let name = match proxy {
            true => Name::ProxyAuthenticate,
            false => Name::WwwAuthenticate,
        };
        let rows: Vec<_> = response.header_all(name).map(|row| row.text()).collect();
        let values = rows.iter().map(|text| text.as_bytes());
        if sign_in.rounds >= MAX_ROUNDS || !sign_in.answerer.take(values, &mut self.rng) {
            return false;
        }
        sign_in.rounds += 1;
        sign_in.proxy = proxy;
        let Some(draft) = session.again(part, transaction) else {
            return false;
        };
        self.counters.challenges_answered += 1;
        self.send_request(now, Owner::Session(id, part), draft);
        true
    }
}

impl Session {
    /// The request of a transaction with its next CSeq number, to be sent once more.
    fn again(&mut self, part: Part, transaction: TransactionId) -> Option<Draft> {
        match part {
            Part::Invite | Part::Reinvite => self.invite_again(part),
            Part::Info | Part::Farewell | Part::Request(_) => {
                let drafts = &mut self.sign_in.as_mut()?.drafts;
                let index = drafts.iter().position(|(of, _)| *of == transaction)?;
                let (_, mut draft) = drafts.swap_remove(index);
                draft.sequence = match &mut self.dialog {
                    Some(dialog) if draft.to.tag() == Some(dialog.remote_tag()) => {
                        dialog.next_sequence()
                    }
                    // A branch of a fork that is being hung up.
                    _ => draft.sequence + 1,
                };
                Some(draft)
            }
            Part::Ack(_) | Part::ServerInvite | Part::Server => None,
        }
    }

    pub(super) fn invite_again(&mut self, part: Part) -> Option<Draft> {
        let client = self.client.as_mut()?;
        if !matches!(client.cancelling, Cancelling::No) {
            return None;
        }
        client.draft.sequence = match (part, &mut self.dialog) {
            (Part::Reinvite, dialog) => dialog.as_mut()?.next_sequence(),
            _ => client.draft.sequence + 1,
        };
        if let (Part::Invite, Some(origin)) = (part, &mut self.origin) {
            origin.sequence = client.draft.sequence;
        }
        client.sent = None;
        client.provisional = false;
        self.early.clear();
        self.reliable_seen.clear();
        Some(client.draft.clone())
    }

    /// Forgets the request of a transaction that is over.
    pub(super) fn forget_draft(&mut self, transaction: TransactionId) {
        if let Some(sign_in) = &mut self.sign_in {
            sign_in.drafts.retain(|(of, _)| *of != transaction);
        }
    }
}
