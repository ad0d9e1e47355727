//! The driver's side of the handles: runs their requests on the core and takes events to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::b2bua::trunk::TrunkEvent;
use crate::call::cause::EndReason;
use crate::call::collect::Collected;
use crate::engine::core::holdings::Holdings;
use crate::engine::core::{Core, Counters as CoreCounters};
use crate::engine::event::{
    CallEnd, CallError, CallEvent, Caller, Event, PassageState, PlayEnd, RecordingError,
    SheddingNews, StorageNews,
};
use crate::engine::io::Output;
use crate::face::callers::Callers;
use crate::face::news::News;
use crate::face::spawn::Spawn;
use crate::id::{CallId, PassageId, PlayId, RecordingId};
use crate::media::leg::LegReport;
use crate::media::recorder::writer::Report;
use crate::media::worker::lateness::Lateness;
use crate::sip::agent::config::Counters as SipCounters;
use crate::sip::agent::event::{DriverRequest, LookupId};
use crate::sip::agent::registration::{RegistrationId, RegistrationState};
use crate::sip::auth::server::VerifierCounters;
use crate::sip::auth::store::CredentialStore;
use crate::sip::event::package::EventCounters;
use crate::sip::health::{Change as HealthChange, WatchId};
use crate::sip::overload::admission::AdmissionCounters;
use crate::sip::registrar::RegistrarCounters;
use crate::sip::registrar::binding::Change;
use crate::time::{Duration, Instant};

/// What a handle asks to be run on the engine.
pub type Request = Box<dyn FnOnce(&mut Hub, Instant) + Send>;

/// Events that a call keeps for a flow that does not read them; further ones are dropped and
/// counted. What ends a wait (answers, prompts, digits, the end) does not travel this way.
const EVENT_BACKLOG: usize = 64;

/// Changes of bindings, and events of trunks, that wait for whoever watches them.
const BINDING_BACKLOG: usize = 1_024;

/// Timers that are kept without looking whether anybody still waits for them.
const FEW_TIMERS: usize = 64;

/// What a call's handle can see of it at any moment.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// Not answered yet.
    Pending,
    /// Answered.
    Up,
    /// Over.
    Ended(Arc<CallEnd>),
}

/// What a recording's handle can see of it at any moment.
#[derive(Debug, Clone)]
pub(crate) enum RecordingStage {
    /// Its file is being made.
    Opening,
    /// Its file is being written.
    Open,
    /// Nothing more is written.
    Closed(Result<Report, RecordingError>),
}

/// A call's end of its mailbox, before a handle is made of it.
pub(crate) struct Waiting {
    pub(crate) id: CallId,
    pub(crate) caller: Option<Caller>,
    pub(crate) events: mpsc::Receiver<CallEvent>,
    pub(crate) stage: watch::Receiver<Stage>,
}

/// What an engine has counted since its start; none of the counters ever goes down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineReport {
    /// Calls in progress now.
    pub calls: usize,
    /// What is held now.
    pub held: Holdings,
    /// Calls: refusals, media time-outs, failed recordings.
    pub core: CoreCounters,
    /// SIP messages: sent, retransmitted, dropped, refused.
    pub sip: SipCounters,
    /// Credentials of others: accepted, refused, replayed, of sources that guess.
    pub authentication: VerifierCounters,
    /// New work let in and refused while there was more of it than could be done.
    pub admission: AdmissionCounters,
    /// Registrations at the engine's own registrar.
    pub registrar: RegistrarCounters,
    /// Subscriptions and publications of others.
    pub events: EventCounters,
    /// Events dropped because a flow did not read them.
    pub lost_events: u64,
    /// What the driver counted.
    pub driver: DriverReport,
}

/// What a driver has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverReport {
    /// Inputs, requests and deadlines that made the core panic: defects of the engine, each at the
    /// cost of that one alone.
    pub faults: u64,
    /// Media ticks run, over all workers.
    pub ticks: u64,
    /// Of these, ticks that ran late.
    pub late_ticks: u64,
    /// Ticks that never ran.
    pub skipped_ticks: u64,
    /// The largest delay of a tick.
    pub worst_tick_delay: Duration,
    /// How late the ticks ran.
    pub lateness: Lateness,
    /// Packets passed on from one leg to another as they came.
    pub passed_packets: u64,
    /// Packets whose payload was encoded for several legs at once.
    pub shared_packets: u64,
    /// Frames of parties that were not among the loudest of a large room, and not mixed.
    pub frames_left_out: u64,
}

