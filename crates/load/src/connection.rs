//! One HTTP/1.1 connection that is kept open and carries one request at a time, from a thread that
//! waits. It is for measuring: what a client library does beside would be measured too. It knows
//! no TLS and no redirects.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any answer that is worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest line of a head.
const LINE_BYTES_MAX: u64 = 16_384;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

/// The bytes of a request, ready to be sent as often as one likes.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A request to `host`, with further headers.
    pub fn new(method: &str, host: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        Self(text.into_bytes())
    }
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::with_capacity(65_536, stream), body: Vec::new() })
    }

    /// Sends a request and waits for its answer: status and body.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no answer; the connection is of no use then.
    pub fn ask(&mut self, request: &Request) -> Result<(u16, &[u8])> {
        self.stream.get_mut().write_all(&request.0)?;
        let status = status(&line(&mut self.stream)?)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let header = line(&mut self.stream)?.to_ascii_lowercase();
            match header.split_once(':') {
                None if header.is_empty() => break,
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| odd(&header))?,
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
        self.body.clear();
        if chunked {
            self.read_chunks()?;
        } else {
            self.read_body(length)?;
        }
        Ok((status, &self.body))
    }

    fn read_body(&mut self, length: u64) -> Result<()> {
        let read = (&mut self.stream).take(length).read_to_end(&mut self.body)?;
        if u64::try_from(read).ok() == Some(length) { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn read_chunks(&mut self) -> Result<()> {
        loop {
            let head = line(&mut self.stream)?;
            let size = head.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| odd(&head))?;
            self.read_body(size)?;
            line(&mut self.stream)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn status(line: &str) -> Result<u16> {
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| odd(line))
}

fn odd(line: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each request with the next of these texts.
    fn answering(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            for answer in answers {
                while !line(&mut stream).unwrap().is_empty() {}
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn answers_follow_one_another_on_one_connection() {
        let address = answering(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1;x=y\r\no\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
        ]);
        let mut connection = Connection::open(&address).unwrap();
        let request = Request::new("GET", &address, "/", &[], "");
        assert_eq!(connection.ask(&request).unwrap(), (200, b"one".as_slice()));
        assert_eq!(connection.ask(&request).unwrap(), (204, b"".as_slice()));
        assert_eq!(connection.ask(&request).unwrap(), (200, b"two".as_slice()));
        assert!(connection.ask(&request).is_err());
    }
}
