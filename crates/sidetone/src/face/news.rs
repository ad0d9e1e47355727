//! The hub's part for what happens outside of calls: messages, subscriptions, publications, peers that
//! are watched.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::core::Core;
use crate::engine::event::{CallError, Event, Sent};
use crate::id::CallId;
use crate::sip::agent::command::{PublicationId, SubscribeId, TicketId};
use crate::sip::agent::event::{PublicationState, SubscriptionState};
use crate::sip::event::notifier::Waiting;
use crate::sip::health::{Change, WatchId};
use crate::sip::message::Message;
use crate::time::Instant;

/// Messages, news of one subscription, and subscriptions that wait for a decision: so many of each may
/// wait for whoever reads them.
const BACKLOG: usize = 64;

/// A message as it waits for its reader.
pub(crate) struct Letter {
    pub(crate) ticket: TicketId,
    pub(crate) request: Message,
    pub(crate) source: SocketAddr,
    pub(crate) user: Option<String>,
}

/// What a subscription's handle reads.
#[derive(Debug)]
pub(crate) enum Notice {
    State(SubscriptionState),
    Document(u32, Box<Message>),
}

struct Mailbox {
    notices: mpsc::Sender<Notice>,
    state: watch::Sender<SubscriptionState>,
}

/// Whoever waits for what happens outside of calls.
#[derive(Default)]
pub(crate) struct News {
    letters: Option<mpsc::Sender<Letter>>,
    sent: BTreeMap<Sent, oneshot::Sender<u16>>,
    subscriptions: BTreeMap<SubscribeId, Mailbox>,
    publications: BTreeMap<PublicationId, watch::Sender<PublicationState>>,
    waiting: Option<mpsc::Sender<Waiting>>,
    watched: BTreeMap<WatchId, watch::Sender<Change>>,
    /// Events dropped because nobody read them.
    pub(crate) lost: u64,
}

impl News {
    /// Takes an event to whoever waits for it.
    pub(crate) fn dispatch(&mut self, core: &mut Core, now: Instant, event: Event) {
        match event {
            Event::Message {
                ticket,
                request,
                source,
                user,
            } => self.deliver(
                core,
                now,
                Letter {
                    ticket,
                    request,
                    source,
                    user,
                },
            ),
            Event::MessageDone { sent, status } => {
                if let Some(waiter) = self.sent.remove(&sent) {
                    // A sender that has gone needs no news.
                    let _gone = waiter.send(status);
                }
            }
            Event::Subscription {
                subscription,
                state,
            } => self.subscription_changed(subscription, state),
            Event::Notified {
                subscription,
                notifier,
                request,
            } => {
                let mailbox = self.subscriptions.get(&subscription);
                let notice = Notice::Document(notifier, Box::new(request));
                if mailbox.is_some_and(|mailbox| mailbox.notices.try_send(notice).is_err()) {
                    self.lost += 1;
                }
            }
            Event::SubscriptionWaits(waiting) => self.ask(core, now, waiting),
            Event::Publication { publication, state } => {
                let over = state == PublicationState::Withdrawn;
                if let Some(watch) = self.publications.get(&publication) {
                    watch.send_if_modified(|known| {
                        let changed = *known != state;
                        *known = state;
                        changed
                    });
                }
                if over {
                    self.publications.remove(&publication);
                }
            }
            Event::Health(change) => {
                if let Some(watch) = self.watched.get(&change.watch) {
                    watch.send_replace(change);
                }
            }
            _ => {}
        }
    }

    /// A call is over, and with it the wait for its messages.
    pub(crate) fn forget_call(&mut self, call: CallId) {
        self.sent
            .retain(|sent, _| !matches!(sent, Sent::Within(of, _) if *of == call));
    }

    pub(crate) fn on_sent(&mut self, sent: Sent) -> oneshot::Receiver<u16> {
        let (done, wait) = oneshot::channel();
        self.sent.insert(sent, done);
        wait
    }

    /// Takes messages from now on; the one who did before gets none any more.
    pub(crate) fn read_letters(&mut self) -> mpsc::Receiver<Letter> {
        let (letters, inbox) = mpsc::channel(BACKLOG);
        self.letters = Some(letters);
        inbox
    }

    /// Decides on subscriptions from now on.
    pub(crate) fn read_waiting(&mut self) -> mpsc::Receiver<Waiting> {
        let (waiting, requests) = mpsc::channel(BACKLOG);
        self.waiting = Some(waiting);
        requests
    }

    pub(crate) fn watch_subscription(
        &mut self,
        id: SubscribeId,
    ) -> (mpsc::Receiver<Notice>, watch::Receiver<SubscriptionState>) {
        let (notices, read) = mpsc::channel(BACKLOG);
        let (state, watched) = watch::channel(SubscriptionState::Subscribing);
        self.subscriptions.insert(id, Mailbox { notices, state });
        (read, watched)
    }

    pub(crate) fn watch_publication(
        &mut self,
        id: PublicationId,
    ) -> watch::Receiver<PublicationState> {
        let (state, watched) = watch::channel(PublicationState::Publishing);
        self.publications.insert(id, state);
        watched
    }

    pub(crate) fn watch_health(&mut self, core: &Core, id: WatchId) -> watch::Receiver<Change> {
        let (state, watched) = watch::channel(Change {
            watch: id,
            health: core.health(id),
            round_trip: None,
        });
        self.watched.insert(id, state);
        watched
    }

    pub(crate) fn unwatch_health(&mut self, core: &mut Core, id: WatchId) {
        self.watched.remove(&id);
        core.unwatch(id);
    }

    /// Handles that wait.
    pub(crate) fn waiters(&self) -> usize {
        self.sent.len()
    }

    fn deliver(&mut self, core: &mut Core, now: Instant, letter: Letter) {
        let ticket = letter.ticket;
        let place = self.letters.as_ref().map(mpsc::Sender::try_reserve);
        let status = match place {
            Some(Ok(place)) => return place.send(letter),
            Some(Err(mpsc::error::TrySendError::Full(()))) => 503,
            // Nobody reads messages here.
            None | Some(Err(mpsc::error::TrySendError::Closed(()))) => 480,
        };
        // It fails only where the time to answer is over.
        let _late: Result<(), CallError> = core.answer_message(now, ticket, status);
    }

    /// Where nobody decides, the answer is no.
    fn ask(&mut self, core: &mut Core, now: Instant, waiting: Waiting) {
        let id = waiting.subscription;
        let asked = self.waiting.as_ref().map(|to| to.try_send(waiting));
        if !matches!(asked, Some(Ok(()))) {
            core.decide_subscription(now, id, false);
        }
    }

    fn subscription_changed(&mut self, id: SubscribeId, state: SubscriptionState) {
        let over = matches!(state, SubscriptionState::Ended { .. });
        let Some(mailbox) = self.subscriptions.get(&id) else {
            return;
        };
        mailbox.state.send_replace(state.clone());
        if mailbox.notices.try_send(Notice::State(state)).is_err() {
            self.lost += 1;
        }
        if over {
            self.subscriptions.remove(&id);
        }
    }
}