struct Mailbox {
    events: mpsc::Sender<CallEvent>,
    stage: watch::Sender<Stage>,
    answering: Option<oneshot::Sender<Result<(), CallError>>>,
    collecting: Option<oneshot::Sender<Collected>>,
    renegotiating: Option<oneshot::Sender<Result<(), CallError>>>,
    transferring: Option<oneshot::Sender<Result<(), CallError>>>,
    reports: Vec<oneshot::Sender<Box<LegReport>>>,
}

/// The handles' ends of what a hub holds.
pub(crate) struct Ends {
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) incoming: Callers<Waiting>,
    pub(crate) running: watch::Receiver<bool>,
    pub(crate) calls: watch::Receiver<usize>,
}

/// Runs an engine core for a driver and serves the handles.
///
/// A driver gives inputs to [`Hub::core`], calls [`Hub::handle_requests`], then polls
/// [`Hub::poll_output`] until it is empty, and sleeps until [`Hub::poll_timeout`], the next input,
/// or the next request ([`Hub::next_request`]).
pub struct Hub {
    core: Core,
    requests: mpsc::UnboundedReceiver<Request>,
    incoming: Callers<Waiting>,
    running: watch::Sender<bool>,
    count: watch::Sender<usize>,
    calls: BTreeMap<CallId, Mailbox>,
    plays: BTreeMap<PlayId, oneshot::Sender<PlayEnd>>,
    speeches: BTreeMap<PlayId, Arc<Notify>>,
    recordings: BTreeMap<RecordingId, watch::Sender<RecordingStage>>,
    timers: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    next_timer: u64,
    /// Timers beyond which those whose sleepers have gone are thrown away.
    most_timers: usize,
    lost_events: u64,
    driver: DriverReport,
    stopping: bool,
    users: Option<Users>,
    binding_watches: Vec<mpsc::Sender<Change>>,
    trunk_watches: Vec<mpsc::Sender<TrunkEvent>>,
    storage_watches: Vec<mpsc::Sender<StorageNews>>,
    shedding_watches: Vec<mpsc::Sender<SheddingNews>>,
    registrations: BTreeMap<RegistrationId, watch::Sender<RegistrationState>>,
    passages: BTreeMap<PassageId, watch::Sender<PassageState>>,
    news: News,
}

/// The way to the store of credentials and back.
struct Users {
    store: Arc<dyn CredentialStore>,
    spawner: Arc<dyn Spawn>,
    /// Looking users up keeps no engine running.
    requests: mpsc::WeakUnboundedSender<Request>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Serves `core`; the other ends are for the handles.
    pub(crate) fn new(core: Core, spawner: Arc<dyn Spawn>) -> (Ends, Self) {
        let (request_tx, requests) = mpsc::unbounded_channel();
        let authentication = core.config().authentication.as_ref();
        let users = authentication.map(|authentication| Users {
            store: Arc::clone(&authentication.users),
            spawner,
            requests: request_tx.downgrade(),
        });
        let incoming = Callers::new();
        let (running, running_rx) = watch::channel(true);
        let (count, calls) = watch::channel(0);
        let ends = Ends {
            requests: request_tx,
            incoming: incoming.clone(),
            running: running_rx,
            calls,
        };
        let hub = Self {
            core,
            requests,
            incoming,
            running,
            count,
            calls: BTreeMap::new(),
            plays: BTreeMap::new(),
            speeches: BTreeMap::new(),
            recordings: BTreeMap::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            most_timers: FEW_TIMERS,
            lost_events: 0,
            driver: DriverReport::default(),
            stopping: false,
            users,
            binding_watches: Vec::new(),
            trunk_watches: Vec::new(),
            storage_watches: Vec::new(),
            shedding_watches: Vec::new(),
            registrations: BTreeMap::new(),
            passages: BTreeMap::new(),
            news: News::default(),
        };
        (ends, hub)
    }

