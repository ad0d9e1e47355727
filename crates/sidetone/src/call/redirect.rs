//! Which redirections of a dialled party are followed (RFC 3261 §8.1.3.4).

use crate::sip::uri::{Scheme, Uri};

/// What is told about a redirection to whom the call goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Telling {
    /// Nothing.
    Nothing,
    /// History-Info (RFC 7044).
    #[default]
    History,
    /// Diversion (RFC 5806), which gateways to older networks want.
    Diversion,
    /// Both.
    Both,
}

impl Telling {
    pub(crate) fn history(self) -> bool {
        matches!(self, Self::History | Self::Both)
    }

    pub(crate) fn diversion(self) -> bool {
        matches!(self, Self::Diversion | Self::Both)
    }
}

/// When a 3xx answer to a call is followed. Where it is not, the call ends with
/// [`EndReason::Refused`](crate::call::cause::EndReason::Refused).
///
/// A redirection makes this engine call whom another party names, and calls cost: by default none is
/// followed.
///
/// ```
/// use sidetone::call::redirect::RedirectPolicy;
/// let policy = RedirectPolicy::to_hosts(["pbx.example", "192.0.2.7"]);
/// assert!(policy.allows(&"sip:6002@PBX.example:5070".parse()?));
/// assert!(!policy.allows(&"sip:+1900@premium.example".parse()?));
/// assert!(!RedirectPolicy::default().allows(&"sip:6002@pbx.example".parse()?));
/// # Ok::<(), sidetone::sip::uri::UriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedirectPolicy {
    /// The hosts, by name or address as in the URI, that may be called. Default none.
    pub hosts: Vec<String>,
    /// How many redirections are followed in a row. Default 5.
    pub max_hops: u8,
    /// How many targets are tried in all, over all redirections. Default 10.
    pub max_targets: u8,
    /// What the next target is told. Default History-Info.
    pub telling: Telling,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            max_hops: 5,
            max_targets: 10,
            telling: Telling::default(),
        }
    }
}

impl RedirectPolicy {
    /// Follows redirections to these hosts.
    pub fn to_hosts<H: Into<String>>(hosts: impl IntoIterator<Item = H>) -> Self {
        Self {
            hosts: hosts.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same, telling the next target so.
    #[must_use]
    pub fn telling(mut self, telling: Telling) -> Self {
        self.telling = telling;
        self
    }

    /// Whether `target` may be called.
    pub fn allows(&self, target: &Uri) -> bool {
        if !matches!(target.scheme(), Scheme::Sip | Scheme::Sips) {
            return false;
        }
        let known = |host: &str| {
            self.hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(host))
        };
        // `maddr` leads elsewhere than the host says.
        let elsewhere = target.param("maddr");
        known(target.host()) && elsewhere.is_none_or(|maddr| known(&maddr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_are_named_are_called() {
        let policy = RedirectPolicy::to_hosts(["pbx.example", "[2001:db8::1]"]);
        for (uri, allowed) in [
            ("sips:6002@pbx.example;transport=tls", true),
            ("sip:6002@[2001:db8::1]:5080", true),
            ("sip:6002@pbx.example;maddr=pbx.example", true),
            ("sip:6002@pbx.example;maddr=198.51.100.9", false),
            ("sip:6002@pbx.example.evil.example", false),
            ("sip:pbx.example@evil.example", false),
            ("tel:+1900", false),
            ("http://pbx.example", false),
        ] {
            let uri = uri.parse().expect("a URI");
            assert_eq!(policy.allows(&uri), allowed, "{uri:?}");
        }
    }
}
