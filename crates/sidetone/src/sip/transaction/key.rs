//! What a message and its transaction have in common (RFC 3261 §17.1.3, §17.2.3).

use crate::sip::header::via::MAGIC_COOKIE;
use crate::sip::method::Method;
use smallvec::SmallVec;

/// Names a server transaction: what a request, its repetitions, its ACK and its CANCEL share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerKey(SmallVec<[u8; 80]>);

/// The fields of a request that its server transaction is found by.
#[derive(Debug, Clone, Copy)]
pub struct RequestFields<'a> {
    /// The method.
    pub method: &'a Method,
    /// The branch of the top Via; empty where it has none.
    pub branch: &'a str,
    /// The sent-by host of the top Via.
    pub host: &'a str,
    /// The sent-by port of the top Via, 5060 where it has none.
    pub port: u16,
    /// The Request-URI.
    pub uri: &'a str,
    /// The From tag; empty where it has none.
    pub from_tag: &'a str,
    /// The Call-ID.
    pub call_id: &'a str,
    /// The number of CSeq.
    pub sequence: u32,
}

impl ServerKey {
    /// The key of the transaction that the request belongs to or starts.
    ///
    /// With the magic cookie: branch, sent-by, method, where ACK counts as INVITE. Without it, the
    /// rules for RFC 2543 peers: Request-URI, From tag, Call-ID, CSeq number, and the top Via.
    pub fn new(fields: &RequestFields<'_>) -> Self {
        let method = match fields.method {
            Method::Ack => &Method::Invite,
            method => method,
        };
        Self::with_method(fields, method)
    }

    /// The key of the INVITE transaction that a CANCEL means (RFC 3261 §9.2).
    pub fn cancelled(fields: &RequestFields<'_>) -> Self {
        Self::with_method(fields, &Method::Invite)
    }

    fn with_method(fields: &RequestFields<'_>, method: &Method) -> Self {
        let mut key = Self(SmallVec::new());
        key.part(method.as_str());
        key.part(fields.branch);
        key.host(fields.host);
        key.0.extend_from_slice(&fields.port.to_be_bytes());
        if !has_cookie(fields.branch) {
            key.part(fields.uri);
            key.part(fields.from_tag);
            key.part(fields.call_id);
            key.0.extend_from_slice(&fields.sequence.to_be_bytes());
        }
        key
    }

    /// Parts are told apart by a byte that stands in none of them.
    fn part(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn host(&mut self, host: &str) {
        self.0
            .extend(host.bytes().map(|byte| byte.to_ascii_lowercase()));
        self.0.push(0);
    }
}

fn has_cookie(branch: &str) -> bool {
    branch
        .get(..MAGIC_COOKIE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
}

/// Names a client transaction: the branch that we made, and the method (a CANCEL has the branch of
/// its INVITE).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey {
    branch: u64,
    method: Method,
}

impl ClientKey {
    /// The key of a request that goes out with `branch`.
    pub fn new(branch: u64, method: Method) -> Self {
        Self { branch, method }
    }

    /// The key that a response means, by the branch of its top Via and the method of its CSeq;
    /// `None` where we cannot have made that branch.
    pub fn parse(branch: &str, method: Method) -> Option<Self> {
        let digits = branch.strip_prefix(MAGIC_COOKIE)?;
        let valid = digits.len() == 16
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !valid {
            return None;
        }
        let branch = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { branch, method })
    }

    /// The key of another request with the same branch: a CANCEL.
    pub fn with_method(&self, method: Method) -> Self {
        Self {
            branch: self.branch,
            method,
        }
    }

    /// The branch as it stands in Via.
    pub fn branch(&self) -> String {
        format!("{MAGIC_COOKIE}{:016x}", self.branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: RequestFields<'_> = RequestFields {
        method: &Method::Invite,
        branch: "z9hG4bK77",
        host: "pc33.example.com",
        port: 5060,
        uri: "sip:bob@example.com",
        from_tag: "1928301774",
        call_id: "a84b4c76e66710",
        sequence: 314159,
    };

    #[test]
    fn with_the_cookie_only_branch_sent_by_and_method_count() {
        let key = ServerKey::new(&INVITE);
        let same = RequestFields {
            method: &Method::Ack,
            host: "PC33.example.com",
            uri: "sip:other@example.com",
            call_id: "other",
            ..INVITE
        };
        assert_eq!(key, ServerKey::new(&same));
        for other in [
            RequestFields {
                branch: "z9hG4bK78",
                ..INVITE
            },
            RequestFields {
                host: "pc34.example.com",
                ..INVITE
            },
            RequestFields {
                port: 5062,
                ..INVITE
            },
            RequestFields {
                method: &Method::Cancel,
                ..INVITE
            },
        ] {
            assert_ne!(key, ServerKey::new(&other), "{other:?}");
        }
    }

    #[test]
    fn cancel_finds_its_invite() {
        let cancel = RequestFields {
            method: &Method::Cancel,
            ..INVITE
        };
        assert_eq!(ServerKey::cancelled(&cancel), ServerKey::new(&INVITE));
    }

    #[test]
    fn without_the_cookie_the_old_rules_hold() {
        let old = RequestFields {
            branch: "",
            ..INVITE
        };
        let key = ServerKey::new(&old);
        assert_eq!(
            key,
            ServerKey::new(&RequestFields {
                method: &Method::Ack,
                ..old
            })
        );
        for other in [
            RequestFields {
                uri: "sip:other@example.com",
                ..old
            },
            RequestFields {
                from_tag: "x",
                ..old
            },
            RequestFields {
                call_id: "x",
                ..old
            },
            RequestFields { sequence: 1, ..old },
            RequestFields { branch: "1", ..old },
        ] {
            assert_ne!(key, ServerKey::new(&other), "{other:?}");
        }
    }

    #[test]
    fn only_branches_as_we_make_them_are_ours() {
        let key = ClientKey::new(0x1234, Method::Invite);
        assert_eq!(key.branch(), "z9hG4bK0000000000001234");
        assert_eq!(
            ClientKey::parse(&key.branch(), Method::Invite),
            Some(key.clone())
        );
        assert_ne!(ClientKey::parse(&key.branch(), Method::Cancel), Some(key));
        for foreign in [
            "z9hG4bK1234",
            "z9hG4bK000000000000123A",
            "z9hG4bK+000000000001234",
            "1",
        ] {
            assert_eq!(ClientKey::parse(foreign, Method::Invite), None, "{foreign}");
        }
    }
}
