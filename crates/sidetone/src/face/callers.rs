//! Callers that no flow has taken yet: a bounded queue, which those leave who give up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::id::CallId;

/// Callers that wait at most; further ones are refused.
const BACKLOG: usize = 64;

/// The queue, shared by the hub and the handles; `T` is a caller's end of its call.
pub(crate) struct Callers<T>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    bell: Notify,
}

struct Queue<T> {
    waiting: VecDeque<(CallId, T)>,
    closed: bool,
}

impl<T> Clone for Callers<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Callers<T> {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            closed: false,
        };
        Self(Arc::new(Shared {
            queue: Mutex::new(queue),
            bell: Notify::new(),
        }))
    }

    // Nothing in here panics while the lock is held.
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.queue().waiting.len() < BACKLOG
    }

    /// A caller waits from now on.
    pub(crate) fn push(&self, id: CallId, caller: T) {
        self.queue().waiting.push_back((id, caller));
        self.0.bell.notify_one();
    }

    /// A call is over: where it still waits, its place is free.
    pub(crate) fn forget(&self, id: CallId) {
        self.queue().waiting.retain(|(waiting, _)| *waiting != id);
    }

    /// Nobody comes any more.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.0.bell.notify_waiters();
    }

    /// The caller that has waited the longest; `None` once nobody waits or comes any more.
    ///
    /// # Cancel safety
    /// No caller is lost when the future is dropped.
    pub(crate) async fn next(&self) -> Option<T> {
        loop {
            let mut rung = std::pin::pin!(self.0.bell.notified());
            // From here on nothing is missed.
            rung.as_mut().enable();
            {
                let mut queue = self.queue();
                let first = queue.waiting.pop_front();
                if first.is_some() || queue.closed {
                    if !queue.waiting.is_empty() {
                        self.0.bell.notify_one();
                    }
                    return first.map(|(_, caller)| caller);
                }
            }
            rung.await;
        }
    }
}
