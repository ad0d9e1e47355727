//! Where recordings go when they are complete: `--upload`.

use std::path::{Path, absolute};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use sidetone::engine::config::Config;
use sidetone::engine::event::StorageNews;
use sidetone::face::engine::Engine;
use sidetone::media::recorder::storage::UploadNews;
use sidetone::media::recorder::upload::{After, Store, Upload, UploadConfig};
use sidetone::net::store::DirectoryStore;
use sidetone_store::s3::Bucket;

use crate::line::{complain, say};

/// Whether and where recordings are uploaded.
#[derive(Debug, Clone, Args)]
pub(crate) struct UploadArguments {
    /// Uploads each recording and its record when they are complete: to s3://BUCKET/PREFIX, by the credentials, region and
    /// endpoint that the environment has (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL), or to a
    /// directory. What waits has a ticket in DIR/upload, and goes on with the next start.
    #[arg(long, value_name = "TARGET")]
    upload: Option<String>,
    /// Bytes of a part, which is what may have to be sent again; S3 itself wants 5 MiB at least.
    #[arg(long, value_name = "BYTES", requires = "upload", default_value_t = 8 << 20,
        value_parser = clap::value_parser!(u64).range(1_024..=1 << 30))]
    upload_part: u64,
    /// What becomes of the files here when the store has them.
    #[arg(long, value_enum, requires = "upload", default_value_t = Afterwards::Keep)]
    after_upload: Afterwards,
}

/// [`After`], as it is said on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Afterwards {
    /// They stay.
    Keep,
    /// They are removed.
    Remove,
}

impl UploadArguments {
    pub(crate) fn is_wanted(&self) -> bool {
        self.upload.is_some()
    }

    /// Has what is recorded below `directory` uploaded, with its record.
    pub(crate) fn apply(&self, directory: &Path, config: &mut Config) -> Result<(), String> {
        let Some(target) = &self.upload else {
            return Ok(());
        };
        let root = absolute(directory).map_err(|error| error.to_string())?;
        let mut upload = UploadConfig::new(root.join("upload"), root);
        upload.part = self.upload_part;
        upload.after = match self.after_upload {
            Afterwards::Keep => After::Keep,
            Afterwards::Remove => After::Remove,
        };
        let store: Arc<dyn Store> = if target.starts_with("s3:") {
            let bucket = Bucket::from_environment(target);
            let bucket = bucket.map_err(|error| format!("{target}: {error}"))?;
            upload.prefix = bucket.prefix;
            Arc::new(bucket.store)
        } else {
            Arc::new(DirectoryStore::new(target))
        };
        let config = &mut config.recording;
        config.sealed = true;
        config.upload = Some(Upload {
            config: upload,
            store,
        });
        Ok(())
    }

    /// Tells what becomes of uploads, one line each.
    pub(crate) async fn watch(&self, engine: &Engine) {
        let watch = match self.is_wanted() {
            true => engine.watch_storage().await.ok(),
            false => None,
        };
        let Some(mut watch) = watch else {
            return std::future::pending().await;
        };
        while let Some(news) = watch.next().await {
            if let StorageNews::Upload(news) = news {
                tell(&news);
            }
        }
    }
}

fn tell(news: &UploadNews) {
    match news {
        UploadNews::Done(it) => say(&format!("uploaded {} ({} bytes)", it.key, it.bytes)),
        // What a server has said may have many lines.
        UploadNews::Fails { error } => complain(&format!("uploads fail: {error:?}")),
        UploadNews::Works => say("uploads work again"),
        UploadNews::Lost { path, error } => {
            complain(&format!("not uploaded: {}: {error}", path.display()));
        }
        _ => {}
    }
}
