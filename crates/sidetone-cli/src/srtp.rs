//! `--srtp`, which `call` and `answer` have in common.

use clap::{Args, ValueEnum};
use sidetone::engine::config::Config;
use sidetone::sdp::crypto::CryptoSuite;
use sidetone::sdp::negotiate::security::MediaSecurity;

/// Whether media is encrypted.
#[derive(Debug, Clone, Args)]
pub(crate) struct SrtpArguments {
    /// Encrypts the media by SRTP with keys in SDP (SDES): never, where the other side can, or
    /// always. The keys travel readable over UDP and TCP.
    #[arg(long, value_enum, default_value_t = Srtp::Off)]
    srtp: Srtp,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Srtp {
    Off,
    Optional,
    Required,
}

impl SrtpArguments {
    /// Every suite is offered and taken, the usual one first.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.media_security = match self.srtp {
            Srtp::Off => MediaSecurity::Off,
            Srtp::Optional => MediaSecurity::BestEffort,
            Srtp::Required => MediaSecurity::Mandatory,
        };
        config.sdes_in_clear = config.media_security != MediaSecurity::Off;
        config.srtp_suites = CryptoSuite::ALL.to_vec();
    }
}
