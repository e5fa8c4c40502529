//! The fuzzer: libFuzzer with one target, chosen by the variable `WEIR_FUZZ_TARGET`. It is
//! started by `fuzz/run.sh`. With `WEIR_FUZZ_SEEDS` set to a folder it writes the target's
//! seeds there instead, and ends.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("WEIR_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = weir_fuzz::TARGETS.into_iter().find(|target| target.name == name) else {
        let names = weir_fuzz::TARGETS.map(|target| target.name).join(" ");
        eprintln!("there is no fuzz target {name:?}; there are {names}");
        std::process::exit(2);
    };
    target
});

/// Runs before libFuzzer's main reads its arguments.
fn prepare() {
    let target = *TARGET;
    let Some(folder) = std::env::var_os("WEIR_FUZZ_SEEDS") else { return };
    for (name, bytes) in (target.seeds)() {
        let path = std::path::Path::new(&folder).join(name);
        std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    std::process::exit(0);
}

fuzz_target!(init: prepare(), |input: &[u8]| (TARGET.check)(input));
