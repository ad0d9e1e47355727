//! Whom to dial for a caller, in which order, and what is carried through.

use std::sync::Arc;

use crate::b2bua::headers::HeaderRules;
use crate::id::TrunkId;
use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::auth::client::Account;
use crate::sip::registrar::binding::Binding;
use crate::sip::transport::Path;
use crate::sip::uri::Uri;
use crate::time::Duration;

/// Targets of one plan at most; further ones are left out.
pub const MAX_TARGETS: usize = 64;

/// Targets that may ring at once; further ones are left out.
pub const MAX_AT_ONCE: usize = 16;

/// The statuses that say that a target cannot do it now, and another may (RFC 3261 §21.5, §21.4.9).
const FAILOVER: [u16; 4] = [408, 502, 503, 504];

/// One place to dial.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) uri: String,
    pub(crate) to: Option<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) flow: Option<Path>,
    pub(crate) account: Option<Account>,
    pub(crate) media_security: Option<MediaSecurity>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trunk: Option<TrunkId>,
}

impl Target {
    /// A URI such as `sip:6001@192.0.2.7;transport=tcp`.
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            to: None,
            routes: Vec::new(),
            flow: None,
            account: None,
            media_security: None,
            headers: Vec::new(),
            trunk: None,
        }
    }

    /// A number or user at the far end of a trunk, by whichever of its addresses can take the call:
    /// where one fails, by the next.
    pub fn trunk(trunk: TrunkId, number: &str) -> Self {
        Self {
            trunk: Some(trunk),
            ..Self::new(number)
        }
    }

    /// A user registered here under `address`, at one of the places that the registrar knows.
    pub fn binding(address: &str, binding: &Binding) -> Self {
        Self {
            to: Some(address.to_owned()),
            routes: binding.path().map(str::to_owned).collect(),
            flow: Some(binding.flow()),
            ..Self::new(binding.contact())
        }
    }

    /// Sends the INVITE through this proxy; several are gone through in order.
    #[must_use]
    pub fn via(mut self, route: &str) -> Self {
        self.routes.push(route.to_owned());
        self
    }

    /// What to sign in with where the target asks for it. Default: none, and the target is refused.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// Whether the media is protected towards this target. Default: the engine's configuration.
    #[must_use]
    pub fn media_security(mut self, policy: MediaSecurity) -> Self {
        self.media_security = Some(policy);
        self
    }

    /// Adds a header field to this target's INVITE alone.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Targets that ring at once.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) targets: Vec<Target>,
    pub(crate) limit: Option<Duration>,
}

/// Whom to dial for a caller, in which order, and by which [`Policy`].
///
/// ```
/// use std::time::Duration;
/// use sidetone::b2bua::plan::{Plan, Target};
///
/// // Both of the agent's phones for 20 s, then the desk for 30 s, then the mailbox.
/// let plan = Plan::to_all([Target::new("sip:7@192.0.2.7"), Target::new("sip:7@192.0.2.8")])
///     .within(Duration::from_secs(20))
///     .then(Target::new("sip:desk@192.0.2.9"))
///     .within(Duration::from_secs(30))
///     .then(Target::new("sip:mailbox@192.0.2.10"))
///     .hunting();
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) failover: Vec<u16>,
    pub(crate) hunts: bool,
}

impl Plan {
    /// Dials one target.
    pub fn to(target: Target) -> Self {
        Self::to_all([target])
    }

    /// Dials all of these at once: the first that answers gets the call, the others are cancelled
    /// ("Call completed elsewhere"). At most 16.
    pub fn to_all(targets: impl IntoIterator<Item = Target>) -> Self {
        let empty = Self {
            groups: Vec::new(),
            policy: Arc::default(),
            failover: FAILOVER.to_vec(),
            hunts: false,
        };
        empty.then_all(targets)
    }

    /// Dials this target where those before it have failed.
    #[must_use]
    pub fn then(self, target: Target) -> Self {
        self.then_all([target])
    }

    /// Dials all of these at once where those before them have failed.
    #[must_use]
    pub fn then_all(mut self, targets: impl IntoIterator<Item = Target>) -> Self {
        let room = MAX_AT_ONCE.min(MAX_TARGETS - self.target_count());
        let targets: Vec<_> = targets.into_iter().take(room).collect();
        if !targets.is_empty() {
            self.groups.push(Group {
                targets,
                limit: None,
            });
        }
        self
    }

