//! A webhook receiver: keeps each message whose signature holds, answers 204. Of HTTP it
//! speaks only what a POST with a Content-Length needs.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Signs what is sent here.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message: `webhook-id` and body.
pub(crate) type Message = (String, Value);

pub(crate) struct Receiver {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Message>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let message = take(stream).await;
                kept.lock().unwrap().push(message);
            }
        });
        Self { url, received }
    }

    pub(crate) fn received(&self) -> Vec<Message> {
        self.received.lock().unwrap().clone()
    }
}

async fn take(stream: TcpStream) -> Message {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| &headers.iter().find(|(header, _)| header == name).expect(name).1;
    let mut body = vec![0; header("content-length").parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let id = header("webhook-id");
    let sent_at = header("webhook-timestamp").parse().unwrap();
    let signature = Webhook::new(SECRET).unwrap().sign(id, sent_at, &body).unwrap();
    assert_eq!(header("webhook-signature"), &signature);
    stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
    (id.clone(), serde_json::from_slice(&body).unwrap())
}
