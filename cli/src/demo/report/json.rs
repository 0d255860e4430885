//! `--json`.

use super::Report;
use crate::demo::gate::SendOutcome;
use crate::demo::outcome::RowOutcome;
use crate::output::print_json;
use anyhow::Result;
use serde_json::{Value, json};

impl Report<'_> {
    pub(in crate::demo) fn print_json(&self) -> Result<()> {
        let report = json!({
            "gate": self.gate.hooks.open.as_str(),
            "plain": self.gate.hooks.plain.as_str(),
            "token_gate": self.gate.hooks.authenticating.as_str(),
            "sandbox": self.sandbox.as_str(),
            "inbox": self.inbox,
            "mode": self.path.name(),
            "as_expected": self.is_as_expected(),
            "rows": self.outcomes.iter().map(|outcome| outcome.to_json(self.hook(outcome))).collect::<Vec<_>>(),
        });
        print_json(serde_json::to_string_pretty(&report)?);
        Ok(())
    }
}

impl RowOutcome {
    fn to_json(&self, hook: &str) -> Value {
        let (answer, code, why) = match &self.sent {
            SendOutcome::Answered(answer) => (Some(answer.status), answer.code.as_deref(), None),
            SendOutcome::Unanswered(_) | SendOutcome::Uncalled(_) | SendOutcome::NotReconciled(_) => {
                (None, None, None)
            }
            SendOutcome::Skipped(why) => (None, None, Some(why)),
        };
        let expected = self.row.expected;
        json!({
            "hook": hook,
            "sent": self.row.sent,
            "generation_id": self.row.delivery.id.to_string(),
            "answer": answer,
            "code": code,
            "arrived": self.arrived.iter().map(|(service, request)| json!({
                "service": service, "headers": request.headers, "bytes": request.bytes, "sha256": request.sha256,
            })).collect::<Vec<_>>(),
            "in_inbox": self.in_inbox.iter().map(|entry| json!({
                "id": entry.id, "state": entry.state, "generation": entry.generation, "reason": entry.reason,
                "seen": entry.seen, "digest": entry.digest,
            })).collect::<Vec<_>>(),
            "expectation": self.expectation.as_ref().map(|it| json!({"job": it.job, "state": it.state})),
            "expected": {"answer": expected.status(), "code": expected.code(), "service": expected.service()},
            "skipped": why,
            "faults": self.faults,
        })
    }
}
