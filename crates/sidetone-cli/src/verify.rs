//! `sidetone verify`: whether a recording is what was recorded.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use serde::Serialize;
use sidetone::media::recorder::crypt::age::Identity;
use sidetone::media::recorder::retention::verify_deletion;
use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::stamp::answer::{Asked, check};
use sidetone::media::recorder::stamp::imprint;
use sidetone::media::recorder::verify::{
    Cause, Finding, Reading, Signature, Verdict, VerifyingKey, verify_as,
};
use sidetone::sip::transport::tls::certificates_from_pem;
use zeroize::Zeroizing;

use crate::stamp;

/// The largest record that is read.
const MOST: u64 = 1 << 30;

/// Learn whether a recording is complete and unchanged, and where it is not.
///
/// Holds a WAV file against the record beside it (NAME.wav.seal) and the record's signature against the
/// public keys given. Says intact, or to the second where it was altered or cut off, whether what was
/// masked is silent, and what its timeline knows of gaps.
///
/// Exit status: 0 if it is intact and signed by a key given, and stamped by an authority given, 1 if not, 2 if a file cannot be read or an
/// option makes no sense.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The recording.
    #[arg(value_name = "FILE.wav")]
    file: PathBuf,
    /// Its record, where it does not lie beside it.
    #[arg(long, value_name = "FILE.seal")]
    seal: Option<PathBuf>,
    /// A public key that signs recordings: its name and 64 hexadecimal digits. May be given several times.
    #[arg(long, value_name = "NAME=HEX")]
    key: Vec<Key>,
    /// A file of age-keygen whose key can read the recording, where that is encrypted. Without one all is proven but
    /// that what was masked is silent.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// The certificates of those whose time stamps are believed, as PEM: the recording has to have a stamp of theirs
    /// then (NAME.wav.seal.tsr). Without it a stamp is named, and proves nothing.
    #[arg(long, value_name = "FILE.pem")]
    authority: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// A public key.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) VerifyingKey);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, digits) = text.split_once('=').ok_or("not of the form NAME=HEX")?;
        let mut bytes = [0; 32];
        let pair = |n: usize| digits.get(2 * n..2 * n + 2);
        for (n, byte) in bytes.iter_mut().enumerate() {
            let parsed = pair(n).and_then(|two| u8::from_str_radix(two, 16).ok());
            *byte = parsed.ok_or("a key is 64 hexadecimal digits")?;
        }
        if digits.len() != 64 {
            return Err("a key is 64 hexadecimal digits".into());
        }
        let id = id.to_owned();
        Ok(Self(VerifyingKey { id, bytes }))
    }
}

/// What was found, for machines.
#[derive(Debug, Serialize)]
struct Told {
    intact: bool,
    recording: Option<String>,
    started_unix_nanos: Option<u64>,
    ended: &'static str,
    seconds: f64,
    digest: Option<&'static str>,
    signature: &'static str,
    key: Option<String>,
    contents: &'static str,
    label: Option<String>,
    not_before_unix_nanos: Option<u64>,
    stamp: Stamping,
    findings: Vec<Found>,
    silenced: Vec<Span>,
    timeline: Vec<Line>,
}

/// What the time stamp is worth.
#[derive(Debug, Serialize)]
struct Stamping {
    worth: &'static str,
    unix_nanos: Option<u64>,
    accuracy_seconds: Option<f64>,
    authority: Option<String>,
    policy: Option<String>,
    serial: Option<String>,
    refused: Option<String>,
}

/// A finding, for machines.
#[derive(Debug, Serialize)]
struct Found {
    what: &'static str,
    from_seconds: Option<f64>,
    to_seconds: Option<f64>,
    line: Option<usize>,
}

/// What was masked or paused, for machines.
#[derive(Debug, Serialize)]
struct Span {
    reason: Option<String>,
    from_seconds: f64,
    to_seconds: f64,
    proven: bool,
}

/// A line of the timeline, for machines.
#[derive(Debug, Serialize)]
struct Line {
    at_seconds: f64,
    kind: String,
    text: Option<String>,
    track: Option<String>,
    count: Option<i64>,
}

