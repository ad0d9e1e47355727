//! The threads that upload recordings, however slowly, beside everything else.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use tokio::sync::Notify;

use crate::media::recorder::disk::Disk;
use crate::media::recorder::storage::{StorageEvent, UploadNews};
use crate::media::recorder::upload::backoff::Backoff;
use crate::media::recorder::upload::clerk::{attend, waiting};
use crate::media::recorder::upload::{Upload, UploadError};
use crate::rng::Rng;
use crate::time::Duration;

/// How often an empty queue is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The threads, seen from who stops them: dropping it tells them to, and waits for nobody.
#[derive(Debug)]
pub(super) struct Uploads(Arc<Shared>);

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    /// Whether the last that was heard of the store was a failure.
    fails: bool,
    /// Tickets, and those that are worked on.
    queue: VecDeque<PathBuf>,
    busy: BTreeSet<PathBuf>,
}

impl Uploads {
    /// Starts the threads; they tell `outbox` what becomes of recordings.
    pub(super) fn start<D>(
        disk: &D,
        upload: &Upload,
        outbox: &SyncSender<StorageEvent>,
        notify: &Arc<Notify>,
    ) -> io::Result<Self>
    where
        D: Disk + Clone + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let mut seed = [0; 8];
        disk.draw(&mut seed)?;
        let mut rng = Rng::new(u64::from_le_bytes(seed));
        for _ in 0..upload.config.workers.max(1) {
            let porter = Porter {
                disk: disk.clone(),
                upload: upload.clone(),
                shared: Arc::clone(&shared),
                outbox: outbox.clone(),
                notify: Arc::clone(notify),
            };
            let backoff = Backoff::new(rng.fork());
            Builder::new()
                .name("sidetone-upload".into())
                .spawn(move || porter.run(backoff))?;
        }
        Ok(Self(shared))
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.0.lock().is_stopping = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Waits; true where it is to stop.
    fn wait(&self, pause: Duration) -> bool {
        let waited = (self.changed).wait_timeout_while(self.lock(), pause, |it| !it.is_stopping);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stopping
    }
}

/// One of the threads.
struct Porter<D> {
    disk: D,
    upload: Upload,
    shared: Arc<Shared>,
    outbox: SyncSender<StorageEvent>,
    notify: Arc<Notify>,
}

impl<D: Disk> Porter<D> {
    fn run(self, mut backoff: Backoff) {
        let mut pause = Duration::ZERO;
        while !self.shared.wait(pause) {
            pause = match self.work(&mut backoff) {
                Ok(()) => LOOK,
                Err(error) => {
                    if !std::mem::replace(&mut self.shared.lock().fails, true) {
                        self.tell(UploadNews::Fails { error });
                    }
                    backoff.fail()
                }
            };
        }
    }

    /// Works until nothing waits, or something fails.
    fn work(&self, backoff: &mut Backoff) -> Result<(), String> {
        while let Some(ticket) = self.take().map_err(|error| error.to_string())? {
            let stop = || self.shared.is_stopping();
            let Upload { config, store } = &self.upload;
            let done = attend(&self.disk, config, store.as_ref(), &ticket, &stop);
            self.shared.lock().busy.remove(&ticket);
            match done {
                Ok(None) => return Ok(()),
                Ok(Some(uploaded)) => {
                    backoff.reset();
                    if std::mem::take(&mut self.shared.lock().fails) {
                        self.tell(UploadNews::Works);
                    }
                    self.tell(UploadNews::Done(uploaded));
                }
                Err(UploadError::Gone) => self.tell(UploadNews::Lost {
                    error: UploadError::Gone.to_string(),
                    path: ticket,
                }),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// A ticket that nobody works on.
    fn take(&self) -> io::Result<Option<PathBuf>> {
        let mut state = self.shared.lock();
        if state.queue.is_empty() {
            state.queue = waiting(&self.disk, &self.upload.config)?.into();
        }
        while let Some(ticket) = state.queue.pop_front() {
            // Another may have done it since the directory was read.
            let is_there = |path: &Path| self.disk.open(path).is_ok();
            if !state.busy.contains(&ticket) && is_there(&ticket) {
                state.busy.insert(ticket.clone());
                return Ok(Some(ticket));
            }
        }
        Ok(None)
    }

    fn tell(&self, news: UploadNews) {
        // Waits for room; fails only where signalling is gone.
        let _gone = self.outbox.send(StorageEvent::Upload(news));
        self.notify.notify_one();
    }
}
