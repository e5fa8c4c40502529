//! A server that speaks S3's protocol (moto), for what is kept in an object store.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::python;
use crate::wait;
use crate::weir::free_port;

/// A bucket of a running server; both go when it is dropped.
#[derive(Debug)]
pub struct Bucket {
    server: Child,
    endpoint: String,
}

const NAME: &str = "journal";

impl Bucket {
    /// Starts a server, and makes a bucket.
    pub async fn start() -> Result<Self> {
        let port = free_port()?.to_string();
        let packages = &["moto[s3,server]==5.2.5"];
        let mut command = tokio::task::block_in_place(|| python::program("moto_server", packages))?;
        command.args(["-H", "127.0.0.1", "-p", &port]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().context("start moto_server")?;
        let bucket = Self { server, endpoint: format!("http://127.0.0.1:{port}") };
        let http = reqwest::Client::new();
        wait::until("the object store to make a bucket", wait::PATIENCE, || async {
            let answer = http.put(format!("{}/{NAME}", bucket.endpoint)).send().await?;
            ensure!(answer.status().is_success(), "it answers {}", answer.status());
            Ok(Some(()))
        })
        .await?;
        Ok(bucket)
    }

    /// The URL of a folder in it.
    pub fn url(&self, folder: &str) -> String {
        format!("s3://{NAME}/{folder}")
    }

    /// The settings that reach it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("aws_endpoint", self.endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "anybody"),
            ("aws_secret_access_key", "anything"),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}
