//! How long recovering takes: from the moment of a fault until everything is counted that stood in
//! the journal half a second after it, whatever else happened meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_demo::ledger::Ledger;

use crate::journal;

/// How often the ends of the journal and the ledger are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What arrives in this time after a fault must be counted for it to be over.
const AFTER: Duration = Duration::from_millis(500);

/// What is known of one kind of fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// How often it was done.
    pub times: u64,
    /// How often its moment did not come.
    pub missed: u64,
    /// The longest recovery.
    pub recovery_max: Duration,
}

/// Faults by their names.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: BTreeMap<String, Seen>,
    open: Vec<Open>,
}

/// A fault that is not recovered from.
#[derive(Debug)]
struct Open {
    fault: String,
    at: Instant,
    /// What must be counted; not known at first.
    ends: Option<Vec<i64>>,
}

impl Watch {
    /// A fault was done just now.
    pub(crate) fn done(&self, fault: &str) {
        self.began(fault, Instant::now());
    }

    /// A fault was done that began at `at`.
    pub(crate) fn began(&self, fault: &str, at: Instant) {
        let mut inner = self.locked();
        inner.open.push(Open { fault: fault.to_owned(), at, ends: None });
        inner.seen.entry(fault.to_owned()).or_default().times += 1;
    }

    /// The moment of a fault did not come.
    pub(crate) fn missed(&self, fault: &str) {
        self.locked().seen.entry(fault.to_owned()).or_default().missed += 1;
    }

    /// What was seen, by name.
    pub(crate) fn seen(&self) -> BTreeMap<String, Seen> {
        self.locked().seen.clone()
    }

    /// How many faults are not recovered from yet.
    pub(crate) fn open(&self) -> usize {
        self.locked().open.len()
    }

    /// Watches until the task is dropped.
    pub(crate) async fn run(self: Arc<Self>, ledger: Ledger, journal: (String, String, i32)) {
        loop {
            let (bootstrap, topic, partitions) = journal.clone();
            let asked = Instant::now();
            let ends =
                tokio::task::spawn_blocking(move || journal::ends(&bootstrap, &topic, partitions)).await;
            if let Ok(Ok(ends)) = ends {
                for open in self.locked().open.iter_mut().filter(|open| open.ends.is_none()) {
                    if open.at + AFTER <= asked {
                        open.ends = Some(ends.clone());
                    }
                }
            }
            // A server may be down; then nothing is recovered either.
            if let Ok(standings) = ledger.standings().await {
                let counted: Vec<i64> = standings.iter().map(|standing| standing.next_offset).collect();
                self.locked().close(&counted);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&mut self, counted: &[i64]) {
        let seen = &mut self.seen;
        self.open.retain(|open| {
            let Some(ends) = &open.ends else { return true };
            let reached = ends.len() <= counted.len() && ends.iter().zip(counted).all(|(end, at)| at >= end);
            if reached {
                let one = seen.entry(open.fault.clone()).or_default();
                one.recovery_max = one.recovery_max.max(open.at.elapsed());
            }
            !reached
        });
    }
}
