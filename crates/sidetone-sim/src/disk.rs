//! The virtual disk of an engine: recordings as bytes in memory, and the trouble that disks make.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sidetone::media::recorder::disk::DiskFile;
use sidetone::rng::Rng;

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
    /// How often random numbers were drawn.
    drawn: u64,
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
}

impl sidetone::media::recorder::disk::Disk for Disk {
    type File = File;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut contents = self.0.borrow_mut();
        if contents.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        contents.files.insert(path.to_owned(), Vec::new());
        Ok(File {
            disk: self.clone(),
            path: path.to_owned(),
        })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match self.0.borrow().files.contains_key(path) {
            true => Ok(File {
                disk: self.clone(),
                path: path.to_owned(),
            }),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let paths = self.paths().into_iter();
        Ok(paths
            .filter(|path| path.parent() == Some(directory))
            .collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut contents = self.0.borrow_mut();
        let removed = contents.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        contents.used -= removed.len();
        Ok(())
    }

    fn free(&self, _directory: &Path) -> io::Result<u64> {
        let contents = self.0.borrow();
        let left = |capacity: usize| capacity.saturating_sub(contents.used) as u64;
        Ok(contents.capacity.map_or(u64::MAX, left))
    }

    fn draw(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut contents = self.0.borrow_mut();
        contents.drawn += 1;
        let mut rng = Rng::new(contents.drawn);
        bytes.fill_with(|| rng.next_u32() as u8);
        Ok(())
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// An open file of a [`Disk`].
#[derive(Debug)]
pub struct File {
    disk: Disk,
    path: PathBuf,
}

impl File {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut contents = self.disk.0.borrow_mut();
        let file = contents
            .files
            .get_mut(&self.path)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(work(file))
    }
}

impl DiskFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut contents = self.disk.0.borrow_mut();
        let Contents {
            files,
            capacity,
            used,
            ..
        } = &mut *contents;
        let file = files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = from + bytes.len();
        let growth = end.saturating_sub(file.len());
        if growth > 0 && capacity.is_some_and(|most| *used + growth > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *used += growth;
        if file.len() < end {
            file.resize(end, 0);
        }
        file[from..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|file| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let held = file.get(from..).unwrap_or_default();
            let n = held.len().min(buf.len());
            buf[..n].copy_from_slice(&held[..n]);
            n
        })
    }

    fn length(&mut self) -> io::Result<u64> {
        self.with(|file| file.len() as u64)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let before = self.length()?;
        let after = self.with(|file| {
            file.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
            file.len() as u64
        })?;
        let mut contents = self.disk.0.borrow_mut();
        contents.used = contents.used + after as usize - before as usize;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sidetone::media::recorder::disk::Disk as _;

    use super::*;

    #[test]
    fn a_file_is_written_at_its_position_and_read_by_its_path() {
        let disk = Disk::default();
        let mut file = disk.create(Path::new("a/b.wav")).expect("a new file");
        file.write_at(0, b"hello world").expect("space");
        file.write_at(6, b"there").expect("space");
        assert_eq!(disk.read("a/b.wav").as_deref(), Some(&b"hello there"[..]));
        assert!(disk.create(Path::new("a/b.wav")).is_err());
        let listed = disk.list(Path::new("a")).expect("a directory");
        assert_eq!(listed, [PathBuf::from("a/b.wav")]);
    }

    #[test]
    fn a_full_disk_takes_no_more_and_can_be_overwritten() {
        let disk = Disk::default();
        disk.set_capacity(8);
        let mut file = disk.create(Path::new("a")).expect("a new file");
        file.write_at(0, b"12345678").expect("space");
        let full = file.write_at(8, b"9").expect_err("no space");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        file.write_at(0, b"abc").expect("the same space");
        assert_eq!(disk.read("a").as_deref(), Some(&b"abc45678"[..]));
        file.truncate(2).expect("less");
        let mut other = disk.create(Path::new("b")).expect("a new file");
        other.write_at(0, b"123456").expect("what was given back");
    }
}
