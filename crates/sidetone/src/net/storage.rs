//! The storage threads: write recordings to disk, however slowly, without disturbing a call.

mod errands;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread::{Builder, JoinHandle};

use sidetone_udp::affinity;
use tokio::sync::Notify;

use crate::media::recorder::disk::Disk;
use crate::media::recorder::errands::Errands as Tickets;
use crate::media::recorder::expiry::ExpiryConfig;
use crate::media::recorder::journal::{JournalConfig, SegmentWriter};
use crate::media::recorder::recovery::{Recovery, recover_but};
use crate::media::recorder::scribe::{Done, Job, Scribe, ScribeConfig, seal_path};
use crate::media::recorder::seal::SigningKey;
use crate::media::recorder::stamp::Stamping;
use crate::media::recorder::storage::{StorageCommand, StorageEvent};
use crate::media::recorder::upload::Upload;
use crate::media::recorder::upload::clerk::{forget_removed, known};
use crate::net::clock::Clock;
use crate::net::disk::FileSystem;
use crate::net::storage::errands::{Errands, Expiries, Stamps, Uploads};
use crate::time::Duration;

/// How the storage threads are set up.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Recordings open at once at most; further ones fail. Each costs some 30 kB at 8 kHz and one or two
    /// file descriptors. Default 4,096.
    pub max_open: usize,
    /// Commands that wait at most. Default 1,024.
    pub commands: usize,
    /// Time between two rounds of writing, which is what a crash may cost beyond what the writer
    /// holds back and a commit takes; must stay below what a tap's queue holds. Default 100 ms.
    pub round: Duration,
    /// Rounds after which headers are brought up to date, so that an unfinished file plays.
    /// Default 10.
    pub rounds_a_flush: u32,
    /// Bytes that must be free on the disk for a new recording to begin. Default none.
    pub least_free: u64,
    /// The journal. Default none.
    pub journal: Option<JournalConfig>,
    /// The key that signs what recovery completes. Default none.
    pub key: Option<SigningKey>,
    /// Where recordings are uploaded to when they are complete. Default nowhere.
    pub upload: Option<Upload>,
    /// Who stamps their records with the time. Default nobody.
    pub stamping: Option<Stamping>,
    /// How recordings are deleted whose time is over, with a proof signed by `key`. Default they stay.
    pub expiry: Option<ExpiryConfig>,
    /// How long [`StorageThread::stop`] waits for a disk that hangs. Default 5 s.
    pub patience: Duration,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            max_open: 4_096,
            commands: 1_024,
            round: Duration::from_millis(100),
            rounds_a_flush: 10,
            least_free: 0,
            journal: None,
            key: None,
            upload: None,
            stamping: None,
            expiry: None,
            patience: Duration::from_secs(5),
        }
    }
}

impl StorageConfig {
    /// What is to be done for complete recordings.
    fn tickets(&self) -> Tickets {
        Tickets {
            stamp: self.stamping.as_ref().map(|it| it.config.clone()),
            upload: self.upload.as_ref().map(|it| it.config.clone()),
            expiry: self.expiry.clone(),
        }
    }
}

/// What wakes the thread that writes.
enum Mail {
    Command(StorageCommand),
    Done(Done),
    /// Look at the flag.
    Stop,
}

/// The threads that write recordings, seen from signalling: one writes files, one commits the journal, one
/// syncs and removes.
///
/// Dropping it stops them, as [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct StorageThread {
    mail: SyncSender<Mail>,
    events: Receiver<StorageEvent>,
    stopping: Arc<AtomicBool>,
    patience: Duration,
    handle: Option<JoinHandle<()>>,
    errands: Vec<Errands>,
}

impl StorageThread {
    /// Completes what a dead engine has left in the journal, and starts the threads on the file system; they
    /// notify `notify` when they have queued events.
    ///
    /// # Errors
    /// The journal cannot be read, or the system has no thread left.
    pub fn start(config: StorageConfig, notify: &Arc<Notify>) -> io::Result<(Self, Recovery)> {
        Self::start_on(FileSystem, config, notify)
    }

