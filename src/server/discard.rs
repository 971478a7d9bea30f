//! What a refused client still sends. Closed on at once, most clients never see the refusal: their write fails
//! before they read. So the answer goes out, and what comes is read and forgotten beside it, up to a bound.

use std::pin::Pin;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::tasks::Tasks;

/// More than any body limit that is of use.
const MOST: u64 = 64 * 1024 * 1024;
/// A client that takes longer sees its connection closed.
const LONGEST: Duration = Duration::from_secs(5);

/// Reads and forgets the rest of a request's body in a tracked task: at most 64 MiB, for at most 5 s. Where the
/// client said `expect: 100-continue` and the body was not polled yet, drop it instead: polling asks for it.
pub fn discard(body: Incoming, tasks: &Tasks) {
    if body.is_end_stream() {
        return;
    }
    // Not held: the task is bounded.
    drop(tasks.spawn(async move {
        let _ = timeout(LONGEST, read_out(body)).await;
    }));
}

async fn read_out(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
