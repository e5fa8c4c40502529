//! Seeds: many go well, each plays the same again, one that goes wrong says how to see it,
//! and every deliberate mistake is found.

use std::collections::BTreeSet;
use std::process::Command;

use weir_simulator::{MUTATIONS, Mutation, MutationCase, Options, Seeds, play_guarded, test_seeds, threads};

#[test]
fn ten_thousand_seeds_go_well() {
    let seeds = Seeds { from: 1, count: 10_000, mutation: None, threads: threads(), wrong_max: 3 };
    let tested = test_seeds(&seeds);
    let told: Vec<String> = tested
        .wrong
        .iter()
        .map(|(seed, words)| {
            let options = Options { seed: *seed, ..Options::default() };
            format!("seed {seed} goes wrong: {words}\n  {}", options.command())
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert_eq!(tested.played, seeds.count);
    assert!(tested.faults > 10 * seeds.count, "only {} faults: is anything broken at all?", tested.faults);
}

#[test]
fn every_deliberate_mistake_is_found() {
    for MutationCase { mutation, name, words, seeds_max } in MUTATIONS {
        let seeds =
            Seeds { from: 1, count: *seeds_max, mutation: Some(*mutation), threads: threads(), wrong_max: 1 };
        let tested = test_seeds(&seeds);
        assert!(
            !tested.wrong.is_empty(),
            "nobody notices in {seeds_max} seeds when {words}; see for yourself: \
             cargo run --bin simulate -- --seeds {seeds_max} --mutation {name}"
        );
    }
}

#[test]
fn mistakes_have_names_of_their_own() {
    let names: BTreeSet<&str> = MUTATIONS.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), MUTATIONS.len());
}

#[test]
fn a_seed_plays_the_same_twice_told_or_not() {
    for seed in 1..=60 {
        let untold = Options { seed, ..Options::default() };
        let told = Options { told: true, ..untold.clone() };
        let (one, two, three) = (play_guarded(&untold), play_guarded(&told), play_guarded(&told));
        let hashes = [&one, &two, &three].map(|played| (played.trace.hash(), played.steps));
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "seed {seed}: {hashes:?}");
        assert_eq!(one.faults, two.faults, "seed {seed}");
        assert_eq!(two.trace.lines(), three.trace.lines(), "seed {seed}");
    }
}

/// A seed that goes wrong is printed with a command; it shows every step, and goes wrong again.
#[test]
fn a_seed_that_goes_wrong_prints_the_command_that_shows_it() {
    let mistake = Some(Mutation::ThresholdAtBatchEnd);
    let seeds = Seeds { from: 1, count: 200, mutation: mistake, threads: 1, wrong_max: 1 };
    let seed = test_seeds(&seeds).wrong[0].0.to_string();
    let (well, told) = simulate(&["--seeds", "1", "--from", &seed, "--mutation", "threshold-at-batch-end"]);
    assert!(!well, "{told}");
    let commands: Vec<&str> =
        told.lines().filter_map(|line| line.trim().strip_prefix("cargo run --bin simulate -- ")).collect();
    assert_eq!(commands.len(), 2, "the whole seed, and what is left of it when it was cut short: {told}");
    let lengths: Vec<usize> = commands
        .iter()
        .map(|command| {
            let (well, told) = simulate(&command.split(' ').collect::<Vec<_>>());
            assert!(!well && told.contains(&format!("seed {seed} goes wrong: alerts: ")), "{told}");
            told.lines().count()
        })
        .collect();
    assert!(lengths[1] < lengths[0], "{lengths:?} lines");
}

fn simulate(arguments: &[&str]) -> (bool, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap();
    (ended.status.success(), String::from_utf8(ended.stdout).unwrap())
}
