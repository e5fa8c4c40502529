//! What becomes of a body that was not read to its end. An answer that is given before the
//! client has sent everything ends the connection, and whoever is still sending finds it reset
//! before it has read why. So the rest is read and thrown away first, within bounds of bytes and
//! time; nothing of it is kept. A client that waits for `100 Continue` sends nothing and is
//! answered at once, as is one that was too slow already.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

/// The most bytes that are thrown away. A body that announces more is not waited for.
const THROWN_AWAY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long an answer waits for the rest of a body.
const WAIT: Duration = Duration::from_secs(10);

/// The middleware; outside of everything that may answer early.
pub async fn lingering(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let asks_first = asks_first(request.headers());
    let (parts, body) = request.into_parts();
    let (give_back, mut left) = oneshot::channel();
    let lent = Lent { body: Some(body), is_begun: false, give_back: Some(give_back) };
    let response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    if response.status() != StatusCode::REQUEST_TIMEOUT
        && let Ok(unread) = left.try_recv()
        && (unread.is_begun || !asks_first)
        && unread.body.size_hint().lower() <= THROWN_AWAY_BYTES_MAX
    {
        // Whether it came to its end in time makes no difference to the answer.
        let _ = tokio::time::timeout(WAIT, throw_away(unread.body)).await;
    }
    response
}

fn asks_first(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

async fn throw_away(mut body: Body) {
    let mut left = THROWN_AWAY_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        if left == 0 {
            return;
        }
    }
}

/// A body that comes back when it is dropped before its end.
struct Unread {
    body: Body,
    is_begun: bool,
}

struct Lent {
    body: Option<Body>,
    is_begun: bool,
    give_back: Option<oneshot::Sender<Unread>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_begun = true;
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.body.take(), self.give_back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it when the connection has ended.
            let _ = give_back.send(Unread { body, is_begun: self.is_begun });
        }
    }
}
