//! Which calls are made: codec × network × receiver, as much of it as tells something.

use std::time::Duration;

use sidetone_sim::network::link::Loss;
use sidetone_sim::network::variation::Variation;

use crate::network::Impairment;

/// Who turns the packets into sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// The engine as it comes.
    Sidetone,
    /// The engine with a buffer of fixed delay, in milliseconds.
    Fixed(u64),
    /// The engine with the fixed delay at which 1 % of this call's packets are late.
    Oracle,
    /// A fixed buffer of so many milliseconds that plays silence for what is missing.
    Silence(u64),
    /// A fixed buffer of so many milliseconds that conceals as G.711 Appendix I does.
    Appendix(u64),
    /// WebRTC's NetEQ.
    NetEq,
}

impl Receiver {
    /// As the tables call it.
    pub fn name(self) -> String {
        match self {
            Self::Sidetone => "Sidetone".to_owned(),
            Self::Fixed(ms) => format!("Sidetone, fixed {ms} ms"),
            Self::Oracle => "Sidetone, fixed, oracle".to_owned(),
            Self::Silence(ms) => format!("fixed {ms} ms, silence"),
            Self::Appendix(ms) => format!("fixed {ms} ms, G.711 Appendix I"),
            Self::NetEq => "NetEQ".to_owned(),
        }
    }
}

/// A network under the name that the tables give it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Such as `10 %` or `Wi-Fi`.
    pub name: &'static str,
    /// What it does.
    pub impairment: Impairment,
    /// Packets that the call lasts at least, so that traces have the length that they are stated for.
    pub packets: usize,
}

/// A table of the report: every format over every network into every receiver.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its short name, for `--only`.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The formats by name.
    pub formats: &'static [&'static str],
    /// The networks.
    pub scenes: Vec<Scene>,
    /// The receivers.
    pub receivers: Vec<Receiver>,
}

const LOSS_SEED: u64 = 11;
const DELAY_SEED: u64 = 23;
/// Packets of a trace: five minutes.
const TRACE: usize = 15_000;

fn loss(name: &'static str, loss: Loss) -> Scene {
    let none = Impairment::none(LOSS_SEED);
    let impairment = Impairment { loss, ..none };
    let packets = 0;
    Scene {
        name,
        impairment,
        packets,
    }
}

fn random(name: &'static str, rate: f64) -> Scene {
    loss(
        name,
        if rate > 0.0 {
            Loss::Random(rate)
        } else {
            Loss::None
        },
    )
}

fn jitter(name: &'static str, millis: u64) -> Scene {
    let jitter = Duration::from_millis(millis);
    let impairment = Impairment {
        jitter,
        ..Impairment::none(DELAY_SEED)
    };
    Scene {
        name,
        impairment,
        packets: 0,
    }
}

fn varied(name: &'static str, variation: Variation, packets: usize) -> Scene {
    let impairment = Impairment {
        variation,
        ..Impairment::none(DELAY_SEED)
    };
    Scene {
        name,
        impairment,
        packets,
    }
}

fn spikes() -> Scene {
    let (every, height) = (Duration::from_secs(4), Duration::from_millis(160));
    varied("spikes 160 ms", Variation::Spikes { every, height }, 0)
}

/// Every table.
pub fn tables() -> Vec<Table> {
    vec![pcmu_loss(), codecs(), extras(), delays(), traces(), drift()]
}

fn pcmu_loss() -> Table {
    Table {
        name: "loss",
        title: "PCMU by packet loss",
        formats: &["PCMU"],
        scenes: vec![
            random("0 %", 0.0),
            random("1 %", 0.01),
            random("3 %", 0.03),
            random("5 %", 0.05),
            random("10 %", 0.1),
            random("20 %", 0.2),
            loss("bursts 10 %", Loss::bursty(0.1, 3.0)),
            loss("episodes 10 %", Loss::episodes(0.1)),
        ],
        receivers: vec![
            Receiver::Sidetone,
            Receiver::NetEq,
            Receiver::Appendix(60),
            Receiver::Silence(60),
        ],
    }
}

fn extras() -> Table {
    Table {
        name: "extras",
        title: "What redundancy, FEC and pauses cost and bring",
        formats: &[
            "PCMU", "PCMU+CN", "PCMU+RED", "Opus", "Opus+DTX", "Opus+FEC", "Opus+RED",
        ],
        scenes: vec![random("0 %", 0.0), random("10 %", 0.1)],
        receivers: vec![Receiver::Sidetone, Receiver::NetEq],
    }
}

fn codecs() -> Table {
    Table {
        name: "codecs",
        title: "Codecs by packet loss",
        formats: &[
            "PCMA", "PCMU+RED", "L16", "G.722", "Opus", "Opus+FEC", "Opus+RED",
        ],
        scenes: vec![
            random("0 %", 0.0),
            random("5 %", 0.05),
            random("10 %", 0.1),
            random("20 %", 0.2),
            loss("bursts 10 %", Loss::bursty(0.1, 3.0)),
            loss("episodes 10 %", Loss::episodes(0.1)),
        ],
        receivers: vec![Receiver::Sidetone, Receiver::NetEq],
    }
}

fn delays() -> Table {
    Table {
        name: "delays",
        title: "Varying delay",
        formats: &["PCMU", "Opus"],
        scenes: vec![
            jitter("30 ms", 30),
            jitter("60 ms", 60),
            jitter("100 ms", 100),
            jitter("200 ms", 200),
            spikes(),
        ],
        receivers: vec![
            Receiver::Sidetone,
            Receiver::Oracle,
            Receiver::NetEq,
            Receiver::Silence(60),
        ],
    }
}

fn traces() -> Table {
    Table {
        name: "traces",
        title: "Traces of 15,000 packets",
        formats: &["PCMU", "Opus"],
        scenes: vec![
            varied("Wi-Fi", Variation::Wifi, TRACE),
            varied("LTE", Variation::Lte, TRACE),
        ],
        receivers: vec![
            Receiver::Sidetone,
            Receiver::Oracle,
            Receiver::NetEq,
            Receiver::Silence(60),
        ],
    }
}

fn drift() -> Table {
    let drifting = |name, drift_ppm| Scene {
        name,
        impairment: Impairment {
            drift_ppm,
            ..Impairment::none(DELAY_SEED)
        },
        packets: TRACE,
    };
    Table {
        name: "drift",
        title: "Clocks that differ",
        formats: &["PCMU"],
        scenes: vec![drifting("+200 ppm", 200), drifting("-200 ppm", -200)],
        receivers: vec![Receiver::Sidetone, Receiver::NetEq],
    }
}
