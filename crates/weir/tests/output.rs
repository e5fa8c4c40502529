//! What becomes of a command whose output nobody takes.

use std::fs::File;
use std::process::{Command, Stdio};

fn openapi() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("openapi").env_clear().stderr(Stdio::piped());
    command
}

/// The document is larger than a pipe, so it cannot be written before the pipe is closed.
#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let mut child = openapi().stdout(Stdio::piped()).spawn().expect("weir starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("weir ends");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(141));
}

#[test]
fn a_full_disk_is_told() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has /dev/full");
    let ended = openapi().stdout(full).output().expect("weir ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.starts_with("weir: write to stdout: No space left on device"), "{said}");
    assert_eq!(ended.status.code(), Some(1));
}
