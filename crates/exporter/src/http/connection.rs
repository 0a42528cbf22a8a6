//! One connection: hyper speaks HTTP/1, this keeps its phase and its deadlines.
//!
//! Invariant: the task ends when its place's deadline passes, whatever the client does. Must not touch: other connections.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::connections::Place;
use super::routes::Routes;

/// hyper refuses smaller buffers.
const BUFFER_MIN_BYTES: usize = 8192;

/// What a client may still send after its last response before the connection is cut.
const DISCARD_MAX_BYTES: usize = 256 << 10;

/// Serve requests until either side is done.
pub(super) async fn serve(
    stream: TcpStream,
    place: Arc<Place>,
    routes: Arc<Routes>,
    limits: Limits,
) {
    let io = TokioIo::new(Watched {
        stream,
        place: Arc::clone(&place),
    });
    let answering = Arc::clone(&place);
    let service =
        service_fn(move |request| Arc::clone(&routes).answer(request, Arc::clone(&answering)));
    let mut connection = http1::Builder::new()
        .max_header_size(limits.max_head_bytes)
        .max_buf_size(limits.max_head_bytes.max(BUFFER_MIN_BYTES))
        .max_headers(limits.max_headers)
        // A client that has said all it will say still waits for the answer.
        .half_close(true)
        // The place's deadline covers it, and tells a request that does not end from a connection that is merely kept.
        .header_read_timeout(None)
        .serve_connection(io, service);
    let Some(result) = until_deadline(&place, &mut connection).await else {
        return;
    };
    // Errors are the client's: malformed, gone, too large. The answer, where there is one, has been written.
    place.closing();
    let mut stream = connection.into_parts().io.into_inner().stream;
    let discarding = async {
        if result.is_err() {
            poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await?;
        }
        discard(&mut stream).await
    };
    // Whether the client takes its leave or not makes no difference any more.
    let _: Option<io::Result<()>> = until_deadline(&place, &mut pin!(discarding)).await;
}

/// Closing a socket with unread bytes in it resets the connection, and the reset can overtake a 431 or 405 on its way.
async fn discard(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 4096];
    let mut discarded = 0;
    while discarded < DISCARD_MAX_BYTES {
        let mut buffer = ReadBuf::new(&mut scratch);
        poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await?;
        match buffer.filled().len() {
            0 => break,
            len => discarded += len,
        }
    }
    Ok(())
}

/// Drive `work` to its end, or return `None` once the place's deadline, which `work` itself moves, has passed.
async fn until_deadline<F: Future + Unpin>(place: &Place, work: &mut F) -> Option<F::Output> {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut *work).poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(deadline) = place.deadline() else {
            return Poll::Pending;
        };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// The socket, telling its place when a request begins to arrive and when a response is gone.
struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.place.received();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = polled {
            self.place.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
