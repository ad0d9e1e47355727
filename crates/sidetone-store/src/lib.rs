//! Object stores for recordings: S3, Google Cloud Storage and their like, by the `object_store` crate.
//!
//! [`ObjectStore`] stands between Sidetone's uploads and any store of that crate that takes parts by their numbers
//! (`AmazonS3`, `GoogleCloudStorage`, `MicrosoftAzure`, `InMemory`). With the feature `s3`, `s3::Bucket` is a bucket by
//! its URL. For other clouds a program names `object_store` itself, with the features `gcp` or `azure`.
//!
//! ```
//! use std::sync::Arc;
//! use sidetone::media::recorder::upload::{Upload, UploadConfig};
//! use sidetone_store::ObjectStore;
//!
//! let bucket = object_store::memory::InMemory::new();
//! let store = ObjectStore::new(Arc::new(bucket))?;
//! let config = UploadConfig::new("/var/spool/sidetone/upload", "/var/spool/sidetone");
//! let upload = Upload { config, store: Arc::new(store) };
//! # let _ = upload;
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "s3")]
pub mod s3;

use std::io;
use std::sync::Arc;

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload};
use sidetone::media::recorder::upload::{Part, Store, StoreError};
use tokio::runtime::{Builder, Runtime};

/// A store of the `object_store` crate, as uploads of recordings need it.
///
/// It has a runtime of its own, without threads: whoever calls it waits, so that asynchronous code must not. It may be
/// dropped anywhere.
#[derive(Debug)]
pub struct ObjectStore<S> {
    store: Arc<S>,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl<S: MultipartStore + object_store::ObjectStore> ObjectStore<S> {
    /// Uploads go to `store`.
    ///
    /// # Errors
    /// The system has nothing to make a runtime of.
    pub fn new(store: Arc<S>) -> io::Result<Self> {
        let runtime = Some(Builder::new_current_thread().enable_all().build()?);
        Ok(Self { store, runtime })
    }
}

impl<S> ObjectStore<S> {
    fn wait<F: Future>(&self, answer: F) -> F::Output {
        let runtime = self.runtime.as_ref();
        runtime.expect("a runtime until dropped").block_on(answer)
    }
}

impl<S> Drop for ObjectStore<S> {
    fn drop(&mut self) {
        // Dropped as it is, it would panic where this happens in asynchronous code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S: MultipartStore + object_store::ObjectStore> Store for ObjectStore<S> {
    fn begin(&self, key: &str) -> Result<String, StoreError> {
        let path = path(key)?;
        let begun = self.wait(self.store.create_multipart(&path));
        // There is no upload yet that might be unknown: it is the bucket.
        begun.map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn put(&self, key: &str, upload: &str, part: Part<'_>) -> Result<String, StoreError> {
        let (path, id) = (path(key)?, upload.to_owned());
        let payload = PutPayload::from(part.bytes.to_vec());
        let put = self.store.put_part(&path, &id, part.index, payload);
        let put = self.wait(put).map_err(failed)?;
        Ok(put.content_id)
    }

    fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), StoreError> {
        let (path, id) = (path(key)?, upload.to_owned());
        let tags = tags.iter().cloned();
        let parts = tags.map(|content_id| PartId { content_id }).collect();
        let complete = self.store.complete_multipart(&path, &id, parts);
        self.wait(complete).map(drop).map_err(failed)
    }

    fn length(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.wait(self.store.head(&path(key)?)) {
            Ok(object) => Ok(Some(object.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn path(key: &str) -> Result<Path, StoreError> {
    Path::parse(key).map_err(|error| StoreError::Failed(error.to_string()))
}

fn failed(error: Error) -> StoreError {
    match error {
        Error::NotFound { .. } => StoreError::Unknown,
        error => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use object_store::memory::InMemory;
    use sidetone::media::recorder::upload::UploadConfig;
    use sidetone::media::recorder::upload::clerk::{attend, enqueue, settle, waiting};
    use sidetone::net::disk::FileSystem;

    use super::*;

    /// Dies at a call, after the store has served it.
    struct Mortal {
        store: ObjectStore<InMemory>,
        calls_left: AtomicU32,
    }

    impl Mortal {
        fn call<T>(&self, served: Result<T, StoreError>) -> Result<T, StoreError> {
            match self.calls_left.fetch_sub(1, Ordering::Relaxed) {
                1 => Err(StoreError::Failed("dead".into())),
                _ => served,
            }
        }
    }

    impl Store for Mortal {
        fn begin(&self, key: &str) -> Result<String, StoreError> {
            self.call(self.store.begin(key))
        }
        fn put(&self, key: &str, upload: &str, part: Part<'_>) -> Result<String, StoreError> {
            self.call(self.store.put(key, upload, part))
        }
        fn complete(&self, key: &str, upload: &str, tags: &[String]) -> Result<(), StoreError> {
            self.call(self.store.complete(key, upload, tags))
        }
        fn length(&self, key: &str) -> Result<Option<u64>, StoreError> {
            self.call(self.store.length(key))
        }
    }

    struct Spool(PathBuf);

    impl Drop for Spool {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn an_upload_that_dies_at_any_call_arrives_whole() {
        let spool =
            Spool(std::env::temp_dir().join(format!("sidetone-store-{}", std::process::id())));
        std::fs::create_dir_all(&spool.0).expect("a directory");
        let audio = spool.0.join("a.wav");
        let sound: Vec<u8> = (0..5_000u32).map(|n| (n * 7) as u8).collect();
        std::fs::write(&audio, &sound).expect("a file");
        let mut config = UploadConfig::new(spool.0.join("queue"), &spool.0);
        config.part = 1_000;
        for dies in 1..=8 {
            let bucket = Arc::new(InMemory::new());
            let store = Mortal {
                store: ObjectStore::new(Arc::clone(&bucket)).expect("a runtime"),
                calls_left: AtomicU32::new(dies),
            };
            enqueue(&FileSystem, &config, &audio, false).expect("a ticket");
            let ticket = waiting(&FileSystem, &config)
                .expect("a directory")
                .remove(0);
            let work = || attend(&FileSystem, &config, &store, &ticket, &|| false);
            // At the 7th, the completion, it is asked at once what became of it.
            if dies <= 6 {
                assert!(work().is_err(), "{dies}");
            }
            assert!(work().expect("alive").is_some(), "{dies}");
            settle(&FileSystem, &config, &ticket).expect("a directory");
            let object = ObjectStore::new(bucket).expect("a runtime");
            let path = Path::parse("a.wav").expect("a key");
            let read = async { object.store.get(&path).await?.bytes().await };
            let read = object.wait(read).expect("an object");
            assert!(read == sound, "{dies}");
        }
    }

    #[test]
    fn it_may_be_dropped_in_asynchronous_code() {
        let store = ObjectStore::new(Arc::new(InMemory::new())).expect("a runtime");
        let program = Builder::new_current_thread().build().expect("a runtime");
        program.block_on(async { drop(store) });
    }
}
