//! Runs a command against a real API on a scratch stack, for clients in other languages:
//! `cargo run -p weir-api --example with_server -- python3 crates/api/tests/openmeter_client.py`.
//! The command finds WEIR_ENDPOINT, WEIR_KEY and WEIR_TENANT in its environment; its exit
//! code is this program's. Afterwards it says how many of the tenant's events are in the journal.

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the tests")]
#[path = "../tests/http/support.rs"]
mod support;

use std::process::{Command, exit};

const TENANT: &str = "client";

fn main() {
    let mut words = std::env::args().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with_server <command> [arguments]");
        exit(2);
    };
    let arguments: Vec<_> = words.collect();
    support::in_house(|house| async move {
        house.tenant(TENANT).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = tokio_util::sync::CancellationToken::new();
        let serving = tokio::spawn(weir_api::serve(listener, house.router.clone(), stop.clone()));
        let run = move || {
            let mut command = Command::new(program);
            command.args(arguments).env("WEIR_ENDPOINT", endpoint).env("WEIR_TENANT", TENANT);
            command.env("WEIR_KEY", &house.key).status().expect("the command starts")
        };
        let status = tokio::task::spawn_blocking(run).await.expect("no panic");
        stop.cancel();
        serving.await.expect("no panic").expect("ends well");
        println!("{} events of the tenant are in the journal", house.records_of(TENANT).len());
        exit(status.code().unwrap_or(1));
    });
}
