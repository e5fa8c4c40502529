//! The servers really start, survive what is done to them and keep their data. Needs what
//! `make setup` fetches and `cargo build -p clickhouse-embedded` builds.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use local_stack::{Component, Error, Kind, Ports, Stack, StackConfig, detached, scratch};

fn start() -> Stack {
    scratch().unwrap_or_else(|error| panic!("{error}"))
}

/// A statement to ClickHouse by hand, so that this crate needs no client.
fn clickhouse(stack: &Stack, sql: &str) -> String {
    let url = stack.clickhouse_url();
    let address = url.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).expect("connects");
    let length = sql.len();
    write!(stream, "POST / HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{sql}")
        .expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{answer}");
    body.trim().to_owned()
}

/// A statement to PostgreSQL by hand; the values of its rows.
fn postgres(stack: &Stack, sql: &str) -> String {
    let url = stack.postgres_url();
    let address = url.strip_prefix("postgres://weir@").and_then(|rest| rest.strip_suffix("/weir"));
    let mut stream = TcpStream::connect(address.expect("the usual URL")).expect("connects");
    let startup = b"\0\x03\0\0user\0weir\0database\0weir\0\0";
    let query = [sql.as_bytes(), b"\0"].concat();
    for (kind, body) in [(&b""[..], &startup[..]), (b"Q", &query), (b"X", b"")] {
        let length = u32::try_from(body.len() + 4).expect("short").to_be_bytes();
        stream.write_all(&[kind, &length, body].concat()).expect("sends");
    }
    let mut values = String::new();
    let mut head = [0; 5];
    while stream.read_exact(&mut head).is_ok() {
        let [kind, length @ ..] = head;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("fits") - 4];
        stream.read_exact(&mut body).expect("a whole message");
        match kind {
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            // One column: its number of columns and its length come first.
            b'D' => values.push_str(&String::from_utf8_lossy(&body[6..])),
            _ => {}
        }
    }
    values
}

/// A request to Kafka by hand; the whole answer.
fn kafka(stack: &Stack, key: u16, version: u16, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(stack.kafka_bootstrap()).expect("connects");
    let head = [&key.to_be_bytes()[..], &version.to_be_bytes(), b"\0\0\0\x01\0\x04test"].concat();
    let length = u32::try_from(head.len() + body.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length, &head[..], body].concat()).expect("sends");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("answers");
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("fits")];
    stream.read_exact(&mut answer).expect("a whole answer");
    answer
}

/// CreateTopics v2: one topic `kept` with one partition and one copy, within 10 s.
fn create_topic(stack: &Stack) {
    let body = b"\0\0\0\x01\0\x04kept\0\0\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0\x27\x10\0";
    let answer = kafka(stack, 19, 2, body);
    let (_, result) = answer.split_at(4 + 4 + 4 + 2 + 4);
    assert_eq!(result[..2], [0, 0], "{}", String::from_utf8_lossy(&answer));
}

/// Metadata v1 of all topics, as text.
fn topics(stack: &Stack) -> String {
    String::from_utf8_lossy(&kafka(stack, 3, 1, &[255; 4])).into_owned()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in 30 s");
        std::thread::yield_now();
    }
}

#[test]
fn each_server_survives_kill_and_restart_with_its_data() {
    let stack = start();
    clickhouse(&stack, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a");
    clickhouse(&stack, "INSERT INTO t VALUES (7)");
    assert_eq!(postgres(&stack, "CREATE TABLE t (a text); INSERT INTO t VALUES ('kept')"), "");
    create_topic(&stack);
    assert!(topics(&stack).contains("kept"));
    for component in stack.components() {
        let first = component.pid().expect("it runs");
        component.kill().expect("killed");
        assert_eq!(component.pid(), None);
        component.probe().expect_err("nothing answers after a kill");
        component.restart().unwrap_or_else(|error| panic!("{error}"));
        let second = component.pid().expect("it runs again");
        assert_ne!(first, second);
        component.restart().unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(component.pid(), Some(second));
    }
    assert_eq!(clickhouse(&stack, "SELECT a FROM t"), "7");
    assert_eq!(postgres(&stack, "SELECT a FROM t"), "kept");
    assert!(topics(&stack).contains("kept"));
    stack.stop().expect("stopped");
}

#[test]
fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let stack = start();
    for component in stack.components() {
        component.freeze().expect("frozen");
        component.probe().expect_err("a frozen server does not answer");
        component.thaw().expect("thawed");
        component.wait_ready().unwrap_or_else(|error| panic!("{error}"));
    }
    // A frozen server can still be stopped.
    stack.clickhouse().freeze().expect("frozen");
    stack.clickhouse().stop().expect("stopped");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = Ports::free().expect("ports");
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.kafka)).expect("the port is free");
    let config =
        StackConfig { state: folder.path().to_owned(), ports, ..StackConfig::defaults().expect("ports") };
    let error = detached::up(&config).expect_err("the port is taken");
    let text = error.to_string();
    assert!(
        matches!(error, Error::PortInUse { component: Kind::Kafka, port, .. } if port == ports.kafka),
        "{text}"
    );
    assert!(text.contains("Kafka") && text.contains("WEIR_STACK__KAFKA_PORT"), "{text}");
}

