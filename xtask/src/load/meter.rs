//! What a process and its children have used so far, as Linux tells it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Linux counts processor time in hundredths of a second for everybody.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process and its children, the system's part included.
pub(super) fn processor(id: u32) -> io::Result<Duration> {
    let ticks: u32 = family(id)?.iter().map(|stat| stat.ticks).sum();
    Ok(TICK * ticks)
}

/// Its memory that is in use, in kilobytes.
pub(crate) fn resident(id: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("no VmRSS"))
}

struct Stat {
    id: u32,
    parent: u32,
    ticks: u32,
}

/// The process, its children, and theirs.
fn family(id: u32) -> io::Result<Vec<Stat>> {
    let all = fs::read_dir("/proc")?.filter_map(|entry| stat(&entry.ok()?.path()));
    let mut rest: Vec<Stat> = all.collect();
    let mut found: Vec<Stat> = Vec::new();
    while let Some(at) = rest
        .iter()
        .position(|stat| stat.id == id || found.iter().any(|parent| parent.id == stat.parent))
    {
        found.push(rest.swap_remove(at));
    }
    Ok(found)
}

fn stat(dir: &Path) -> Option<Stat> {
    let id = dir.file_name()?.to_str()?.parse().ok()?;
    let text = fs::read_to_string(dir.join("stat")).ok()?;
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(Stat {
        id,
        parent: number(1)?,
        ticks: number(11)? + number(12)?,
    })
}
