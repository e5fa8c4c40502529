//! Starts the development server as a process of its own for a test, on a free port and a
//! temporary folder. Needs the library that `make setup` fetches.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use clickhouse::{Client, Compression};
use tempfile::TempDir;

/// A running server and its data folder.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    folder: TempDir,
}

/// A whole answer to a request written by hand.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_on(tempfile::tempdir().expect("a folder"))
    }

    fn start_on(folder: TempDir) -> Self {
        let library = library();
        assert!(library.is_file(), "{} is missing: run `make setup`", library.display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--library")
            .arg(library)
            .args(["--listen", "127.0.0.1:0"])
            .args(["--readonly-user", "grafana", "--readonly-user", "auditor:secret"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let address = loop {
            let line = lines.next().expect("the server says its address").expect("a line");
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split(' ').next().expect("an address").to_owned();
            }
        };
        // Its log must be read on, or it would stop when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, folder }
    }

    pub(crate) fn client(&self) -> Client {
        Client::default().with_url(format!("http://{}", self.address)).with_compression(Compression::None)
    }

    /// Ends the server by the signal and starts it again on the same data.
    pub(crate) fn restart_after(mut self, signal: libc::c_int) -> (ExitStatus, Self) {
        let status = self.end(signal);
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        (status, Self::start_on(folder))
    }

    pub(crate) fn end(&mut self, signal: libc::c_int) -> ExitStatus {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid");
        // SAFETY: kill takes two numbers.
        unsafe { libc::kill(pid, signal) };
        self.child.wait().expect("it ends")
    }

    /// Sends the bytes and reads until the server closes the connection.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.write_all(request).expect("sends");
        read_all(stream)
    }

    /// Sends the bytes, then ends the connection as a client that dies does. What the server
    /// answers, if anything, tells that it has seen the end.
    pub(crate) fn cut_off(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.write_all(request).expect("sends");
        stream.shutdown(std::net::Shutdown::Write).expect("shuts down");
        read_all(stream)
    }

    /// One request in HTTP/1.0 with whatever headers.
    pub(crate) fn http(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.0\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        let answer = self.raw(&[head.as_bytes(), body].concat());
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// A statement as the body of a POST.
    pub(crate) fn post(&self, sql: &str) -> Answer {
        self.http("POST", "/", "", sql.as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A server that gives up on a broken request may reset the connection.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn library() -> PathBuf {
    let components = match std::env::var_os("WEIR_COMPONENTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.weir/components"),
    };
    components.join("clickhouse/libchdb.so")
}
