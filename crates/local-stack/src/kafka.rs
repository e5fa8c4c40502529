//! How one Kafka node is configured, started and asked whether it is ready. The readiness probe
//! speaks Kafka's protocol itself, because the Java tools take seconds to start.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::component::Component;
use crate::config::StackConfig;
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::process;

/// Any 22 characters of base64 serve; a fixed one lets a stack find its data again.
const CLUSTER_ID: &str = "d2Vpci1sb2NhbC1zdGFjaw";
/// Enough for millions of events a minute; measured 420 MB resident.
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx256m"];
const PROPERTIES: &str = include_str!("../../../deploy/local/kafka/server.properties");

/// The command that serves; formats the data folder first when it is new.
pub(crate) fn command(config: &StackConfig) -> Result<Command> {
    let jars = config.root.join("kafka").join("libs");
    if !jars.is_dir() {
        return Err(Error::Missing { what: "Kafka", path: jars, remedy: "make setup" });
    }
    let folder = Component::folder(Kind::Kafka, &config.state);
    fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let properties = folder.join("server.properties");
    let text = PROPERTIES
        .replace("@PORT@", &config.ports.kafka.to_string())
        .replace("@CONTROLLER_PORT@", &config.ports.kafka_controller.to_string())
        .replace("@DATA@", &folder.join("data").display().to_string());
    fs::write(&properties, text).map_err(Error::io(format!("write {}", properties.display())))?;
    let formatted = folder.join("formatted");
    if !formatted.exists() {
        let mut format = java(&jars);
        format.args(["kafka.tools.StorageTool", "format", "--ignore-formatted"]);
        format.args(["-t", CLUSTER_ID, "-c"]).arg(&properties);
        process::run(&mut format, "format Kafka's data folder")?;
        fs::write(&formatted, CLUSTER_ID).map_err(Error::io("note that Kafka is formatted"))?;
    }
    let mut command = java(&jars);
    command.args(HEAP).arg("-XX:+ExitOnOutOfMemoryError").arg("kafka.Kafka").arg(&properties);
    Ok(command)
}

fn java(jars: &Path) -> Command {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) if Path::new(&home).join("bin/java").is_file() => Path::new(&home).join("bin/java"),
        _ => "java".into(),
    };
    let mut command = Command::new(program);
    command.args(["-Xshare:auto", "-XX:-UsePerfData", "-cp"]);
    command.arg(format!("{}/*", jars.display()));
    command
}

/// Succeeds when the first of the servers lists at least one broker that takes requests.
pub(crate) fn probe(bootstrap: &str) -> std::result::Result<(), String> {
    ask(bootstrap).map_err(|error| error.to_string())
}

fn ask(bootstrap: &str) -> std::io::Result<()> {
    let first = bootstrap.split(',').next().unwrap_or_default().trim();
    let address = first
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::other(format!("{first} has no address")))?;
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // ApiVersions v0, which every broker answers: correlation id, then an error code.
    let versions = request(&mut stream, 18, 0, &[])?;
    if versions.get(4..6) != Some(&[0, 0]) {
        return Err(std::io::Error::other("it refused ApiVersions"));
    }
    // Metadata v1 about no topics: correlation id, then the number of live brokers.
    let metadata = request(&mut stream, 3, 1, &[0, 0, 0, 0])?;
    match metadata.get(4..8) {
        Some([0, 0, 0, 0]) | None => Err(std::io::Error::other("no broker is registered yet")),
        Some(_) => Ok(()),
    }
}

fn request(stream: &mut TcpStream, key: i16, version: i16, body: &[u8]) -> std::io::Result<Vec<u8>> {
    const CLIENT: &[u8] = b"local-stack";
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(1_i32.to_be_bytes());
    message.extend(i16::try_from(CLIENT.len()).map_err(std::io::Error::other)?.to_be_bytes());
    message.extend(CLIENT);
    message.extend(body);
    let length = i32::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(std::io::Error::other)?;
    if length > 1024 * 1024 {
        return Err(std::io::Error::other("it does not speak Kafka's protocol"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
