//! The receiving half of a leg: packets in as they come, one frame of the leg's rate out a tick.

use crate::media::codec::CodecError;
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter;
use crate::media::jitter::playout::{Heard, Playout};
use crate::media::leg::config::{LegError, LegSettings, PayloadFormat};
use crate::media::resample::Resampler;
use crate::time::Instant;

/// What turns packets into frames, made for one set of negotiated formats.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) formats: Vec<PayloadFormat>,
    pub(super) playout: Playout,
    clock_rate: u32,
    /// From the decoders' rate to the leg's.
    resampler: Option<Resampler>,
}

impl Inbound {
    pub(super) fn new(
        settings: &LegSettings,
        jitter: jitter::Config,
        rate: SampleRate,
    ) -> Result<Self, LegError> {
        let formats = settings.receive.clone();
        let decoder = |f: &PayloadFormat| Ok((f.payload_type, f.codec.decoder(&f.terms)?));
        let decoders: Result<Vec<_>, CodecError> = formats.iter().map(decoder).collect();
        let decoders = decoders?;
        let clock_rate = decoders.first().map_or(0, |(_, d)| d.rtp_clock());
        let playout = Playout::new(jitter, decoders)?;
        let own_rate = playout.rate();
        Ok(Self {
            formats,
            playout,
            clock_rate,
            resampler: (own_rate != rate).then(|| Resampler::new(own_rate, rate)),
        })
    }

    /// Ticks of the RTP clock a second.
    pub(super) fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// Makes the next 20 ms in `frame`, at the leg's rate.
    pub(super) fn fill(&mut self, now: Instant, frame: &mut Frame, scratch: &mut Frame) -> Heard {
        match &mut self.resampler {
            Some(resampler) => {
                let heard = self.playout.fill(now, scratch);
                resampler.process(scratch, frame);
                heard
            }
            None => self.playout.fill(now, frame),
        }
    }
}
