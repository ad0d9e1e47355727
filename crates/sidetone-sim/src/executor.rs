//! A single-threaded executor: tasks run in the order in which they were woken, and nothing else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use sidetone::face::spawn::{Flow, Spawn};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks and the queue of those that were woken.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<Tasks>,
    ready: Arc<Ready>,
    inbox: Inbox,
}

/// Takes an engine's call flows to the executor, which adds them before it runs anything else.
/// Handles must be `Send`, hence the lock.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Vec<Flow>>>);

impl Inbox {
    fn take(&self) -> Vec<Flow> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Spawn for Inbox {
    fn spawn(&self, flow: Flow) {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.push(flow);
    }
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

struct Slot {
    /// Out while it runs.
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

/// The numbers of woken tasks, first woken first. Wakers must be `Send`, hence the lock; there is
/// only one thread, so nobody ever waits for it.
#[derive(Default)]
struct Ready(Mutex<VecDeque<Arc<TaskWaker>>>);

/// Wakes one task; wakers of a finished task wake nobody.
pub(crate) struct TaskWaker {
    index: Option<usize>,
    queued: AtomicBool,
    finished: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if self.finished.load(Ordering::Relaxed) || self.queued.swap(true, Ordering::Relaxed) {
            return;
        }
        let ready = self.ready.clone();
        let mut queue = ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(self);
    }
}

/// What the executor wants to run next.
pub(crate) enum Turn {
    /// The future that the caller of [`Executor::main_waker`] polls itself.
    Main,
    /// A task ran.
    Ran,
    /// Nobody is woken.
    Stalled,
}

impl Executor {
    /// Adds a task, woken.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let index = tasks.free.pop().unwrap_or(tasks.slots.len());
        let waker = self.waker(Some(index));
        let slot = Slot {
            task: Some(Box::pin(task)),
            waker: waker.clone(),
        };
        match tasks.slots.get_mut(index) {
            Some(free) => *free = slot,
            None => tasks.slots.push(slot),
        }
        drop(tasks);
        waker.wake();
    }

    /// Where an engine puts its call flows.
    pub(crate) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// A waker for a future that is no task, already woken.
    pub(crate) fn main_waker(&self) -> Waker {
        let waker = self.waker(None);
        waker.clone().wake();
        waker.into()
    }

    /// Runs the task that was woken first.
    pub(crate) fn turn(&self) -> Turn {
        for flow in self.inbox.take() {
            self.spawn(flow);
        }
        let next = {
            let mut queue = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
            queue.pop_front()
        };
        let Some(waker) = next else {
            return Turn::Stalled;
        };
        waker.queued.store(false, Ordering::Relaxed);
        match waker.index {
            None => Turn::Main,
            Some(index) => {
                self.run(index, waker);
                Turn::Ran
            }
        }
    }

    /// How many tasks are not finished.
    pub(crate) fn unfinished(&self) -> usize {
        let tasks = self.tasks.borrow();
        tasks.slots.len() - tasks.free.len()
    }

    /// Drops every task.
    pub(crate) fn clear(&self) {
        // Tasks may spawn or wake others as they are dropped, so they are dropped out of the cell.
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for slot in &tasks.slots {
            slot.waker.finished.store(true, Ordering::Relaxed);
        }
        drop(tasks);
    }

    fn run(&self, index: usize, waker: Arc<TaskWaker>) {
        let task = {
            let mut tasks = self.tasks.borrow_mut();
            let slot = tasks.slots.get_mut(index);
            slot.filter(|slot| Arc::ptr_eq(&slot.waker, &waker))
                .and_then(|slot| slot.task.take())
        };
        let Some(mut task) = task else {
            return;
        };
        let handle = Waker::from(waker.clone());
        let finished = task.as_mut().poll(&mut Context::from_waker(&handle));
        match finished {
            Poll::Pending => self.tasks.borrow_mut().slots[index].task = Some(task),
            Poll::Ready(()) => {
                waker.finished.store(true, Ordering::Relaxed);
                drop(task);
                self.tasks.borrow_mut().free.push(index);
            }
        }
    }

    fn waker(&self, index: Option<usize>) -> Arc<TaskWaker> {
        Arc::new(TaskWaker {
            index,
            queued: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            ready: self.ready.clone(),
        })
    }
}

/// The result of a task, to be awaited; dropping it lets the task run on.
pub struct JoinHandle<T>(Rc<RefCell<Joint<T>>>);

struct Joint<T> {
    result: Option<T>,
    waiting: Option<Waker>,
}

impl<T: 'static> JoinHandle<T> {
    /// Wraps a future so that its result reaches the handle.
    pub(crate) fn of(
        future: impl Future<Output = T> + 'static,
    ) -> (impl Future<Output = ()> + 'static, Self) {
        let joint = Rc::new(RefCell::new(Joint {
            result: None,
            waiting: None,
        }));
        let handle = Self(joint.clone());
        let task = async move {
            let result = future.await;
            let mut joint = joint.borrow_mut();
            joint.result = Some(result);
            if let Some(waiting) = joint.waiting.take() {
                waiting.wake();
            }
        };
        (task, handle)
    }

    /// True when the result is there and was not taken.
    pub fn is_finished(&self) -> bool {
        self.0.borrow().result.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut joint = self.0.borrow_mut();
        match joint.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                joint.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
