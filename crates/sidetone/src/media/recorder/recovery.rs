//! Recovery: recordings that a dead engine left unfinished, completed from its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::id::RecordingId;
use crate::media::recorder::disk::{Disk, DiskFile, read_all};
use crate::media::recorder::journal::{
    Entry, Files, Segments, Stream, is_of_another_version, segment_number,
};
use crate::media::recorder::layout::Layout;
use crate::media::recorder::retention::is_deleted;
use crate::media::recorder::seal::{Ending, Sealer, SigningKey};
use crate::media::recorder::verify::Record;
use crate::time::Duration;

/// The largest segment or record that is read: 1 GiB.
const MOST: u64 = 1 << 30;
/// Bytes read at once.
const STRIDE: usize = 1 << 16;

/// A recording that was completed, or could not be.
#[derive(Debug)]
pub struct Recovered {
    /// Its file.
    pub path: PathBuf,
    /// How long it plays now, or why it could not be completed: it is tried again at the next start.
    pub outcome: io::Result<Duration>,
}

/// What recovery has done.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Unfinished recordings, in the order in which they began.
    pub recordings: Vec<Recovered>,
    /// The number for the journal's next segment.
    pub next_segment: u64,
}

/// Completes what the journal in `directory` says is unfinished: puts the bytes that it holds into the files,
/// makes their headers right, ends their records as cut and signs them with `key`, syncs them, and removes
/// the journal's segments. Doing it again, or after it was interrupted, changes nothing more.
///
/// # Errors
/// The journal could not be read, or is of another version of its format ([`io::ErrorKind::Unsupported`]): the
/// engine that wrote it has to complete it. What befalls a single recording is in [`Recovery`]; the segments stay then.
pub fn recover<D: Disk>(
    disk: &D,
    directory: &Path,
    key: Option<&SigningKey>,
) -> io::Result<Recovery> {
    recover_but(disk, directory, key, &BTreeSet::new())
}

/// As [`recover`], but for recordings that are known to be complete, and may have been moved elsewhere since: they
/// are left alone.
///
/// # Errors
/// As [`recover`].
pub fn recover_but<D: Disk>(
    disk: &D,
    directory: &Path,
    key: Option<&SigningKey>,
    complete: &BTreeSet<PathBuf>,
) -> io::Result<Recovery> {
    let mut segments: Vec<(u64, PathBuf)> = disk
        .list(directory)?
        .into_iter()
        .filter_map(|path| Some((segment_number(&path)?, path)))
        .collect();
    segments.sort();
    let mut left: BTreeMap<Name, Left<D::File>> = BTreeMap::new();
    for (_, path) in &segments {
        let mut segment = match disk.open(path) {
            // An engine that has just stopped well is still removing its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let bytes = read_all(&mut segment, MOST)?;
        if is_of_another_version(&bytes) {
            let told = format!("{} is of another version of the journal", path.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, told));
        }
        if let Some(entries) = Segments::parse(&bytes) {
            let run = entries.run();
            for entry in entries {
                take(disk, &mut left, run, entry, complete);
            }
        }
    }
    let mut recovery = Recovery {
        recordings: Vec::new(),
        next_segment: segments.last().map_or(1, |(number, _)| number + 1),
    };
    for (_, unfinished) in left.into_iter().filter(|(_, left)| !left.is_closed) {
        recovery.recordings.push(Recovered {
            path: unfinished.files.audio.clone(),
            outcome: unfinished.complete(disk, key),
        });
    }
    if recovery.recordings.iter().all(|r| r.outcome.is_ok()) {
        for (_, path) in &segments {
            match disk.remove(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(recovery)
}

/// A recording of any run.
type Name = (u64, RecordingId);

/// A recording that the journal names.
struct Left<F> {
    files: Files,
    audio: Option<F>,
    seal: Option<F>,
    error: Option<io::Error>,
    is_closed: bool,
}

fn take<D: Disk>(
    disk: &D,
    left: &mut BTreeMap<Name, Left<D::File>>,
    run: u64,
    entry: Entry<'_>,
    complete: &BTreeSet<PathBuf>,
) {
    match entry {
        Entry::Open { files, .. } if complete.contains(&files.audio) => {}
        // It was complete, whatever a journal says that was not told in time.
        Entry::Open { files, .. } if is_deleted(disk, &files.audio).unwrap_or(false) => {}
        Entry::Open { recording, files } => {
            left.entry((run, recording)).or_insert(Left {
                files,
                audio: None,
                seal: None,
                error: None,
                is_closed: false,
            });
        }
        Entry::Data {
            recording,
            stream,
            offset,
            bytes,
        } => {
            if let Some(recording) = left.get_mut(&(run, recording)) {
                let written = recording.write(disk, stream, offset, bytes);
                recording.error = recording.error.take().or(written.err());
            }
        }
        Entry::Closed { recording } => {
            if let Some(recording) = left.get_mut(&(run, recording)) {
                recording.is_closed = true;
                // Nothing more comes, and descriptors are few.
                (recording.audio, recording.seal) = (None, None);
            }
        }
    }
}

impl<F: DiskFile> Left<F> {
    fn write<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        stream: Stream,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        match stream {
            Stream::Audio => {
                let offset = self.files.layout.head_bytes() + offset;
                open(disk, &mut self.audio, &self.files.audio)?.write_at(offset, bytes)
            }
            Stream::Seal => match &self.files.seal {
                Some(path) => open(disk, &mut self.seal, path)?.write_at(offset, bytes),
                None => Ok(()),
            },
        }
    }

    fn complete<D: Disk<File = F>>(
        mut self,
        disk: &D,
        key: Option<&SigningKey>,
    ) -> io::Result<Duration> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let layout = self.files.layout;
        let frame = layout.frame_bytes().unwrap_or(1);
        let audio = open(disk, &mut self.audio, &self.files.audio)?;
        let held = audio.length()?.saturating_sub(layout.head_bytes());
        let held = held / frame * frame;
        let (samples, bytes) = match &self.files.seal {
            Some(path) => {
                let seal = open(disk, &mut self.seal, path)?;
                let kept = end_record(audio, held, layout, seal, key)?;
                seal.sync()?;
                kept
            }
            None => (held / frame, held),
        };
        audio.truncate(layout.head_bytes() + bytes)?;
        audio.write_at(0, &self.files.head(samples))?;
        audio.sync()?;
        for path in [Some(&self.files.audio), self.files.seal.as_ref()] {
            if let Some(directory) = path.and_then(|path| path.parent()) {
                disk.sync_directory(directory)?;
            }
        }
        Ok(layout.rate.duration_of(samples))
    }
}

/// The open file, opened or made where it is not yet.
fn open<'a, D: Disk>(
    disk: &D,
    file: &'a mut Option<D::File>,
    path: &Path,
) -> io::Result<&'a mut D::File> {
    match file {
        Some(file) => Ok(file),
        None => {
            let opened = match disk.open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(path)?,
                opened => opened?,
            };
            Ok(file.insert(opened))
        }
    }
}

