//! The threads that have complete recordings stamped, uploaded and at last deleted, however slowly, beside everything else.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use tokio::sync::Notify;

use crate::media::recorder::disk::Disk;
use crate::media::recorder::expiry::{self, Expired, ExpiryConfig, ExpiryError};
use crate::media::recorder::seal::SigningKey;
use crate::media::recorder::stamp::clerk::{AttendError, Stamped};
use crate::media::recorder::stamp::{self, Stamping, stamp_path};
use crate::media::recorder::storage::{News, StorageEvent};
use crate::media::recorder::upload::backoff::Backoff;
use crate::media::recorder::upload::clerk::Uploaded;
use crate::media::recorder::upload::{self, After, Upload, UploadConfig, UploadError};
use crate::net::clock::Clock;
use crate::rng::Rng;
use crate::time::Duration;

/// How often an empty queue is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is done for recordings, ticket by ticket.
pub(super) trait Errand<D>: Clone + Send + 'static {
    /// What has been done.
    type Deed;

    /// What its threads are called.
    const NAME: &'static str;

    /// Threads that do it at once.
    fn workers(&self) -> usize;

    /// The tickets that wait.
    fn waiting(&self, disk: &D) -> io::Result<Vec<PathBuf>>;

    /// Works on a ticket until it is gone; `None` where it was stopped.
    fn attend(
        &self,
        disk: &D,
        ticket: &Path,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self::Deed>, Trouble>;

    /// How often an empty queue is looked at.
    fn look(&self) -> Duration {
        LOOK
    }

    /// How news of it are told.
    fn event(news: News<Self::Deed>) -> StorageEvent;
}

/// Why something was not done, in words.
pub(super) enum Trouble {
    /// Nothing can be done for it.
    Gone(String),
    /// It is tried again.
    Later(String),
}

/// Uploads; what has been uploaded waits for its deletion.
#[derive(Debug, Clone)]
pub(super) struct Uploads {
    pub(super) upload: Upload,
    pub(super) expiry: Option<ExpiryConfig>,
}

impl<D: Disk> Errand<D> for Uploads {
    type Deed = Uploaded;

    const NAME: &'static str = "sidetone-upload";

    fn workers(&self) -> usize {
        self.upload.config.workers
    }

    fn waiting(&self, disk: &D) -> io::Result<Vec<PathBuf>> {
        upload::clerk::waiting(disk, &self.upload.config)
    }

    fn attend(
        &self,
        disk: &D,
        ticket: &Path,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Uploaded>, Trouble> {
        let Upload { config, store } = &self.upload;
        let later = |error: io::Error| Trouble::Later(error.to_string());
        let done = upload::clerk::attend(disk, config, store.as_ref(), ticket, stop);
        let done = done.map_err(|error| match error {
            UploadError::Gone => Trouble::Gone(error.to_string()),
            error => Trouble::Later(error.to_string()),
        })?;
        let Some(uploaded) = done else {
            return Ok(None);
        };
        if let Some(expiry) = self.expiry.as_ref().filter(|_| config.after == After::Keep) {
            expiry::enqueue(disk, expiry, &uploaded.audio).map_err(later)?;
        }
        upload::clerk::settle(disk, config, ticket).map_err(later)?;
        Ok(Some(uploaded))
    }

    fn event(news: News<Uploaded>) -> StorageEvent {
        StorageEvent::Upload(news)
    }
}

/// Time stamps; they are uploaded as their recordings are.
#[derive(Debug, Clone)]
pub(super) struct Stamps {
    pub(super) stamping: Stamping,
    pub(super) upload: Option<UploadConfig>,
}

impl<D: Disk> Errand<D> for Stamps {
    type Deed = Stamped;

    const NAME: &'static str = "sidetone-stamp";

    fn workers(&self) -> usize {
        1
    }

    fn waiting(&self, disk: &D) -> io::Result<Vec<PathBuf>> {
        stamp::clerk::waiting(disk, &self.stamping.config)
    }

    fn attend(
        &self,
        disk: &D,
        ticket: &Path,
        _stop: &dyn Fn() -> bool,
    ) -> Result<Option<Stamped>, Trouble> {
        let Stamping { config, authority } = &self.stamping;
        let later = |error: io::Error| Trouble::Later(error.to_string());
        let stamped = stamp::clerk::attend(disk, config, authority.as_ref(), ticket);
        let stamped = stamped.map_err(|error| match error {
            AttendError::Gone => Trouble::Gone(error.to_string()),
            error => Trouble::Later(error.to_string()),
        })?;
        if let Some(upload) = &self.upload {
            let stamp = stamp_path(&stamped.audio);
            upload::clerk::enqueue(disk, upload, &stamp, false).map_err(later)?;
        }
        stamp::clerk::settle(disk, config, ticket).map_err(later)?;
        Ok(Some(stamped))
    }

