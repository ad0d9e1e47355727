//! WAV files: bounded reading into clips, and headers for writing.

use std::sync::{Arc, OnceLock};

use crate::media::codec::g711::{self, Law};
use crate::media::frame::SampleRate;
use crate::media::resample::{Resampler, convert_clip, is_convertible};
use crate::media::stereo::split_all;
use crate::time::Duration;

/// The longest clip that [`Clip::read`] accepts: 10 minutes, 9.6 MB at 8 kHz and 58 MB at 48 kHz.
pub const MAX_CLIP: Duration = Duration::from_secs(600);

/// Why a WAV file was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The data does not begin with a RIFF/WAVE header.
    #[error("not a WAV file")]
    NotWav,
    /// The format chunk is missing, too short, or contradicts itself.
    #[error("format chunk is missing or broken")]
    BadFormat,
    /// There is no data chunk.
    #[error("no data chunk")]
    NoData,
    /// The encoding is none of PCM16, A-law and µ-law.
    #[error("unsupported encoding: format tag {tag:#06x} with {bits} bits a sample")]
    UnsupportedEncoding {
        /// The format tag, or the sub-format's where the tag says extensible.
        tag: u16,
        /// Bits a sample.
        bits: u16,
    },
    /// The rate is not within 4 to 192 kHz, or no multiple of 25 Hz.
    #[error("unsupported sample rate {0} Hz")]
    UnsupportedRate(u32),
    /// There are neither one nor two channels.
    #[error("unsupported number of channels: {0}")]
    UnsupportedChannels(u16),
    /// The clip is longer than [`MAX_CLIP`].
    #[error("longer than {} seconds", MAX_CLIP.as_secs())]
    TooLong,
}

/// How samples are stored in a WAV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 16-bit linear, little-endian.
    Pcm16,
    /// G.711, one byte a sample.
    G711(Law),
}

impl Encoding {
    /// Bytes that one sample takes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Pcm16 => 2,
            Self::G711(_) => 1,
        }
    }

    /// Appends samples as they are stored.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        let at = out.len();
        match self {
            Self::Pcm16 => out.extend(samples.iter().flat_map(|s| s.to_le_bytes())),
            Self::G711(law) => {
                out.resize(at + samples.len(), 0);
                match law {
                    Law::A => g711::encode_a(samples, &mut out[at..]),
                    Law::Mu => g711::encode_mu(samples, &mut out[at..]),
                }
            }
        }
    }

    /// The byte that stored silence consists of.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Pcm16 => 0,
            Self::G711(Law::A) => 0xD5,
            Self::G711(Law::Mu) => 0xFF,
        }
    }

    const fn tag(self) -> u16 {
        match self {
            Self::Pcm16 => TAG_PCM,
            Self::G711(Law::A) => TAG_A,
            Self::G711(Law::Mu) => TAG_MU,
        }
    }
}

const TAG_PCM: u16 = 1;
const TAG_A: u16 = 6;
const TAG_MU: u16 = 7;
/// Where the format's tag stands in our headers.
const FORMAT_AT: usize = 56;
const TAG_EXTENSIBLE: u16 = 0xFFFE;

/// Recorded sound in memory: 16-bit, at one rate; made once and shared by all who play it. Mono, or stereo as
/// [the mean of both channels and a side](crate::media::stereo), which only stereo legs hear.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::wav::{Clip, Encoding, Header};
///
/// let header = Header { encoding: Encoding::Pcm16, channels: 1, rate: SampleRate::HZ_8000 };
/// let mut file = header.to_bytes(4).to_vec();
/// file.extend([1, 0, 2, 0]);
/// let clip = Clip::read(&file, SampleRate::HZ_8000)?;
/// assert_eq!(clip.samples(), [1, 2]);
/// # Ok::<(), sidetone::media::wav::WavError>(())
/// ```
#[derive(Clone)]
pub struct Clip {
    rate: SampleRate,
    sound: Channels,
    /// The same sound at 8, 16 and 48 kHz, as far as it has been asked for.
    converted: Arc<[OnceLock<Channels>; 3]>,
}

