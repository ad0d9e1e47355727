//! Real speech for tests that synthetic speech would make easy.

use std::path::{Path, PathBuf};

use crate::media::frame::SampleRate;
use crate::media::wav::Clip;

/// Where Debian's `asterisk-core-sounds-en-wav` puts its studio prompts; the set-up installs it.
const PROMPTS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// Every English prompt that is speech, by name, at 8 kHz; none, said aloud, where they are missing.
pub(crate) fn prompts() -> Vec<(String, Vec<i16>)> {
    let mut paths = vec![];
    collect(Path::new(PROMPTS), &mut paths);
    paths.sort();
    if paths.is_empty() {
        #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
        {
            eprintln!("SKIPPED: no speech in {PROMPTS}: install asterisk-core-sounds-en-wav");
        }
    }
    let read = |path: &PathBuf| {
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let clip = Clip::read(&std::fs::read(path).ok()?, SampleRate::HZ_8000).ok()?;
        Some((name, clip.samples().to_vec()))
    };
    let is_speech = |(name, _): &(String, Vec<i16>)| !name.starts_with("beep");
    paths.iter().filter_map(read).filter(is_speech).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|e| e == "wav") {
            paths.push(path);
        }
    }
}
