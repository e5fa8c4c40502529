//! What curl and Grafana need of a server: forms of requests, statuses, users, and that a request
//! which is cut off changes nothing.

use crate::support::Server;

fn with_table() -> Server {
    let server = Server::start();
    let created = server.post("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a");
    assert_eq!(created.status, 200, "{}", created.body);
    server
}

fn rows(server: &Server) -> String {
    server.post("SELECT * FROM t ORDER BY ALL FORMAT JSONCompactEachRow").body.trim().to_owned()
}

#[test]
fn health_is_told_without_a_query() {
    let server = Server::start();
    for path in ["/ping", "/"] {
        let answer = server.http("GET", path, "", b"");
        assert_eq!((answer.status, answer.body.as_str()), (200, "Ok.\n"), "{path}");
    }
    assert_eq!(server.http("GET", "/nowhere", "", b"").status, 404);
}

#[test]
fn inserts_come_in_every_form() {
    let server = with_table();
    for (target, body, expected) in [
        ("/", &b"INSERT INTO t VALUES (1, 'x'), (2, concat('a', 'b'));"[..], r#"[1, "x"] [2, "ab"]"#),
        ("/", b"INSERT INTO t FORMAT JSONEachRow\n{\"a\":3}\n\n{\"a\":4}\n", r#"[3, ""] [4, ""]"#),
        ("/?query=INSERT+INTO+t+(b,a)+FORMAT+CSV", b"q,5\n", r#"[5, "q"]"#),
        ("/?query=INSERT+INTO+t+VALUES", b"(6, 'v')", r#"[6, "v"]"#),
        ("/?query=INSERT+INTO+t+FORMAT+RowBinary", b"\x07\0\0\0\x05\n\n\0\r\n", r#"[7, "\n\n\u0000\r\n"]"#),
        ("/", b"INSERT INTO t FORMAT RowBinary\n\x0a\0\0\0\x02\xff\n", "[10, \"\u{fffd}\\n\"]"),
        ("/?query=INSERT+INTO+t&default_format=TSV", b"8\tz\n", r#"[8, "z"]"#),
        ("/", b"INSERT INTO t SELECT 9, 's'", r#"[9, "s"]"#),
        ("/?query=INSERT+INTO+t+FORMAT+RowBinary", b"", ""),
    ] {
        server.post("TRUNCATE TABLE t");
        let answer = server.http("POST", target, "", body);
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        assert_eq!(rows(&server).replace('\n', " "), expected, "{target}");
    }
}

#[test]
fn native_blocks_go_in_as_they_came_out() {
    let server = with_table();
    server.post("INSERT INTO t VALUES (1, 'x')");
    let copied = server.post("CREATE TABLE u AS t");
    assert_eq!(copied.status, 200);
    // A block of one row with the columns a and b.
    let block = b"\x02\x01\x01a\x06UInt32\x2a\0\0\0\x01b\x06String\x03\n\n\0";
    let answer = server.http("POST", "/?query=INSERT+INTO+u+FORMAT+Native", "", block);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(server.post("SELECT a, hex(b) FROM u").body, "42\t0A0A00\n");
}

#[test]
fn an_insert_that_is_cut_off_inserts_nothing() {
    let server = with_table();
    let target = "POST /?query=INSERT+INTO+t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let short = format!("{target}Content-Length: 100\r\n\r\n1,a\n2,b\n");
    let chunked = format!("{target}Transfer-Encoding: chunked\r\n\r\n8\r\n1,a\n2,b\n\r\n");
    for request in [short, chunked.clone()] {
        let answer = server.cut_off(request.as_bytes());
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(rows(&server), "");
    }
    let answer = server.raw(format!("{chunked}0\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(rows(&server), "[1, \"a\"]\n[2, \"b\"]");
}

#[test]
fn a_bad_row_refuses_the_whole_insert() {
    let server = with_table();
    let answer = server.http("POST", "/?query=INSERT+INTO+t+FORMAT+CSV", "", b"1,a\n2,b\nnot a number,c\n");
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("Code: 27. DB::Exception:"), "{}", answer.body);
    assert!(answer.head.contains("x-clickhouse-exception-code: 27"), "{}", answer.head);
    assert_eq!(rows(&server), "");
}

#[test]
fn merges_stand_back_behind_inserts() {
    let nice = "SELECT value FROM system.server_settings WHERE name = 'os_threads_nice_value_merge_mutate'";
    assert_eq!(Server::start().post(nice).body, "10\n");
}

#[test]
fn queries_take_formats_databases_and_parameters() {
    let server = Server::start();
    for (target, body, expected) in [
        ("/?query=SELECT+1", "", "1\n"),
        ("/?query=SELECT+1&default_format=CSV", " , 'x'", "1,\"x\"\n"),
        ("/?query=SELECT+1+FORMAT+JSONEachRow&default_format=CSV", "", "{\"1\":1}\n"),
        ("/?database=system&query=SELECT+count()%3E0+FROM+one", "", "1\n"),
        ("/?param_a=5", "SELECT {a:UInt8} + 1", "6\n"),
        ("/?max_threads=3&query=SELECT+getSetting('max_threads')", "", "3\n"),
        ("/?session_id=x&query_id=y&wait_end_of_query=1", "SELECT 1", "1\n"),
        ("/", "EXPLAIN SYNTAX SELECT 1", "SELECT 1\nFROM system.one\n"),
    ] {
        let answer = server.http("POST", target, "", body.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{target} {body}");
    }
    let json = server.http("GET", "/?query=SELECT+1+AS+a+FORMAT+JSON", "", b"");
    assert!(json.head.contains("content-type: application/json"), "{}", json.head);
    assert!(json.body.contains("\"rows\": 1"), "{}", json.body);
}

#[test]
fn what_cannot_run_is_refused_with_a_status_and_a_code() {
    let server = with_table();
    for (method, target, body, status, code) in [
        ("POST", "/", "", 400, 62),
        ("POST", "/", "SELECT 1; SELECT 2", 400, 62),
        ("POST", "/", "nonsense", 400, 62),
        ("POST", "/", "SELECT * FROM nowhere", 404, 60),
        ("POST", "/?database=nowhere", "SELECT 1", 404, 81),
        ("POST", "/?no_such_setting=1", "SELECT 1", 400, 115),
        ("POST", "/?user=nobody", "SELECT 1", 403, 516),
        ("POST", "/", "SELECT 1 INTO OUTFILE '/tmp/x'", 501, 48),
        ("POST", "/?decompress=1&query=INSERT+INTO+t+FORMAT+CSV", "", 501, 48),
        ("GET", "/?query=DROP+TABLE+t", "", 403, 164),
        ("GET", "/?query=INSERT+INTO+t+VALUES+(1,'x')", "", 403, 164),
    ] {
        let answer = server.http(method, target, "", body.as_bytes());
        let text = format!("{method} {target} {body}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status, status, "{text}");
        assert!(answer.body.starts_with(&format!("Code: {code}. DB::Exception:")), "{text}");
        assert!(answer.head.contains(&format!("x-clickhouse-exception-code: {code}")), "{text}");
    }
    assert_eq!(rows(&server), "");
}

#[test]
fn a_readonly_user_only_reads() {
    let server = with_table();
    server.post("INSERT INTO t VALUES (1, 'x')");
    let user = "X-ClickHouse-User: grafana\r\n";
    for (sql, answered) in [
        ("SELECT a FROM t", true),
        ("SHOW TABLES", true),
        ("DESCRIBE TABLE t", true),
        ("EXISTS TABLE t", true),
        ("EXPLAIN SELECT 1", true),
        ("WITH 1 AS x SELECT x", true),
        ("INSERT INTO t VALUES (2, 'y')", false),
        ("INSERT INTO t SELECT 2, 'y'", false),
        ("DROP TABLE t", false),
        ("TRUNCATE TABLE t", false),
        ("ALTER TABLE t DELETE WHERE 1", false),
        ("CREATE TABLE v (a UInt8) ENGINE = Memory", false),
        ("CREATE DATABASE v", false),
        ("OPTIMIZE TABLE t FINAL", false),
        ("SET readonly = 0", false),
        ("SYSTEM SHUTDOWN", false),
        ("SELECT * FROM file('/etc/hostname', 'LineAsString')", false),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", false),
        ("SELECT a FROM t SETTINGS readonly = 0", false),
    ] {
        let answer = server.http("POST", "/", user, sql.as_bytes());
        let text = format!("{sql}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status, if answered { 200 } else { 403 }, "{text}");
        let refused = ["Code: 164.", "Code: 497."].iter().any(|code| answer.body.starts_with(code));
        assert_eq!(refused, !answered, "{text}");
    }
    let raised = server.http("POST", "/?readonly=0", user, b"DROP TABLE t");
    assert_eq!(raised.status, 403, "{}", raised.body);
    assert_eq!(rows(&server), "[1, \"x\"]");
}

#[test]
fn users_are_named_in_the_url_by_headers_and_by_basic_auth() {
    let server = Server::start();
    let sql = b"SELECT getSetting('readonly')";
    for (target, headers, expected) in [
        ("/", "", Some("0\n")),
        ("/?user=default", "", Some("0\n")),
        ("/?user=auditor&password=secret", "", Some("1\n")),
        ("/?user=auditor&password=wrong", "", None),
        ("/?user=auditor", "", None),
        ("/", "X-ClickHouse-User: auditor\r\nX-ClickHouse-Key: secret\r\n", Some("1\n")),
        ("/", "X-ClickHouse-User: auditor\r\nX-ClickHouse-Key: wrong\r\n", None),
        // auditor:secret and auditor:wrong
        ("/", "Authorization: Basic YXVkaXRvcjpzZWNyZXQ=\r\n", Some("1\n")),
        ("/", "Authorization: Basic YXVkaXRvcjp3cm9uZw==\r\n", None),
    ] {
        let answer = server.http("POST", target, headers, sql);
        match expected {
            Some(readonly) => assert_eq!(answer.body, readonly, "{target} {headers}"),
            None => assert_eq!(answer.status, 403, "{target} {headers}"),
        }
    }
}
