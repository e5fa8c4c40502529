//! `simulate`: plays seeds and says which go wrong.

use clap::Parser;
use weir_simulator::{Options, named, play};

/// Plays seeds of the simulator.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Tell every decision.
    #[arg(long)]
    steps: bool,
    /// Try out a deliberate mistake.
    #[arg(long)]
    mutation: Option<String>,
}

fn main() {
    let arguments = Arguments::parse();
    let mutation = arguments.mutation.as_deref().and_then(named).map(|case| case.mutation);
    let started = std::time::Instant::now();
    let (mut steps, mut wrong) = (0, 0);
    for seed in arguments.from..arguments.from + arguments.seeds {
        let options = Options { seed, mutation, told: arguments.steps, ..Options::default() };
        let played = play(&options);
        steps += played.steps;
        for line in played.trace.lines() {
            println!("{line}");
        }
        if let Some(words) = played.wrong {
            println!("seed {seed}: {words}");
            wrong += 1;
        }
    }
    println!("{} seeds, {steps} decisions, {wrong} wrong, {:?}", arguments.seeds, started.elapsed());
}
