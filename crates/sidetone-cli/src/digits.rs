//! How digits travel, both ways.

use clap::{Args, ValueEnum};
use sidetone::call::keys::{DigitPolicy, DigitTransport};

/// How digits travel.
#[derive(Debug, Clone, Args)]
pub(crate) struct DigitArguments {
    /// How digits travel, both ways.
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Auto)]
    digits_by: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// As telephone events where they were agreed on, else as tones; received also as INFO.
    Auto,
    /// As telephone events (RFC 4733) alone.
    Events,
    /// As INFO requests alone.
    Info,
    /// As tones in the sound; received also in every other way.
    Tones,
}

impl DigitArguments {
    /// The same as the engine takes it.
    pub(crate) fn policy(&self) -> DigitPolicy {
        let way = match self.digits_by {
            Way::Auto => DigitTransport::Auto,
            Way::Events => DigitTransport::Rfc4733,
            Way::Info => DigitTransport::Info,
            Way::Tones => DigitTransport::InBand,
        };
        DigitPolicy {
            send: way,
            receive: way,
        }
    }
}
