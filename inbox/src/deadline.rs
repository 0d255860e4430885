//! A time limit that a pause of the process does not cut short.

use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// The time for answers that lie in the sockets already. A process that was stopped, or a machine that slept, finds each limit
/// passed before it has read them, and several tasks take turns at reading one.
const GRACE: Duration = Duration::from_millis(500);

/// The result of `future` within `limit`, or within a short time after it.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match timeout(limit, &mut future).await {
        Ok(done) => Some(done),
        Err(_) => soon(future).await,
    }
}

/// The result of a future whose time is over.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    timeout(GRACE, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio::time::advance;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn waits_for_an_answer_that_another_task_still_reads() {
        let (send, answer) = oneshot::channel();
        let waiting = tokio::spawn(within(LIMIT, answer));
        tokio::task::yield_now().await;
        // As after a stop: the limit is over, and the reading task has not run yet.
        advance(LIMIT.saturating_mul(8)).await;
        tokio::task::yield_now().await;
        send.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(Ok(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn ends_without_an_answer() {
        assert_eq!(within(LIMIT, std::future::pending::<()>()).await, None);
        assert_eq!(within(LIMIT, async { 7 }).await, Some(7));
    }
}
