//! A bucket of S3, or of what speaks as it does, by its URL and what the environment says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use sidetone::media::recorder::upload::is_key;
use thiserror::Error;

use crate::ObjectStore;

/// How long a request may take, a part of an upload included: 8 MiB at 220 kbit/s.
const PATIENCE: &str = "5 minutes";

/// A bucket, and what names of objects in it begin with.
///
/// ```
/// use sidetone_store::s3::Bucket;
///
/// let bucket = Bucket::from_environment("s3://calls/branch-7")?;
/// assert_eq!(bucket.prefix, "branch-7/");
/// # Ok::<(), sidetone_store::s3::BucketError>(())
/// ```
#[derive(Debug)]
pub struct Bucket {
    /// The store, for [`Upload::store`](sidetone::media::recorder::upload::Upload::store).
    pub store: ObjectStore<AmazonS3>,
    /// For [`UploadConfig::prefix`](sidetone::media::recorder::upload::UploadConfig::prefix): nothing, or a path that
    /// ends in a slash.
    pub prefix: String,
}

/// Why a URL is no bucket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BucketError {
    /// The URL is not of the form `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    #[error("not of the form s3://BUCKET or s3://BUCKET/PREFIX")]
    Url,
    /// What the environment says makes no sense.
    #[error(transparent)]
    Environment(#[from] object_store::Error),
    /// The system has nothing to make a runtime of.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Bucket {
    /// The bucket at `url`. Credentials, region and endpoint are those of the environment, by the names that all tools for
    /// S3 share: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` (with
    /// `AWS_ALLOW_HTTP=true` where that is `http://`); without a key, those of the machine's role are asked for. Nothing
    /// is asked yet: a wrong key and an absent bucket show with the first upload.
    ///
    /// A request that fails for want of a connection or by an error of the server is repeated twice within 10 s; what fails
    /// then waits in the queue of uploads. Each part is signed with its SHA-256, so that the store takes no other bytes.
    ///
    /// # Errors
    /// [`BucketError`].
    pub fn from_environment(url: &str) -> Result<Self, BucketError> {
        let (name, prefix) = parse(url).ok_or(BucketError::Url)?;
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 2,
            retry_timeout: Duration::from_secs(10),
        };
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_config(timeout, PATIENCE)
            .with_retry(retry)
            .build()?;
        let store = ObjectStore::new(Arc::new(store))?;
        Ok(Self { store, prefix })
    }
}

/// The bucket's name and the prefix of a URL.
fn parse(url: &str) -> Option<(&str, String)> {
    let rest = url.strip_prefix("s3://")?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| is_plain(byte) || b".-".contains(&byte));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match prefix {
        _ if !is_name => None,
        "" => Some((name, String::new())),
        prefix => is_key(prefix).then(|| (name, format!("{prefix}/"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_perhaps_a_prefix() {
        assert_eq!(parse("s3://calls"), Some(("calls", String::new())));
        assert_eq!(parse("s3://calls/"), Some(("calls", String::new())));
        let deep = Some(("calls.example", "branch-7/desk 2/".to_owned()));
        assert_eq!(parse("s3://calls.example/branch-7/desk 2/"), deep);
        let wrong = [
            "calls",
            "s3:calls",
            "s3://",
            "s3://x",
            "s3://Calls",
            "s3://a/b",
        ];
        for url in wrong
            .into_iter()
            .chain(["s3://calls//x", "s3://calls/../x", "s3://user@calls"])
        {
            assert_eq!(parse(url), None, "{url}");
        }
    }
}
