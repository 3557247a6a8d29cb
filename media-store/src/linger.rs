//! Answers that arrive. A connection that is closed while bytes of its request are unread is reset, and with that the
//! client may lose the answer that it was given (RFC 9112 §9.6). So what is refused is read for a little while.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::header,
};
use futures_util::{Stream, StreamExt};

/// What is read and thrown away of a request that was answered before its end: bytes, and for how long. More: more
/// clients that hear the answer; less: less to be had for nothing.
const BYTES: usize = 1024 * 1024;
const TIME: Duration = Duration::from_secs(2);

/// Lets the body be read on when a handler has dropped it. Who waits for `100 Continue` has sent nothing yet, and must
/// not be asked to.
pub(crate) async fn linger(request: Request) -> Request {
    if request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::from_stream(Lingering(Some(body.into_data_stream()))))
}

/// A request's body; None once it has ended.
struct Lingering(Option<BodyDataStream>);

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.0 = None;
        }
        next
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(TIME, async move {
                let mut room = BYTES;
                while let Some(Ok(bytes)) = body.next().await
                    && bytes.len() <= room
                {
                    room -= bytes.len();
                }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// What was read of a body of `chunks` KiB whose handler drops it at once.
    async fn read_of(chunks: usize, request: axum::http::request::Builder) -> usize {
        let (send, mut seen) = mpsc::unbounded_channel();
        let body = futures_util::stream::iter(0..chunks).map(move |_| {
            send.send(()).unwrap();
            Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024]))
        });
        drop(linger(request.body(Body::from_stream(body)).unwrap()).await);
        let mut read = 0;
        while seen.recv().await.is_some() {
            read += 1;
        }
        read
    }

    #[tokio::test]
    async fn what_was_refused_is_read_for_a_while() {
        assert_eq!(read_of(200, Request::builder()).await, 200);
        assert_eq!(read_of(5_000, Request::builder()).await, BYTES / 1024 + 1);
        assert_eq!(read_of(200, Request::builder().header("Expect", "100-continue")).await, 0);
    }
}
