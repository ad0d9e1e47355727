//! The simulation: virtual clock, network, tasks and nodes, stepped from event to event.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sidetone::rng::Rng;
use sidetone::time::{ClockAnchor, Instant, WallTime};

use crate::executor::{Executor, Inbox, JoinHandle, Turn};
use crate::network::{Delivery, Network};
use crate::node::{Context as NodeContext, Node, NodeId, Owners};
use crate::seed;
use crate::trace::Trace;

/// Why a simulation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stalled {
    /// The future waits, and no packet is on its way and no timer runs that could change that.
    #[error("deadlock at {at:?}: the future waits, {tasks} other tasks wait, nothing can happen")]
    Deadlock {
        /// The virtual time of the last event.
        at: Instant,
        /// Other tasks that are not finished.
        tasks: usize,
    },
    /// Virtual time reached the limit ([`Handle::set_time_limit`]) before the future was done.
    #[error("the virtual time limit {limit:?} is reached and the future still waits")]
    TimeLimit {
        /// The limit.
        limit: Instant,
    },
    /// Millions of events happened without any progress of time.
    #[error("livelock at {at:?}: events follow each other without end at one moment")]
    Livelock {
        /// The moment.
        at: Instant,
    },
}

/// A simulation. It owns everything in it; [`Handle`] is what tasks keep of it.
///
/// All verbs are the [`Handle`]'s. Time moves only inside [`block_on`](Handle::block_on): while a
/// task can run, time stands still; when all of them wait, time jumps to the next event.
///
/// Dropped while panicking, it prints its seed, so that a failing test can be repeated.
///
/// ```
/// use std::time::Duration;
/// use sidetone_sim::sim::Sim;
///
/// let sim = Sim::new(1);
/// sim.block_on(async {
///     let start = sim.now();
///     sim.sleep(Duration::from_secs(3600)).await;
///     assert_eq!(sim.now() - start, Duration::from_secs(3600));
/// });
/// ```
pub struct Sim {
    handle: Handle,
}

/// A reference to a running [`Sim`] that tasks can keep; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Rc<Inner>,
}

struct Inner {
    seed: u64,
    executor: Executor,
    world: RefCell<World>,
    blocking: Cell<bool>,
}

struct World {
    now: Instant,
    anchor: ClockAnchor,
    limit: Instant,
    network: Network,
    owners: Owners,
    nodes: Vec<Slot>,
    /// The nodes that tasks ask things of.
    asked: Vec<NodeId>,
    timers: BTreeMap<(Instant, u64), Due>,
    number: u64,
    /// Steps since time last moved.
    steps: u64,
    rng: Rng,
}

struct Slot {
    node: Rc<RefCell<dyn Node>>,
    /// The key of its entry in the timers.
    timer: Option<(Instant, u64)>,
}

enum Due {
    Wake(Waker),
    Node(NodeId),
}

/// More steps than this at one moment are a livelock.
const STEPS_AT_ONCE: u64 = 4_000_000;

/// Virtual time zero is 2026-01-01T00:00:00 UTC.
const EPOCH: WallTime = WallTime::from_unix_nanos(1_767_225_600_000_000_000);

impl Sim {
    /// A simulation whose every random choice follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let anchor = ClockAnchor {
            at: Instant::ZERO,
            wall: EPOCH,
        };
        let mut network = Network::new(seed);
        network.set_anchor(anchor);
        let world = World {
            now: Instant::ZERO,
            anchor,
            limit: Instant::ZERO + Duration::from_secs(24 * 3600),
            network,
            owners: Owners::default(),
            nodes: Vec::new(),
            asked: Vec::new(),
            timers: BTreeMap::new(),
            number: 0,
            steps: 0,
            rng: Rng::new(seed).fork(),
        };
        let inner = Inner {
            seed,
            executor: Executor::default(),
            world: RefCell::new(world),
            blocking: Cell::new(false),
        };
        Self {
            handle: Handle {
                inner: Rc::new(inner),
            },
        }
    }

    /// A simulation from the seed in [`SEED_VARIABLE`](seed::SEED_VARIABLE), or from `default` where that is not set.
    ///
    /// # Panics
    /// Where the variable is set and is no number.
    pub fn seeded(default: u64) -> Self {
        Self::new(seed::from_environment().unwrap_or(default))
    }

    /// A reference for tasks to keep.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Deref for Sim {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        seed::report_where_panicking(self.seed());
        // Tasks and nodes hold handles; without this the circle would never be freed.
        self.inner.executor.clear();
        let Ok(mut world) = self.inner.world.try_borrow_mut() else {
            return;
        };
        let nodes = std::mem::take(&mut world.nodes);
        let timers = std::mem::take(&mut world.timers);
        drop(world);
        drop((nodes, timers));
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.seed()).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("seed", &self.seed())
            .finish()
    }
}

