//! A recording's ticket: what is to be uploaded, and how far that has come.
//!
//! A text of lines, each written when what it says has happened; a line without its end was not:
//!
//! ```text
//! sidetone-upload 1 audio=… key=… sealed=yes part=8388608
//! begin object=0 bytes=20000000 upload=…
//! part object=0 n=0 tag=…
//! again object=0
//! done object=0
//! ```
//!
//! Object 0 is the sound, object 1 the record that seals it: whoever finds the second in the store has both.

use std::io;
use std::path::{Path, PathBuf};

use crate::media::recorder::disk::{Disk, DiskFile};
use crate::media::recorder::name::escape;
use crate::media::recorder::scribe::seal_path;
use crate::media::recorder::seal::{hash, hex, quote_whole, unquote};
use crate::media::recorder::verify::{field, number};

const MAGIC: &str = "sidetone-upload 1 ";
/// The end of a ticket's name.
pub const SUFFIX: &str = "upload";
/// Parts of an object at most, as S3 has it.
pub(super) const MOST_PARTS: u64 = 10_000;

/// Where the ticket of a recording lies in a queue.
pub(in crate::media::recorder) fn ticket_path(queue: &Path, audio: &Path, suffix: &str) -> PathBuf {
    let stem = audio.file_stem().map(|name| name.to_string_lossy());
    let name = escape(&stem.unwrap_or_default());
    // Two recordings may have one name in different directories.
    let mark = hash(audio.as_os_str().as_encoded_bytes());
    let mark = hex(mark.get(..8).unwrap_or_default());
    queue.join(format!("{name}-{mark}.{suffix}"))
}

/// The tickets that wait in a queue, their names ending in `suffix`, in the order of their names.
pub(in crate::media::recorder) fn tickets<D: Disk>(
    disk: &D,
    queue: &Path,
    suffix: &str,
) -> io::Result<Vec<PathBuf>> {
    let is_ticket = |path: &PathBuf| path.extension().is_some_and(|it| it == suffix);
    let mut tickets: Vec<_> = disk.list(queue)?.into_iter().collect();
    tickets.retain(is_ticket);
    tickets.sort();
    Ok(tickets)
}

/// Writes a file anew, whether it is there or not; the disk has what it holds then.
pub(in crate::media::recorder) fn rewrite<D: Disk>(
    disk: &D,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    let mut file = match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(path)?,
        made => made?,
    };
    file.truncate(0)?;
    file.write_at(0, bytes)?;
    file.sync()
}

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The recording.
    pub audio: PathBuf,
    /// The name of its object; that of its record is followed by `.seal`.
    pub key: String,
    /// Bytes of a part.
    pub part: u64,
    /// What is uploaded, in this order.
    pub objects: Vec<Object>,
    /// Bytes of the ticket that count: what follows was torn.
    pub valid: u64,
}

/// One file on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The file.
    pub path: PathBuf,
    /// Its object.
    pub key: String,
    /// The upload that has begun, and the file's length then.
    pub upload: Option<(String, u64)>,
    /// What the store calls the parts that it has.
    pub tags: Vec<String>,
    /// Whether the store has all of it.
    pub is_done: bool,
}

/// The line that a ticket begins with.
pub(super) fn first_line(audio: &Path, key: &str, is_sealed: bool, part: u64) -> Option<String> {
    let (audio, key) = (quote_whole(audio.to_str()?), quote_whole(key));
    let sealed = if is_sealed { "yes" } else { "no" };
    Some(format!(
        "{MAGIC}audio={audio} key={key} sealed={sealed} part={part}\n"
    ))
}

impl Ticket {
    /// Reads a ticket; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
        let text = std::str::from_utf8(bytes.get(..whole)?).ok()?;
        let mut lines = text.lines();
        let first = lines.next()?.strip_prefix(MAGIC)?;
        let audio = PathBuf::from(unquote(field(first, "audio")?));
        let key = unquote(field(first, "key")?);
        let object = |path: PathBuf, key: String| Object {
            path,
            key,
            upload: None,
            tags: Vec::new(),
            is_done: false,
        };
        let mut objects = vec![object(audio.clone(), key.clone())];
        if field(first, "sealed")? == "yes" {
            objects.push(object(seal_path(&audio), format!("{key}.seal")));
        }
        let mut ticket = Self {
            audio,
            key,
            part: number(first, "part")?.max(1),
            objects,
            valid: whole as u64,
        };
        for line in lines {
            ticket.apply(line)?;
        }
        Some(ticket)
    }

    /// Takes what a line says.
    pub(super) fn apply(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let index = usize::try_from(number(rest, "object")?).ok()?;
        let object = self.objects.get_mut(index)?;
        match kind {
            "begin" => {
                let upload = unquote(field(rest, "upload")?);
                object.upload = Some((upload, number(rest, "bytes")?));
                object.tags.clear();
            }
            "part" => {
                let n = usize::try_from(number(rest, "n")?).ok()?;
                // The next one, or the last one again.
                object.tags.truncate(n);
                if object.tags.len() != n || n as u64 >= MOST_PARTS {
                    return None;
                }
                object.tags.push(unquote(field(rest, "tag")?));
            }
            "again" => (object.upload, object.tags) = (None, Vec::new()),
            "done" => object.is_done = true,
            _ => return None,
        }
        Some(())
    }
}
