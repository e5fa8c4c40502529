//! A webhook receiver: keeps each request whose signature holds, answers 204. Nothing else of
//! HTTP is spoken here than a POST with a Content-Length.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body, as its bytes.
    pub body: Vec<u8>,
}

impl Received {
    /// Checks the signature as Standard Webhooks 1.0 say, and reads the body.
    pub fn verified(&self, secret: &str) -> Result<Value> {
        let webhook = standardwebhooks::Webhook::new(secret).context("read the secret")?;
        let expected = webhook
            .sign(&self.id, self.timestamp.parse().context("read webhook-timestamp")?, &self.body)
            .context("sign the body")?;
        let signed = self.signature.split(' ').any(|one| one == expected);
        anyhow::ensure!(signed, "the signature {} is not {expected}", self.signature);
        serde_json::from_slice(&self.body).context("read the body")
    }
}

/// A listener on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Begins to listen.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for webhooks")?;
        let url = format!("http://{}/hook", listener.local_addr().context("listen for webhooks")?);
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    // A request that cannot be read is not kept, which the test will notice.
                    if let Ok(request) = answer(stream).await {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                    }
                });
            }
        });
        Ok(Self { url, received, task })
    }

    /// Where to send to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream) -> Result<Received> {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.context("read a header")?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let header = |name: &str| {
        let found = headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone()).with_context(|| format!("the header {name} is missing"))
    };
    let mut body = vec![0; header("content-length")?.parse().context("read content-length")?];
    stream.read_exact(&mut body).await.context("read the body")?;
    let received = Received {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signature: header("webhook-signature")?,
        body,
    };
    let words = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(words).await.context("answer")?;
    Ok(received)
}
