//! What processes have used so far, read from /proc: CPU seconds, bytes written to disk, the most
//! memory. A server counts with all its children, as Postgres has one for each connection.

use std::collections::BTreeMap;
use std::fs;

/// Clock ticks in a second on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process and its children have used since they began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Bytes that went to the storage layer.
    pub written_bytes: f64,
    /// The most memory that was resident at a time.
    pub resident_bytes_max: f64,
}

impl Spent {
    /// What was used since `before`; memory is the most ever.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            written_bytes: self.written_bytes - before.written_bytes,
            resident_bytes_max: self.resident_bytes_max,
        }
    }
}

/// What a process and its children have used. A child that has ended counts as long as its
/// parent has waited for it.
pub(crate) fn by(pid: u32) -> Spent {
    let all = processes();
    of_tree(&all, pid)
}

struct Process {
    parent: u32,
    ticks: f64,
}

/// Every process by its id.
fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

fn read(pid: u32) -> Option<(u32, Process)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some((pid, Process { parent: fields.get(1)?.parse().ok()?, ticks }))
}

fn of_tree(all: &BTreeMap<u32, Process>, root: u32) -> Spent {
    let mut spent = Spent {
        cpu_seconds: all.get(&root).map_or(0.0, |process| process.ticks / TICKS_PER_SECOND),
        written_bytes: field(root, "io", "write_bytes:"),
        resident_bytes_max: field(root, "status", "VmHWM:") * 1_024.0,
    };
    for (pid, _) in all.iter().filter(|(_, process)| process.parent == root) {
        let child = of_tree(all, *pid);
        spent.cpu_seconds += child.cpu_seconds;
        spent.written_bytes += child.written_bytes;
        spent.resident_bytes_max = spent.resident_bytes_max.max(child.resident_bytes_max);
    }
    spent
}

fn field(pid: u32, file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
