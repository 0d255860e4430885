//! `blobgate inbox replay --rejudge`: what was kept, judged again by today's configuration.

use super::asking::Inbox;
use super::change::{AT_ONCE, Refused, confirm, entries, in_json, tell_refused};
use crate::output::{say, tell, tell_json};
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow, bail};
use blobgate_inbox::admin::waivable;
use clap::builder::PossibleValuesParser;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How it is judged.
#[derive(clap::Args)]
pub(super) struct Rules {
    /// Judge kept entries again, and deliver those that hold now
    #[arg(long, requires = "config", conflicts_with = "as_is")]
    pub(super) rejudge: bool,
    /// Deliver them as they are, to where the event that they claim would go: the same as without --rejudge
    #[arg(long)]
    as_is: bool,
    /// The envoy.yaml with the gate's configuration of today
    #[arg(long, value_name = "FILE", requires = "rejudge")]
    config: Option<PathBuf>,
    /// Override a reason of the head, which nobody can look at again; can be repeated
    #[arg(long, value_name = "REASON", requires = "rejudge", value_parser = PossibleValuesParser::new(waivable()))]
    waive: Vec<String>,
    /// Only say how many would pass, and why the rest would not
    #[arg(long, requires = "rejudge")]
    dry_run: bool,
}

/// Which entries, as the inbox takes them.
pub(super) enum Named {
    Ids(Vec<i64>),
    By(Map<String, Value>),
}

/// What became of a piece.
#[derive(Deserialize)]
struct Done {
    changed: Vec<i64>,
    /// An inbox of before this tool has none.
    #[serde(default)]
    asked: Vec<i64>,
    refused: Vec<Refused>,
    next: Option<i64>,
}

/// What became of all of them.
#[derive(Default)]
struct Judged {
    passed: Vec<i64>,
    /// They pass once the provider says the same.
    asked: Vec<i64>,
    stayed: BTreeMap<String, Vec<i64>>,
    /// The newest of them.
    until: Option<i64>,
}

