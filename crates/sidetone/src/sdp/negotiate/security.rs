//! Which protection an offer asks for, and which one an answer agrees on (RFC 4568, RFC 8643).

use crate::sdp::crypto::{Crypto, MAX_CRYPTO};
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::session::{Attribute, Media};

/// Whether media is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaSecurity {
    /// Never: plain RTP is offered, protection that is offered along with plain RTP is left aside,
    /// and what is offered with protection alone is refused. The default.
    #[default]
    Off,
    /// Where the peer can: plain RTP is offered with keys beside it (RFC 8643), and whatever the
    /// peer offers is taken.
    BestEffort,
    /// Always: `RTP/SAVP` is offered, and nothing unprotected is taken or sent.
    Mandatory,
}

/// What we want of protection, and our keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalSecurity {
    /// Whether media is protected. Default [`MediaSecurity::Off`].
    pub policy: MediaSecurity,
    /// Our suites in order of preference, each with its key and its own tag. None where keys must
    /// not be told; media that must be protected is refused then.
    pub keys: Vec<Crypto>,
}

/// Both parties' choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedSecurity {
    /// What we protect with.
    pub local: Crypto,
    /// What the peer protects with, by the same suite.
    pub remote: Crypto,
}

impl LocalSecurity {
    /// The transport of an offer of ours, where the session's has been `protocol` so far.
    ///
    /// # Errors
    /// [`NegotiationError::SecureMedia`] where there must be protection and there is no key.
    pub(super) fn protocol(&self, protocol: &str) -> Result<&'static str, NegotiationError> {
        let feedback = protocol.ends_with('F');
        let protected = match self.policy {
            MediaSecurity::Off => false,
            MediaSecurity::BestEffort => is_protected(protocol) && !self.keys.is_empty(),
            MediaSecurity::Mandatory if self.keys.is_empty() => {
                return Err(NegotiationError::SecureMedia);
            }
            MediaSecurity::Mandatory => true,
        };
        Ok(match (protected, feedback) {
            (false, false) => "RTP/AVP",
            (false, true) => "RTP/AVPF",
            (true, false) => "RTP/SAVP",
            (true, true) => "RTP/SAVPF",
        })
    }

    /// What an offer of ours holds.
    pub(super) fn offered(&self) -> &[Crypto] {
        match self.policy {
            MediaSecurity::Off => &[],
            MediaSecurity::BestEffort | MediaSecurity::Mandatory => &self.keys,
        }
    }

    /// What to answer to what the peer offers: its first suite that is ours, under its tag, with our
    /// key. `None` for plain RTP. A line that comes with our own key is not taken: under one key for both
    /// directions our own packets, sent back, would be the peer's.
    pub(super) fn answering(
        &self,
        protocol: &str,
        theirs: &[Crypto],
    ) -> Result<Option<AgreedSecurity>, NegotiationError> {
        let agreed = theirs.iter().find_map(|remote| {
            let fits = |own: &&Crypto| own.suite == remote.suite && !own.has_key_of(remote);
            let own = self.offered().iter().find(fits)?;
            Some(AgreedSecurity {
                local: own.tagged(remote.tag),
                remote: remote.clone(),
            })
        });
        self.judge(protocol, agreed)
    }

    /// What the peer's answer chose of our offer. `None` for plain RTP.
    pub(super) fn answered(
        &self,
        protocol: &str,
        theirs: &[Crypto],
    ) -> Result<Option<AgreedSecurity>, NegotiationError> {
        let agreed = theirs.iter().find_map(|remote| {
            let fits = |own: &&Crypto| own.tag == remote.tag && own.suite == remote.suite;
            let is_own = |own: &&Crypto| !own.has_key_of(remote);
            let local = self.offered().iter().find(fits).filter(is_own)?.clone();
            Some(AgreedSecurity {
                local,
                remote: remote.clone(),
            })
        });
        self.judge(protocol, agreed)
    }

    /// Nothing unprotected under a profile, or a policy, that wants protection.
    fn judge(
        &self,
        protocol: &str,
        agreed: Option<AgreedSecurity>,
    ) -> Result<Option<AgreedSecurity>, NegotiationError> {
        let wanted = is_protected(protocol) || self.policy == MediaSecurity::Mandatory;
        if wanted && agreed.is_none() {
            return Err(NegotiationError::SecureMedia);
        }
        Ok(agreed)
    }
}

/// Whether a transport is one of SRTP with keys in the description.
fn is_protected(protocol: &str) -> bool {
    matches!(protocol, "RTP/SAVP" | "RTP/SAVPF")
}

/// The lines of a description that can be taken; a tag that comes twice counts once.
pub(super) fn read(media: &Media) -> Vec<Crypto> {
    let lines = media.attributes.iter().filter(|a| a.name == "crypto");
    let mut read: Vec<Crypto> = Vec::new();
    for line in lines.take(MAX_CRYPTO) {
        let value = line.value.as_deref().unwrap_or_default();
        let Ok(crypto) = Crypto::parse(value) else {
            continue;
        };
        if !read.iter().any(|known| known.tag == crypto.tag) {
            read.push(crypto);
        }
    }
    read
}

/// The lines of a description of ours.
pub(super) fn lines(keys: &[Crypto]) -> impl Iterator<Item = Attribute> {
    keys.iter()
        .map(|crypto| Attribute::new("crypto", crypto.to_value().as_str()))
}

#[cfg(test)]
mod tests;
