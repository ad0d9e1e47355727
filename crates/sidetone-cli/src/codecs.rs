//! The codecs of this tool.

use std::sync::Arc;

use clap::Args;
use sidetone::media::codec::Codec;
use sidetone::media::codec::cn::ComfortNoise;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::l16::L16;
use sidetone::media::frame::SampleRate;
use sidetone_opus::codec::Opus;

/// Which codecs are offered and accepted.
#[derive(Debug, Clone, Args)]
pub(crate) struct CodecArguments {
    /// The codecs, best first: opus, opus/stereo, g722, pcma, pcmu, l16 (16 kHz), l16/8000, l16/48000, and cn,
    /// with which pauses are described rather than sent.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "opus,g722,pcma,pcmu",
        value_parser = by_name
    )]
    pub(crate) codecs: Vec<Arc<dyn Codec>>,
}

/// Every codec that this tool has.
pub(crate) fn all() -> Vec<Arc<dyn Codec>> {
    const NAMES: [&str; 8] = [
        "opus",
        "g722",
        "pcma",
        "pcmu",
        "l16/8000",
        "l16",
        "l16/48000",
        "cn",
    ];
    NAMES
        .into_iter()
        .filter_map(|name| by_name(name).ok())
        .collect()
}

fn by_name(name: &str) -> Result<Arc<dyn Codec>, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "opus" => Arc::new(Opus::new()),
        "opus/stereo" => Arc::new(Opus::new().stereo(true)),
        "g722" => Arc::new(G722),
        "pcma" => Arc::new(Law::A),
        "pcmu" => Arc::new(Law::Mu),
        "l16/8000" => Arc::new(L16::new(SampleRate::HZ_8000)),
        "l16" | "l16/16000" => Arc::new(L16::new(SampleRate::HZ_16000)),
        "l16/48000" => Arc::new(L16::new(SampleRate::HZ_48000)),
        "cn" => Arc::new(ComfortNoise),
        _ => return Err(format!("{name} is no codec of this tool")),
    })
}