impl Rules {
    pub(super) async fn apply(
        self,
        inbox: &Inbox,
        named: Named,
        yes: bool,
        as_json: bool,
    ) -> Result<ExitCode> {
        let file = self.config.as_deref().unwrap_or(Path::new("envoy.yaml"));
        let config = gate_configuration(file)?;
        let what = object([("config", config), ("waive", json!(self.waive))]);
        // First without a change, so that what is asked about is known.
        let would = judge(inbox, &what, &named, None, true).await?;
        if self.dry_run {
            if as_json {
                tell_json(would.json("would_pass", "would_ask", "would_stay"));
            } else {
                tell_refused("would stay kept", &would.stayed);
                would.tell_asked("would pass once the provider, who would be asked, says the same");
                tell(format_args!("{} would pass", count(&would.passed)));
            }
            return Ok(ExitCode::SUCCESS);
        }
        if would.passed.is_empty() && would.asked.is_empty() {
            tell_refused("still kept", &would.stayed);
            say(format_args!("none holds now: nothing is delivered"));
            return Ok(if would.stayed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if matches!(named, Named::By(_)) && !yes {
            tell_refused("would stay kept", &would.stayed);
            if let Some(code) = confirm(&would.what(), "delivered")? {
                return Ok(code);
            }
        }
        // What has come since stays as it is.
        let done = judge(inbox, &what, &named, would.until, false).await?;
        if as_json {
            tell_json(done.json("changed", "asked", "refused"));
        } else {
            tell_refused("still kept", &done.stayed);
            done.tell_asked(
                "kept until the provider says the same: `inbox reconcile --dry-run` lists what is asked",
            );
            tell(format_args!("{} judged again, and waiting to be delivered", count(&done.passed)));
        }
        Ok(if done.stayed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Judges them in pieces.
async fn judge(
    inbox: &Inbox,
    what: &Map<String, Value>,
    named: &Named,
    until: Option<i64>,
    dry_run: bool,
) -> Result<Judged> {
    let mut judged = Judged::default();
    let total = match named {
        Named::Ids(ids) => u64::try_from(ids.len()).unwrap_or_default(),
        Named::By(_) => 0,
    };
    let mut progress = Progress::new(if dry_run { "looked at" } else { "judged again" }, total);
    let by = |filter: &Map<String, Value>, after: i64| {
        object([("filter", json!(filter)), ("after", json!(after)), ("limit", json!(AT_ONCE))])
    };
    let mut pieces = match named {
        Named::Ids(ids) => ids.chunks(AT_ONCE).map(|ids| object([("ids", json!(ids))])).collect(),
        Named::By(filter) => vec![by(filter, 0)],
    };
    pieces.reverse();
    while let Some(mut piece) = pieces.pop() {
        piece.extend(what.clone());
        piece.insert("dry_run".to_owned(), json!(dry_run));
        if let (Some(until), Named::By(_)) = (until, named) {
            piece.insert("until".to_owned(), json!(until));
        }
        let done: Done = inbox.tell(Method::POST, "/rejudge", &Value::Object(piece)).await?;
        let seen = done.changed.iter().chain(&done.asked).copied();
        let seen = seen.chain(done.refused.iter().map(|refused| refused.id));
        judged.until = judged.until.max(seen.max());
        judged.passed.extend(done.changed);
        judged.asked.extend(done.asked);
        for Refused { id, why } in done.refused {
            judged.stayed.entry(why).or_default().push(id);
        }
        progress.at(judged.seen());
        if let (Some(next), Named::By(filter)) = (done.next, named) {
            pieces.push(by(filter, next));
        }
    }
    Ok(judged)
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Judged {
    fn seen(&self) -> usize {
        let changed = self.passed.len().saturating_add(self.asked.len());
        self.stayed.values().map(Vec::len).fold(changed, usize::saturating_add)
    }

    /// What is asked about.
    fn what(&self) -> String {
        let ask = format!("have the provider asked about {}", count(&self.asked));
        match (self.passed.is_empty(), self.asked.is_empty()) {
            (true, _) => ask,
            (false, true) => format!("deliver {} that hold now", count(&self.passed)),
            (false, false) => format!("deliver {} that hold now, and {ask}", count(&self.passed)),
        }
    }

    fn tell_asked(&self, how: &str) {
        if !self.asked.is_empty() {
            tell(format_args!("{} {how}", count(&self.asked)));
        }
    }

    fn json(&self, passed: &str, asked: &str, stayed: &str) -> Value {
        json!({passed: self.passed, asked: self.asked, stayed: in_json(&self.stayed)})
    }
}

/// In words.
fn count(ids: &[i64]) -> String {
    entries(u64::try_from(ids.len()).unwrap_or(u64::MAX))
}

/// The gate's configuration in an envoy.yaml: a Struct, or JSON text, wherever it stands.
fn gate_configuration(file: &Path) -> Result<Value> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    let yaml: Value = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow!("{name} is no YAML that Envoy would take: {}", error.without_snippet()))?;
    let mut found = Vec::new();
    collect(&yaml, &mut found);
    found.dedup();
    match &mut found[..] {
        [] => bail!("{name} has no filter with the gate's configuration (an object with hooks)"),
        [one] => Ok(one.take()),
        _ => bail!("{name} has more than one configuration of the gate: name a file with one"),
    }
}

fn collect(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(object) => {
            if let Some(value) = object.get("configuration").and_then(|any| any.get("value")) {
                let text = value.as_str().and_then(|text| serde_json::from_str(text).ok());
                let gate = text.unwrap_or_else(|| value.clone());
                if gate.get("hooks").is_some() {
                    found.push(gate);
                }
            }
            object.values().for_each(|item| collect(item, found));
        }
        _ => {}
    }
}
