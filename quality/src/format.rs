//! The codecs of the grid, with the redundancy that they are sent with.

use std::sync::Arc;

use sidetone::media::codec::Codec;
use sidetone::media::codec::cn::ComfortNoise;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::l16::L16;
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::config::{LegSettings, PayloadFormat, Redundancy, RedundancyFormat};
use sidetone_opus::codec::Opus;

/// How a call is coded, for both legs and for NetEQ.
#[derive(Debug, Clone)]
pub struct Format {
    /// As the tables call it.
    pub name: &'static str,
    /// The rate of the sound that it carries, and so of the room.
    pub rate: SampleRate,
    codec: PayloadFormat,
    /// Copies of how many packets each one carries (RFC 2198).
    generations: u8,
    /// Whether pauses are described (RFC 3389) rather than sent.
    describes_pauses: bool,
    /// What NetEQ is told: `PT=NAME/CLOCK/CHANNELS`.
    pub neteq: Vec<String>,
    /// The rate at which NetEQ makes this codec's sound.
    pub neteq_rate: u32,
}

/// The payload type of redundant audio.
const RED: u8 = 121;
/// That of comfort noise (RFC 3551 §6).
const NOISE: u8 = 13;

/// Wide-band Opus at the bit rate of the grid.
fn opus() -> Opus {
    Opus::new()
        .sample_rate(SampleRate::HZ_16000)
        .bit_rate(24_000)
}

impl Format {
    /// A codec by itself.
    fn plain(name: &'static str, payload_type: u8, codec: impl Codec + 'static) -> Self {
        let rate = codec.sample_rate();
        let (map, fmtp) = (codec.rtp_map(), codec.fmtp());
        let neteq = format!(
            "{payload_type}={}/{}/{}",
            map.encoding, map.clock_rate, map.channels
        );
        let mut format = PayloadFormat::new(payload_type, Arc::new(codec));
        // Both sides want the same.
        format.terms.own.clone_from(&fmtp);
        format.terms.peer = fmtp;
        Self {
            name,
            rate,
            codec: format,
            generations: 0,
            describes_pauses: false,
            // WebRTC decodes Opus at 48 kHz whatever was sent.
            neteq_rate: rate.hz().max(map.clock_rate),
            neteq: vec![neteq],
        }
    }

    /// The same with a copy of the packet before in every packet.
    fn redundant(self, name: &'static str) -> Self {
        let clock = self.codec.codec.rtp_map().clock_rate;
        let channels = self.codec.codec.rtp_map().channels;
        let mut neteq = self.neteq;
        neteq.push(format!("{RED}=red/{clock}/{channels}"));
        Self {
            name,
            generations: 1,
            neteq,
            ..self
        }
    }

    /// The same with comfort noise in pauses.
    fn pausing(self, name: &'static str) -> Self {
        let mut neteq = self.neteq;
        neteq.push(format!("{NOISE}=CN/8000/1"));
        Self {
            name,
            describes_pauses: true,
            neteq,
            ..self
        }
    }

    /// Every format of the grid.
    pub fn all() -> Vec<Self> {
        vec![
            Self::plain("PCMU", 0, Law::Mu),
            Self::plain("PCMA", 8, Law::A),
            Self::plain("G.722", 9, G722),
            Self::plain("L16", 97, L16::new(SampleRate::HZ_16000)),
            Self::plain("Opus", 111, opus().in_band_fec(false)),
            Self::plain("Opus+FEC", 111, opus()),
            Self::plain("Opus+DTX", 111, opus().in_band_fec(false).dtx(true)),
            Self::plain("PCMU", 0, Law::Mu).pausing("PCMU+CN"),
            Self::plain("PCMU", 0, Law::Mu).redundant("PCMU+RED"),
            Self::plain("Opus", 111, opus().in_band_fec(false)).redundant("Opus+RED"),
        ]
    }

    /// The format that the tables call so.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|format| format.name == name)
    }

    /// The settings of both legs.
    pub fn settings(&self) -> LegSettings {
        let redundancy = (self.generations > 0).then_some(RedundancyFormat {
            send_payload_type: Some(RED),
            receive_payload_types: [Some((RED, self.codec.codec.rtp_map().clock_rate)), None],
            when: Redundancy::Always,
            generations: self.generations,
        });
        let mut settings = LegSettings::new(self.codec.clone());
        settings.redundancy = redundancy;
        if self.describes_pauses {
            let noise = PayloadFormat::new(NOISE, Arc::new(ComfortNoise));
            settings.receive.push(noise);
            settings.comfort_noise = Some(NOISE);
        }
        settings
    }

    /// The codec, for a receiver that is none of ours.
    pub fn codec(&self) -> &PayloadFormat {
        &self.codec
    }

    /// Whether wide-band scores are to be told.
    pub fn is_wide(&self) -> bool {
        self.rate > SampleRate::HZ_8000
    }
}