/// Ends the record of a file that holds `held` bytes behind its head; returns how many samples and bytes belong to the
/// recording.
fn end_record(
    audio: &mut impl DiskFile,
    held: u64,
    layout: Layout,
    seal: &mut impl DiskFile,
    key: Option<&SigningKey>,
) -> io::Result<(u64, u64)> {
    let record = Record::parse(&read_all(seal, MOST)?);
    // An end of which the sound did not reach the disk is none.
    let end = record.end.filter(|_| record.bytes <= held);
    if let Some((samples, _)) = end {
        // It lacks at most the signature.
        let ended = record.lines.last().filter(|_| record.signature.is_none());
        if let Some(line) = ended {
            let mut sealer = Sealer::resume(line.link, (layout, record.digest), 0, line.at);
            sealer.sign(key);
            append(seal, line.end, &mut sealer)?;
        }
        return Ok((samples, record.bytes));
    }
    // What was being written when the engine died, and chunks whose sound did not reach the disk.
    let kept = record.lines.iter().take_while(|line| line.bytes <= held);
    let kept = kept.last().copied().unwrap_or_default();
    let (chunks, at) = (kept.chunks, kept.at);
    let mut sealer = Sealer::resume(kept.link, (layout, record.digest), chunks, at);
    let Some(frame) = layout.frame_bytes() else {
        // Pages without their line were being written.
        sealer.end(&Ending::Cut, key);
        append(seal, kept.end, &mut sealer)?;
        return Ok((at, kept.bytes));
    };
    let mut buffer = vec![0; STRIDE];
    let mut offset = layout.head_bytes() + kept.bytes;
    let end = layout.head_bytes() + held;
    while offset < end {
        let most = (end - offset).min(STRIDE as u64) as usize;
        let n = audio.read_at(offset, &mut buffer[..most])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sealer.audio(&buffer[..n], n as u64 / frame);
        offset += n as u64;
    }
    sealer.end(&Ending::Cut, key);
    append(seal, kept.end, &mut sealer)?;
    Ok((held / frame, held))
}

/// Puts a sealer's lines in the place of what lies behind `length`.
fn append(seal: &mut impl DiskFile, length: usize, sealer: &mut Sealer) -> io::Result<()> {
    let mut lines = Vec::new();
    sealer.take_lines(&mut lines);
    seal.truncate(length as u64)?;
    seal.write_at(length as u64, &lines)
}

#[cfg(test)]
mod tests;