/// What is heard in mono, and what is different between left and right.
#[derive(Clone, PartialEq, Eq)]
struct Channels {
    mean: Arc<[i16]>,
    /// As long as the mean; none where the sound is mono.
    side: Option<Arc<[i16]>>,
}

/// Whether both are the same samples at the same rate.
impl PartialEq for Clip {
    fn eq(&self, other: &Self) -> bool {
        self.rate == other.rate && self.sound == other.sound
    }
}

impl Eq for Clip {}

impl Clip {
    /// A mono clip of `samples` at `rate`.
    pub fn from_samples(rate: SampleRate, samples: impl Into<Arc<[i16]>>) -> Self {
        let mean = samples.into();
        Self::new(rate, Channels { mean, side: None })
    }

    /// A stereo clip of samples at `rate`, left and right in turn.
    pub fn from_stereo(rate: SampleRate, both: &[i16]) -> Self {
        let (mean, side) = to_channels(2, both.to_vec());
        let (mean, side) = (mean.into(), side.map(Arc::from));
        Self::new(rate, Channels { mean, side })
    }

    fn new(rate: SampleRate, sound: Channels) -> Self {
        Self {
            rate,
            sound,
            converted: Arc::default(),
        }
    }

    /// Reads a whole WAV file like [`read`](Self::read), at the lowest rate that holds all of its
    /// sound.
    ///
    /// # Errors
    /// A [`WavError`] that says what is wrong with the file.
    pub fn load(file: &[u8]) -> Result<Self, WavError> {
        let (format, _) = parse(file)?;
        let rate = match format.hz {
            0..=8_000 => SampleRate::HZ_8000,
            8_001..=16_000 => SampleRate::HZ_16000,
            _ => SampleRate::HZ_48000,
        };
        Self::read(file, rate)
    }

    /// The same sound at another rate: converted when it is first asked for (about 0.2 ms a second
    /// of sound), and kept for all copies of this clip.
    #[must_use]
    pub fn at(&self, rate: SampleRate) -> Self {
        if rate == self.rate {
            return self.clone();
        }
        let place = match rate {
            SampleRate::HZ_8000 => 0,
            SampleRate::HZ_16000 => 1,
            _ => 2,
        };
        let convert =
            |sound: &Arc<[i16]>| Resampler::convert(self.rate, rate, sound.to_vec()).into();
        let sound = self.converted[place].get_or_init(|| Channels {
            mean: convert(&self.sound.mean),
            side: self.sound.side.as_ref().map(convert),
        });
        Self {
            rate,
            sound: sound.clone(),
            converted: self.converted.clone(),
        }
    }

    /// Reads a whole WAV file and converts it to `rate`: PCM16 or G.711, mono or stereo, of any usual
    /// rate. Where left and right are the same it is mono.
    ///
    /// Unknown chunks are skipped. A data chunk that claims more than the file holds, as in a file
    /// that was cut off or is still being written, is read as far as it goes.
    ///
    /// # Errors
    /// A [`WavError`] that says what is wrong with the file.
    pub fn read(file: &[u8], rate: SampleRate) -> Result<Self, WavError> {
        let (format, data) = parse(file)?;
        let frame_bytes = format.encoding.bytes() * usize::from(format.channels);
        let frames = data.len() / frame_bytes;
        if frames as u64 > u64::from(format.hz) * MAX_CLIP.as_secs() {
            return Err(WavError::TooLong);
        }
        let samples = decoded(format, &data[..frames * frame_bytes]);
        let (mean, side) = to_channels(format.channels, samples);
        let convert = |samples| {
            let samples = convert_clip(format.hz, rate, samples).map(Arc::from);
            samples.ok_or(WavError::UnsupportedRate(format.hz))
        };
        let mean = convert(mean)?;
        let side = side.map(convert).transpose()?;
        Ok(Self::new(rate, Channels { mean, side }))
    }

