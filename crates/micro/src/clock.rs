//! Processor time of this thread, so that other work on the machine counts little; and the one
//! function that all measured work goes through, by whose name instructions are counted.

/// Nanoseconds of processor time that measured work has taken so far.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    nanoseconds: f64,
}

impl Stopwatch {
    /// Does the work and adds what it took.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = now();
        let done = measured(work);
        self.nanoseconds += now() - began;
        done
    }

    /// All of it.
    pub(crate) fn nanoseconds(&self) -> f64 {
        self.nanoseconds
    }
}

/// `make bench-instructions` counts what happens inside of this function and nothing else.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    // Whatever was worked out counts as used, so that no part of it is left out.
    std::hint::black_box(work())
}

fn now() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this function's own, which the call only writes.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    // Both stay far below 2^32: a thread does not run for a hundred years.
    let whole = u32::try_from(time.tv_sec).unwrap_or(u32::MAX);
    let rest = u32::try_from(time.tv_nsec).unwrap_or(u32::MAX);
    f64::from(whole) * 1e9 + f64::from(rest)
}