    fn event(news: News<Stamped>) -> StorageEvent {
        StorageEvent::Stamp(news)
    }
}

/// Deletions of what is due, by the system's civil time.
#[derive(Debug, Clone)]
pub(super) struct Expiries {
    pub(super) config: ExpiryConfig,
    pub(super) key: SigningKey,
    pub(super) clock: Clock,
}

impl<D: Disk> Errand<D> for Expiries {
    type Deed = Expired;

    const NAME: &'static str = "sidetone-expiry";

    fn workers(&self) -> usize {
        1
    }

    fn waiting(&self, disk: &D) -> io::Result<Vec<PathBuf>> {
        expiry::due(disk, &self.config, self.clock.anchor().wall)
    }

    fn attend(
        &self,
        disk: &D,
        ticket: &Path,
        _stop: &dyn Fn() -> bool,
    ) -> Result<Option<Expired>, Trouble> {
        let now = self.clock.anchor().wall;
        let done = expiry::attend(disk, &self.config, &self.key, ticket, now);
        done.map_err(|error| match error {
            ExpiryError::Gone(_) => Trouble::Gone(error.to_string()),
            error => Trouble::Later(error.to_string()),
        })
    }

    fn look(&self) -> Duration {
        self.config.look
    }

    fn event(news: News<Expired>) -> StorageEvent {
        StorageEvent::Expiry(news)
    }
}

/// The threads, seen from who stops them: dropping it tells them to, and waits for nobody.
#[derive(Debug)]
pub(super) struct Errands(Arc<Shared>);

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_stopping: bool,
    /// Whether the last that was heard was a failure.
    fails: bool,
    /// Tickets, and those that are worked on.
    queue: VecDeque<PathBuf>,
    busy: BTreeSet<PathBuf>,
}

impl Errands {
    /// Starts the threads for an errand; they tell `outbox` what becomes of recordings.
    pub(super) fn start<D, E>(
        disk: &D,
        errand: &E,
        outbox: &SyncSender<StorageEvent>,
        notify: &Arc<Notify>,
    ) -> io::Result<Self>
    where
        D: Disk + Clone + Send + 'static,
        E: Errand<D>,
    {
        let shared = Arc::new(Shared::default());
        let mut seed = [0; 8];
        disk.draw(&mut seed)?;
        let mut rng = Rng::new(u64::from_le_bytes(seed));
        for _ in 0..errand.workers().max(1) {
            let porter = Porter {
                disk: disk.clone(),
                errand: errand.clone(),
                shared: Arc::clone(&shared),
                outbox: outbox.clone(),
                notify: Arc::clone(notify),
            };
            let backoff = Backoff::new(rng.fork());
            Builder::new()
                .name(E::NAME.into())
                .spawn(move || porter.run(backoff))?;
        }
        Ok(Self(shared))
    }
}

impl Drop for Errands {
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
struct Porter<D, E> {
    disk: D,
    errand: E,
    shared: Arc<Shared>,
    outbox: SyncSender<StorageEvent>,
    notify: Arc<Notify>,
}

impl<D: Disk, E: Errand<D>> Porter<D, E> {
    fn run(self, mut backoff: Backoff) {
        let mut pause = Duration::ZERO;
        while !self.shared.wait(pause) {
            pause = match self.work(&mut backoff) {
                Ok(()) => self.errand.look(),
                Err(error) => {
                    if !std::mem::replace(&mut self.shared.lock().fails, true) {
                        self.tell(News::Fails { error });
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
            let done = self.errand.attend(&self.disk, &ticket, &stop);
            self.shared.lock().busy.remove(&ticket);
            match done {
                Ok(None) => return Ok(()),
                Ok(Some(deed)) => {
                    backoff.reset();
                    if std::mem::take(&mut self.shared.lock().fails) {
                        self.tell(News::Works);
                    }
                    self.tell(News::Done(deed));
                }
                Err(Trouble::Gone(error)) => {
                    let path = ticket;
                    self.tell(News::Lost { path, error });
                }
                Err(Trouble::Later(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A ticket that nobody works on.
    fn take(&self) -> io::Result<Option<PathBuf>> {
        let mut state = self.shared.lock();
        if state.queue.is_empty() {
            state.queue = self.errand.waiting(&self.disk)?.into();
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

    fn tell(&self, news: News<E::Deed>) {
        // Waits for room; fails only where signalling is gone.
        let _gone = self.outbox.send(E::event(news));
        self.notify.notify_one();
    }
}