    /// As [`start`](Self::start) on any disk.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on<D>(
        disk: D,
        config: StorageConfig,
        notify: &Arc<Notify>,
    ) -> io::Result<(Self, Recovery)>
    where
        D: Disk + Clone + Send + 'static,
        D::File: Send,
    {
        let recovery = complete(&disk, &config)?;
        let scribe = ScribeConfig {
            max_open: config.max_open,
            rounds_a_flush: config.rounds_a_flush,
            least_free: config.least_free,
            journal: config.journal.clone().map(|it| (it, recovery.next_segment)),
            errands: config.tickets(),
        };
        let scribe = Scribe::new(scribe, disk.clone());
        let (mail, inbox) = sync_channel(config.commands.max(1));
        let (outbox, events) = sync_channel(2 * config.max_open.max(1));
        let stopping = Arc::new(AtomicBool::new(false));
        let mut errands = Vec::new();
        if let Some(stamping) = config.stamping {
            let upload = config.upload.as_ref().map(|it| it.config.clone());
            let stamps = Stamps { stamping, upload };
            errands.push(Errands::start(&disk, &stamps, &outbox, notify)?);
        }
        let expiry = config.expiry.clone();
        if let Some(upload) = config.upload {
            let uploads = Uploads { upload, expiry };
            errands.push(Errands::start(&disk, &uploads, &outbox, notify)?);
        }
        if let (Some(config), Some(key)) = (config.expiry, config.key) {
            let clock = Clock::start();
            let expiries = Expiries { config, key, clock };
            errands.push(Errands::start(&disk, &expiries, &outbox, notify)?);
        }
        let desk = Desk {
            commits: start_clerk("sidetone-journal", disk.clone(), mail.clone())?,
            rest: start_clerk("sidetone-sync", disk, mail.clone())?,
            inbox,
            outbox,
            notify: notify.clone(),
            stopping: Arc::clone(&stopping),
        };
        let round = config.round;
        let handle = Builder::new().name("sidetone-disk".into()).spawn(move || {
            give_way();
            desk.run(scribe, round);
        })?;
        let thread = Self {
            mail,
            events,
            stopping,
            patience: config.patience,
            handle: Some(handle),
            errands,
        };
        Ok((thread, recovery))
    }

    /// Hands a command to the thread. Never waits.
    ///
    /// # Errors
    /// Gives the command back where too many wait: the disk does not keep up.
    pub fn send(&mut self, command: StorageCommand) -> Result<(), StorageCommand> {
        match self.mail.try_send(Mail::Command(command)) {
            Err(
                TrySendError::Full(Mail::Command(command))
                | TrySendError::Disconnected(Mail::Command(command)),
            ) => Err(command),
            _ => Ok(()),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StorageEvent> {
        self.events.try_recv().ok()
    }

    /// Closes every recording with what has come so far, waits for the threads, and returns the
    /// events that were left. Where a disk hangs longer than [`StorageConfig::patience`] the threads are
    /// left to it: what they had committed is completed at the next start.
    pub fn stop(mut self) -> Vec<StorageEvent> {
        self.stop_thread()
    }

    fn stop_thread(&mut self) -> Vec<StorageEvent> {
        let Some(handle) = self.handle.take() else {
            return Vec::new();
        };
        // They tell what they have done, and end as soon as the store lets them.
        self.errands.clear();
        self.stopping.store(true, Ordering::Release);
        // A full inbox wakes it as well.
        let _full = self.mail.try_send(Mail::Stop);
        let clock = Clock::start();
        let deadline = clock.now() + self.patience;
        let mut left = Vec::new();
        // Ends when the thread does, which may be waiting for room to tell the last events.
        loop {
            let patience = deadline.saturating_duration_since(clock.now());
            match self.events.recv_timeout(patience) {
                Ok(event) => left.push(event),
                Err(RecvTimeoutError::Timeout) => return left,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // A thread that panicked has said so; there is nothing more to do about it here.
        let _ = handle.join();
        left
    }
}

impl Drop for StorageThread {
    fn drop(&mut self) {
        self.stop_thread();
    }
}

/// Completes what a dead engine has left, and queues it to be uploaded.
fn complete<D: Disk>(disk: &D, config: &StorageConfig) -> io::Result<Recovery> {
    let upload = config.upload.as_ref().map(|upload| &upload.config);
    let complete = upload.map_or_else(|| Ok(BTreeSet::new()), |it| known(disk, it))?;
    let recovery = match &config.journal {
        Some(journal) => recover_but(disk, &journal.directory, config.key.as_ref(), &complete)?,
        None => Recovery::default(),
    };
    queue(disk, config, &recovery)?;
    Ok(recovery)
}

fn queue<D: Disk>(disk: &D, config: &StorageConfig, recovery: &Recovery) -> io::Result<()> {
    let tickets = config.tickets();
    let recordings = recovery.recordings.iter();
    for recovered in recordings.filter(|it| it.outcome.is_ok()) {
        let is_sealed = disk.open(&seal_path(&recovered.path)).is_ok();
        let queued = tickets.enqueue(disk, &recovered.path, is_sealed);
        queued.map_err(io::Error::other)?;
    }
    // No segment of the journal is left that tells of them, unless something went wrong.
    match &tickets.upload {
        Some(upload) if recovery.recordings.iter().all(|it| it.outcome.is_ok()) => {
            forget_removed(disk, upload)
        }
        _ => Ok(()),
    }
}

/// Starts a thread that does what waits for the disk, until nobody sends it any more.
fn start_clerk<D>(name: &str, disk: D, mail: SyncSender<Mail>) -> io::Result<Clerk<D::File>>
where
    D: Disk + Clone + Send + 'static,
    D::File: Send,
{
    // As many as recordings are open, at most: unbounded only in type.
    let (jobs, inbox) = channel::<Job<D::File>>();
    let handle = Builder::new().name(name.into()).spawn(move || {
        give_way();
        let mut segment = SegmentWriter::new(disk.clone());
        for job in inbox {
            // Where the desk has gone, nobody waits for the news.
            let _gone = mail.send(Mail::Done(job.run(&disk, &mut segment)));
        }
    })?;
    Ok(Clerk { jobs, handle })
}

/// Lets media threads run first: what waits to be stored can wait longer than what is to be heard.
fn give_way() {
    // Where the system knows no such thing, all are the same to it.
    let _same = affinity::humble_current_thread();
}

/// A thread that does what waits for the disk.
struct Clerk<F> {
    jobs: Sender<Job<F>>,
    handle: JoinHandle<()>,
}

impl<F> Clerk<F> {
    /// Waits until it has done what it was given.
    fn finish(self) {
        drop(self.jobs);
        // One that panicked has said so.
        let _ = self.handle.join();
    }
}

/// The thread that writes.
struct Desk<F> {
    commits: Clerk<F>,
    rest: Clerk<F>,
    inbox: Receiver<Mail>,
    outbox: SyncSender<StorageEvent>,
    notify: Arc<Notify>,
    stopping: Arc<AtomicBool>,
}

impl<F> Desk<F> {
    /// Runs a scribe until signalling is gone, and then until the disk has everything.
    fn run<D: Disk<File = F>>(self, mut scribe: Scribe<D>, round: Duration) {
        let clock = Clock::start();
        let mut next = clock.now() + round;
        let mut is_stopping = false;
        loop {
            let patience = next.saturating_duration_since(clock.now());
            match self.inbox.recv_timeout(patience) {
                Ok(Mail::Command(command)) => scribe.handle_command(command),
                Ok(Mail::Done(done)) => scribe.handle_done(clock.now(), done),
                Ok(Mail::Stop) | Err(_) => {}
            }
            if !is_stopping && self.stopping.load(Ordering::Acquire) {
                is_stopping = true;
                while let Ok(mail) = self.inbox.try_recv() {
                    match mail {
                        Mail::Command(command) => scribe.handle_command(command),
                        Mail::Done(done) => scribe.handle_done(clock.now(), done),
                        Mail::Stop => {}
                    }
                }
                scribe.close_all();
            }
            if clock.now() >= next {
                scribe.round(clock.now());
                next = clock.now() + round;
            }
            let is_over = is_stopping && scribe.is_idle();
            if is_over {
                scribe.end();
            }
            self.hand_out(&mut scribe);
            if is_over {
                return self.finish();
            }
        }
    }

    /// Waits for the clerks: segments that are still there would be recovered by the next engine.
    fn finish(self) {
        // What they would tell nobody reads.
        drop(self.inbox);
        self.commits.finish();
        self.rest.finish();
    }

    fn hand_out<D: Disk<File = F>>(&self, scribe: &mut Scribe<D>) {
        while let Some(job) = scribe.poll_job() {
            let clerk = match &job {
                Job::Commit(_) => &self.commits,
                _ => &self.rest,
            };
            // A clerk ends with the desk only.
            let _gone = clerk.jobs.send(job);
        }
        let mut any = false;
        while let Some(event) = scribe.poll_event() {
            any = true;
            // Waits for room. Fails only when signalling is gone, and then nobody wants to know.
            let _gone = self.outbox.send(event);
        }
        if any {
            self.notify.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
