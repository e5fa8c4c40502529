//! Threads of their own for HTTP. Counting, folding and projecting take the processor for
//! milliseconds at a time; on shared threads an answer that is ready would wait for them. On its
//! own ones it waits at most for the machine, which lets whoever slept go first.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

/// As many threads as processors. Dropping them ends what still runs on them.
pub(super) struct HttpThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl HttpThreads {
    /// Starts them.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("http").enable_all().build();
        let runtime = runtime.context("start threads for HTTP")?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to begin what is to run on them.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Listens on `address`, which `setting` moves.
    pub(super) async fn listen(&self, setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = self.handle.spawn(TcpListener::bind(address)).await?;
        listener.with_context(|| format!("listen on {address}; move it with {setting}"))
    }
}

impl Drop for HttpThreads {
    /// Waits for nothing: whoever drops them is a task, which must not block.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use prometheus::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn an_answer_does_not_wait_for_who_keeps_the_other_threads_busy() -> anyhow::Result<()> {
        let http = HttpThreads::start()?;
        let listener = http.listen("admin.listen", (Ipv4Addr::LOCALHOST, 0).into()).await?;
        let address = listener.local_addr()?;
        let router = weir_api::admin_router(Vec::new(), Registry::new());
        drop(http.handle().spawn(weir_api::serve(listener, router, CancellationToken::new())));
        let mut asking = TcpStream::connect(address)?;
        asking.set_read_timeout(Some(Duration::from_secs(10)))?;
        asking.write_all(b"GET /healthz HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        asking.read_to_string(&mut answer)?; // keeps the only thread of this test's runtime
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(())
    }

    #[tokio::test]
    async fn who_finds_its_address_taken_is_told_which_setting_moves_it() -> anyhow::Result<()> {
        let http = HttpThreads::start()?;
        let taken = http.listen("api.listen", (Ipv4Addr::LOCALHOST, 0).into()).await?;
        let refused = http.listen("api.listen", taken.local_addr()?).await;
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("move it with api.listen"), "{said}");
        Ok(())
    }
}
