//! Threads of their own for HTTP. Counting, folding and projecting take the processor for
//! milliseconds at a time; on shared threads an answer that is ready would wait for them. On its
//! own ones it waits at most for the machine, which lets whoever slept go first.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};

/// Ends when what is served does.
pub(super) type Served = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

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

    /// Listens on `address`, which `setting` moves, and serves there. Gives back where that is, and
    /// what ends with it.
    pub(super) async fn serve<F>(
        &self,
        (setting, address): (&str, SocketAddr),
        serving: impl FnOnce(TcpListener) -> F,
    ) -> anyhow::Result<(SocketAddr, Served)>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = self.handle.spawn(TcpListener::bind(address)).await?;
        let listener = listener.with_context(|| format!("listen on {address}; move it with {setting}"))?;
        let listens = listener.local_addr().context("ask where it listens")?;
        let served = self.handle.spawn(serving(listener));
        Ok((listens, Box::pin(async { served.await.map_err(io::Error::other)? })))
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
    use std::net::{IpAddr, Ipv4Addr, TcpStream};
    use std::time::Duration;

    use prometheus::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// Holds the address, and no more.
    async fn accept_nobody(listener: TcpListener) -> io::Result<()> {
        let _held = listener;
        std::future::pending().await
    }

    #[tokio::test]
    async fn an_answer_does_not_wait_for_who_keeps_the_other_threads_busy() -> anyhow::Result<()> {
        let http = HttpThreads::start()?;
        let router = weir_api::admin_router(Vec::new(), Registry::new());
        let serving = |listener| weir_api::serve(listener, router, CancellationToken::new());
        let (address, _served) = http.serve(("admin.listen", ANYWHERE), serving).await?;
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
        let (taken, _served) = http.serve(("api.listen", ANYWHERE), accept_nobody).await?;
        let refused = http.serve(("api.listen", taken), accept_nobody).await;
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("move it with api.listen"), "{said}");
        Ok(())
    }
}
