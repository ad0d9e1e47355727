//! The virtual disk of an engine: recordings as bytes in memory, and the trouble that disks make.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A disk in memory; clones are the same disk.
///
/// ```
/// use sidetone_sim::disk::Disk;
///
/// let disk = Disk::default();
/// assert_eq!(disk.read("recording.wav"), None);
/// disk.set_capacity(1_000_000);
/// ```
#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<Contents>>);

#[derive(Default)]
struct Contents {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Bytes that it holds at most.
    capacity: Option<usize>,
    used: usize,
    stalled: bool,
}

impl fmt::Debug for Disk {
    /// The files by size: what they hold would fill screens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = self.0.borrow();
        let sizes = contents.files.iter().map(|(path, file)| (path, file.len()));
        f.debug_map().entries(sizes).finish()
    }
}

impl Disk {
    /// The bytes of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.0.borrow().files.get(path.as_ref()).cloned()
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.borrow().files.keys().cloned().collect()
    }

    /// Lets writes fail once the disk holds this many bytes.
    pub fn set_capacity(&self, bytes: usize) {
        self.0.borrow_mut().capacity = Some(bytes);
    }

    /// While stalled, nothing is written and nobody is told: a disk that hangs.
    pub fn stall(&self, stalled: bool) {
        self.0.borrow_mut().stalled = stalled;
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.0.borrow().stalled
    }

    /// Makes an empty file.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        let mut contents = self.0.borrow_mut();
        if contents.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        contents.files.insert(path.to_owned(), Vec::new());
        Ok(File {
            disk: self.clone(),
            path: path.to_owned(),
            position: 0,
        })
    }
}

/// An open file of a [`Disk`].
#[derive(Debug)]
pub(crate) struct File {
    disk: Disk,
    path: PathBuf,
    position: usize,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut contents = self.disk.0.borrow_mut();
        let Contents {
            files,
            capacity,
            used,
            ..
        } = &mut *contents;
        let file = files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let end = self.position + bytes.len();
        let growth = end.saturating_sub(file.len());
        if growth > 0 && capacity.is_some_and(|most| *used + growth > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *used += growth;
        if file.len() < end {
            file.resize(end, 0);
        }
        file[self.position..end].copy_from_slice(bytes);
        self.position = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self
            .disk
            .0
            .borrow()
            .files
            .get(&self.path)
            .map_or(0, Vec::len);
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => (length as u64).checked_add_signed(offset),
            SeekFrom::Current(offset) => (self.position as u64).checked_add_signed(offset),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        self.position = usize::try_from(target).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_at_its_position_and_read_by_its_path() {
        let disk = Disk::default();
        let mut file = disk.create(Path::new("a/b.wav")).expect("a new file");
        file.write_all(b"hello world").expect("space");
        file.seek(SeekFrom::Start(6)).expect("a position");
        file.write_all(b"there").expect("space");
        assert_eq!(disk.read("a/b.wav").as_deref(), Some(&b"hello there"[..]));
        assert!(disk.create(Path::new("a/b.wav")).is_err());
    }

    #[test]
    fn a_full_disk_takes_no_more_and_can_be_overwritten() {
        let disk = Disk::default();
        disk.set_capacity(8);
        let mut file = disk.create(Path::new("a")).expect("a new file");
        file.write_all(b"12345678").expect("space");
        let full = file.write_all(b"9").expect_err("no space");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        file.seek(SeekFrom::Start(0)).expect("a position");
        file.write_all(b"abc").expect("the same space");
        assert_eq!(disk.read("a").as_deref(), Some(&b"abc45678"[..]));
    }
}