    /// The engine itself.
    pub fn core(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Waits for a request of a handle, to be given to [`Self::handle_request`]; `None` once every
    /// handle is gone.
    ///
    /// # Cancel safety
    /// No request is lost when the future is dropped.
    pub async fn next_request(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Runs one request.
    pub fn handle_request(&mut self, now: Instant, request: Request) {
        request(self, now);
    }

    /// Runs every request that waits. `false` once every handle is gone: the driver then calls
    /// [`Self::stop`].
    pub fn handle_requests(&mut self, now: Instant) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(request) => request(self, now),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Runs what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            // A sleeper that has gone needs no waking.
            let _gone = entry.remove().send(());
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        // Sleepers that were dropped must not keep the clock busy.
        while self
            .timers
            .first_entry()
            .is_some_and(|entry| entry.get().is_closed())
        {
            self.timers.pop_first();
        }
        let timer = self.timers.keys().next().map(|key| key.0);
        [timer, self.core.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do for the driver; takes events to the handles first.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        while let Some(event) = self.core.poll_event() {
            self.dispatch(now, event);
        }
        self.count.send_if_modified(|count| {
            let calls = self.core.call_count();
            std::mem::replace(count, calls) != calls
        });
        loop {
            match self.core.poll_output()? {
                Output::Driver(DriverRequest::Credentials {
                    lookup,
                    realm,
                    username,
                }) => self.look_user_up(lookup, realm, username),
                output => return Some(output),
            }
        }
    }

    /// Asks the store of credentials, beside everything else.
    fn look_user_up(&self, lookup: LookupId, realm: String, username: String) {
        let Some(users) = &self.users else {
            return;
        };
        let (store, requests) = (Arc::clone(&users.store), users.requests.clone());
        users.spawner.spawn(Box::pin(async move {
            let secret = store.find(&realm, &username).await;
            let found = move |hub: &mut Hub, now: Instant| {
                hub.core().handle_credentials(now, lookup, secret);
            };
            if let Some(requests) = requests.upgrade() {
                // A stopped engine asks nobody for credentials.
                let _stopped = requests.send(Box::new(found));
            }
        }));
    }

    /// Hangs up everything and lets the driver end once it is all said and written.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.core.stop(now);
    }

    /// Whether the driver may end: [`Self::stop`] was called and nothing is left to do.
    pub fn is_finished(&self) -> bool {
        self.stopping && self.core.is_idle()
    }

    /// What has been counted.
    pub fn report(&self) -> EngineReport {
        EngineReport {
            calls: self.core.call_count(),
            held: Holdings {
                waiters: self.waiters(),
                ..self.core.holdings()
            },
            core: self.core.counters(),
            sip: self.core.sip_counters(),
            authentication: self.core.authentication_counters(),
            admission: self.core.admission().counters(),
            registrar: self.core.registrar_counters(),
            lost_events: self.lost_events + self.news.lost,
            events: self.core.event_counters(),
            driver: self.driver,
        }
    }

    fn waiters(&self) -> usize {
        let timers = self.timers.values().filter(|done| !done.is_closed());
        let told =
            self.plays.len() + self.speeches.len() + self.recordings.len() + self.passages.len();
        self.calls.len() + told + self.news.waiters() + timers.count()
    }

    /// Takes what the driver has counted, for [`Self::report`].
    pub fn set_driver_report(&mut self, report: DriverReport) {
        self.driver = report;
    }

    pub(crate) fn add_timer(&mut self, at: Instant, done: oneshot::Sender<()>) {
        if self.timers.len() >= self.most_timers {
            // Long time-outs of what was soon done would pile up; each sweep pays for as many more.
            self.timers.retain(|_, done| !done.is_closed());
            self.most_timers = FEW_TIMERS.max(2 * self.timers.len());
        }
        self.next_timer += 1;
        self.timers.insert((at, self.next_timer), done);
    }

    /// Opens the mailbox of a new call; `caller` where it is an incoming one.
    pub(crate) fn adopt(&mut self, id: CallId, caller: Option<Caller>) -> Waiting {
        let (events, event_rx) = mpsc::channel(EVENT_BACKLOG);
        let (stage, stage_rx) = watch::channel(Stage::Pending);
        self.calls.insert(id, Mailbox::new(events, stage));
        Waiting {
            id,
            caller,
            events: event_rx,
            stage: stage_rx,
        }
    }

    pub(crate) fn on_play_end(&mut self, play: PlayId) -> oneshot::Receiver<PlayEnd> {
        let (ended, wait) = oneshot::channel();
        self.plays.insert(play, ended);
        wait
    }

    /// Tells `news` whenever speech has something to report, until it has ended.
    pub(crate) fn on_spoken(&mut self, play: PlayId, news: Arc<Notify>) {
        self.speeches.insert(play, news);
    }

    pub(crate) fn watch_recording(
        &mut self,
        recording: RecordingId,
        is_open: bool,
    ) -> watch::Receiver<RecordingStage> {
        let stage = match is_open {
            true => RecordingStage::Open,
            false => RecordingStage::Opening,
        };
        let known = self.recordings.entry(recording);
        known.or_insert_with(|| watch::channel(stage).0).subscribe()
    }

    /// Tells `done` once the call is answered; drops it where the call ends before.
    pub(crate) fn on_answered(
        &mut self,
        call: CallId,
        done: oneshot::Sender<Result<(), CallError>>,
    ) {
        if let Some(mailbox) = self.calls.get_mut(&call) {
            mailbox.answering = Some(done);
        }
    }

    pub(crate) fn on_collected(&mut self, call: CallId) -> oneshot::Receiver<Collected> {
        let (ended, wait) = oneshot::channel();
        if let Some(mailbox) = self.calls.get_mut(&call) {
            mailbox.collecting = Some(ended);
        }
        wait
    }

    pub(crate) fn on_renegotiated(
        &mut self,
        call: CallId,
    ) -> oneshot::Receiver<Result<(), CallError>> {
        let (done, wait) = oneshot::channel();
        if let Some(mailbox) = self.calls.get_mut(&call) {
            mailbox.renegotiating = Some(done);
        }
        wait
    }

    pub(crate) fn on_transferred(
        &mut self,
        call: CallId,
    ) -> oneshot::Receiver<Result<(), CallError>> {
        let (done, wait) = oneshot::channel();
        if let Some(mailbox) = self.calls.get_mut(&call) {
            mailbox.transferring = Some(done);
        }
        wait
    }

    pub(crate) fn on_report(&mut self, call: CallId) -> oneshot::Receiver<Box<LegReport>> {
        let (reported, wait) = oneshot::channel();
        if let Some(mailbox) = self.calls.get_mut(&call) {
            mailbox.reports.push(reported);
        }
        wait
    }

    fn dispatch(&mut self, now: Instant, event: Event) {
        match event {
            Event::Incoming { call, caller } => self.offer(now, call, *caller),
            Event::Call { call, event } => self.deliver(call, event),
            Event::Registration {
                registration,
                state,
            } => {
                let over = state == RegistrationState::Unregistered;
                if let Some(watch) = self.registrations.get(&registration) {
                    watch.send_replace(state);
                }
                if over {
                    self.registrations.remove(&registration);
                }
            }
            Event::Passage { passage, state } => {
                let over = matches!(state, PassageState::Ended { .. });
                if let Some(watch) = self.passages.get(&passage) {
                    watch.send_replace(state);
                }
                if over {
                    self.passages.remove(&passage);
                }
            }
            Event::Trunk(event) => self.tell_of_trunk(&event),
            Event::Storage(news) => self.tell_of_storage(&news),
            Event::Binding(change) => self.tell_of_binding(&change),
            Event::RoomPlayEnded { play, end } => self.end_play(play, end),
            Event::Spoken { play } => {
                if let Some(news) = self.speeches.get(&play) {
                    news.notify_one();
                }
            }
            Event::Shedding(news) => {
                tell_all(&mut self.shedding_watches, &news, &mut self.lost_events);
            }
            event => self.news.dispatch(&mut self.core, now, event),
        }
    }

    fn end_play(&mut self, play: PlayId, end: PlayEnd) {
        if let Some(waiter) = self.plays.remove(&play) {
            // A handle that has gone needs no news.
            let _gone = waiter.send(end);
        }
        if let Some(news) = self.speeches.remove(&play) {
            news.notify_one();
        }
    }

    pub(crate) fn watch_shedding(&mut self) -> mpsc::Receiver<SheddingNews> {
        let (news, watch) = mpsc::channel(BINDING_BACKLOG);
        self.shedding_watches.push(news);
        watch
    }

    pub(crate) fn news(&mut self) -> &mut News {
        &mut self.news
    }

    pub(crate) fn watch_bindings(&mut self) -> mpsc::Receiver<Change> {
        let (changes, watch) = mpsc::channel(BINDING_BACKLOG);
        self.binding_watches.push(changes);
        watch
    }

    pub(crate) fn watch_registration(
        &mut self,
        registration: RegistrationId,
    ) -> watch::Receiver<RegistrationState> {
        let (state, watched) = watch::channel(RegistrationState::Registering);
        self.registrations.insert(registration, state);
        watched
    }

    pub(crate) fn watch_health(&mut self, id: WatchId) -> watch::Receiver<HealthChange> {
        self.news.watch_health(&self.core, id)
    }

    pub(crate) fn unwatch_health(&mut self, id: WatchId) {
        self.news.unwatch_health(&mut self.core, id);
    }

    pub(crate) fn watch_passage(&mut self, passage: PassageId) -> watch::Receiver<PassageState> {
        let (state, watched) = watch::channel(PassageState::Dialling);
        self.passages.insert(passage, state);
        watched
    }

    pub(crate) fn watch_trunks(&mut self) -> mpsc::Receiver<TrunkEvent> {
        let (events, watch) = mpsc::channel(BINDING_BACKLOG);
        self.trunk_watches.push(events);
        watch
    }

    pub(crate) fn watch_storage(&mut self) -> mpsc::Receiver<StorageNews> {
        let (news, watch) = mpsc::channel(BINDING_BACKLOG);
        self.storage_watches.push(news);
        watch
    }

    fn tell_of_trunk(&mut self, event: &TrunkEvent) {
        tell_all(&mut self.trunk_watches, event, &mut self.lost_events);
    }

    fn tell_of_storage(&mut self, news: &StorageNews) {
        tell_all(&mut self.storage_watches, news, &mut self.lost_events);
    }

    fn tell_of_binding(&mut self, change: &Change) {
        tell_all(&mut self.binding_watches, change, &mut self.lost_events);
    }

    /// Offers a new caller to whoever takes callers.
    fn offer(&mut self, now: Instant, id: CallId, caller: Caller) {
        if !self.incoming.has_room() {
            // Fails only where the call has ended already.
            let _ended = self.core.reject(now, id, 503);
            return;
        }
        let waiting = self.adopt(id, Some(caller));
        self.incoming.push(id, waiting);
    }

    fn deliver(&mut self, id: CallId, event: CallEvent) {
        // Wherever a receiver has gone, nobody waits for the news any more.
        match &event {
            CallEvent::PlayEnded { play, end } => {
                self.end_play(*play, *end);
            }
            CallEvent::RecordingStarted { recording, .. } => {
                if let Some(stage) = self.recordings.get(recording) {
                    stage.send_replace(RecordingStage::Open);
                }
            }
            CallEvent::RecordingEnded { recording, outcome } => {
                if let Some(stage) = self.recordings.remove(recording) {
                    stage.send_replace(RecordingStage::Closed(outcome.clone()));
                }
            }
            _ => {}
        }
        let Some(mailbox) = self.calls.get_mut(&id) else {
            return;
        };
        mailbox.wake(&event);
        let ended = matches!(event, CallEvent::Ended(_));
        if mailbox.events.try_send(event).is_err() {
            self.lost_events += 1;
        }
        if ended {
            self.incoming.forget(id);
            self.calls.remove(&id);
            self.news.forget_call(id);
        }
    }
}

impl Mailbox {
    fn new(events: mpsc::Sender<CallEvent>, stage: watch::Sender<Stage>) -> Self {
        Self {
            events,
            stage,
            answering: None,
            collecting: None,
            renegotiating: None,
            transferring: None,
            reports: Vec::new(),
        }
    }

