//! The client's side: which challenges are answered, and with what (RFC 3261 §22.2, RFC 8760 §2.3).

use std::fmt;

use super::digest::{Algorithm, Inputs, Protecting, Secret};
use crate::rng::Rng;
use crate::sip::header::auth::{Challenge, Credentials, Protection};

/// What we sign in with at somebody else's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The only realm that is answered. A challenge for another one is not: whoever answers
    /// everybody tells strangers what they need to guess the password ("digest leak").
    pub realm: String,
    /// The user name.
    pub username: String,
    /// The password, or its hash.
    pub secret: Secret,
    /// The weakest algorithm that is answered. Default MD5.
    pub weakest: Algorithm,
}

impl Account {
    /// An account that answers every algorithm.
    pub fn new(realm: impl Into<String>, username: impl Into<String>, secret: Secret) -> Self {
        Self {
            realm: realm.into(),
            username: username.into(),
            secret,
            weakest: Algorithm::Md5,
        }
    }
}

/// Answers the challenges of one server for one [`Account`], and then signs every request ahead of
/// being asked.
///
/// See [`Verifier`](super::server::Verifier) for an example of both sides.
#[derive(Clone)]
pub struct Answerer {
    account: Account,
    answered: Option<Answered>,
}

/// The challenge in force.
#[derive(Debug, Clone)]
struct Answered {
    challenge: Challenge,
    algorithm: Algorithm,
    qop: Option<Qop>,
    cnonce: String,
    uses: u32,
    accepted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qop {
    Auth,
    AuthInt,
}

impl Answerer {
    /// One that has not been challenged.
    pub fn new(account: Account) -> Self {
        Self {
            account,
            answered: None,
        }
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes in the challenges of a 401 or 407, the values of its header fields in order, and says
    /// whether sending the request again, with credentials, can help. It cannot where no challenge
    /// is for our realm, none asks for what we can do, or our answer has just been refused.
    pub fn take<'a>(&mut self, challenges: impl Iterator<Item = &'a [u8]>, rng: &mut Rng) -> bool {
        let parsed = challenges.filter_map(|raw| Challenge::parse(raw).ok());
        // The server puts the one it likes best first (RFC 8760 §2.3).
        let best = parsed
            .filter(|challenge| challenge.realm == self.account.realm)
            .find_map(|challenge| self.usable(challenge, rng));
        let Some(new) = best else {
            return false;
        };
        let refused = self.answered.as_ref().is_some_and(|old| {
            let same = old.challenge.nonce == new.challenge.nonce;
            old.uses > 0 && !old.accepted && (same || !new.challenge.stale)
        });
        self.answered = Some(new);
        !refused
    }

    /// Takes in that a request with our credentials was let through: a later challenge without the
    /// `stale` flag then means that the nonce grew old, not that the secret is wrong.
    pub fn accepted(&mut self) {
        if let Some(answered) = self.answered.as_mut().filter(|answered| answered.uses > 0) {
            answered.accepted = true;
        }
    }

    fn usable(&self, challenge: Challenge, rng: &mut Rng) -> Option<Answered> {
        let algorithm = Algorithm::from_token(challenge.algorithm.as_deref())?;
        if algorithm < self.account.weakest || !self.account.secret.serves(algorithm) {
            return None;
        }
        let known = challenge.qop.iter().find_map(|qop| match qop.as_str() {
            "auth" => Some(Qop::Auth),
            "auth-int" => Some(Qop::AuthInt),
            _ => None,
        });
        if known.is_none() && !challenge.qop.is_empty() {
            return None;
        }
        let cnonce = format!("{:016x}", rng.next_u64());
        Some(Answered {
            challenge,
            algorithm,
            qop: known,
            cnonce,
            uses: 0,
            accepted: false,
        })
    }

