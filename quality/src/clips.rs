//! Recorded speech: who speaks, where Debian's packages put it, and which clips tune and which report.

use std::io;
use std::path::{Path, PathBuf};

use sidetone::media::codec::Decoder as _;
use sidetone::media::codec::g722::G722Decoder;

use crate::sound::Sound;

/// What a clip may be used for. Constants of the engine are chosen on the one half, figures are told of
/// the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Choosing constants.
    Tuning,
    /// Telling how good it is.
    Reporting,
}

impl Purpose {
    /// `tuning` or `reporting`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tuning" => Some(Self::Tuning),
            "reporting" => Some(Self::Reporting),
            _ => None,
        }
    }
}

/// Somebody who speaks.
struct Speaker {
    name: &'static str,
    source: Source,
}

enum Source {
    /// Prompts of a folder of G.722 files, 16 kHz.
    Prompts(&'static str),
    /// Bare samples at 8 kHz, a file for each purpose.
    Raw([&'static str; 2]),
}

/// Women: Allison, June, the Russian voice, forig, hts1a. Men: Carlo, hts2a, morig, mmt1.
const SPEAKERS: [Speaker; 6] = [
    prompts("allison-en-f", "/usr/share/asterisk/sounds/en_US_f_Allison"),
    prompts("june-fr-f", "/usr/share/asterisk/sounds/fr_CA_f_June"),
    prompts("carlo-it-m", "/usr/share/asterisk/sounds/it_IT_m_Carlo"),
    prompts("ivr-ru-f", "/usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU"),
    raw(
        "sentences-en-m",
        [
            "/usr/share/codec2/raw/hts2a.raw",
            "/usr/share/codec2/raw/morig.raw",
        ],
    ),
    raw(
        "sentences-en-f",
        [
            "/usr/share/codec2/raw/hts1a.raw",
            "/usr/share/codec2/raw/forig.raw",
        ],
    ),
];

const fn prompts(name: &'static str, folder: &'static str) -> Speaker {
    let source = Source::Prompts(folder);
    Speaker { name, source }
}

const fn raw(name: &'static str, files: [&'static str; 2]) -> Speaker {
    let source = Source::Raw(files);
    Speaker { name, source }
}

/// A piece of speech at speech level.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Who speaks, and which of his or her clips it is.
    pub name: String,
    /// The sound, at 8 or 16 kHz.
    pub sound: Sound,
}

/// The shortest clip that PESQ judges well, and the longest here, in milliseconds.
const LENGTH: std::ops::RangeInclusive<u64> = 5_500..=9_500;
/// Clips of each speaker at most.
const EACH: usize = 3;

/// The clips for a purpose, `each` of every speaker at most.
///
/// # Errors
/// No speech is installed.
pub fn load(purpose: Purpose, each: usize) -> io::Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for speaker in &SPEAKERS {
        let found = match &speaker.source {
            Source::Prompts(folder) => from_prompts(Path::new(folder), purpose)?,
            Source::Raw(files) => from_raw(Path::new(files[purpose as usize])),
        };
        for (number, sound) in found.into_iter().take(each.min(EACH)).enumerate() {
            clips.push(Clip {
                name: format!("{}-{number}", speaker.name),
                sound: sound.at_level(26.0),
            });
        }
    }
    if clips.is_empty() {
        return Err(io::Error::other("no recorded speech is installed"));
    }
    Ok(clips)
}

/// Prompts in the order of their names, every second one for each purpose.
fn from_prompts(folder: &Path, purpose: Purpose) -> io::Result<Vec<Sound>> {
    let Ok(dir) = std::fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<PathBuf> = dir.map(|e| Ok(e?.path())).collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "g722"));
    files.sort();
    let mut found = Vec::new();
    let mut fitting = 0;
    for file in files {
        // G.722 is 8,000 bytes a second: only those that fit are decoded.
        let bytes = std::fs::metadata(&file)?.len();
        if !LENGTH.contains(&(bytes / 8)) {
            continue;
        }
        fitting += 1;
        if fitting % 2 == purpose as usize {
            found.push(decode_g722(&std::fs::read(&file)?));
        }
        if found.len() == EACH {
            break;
        }
    }
    Ok(found)
}

fn from_raw(file: &Path) -> Vec<Sound> {
    let Ok(once) = Sound::read_raw(file, 8_000) else {
        return Vec::new();
    };
    // Two to four seconds: said twice, which is long enough for PESQ.
    let mut samples = once.samples.clone();
    while samples.len() < 6 * 8_000 {
        samples.extend(std::iter::repeat_n(0, 2_400));
        samples.extend_from_slice(&once.samples);
    }
    vec![Sound::new(8_000, samples)]
}

fn decode_g722(bytes: &[u8]) -> Sound {
    let mut decoder = G722Decoder::new();
    let mut samples = Vec::with_capacity(bytes.len() * 2);
    let mut out = [0; 320];
    for packet in bytes.chunks(160) {
        if let Ok(n) = decoder.decode(packet, &mut out) {
            samples.extend_from_slice(&out[..n]);
        }
    }
    Sound::new(16_000, samples)
}
