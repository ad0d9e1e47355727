//! The disk that recordings and journals are written to, as far as they need one.

use std::io;
use std::path::{Path, PathBuf};

/// A disk. The real one is in `net`, the simulator has one in memory, and tests one that forgets what was
/// not synced.
pub trait Disk {
    /// An open file.
    type File: DiskFile;

    /// The path as it is found from any directory.
    ///
    /// # Errors
    /// The path is empty, or the present directory is unknown.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Makes a new file that only its owner can read, and the directories above it.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// The files in a directory, in any order; none where there is no such directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Bytes that there is room for on the disk of `directory`, which need not exist yet; as many as there can be
    /// where that is unknown.
    ///
    /// # Errors
    /// The disk failed.
    fn free(&self, directory: &Path) -> io::Result<u64>;

    /// Fills `bytes` with what nobody can guess, for the keys of recordings.
    ///
    /// # Errors
    /// The system has no random numbers.
    fn draw(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// Returns when the names in a directory would survive a power loss.
    ///
    /// # Errors
    /// The disk failed.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// An open file of a [`Disk`].
pub trait DiskFile {
    /// Writes at an offset, behind the end too.
    ///
    /// # Errors
    /// The disk is full, read-only or broken.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads into `buf` from an offset, as much as there is; 0 at the end.
    ///
    /// # Errors
    /// The disk failed.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The file's length.
    ///
    /// # Errors
    /// The disk failed.
    fn length(&mut self) -> io::Result<u64>;

    /// Cuts the file off at `length`.
    ///
    /// # Errors
    /// The disk failed.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Returns when all that was written would survive a power loss.
    ///
    /// # Errors
    /// The disk failed; what was written since the last time may be lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// Reads a file of at most `most` bytes from its beginning; what lies beyond is left out.
pub(crate) fn read_all(file: &mut impl DiskFile, most: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?.min(most);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(read as u64, rest)? {
            0 => break,
            n => read += n,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}
