//! Virtual time and a seed: everything that happens in a simulation follows from one number, and replays from it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    ops::Range,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::{FutureExt, future::LocalBoxFuture};

use crate::platform::{Platform, PlatformRef};

/// How many times tasks may be polled before a simulation counts as one that never ends.
const MOST_POLLS: u64 = 20_000_000;

/// A world with a clock, tasks and dice of its own. Clones are the same world.
///
/// Which of several ready tasks runs next is drawn by lot, so that seeds try out interleavings. Time passes only when
/// no task is ready.
#[derive(Clone)]
pub struct Simulation(Rc<World>);

struct World {
    now: Cell<Duration>,
    dice: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, LocalBoxFuture<'static, ()>>>,
    ready: Arc<Ready>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    last: Cell<u64>,
}

/// Tasks that want to run. Wakers must be `Send`, hence the lock, although there is one thread.
#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

struct TaskWaker {
    task: u64,
    is_queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn with<R>(&self, look: impl FnOnce(&mut Vec<u64>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.with(|ready| ready.push(self.task));
        }
    }
}

/// Prints the seed of a simulation that panics.
struct Confession(u64);

impl Drop for Confession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation with seed {} panicked", self.0);
        }
    }
}

/// Runs what `start` begins in a world made from `seed`, to its end; tasks that are left then are dropped.
///
/// # Panics
/// If everything waits for ever, or nothing ever does; the seed is printed.
pub fn simulate<F: Future>(seed: u64, start: impl FnOnce(Simulation) -> F) -> F::Output {
    let _confession = Confession(seed);
    let world = Rc::new(World {
        now: Cell::new(Duration::ZERO),
        dice: Cell::new(seed),
        tasks: RefCell::default(),
        ready: Arc::default(),
        timers: RefCell::default(),
        last: Cell::new(0),
    });
    let mut main = std::pin::pin!(start(Simulation(world.clone())));
    let main_waker = world.waker(0);
    main_waker.wake_by_ref();
    let mut wakers: BTreeMap<u64, Arc<TaskWaker>> = BTreeMap::from([(0, main_waker)]);
    for _ in 0..MOST_POLLS {
        let Some(task) = world.next_task() else {
            assert!(world.pass_time(), "everything waits for ever");
            continue;
        };
        let waker = wakers.entry(task).or_insert_with(|| world.waker(task)).clone();
        waker.is_queued.store(false, Ordering::Relaxed);
        let std_waker = Waker::from(waker);
        let mut context = Context::from_waker(&std_waker);
        if task == 0 {
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                world.clear();
                return output;
            }
            continue;
        }
        let future = world.tasks.borrow_mut().remove(&task);
        let Some(mut future) = future else {
            wakers.remove(&task);
            continue;
        };
        match future.as_mut().poll(&mut context) {
            Poll::Pending => drop(world.tasks.borrow_mut().insert(task, future)),
            Poll::Ready(()) => drop(wakers.remove(&task)),
        }
    }
    panic!("nothing ever waits");
}

impl World {
    fn waker(&self, task: u64) -> Arc<TaskWaker> {
        Arc::new(TaskWaker {
            task,
            is_queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        })
    }

    /// SplitMix64.
    fn draw(&self) -> u64 {
        let state = self.dice.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.dice.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    fn next_task(&self) -> Option<u64> {
        self.ready.with(|ready| {
            if ready.is_empty() {
                return None;
            }
            let index = (self.draw() % ready.len() as u64) as usize;
            Some(ready.swap_remove(index))
        })
    }

    /// Moves the clock to the next timer; false if there is none.
    fn pass_time(&self) -> bool {
        let Some(now) = self.timers.borrow().keys().next().map(|(due, _)| *due) else {
            return false;
        };
        self.now.set(now);
        let due = {
            let mut timers = self.timers.borrow_mut();
            let later = timers.split_off(&(now + Duration::from_nanos(1), 0));
            std::mem::replace(&mut *timers, later)
        };
        due.into_values().for_each(Waker::wake);
        true
    }

    fn spawn(&self, future: LocalBoxFuture<'static, ()>) {
        let task = self.number();
        self.tasks.borrow_mut().insert(task, future);
        self.ready.with(|ready| ready.push(task));
    }

    /// Drops all tasks; what they start while they are dropped goes, too.
    fn clear(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            if tasks.is_empty() {
                return;
            }
        }
    }
}

impl Platform for Simulation {
    fn spawn_local(&self, future: LocalBoxFuture<'static, ()>) {
        self.0.spawn(future);
    }

    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        let timer = Timer {
            due: self.0.now.get() + duration,
            number: self.0.number(),
            world: self.0.clone(),
        };
        timer.boxed_local()
    }

    fn now(&self) -> Duration {
        self.0.now.get()
    }

    fn random(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.0.draw().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

struct Timer {
    world: Rc<World>,
    due: Duration,
    number: u64,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.now.get() >= self.due {
            return Poll::Ready(());
        }
        let key = (self.due, self.number);
        let old = self.world.timers.borrow_mut().insert(key, context.waker().clone());
        drop(old);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = self.world.timers.borrow_mut().remove(&(self.due, self.number));
        drop(waker);
    }
}

impl Simulation {
    /// What trees, peers and realms of this world run on.
    #[must_use]
    pub fn platform(&self) -> PlatformRef {
        Rc::new(self.clone())
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(task.boxed_local());
    }

    /// Lets time pass. Everything that needs no time has happened when it returns.
    pub async fn wait(&self, milliseconds: u64) {
        self.sleep(Duration::from_millis(milliseconds)).await;
    }

    /// Runs a future for as long as the limit allows; none if it is not done by then.
    pub async fn within<T>(&self, milliseconds: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut limit = self.sleep(Duration::from_millis(milliseconds));
        let mut future = std::pin::pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => limit.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// A number from a range that must not be empty.
    #[must_use]
    pub fn pick(&self, range: Range<u64>) -> u64 {
        range.start + self.0.draw() % (range.end - range.start)
    }

    /// True in so many of a hundred cases.
    #[must_use]
    pub fn chance(&self, percent: u64) -> bool {
        self.pick(0..100) < percent
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.0.tasks.borrow().len()
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulation")
            .field("now", &self.0.now.get())
            .field("tasks", &self.tasks())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(seed: u64) -> Vec<(u64, Duration)> {
        simulate(seed, |simulation| async move {
            let told = Rc::new(RefCell::new(Vec::new()));
            for name in 0..5 {
                let (here, told) = (simulation.clone(), told.clone());
                simulation.spawn(async move {
                    here.wait(here.pick(0..3)).await;
                    told.borrow_mut().push((name, here.now()));
                });
            }
            simulation.wait(3).await;
            assert_eq!(simulation.tasks(), 0);
            told.take()
        })
    }

    #[test]
    fn a_seed_tells_one_story_and_seeds_tell_different_ones() {
        assert_eq!(story(1), story(1));
        assert!((2..50).any(|seed| story(seed) != story(1)));
    }

    #[test]
    #[should_panic(expected = "everything waits for ever")]
    fn a_world_in_which_all_wait_for_ever_is_a_failure() {
        simulate(1, |_| std::future::pending::<()>());
    }
}
