//! A recording read back, piece by piece.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use claxon::FlacReader;

use crate::media::codec::g711::{Law, decode_a, decode_mu};
use crate::media::codec::{Codec, Decoder, Terms};
use crate::media::recorder::crypt::cipher::{DataKey, unmark};
use crate::media::recorder::export::ExportError;
use crate::media::recorder::export::align::{Alignment, MOST_MS};
use crate::media::recorder::export::clear::Clear;
use crate::media::recorder::export::packets::Packets;
use crate::media::wav::{Encoding, Header};

/// Reads the file of a recording, whichever of the engine's formats it has, while it grows too: it ends where the file
/// did when it was opened.
///
/// ```no_run
/// use std::fs::File;
/// use sidetone::media::recorder::export::source::Source;
///
/// let source = Source::open(File::open("call.flac")?)?;
/// let hz = u64::from(source.header().rate.hz());
/// // The first track from the tenth second to the twentieth.
/// let mut source = source.only(0).cut(10 * hz..20 * hz);
/// let mut samples = Vec::new();
/// while source.read(4_096, &mut samples)? > 0 {}
/// # Ok::<(), sidetone::media::recorder::export::ExportError>(())
/// ```
#[derive(Debug)]
pub struct Source<R: Read> {
    tape: Tape<R>,
    /// How it was stored, in how many channels.
    header: Header,
    channels: Channels,
    alignment: Option<Alignment>,
    /// Samples of a channel that are read, and where reading stands in them.
    span: Range<u64>,
    at: u64,
    /// Samples of all channels as they stand in the file, from `begins` on.
    window: Vec<i16>,
    begins: u64,
}

/// Which channels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channels {
    All,
    /// The first left, the sum of all others right.
    Stereo,
    Only(usize),
}

/// A file, from which samples of all channels come in turn.
#[derive(Debug)]
enum Tape<R: Read> {
    Wav(Wav<R>),
    Flac(Box<Flac<R>>),
    Opus(Box<Opus<R>>),
}

impl<R: Read + Seek> Source<R> {
    /// A recording's file that is neither encrypted nor Ogg Opus.
    ///
    /// # Errors
    /// [`ExportError::NotRecording`], or it cannot be read.
    pub fn open(file: R) -> Result<Self, ExportError> {
        Self::with_key(file, None, None)
    }

    /// A recording's file that may be encrypted, with its key: see [`data_key`](crate::media::recorder::verify::data_key);
    /// and with the codec that one of Ogg Opus wants.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ExportError::Encrypted`] where the key is missing, [`ExportError::Unsupported`] where
    /// the codec is.
    pub fn with_key(
        mut file: R,
        key: Option<DataKey>,
        opus: Option<&dyn Codec>,
    ) -> Result<Self, ExportError> {
        let mut magic = [0; 4];
        let read = file.read_exact(&mut magic);
        read.map_err(|_| ExportError::NotRecording)?;
        file.seek(SeekFrom::Start(0))?;
        unmark(&mut magic);
        let (tape, header, length) = match &magic {
            b"fLaC" => Flac::open(file, key)?,
            b"OggS" => Opus::open(file, key, opus)?,
            _ => Wav::open(file, key)?,
        };
        Ok(Self {
            tape,
            header,
            channels: Channels::All,
            alignment: None,
            span: 0..length,
            at: 0,
            window: Vec::new(),
            begins: 0,
        })
    }

    /// The same in stereo: the first channel left, the sum of all others right.
    #[must_use]
    pub fn into_stereo(self) -> Self {
        let channels = Channels::Stereo;
        Self { channels, ..self }
    }

    /// One channel of it alone, the first being 0.
    #[must_use]
    pub fn only(self, channel: u16) -> Self {
        let last = usize::from(self.header.channels).saturating_sub(1);
        let channels = Channels::Only(usize::from(channel).min(last));
        Self { channels, ..self }
    }

    /// These samples of it alone, as far as they are there.
    #[must_use]
    pub fn cut(self, samples: Range<u64>) -> Self {
        let until = samples.end.min(self.span.end);
        let span = samples.start.min(until)..until;
        Self {
            at: span.start,
            span,
            ..self
        }
    }