    /// How long the targets named last may ring before they are given up. Default: the engine's
    /// `ring_timeout`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        if let Some(group) = self.groups.last_mut() {
            group.limit = Some(limit);
        }
        self
    }

    /// Goes on to the next targets after any refusal but 6xx: busy, not answered, not found. By
    /// default only after those of [`Self::fail_over_on`].
    #[must_use]
    pub fn hunting(mut self) -> Self {
        self.hunts = true;
        self
    }

    /// The statuses after which the next targets are dialled. Default 408, 502, 503, 504. A target
    /// that cannot be reached, or does not answer in time, counts as 408 or 503.
    #[must_use]
    pub fn fail_over_on(mut self, statuses: &[u16]) -> Self {
        self.failover = statuses.to_vec();
        self
    }

    /// What is carried through. Default: [`Policy::default`].
    #[must_use]
    pub fn policy(mut self, policy: Arc<Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// How many targets there are.
    pub fn target_count(&self) -> usize {
        self.groups.iter().map(|group| group.targets.len()).sum()
    }

    pub(crate) fn target(&self, index: usize) -> Option<&Target> {
        let mut targets = self.groups.iter().flat_map(|group| &group.targets);
        targets.nth(index)
    }
}

/// What the caller gets to hear of sound that comes before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyMedia {
    /// The first target that sends some is heard (183 with a description). The default.
    #[default]
    Pass,
    /// None: it only rings (180).
    Ringing,
}

/// Who the target is told is calling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// The caller's user part and name, at this engine's own host. The default: the caller's host
    /// stays hidden.
    #[default]
    Hidden,
    /// The caller's user part and name, at this host.
    At(String),
    /// The caller's URI and name as they came.
    Kept,
    /// This URI, whoever calls.
    Fixed(String),
}

/// What becomes of a REFER of one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfers {
    /// It is declined (603). The default: a transfer dials, and dialling costs.
    #[default]
    Refused,
    /// It is done here: the target is dialled by this engine, and takes the place of the one who
    /// asked. Only what the policy's `transfer_targets` allow is dialled; two calls of the one who asks
    /// are joined without.
    Performed,
    /// The other side is asked to do it: the REFER is carried through, and what comes of it back.
    Carried,
}

/// What is carried through between the two calls, and what is kept from the other side.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Policy {
    /// The header fields of the caller's messages that the target gets.
    pub to_target: HeaderRules,
    /// The header fields of the target's messages that the caller gets.
    pub to_caller: HeaderRules,
    /// Who the target is told is calling. Default [`Identity::Hidden`].
    pub identity: Identity,
    /// Sound before the answer. Default [`EarlyMedia::Pass`].
    pub early_media: EarlyMedia,
    /// The codecs that the caller may use, by their names in SDP, best first; of those that the engine
    /// has. `None`, the default, allows all. Where descriptions are passed on rather than answered,
    /// the codecs are the two parties' own affair.
    pub caller_codecs: Option<Vec<String>>,
    /// The same for the targets. Default: all, the one agreed on with the caller first, so that
    /// nothing need be converted.
    pub target_codecs: Option<Vec<String>>,
    /// Whether hold of one side is asked of the other too. Default yes.
    pub carry_hold: bool,
    /// What becomes of a REFER. Default [`Transfers::Refused`].
    pub transfers: Transfers,
    /// What a transfer performed here may dial: the beginning of the user part, and the host. Default
    /// none.
    pub transfer_targets: Vec<(String, String)>,
    /// The longest time that the two may talk; then both are hung up. Default `None`: for ever.
    pub max_duration: Option<Duration>,
}

impl Policy {
    /// Whether a transfer may dial this.
    pub(crate) fn may_transfer_to(&self, target: &str) -> bool {
        let Ok(uri) = Uri::parse(target) else {
            return false;
        };
        let user = uri.user_decoded().unwrap_or_default();
        self.transfer_targets.iter().any(|(prefix, host)| {
            user.starts_with(prefix.as_str()) && uri.host().eq_ignore_ascii_case(host)
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            to_target: HeaderRules::default(),
            to_caller: HeaderRules::default(),
            identity: Identity::default(),
            early_media: EarlyMedia::default(),
            caller_codecs: None,
            target_codecs: None,
            carry_hold: true,
            transfers: Transfers::default(),
            transfer_targets: Vec::new(),
            max_duration: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_go_where_they_may() {
        let mut policy = Policy::default();
        assert!(!policy.may_transfer_to("sip:6001@pbx.example"));
        policy.transfer_targets = vec![("6".into(), "pbx.example".into())];
        assert!(policy.may_transfer_to("sip:6001@PBX.example;transport=tcp"));
        for other in [
            "sip:0900@pbx.example",
            "sip:6001@evil.example",
            "sip:pbx.example",
            "x",
        ] {
            assert!(!policy.may_transfer_to(other), "{other}");
        }
    }

    #[test]
    fn a_plan_is_bounded() {
        let many = |count: usize| (0..count).map(|_| Target::new("sip:a@192.0.2.1"));
        let mut plan = Plan::to_all(many(100));
        assert_eq!(plan.target_count(), MAX_AT_ONCE);
        for _ in 0..10 {
            plan = plan.then_all(many(100));
        }
        assert_eq!(plan.target_count(), MAX_TARGETS);
        assert!(plan.target(MAX_TARGETS - 1).is_some() && plan.target(MAX_TARGETS).is_none());
        assert_eq!(Plan::to_all([]).target_count(), 0);
    }
}