impl Verify {
    /// Verifies a recording.
    pub(crate) fn run(&self) -> ExitCode {
        if self.file.extension().is_some_and(|name| name == "deleted") {
            return self.run_on_proof();
        }
        match self.judge() {
            Ok(verdict) => {
                let (verdict, stamp) = verdict;
                let text = match self.json {
                    true => json(&verdict, stamp.0),
                    false => prose(&verdict, &stamp.0),
                };
                // Where standard output is closed, the exit status still tells.
                let _ = io::stdout().lock().write_all(text.as_bytes());
                ExitCode::from(u8::from(!(verdict.is_intact() && stamp.1)))
            }
            Err(error) => {
                let _ = writeln!(io::stderr().lock(), "sidetone: {error}");
                ExitCode::from(2)
            }
        }
    }

    /// Verifies the proof of a deletion.
    fn run_on_proof(&self) -> ExitCode {
        let keys: Vec<_> = self.key.iter().map(|key| key.0.clone()).collect();
        let proof = match std::fs::read(&self.file) {
            Ok(proof) => proof,
            Err(error) => {
                let _ = writeln!(
                    io::stderr().lock(),
                    "sidetone: {}: {error}",
                    self.file.display()
                );
                return ExitCode::from(2);
            }
        };
        let Some(deletion) = verify_deletion(&proof, &keys) else {
            let _ = writeln!(io::stdout().lock(), "NOT A PROOF of a deletion");
            return ExitCode::FAILURE;
        };
        let (worth, key) = signature(&deletion.signature);
        let key = key.unwrap_or("none");
        let label = deletion.label.map_or("none".to_owned(), |label| label.name);
        let _ = writeln!(
            io::stdout().lock(),
            "deleted: {:032x} at {} s of Unix time\nsignature: {worth} ({key})\nlabel: {}\nreason: {}",
            deletion.id,
            deletion.deleted.as_unix_nanos() / 1_000_000_000,
            label.escape_debug(),
            deletion.reason.escape_debug(),
        );
        let is_proven = matches!(deletion.signature, Signature::Valid { .. });
        ExitCode::from(u8::from(!is_proven))
    }

    fn judge(&self) -> Result<(Verdict, (Stamping, bool)), String> {
        let beside = seal_path(&self.file);
        let seal = self.seal.as_ref().unwrap_or(&beside);
        let fault = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        let length = std::fs::metadata(seal).map_err(|e| fault(seal, e))?.len();
        if length > MOST {
            return Err(format!("{}: larger than any record", seal.display()));
        }
        let record = std::fs::read(seal).map_err(|e| fault(seal, e))?;
        let audio = File::open(&self.file).map_err(|e| fault(&self.file, e))?;
        let keys: Vec<_> = self.key.iter().map(|key| key.0.clone()).collect();
        let identity = self.identity.as_deref().map(identity).transpose()?;
        let verdict = verify_as(
            &mut BufReader::new(audio),
            &record,
            &keys,
            identity.as_ref(),
        );
        let verdict = verdict.map_err(|e| fault(&self.file, e))?;
        Ok((verdict, self.judge_stamp(&record)?))
    }

    /// What the time stamp of this record is worth, and whether that is as much as was asked for.
    fn judge_stamp(&self, record: &[u8]) -> Result<(Stamping, bool), String> {
        let answer = stamp::read_beside(&self.file)?;
        let worth = match (&answer, &self.authority) {
            (None, _) => "missing",
            (Some(_), None) => "by an unknown authority",
            (Some(_), Some(_)) => "valid",
        };
        let mut told = Stamping {
            worth,
            unix_nanos: None,
            accuracy_seconds: None,
            authority: None,
            policy: None,
            serial: None,
            refused: None,
        };
        let (Some(answer), Some(authority)) = (answer, &self.authority) else {
            return Ok((told, self.authority.is_none()));
        };
        let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", authority.display());
        let roots = std::fs::read(authority).map_err(|error| fault(&error))?;
        let roots = certificates_from_pem(&roots).map_err(|error| fault(&error))?;
        let asked = Asked {
            digest: &imprint(record),
            nonce: None,
            policy: None,
        };
        match check(&answer, &asked, &roots) {
            Ok(stamp) => {
                told.unix_nanos = Some(stamp.time.as_unix_nanos());
                told.accuracy_seconds = stamp.accuracy.map(|it| it.as_secs_f64());
                told.authority = Some(stamp.authority);
                told.policy = Some(stamp.policy);
                told.serial = Some(stamp.serial);
                Ok((told, true))
            }
            Err(error) => {
                told.worth = "wrong";
                told.refused = Some(error.to_string());
                Ok((told, false))
            }
        }
    }
}

