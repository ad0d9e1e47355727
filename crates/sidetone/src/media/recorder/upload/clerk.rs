//! The clerk of uploads: makes tickets for recordings that are complete, and works on them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::{Disk, DiskFile, read_all};
use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::quote_whole;
use crate::media::recorder::upload::ticket::{
    MOST_PARTS, SUFFIX, Ticket, first_line, rewrite, ticket_path, tickets,
};
use crate::media::recorder::upload::{After, Part, Store, StoreError, UploadConfig, UploadError};

/// The largest ticket that is read: ten thousand parts with long names for each of two objects.
const MOST: u64 = 16 << 20;

/// What has been uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The recording.
    pub audio: PathBuf,
    /// Its object.
    pub key: String,
    /// Bytes of all of its objects.
    pub bytes: u64,
}

/// Gives a complete recording its ticket, which is on the disk then. One that has its ticket already keeps it.
///
/// # Errors
/// The ticket could not be made.
pub fn enqueue<D: Disk>(
    disk: &D,
    config: &UploadConfig,
    audio: &Path,
    is_sealed: bool,
) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidFilename);
    let key = config.key_of(audio).ok_or_else(invalid)?;
    let line = first_line(audio, &key, is_sealed, config.part).ok_or_else(invalid)?;
    let path = ticket_path(&config.queue, audio, SUFFIX);
    let mut file = match disk.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut file = disk.open(&path)?;
            if Ticket::parse(&read_all(&mut file, MOST)?).is_some() {
                return Ok(());
            }
            // Of a death between making and writing it.
            file
        }
        made => made?,
    };
    file.truncate(0)?;
    file.write_at(0, line.as_bytes())?;
    file.sync()?;
    disk.sync_directory(&config.queue)
}

/// The end of the name of what says that a recording has been uploaded and removed.
const REMOVED: &str = "removed";

/// The recordings that are complete: those that have a ticket, and those that were removed since the last
/// [`forget_removed`]. Where a journal says otherwise it was not told in time.
///
/// # Errors
/// The queue cannot be read.
pub fn known<D: Disk>(disk: &D, config: &UploadConfig) -> io::Result<BTreeSet<PathBuf>> {
    let mut known = BTreeSet::new();
    for path in disk.list(&config.queue)? {
        let is_one = path
            .extension()
            .is_some_and(|it| it == SUFFIX || it == REMOVED);
        if is_one && let Some(ticket) = Ticket::parse(&read_all(&mut disk.open(&path)?, MOST)?) {
            known.insert(ticket.audio);
        }
    }
    Ok(known)
}

/// Forgets which recordings were removed: no journal tells of them any more.
///
/// # Errors
/// The queue cannot be read.
pub fn forget_removed<D: Disk>(disk: &D, config: &UploadConfig) -> io::Result<()> {
    let paths = disk.list(&config.queue)?.into_iter();
    for path in paths.filter(|path| path.extension().is_some_and(|it| it == REMOVED)) {
        remove(disk, &path)?;
    }
    Ok(())
}

/// The tickets that wait, in the order of their names.
///
/// # Errors
/// The directory cannot be read.
pub fn waiting<D: Disk>(disk: &D, config: &UploadConfig) -> io::Result<Vec<PathBuf>> {
    tickets(disk, &config.queue, SUFFIX)
}

