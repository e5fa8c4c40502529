//! How PostgreSQL is initialised, started and asked whether it is ready. The probe speaks the
//! few messages of PostgreSQL's protocol that a query without a password needs.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::component::Component;
use crate::config::StackConfig;
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::process;
use crate::readable::{NOBODY, give_to_nobody, reachable, reachable_programs};

/// Connections that tests, the demo and a person's client may hold together.
const CONNECTIONS_MAX: u32 = 300;
/// The user and the database that clients are given.
const NAME: &str = "weir";
const LIMIT: Duration = Duration::from_secs(2);

/// The command that serves; creates the cluster first when it is new.
pub(crate) fn command(config: &StackConfig) -> Result<Command> {
    let fetched = config.root.join("postgres");
    if !fetched.join("bin/postgres").is_file() {
        return Err(Error::Missing { what: "PostgreSQL", path: fetched, remedy: "make setup" });
    }
    let programs = reachable_programs(&fetched)?.join("bin");
    let folder = reachable(&Component::folder(Kind::Postgres, &config.state))?;
    fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    give_to_nobody(&folder)?;
    let data = folder.join("data");
    if !data.join("PG_VERSION").exists() {
        initialise(&programs, &folder, &data)?;
    }
    let mut command = unprivileged(&programs.join("postgres"), &folder);
    command.arg("-D").arg(&data);
    command.args(["-p", &config.ports.postgres.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        // Its path may be longer than a socket's may be, and nobody needs it.
        "unix_socket_directories=",
        &format!("max_connections={CONNECTIONS_MAX}"),
    ] {
        command.args(["-c", setting]);
    }
    Ok(command)
}

/// Creates the cluster beside its place and moves it there, so that a run that is cut off leaves
/// nothing half made.
fn initialise(programs: &Path, folder: &Path, data: &Path) -> Result<()> {
    let partial = folder.join("data.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::io(format!("remove {}", partial.display())))?;
    }
    let mut initdb = unprivileged(&programs.join("initdb"), folder);
    initdb.arg("-D").arg(&partial).args(["-U", NAME, "--auth=trust", "--no-sync"]);
    initdb.args(["--locale-provider=builtin", "--locale=C.UTF-8", "-E", "UTF8"]);
    process::run(&mut initdb, "create PostgreSQL's data folder")?;
    fs::rename(&partial, data).map_err(Error::io(format!("create {}", data.display())))
}

/// A command that runs as `nobody` when this process is root.
fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if process::is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Succeeds when a query is answered in the database `weir`, which is created when missing.
pub(crate) fn probe_and_create(url: &str) -> std::result::Result<(), String> {
    let address = address(url)?;
    let answer = query(&address, NAME, "SELECT 1");
    if !matches!(&answer, Err(Refusal::Server(code, _)) if code == "3D000") {
        return answer.map_err(|refusal| refusal.to_string());
    }
    match query(&address, "postgres", &format!("CREATE DATABASE {NAME}")) {
        // Somebody else created it at the same moment.
        Err(Refusal::Server(code, _)) if code == "42P04" || code == "23505" => {}
        other => other.map_err(|refusal| refusal.to_string())?,
    }
    query(&address, NAME, "SELECT 1").map_err(|refusal| refusal.to_string())
}

/// Succeeds when a server of the user's own answers whether it speaks TLS; its password is not
/// needed for that.
pub(crate) fn probe_foreign(url: &str) -> std::result::Result<(), String> {
    let ask = || -> std::io::Result<()> {
        let mut stream = connect(&address(url).map_err(std::io::Error::other)?)?;
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        if matches!(answer, [b'S' | b'N']) {
            return Ok(());
        }
        Err(std::io::Error::other("it does not speak PostgreSQL's protocol"))
    };
    ask().map_err(|error| error.to_string())
}

/// `host:port` of a URL; the port is 5432 when it names none.
fn address(url: &str) -> std::result::Result<String, String> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or_else(|| "the URL must begin with postgres://".to_owned())?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { host.to_owned() } else { format!("{host}:5432") })
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}: {1}")]
    Server(String, String),
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| std::io::Error::other("the host has no address"))?;
    let stream = TcpStream::connect_timeout(&resolved, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Runs one statement as the user `weir`, who needs no password; its rows are not read.
fn query(address: &str, database: &str, sql: &str) -> std::result::Result<(), Refusal> {
    let mut stream = connect(address)?;
    let mut startup = 196_608_i32.to_be_bytes().to_vec();
    for word in ["user", NAME, "database", database, ""] {
        startup.extend(word.as_bytes());
        startup.push(0);
    }
    send(&mut stream, None, &startup)?;
    until_ready(&mut stream)?;
    let mut text = sql.as_bytes().to_vec();
    text.push(0);
    send(&mut stream, Some(b'Q'), &text)?;
    until_ready(&mut stream)?;
    send(&mut stream, Some(b'X'), &[])?;
    Ok(())
}

fn send(stream: &mut TcpStream, kind: Option<u8>, body: &[u8]) -> std::io::Result<()> {
    let length = i32::try_from(body.len() + 4).map_err(std::io::Error::other)?;
    let mut message = Vec::from_iter(kind);
    message.extend(length.to_be_bytes());
    message.extend(body);
    stream.write_all(&message)
}

/// Reads messages until the server waits for the next statement; an error message is returned.
fn until_ready(stream: &mut TcpStream) -> std::result::Result<(), Refusal> {
    let mut refusal = None;
    loop {
        let mut head = [0; 5];
        if let Err(error) = stream.read_exact(&mut head) {
            // After a fatal error the server closes the connection.
            return Err(refusal.unwrap_or(Refusal::Io(error)));
        }
        let [kind, length @ ..] = head;
        let length = usize::try_from(i32::from_be_bytes(length) - 4).map_err(std::io::Error::other)?;
        let mut body = vec![0; length.min(64 * 1024)];
        stream.read_exact(&mut body)?;
        match kind {
            b'E' => refusal = Some(server_error(&body)),
            b'R' if body.get(..4) != Some(&[0; 4]) => {
                return Err(std::io::Error::other("it asks for a password").into());
            }
            b'Z' => return refusal.map_or(Ok(()), Err),
            _ => {}
        }
    }
}

fn server_error(body: &[u8]) -> Refusal {
    let field = |code: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&code))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
            .unwrap_or_default()
    };
    Refusal::Server(field(b'C'), field(b'M'))
}

/// Lets other users pass through a folder that was made for one user only.
pub(crate) fn make_passable(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
        .map_err(Error::io(format!("open {} for PostgreSQL", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_of_urls() {
        for (url, expected) in [
            ("postgres://weir@127.0.0.1:15432/weir", "127.0.0.1:15432"),
            ("postgresql://u:p%40@db.example/x?sslmode=require", "db.example:5432"),
            ("postgres://[::1]:5433/x", "[::1]:5433"),
        ] {
            assert_eq!(address(url).as_deref(), Ok(expected));
        }
        assert!(address("mysql://x").is_err());
    }
}
