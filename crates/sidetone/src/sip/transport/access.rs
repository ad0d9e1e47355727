//! Who may send requests to a listener, by address.

use std::net::IpAddr;

use ipnet::IpNet;

/// What is asked of those who send requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: they are known by their address, such as a trunk.
    Open,
    /// Credentials, for every request but those that cannot be challenged (ACK, CANCEL) and those
    /// within a dialog that come from the dialog's own peer.
    Authenticate,
    /// Nothing helps: 403.
    Refuse,
    /// Nothing helps, and they get no answer.
    Ignore,
}

/// The rules of one listener, by source address; the first that fits decides.
///
/// ```
/// use sidetone::sip::transport::access::{AccessList, Admission};
///
/// // A carrier's network is trusted, everybody else has to sign in.
/// let access = AccessList::all(Admission::Authenticate)
///     .rule("192.0.2.0/24".parse()?, Admission::Open);
/// assert_eq!(access.admission("192.0.2.7".parse()?), Admission::Open);
/// assert_eq!(access.admission("::ffff:192.0.2.7".parse()?), Admission::Open);
/// assert_eq!(access.admission("198.51.100.1".parse()?), Admission::Authenticate);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    rules: Vec<(IpNet, Admission)>,
    otherwise: Admission,
}

impl AccessList {
    /// The same for everybody, until rules are added.
    pub fn all(admission: Admission) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: admission,
        }
    }

    /// Adds a rule behind those that are there.
    pub fn rule(mut self, network: IpNet, admission: Admission) -> Self {
        self.rules.push((network, admission));
        self
    }

    /// What is asked of `source`.
    pub fn admission(&self, source: IpAddr) -> Admission {
        let source = source.to_canonical();
        let mut rules = self.rules.iter();
        rules
            .find(|(network, _)| network.contains(&source))
            .map_or(self.otherwise, |(_, admission)| *admission)
    }

    /// Whether anybody has to sign in.
    pub fn authenticates(&self) -> bool {
        let rules = self.rules.iter().map(|(_, admission)| *admission);
        rules
            .chain([self.otherwise])
            .any(|admission| admission == Admission::Authenticate)
    }
}

impl Default for AccessList {
    /// Open to all.
    fn default() -> Self {
        Self::all(Admission::Open)
    }
}