/// The secret key in a file of age-keygen.
pub(crate) fn identity(path: &Path) -> Result<Identity, String> {
    let file = std::fs::read_to_string(path).map(Zeroizing::new);
    let file = file.map_err(|e| format!("{}: {e}", path.display()))?;
    Identity::read(&file).map_err(|e| format!("{}: {e}", path.display()))
}

fn reading(verdict: &Verdict) -> &'static str {
    match verdict.reading {
        Reading::Clear => "not encrypted",
        Reading::Decrypted => "decrypted",
        Reading::Encrypted => "encrypted",
        Reading::Refused(_) => "encrypted, and not for this identity",
    }
}

fn seconds(verdict: &Verdict, at: u64) -> f64 {
    verdict.time_of(at).as_secs_f64()
}

/// What a finding is called, its samples and its line.
fn parts(finding: &Finding) -> (&'static str, Option<(u64, u64)>, Option<usize>) {
    match finding {
        Finding::NoRecord => ("no record", None, None),
        Finding::Record { line, at } => ("record altered", Some((*at, *at)), Some(*line)),
        Finding::Header => ("header altered", None, None),
        Finding::Altered(range) => ("altered", Some((range.start, range.end)), None),
        Finding::Truncated { at } => ("truncated", Some((*at, *at)), None),
        Finding::Extended { at } => ("extended", Some((*at, *at)), None),
        Finding::NotSilent(range) => ("not silent", Some((range.start, range.end)), None),
        _ => ("unknown", None, None),
    }
}

fn signature(signature: &Signature) -> (&'static str, Option<&str>) {
    match signature {
        Signature::Valid { key } => ("valid", Some(key)),
        Signature::Wrong { key } => ("wrong", Some(key)),
        Signature::Unknown { key } => ("by an unknown key", Some(key)),
        Signature::Missing => ("missing", None),
    }
}

fn ended(verdict: &Verdict) -> &'static str {
    match verdict.cause {
        Some(Cause::Closed) => "closed",
        Some(Cause::Failed) => "failed",
        Some(Cause::Cut) => "cut",
        None => "unfinished",
    }
}

