//! How SIP is spoken, which `call` and `answer` have in common.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use sidetone::engine::config::Config;

/// How SIP is spoken.
#[derive(Debug, Clone, Args)]
pub(crate) struct SipArguments {
    /// Asks a DNS server, such as 127.0.0.1:53, in place of the system's for the addresses of names; may
    /// stand several times.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<SocketAddr>,
    /// The session interval to ask for (RFC 4028), at least 90: the call is refreshed at half of it, and
    /// ends where the other side has vanished.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    session_expires: u32,
}

impl SipArguments {
    pub(crate) fn apply(&self, config: &mut Config) {
        config.dns_servers.clone_from(&self.dns);
        config.session_expires = Some(Duration::from_secs(self.session_expires.into()));
    }
}