    /// With its tracks brought in step: each sample comes when it belongs, to 1 ms.
    #[must_use]
    pub fn in_step(self, alignment: Alignment) -> Self {
        let alignment = Some(alignment).filter(|it| !it.is_nothing());
        Self { alignment, ..self }
    }

    /// How its samples are stored, in how many channels they are read, at which rate.
    pub fn header(&self) -> Header {
        let channels = match self.channels {
            Channels::All => self.header.channels,
            Channels::Stereo => 2,
            Channels::Only(_) => 1,
        };
        Header {
            channels,
            ..self.header
        }
    }

    /// How many samples of each channel are read.
    pub fn length(&self) -> u64 {
        self.span.end - self.span.start
    }

    /// Appends up to `most` samples of each channel to `out`, interleaved, and returns how many: 0 at the end.
    ///
    /// # Errors
    /// The file cannot be read, or has been cut off meanwhile.
    pub fn read(&mut self, most: usize, out: &mut Vec<i16>) -> Result<usize, ExportError> {
        let count = (self.span.end - self.at).min(most as u64);
        if count == 0 {
            return Ok(0);
        }
        let slack = match self.alignment {
            Some(_) => u64::from(self.header.rate.hz()) * MOST_MS / 1000,
            None => 0,
        };
        self.fill(self.at.saturating_sub(slack)..self.at + count + slack)?;
        let channels = usize::from(self.header.channels);
        for time in self.at..self.at + count {
            match self.channels {
                Channels::All => out.extend((0..channels).map(|it| self.sample(it, time))),
                Channels::Only(channel) => out.push(self.sample(channel, time)),
                Channels::Stereo => {
                    let others =
                        (1..channels.max(2)).map(|it| self.sample(it.min(channels - 1), time));
                    let right = others.fold(0, |sum: i16, s| sum.saturating_add(s));
                    out.extend([self.sample(0, time), right]);
                }
            }
        }
        self.at += count;
        Ok(count as usize)
    }

    /// The sample of a channel that belongs at `time`.
    fn sample(&self, channel: usize, time: u64) -> i16 {
        let place = match &self.alignment {
            Some(alignment) => alignment.place(channel, time as i64),
            None => time as i64,
        };
        let place = u64::try_from(place)
            .ok()
            .and_then(|it| it.checked_sub(self.begins));
        let channels = usize::from(self.header.channels);
        let at = place.map(|it| it as usize * channels + channel);
        at.and_then(|at| self.window.get(at)).copied().unwrap_or(0)
    }

    /// Brings these samples into the window, as far as there are such.
    fn fill(&mut self, samples: Range<u64>) -> Result<(), ExportError> {
        let channels = usize::from(self.header.channels).max(1);
        let mut end = self.begins + (self.window.len() / channels) as u64;
        if self.window.is_empty() && samples.start > end {
            self.begins = self.tape.skip_to(samples.start, self.header)?;
            end = self.begins;
        }
        let old = samples.start.saturating_sub(self.begins) as usize * channels;
        self.window.drain(..old.min(self.window.len()));
        self.begins = self.begins.max(samples.start.min(end));
        while end < samples.end {
            let more = self.tape.read(samples.end - end, &mut self.window)?;
            if more == 0 {
                break;
            }
            end += more;
        }
        let old = samples.start.saturating_sub(self.begins) as usize * channels;
        let old = old.min(self.window.len());
        self.window.drain(..old);
        self.begins += (old / channels) as u64;
        Ok(())
    }
}

impl<R: Read + Seek> Tape<R> {
    /// Goes to where reading goes on so that this sample comes whole; says where that is. Before the first read only.
    fn skip_to(&mut self, sample: u64, header: Header) -> Result<u64, ExportError> {
        match self {
            Self::Wav(wav) => wav.skip_to(sample, header),
            Self::Flac(_) => Ok(0),
            Self::Opus(opus) => opus.skip_to(sample),
        }
    }

