//! `sidetone export`: a recording as Ogg Opus, FLAC or plain WAV.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use sidetone::media::recorder::crypt::cipher::DataKey;
use sidetone::media::recorder::export::source::Source;
use sidetone::media::recorder::export::{ExportError, clear, flac, ogg, wav};
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::verify::data_key;
use sidetone_opus::codec::Opus;

use crate::verify::identity;

/// Writes a recording, one that still grows too, in another format: Ogg Opus for a file that ends in `.opus` or
/// `.ogg`, FLAC for `.flac`, WAV (decrypted, or in stereo) for `.wav`.
///
/// A recording that is FLAC or Ogg Opus itself is copied, decrypted where it is encrypted; any program converts it then.
///
/// What is written is a copy: the evidence stays the recording and its seal.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The recording: the file that the engine wrote.
    file: PathBuf,
    /// The file to make, which must not exist.
    out: PathBuf,
    /// The first track left and the sum of all others right, instead of a channel for each.
    #[arg(long)]
    stereo: bool,
    /// A file of age-keygen whose key can read the recording, where that is encrypted.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Its record, where it does not lie beside it: the recording's key is in it.
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
        let fault = |path: &Path, error: ExportError| format!("{}: {error}", path.display());
        let file = File::open(&self.file).map_err(|e| fault(&self.file, e.into()))?;
        let key = self.key()?;
        let ending = self.file.extension().filter(|name| *name != "wav");
        if ending.is_some() && ending == self.out.extension() && !self.stereo {
            let written = clear::write(BufReader::new(file), key.as_ref(), self.make()?);
            return written.map_err(|e| {
                // It is not what was asked for; where it cannot be removed, the error tells of it.
                let _stays = std::fs::remove_file(&self.out);
                fault(&self.out, e)
            });
        }
        let source = Source::with_key(BufReader::new(file), key);
        let source = source.map_err(|e| fault(&self.file, e))?;
        let mut source = match self.stereo {
            true => source.into_stereo(),
            false => source,
        };
        let format = self.out.extension().and_then(|name| name.to_str());
        let format = match format {
            Some("opus" | "ogg") => Format::Ogg,
            Some("flac") => Format::Flac,
            Some("wav") => Format::Wav,
            _ => return Err("the file to make ends in .opus, .ogg, .flac or .wav".into()),
        };
        let out = self.make()?;
        let written = match format {
            Format::Flac => flac::write(&mut source, out),
            Format::Wav => wav::write(&mut source, out),
            Format::Ogg => {
                let codec = Opus::new().bit_rate(self.bit_rate);
                ogg::write(&mut source, &codec, 1, out)
            }
        };
        written.map_err(|e| fault(&self.out, e))
    }
}

impl Export {
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
        let identity = identity(path)?;
        let beside = seal_path(&self.file);
        let seal = self.seal.as_ref().unwrap_or(&beside);
        let record = std::fs::read(seal).map_err(|e| format!("{}: {e}", seal.display()))?;
        let key = data_key(&record, &identity);
        key.map(Some)
            .map_err(|e| format!("{}: {e}", seal.display()))
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Ogg,
    Flac,
    Wav,
}
