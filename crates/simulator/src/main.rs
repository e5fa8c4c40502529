//! `simulate`: plays seeds and says which go wrong, with the one command that plays such a
//! seed again, decision by decision.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use weir_simulator::{
    MUTATIONS, Mutation, MutationCase, Options, Seeds, named, play_guarded, shrink, test_seeds, threads,
};

/// Plays seeds of the simulator: the engine in a world in which a seed decides what comes
/// when, what fails, who dies and what is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Tell every decision of the first seed, and play no other.
    #[arg(long)]
    steps: bool,
    /// Try out a deliberate mistake.
    #[arg(long, value_name = "NAME", value_parser = mutation)]
    mutation: Option<Mutation>,
    /// Try out all deliberate mistakes, and print the table of docs/simulation.md.
    #[arg(long)]
    mutations: bool,
    /// Play only these acts of the script, by their index.
    #[arg(long, value_delimiter = ',')]
    acts: Option<Vec<usize>>,
    /// Leave these faults out.
    #[arg(long, value_delimiter = ',')]
    spare: Vec<String>,
    /// How many threads.
    #[arg(long, default_value_t = threads())]
    threads: usize,
    /// Stop after so many seeds that go wrong.
    #[arg(long, default_value_t = 10)]
    wrong_max: usize,
}

fn mutation(name: &str) -> Result<Mutation, String> {
    let known = || MUTATIONS.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    named(name)
        .map(|case| case.mutation)
        .ok_or_else(|| format!("no mistake is called so; there are {}", known()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let right = if arguments.mutations {
        try_mutations()
    } else if arguments.steps || arguments.acts.is_some() || !arguments.spare.is_empty() {
        play_one(&arguments)
    } else {
        play_many(&arguments)
    };
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play_one(arguments: &Arguments) -> bool {
    let options = Options {
        seed: arguments.from,
        mutation: arguments.mutation,
        told: arguments.steps,
        acts: arguments.acts.clone(),
        spared: arguments.spare.iter().cloned().collect(),
    };
    let played = play_guarded(&options);
    for line in played.trace.lines() {
        println!("{line}");
    }
    println!("faults: {}", played.faults.join(" "));
    match &played.wrong {
        Some(words) => println!("seed {} goes wrong: {words}", options.seed),
        None => println!("seed {} goes well", options.seed),
    }
    played.wrong.is_none()
}

fn play_many(arguments: &Arguments) -> bool {
    let begun = Instant::now();
    let tested = test_seeds(&Seeds {
        from: arguments.from,
        count: arguments.seeds,
        mutation: arguments.mutation,
        threads: arguments.threads,
        wrong_max: arguments.wrong_max,
    });
    for (seed, words) in &tested.wrong {
        println!("seed {seed} goes wrong: {words}");
        println!(
            "  {}",
            Options { seed: *seed, mutation: arguments.mutation, ..Options::default() }.command()
        );
    }
    if let Some((seed, _)) = tested.wrong.first() {
        let options = Options { seed: *seed, mutation: arguments.mutation, ..Options::default() };
        tell_shrunk(&options);
    }
    println!(
        "{} seeds, {} decisions, {} faults, {} seeds went wrong, {:.1} s",
        tested.played,
        tested.steps,
        tested.faults,
        tested.wrong.len(),
        begun.elapsed().as_secs_f64()
    );
    tested.wrong.is_empty()
}

/// Shortens a seed that goes wrong, and prints how to play what is left of it.
fn tell_shrunk(options: &Options) {
    let Some(shrunk) = shrink(options) else { return };
    println!(
        "seed {} shrunk from {} acts and {} faults to {} and {}: {}",
        options.seed, shrunk.acts.0, shrunk.faults.0, shrunk.acts.1, shrunk.faults.1, shrunk.wrong
    );
    println!("  {}", shrunk.options.command());
}

fn try_mutations() -> bool {
    println!("| mistake | name | found by seed | within | how it shows |");
    println!("| --- | --- | --- | --- | --- |");
    let mut all = true;
    for MutationCase { mutation, name, words, seeds_max } in MUTATIONS {
        // One thread, so that the first seed is the first.
        let seeds = Seeds { from: 1, count: *seeds_max, mutation: Some(*mutation), threads: 1, wrong_max: 1 };
        let tested = test_seeds(&seeds);
        all &= !tested.wrong.is_empty();
        let (seed, how) = tested.wrong.first().map_or_else(
            || ("not found".to_owned(), String::new()),
            |(seed, how)| (seed.to_string(), how.chars().take(120).collect()),
        );
        println!("| {words} | `{name}` | {seed} | {seeds_max} | {} |", how.replace('|', "/"));
    }
    all
}
