//! The client's side: which challenges are answered, and with what (RFC 3261 §22.2, RFC 8760 §2.3).

use std::collections::VecDeque;
use std::fmt;

use super::digest::{Algorithm, Inputs, Protecting, Secret};
use crate::rng::Rng;
use crate::sip::header::auth::{
    AuthenticationInfo, Challenge, Credentials, Protection, ServerProof,
};

/// Requests whose answers may show that the server knows the secret too; older ones are taken as they
/// are.
const MAX_UNPROVED: usize = 16;

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
    /// Nonce, count and URI of the requests signed last.
    signed: VecDeque<(String, u32, String)>,
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

    /// Takes in that a request with our credentials was let through, and what the server says to it
    /// (RFC 7616 §3.5), with the body of its answer. A later challenge without the `stale` flag then
    /// means that the nonce grew old, not that the secret is wrong. The server's next nonce is used from
    /// now on.
    ///
    /// False where the server's proof is wrong: it does not know the secret, and nothing is taken in.
    pub fn accepted(&mut self, info: Option<&AuthenticationInfo>, body: &[u8]) -> bool {
        let proof = info.and_then(|info| info.proof.as_ref());
        if proof.is_some_and(|proof| self.proves(proof, body) == Some(false)) {
            return false;
        }
        let Some(answered) = self.answered.as_mut().filter(|answered| answered.uses > 0) else {
            return true;
        };
        answered.accepted = true;
        if let Some(next) = info.and_then(|info| info.next_nonce.as_ref()) {
            answered.challenge.nonce.clone_from(next);
            answered.uses = 0;
        }
        true
    }

    /// Whether a server knows the secret; `None` where it speaks of a request that is forgotten.
    fn proves(&self, proof: &ServerProof, body: &[u8]) -> Option<bool> {
        let answered = self.answered.as_ref()?;
        let ServerProof {
            response,
            protection,
        } = proof;
        let signed = answered.signed.iter();
        let mut signed = signed.filter(|(_, count, _)| *count == protection.count);
        let proves = |(nonce, _, uri): &(String, u32, String)| {
            let inputs = Inputs {
                algorithm: answered.algorithm,
                username: &self.account.username,
                realm: &answered.challenge.realm,
                nonce,
                method: "",
                uri,
                protection: Some(Protecting {
                    cnonce: &answered.cnonce,
                    count: protection.count,
                    body: (protection.qop == "auth-int").then_some(body),
                }),
            };
            inputs.verify(&self.account.secret, response)
        };
        let first = signed.next()?;
        let ours = protection.cnonce == answered.cnonce;
        Some(ours && (proves(first) || signed.any(proves)))
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
            signed: VecDeque::new(),
        })
    }

    /// The credentials for one request; `None` before a challenge. Each call uses the nonce once
    /// more.
    pub fn credentials(&mut self, method: &str, uri: &str, body: &[u8]) -> Option<Credentials> {
        let answered = self.answered.as_mut()?;
        answered.uses = answered.uses.checked_add(1)?;
        if answered.signed.len() >= MAX_UNPROVED {
            answered.signed.pop_front();
        }
        let signed = (
            answered.challenge.nonce.clone(),
            answered.uses,
            uri.to_owned(),
        );
        answered.signed.push_back(signed);
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
        assert!(one.accepted(None, b""));
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

    #[test]
    fn a_server_that_does_not_know_the_secret_is_found_out() {
        let mut one = answerer();
        assert!(take(
            &mut one,
            &[r#"Digest realm="r", nonce="1", qop="auth-int""#]
        ));
        let sent = one.credentials("REGISTER", "sip:x", b"").unwrap();
        let say = |nonce: &str, count, body: &[u8], secret: &str, next: &str| {
            let protection = Protecting {
                cnonce: &sent.qop.as_ref().unwrap().cnonce,
                count,
                body: Some(body),
            };
            let inputs = Inputs {
                algorithm: Algorithm::Md5,
                username: "u",
                realm: "r",
                nonce,
                method: "",
                uri: "sip:x",
                protection: Some(protection),
            };
            AuthenticationInfo {
                next_nonce: Some(next.to_owned()),
                proof: Some(ServerProof {
                    response: inputs.response(&Secret::password(secret)).unwrap(),
                    protection: Protection {
                        qop: "auth-int".into(),
                        cnonce: protection.cnonce.to_owned(),
                        count,
                    },
                }),
            }
        };
        let nonce = |one: &mut Answerer| one.credentials("REGISTER", "sip:x", b"").unwrap().nonce;
        // Another secret, and another body than the one that was vouched for.
        assert!(!one.accepted(Some(&say("1", 1, b"body", "guess", "evil")), b"body"));
        assert!(!one.accepted(Some(&say("1", 1, b"body", "p", "evil")), b"changed"));
        assert_eq!(nonce(&mut one), "1");
        assert!(one.accepted(Some(&say("1", 1, b"body", "p", "2")), b"body"));
        let next = one.credentials("REGISTER", "sip:x", b"").unwrap();
        assert_eq!((next.nonce.as_str(), next.qop.unwrap().count), ("2", 1));
        // The answer to a request that was sent before the nonce changed comes late.
        assert!(one.accepted(Some(&say("1", 2, b"", "p", "3")), b""));
        assert_eq!(nonce(&mut one), "3");
        // One that is forgotten shows nothing.
        assert!(one.accepted(Some(&say("1", 99, b"", "guess", "4")), b""));
        assert_eq!(nonce(&mut one), "4");
    }
}
