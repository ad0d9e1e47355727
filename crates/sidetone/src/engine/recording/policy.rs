//! Which calls are recorded without anybody asking, and how.

use std::path::PathBuf;

use crate::engine::recording::beep::Beep;
use crate::engine::remote::RemotePlan;
use crate::media::frame::SampleRate;
use crate::media::recorder::layout::Format;
use crate::media::recorder::track::{Role, Tracks};
use crate::time::Duration;

/// Which calls are recorded as soon as they are answered, and how.
///
/// The first rule that applies to a call decides, once: where its draw goes against the call, later rules are not
/// asked. A call's role may be told after the answer ([`Call::set_role`](crate::face::call::Call::set_role)); rules
/// that no call answered for so far are asked again then. Calls that take part in a recorded conversation already
/// are left to that recording.
///
/// ```
/// use sidetone::engine::recording::policy::{RecordingPolicy, Rule, When};
/// use sidetone::media::recorder::track::{Role, Tracks};
///
/// // All that comes from the carrier, with a warning tone; one in ten of what robots say.
/// let mut carrier = Rule::always(When::from_trunk("carrier"));
/// carrier.form.tracks = Some(Tracks::ALL);
/// let robots = Rule::share(When::role(Role::Robot), 10.0);
/// let policy = RecordingPolicy::new("/var/spool/sidetone", vec![carrier, robots]);
/// assert!(policy.is_possible());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordingPolicy {
    /// Where the files go. Their names are made of the second in which the recording began, the call's number and
    /// a number drawn at random: nothing of the network's.
    pub directory: PathBuf,
    /// The rules, the first that applies decides.
    pub rules: Vec<Rule>,
}

impl RecordingPolicy {
    /// These rules, files in `directory`.
    pub fn new(directory: impl Into<PathBuf>, rules: Vec<Rule>) -> Self {
        let directory = directory.into();
        Self { directory, rules }
    }

    /// Whether shares are within 0 to 100 and beeps can be heard.
    pub fn is_possible(&self) -> bool {
        let is_possible = |rule: &Rule| {
            let beep = rule.form.beep.as_ref();
            (0.0..=100.0).contains(&rule.percent) && beep.is_none_or(Beep::is_possible)
        };
        self.rules.iter().all(is_possible)
    }

    /// The rule that decides on a call.
    pub(crate) fn rule_for(&self, call: &Described<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.when.holds(call))
    }
}

/// What is recorded of whom.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// The calls that it applies to.
    pub when: When,
    /// How many of a hundred of them are recorded, drawn by the engine's seed: 0 to 100.
    pub percent: f64,
    /// How.
    pub form: Form,
}

impl Rule {
    /// All calls of which this holds.
    pub fn always(when: When) -> Self {
        Self::share(when, 100.0)
    }

    /// So many of a hundred of them.
    pub fn share(when: When, percent: f64) -> Self {
        let form = Form::default();
        Self {
            when,
            percent,
            form,
        }
    }
}

/// The form of a recording by policy.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Form {
    /// The channels of the conversation that the party takes part in. Default none: the party alone, what it says
    /// left and what it hears right.
    pub tracks: Option<Tracks>,
    /// The rate of the file. Default that of the call's codec.
    pub rate: Option<SampleRate>,
    /// What file it is. Default as the engine's configuration says.
    pub format: Option<Format>,
    /// By which rule, and for how long from its beginning, it must be kept. Default as the engine's configuration
    /// says.
    pub retention: Option<(String, Duration)>,
    /// The tone that tells that it runs. Default as the engine's configuration says.
    pub beep: Option<Beep>,
    /// Servers elsewhere that record the conversation (SIPREC) in place of a file here; nothing else of the form counts
    /// then. Default none.
    pub remote: Option<RemotePlan>,
}

/// Calls, by all that is said here: what is `None` holds of every call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct When {
    /// They come from the trunk of this name, or go out by it.
    pub trunk: Option<String>,
    /// The party's URI has this user part: an agent's extension, say.
    pub user: Option<String>,
    /// The party has this role.
    pub role: Option<Role>,
    /// Whether the party called (`true`) or was dialled.
    pub incoming: Option<bool>,
}

impl When {
    /// Every call.
    pub fn any() -> Self {
        Self::default()
    }

    /// Callers who come from the trunk of this name.
    pub fn from_trunk(name: &str) -> Self {
        Self {
            trunk: Some(name.to_owned()),
            incoming: Some(true),
            ..Self::default()
        }
    }

    /// Calls to and from this user.
    pub fn user(name: &str) -> Self {
        Self {
            user: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// Parties of this role.
    pub fn role(role: Role) -> Self {
        Self {
            role: Some(role),
            ..Self::default()
        }
    }

    fn holds(&self, call: &Described<'_>) -> bool {
        let trunk = self
            .trunk
            .as_deref()
            .is_none_or(|it| Some(it) == call.trunk);
        let user = self.user.as_deref().is_none_or(|it| Some(it) == call.user);
        let role = self.role.is_none_or(|it| Some(it) == call.role);
        trunk && user && role && self.incoming.is_none_or(|it| it == call.incoming)
    }
}

/// What rules ask of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described<'a> {
    pub(crate) trunk: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) incoming: bool,
}

/// What one call says against the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecordingChoice {
    /// Nothing: the policy decides.
    #[default]
    Policy,
    /// It is recorded, whatever is drawn: in the form of the rule that applies, or the default one.
    Always,
    /// It is not recorded by policy.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_applies_decides() {
        let rules = vec![
            Rule::share(When::user("7"), 0.0),
            Rule::always(When::from_trunk("carrier")),
            Rule::share(When::role(Role::Robot), 50.0),
        ];
        let policy = RecordingPolicy::new("spool", rules);
        let call = |trunk, user, role, incoming| {
            let call = Described {
                trunk,
                user,
                role,
                incoming,
            };
            policy.rule_for(&call).map(|rule| rule.percent)
        };
        assert_eq!(call(Some("carrier"), Some("7"), None, true), Some(0.0));
        assert_eq!(call(Some("carrier"), Some("8"), None, true), Some(100.0));
        assert_eq!(call(Some("carrier"), Some("8"), None, false), None);
        assert_eq!(call(None, None, Some(Role::Robot), false), Some(50.0));
        assert_eq!(call(None, None, None, true), None);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let policy = |rule| RecordingPolicy::new("spool", vec![rule]).is_possible();
        assert!(policy(Rule::share(When::any(), 0.5)));
        assert!(!policy(Rule::share(When::any(), 100.5)));
        assert!(!policy(Rule::share(When::any(), f64::NAN)));
        let mut rule = Rule::always(When::any());
        rule.form.beep = Some(Beep {
            interval: Duration::ZERO,
            ..Beep::default()
        });
        assert!(!policy(rule));
    }
}
