//! How ClickHouse is started and asked whether it is ready: a `clickhouse` program on the PATH
//! when there is one, else the development server of this repository in front of ClickHouse's
//! library. Both listen on the same port and use a data folder of their own each.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::component::Component;
use crate::config::StackConfig;
use crate::error::{Error, Result};
use crate::kind::Kind;

/// A user that may only read, as dashboards need one; without a password, as on any local stack.
const READONLY_USER: &str = "grafana";
const NATIVE_CONFIG: &str = include_str!("../../../deploy/local/clickhouse/config.xml");

/// The command that serves.
pub(crate) fn command(config: &StackConfig) -> Result<Command> {
    let folder = Component::folder(Kind::ClickHouse, &config.state);
    fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    match on_path("clickhouse") {
        Some(program) => native(&program, config, &folder),
        None => embedded(config, &folder),
    }
}

fn native(program: &Path, config: &StackConfig, folder: &Path) -> Result<Command> {
    let path = folder.join("config.xml");
    let text = NATIVE_CONFIG
        .replace("@PORT@", &config.ports.clickhouse.to_string())
        .replace("@DATA@", &folder.join("native").display().to_string())
        .replace("@READONLY_USER@", READONLY_USER);
    fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
    let mut command = Command::new(program);
    command.arg("server").arg(format!("--config-file={}", path.display()));
    Ok(command)
}

fn embedded(config: &StackConfig, folder: &Path) -> Result<Command> {
    let library = config.root.join("clickhouse").join("libchdb.so");
    if !library.is_file() {
        return Err(Error::Missing { what: "ClickHouse's library", path: library, remedy: "make setup" });
    }
    let mut command = Command::new(embedded_program()?);
    command.arg("--data").arg(folder.join("embedded")).arg("--library").arg(library);
    command.args(["--listen", &format!("127.0.0.1:{}", config.ports.clickhouse)]);
    command.args(["--readonly-user", READONLY_USER]);
    Ok(command)
}

/// `clickhouse-embedded` beside this program, or above it (tests are one folder deeper).
fn embedded_program() -> Result<PathBuf> {
    const NAME: &str = "clickhouse-embedded";
    if let Some(program) = std::env::var_os("WEIR_CLICKHOUSE_EMBEDDED") {
        return Ok(program.into());
    }
    let this = std::env::current_exe().map_err(Error::io("find this program's own path"))?;
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(NAME));
    beside.clone().find(|program| program.is_file()).ok_or_else(|| Error::Missing {
        what: "the server clickhouse-embedded",
        path: beside.last().unwrap_or_default(),
        remedy: "cargo build -p clickhouse-embedded",
    })
}

/// The first program of that name in the folders of PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Succeeds when `/ping` is answered, and a query too on a server that was started here. One of
/// the user's own behind TLS is only connected to.
pub(crate) fn probe(url: &str, foreign: bool) -> std::result::Result<(), String> {
    let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("the URL must begin with http:// or https://".to_owned()),
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let default_port = if secure { 8443 } else { 8123 };
    let address = if has_port { host.to_owned() } else { format!("{host}:{default_port}") };
    let ask = || -> std::io::Result<()> {
        if secure {
            return connect(&address).map(drop);
        }
        expect(&address, "/ping", "Ok.")?;
        if foreign { Ok(()) } else { expect(&address, "/?query=SELECT%201", "1") }
    };
    ask().map_err(|error| error.to_string())
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let limit = Duration::from_secs(2);
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| std::io::Error::other("the host has no address"))?;
    let stream = TcpStream::connect_timeout(&resolved, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

fn expect(address: &str, path: &str, body: &str) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, said) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.lines().next().unwrap_or_default();
    // HTTP/1.0 asks for a plain body, but a server may still send chunks.
    if status.contains(" 200 ") && said.contains(body) {
        return Ok(());
    }
    Err(std::io::Error::other(format!("{path} was answered {status:?}: {said:.200}")))
}
