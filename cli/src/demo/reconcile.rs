//! The generation without a callback: the inbox has to reconcile it.

use super::delivery::DemoDelivery;
use super::expect::{answer, has_event, reconcile_delay};
use super::gate::SendOutcome;
use super::inbox::DemoInbox;
use super::sandbox::SandboxClient;
use crate::progress::Progress;
use anyhow::Result;
use blobgate_inbox::service::{ReconcilePreview, ReconcileQuestion, ReconcileRequest};
use reqwest::Url;
use std::time::{Duration, Instant};

/// The longest `--reconcile-after` that the demo waits for. `make run` sets 13 s; the default is 13 minutes.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The wait past the due time. After the last call of a minute, the next one is 66 s after the first.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);

/// The inbox looks for due generations once a second.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Orders the generation and announces it to the inbox. Sets the delivery's id.
pub(super) async fn order(
    inbox: Option<&DemoInbox>,
    sandbox: &SandboxClient,
    callback: &Url,
    delivery: &mut DemoDelivery,
) -> Result<SendOutcome> {
    let Some(inbox) = inbox else {
        return Ok(SendOutcome::Skipped("without an inbox in the path, nothing reconciles it".into()));
    };
    if preview(inbox).await?.per_minute.is_none() {
        return Ok(SendOutcome::Skipped("the inbox has no --provider, and does not reconcile".into()));
    }
    delivery.id = sandbox.order_uncalled(callback).await?;
    let delay = reconcile_delay(&inbox.expect(delivery).await?);
    let due = delay.filter(|delay| *delay <= MAX_DELAY).and_then(|delay| Instant::now().checked_add(delay));
    Ok(match due {
        Some(due) => SendOutcome::Uncalled(due),
        None => SendOutcome::Skipped(format!(
            "the inbox reconciles after {} s (--reconcile-after), the demo waits at most {} s",
            delay.unwrap_or_default().as_secs(),
            MAX_DELAY.as_secs()
        )),
    })
}

/// Waits until the inbox has the event. Sets the delivery's body to the provider's status.
pub(super) async fn wait(
    inbox: &DemoInbox,
    sandbox: &SandboxClient,
    delivery: &mut DemoDelivery,
    due: Instant,
) -> Result<SendOutcome> {
    let (started, until) = (Instant::now(), due.checked_add(CALL_TIMEOUT));
    let mut progress = None;
    loop {
        let expectation = inbox.expect(delivery).await?;
        if has_event(&expectation) {
            delivery.body = sandbox.status(delivery.id).await?;
            return Ok(SendOutcome::Uncalled(due));
        }
        if let Some(answer) = answer(&expectation) {
            return Ok(SendOutcome::NotReconciled(format!("the provider's answer to the inbox is {answer}")));
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(SendOutcome::NotReconciled(why_late(inbox, expectation.calls > 0).await?));
        }
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap_or(usize::MAX);
        progress.get_or_insert_with(|| Progress::uncounted(WAITED)).at(seconds);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Follows a number.
const WAITED: &str = "s waited for the generation without a callback";

async fn why_late(inbox: &DemoInbox, has_called: bool) -> Result<String> {
    if has_called {
        return Ok("the inbox has called the provider, and has no answer".to_owned());
    }
    let ReconcilePreview { questions, per_minute, .. } = preview(inbox).await?;
    let due = questions.iter().filter(|ReconcileQuestion { due, .. }| *due).count();
    Ok(why_uncalled(due, per_minute))
}

/// Why the inbox has not called in time, by the number of generations that are due.
fn why_uncalled(due: usize, per_minute: Option<u32>) -> String {
    match per_minute {
        Some(calls) if usize::try_from(calls).is_ok_and(|calls| due > calls) => format!(
            "the inbox has spent its calls of this minute: {due} generations are due, and it makes {calls} a minute"
        ),
        _ => format!("the inbox has not called the provider {} s after the due time", CALL_TIMEOUT.as_secs()),
    }
}

async fn preview(inbox: &DemoInbox) -> Result<ReconcilePreview> {
    inbox.post("/reconcile", &ReconcileRequest { dry_run: true }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(due: usize, per_minute: u32, expected: &str) {
        assert_eq!(why_uncalled(due, Some(per_minute)), expected);
    }

    #[test]
    fn tells_spent_calls_from_a_stopped_reconciler() {
        check(1, 10, "the inbox has not called the provider 75 s after the due time");
        check(10, 10, "the inbox has not called the provider 75 s after the due time");
        let spent =
            "the inbox has spent its calls of this minute: 11 generations are due, and it makes 10 a minute";
        check(11, 10, spent);
    }
}