    /// The rate of the samples.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The samples that a mono listener hears.
    pub fn samples(&self) -> &[i16] {
        &self.sound.mean
    }

    /// What is different between left and right, see [`stereo`](crate::media::stereo): as many samples;
    /// `None` where the clip is mono.
    pub fn side(&self) -> Option<&[i16]> {
        self.sound.side.as_deref()
    }

    /// How long the clip plays.
    pub fn duration(&self) -> Duration {
        self.rate.duration_of(self.samples().len() as u64)
    }
}

impl std::fmt::Debug for Clip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clip({:?} at {})", self.duration(), self.rate)
    }
}

/// What the header of a WAV file says about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How samples are stored.
    pub encoding: Encoding,
    /// Interleaved channels.
    pub channels: u16,
    /// The rate of each channel.
    pub rate: SampleRate,
}

impl Header {
    /// The length of every header that [`to_bytes`](Self::to_bytes) makes.
    pub const LEN: usize = 82;

    /// The longest data chunk of a plain WAV file; beyond it the header is that of RF64.
    pub const MAX_DATA: u64 = u32::MAX as u64 - 1 - Self::LEN as u64;

    /// Bytes that one sample of all channels takes.
    pub const fn frame_bytes(self) -> usize {
        self.encoding.bytes() * self.channels as usize
    }

    /// What a header that [`to_bytes`](Self::to_bytes) made says, whatever it says of the data's size; `None`
    /// where it is another's.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let short = |at: usize| Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let tag = short(FORMAT_AT)?;
        let encoding = match tag {
            TAG_PCM => Encoding::Pcm16,
            TAG_A => Encoding::G711(Law::A),
            TAG_MU => Encoding::G711(Law::Mu),
            _ => return None,
        };
        let channels = short(FORMAT_AT + 2).filter(|count| (1..=64).contains(count))?;
        let hz = bytes.get(FORMAT_AT + 4..FORMAT_AT + 8)?;
        let header = Self {
            encoding,
            channels,
            rate: SampleRate::from_hz(u32::from_le_bytes(hz.try_into().ok()?))?,
        };
        // All but the sizes.
        let is_long = bytes.starts_with(b"RF64");
        let mut made = header.to_bytes(if is_long { u64::MAX / 2 } else { 0 });
        for size in [4..8, 20..48, Self::LEN - 4..Self::LEN] {
            made.get_mut(size.clone())?
                .copy_from_slice(bytes.get(size)?);
        }
        (made == *bytes).then_some(header)
    }

    /// The bytes in front of `data_bytes` of samples. Up to [`MAX_DATA`](Self::MAX_DATA) they are those of
    /// RIFF/WAVE with a `JUNK` chunk, beyond it those of RF64 (EBU Tech 3306), which has the sizes in a
    /// `ds64` chunk in that place: a growing file changes from one to the other where it stands.
    ///
    /// An odd number of data bytes wants one zero byte behind them.
    pub fn to_bytes(self, data_bytes: u64) -> [u8; Self::LEN] {
        let riff = data_bytes + data_bytes % 2 + Self::LEN as u64 - 8;
        let is_long = data_bytes > Self::MAX_DATA;
        let short = |size: u64| if is_long { u32::MAX } else { size as u32 };
        let long = |value: u64| if is_long { value } else { 0 };
        let frame = self.frame_bytes() as u16;
        let fields: [&[u8]; 20] = [
            if is_long { b"RF64" } else { b"RIFF" },
            &short(riff).to_le_bytes(),
            b"WAVE",
            if is_long { b"ds64" } else { b"JUNK" },
            &28u32.to_le_bytes(),
            &long(riff).to_le_bytes(),
            &long(data_bytes).to_le_bytes(),
            &long(data_bytes / u64::from(frame.max(1))).to_le_bytes(),
            &0u32.to_le_bytes(),
            b"fmt ",
            &18u32.to_le_bytes(),
            &self.encoding.tag().to_le_bytes(),
            &self.channels.to_le_bytes(),
            &self.rate.hz().to_le_bytes(),
            &(self.rate.hz() * u32::from(frame)).to_le_bytes(),
            &frame.to_le_bytes(),
            &(self.encoding.bytes() as u16 * 8).to_le_bytes(),
            &0u16.to_le_bytes(),
            b"data",
            &short(data_bytes).to_le_bytes(),
        ];
        let mut bytes = [0; Self::LEN];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (head, tail) = rest.split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        }
        bytes
    }
}