    /// Appends some of the next samples of all channels, up to `most` where that can be, and says how many.
    fn read(&mut self, most: u64, out: &mut Vec<i16>) -> Result<u64, ExportError> {
        match self {
            Self::Wav(wav) => wav.read(most, out),
            Self::Flac(flac) => flac.read(out),
            Self::Opus(opus) => opus.read(out),
        }
    }
}

/// A WAV file.
#[derive(Debug)]
struct Wav<R> {
    file: R,
    header: Header,
    length: u64,
    read: u64,
    key: Option<DataKey>,
    bytes: Vec<u8>,
}

impl<R: Read + Seek> Wav<R> {
    fn open(mut file: R, key: Option<DataKey>) -> Result<(Tape<R>, Header, u64), ExportError> {
        let end = file.seek(SeekFrom::End(0))?;
        let held = end.checked_sub(Header::LEN as u64);
        let held = held.ok_or(ExportError::NotRecording)?;
        file.seek(SeekFrom::Start(0))?;
        let mut head = [0; Header::LEN];
        file.read_exact(&mut head)?;
        let key = match (unmark(&mut head), key) {
            (false, _) => None,
            (true, Some(key)) => Some(key),
            (true, None) => return Err(ExportError::Encrypted),
        };
        let header = Header::from_bytes(&head).ok_or(ExportError::NotRecording)?;
        let length = held / header.frame_bytes().max(1) as u64;
        let wav = Self {
            file,
            header,
            length,
            read: 0,
            key,
            bytes: Vec::new(),
        };
        Ok((Tape::Wav(wav), header, length))
    }

    fn skip_to(&mut self, sample: u64, header: Header) -> Result<u64, ExportError> {
        self.read = sample.min(self.length);
        let at = Header::LEN as u64 + self.read * header.frame_bytes() as u64;
        self.file.seek(SeekFrom::Start(at))?;
        Ok(self.read)
    }

    fn read(&mut self, most: u64, out: &mut Vec<i16>) -> Result<u64, ExportError> {
        let count = (self.length - self.read).min(most);
        let frame = self.header.frame_bytes();
        self.bytes.resize(count as usize * frame, 0);
        self.file.read_exact(&mut self.bytes)?;
        if let Some(key) = &self.key {
            key.samples(self.read * frame as u64, &mut self.bytes);
        }
        self.read += count;
        let from = out.len();
        out.resize(from + count as usize * usize::from(self.header.channels), 0);
        let samples = out.get_mut(from..).unwrap_or_default();
        match self.header.encoding {
            Encoding::G711(Law::A) => decode_a(&self.bytes, samples),
            Encoding::G711(Law::Mu) => decode_mu(&self.bytes, samples),
            Encoding::Pcm16 => {
                for (to, from) in samples.iter_mut().zip(self.bytes.as_chunks::<2>().0) {
                    *to = i16::from_le_bytes(*from);
                }
            }
        }
        Ok(count)
    }
}

/// A FLAC file.
struct Flac<R: Read> {
    reader: FlacReader<BufReader<Clear<R>>>,
    buffer: Vec<i32>,
}

impl<R: Read> std::fmt::Debug for Flac<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flac")
    }
}

impl<R: Read> Flac<R> {
    fn open(file: R, key: Option<DataKey>) -> Result<(Tape<R>, Header, u64), ExportError> {
        let clear = Clear::open(file, key)?;
        let reader = FlacReader::new(BufReader::new(clear)).map_err(told)?;
        let info = reader.streaminfo();
        let rate = crate::media::frame::SampleRate::from_hz(info.sample_rate);
        let header = Header {
            encoding: Encoding::Pcm16,
            channels: info.channels as u16,
            rate: rate.ok_or(ExportError::NotRecording)?,
        };
        if info.bits_per_sample != 16 {
            return Err(ExportError::NotRecording);
        }
        let length = info.samples.unwrap_or(0);
        let buffer = Vec::new();
        Ok((
            Tape::Flac(Box::new(Self { reader, buffer })),
            header,
            length,
        ))
    }

