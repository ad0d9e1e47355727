//! The trust domain: whose assertions are believed, and who is told ours (RFC 3324, RFC 3325 §2.3).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::sip::uri::Uri;

/// The peers that assert identities truly and keep to what callers want kept.
///
/// Nobody is trusted unless named. What a peer is believed follows from where its message came from;
/// what a peer is told follows from where a request goes first.
///
/// ```
/// use sidetone::sip::transport::trust::TrustDomain;
/// let domain = TrustDomain::default()
///     .network("192.0.2.0/28".parse()?)
///     .host("sbc.carrier.example");
/// assert!(domain.believes("192.0.2.5".parse()?));
/// assert!(domain.tells(&"sip:+4930@SBC.carrier.example:5061".parse()?));
/// assert!(!domain.tells(&"sip:x@sbc.carrier.example;maddr=198.51.100.1".parse()?));
/// assert!(!domain.believes("192.0.2.99".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustDomain {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
}

impl TrustDomain {
    /// Adds the peers of a network, by source address, and as next hops where they are named by
    /// address.
    #[must_use]
    pub fn network(mut self, network: IpNet) -> Self {
        self.networks.push(network);
        self
    }

    /// Adds a next hop by the name or address that stands in its URI. What comes from there is believed
    /// by its source address, so name its network too.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_ascii_lowercase());
        self
    }

    /// Whether what comes from `source` is believed.
    pub fn believes(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&source))
    }

    /// Whether a request whose first hop is `next_hop` may say what only the domain may know.
    pub fn tells(&self, next_hop: &Uri) -> bool {
        if next_hop.param("maddr").is_some() {
            return false;
        }
        let host = next_hop.host().to_ascii_lowercase();
        let by_address = next_hop.host_ip().is_some_and(|ip| self.believes(ip));
        by_address || (!host.is_empty() && self.hosts.contains(&host))
    }
}