/// What a file that is read says about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    encoding: Encoding,
    channels: u16,
    hz: u32,
}

/// Finds format and data in a WAV file; the data as far as the file holds it.
fn parse(file: &[u8]) -> Result<(Stored, &[u8]), WavError> {
    let riff = file.get(..12).ok_or(WavError::NotWav)?;
    if !matches!(&riff[..4], b"RIFF" | b"RF64") || &riff[8..] != b"WAVE" {
        return Err(WavError::NotWav);
    }
    let mut rest = &file[12..];
    let mut header = None;
    while let Some((head, body)) = rest.split_first_chunk::<8>() {
        let claimed = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let len = claimed.min(body.len());
        let chunk = &body[..len];
        match &head[..4] {
            b"fmt " => header = Some(parse_format(chunk)?),
            b"data" => return Ok((header.ok_or(WavError::BadFormat)?, chunk)),
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = body.get(len + claimed % 2..).unwrap_or_default();
    }
    Err(WavError::NoData)
}

fn parse_format(chunk: &[u8]) -> Result<Stored, WavError> {
    let short = |at: usize| -> Result<u16, WavError> {
        let bytes = chunk.get(at..at + 2).ok_or(WavError::BadFormat)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let hz = u32::from(short(4)?) | u32::from(short(6)?) << 16;
    let (channels, block, bits) = (short(2)?, short(12)?, short(14)?);
    let tag = match short(0)? {
        // The sub-format's first two bytes are the tag (the rest of its GUID is fixed).
        TAG_EXTENSIBLE => short(24)?,
        tag => tag,
    };
    let encoding = match (tag, bits) {
        (TAG_PCM, 16) => Encoding::Pcm16,
        (TAG_A, 8) => Encoding::G711(Law::A),
        (TAG_MU, 8) => Encoding::G711(Law::Mu),
        _ => return Err(WavError::UnsupportedEncoding { tag, bits }),
    };
    if !matches!(channels, 1 | 2) {
        return Err(WavError::UnsupportedChannels(channels));
    }
    if usize::from(block) != encoding.bytes() * usize::from(channels) {
        return Err(WavError::BadFormat);
    }
    if !is_convertible(hz) {
        return Err(WavError::UnsupportedRate(hz));
    }
    Ok(Stored {
        encoding,
        channels,
        hz,
    })
}

fn decoded(format: Stored, data: &[u8]) -> Vec<i16> {
    match format.encoding {
        Encoding::Pcm16 => data
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect(),
        Encoding::G711(law) => {
            let mut samples = vec![0; data.len()];
            match law {
                Law::A => g711::decode_a(data, &mut samples),
                Law::Mu => g711::decode_mu(data, &mut samples),
            }
            samples
        }
    }
}

/// Mean and side of samples of so many channels; no side where both channels are the same.
fn to_channels(channels: u16, samples: Vec<i16>) -> (Vec<i16>, Option<Vec<i16>>) {
    if channels != 2 {
        return (samples, None);
    }
    let mut mean = vec![0; samples.len() / 2];
    let mut side = mean.clone();
    split_all(&samples, &mut mean, &mut side);
    let differs = side.iter().any(|&sample| sample != 0);
    (mean, differs.then_some(side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const RATE: SampleRate = SampleRate::HZ_8000;

    fn format(tag: u16, channels: u16, hz: u32, bits: u16) -> Vec<u8> {
        let block = channels * bits / 8;
        let mut chunk = vec![];
        chunk.extend(tag.to_le_bytes());
        chunk.extend(channels.to_le_bytes());
        chunk.extend(hz.to_le_bytes());
        chunk.extend((hz * u32::from(block)).to_le_bytes());
        chunk.extend(block.to_le_bytes());
        chunk.extend(bits.to_le_bytes());
        chunk
    }

    fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        for (name, body) in chunks {
            file.extend(*name);
            file.extend((body.len() as u32).to_le_bytes());
            file.extend(*body);
            file.resize(file.len() + body.len() % 2, 0);
        }
        file
    }

    fn pcm(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|s| s.to_le_bytes()).collect()
    }

    #[test]
    fn odd_and_unknown_chunks_are_skipped() {
        let fmt = format(1, 1, 8_000, 16);
        let data = pcm(&[5, -6]);
        let file = riff(&[
            (b"LIST", &[1; 7]),
            (b"fmt ", &fmt),
            (b"fact", &[0; 4]),
            (b"data", &data),
            (b"junk", &[9; 3]),
        ]);
        assert_eq!(Clip::read(&file, RATE).expect("wav").samples(), [5, -6]);
    }

    #[test]
    fn encodings_channels_and_rates() {
        let stereo = riff(&[
            (b"fmt ", &format(1, 2, 8_000, 16)),
            (b"data", &pcm(&[100, 300, -32_768, -32_768, 7])),
        ]);
        let clip = Clip::read(&stereo, RATE).expect("wav");
        assert_eq!(clip.samples(), [200, -32_768]);

        for (tag, byte, sample) in [(6, 0xAA, 32_256), (7, 0x80, 32_124)] {
            let file = riff(&[(b"fmt ", &format(tag, 1, 8_000, 8)), (b"data", &[byte; 3])]);
            assert_eq!(Clip::read(&file, RATE).expect("wav").samples(), [sample; 3]);
        }

        let wide = riff(&[
            (b"fmt ", &format(1, 1, 48_000, 16)),
            (b"data", &pcm(&[1_000; 48_000])),
        ]);
        let clip = Clip::read(&wide, RATE).expect("wav");
        assert_eq!(clip.duration(), Duration::from_secs(1));
        assert!(
            clip.samples()[200..7_800]
                .iter()
                .all(|s| s.abs_diff(1_000) < 3)
        );
    }

    #[test]
    fn extensible_format_names_its_encoding_inside() {
        let mut fmt = format(TAG_EXTENSIBLE, 1, 8_000, 16);
        fmt.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        fmt.extend(*b"\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71");
        let file = riff(&[(b"fmt ", &fmt), (b"data", &pcm(&[3]))]);
        assert_eq!(Clip::read(&file, RATE).expect("wav").samples(), [3]);
    }

    #[test]
    fn truncated_and_unfinished_data_is_read_as_far_as_it_goes() {
        let header = Header {
            encoding: Encoding::Pcm16,
            channels: 1,
            rate: RATE,
        };
        for claimed in [1_000, Header::MAX_DATA] {
            let mut file = header.to_bytes(claimed).to_vec();
            file.extend(pcm(&[1, 2, 3]));
            file.push(9);
            assert_eq!(Clip::read(&file, RATE).expect("wav").samples(), [1, 2, 3]);
        }
        let empty = Clip::read(&header.to_bytes(0), RATE).expect("wav");
        assert!(empty.samples().is_empty());
    }

    #[test]
    fn each_fault_has_its_error() {
        let read = |fmt: &[u8]| {
            let file = riff(&[(b"fmt ", fmt), (b"data", &[0; 4])]);
            Clip::read(&file, RATE).expect_err("refused")
        };
        assert_eq!(
            read(&format(1, 1, 44_101, 16)),
            WavError::UnsupportedRate(44_101)
        );
        assert_eq!(
            read(&format(1, 3, 8_000, 16)),
            WavError::UnsupportedChannels(3)
        );
        let float = WavError::UnsupportedEncoding { tag: 3, bits: 32 };
        assert_eq!(read(&format(3, 1, 8_000, 32)), float);
        assert_eq!(read(&[1, 0, 1]), WavError::BadFormat);
        let mut block = format(1, 1, 8_000, 16);
        block[12] = 7;
        assert_eq!(read(&block), WavError::BadFormat);
        assert_eq!(Clip::read(b"RIFF", RATE), Err(WavError::NotWav));
        assert_eq!(
            Clip::read(b"RIFF\0\0\0\0AVI LIST", RATE),
            Err(WavError::NotWav)
        );
        let no_data = riff(&[(b"fmt ", &format(1, 1, 8_000, 16))]);
        assert_eq!(Clip::read(&no_data, RATE), Err(WavError::NoData));
        let no_format = riff(&[(b"data", &[0; 4])]);
        assert_eq!(Clip::read(&no_format, RATE), Err(WavError::BadFormat));
        let long = riff(&[
            (b"fmt ", &format(7, 1, 8_000, 8)),
            (b"data", &vec![0xFF; 8_000 * 601]),
        ]);
        assert_eq!(Clip::read(&long, RATE), Err(WavError::TooLong));
    }

    #[test]
    fn hostile_files_never_break_it() {
        let fmt = format(1, 2, 16_000, 16);
        let good = riff(&[(b"fmt ", &fmt), (b"LIST", &[3; 5]), (b"data", &[1; 64])]);
        for seed in 0..3_000 {
            let mut rng = Rng::new(seed);
            let mut file = good.clone();
            for _ in 0..=rng.below(6) {
                let at = rng.below(file.len() as u64) as usize;
                file[at] = [0, 0xFF, 0x7F, rng.next_u32() as u8][rng.below(4) as usize];
            }
            file.truncate(rng.below(file.len() as u64 + 40) as usize);
            if let Ok(clip) = Clip::read(&file, RATE) {
                assert!(clip.samples().len() <= 64, "seed {seed}");
            }
        }
    }

    #[test]
    fn silence_is_what_zeros_are_stored_as() {
        for encoding in [
            Encoding::Pcm16,
            Encoding::G711(Law::A),
            Encoding::G711(Law::Mu),
        ] {
            let mut stored = Vec::new();
            encoding.encode(&[0; 3], &mut stored);
            assert_eq!(stored, vec![encoding.silence(); 3 * encoding.bytes()]);
        }
    }

    #[test]
    fn a_file_beyond_4_gib_has_the_header_of_rf64() {
        let header = Header {
            encoding: Encoding::Pcm16,
            channels: 2,
            rate: RATE,
        };
        let long = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
        };
        let most = header.to_bytes(Header::MAX_DATA);
        assert_eq!((&most[..4], &most[12..16]), (&b"RIFF"[..], &b"JUNK"[..]));
        let data = Header::MAX_DATA + 4;
        let more = header.to_bytes(data);
        assert_eq!((&more[..4], &more[12..16]), (&b"RF64"[..], &b"ds64"[..]));
        assert_eq!(more[4..8], [0xFF; 4]);
        assert_eq!(more[78..], [0xFF; 4]);
        assert_eq!(long(&more, 20), data + data % 2 + 74);
        assert_eq!(long(&more, 28), data);
        assert_eq!(long(&more, 36), data / 4);
        let mut file = more.to_vec();
        file.extend(pcm(&[5, 7]));
        assert_eq!(Clip::read(&file, RATE).expect("rf64").samples(), [6]);
    }

    #[test]
    fn headers_are_read_back() {
        for encoding in [
            Encoding::Pcm16,
            Encoding::G711(Law::A),
            Encoding::G711(Law::Mu),
        ] {
            let header = Header {
                encoding,
                channels: 2,
                rate: SampleRate::HZ_16000,
            };
            let mut file = header.to_bytes(8).to_vec();
            file.extend([0x55; 8]);
            let stored = Stored {
                encoding,
                channels: 2,
                hz: 16_000,
            };
            assert_eq!(parse(&file), Ok((stored, &[0x55; 8][..])));
            assert_eq!(
                file.len() - 8,
                u32::from_le_bytes([file[4], file[5], file[6], file[7]]) as usize
            );
        }
    }
}
