//! What something was measured on: cores, memory, kernel, and how busy the machine was with other
//! things when the bench began.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine at a moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Linux's version.
    pub kernel: String,
    /// Processes that wanted a core, on average over a minute.
    pub load: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let after = |text: String, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).trim().to_owned()
        };
        let memory_kib = after(read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<u64>();
        Self {
            processor: after(read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.unwrap_or(0) / 1_048_576,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}