impl Handle {
    /// The seed that everything random follows from.
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.inner.world.borrow().now
    }

    /// The civil time that belongs to the virtual one; time zero is 2026-01-01T00:00:00 UTC.
    pub fn wall(&self) -> WallTime {
        let world = self.inner.world.borrow();
        world.anchor.wall_at(world.now)
    }

    /// How virtual and civil time belong together.
    pub fn anchor(&self) -> ClockAnchor {
        self.inner.world.borrow().anchor
    }

    /// A generator that is the caller's own; the order of these calls is part of the scenario.
    pub fn fork_rng(&self) -> Rng {
        self.inner.world.borrow_mut().rng.fork()
    }

    /// Ends the simulation with [`Stalled::TimeLimit`] when it would go beyond this much virtual
    /// time from zero. Default one day.
    pub fn set_time_limit(&self, limit: Duration) {
        self.inner.world.borrow_mut().limit = Instant::ZERO + limit;
    }

    /// The network, to be changed. Do not keep this over an `.await`.
    pub fn network(&self) -> RefMut<'_, Network> {
        RefMut::map(self.inner.world.borrow_mut(), |world| &mut world.network)
    }

    /// The log of everything that happened. Do not keep this over an `.await`.
    pub fn trace(&self) -> Ref<'_, Trace> {
        Ref::map(self.inner.world.borrow(), |world| world.network.trace())
    }

    /// Writes a line into the log.
    pub fn note(&self, line: impl fmt::Display) {
        let now = self.now();
        self.network().trace_mut().note(now, line);
    }

    /// Runs a future beside the caller.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        let (task, handle) = JoinHandle::of(future);
        self.inner.executor.spawn(task);
        handle
    }

    /// Waits for this much virtual time.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Waits until this moment of virtual time.
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        Sleep {
            handle: self.clone(),
            until,
            timer: None,
        }
    }

    /// Waits for the future for at most this much virtual time; `None` where it was not enough.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let mut timer = self.sleep(duration);
        poll_fn(|context| {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            Pin::new(&mut timer).poll(context).map(|()| None)
        })
        .await
    }

    /// Runs everything until the future is done, and gives its result.
    ///
    /// # Panics
    /// Where the simulation cannot go on, saying why and with which seed, and where it is called
    /// inside itself.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self.try_block_on(future) {
            Ok(result) => result,
            Err(stalled) => panic!("seed {}: {stalled}", self.seed()),
        }
    }

    /// As [`block_on`](Self::block_on), for a future that may wait for ever.
    ///
    /// # Errors
    /// [`Stalled`] where the simulation cannot go on.
    ///
    /// # Panics
    /// Where it is called inside itself.
    pub fn try_block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, Stalled> {
        assert!(
            !self.inner.blocking.replace(true),
            "block_on inside block_on: await the future instead"
        );
        let _reset = ResetOnDrop(&self.inner.blocking);
        let mut future = pin!(future);
        let waker = self.inner.executor.main_waker();
        // Only tasks, and the caller before this call, can have asked nodes for something.
        let mut asked = true;
        loop {
            match self.inner.executor.turn() {
                Turn::Ran => asked = true,
                Turn::Main => {
                    asked = true;
                    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                    if let Poll::Ready(result) = polled {
                        return Ok(result);
                    }
                }
                Turn::Stalled if std::mem::take(&mut asked) => self.flush(),
                Turn::Stalled => self.step()?,
            }
        }
    }

    /// Lets everything run for this much virtual time.
    ///
    /// # Panics
    /// As [`block_on`](Self::block_on).
    pub fn run_for(&self, duration: Duration) {
        self.block_on(self.sleep(duration));
    }

    /// Adds a node, which may then bind sockets in [`act`](Self::act).
    pub fn add_node(&self, node: Rc<RefCell<dyn Node>>) -> NodeId {
        let mut world = self.inner.world.borrow_mut();
        let id = NodeId(world.nodes.len() as u32);
        if node.borrow().takes_requests() {
            world.asked.push(id);
        }
        world.nodes.push(Slot { node, timer: None });
        id
    }

    /// Does something in the name of a node, and then asks the node for its next deadline.
    pub fn act<T>(&self, id: NodeId, act: impl FnOnce(&mut NodeContext<'_>) -> T) -> T {
        let mut world = self.inner.world.borrow_mut();
        let result = act(&mut world.context(id));
        world.reschedule(id);
        result
    }

    /// Lets nodes do what tasks asked of them.
    fn flush(&self) {
        self.inner.world.borrow_mut().flush();
    }

    /// Where an engine puts its call flows.
    pub(crate) fn inbox(&self) -> Inbox {
        self.inner.executor.inbox()
    }

    /// Goes to the next event and lets it happen.
    fn step(&self) -> Result<(), Stalled> {
        let mut world = self.inner.world.borrow_mut();
        let flying = world.network.poll_timeout();
        let timer = world.timers.first_key_value().map(|(key, _)| key.0);
        let Some(next) = flying.into_iter().chain(timer).min() else {
            return Err(Stalled::Deadlock {
                at: world.now,
                tasks: self.inner.executor.unfinished(),
            });
        };
        world.advance(next)?;
        if flying.is_some_and(|at| at <= next) {
            let now = world.now;
            world.network.handle_timeout(now);
            while let Some(delivery) = world.network.poll_delivery() {
                world.deliver(delivery);
            }
            return Ok(());
        }
        match world.timers.pop_first() {
            Some((_, Due::Wake(waker))) => waker.wake(),
            Some((_, Due::Node(id))) => world.wake_node(id),
            None => {}
        }
        Ok(())
    }
}

