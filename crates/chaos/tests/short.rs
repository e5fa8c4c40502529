//! A short run of the whole: one round with every kind of fault.

use std::process::Command;

#[test]
fn a_round_with_every_kind_of_fault_holds() {
    let seed = std::env::var("WEIR_SEED").unwrap_or_else(|_| std::process::id().to_string());
    let run =
        ["run", "--rounds", "1", "--seconds", "25", "--every-ms", "700", "--thin", "3", "--seed", &seed];
    let said = Command::new(env!("CARGO_BIN_EXE_weir-chaos")).args(run).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&said.stdout), text(&said.stderr));
    println!("{out}");
    assert!(said.status.success(), "WEIR_SEED={seed}\n{out}\n{err}");
}