    fn read(&mut self, out: &mut Vec<i16>) -> Result<u64, ExportError> {
        let buffer = std::mem::take(&mut self.buffer);
        let block = match self.reader.blocks().read_next_or_eof(buffer) {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(0),
            // A page that is being written.
            Err(claxon::Error::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(0);
            }
            Err(error) => return Err(told(error)),
        };
        for sample in 0..block.duration() {
            out.extend((0..block.channels()).map(|it| block.sample(it, sample) as i16));
        }
        let count = u64::from(block.duration());
        self.buffer = block.into_buffer();
        Ok(count)
    }
}

fn told(error: claxon::Error) -> ExportError {
    match error {
        claxon::Error::IoError(error) => error.into(),
        _ => ExportError::NotRecording,
    }
}

/// A file of Ogg Opus.
#[derive(Debug)]
struct Opus<R> {
    packets: Packets<BufReader<R>>,
    decoders: Vec<Box<dyn Decoder>>,
    /// Samples that are still to be left out.
    skip: usize,
    all: Vec<i16>,
    one: Vec<i16>,
}

/// Packets that a decoder is given before those that are wanted (RFC 7845 §4.6: 80 ms at least).
pub(super) const PRE_ROLL: u64 = 5;

impl<R: Read + Seek> Opus<R> {
    fn open(
        mut file: R,
        key: Option<DataKey>,
        codec: Option<&dyn Codec>,
    ) -> Result<(Tape<R>, Header, u64), ExportError> {
        let mut whole = Packets::with_key(BufReader::new(&mut file), key.clone())?;
        whole.skip_to(u64::MAX)?;
        let length = whole.length();
        file.seek(SeekFrom::Start(0))?;
        let packets = Packets::with_key(BufReader::new(file), key)?;
        let rate = packets.rate();
        let is_opus = |it: &&dyn Codec| it.rtp_map().encoding.eq_ignore_ascii_case("opus");
        let codec = codec.filter(is_opus);
        let codec = codec.ok_or(ExportError::Unsupported("there is no Opus to decode with"))?;
        let mut decoders = Vec::new();
        for _ in 0..packets.channels() {
            let decoder = codec.decoder(&Terms::new(rate))?;
            if decoder.sample_rate() != rate || decoder.channels() != 1 {
                return Err(ExportError::Unsupported("no Opus at this rate"));
            }
            decoders.push(decoder);
        }
        let header = Header {
            encoding: Encoding::Pcm16,
            channels: packets.channels() as u16,
            rate,
        };
        let skip = u64::from(packets.pre_skip()) * u64::from(rate.hz()) / 48_000;
        let opus = Self {
            packets,
            decoders,
            skip: skip as usize,
            all: Vec::new(),
            one: Vec::new(),
        };
        Ok((Tape::Opus(Box::new(opus)), header, length))
    }

    fn frame(&self) -> usize {
        self.packets.rate().frame_samples()
    }

    fn skip_to(&mut self, sample: u64) -> Result<u64, ExportError> {
        let (frame, lead) = (self.frame() as u64, self.skip as u64);
        let first = ((sample + lead) / frame).saturating_sub(PRE_ROLL);
        if first > 0 {
            self.packets.skip_to(first)?;
            self.skip = 0;
            return Ok(self.packets.count() * frame - lead);
        }
        Ok(0)
    }

    fn read(&mut self, out: &mut Vec<i16>) -> Result<u64, ExportError> {
        if !self.packets.read()? {
            return Ok(0);
        }
        let (frame, channels) = (self.frame(), self.decoders.len());
        self.one.resize(frame, 0);
        self.all.resize(frame * channels, 0);
        for (channel, decoder) in self.decoders.iter_mut().enumerate() {
            let packet = self.packets.stream(channel);
            if decoder.decode(packet, &mut self.one).is_err() {
                self.one.fill(0);
            }
            let own = self.all.iter_mut().skip(channel).step_by(channels);
            for (to, from) in own.zip(&self.one) {
                *to = *from;
            }
        }
        let skipped = self.skip.min(frame);
        self.skip -= skipped;
        out.extend_from_slice(self.all.get(skipped * channels..).unwrap_or_default());
        // Also where nothing of the first is heard something has been read.
        Ok((frame - skipped) as u64)
    }
}
