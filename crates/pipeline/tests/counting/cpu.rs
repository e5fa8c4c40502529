//! CPU seconds by process, read from /proc: this one, and each server with its children.

use std::collections::BTreeMap;
use std::fs;

use local_stack::Stack;

/// Clock ticks in a second on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds so far, by name; the aggregator runs in this process.
pub(crate) fn of_house(stack: &Stack) -> Vec<(String, f64)> {
    let all = processes();
    let mut spent =
        vec![("aggregator (with this test)".to_owned(), of_tree(&all, std::process::id(), false))];
    for server in stack.components() {
        let seconds = server.pid().map_or(0.0, |pid| of_tree(&all, pid, true));
        spent.push((format!("{:?}", server.kind()), seconds));
    }
    spent
}

/// Process id to (parent, CPU seconds).
fn processes() -> BTreeMap<u32, (u32, f64)> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(read).collect()
}

fn read(pid: u32) -> Option<(u32, (u32, f64))> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    Some((pid, (number(1)?, f64::from(number(11)? + number(12)?) / TICKS_PER_SECOND)))
}

fn of_tree(all: &BTreeMap<u32, (u32, f64)>, root: u32, with_children: bool) -> f64 {
    let own = all.get(&root).map_or(0.0, |(_, seconds)| *seconds);
    let children = all.iter().filter(|(_, (parent, _))| with_children && *parent == root);
    own + children.map(|(pid, _)| of_tree(all, *pid, true)).sum::<f64>()
}
