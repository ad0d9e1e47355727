//! The receiving half of a leg: packets in as they come, one frame of the leg's rate out a tick.

use crate::media::codec::CodecError;
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::playout::{Heard, Piece, Playout};
use crate::media::jitter::{self, MEDIA_CLOCK};
use crate::media::leg::config::{LegError, LegSettings, PayloadFormat};
use crate::media::resample::Resampler;
use crate::time::Instant;

/// What turns packets into frames, made for one set of negotiated formats.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) formats: Vec<PayloadFormat>,
    pub(super) playout: Playout,
    kinds: Vec<Kind>,
    /// A bit for each payload type that is Opus.
    opus: u128,
    /// From other rates of the decoders to the leg's: what is heard, and what is recorded.
    heard: Converters,
    recorded: Converters,
}

/// What a packet's payload type says of it at its arrival.
#[derive(Debug, Clone, Copy)]
struct Kind {
    payload_type: u8,
    /// Ticks a second of its timestamps.
    clock_rate: u32,
    /// It describes a pause (RFC 3389).
    is_noise: bool,
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
        let kinds = formats.iter().zip(&decoders);
        let kinds = kinds.map(|(format, (payload_type, decoder))| Kind {
            payload_type: *payload_type,
            clock_rate: decoder.rtp_clock(),
            is_noise: format.codec.rtp_map().encoding.eq_ignore_ascii_case("CN"),
        });
        let kinds = kinds.collect();
        let opus = formats.iter().filter(|it| it.is_opus());
        let opus = opus.fold(0, |bits, it| bits | 1 << (it.payload_type & 127));
        let all = || decoders.iter().map(|(_, d)| d);
        let heard = Converters::new(all().map(|d| (d.sample_rate(), false)), rate);
        let recorded = all().map(|d| (d.sample_rate(), d.channels() == 2));
        let recorded = Converters::new(recorded, rate);
        Ok(Self {
            formats,
            opus,
            playout: Playout::new(jitter, decoders)?,
            kinds,
            recorded,
            heard,
        })
    }

    /// Ticks a second of the RTP clock of what we most want to receive.
    pub(super) fn clock_rate(&self) -> u32 {
        let first = self.kinds.iter().find(|kind| !kind.is_noise);
        first.or(self.kinds.first()).map_or(0, |k| k.clock_rate)
    }

    /// Each payload type that is sound or noise, and the ticks a second of its RTP clock.
    pub(super) fn clocks(&self) -> impl Iterator<Item = (u8, u32)> {
        self.kinds.iter().map(|k| (k.payload_type, k.clock_rate))
    }

    /// Whether a decoder serves this payload type.
    pub(super) fn takes(&self, payload_type: u8) -> bool {
        self.kinds.iter().any(|k| k.payload_type == payload_type)
    }

    /// Whether this payload type describes pauses.
    pub(super) fn is_noise(&self, payload_type: u8) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.any(|kind| kind.payload_type == payload_type && kind.is_noise)
    }

    /// The payload types that are Opus, a bit each.
    pub(super) fn opus(&self) -> u128 {
        self.opus
    }

    /// Takes the place of `former`: what it counted goes on.
    pub(super) fn succeed(&mut self, former: &mut Self) {
        self.playout.succeed(&mut former.playout);
    }

    /// Makes the next 20 ms in `frame`, at the leg's rate. The stream as it was received goes to
    /// `tape`, at the leg's rate and in pieces of up to 20 ms, with the time at which they were said.
    pub(super) fn fill(
        &mut self,
        now: Instant,
        frame: &mut Frame,
        scratch: &mut Frame,
        tape: Option<&mut dyn FnMut(Piece<'_>)>,
    ) -> Heard {
        let (playout, recorded) = (&mut self.playout, &mut self.recorded);
        let heard = match tape {
            Some(tape) => playout.fill_and_tell(now, frame, &mut |piece| {
                recorded.each(piece, scratch, tape);
            }),
            None => playout.fill(now, frame),
        };
        if let Some(converter) = self.heard.from(frame.rate()) {
            scratch.clone_from(frame);
            converter.sound.process(scratch, frame);
        }
        heard
    }
}

/// Converters to one rate.
#[derive(Debug, Clone)]
struct Converters(Vec<Converter>);

#[derive(Debug, Clone)]
struct Converter {
    from: SampleRate,
    sound: Resampler,
    /// For the side of stereo.
    side: Option<Resampler>,
}

impl Converters {
    /// From these rates, with a side or without.
    fn new(rates: impl Iterator<Item = (SampleRate, bool)>, to: SampleRate) -> Self {
        let mut all: Vec<Converter> = Vec::new();
        for (from, is_stereo) in rates.filter(|(from, _)| *from != to) {
            let make = || Resampler::new(from, to);
            let place = all.iter().position(|converter| converter.from == from);
            let place = place.unwrap_or_else(|| {
                let (sound, side) = (make(), None);
                all.push(Converter { from, sound, side });
                all.len() - 1
            });
            if is_stereo {
                all[place].side.get_or_insert_with(make);
            }
        }
        Self(all)
    }

    /// The converter from this rate, where one is needed.
    fn from(&mut self, rate: SampleRate) -> Option<&mut Converter> {
        self.0.iter_mut().find(|converter| converter.from == rate)
    }

    /// Gives `tape` a piece, converted, in parts of up to 20 ms.
    fn each(&mut self, piece: Piece<'_>, scratch: &mut Frame, tape: &mut dyn FnMut(Piece<'_>)) {
        let per_sample = i64::from(MEDIA_CLOCK / piece.rate.hz());
        let (mut media_time, mut age) = (piece.media_time, piece.age);
        let mut packet = piece.packet;
        let mut sides = piece.side.chunks(piece.rate.frame_samples());
        for samples in piece.samples.chunks(piece.rate.frame_samples()) {
            let part = Piece {
                media_time,
                age,
                samples,
                side: sides.next().unwrap_or_default(),
                packet: packet.take(),
                ..piece
            };
            match self.from(piece.rate) {
                Some(converter) => converter.convert(part, scratch, tape),
                None => tape(part),
            }
            media_time += samples.len() as i64 * per_sample;
            age -= samples.len() as i64 * per_sample;
        }
    }
}

impl Converter {
    fn convert(&mut self, part: Piece<'_>, scratch: &mut Frame, tape: &mut dyn FnMut(Piece<'_>)) {
        let sound = Frame::from_samples(part.rate, part.samples);
        self.sound.process(&sound, scratch);
        let mut converted = Frame::silence(scratch.rate());
        let side = match self.side.as_mut().filter(|_| !part.side.is_empty()) {
            Some(side) => {
                side.process(&Frame::from_samples(part.rate, part.side), &mut converted);
                converted.samples()
            }
            None => &[],
        };
        tape(Piece {
            rate: scratch.rate(),
            samples: scratch.samples(),
            side,
            ..part
        });
    }
}
