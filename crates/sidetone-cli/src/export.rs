//! `sidetone export`: a recording, or a part of it, as Ogg Opus, FLAC or plain WAV.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sidetone::media::recorder::crypt::cipher::DataKey;
use sidetone::media::recorder::export::align::Alignment;
use sidetone::media::recorder::export::packets::{self, Packets};
use sidetone::media::recorder::export::source::Source;
use sidetone::media::recorder::export::{ExportError, clear, flac, ogg, wav};
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::seal::Opening;
use sidetone::media::recorder::verify::{Noted, data_key, told};
use sidetone_opus::codec::Opus;

use crate::verify::identity;

/// Writes a recording, one that still grows too, or a part of it, in whichever format: Ogg Opus for a file that ends in
/// `.opus` or `.ogg`, FLAC for `.flac`, WAV for `.wav`.
///
/// Where the recording's record lies beside it, its tracks are brought in step to 1 ms by what that knows by the end. A
/// recording that is in the wanted format already is not encoded anew but copied as it is, decrypted where it is
/// encrypted: one of FLAC whole, one of Ogg Opus also cut, and single tracks of it.
///
/// What is written is a copy: the evidence stays the recording and its seal.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The recording: the file that the engine wrote.
    file: PathBuf,
    /// The file to make, which must not exist.
    out: PathBuf,
    /// The first track left and the sum of all others right, instead of a channel for each.
    #[arg(long, conflicts_with = "track")]
    stereo: bool,
    /// One track alone: its name, as `verify` shows it, or its number, the first being 1.
    #[arg(long, value_name = "TRACK")]
    track: Option<String>,
    /// Where to begin, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    from: f64,
    /// Where to end, in seconds; by default at the end.
    #[arg(long, value_name = "SECONDS")]
    until: Option<f64>,
    /// Encode anew also what could be copied, so that its tracks are in step.
    #[arg(long)]
    encode: bool,
    /// Leave each sample where it stands in the recording.
    #[arg(long, conflicts_with = "encode")]
    as_recorded: bool,
    /// A file of age-keygen whose key can read the recording, where that is encrypted.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Its record, where it does not lie beside it: the recording's key is in it, and the names of its tracks.
    #[arg(long, value_name = "FILE.seal")]
    seal: Option<PathBuf>,
    /// Bits a second of each track, for Opus.
    #[arg(long, default_value_t = 24_000)]
    bit_rate: u32,
}

impl Export {
    pub(crate) fn run(self) -> ExitCode {
        match self.export() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "sidetone export: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn export(&self) -> Result<(), String> {
        let format = Format::of(&self.out);
        let format = format.ok_or("the file to make ends in .opus, .ogg, .flac or .wav")?;
        let key = self.key()?;
        let record = self.record();
        let only = self.only(record.as_ref())?;
        let file = || File::open(&self.file).map_err(|e| self.fault(e.into()));
        let is_same = Format::of(&self.file) == Some(format) && !self.encode && !self.stereo;
        let is_whole = self.from <= 0.0 && self.until.is_none() && only.is_none();
        if is_same && is_whole && format != Format::Wav {
            let source = BufReader::new(file()?);
            return self.write(|out| clear::write(source, key.as_ref(), out));
        }
        let opus = Opus::new().bit_rate(self.bit_rate);
        let source = Source::with_key(BufReader::new(file()?), key.clone(), Some(&opus));
        let source = source.map_err(|e| self.fault(e))?;
        if only.is_some_and(|channel| channel >= source.header().channels) {
            return Err("there is no such track".into());
        }
        let hz = f64::from(source.header().rate.hz());
        let sample = |seconds: f64| (seconds.max(0.0) * hz).round() as u64;
        let span = sample(self.from)..self.until.map_or(u64::MAX, sample);
        if is_same && format == Format::Ogg {
            let span = span.start.min(source.length())..span.end.min(source.length());
            let packets = Packets::with_key(BufReader::new(file()?), key);
            return self.copy(packets, span, only);
        }
        let mut source = match (self.stereo, only) {
            (true, _) => source.into_stereo(),
            (_, Some(channel)) => source.only(channel),
            _ => source,
        };
        source = source.cut(span);
        if let Some((opening, timeline)) = record.filter(|_| !self.as_recorded) {
            source = source.in_step(Alignment::of(&opening, &timeline));
        }
        self.write(|out| match format {
            Format::Flac => flac::write(&mut source, out),
            Format::Wav => wav::write(&mut source, out),
            Format::Ogg => ogg::write(&mut source, &opus, 1, out),
        })
    }

    /// Copies packets of Opus.
    fn copy(
        &self,
        packets: Result<Packets<BufReader<File>>, ExportError>,
        span: Range<u64>,
        only: Option<u16>,
    ) -> Result<(), String> {
        let mut packets = packets.map_err(|e| self.fault(e))?;
        self.write(|out| packets::copy(&mut packets, span, only, 1, out))
    }

    /// Makes the file; of one that fails nothing is left.
    fn write(
        &self,
        write: impl FnOnce(BufWriter<File>) -> Result<(), ExportError>,
    ) -> Result<(), String> {
        write(self.make()?).map_err(|error| {
            // It is not what was asked for; where it cannot be removed, the error tells of it.
            let _stays = std::fs::remove_file(&self.out);
            format!("{}: {error}", self.out.display())
        })
    }

    fn fault(&self, error: ExportError) -> String {
        format!("{}: {error}", self.file.display())
    }

    fn seal(&self) -> PathBuf {
        let beside = || seal_path(&self.file);
        self.seal.clone().unwrap_or_else(beside)
    }

    /// What the recording's record says, where there is one.
    fn record(&self) -> Option<(Opening, Vec<Noted>)> {
        told(&std::fs::read(self.seal()).ok()?)
    }

    /// The channel of the track that is asked for.
    fn only(&self, record: Option<&(Opening, Vec<Noted>)>) -> Result<Option<u16>, String> {
        let Some(wanted) = &self.track else {
            return Ok(None);
        };
        if let Ok(number @ 1..=8) = wanted.parse::<u16>() {
            return Ok(Some(number - 1));
        }
        let named = record.and_then(|(opening, _)| {
            let mut tracks = opening.tracks.iter();
            tracks.position(|track| track.name() == wanted.as_str())
        });
        let channel = named.ok_or_else(|| format!("there is no track {wanted}"))?;
        Ok(Some(channel as u16))
    }

    fn make(&self) -> Result<BufWriter<File>, String> {
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).open(&self.out);
        let made = made.map_err(|e| format!("{}: {e}", self.out.display()))?;
        Ok(BufWriter::new(made))
    }

    /// The recording's key, where somebody was named who can read it.
    fn key(&self) -> Result<Option<DataKey>, String> {
        let Some(path) = &self.identity else {
            return Ok(None);
        };
        let (identity, seal) = (identity(path)?, self.seal());
        let record = std::fs::read(&seal).map_err(|e| format!("{}: {e}", seal.display()))?;
        let key = data_key(&record, &identity);
        key.map(Some)
            .map_err(|e| format!("{}: {e}", seal.display()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ogg,
    Flac,
    Wav,
}

impl Format {
    /// The format of a file, by its name.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "opus" | "ogg" => Some(Self::Ogg),
            "flac" => Some(Self::Flac),
            "wav" => Some(Self::Wav),
            _ => None,
        }
    }
}