#[test]
fn a_detached_stack_is_found_again_and_stopped() {
    // PostgreSQL, not being root, must be able to pass the folder; this one it cannot pass.
    let folder = tempfile::tempdir().expect("a folder");
    let config = StackConfig {
        state: folder.path().to_owned(),
        ports: Ports::free().expect("ports"),
        ..StackConfig::defaults().expect("ports")
    };
    let up = detached::up(&config).unwrap_or_else(|error| panic!("{error}"));
    assert!(up.iter().all(|one| one.problem.is_none() && one.pid.is_some()), "{up:?}");
    let again = detached::up(&config).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        up.iter().map(|one| one.pid).collect::<Vec<_>>(),
        again.iter().map(|one| one.pid).collect::<Vec<_>>(),
        "a second `up` starts nothing"
    );
    assert_eq!(detached::down(&config).expect("stopped"), Kind::ALL);
    assert!(detached::status(&config).iter().all(|one| one.problem.is_some()));
    assert_eq!(detached::down(&config).expect("nothing to do"), []);
    remove_stand_in(&config);
}

/// PostgreSQL's data may be outside of the state folder; then a note there says where.
fn remove_stand_in(config: &StackConfig) {
    if let Ok(path) = std::fs::read_to_string(config.state.join("postgres.stands-in")) {
        std::fs::remove_dir_all(path).expect("removed");
    }
}

/// Run by the next test in a process of its own: starts a stack and dies without any clean-up.
#[test]
fn helper_that_dies_with_its_stack() {
    let Ok(report) = std::env::var("LOCAL_STACK_TEST_REPORT") else { return };
    let stack = start();
    let pids: Vec<_> = stack.components().iter().filter_map(Component::pid).collect();
    std::fs::write(report, format!("{pids:?}")).expect("reported");
    std::process::abort();
}

#[test]
fn servers_end_with_the_process_that_started_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("pids");
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "helper_that_dies_with_its_stack"])
        .env("LOCAL_STACK_TEST_REPORT", &report)
        .output()
        .expect("the helper runs")
        .status;
    assert!(!status.success(), "the helper aborts");
    let text = std::fs::read_to_string(report).expect("the helper reported");
    let pids: Vec<u32> =
        text.trim_matches(['[', ']']).split(", ").map(|pid| pid.parse().expect("a pid")).collect();
    assert_eq!(pids.len(), 3);
    wait_until("the end of all servers", || {
        pids.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        })
    });
}

#[test]
fn servers_of_the_users_own_are_used_and_left_alone() {
    let stack = start();
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_local-stack"))
        .arg("up")
        .current_dir(folder.path())
        .env("WEIR_KAFKA__BOOTSTRAP_SERVERS", stack.kafka_bootstrap())
        .env("WEIR_POSTGRES__URL", stack.postgres_url())
        .env("WEIR_CLICKHOUSE__URL", stack.clickhouse_url())
        .output()
        .expect("local-stack runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(" yours ").count(), 3, "{text}");
    assert_eq!(text.matches(" ready ").count(), 3, "{text}");
}

#[test]
fn a_server_that_ends_at_once_shows_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("clickhouse");
    std::fs::create_dir(&data).expect("created");
    std::fs::write(data.join("embedded"), "a file where the data folder should be").expect("written");
    let ports = Ports::free().expect("ports");
    let config =
        StackConfig { state: folder.path().to_owned(), ports, ..StackConfig::defaults().expect("ports") };
    let error = Stack::start(&config).expect_err("ClickHouse cannot start");
    let text = error.to_string();
    assert!(matches!(error, Error::Ended { component: Kind::ClickHouse, .. }), "{text}");
    assert!(text.contains("data folder"), "{text}");
    remove_stand_in(&config);
}
