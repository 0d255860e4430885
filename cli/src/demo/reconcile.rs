//! The generation that is never called back: the inbox has to ask for it.

use super::delivery::Delivery;
use super::expect::{answer, asked_after, has_come};
use super::gate::Sent;
use super::inbox::Inbox;
use super::provider::Provider;
use crate::progress::Progress;
use anyhow::Result;
use blobgate_inbox::service::{ReconcilePreview, ReconcileQuestion, ReconcileRequest};
use reqwest::Url;
use std::time::{Duration, Instant};

/// Nobody waits longer for a demo: `make run` has the inbox ask after 13 s, and its default is 13 minutes.
const LONGEST: Duration = Duration::from_secs(60);

/// So long after it is due. The calls of a minute may be spent, and the inbox makes the next one 66 s after the first of them.
const ASKED_WITHIN: Duration = Duration::from_secs(75);

/// How often it is looked: the inbox looks once a second.
const LOOK: Duration = Duration::from_millis(250);

/// Orders it, and says that it is expected. The delivery gets the generation's id.
pub(super) async fn order(
    inbox: Option<&Inbox>,
    provider: &Provider,
    callback: &Url,
    delivery: &mut Delivery,
) -> Result<Sent> {
    let Some(inbox) = inbox else {
        return Ok(Sent::LeftOut(
            "no inbox is in the path, and only an inbox asks for what never came".into(),
        ));
    };
    if would_ask(inbox).await?.per_minute.is_none() {
        return Ok(Sent::LeftOut("the inbox asks nobody for what never came: it has no --provider".into()));
    }
    delivery.id = provider.order_uncalled(callback).await?;
    let after = asked_after(&inbox.expect(delivery).await?);
    let due = after.filter(|after| *after <= LONGEST).and_then(|after| Instant::now().checked_add(after));
    Ok(match (due, after) {
        (Some(due), _) => Sent::Uncalled(due),
        (None, after) => Sent::LeftOut(format!(
            "the inbox asks {} s after it is told (--reconcile-after), and the demo waits for {} s at most",
            after.unwrap_or_default().as_secs(),
            LONGEST.as_secs()
        )),
    })
}

/// Waits until the inbox has it. The delivery gets the body that the provider tells.
pub(super) async fn wait(
    inbox: &Inbox,
    provider: &Provider,
    delivery: &mut Delivery,
    due: Instant,
) -> Result<Sent> {
    let (started, until) = (Instant::now(), due.checked_add(ASKED_WITHIN));
    let mut progress = None;
    loop {
        let stands = inbox.expect(delivery).await?;
        if has_come(&stands) {
            delivery.body = provider.status(delivery.id).await?;
            return Ok(Sent::Uncalled(due));
        }
        if let Some(answer) = answer(&stands) {
            return Ok(Sent::NotReconciled(format!(
                "the inbox has asked for it, and the answer was {answer}"
            )));
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(Sent::NotReconciled(why_not(inbox, stands.asked > 0).await?));
        }
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap_or(usize::MAX);
        progress.get_or_insert_with(|| Progress::uncounted(WAITED)).at(seconds);
        tokio::time::sleep(LOOK).await;
    }
}

/// After a number.
const WAITED: &str = "s waited for the generation that is never called back";

async fn why_not(inbox: &Inbox, was_asked: bool) -> Result<String> {
    if was_asked {
        return Ok("the inbox has asked for it, and has no answer".to_owned());
    }
    let ReconcilePreview { questions, per_minute, .. } = would_ask(inbox).await?;
    let due = questions.iter().filter(|ReconcileQuestion { due, .. }| *due).count();
    Ok(why_not_in_time(due, per_minute))
}

/// Why the inbox has not asked in time, by the number of generations that are due.
fn why_not_in_time(due: usize, per_minute: Option<u32>) -> String {
    match per_minute {
        Some(calls) if usize::try_from(calls).is_ok_and(|calls| due > calls) => format!(
            "the inbox's calls of this minute are spent: {due} generations are due, and it makes {calls} a minute"
        ),
        _ => format!("the inbox has not asked for it, {} s after it was due", ASKED_WITHIN.as_secs()),
    }
}

async fn would_ask(inbox: &Inbox) -> Result<ReconcilePreview> {
    inbox.post("/reconcile", &ReconcileRequest { dry_run: true }, "list what it would ask about").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(due: usize, per_minute: u32, expected: &str) {
        assert_eq!(why_not_in_time(due, Some(per_minute)), expected);
    }

    #[test]
    fn tells_spent_calls_from_a_reconciler_that_stands_still() {
        row(1, 10, "the inbox has not asked for it, 75 s after it was due");
        row(10, 10, "the inbox has not asked for it, 75 s after it was due");
        let spent =
            "the inbox's calls of this minute are spent: 11 generations are due, and it makes 10 a minute";
        row(11, 10, spent);
    }
}