    /// The credentials for one request; `None` before a challenge. Each call uses the nonce once
    /// more.
    pub fn credentials(&mut self, method: &str, uri: &str, body: &[u8]) -> Option<Credentials> {
        let answered = self.answered.as_mut()?;
        answered.uses = answered.uses.checked_add(1)?;
        let protection = answered.qop.map(|qop| Protecting {
            cnonce: &answered.cnonce,
            count: answered.uses,
            body: (qop == Qop::AuthInt).then_some(body),
        });
        let challenge = &answered.challenge;
        let inputs = Inputs {
            algorithm: answered.algorithm,
            username: &self.account.username,
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            method,
            uri,
            protection,
        };
        Some(Credentials {
            username: self.account.username.clone(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.to_owned(),
            response: inputs.response(&self.account.secret)?,
            algorithm: challenge.algorithm.clone(),
            opaque: challenge.opaque.clone(),
            qop: answered.qop.map(|qop| Protection {
                qop: match qop {
                    Qop::Auth => "auth".into(),
                    Qop::AuthInt => "auth-int".into(),
                },
                cnonce: answered.cnonce.clone(),
                count: answered.uses,
            }),
        })
    }
}

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer")
            .field("username", &self.account.username)
            .field("realm", &self.account.realm)
            .field("uses", &self.answered.as_ref().map(|a| a.uses))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answerer() -> Answerer {
        Answerer::new(Account::new("r", "u", Secret::password("p")))
    }

    fn take(answerer: &mut Answerer, challenges: &[&str]) -> bool {
        let raw = challenges.iter().map(|text| text.as_bytes());
        answerer.take(raw, &mut Rng::new(1))
    }

    #[test]
    fn the_servers_first_choice_that_we_know_is_taken() {
        let mut one = answerer();
        assert!(take(
            &mut one,
            &[
                r#"Digest realm="r", nonce="1", algorithm=SHA3-256, qop="auth""#,
                r#"Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth-int,auth""#,
                r#"Digest realm="r", nonce="3", qop="auth""#,
            ]
        ));
        let credentials = one.credentials("INVITE", "sip:x", b"").unwrap();
        assert_eq!(credentials.nonce, "2");
        assert_eq!(credentials.algorithm.as_deref(), Some("SHA-256"));
        assert_eq!(credentials.qop.unwrap().qop, "auth-int");
    }

    #[test]
    fn strangers_and_weak_algorithms_get_no_answer() {
        let mut one = answerer();
        assert!(!take(&mut one, &[r#"Digest realm="evil", nonce="1""#]));
        assert!(!take(&mut one, &[r#"Basic realm="r""#, "", "Digest"]));
        assert!(!take(
            &mut one,
            &[r#"Digest realm="r", nonce="1", qop="other""#]
        ));
        assert!(one.credentials("INVITE", "sip:x", b"").is_none());
        one.account.weakest = Algorithm::Sha256;
        assert!(!take(&mut one, &[r#"Digest realm="r", nonce="1""#]));
    }

    #[test]
    fn a_refused_answer_is_not_given_again_but_a_stale_one_is() {
        let mut one = answerer();
        assert!(take(
            &mut one,
            &[r#"Digest realm="r", nonce="1", qop="auth""#]
        ));
        let first = one.credentials("INVITE", "sip:x", b"").unwrap();
        let second = one.credentials("INVITE", "sip:x", b"").unwrap();
        assert_eq!(second.qop.as_ref().unwrap().count, 2);
        assert_ne!(first.response, second.response);
        assert!(take(
            &mut one,
            &[r#"Digest realm="r", nonce="2", qop="auth", stale=TRUE"#]
        ));
        let third = one.credentials("INVITE", "sip:x", b"").unwrap();
        assert_eq!(third.qop.unwrap().count, 1);
        assert!(!take(
            &mut one,
            &[r#"Digest realm="r", nonce="3", qop="auth""#]
        ));
        one.credentials("INVITE", "sip:x", b"");
        one.accepted();
        assert!(take(
            &mut one,
            &[r#"Digest realm="r", nonce="3", qop="auth""#]
        ));
        one.credentials("INVITE", "sip:x", b"");
        // A server that calls the nonce stale that it has just given us would have us go round.
        assert!(!take(
            &mut one,
            &[r#"Digest realm="r", nonce="3", qop="auth", stale=true"#]
        ));
    }

    #[test]
    fn a_server_of_rfc_2069_is_answered_without_protection() {
        let mut one = answerer();
        assert!(take(
            &mut one,
            &[r#"Digest realm="r", nonce="1", opaque="o""#]
        ));
        let credentials = one.credentials("INVITE", "sip:x", b"").unwrap();
        assert_eq!(
            (credentials.qop, credentials.opaque.as_deref()),
            (None, Some("o"))
        );
    }
}
