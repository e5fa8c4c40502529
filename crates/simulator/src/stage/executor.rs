//! Tasks and their wakers. A task is polled when it was woken, in the order of waking; one
//! of a frozen process waits until that is thawed; one of a dead process is dropped where it
//! stands. One thread, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use weir_pipeline::world::{Stopped, Tasks};

use super::state::Pid;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type TaskId = u64;

/// A mutex that nobody else ever holds for long: one thread runs a simulation.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Desk {
    ready: VecDeque<TaskId>,
    begun: Vec<(TaskId, Pid, Work)>,
    ended: Vec<TaskId>,
    next: TaskId,
}

/// Where tasks are begun and ended from inside of tasks.
#[derive(Clone, Default)]
pub(crate) struct Spawner {
    desk: Arc<Mutex<Desk>>,
}

impl Spawner {
    /// Begins a task of a process.
    pub(crate) fn spawn(&self, process: Pid, work: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let mut desk = lock(&self.desk);
        let id = desk.next;
        desk.next += 1;
        desk.begun.push((id, process, Box::pin(work)));
        desk.ready.push_back(id);
        id
    }
}

struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    desk: Arc<Mutex<Desk>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.desk).ready.push_back(self.id);
        }
    }
}

struct Task {
    process: Pid,
    work: Work,
    waker: Arc<TaskWaker>,
}

/// Everything that runs.
#[derive(Default)]
pub(crate) struct Executor {
    spawner: Spawner,
    tasks: BTreeMap<TaskId, Task>,
    frozen: BTreeSet<Pid>,
    /// Woken tasks of frozen processes.
    parked: VecDeque<TaskId>,
}

impl Executor {
    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Polls until every task waits for something outside.
    pub(crate) fn run_until_idle(&mut self) {
        loop {
            self.sweep();
            let Some(id) = lock(&self.spawner.desk).ready.pop_front() else { return };
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            if self.frozen.contains(&task.process) {
                self.parked.push_back(id);
                continue;
            }
            task.waker.queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task.waker));
            if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks.remove(&id);
            }
        }
    }

    /// Takes over what was begun and ended from inside of tasks.
    fn sweep(&mut self) {
        loop {
            let (begun, ended) = {
                let mut desk = lock(&self.spawner.desk);
                (std::mem::take(&mut desk.begun), std::mem::take(&mut desk.ended))
            };
            if begun.is_empty() && ended.is_empty() {
                return;
            }
            for (id, process, work) in begun {
                let desk = Arc::clone(&self.spawner.desk);
                let waker = Arc::new(TaskWaker { id, queued: AtomicBool::new(true), desk });
                self.tasks.insert(id, Task { process, work, waker });
            }
            // Dropping a task may end others.
            for id in ended {
                drop(self.tasks.remove(&id));
            }
        }
    }

    /// Polls the tasks of a process no longer.
    pub(crate) fn freeze(&mut self, process: Pid) {
        self.frozen.insert(process);
    }

    /// Polls them again.
    pub(crate) fn thaw(&mut self, process: Pid) {
        self.frozen.remove(&process);
        let parked = std::mem::take(&mut self.parked);
        lock(&self.spawner.desk).ready.extend(parked);
    }

    /// Drops the tasks of a process where they stand.
    pub(crate) fn kill(&mut self, process: Pid) {
        self.sweep();
        let ids: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
        for id in ids {
            drop(self.tasks.remove(&id));
        }
        self.frozen.remove(&process);
        self.sweep();
    }
}

#[derive(Default)]
struct Ends {
    count: usize,
    ended: usize,
    waker: Option<Waker>,
}

/// Tasks of one process that run side by side.
pub(crate) struct SimTasks {
    process: Pid,
    spawner: Spawner,
    ids: Vec<TaskId>,
    ends: Arc<Mutex<Ends>>,
}

impl SimTasks {
    pub(crate) fn new(process: Pid, spawner: Spawner) -> Self {
        Self { process, spawner, ids: Vec::new(), ends: Arc::default() }
    }
}

impl Tasks for SimTasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let ends = Arc::clone(&self.ends);
        lock(&ends).count += 1;
        let id = self.spawner.spawn(self.process, async move {
            task.await;
            let mut ends = lock(&ends);
            ends.ended += 1;
            if let Some(waker) = ends.waker.take() {
                waker.wake();
            }
        });
        self.ids.push(id);
    }

    async fn join_next(&mut self) -> Option<Result<(), Stopped>> {
        std::future::poll_fn(|context| {
            let mut ends = lock(&self.ends);
            if ends.ended > 0 {
                ends.ended -= 1;
                ends.count -= 1;
                Poll::Ready(Some(Ok(())))
            } else if ends.count == 0 {
                Poll::Ready(None)
            } else {
                ends.waker = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for SimTasks {
    fn drop(&mut self) {
        lock(&self.spawner.desk).ended.append(&mut self.ids);
    }
}