fn prose(verdict: &Verdict, stamp: &Stamping) -> String {
    let mut text = String::new();
    let (worth, key) = signature(&verdict.signature);
    let length = seconds(verdict, verdict.samples);
    let sound = match (verdict.is_intact(), verdict.findings.is_empty()) {
        (true, _) => "intact",
        (false, true) => "unchanged, as far as an unproven record tells",
        (false, false) => "NOT INTACT",
    };
    // A string takes whatever is written to it.
    let _ = writeln!(text, "{sound}: {length:.3} s sealed, {}", ended(verdict));
    let _ = writeln!(
        text,
        "signature: {worth}{}",
        key.map(|k| format!(" ({k})")).unwrap_or_default()
    );
    if let Some(opening) = &verdict.opening {
        let _ = writeln!(text, "chained by: {}", opening.digest.name());
    }
    if let Some(label) = &verdict.label {
        let until = label.not_before.as_unix_nanos() / 1_000_000_000;
        let name = label.name.escape_debug();
        let _ = writeln!(text, "label: {name}, kept until {until} s of Unix time");
    }
    let _ = write!(text, "time stamp: {}", stamp.worth);
    if let (Some(time), Some(by)) = (stamp.unix_nanos, &stamp.authority) {
        let time = time as f64 / 1e9;
        let _ = write!(text, ", {time:.3} s of Unix time, by {by}");
    }
    if let Some(refused) = &stamp.refused {
        let _ = write!(text, ": {refused}");
    }
    text.push('\n');
    if verdict.reading != Reading::Clear {
        let _ = writeln!(text, "contents: {}", reading(verdict));
    }
    for finding in &verdict.findings {
        let (what, range, line) = parts(finding);
        let _ = write!(text, "{what}");
        if let Some(line) = line {
            let _ = write!(text, " in line {line}");
        }
        match range {
            Some((from, to)) if to > from => {
                let (from, to) = (seconds(verdict, from), seconds(verdict, to));
                let _ = write!(text, " from {from:.3} s to {to:.3} s");
            }
            Some((at, _)) => drop(write!(text, " at {:.3} s", seconds(verdict, at))),
            None => {}
        }
        text.push('\n');
    }
    for span in &verdict.silenced {
        let (from, to) = (span.samples.start, span.samples.end);
        let (from, to) = (seconds(verdict, from), seconds(verdict, to));
        let is_closed = matches!(verdict.reading, Reading::Encrypted | Reading::Refused(_));
        let proven = match (span.is_proven, is_closed) {
            (true, _) => "silent",
            (false, true) => "not known to be silent without its key",
            (false, false) => "NOT SILENT",
        };
        let what = match &span.reason {
            Some(reason) => format!("masked ({})", reason.escape_debug()),
            None => "paused".into(),
        };
        let _ = writeln!(text, "{what} from {from:.3} s to {to:.3} s: {proven}");
    }
    for noted in &verdict.timeline {
        let _ = write!(
            text,
            "{:10.3} s  {}",
            seconds(verdict, noted.at),
            noted.kind
        );
        if let Some(track) = &noted.track {
            let _ = write!(text, " {track}");
        }
        if let Some(count) = noted.count {
            let _ = write!(text, " {count}");
        }
        let _ = writeln!(text, " {}", noted.text.escape_debug());
    }
    text
}

fn json(verdict: &Verdict, stamp: Stamping) -> String {
    let (worth, key) = signature(&verdict.signature);
    let time = |at| seconds(verdict, at);
    let found = |finding: &Finding| {
        let (what, range, line) = parts(finding);
        Found {
            what,
            from_seconds: range.map(|(from, _)| time(from)),
            to_seconds: range.map(|(_, to)| time(to)),
            line,
        }
    };
    let told = Told {
        intact: verdict.is_intact(),
        recording: verdict.opening.map(|o| format!("{:032x}", o.id)),
        started_unix_nanos: verdict.opening.map(|o| o.started.as_unix_nanos()),
        ended: ended(verdict),
        seconds: time(verdict.samples),
        digest: verdict.opening.map(|o| o.digest.name()),
        signature: worth,
        key: key.map(str::to_owned),
        contents: reading(verdict),
        label: verdict.label.as_ref().map(|label| label.name.clone()),
        not_before_unix_nanos: verdict
            .label
            .as_ref()
            .map(|it| it.not_before.as_unix_nanos()),
        stamp,
        findings: verdict.findings.iter().map(found).collect(),
        silenced: verdict
            .silenced
            .iter()
            .map(|span| Span {
                reason: span.reason.clone(),
                from_seconds: time(span.samples.start),
                to_seconds: time(span.samples.end),
                proven: span.is_proven,
            })
            .collect(),
        timeline: verdict
            .timeline
            .iter()
            .map(|noted| Line {
                at_seconds: time(noted.at),
                kind: noted.kind.clone(),
                text: Some(noted.text.clone()).filter(|text| !text.is_empty()),
                track: noted.track.clone(),
                count: noted.count,
            })
            .collect(),
    };
    // What is made of numbers and strings can be written.
    serde_json::to_string_pretty(&told).unwrap_or_default() + "\n"
}
