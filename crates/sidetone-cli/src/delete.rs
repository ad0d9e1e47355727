//! `sidetone delete`: the end of a recording that need not be kept any longer.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use sidetone::media::recorder::retention::{delete, proof_path};
use sidetone::media::recorder::seal::SigningKey;
use sidetone::net::disk::FileSystem;
use sidetone::time::WallTime;
use zeroize::Zeroizing;

use crate::verify::Key;

/// Delete a recording that need not be kept any longer, and leave a signed proof of it (NAME.wav.deleted).
///
/// Refuses while the label in the recording's record says that it must be kept, and where the record is not whole and
/// signed by a key given. `sidetone verify NAME.wav.deleted` reads the proof.
///
/// Exit status: 0 if it is deleted, 1 if it is kept, 2 if an option makes no sense.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The recording.
    #[arg(value_name = "FILE.wav")]
    file: PathBuf,
    /// Why, for the proof.
    #[arg(long)]
    reason: String,
    /// A public key that signs recordings: its name and 64 hexadecimal digits. May be given several times.
    #[arg(long, value_name = "NAME=HEX", required = true)]
    key: Vec<Key>,
    /// What signs the proof: a name, and a file with an Ed25519 key in PKCS #8 (DER).
    #[arg(long, value_name = "NAME=FILE")]
    sign: String,
}

impl Delete {
    pub(crate) fn run(&self) -> ExitCode {
        let (error, status) = match signing_key(&self.sign) {
            Ok(key) => match self.delete(&key) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => (error, 1),
            },
            Err(error) => (error, 2),
        };
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "sidetone: {error}");
        ExitCode::from(status)
    }

    fn delete(&self, key: &SigningKey) -> Result<(), String> {
        let known: Vec<_> = self.key.iter().map(|key| key.0.clone()).collect();
        let now = wall_time();
        let done = delete(&FileSystem, &self.file, now, &self.reason, key, &known);
        done.map_err(|error| format!("{}: {error}", self.file.display()))?;
        let proof = proof_path(&self.file);
        // Where standard output is closed, the exit status still tells.
        let _ = writeln!(std::io::stdout().lock(), "{}", proof.display());
        Ok(())
    }
}

/// The key of a `--sign NAME=FILE`.
pub(crate) fn signing_key(sign: &str) -> Result<SigningKey, String> {
    let parts = sign.split_once('=');
    let (name, path) = parts.ok_or("--sign is not of the form NAME=FILE")?;
    let document = std::fs::read(path).map(Zeroizing::new);
    let document = document.map_err(|error| format!("{path}: {error}"))?;
    SigningKey::from_pkcs8(name, &document).map_err(|error| format!("{path}: {error}"))
}

/// A clock that is before 1970 deletes nothing.
#[expect(clippy::disallowed_methods)]
fn wall_time() -> WallTime {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = passed.map_or(0, |passed| passed.as_nanos());
    WallTime::from_unix_nanos(u64::try_from(nanos).unwrap_or(0))
}
