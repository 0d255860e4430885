//! The generation that is never called back: the inbox has to ask for it.

use super::delivery::Delivery;
use super::gate::Sent;
use super::inbox::Inbox;
use super::provider::Provider;
use crate::progress::Progress;
use anyhow::Result;
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, Instant};

/// Nobody waits longer for a demo: `make run` has the inbox ask after 13 s, and its default is 13 minutes.
const LONGEST: Duration = Duration::from_secs(60);

/// So long after it is due. The calls of a minute may be spent, and the inbox makes the next one 66 s after the first of them.
const ASKED_WITHIN: Duration = Duration::from_secs(75);

/// How often it is looked: the inbox looks once a second.
const LOOK: Duration = Duration::from_millis(250);

/// What the inbox would ask the provider about.
#[derive(Deserialize)]
struct WouldAsk {
    questions: Vec<Question>,
    /// None where it asks nobody.
    per_minute: Option<u32>,
}

#[derive(Deserialize)]
struct Question {
    due: bool,
}

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
    let after = inbox.expect(delivery).await?.asked_after();
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
        if stands.has_come() {
            delivery.body = provider.status(delivery.id).await?;
            return Ok(Sent::Uncalled(due));
        }
        if let Some(answer) = stands.answer() {
            return Ok(Sent::NotReconciled(format!(
                "the inbox has asked for it, and the answer was {answer}"
            )));
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(Sent::NotReconciled(why_not(inbox, stands.was_asked()).await?));
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
    Ok(would_ask(inbox).await?.why_not())
}

impl WouldAsk {
    /// Why something has not been asked in its time.
    fn why_not(&self) -> String {
        let due = self.questions.iter().filter(|question| question.due).count();
        match self.per_minute {
            Some(calls) if usize::try_from(calls).is_ok_and(|calls| due > calls) => format!(
                "the inbox's calls of this minute are spent: {due} generations are due, and it makes {calls} a minute"
            ),
            _ => format!("the inbox has not asked for it, {} s after it was due", ASKED_WITHIN.as_secs()),
        }
    }
}

async fn would_ask(inbox: &Inbox) -> Result<WouldAsk> {
    inbox.post("/reconcile", &json!({"dry_run": true}), "tell what it would ask").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn why_not(due: usize, per_minute: u32, words: &str) {
        let questions = (0..20).map(|number| Question { due: number < due }).collect();
        assert_eq!(WouldAsk { questions, per_minute: Some(per_minute) }.why_not(), words);
    }

    #[test]
    fn spent_calls_are_not_a_reconcile_that_stands_still() {
        why_not(1, 10, "the inbox has not asked for it, 75 s after it was due");
        why_not(10, 10, "the inbox has not asked for it, 75 s after it was due");
        let spent =
            "the inbox's calls of this minute are spent: 11 generations are due, and it makes 10 a minute";
        why_not(11, 10, spent);
    }
}
