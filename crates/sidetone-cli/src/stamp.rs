//! `sidetone stamp`: a time stamp for a recording, by an authority that is asked by other means.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sidetone::media::recorder::scribe::seal_path;
use sidetone::media::recorder::stamp::answer::{Asked, check};
use sidetone::media::recorder::stamp::request::request;
use sidetone::media::recorder::stamp::{MOST_ANSWER, imprint, stamp_path};
use sidetone::sip::transport::tls::certificates_from_pem;

/// Have the record of a recording stamped with the time by an authority (RFC 3161).
///
/// Without --answer writes what the authority is asked to NAME.wav.seal.tsq; send that as
/// application/timestamp-query, and come back with the answer: it is checked, and put beside the record as
/// NAME.wav.seal.tsr, where `sidetone verify` looks for it. Engines do all of this by themselves where they know an
/// authority.
///
/// Exit status: 0 if that is done, 1 if the answer is no stamp of this record by a known authority, 2 if a file cannot
/// be read or written.
#[derive(Debug, clap::Args)]
pub(crate) struct Stamp {
    /// The recording.
    #[arg(value_name = "FILE.wav")]
    file: PathBuf,
    /// The policy to ask for, and to insist on in an answer.
    #[arg(long, value_name = "OID")]
    policy: Option<String>,
    /// What the authority has answered.
    #[arg(long, value_name = "FILE.tsr", requires = "authority")]
    answer: Option<PathBuf>,
    /// The certificates of those whose authorities are believed, as PEM.
    #[arg(long, value_name = "FILE.pem")]
    authority: Option<PathBuf>,
}

impl Stamp {
    pub(crate) fn run(&self) -> ExitCode {
        let (error, status) = match self.stamp() {
            Ok(Ok(made)) => {
                // Where standard output is closed, the exit status still tells.
                let _ = writeln!(io::stdout().lock(), "{made}");
                return ExitCode::SUCCESS;
            }
            Ok(Err(refused)) => (refused, 1),
            Err(error) => (error, 2),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "sidetone: {error}");
        ExitCode::from(status)
    }

    /// What was made; why the answer is none; or what could not be done.
    fn stamp(&self) -> Result<Result<String, String>, String> {
        let record = seal_path(&self.file);
        let bytes = read(&record)?;
        let digest = imprint(&bytes);
        let policy = self.policy.as_deref();
        let (Some(answer), Some(authority)) = (&self.answer, &self.authority) else {
            let query = request(&digest, None, policy).map_err(|error| error.to_string())?;
            let path = record.with_added_extension("tsq");
            return write(&path, &query).map(Ok);
        };
        let answer = read(answer)?;
        let roots = certificates_from_pem(&read(authority)?);
        let roots = roots.map_err(|error| format!("{}: {error}", authority.display()))?;
        let asked = Asked {
            digest: &digest,
            nonce: None,
            policy,
        };
        match check(&answer, &asked, &roots) {
            Ok(_) => write(&stamp_path(&self.file), &answer).map(Ok),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

/// The stamp of a recording, if there is one.
pub(crate) fn read_beside(audio: &Path) -> Result<Option<Vec<u8>>, String> {
    let path = stamp_path(audio);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(found) if found.len() > MOST_ANSWER as u64 => {
            Err(format!("{}: larger than any time stamp", path.display()))
        }
        _ => read(&path).map(Some),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<String, String> {
    let written = std::fs::write(path, bytes);
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path.display().to_string())
}