    /// Wakes whoever waits for `event`. Where a receiver has gone, nobody waits any more.
    fn wake(&mut self, event: &CallEvent) {
        match event {
            CallEvent::Answered => {
                self.stage.send_replace(Stage::Up);
                if let Some(waiter) = self.answering.take() {
                    let _gone = waiter.send(Ok(()));
                }
            }
            CallEvent::Collected(collected) => {
                if let Some(waiter) = self.collecting.take() {
                    let _gone = waiter.send(collected.clone());
                }
            }
            CallEvent::Renegotiated => self.renegotiated(Ok(())),
            CallEvent::RenegotiationFailed { status } => {
                self.renegotiated(Err(CallError::Refused(*status)));
            }
            CallEvent::TransferEnded { status } => {
                let outcome = match status {
                    200..=299 => Ok(()),
                    status => Err(CallError::Refused(*status)),
                };
                if let Some(waiter) = self.transferring.take() {
                    let _gone = waiter.send(outcome);
                }
            }
            CallEvent::Report(report) => {
                for waiter in self.reports.drain(..) {
                    let _gone = waiter.send(report.clone());
                }
            }
            CallEvent::Ended(end) => {
                self.stage
                    .send_replace(Stage::Ended(Arc::new((**end).clone())));
            }
            _ => {}
        }
    }

    fn renegotiated(&mut self, outcome: Result<(), CallError>) {
        if let Some(waiter) = self.renegotiating.take() {
            let _gone = waiter.send(outcome);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.incoming.close();
        self.running.send_replace(false);
    }
}

/// Why a handle's wait ended without the news it waited for.
pub(crate) fn ended_error(stage: &Stage) -> CallError {
    match stage {
        Stage::Ended(end) => CallError::Ended(end.reason.clone()),
        Stage::Pending | Stage::Up => CallError::Ended(EndReason::Shutdown),
    }
}

/// Tells everybody who watches, and forgets those who do not any more.
fn tell_all<T: Clone>(watches: &mut Vec<mpsc::Sender<T>>, news: &T, lost: &mut u64) {
    watches.retain(|watch| {
        match watch.try_send(news.clone()) {
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(_)) => *lost += 1,
            Ok(()) => {}
        }
        true
    });
}
