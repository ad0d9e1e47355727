//! The link that is asked for on the command line.

use std::time::Duration;

use clap::Parser;
use sidetone_sim::network::link::{Link, Loss};

/// Carries IP packets between two TUN devices that it creates, both directions over a link of the
/// same kind. Prints `ready` once both devices are there, and what became of the packets when its
/// standard input ends.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// The name of the one device.
    #[arg(long, default_value = "left")]
    pub(crate) left: String,
    /// The name of the other device.
    #[arg(long, default_value = "right")]
    pub(crate) right: String,
    /// Delay of every packet, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Additional delay, uniform between zero and this, in milliseconds; packets stay in order.
    #[arg(long, default_value_t = 0)]
    jitter: u64,
    /// Packets lost, in percent.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Packets lost in a row on average; without it each is lost by itself.
    #[arg(long)]
    burst: Option<f64>,
    /// Packets held back and overtaken, in percent.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// How long such a packet is held back, in milliseconds.
    #[arg(long, default_value_t = 30)]
    reorder_by: u64,
    /// Packets that arrive twice, in percent.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Bits a second; unlimited by default.
    #[arg(long)]
    rate: Option<u64>,
    /// The same seed draws the same fates.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Options {
    /// The link of one direction.
    pub(crate) fn link(&self) -> Link {
        let rate = self.loss / 100.0;
        let loss = match self.burst {
            _ if self.loss <= 0.0 => Loss::None,
            Some(burst) => Loss::bursty(rate, burst),
            None => Loss::Random(rate),
        };
        Link {
            bandwidth: self.rate,
            ..Link::delay(Duration::from_millis(self.delay))
                .jitter(Duration::from_millis(self.jitter))
                .loss(loss)
                .reorder(self.reorder / 100.0, Duration::from_millis(self.reorder_by))
                .duplicate(self.duplicate / 100.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_a_link() {
        let line = "shaper --delay 20 --jitter 40 --loss 5 --reorder 1 --duplicate 2 --rate 64000";
        let options = Options::try_parse_from(line.split(' ')).expect("a valid command line");
        let expected = Link::delay(Duration::from_millis(20))
            .jitter(Duration::from_millis(40))
            .loss(Loss::Random(0.05))
            .reorder(0.01, Duration::from_millis(30))
            .duplicate(0.02)
            .bandwidth(64_000);
        assert_eq!(options.link(), expected);
    }

    #[test]
    fn nothing_asked_for_is_a_perfect_link() {
        let options = Options::try_parse_from(["shaper"]).expect("a valid command line");
        assert_eq!(options.link(), Link::delay(Duration::ZERO));
    }
}