/// Works on a ticket until the store has everything, and removes the files where that is wanted; `None` where `stop` said
/// so before. The ticket stays until [`settle`].
///
/// # Errors
/// [`UploadError`]. Whatever it is, and wherever a crash ends it, working on the same ticket again goes on from
/// there.
pub fn attend<D: Disk>(
    disk: &D,
    config: &UploadConfig,
    store: &dyn Store,
    path: &Path,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Uploaded>, UploadError> {
    let mut file = disk.open(path)?;
    let bytes = read_all(&mut file, MOST)?;
    let Some(ticket) = Ticket::parse(&bytes) else {
        set_aside(disk, path, &bytes)?;
        return Err(UploadError::Gone);
    };
    file.truncate(ticket.valid)?;
    let mut work = Work {
        disk,
        store,
        file,
        ticket,
        sent: 0,
    };
    for index in 0..work.ticket.objects.len() {
        while !work.is_done(index) {
            if stop() {
                return Ok(None);
            }
            match work.step(index) {
                Err(UploadError::Gone) => {
                    set_aside(disk, path, &bytes)?;
                    return Err(UploadError::Gone);
                }
                stepped => stepped?,
            }
        }
    }
    let Ticket { audio, key, .. } = work.ticket;
    if config.after == After::Remove {
        rewrite(disk, &path.with_extension(REMOVED), &bytes)?;
        disk.sync_directory(&config.queue)?;
        for path in [&audio, &seal_path(&audio)] {
            remove(disk, path)?;
        }
    }
    let bytes = work.sent;
    Ok(Some(Uploaded { audio, key, bytes }))
}

/// Removes the ticket of a recording that the store has.
///
/// # Errors
/// The disk failed.
pub fn settle<D: Disk>(disk: &D, config: &UploadConfig, ticket: &Path) -> io::Result<()> {
    remove(disk, ticket)?;
    disk.sync_directory(&config.queue)
}

/// Keeps a ticket that nothing can be done for, under a name that nobody looks for.
fn set_aside<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    rewrite(disk, &path.with_extension("gone"), bytes)?;
    remove(disk, path)
}

fn remove<D: Disk>(disk: &D, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A ticket that is worked on.
struct Work<'a, D: Disk> {
    disk: &'a D,
    store: &'a dyn Store,
    file: D::File,
    ticket: Ticket,
    /// Bytes of the objects that are done.
    sent: u64,
}

impl<D: Disk> Work<'_, D> {
    fn is_done(&self, index: usize) -> bool {
        self.ticket.objects.get(index).is_none_or(|it| it.is_done)
    }

    /// Does the next thing for an object.
    fn step(&mut self, index: usize) -> Result<(), UploadError> {
        let Some(object) = self.ticket.objects.get(index).cloned() else {
            return Ok(());
        };
        let mut source = match self.disk.open(&object.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(UploadError::Gone);
            }
            opened => opened?,
        };
        let Some((upload, length)) = &object.upload else {
            let length = source.length()?;
            let upload = self.store.begin(&object.key)?;
            let upload = quote_whole(&upload);
            return self.tell(&format!(
                "begin object={index} bytes={length} upload={upload}"
            ));
        };
        let part = self.ticket.part.max(length.div_ceil(MOST_PARTS));
        let count = length.div_ceil(part).max(1);
        let have = object.tags.len() as u64;
        let line = match have < count {
            true => {
                let bytes = read_part(&mut source, have * part, part.min(length - have * part))?;
                let part = Part {
                    index: object.tags.len(),
                    offset: have * part,
                    bytes: &bytes,
                };
                match self.store.put(&object.key, upload, part) {
                    Err(StoreError::Unknown) => self.ask(index, &object.key, *length)?,
                    tag => format!("part object={index} n={have} tag={}", quote_whole(&tag?)),
                }
            }
            false => match self.store.complete(&object.key, upload, &object.tags) {
                Ok(()) => format!("done object={index}"),
                // A crash came between its completion and the note of it, perhaps.
                Err(StoreError::Unknown) => self.ask(index, &object.key, *length)?,
                Err(error) => match self.store.length(&object.key)? {
                    Some(there) if there == *length => format!("done object={index}"),
                    _ => return Err(error.into()),
                },
            },
        };
        if line.starts_with("done") {
            self.sent += length;
        }
        self.tell(&line)
    }

    /// The store knows nothing of an upload: it is complete, or has been forgotten.
    fn ask(&self, index: usize, key: &str, length: u64) -> Result<String, UploadError> {
        Ok(match self.store.length(key)? {
            Some(there) if there == length => format!("done object={index}"),
            _ => format!("again object={index}"),
        })
    }

    /// Writes a line into the ticket, which is on the disk then.
    fn tell(&mut self, line: &str) -> Result<(), UploadError> {
        let text = format!("{line}\n");
        self.file.write_at(self.ticket.valid, text.as_bytes())?;
        self.file.sync()?;
        self.ticket.valid += text.len() as u64;
        self.ticket.apply(line).ok_or(UploadError::Gone)
    }
}

fn read_part(file: &mut impl DiskFile, offset: u64, length: u64) -> Result<Vec<u8>, UploadError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + read as u64, rest)? {
            // It has become shorter.
            0 => return Err(UploadError::Gone),
            n => read += n,
        }
    }
    Ok(bytes)
}