impl World {
    fn advance(&mut self, next: Instant) -> Result<(), Stalled> {
        if next > self.limit {
            return Err(Stalled::TimeLimit { limit: self.limit });
        }
        if next > self.now {
            self.now = next;
            self.steps = 0;
        }
        self.steps += 1;
        if self.steps > STEPS_AT_ONCE {
            return Err(Stalled::Livelock { at: self.now });
        }
        Ok(())
    }

    fn context(&mut self, id: NodeId) -> NodeContext<'_> {
        NodeContext::new(self.now, id, &mut self.network, &mut self.owners)
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Some(id) = self.owners.of(&delivery) else {
            return;
        };
        let node = self.nodes[id.0 as usize].node.clone();
        node.borrow_mut()
            .handle_delivery(&mut self.context(id), delivery);
        self.reschedule(id);
    }

    fn wake_node(&mut self, id: NodeId) {
        let slot = &mut self.nodes[id.0 as usize];
        slot.timer = None;
        let node = slot.node.clone();
        node.borrow_mut().handle_timeout(&mut self.context(id));
        self.reschedule(id);
    }

    fn flush(&mut self) {
        for index in 0..self.asked.len() {
            let id = self.asked[index];
            let node = self.nodes[id.0 as usize].node.clone();
            node.borrow_mut().flush(&mut self.context(id));
            self.reschedule(id);
        }
    }

    fn reschedule(&mut self, id: NodeId) {
        let Some(slot) = self.nodes.get_mut(id.0 as usize) else {
            return;
        };
        let Ok(mut node) = slot.node.try_borrow_mut() else {
            return;
        };
        let wanted = node.poll_timeout().map(|at| at.max(self.now));
        drop(node);
        if slot.timer.map(|key| key.0) == wanted {
            return;
        }
        if let Some(key) = slot.timer.take() {
            self.timers.remove(&key);
        }
        if let Some(at) = wanted {
            let key = (at, self.number);
            self.number += 1;
            slot.timer = Some(key);
            self.timers.insert(key, Due::Node(id));
        }
    }
}

