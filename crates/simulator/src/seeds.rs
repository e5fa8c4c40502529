//! Many seeds, on all processors: which of them go wrong, and how.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crate::mutation::Mutation;
use crate::play::{Options, Played, play};

/// Which seeds are played, and how.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// With which mistake.
    pub mutation: Option<Mutation>,
    /// On how many threads.
    pub threads: usize,
    /// No further seed is begun after so many wrong ones.
    pub wrong_max: usize,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Tested {
    /// How many were played.
    pub played: u64,
    /// Decisions that were made.
    pub steps: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Seeds that went wrong, and how, by rising seed.
    pub wrong: Vec<(u64, String)>,
}

/// How many threads are worth while here.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Plays a seed; a panic of the engine is wrong, too.
pub fn play_guarded(options: &Options) -> Played {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(PLAYER) {
                usual(panic);
            }
        }));
    });
    catch_unwind(AssertUnwindSafe(|| play(options))).unwrap_or_else(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Played { wrong: Some(format!("a panic: {}", words.unwrap_or_default())), ..Played::default() }
    })
}

/// The name of threads whose panics are results.
const PLAYER: &str = "player";

/// Plays seeds.
pub fn test_seeds(seeds: &Seeds) -> Tested {
    let next = AtomicU64::new(seeds.from);
    let enough = AtomicBool::new(false);
    let tested = Mutex::new(Tested::default());
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.from.saturating_add(seeds.count) {
                return;
            }
            let options = Options { seed, mutation: seeds.mutation, ..Options::default() };
            let played = play_guarded(&options);
            let mut tested = tested.lock().unwrap_or_else(PoisonError::into_inner);
            tested.played += 1;
            tested.steps += played.steps;
            tested.faults += u64::try_from(played.faults.len()).unwrap_or(0);
            if let Some(words) = played.wrong {
                tested.wrong.push((seed, words));
                enough.fetch_or(tested.wrong.len() >= seeds.wrong_max, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..seeds.threads.max(1) {
            let started = std::thread::Builder::new().name(PLAYER.to_owned()).spawn_scoped(scope, work);
            if let Err(error) = started {
                panic!("a thread cannot be started: {error}");
            }
        }
    });
    let mut tested = tested.into_inner().unwrap_or_else(PoisonError::into_inner);
    tested.wrong.sort();
    tested
}
