//! Decoding two channels: their mean goes the way of all sound, what is different between them is kept aside.

use crate::media::codec::{CodecError, Decoder};
use crate::media::stereo::split_all;

/// Room for what decoders of two channels make. Streams without such a decoder have none.
#[derive(Debug)]
pub(super) struct Stereo {
    /// Left and right in turn.
    both: Box<[i16]>,
    side: Box<[i16]>,
}

impl Stereo {
    /// For packets of up to so many samples of each channel.
    pub(super) fn new(samples: usize) -> Self {
        Self {
            both: vec![0; 2 * samples].into(),
            side: vec![0; samples].into(),
        }
    }

    /// The side of the first `samples` that were made last.
    pub(super) fn side(&self, samples: usize) -> &[i16] {
        &self.side[..samples.min(self.side.len())]
    }

    /// Decodes a packet into `out` as mono; returns how many samples, and their side, which is empty where
    /// the decoder makes one channel.
    pub(super) fn decode<'a>(
        stereo: &'a mut Option<Box<Self>>,
        decoder: &mut Box<dyn Decoder>,
        payload: &[u8],
        out: &mut [i16],
    ) -> Result<(usize, &'a [i16]), CodecError> {
        match stereo {
            Some(stereo) if decoder.channels() == 2 => {
                let samples = decoder.decode(payload, &mut stereo.both)?;
                Ok((samples, stereo.split(samples, out)))
            }
            _ => Ok((decoder.decode(payload, out)?, &[])),
        }
    }

    /// Lets the decoder make up all of `out` as mono by `make`; returns the side, or nothing where it
    /// cannot.
    pub(super) fn make_up<'a>(
        stereo: &'a mut Option<Box<Self>>,
        decoder: &mut Box<dyn Decoder>,
        out: &mut [i16],
        make: impl FnOnce(&mut Box<dyn Decoder>, &mut [i16]) -> bool,
    ) -> Option<&'a [i16]> {
        match stereo {
            Some(stereo) if decoder.channels() == 2 => {
                let both = stereo.both.get_mut(..2 * out.len())?;
                make(decoder, both).then(|| stereo.split(out.len(), out))
            }
            _ => make(decoder, out).then_some(&[]),
        }
    }

    fn split(&mut self, samples: usize, out: &mut [i16]) -> &[i16] {
        let samples = samples.min(out.len()).min(self.side.len());
        let both = &self.both[..2 * samples];
        split_all(both, &mut out[..samples], &mut self.side[..samples]);
        &self.side[..samples]
    }
}