struct ResetOnDrop<'a>(&'a Cell<bool>);

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Waits for a moment of virtual time; made by [`Handle::sleep`].
#[derive(Debug)]
#[must_use = "a future does nothing unless awaited"]
pub struct Sleep {
    handle: Handle,
    until: Instant,
    timer: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let inner = self.handle.inner.clone();
        let mut world = inner.world.borrow_mut();
        if let Some(key) = self.timer.take() {
            world.timers.remove(&key);
        }
        if world.now >= self.until {
            return Poll::Ready(());
        }
        let key = (self.until, world.number);
        world.number += 1;
        world.timers.insert(key, Due::Wake(context.waker().clone()));
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(key) = self.timer.take() else {
            return;
        };
        if let Ok(mut world) = self.handle.inner.world.try_borrow_mut() {
            world.timers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_in_the_order_of_their_deadlines() {
        let sim = Sim::new(1);
        let log = Rc::new(RefCell::new(Vec::new()));
        for (name, millis) in [("c", 30), ("a", 10), ("b", 20), ("b2", 20)] {
            let (handle, log) = (sim.handle(), log.clone());
            sim.spawn(async move {
                handle.sleep(Duration::from_millis(millis)).await;
                log.borrow_mut().push((name, handle.now().as_nanos()));
            });
        }
        sim.run_for(Duration::from_secs(1));
        let expected = [
            ("a", 10_000_000),
            ("b", 20_000_000),
            ("b2", 20_000_000),
            ("c", 30_000_000),
        ];
        assert_eq!(*log.borrow(), expected);
    }

    #[test]
    fn a_deadlock_is_found_and_named() {
        let sim = Sim::new(1);
        let stalled = sim.try_block_on(std::future::pending::<()>());
        let expected = Stalled::Deadlock {
            at: Instant::ZERO,
            tasks: 0,
        };
        assert_eq!(stalled, Err(expected));
    }

    #[test]
    fn the_time_limit_ends_what_goes_on_for_ever() {
        let sim = Sim::new(1);
        sim.set_time_limit(Duration::from_secs(10));
        let stalled = sim.try_block_on(async {
            loop {
                sim.sleep(Duration::from_secs(1)).await;
            }
        });
        let limit = Instant::ZERO + Duration::from_secs(10);
        let result: Result<(), _> = Err(Stalled::TimeLimit { limit });
        assert_eq!(stalled, result);
    }

    #[test]
    fn a_timeout_ends_the_wait_and_leaves_no_timer() {
        let sim = Sim::new(1);
        sim.block_on(async {
            let second = Duration::from_secs(1);
            let slow = sim.sleep(second * 5);
            assert_eq!(sim.timeout(second, slow).await, None);
            assert_eq!(sim.timeout(second, async { 7 }).await, Some(7));
        });
        assert_eq!(sim.now(), Instant::ZERO + Duration::from_secs(1));
        assert!(sim.inner.world.borrow().timers.is_empty());
    }

    #[test]
    fn a_task_gives_its_result() {
        let sim = Sim::new(1);
        let handle = sim.handle();
        let task = sim.spawn(async move {
            handle.sleep(Duration::from_secs(1)).await;
            "done"
        });
        assert!(!task.is_finished());
        assert_eq!(sim.block_on(task), "done");
    }

    #[test]
    #[should_panic(expected = "seed 42: deadlock")]
    fn a_failing_run_names_its_seed() {
        Sim::new(42).block_on(std::future::pending::<()>());
    }
}
