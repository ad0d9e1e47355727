//! s3rver, a store of objects in a directory that speaks as S3 does.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::place::Place;
use super::process::Process;
use crate::tools;

/// The one key that it knows, and its secret.
pub(crate) const KEY: &str = "S3RVER";

/// A running store.
pub(crate) struct S3 {
    process: Process,
    dir: PathBuf,
}

impl S3 {
    /// Starts it on `port`; what an earlier one has kept in `place` is there.
    pub(crate) fn start(place: &Place, port: u16) -> io::Result<Self> {
        let dir = place.path("s3");
        fs::create_dir_all(&dir)?;
        let mut node = Command::new("node");
        node.arg(tools::s3rver()?).arg("--no-vhost-buckets");
        node.args(["-d", "objects", "-a", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::spawn("s3", &dir, &mut node)?;
        process.expect("listening on", Duration::from_secs(20))?;
        Ok(Self { process, dir })
    }

    /// Makes a bucket.
    pub(crate) fn make(&self, bucket: &str) -> io::Result<()> {
        fs::create_dir_all(self.dir.join("objects").join(bucket))
    }

    /// What it has of an object.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> io::Result<Vec<u8>> {
        let file = format!("objects/{bucket}/{key}._S3rver_object");
        fs::read(self.dir.join(file))
    }

    /// Kills it: it learns nothing of that.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.process.kill()
    }
}
