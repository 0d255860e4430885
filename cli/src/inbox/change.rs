//! What `drop`, `replay` and `purge` have in common: they say what they will do, ask, and go through it in pieces.

use super::asking::{Admin, Inbox};
use super::filter::Filter;
use super::rejudge::{Named, Rules};
use crate::output::{ask, say, tell, tell_json};
use crate::progress::Progress;
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::error::ErrorKind;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Drop,
    Replay,
    Purge,
}

/// Which entries, and how sure one is.
#[derive(clap::Args)]
pub(super) struct Which {
    /// These entries
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    ids: Vec<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON: one object, the ids of what was changed and of what was not, and why
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// The inbox takes so many at once.
pub(super) const AT_ONCE: usize = 500;

#[derive(Deserialize)]
struct WouldBe {
    would_change: Vec<InState>,
    would_refuse: Vec<ForReason>,
    until: Option<i64>,
}

#[derive(Deserialize)]
struct InState {
    state: String,
    count: u64,
}

#[derive(Deserialize)]
struct ForReason {
    why: String,
    count: u64,
}

/// What became of a piece.
#[derive(Deserialize)]
pub(super) struct Done {
    pub(super) changed: Vec<i64>,
    pub(super) refused: Vec<Refused>,
    pub(super) next: Option<i64>,
}

/// An entry that stays as it is, and why.
#[derive(Deserialize)]
pub(super) struct Refused {
    pub(super) id: i64,
    pub(super) why: String,
}

impl Which {
    pub(super) async fn apply(self, change: Change) -> Result<ExitCode> {
        self.apply_by(change, None).await
    }

    /// With `rules`, what is kept is judged by them.
    pub(super) async fn apply_by(self, change: Change, rules: Option<Rules>) -> Result<ExitCode> {
        let filter = self.filter.pairs();
        match (self.ids.is_empty(), filter.is_empty()) {
            (true, true) => wrong(
                ErrorKind::MissingRequiredArgument,
                "name entries by their ids, or by a filter such as --state",
            ),
            (false, false) => {
                wrong(ErrorKind::ArgumentConflict, "name entries by their ids or by filters, and not by both")
            }
            _ => {}
        }
        if let Some(rules) = rules {
            let named = if self.ids.is_empty() { Named::By(object(filter)) } else { Named::Ids(self.ids) };
            return rules.apply(&self.admin.connect()?, named, self.yes, self.json).await;
        }
        if self.ids.is_empty() {
            let sure = Sure { yes: self.yes, json: self.json, dry_run: false };
            return by_filter(self.admin.connect()?, change, filter, sure).await;
        }
        let mut run = Run::new(self.admin.connect()?, change);
        if change == Change::Drop && !self.yes {
            let would_be = run.count(&self.ids).await?;
            if let Some(code) = run.confirm(&would_be, true)? {
                return Ok(code);
            }
        }
        run.by_ids(&self.ids).await?;
        Ok(run.report(self.json))
    }
}

/// How sure one is, and how it is told.
pub(super) struct Sure {
    pub(super) yes: bool,
    pub(super) json: bool,
    /// Only counts.
    pub(super) dry_run: bool,
}

pub(super) async fn by_filter(
    inbox: Inbox,
    change: Change,
    filter: Vec<(&'static str, String)>,
    sure: Sure,
) -> Result<ExitCode> {
    let filter = object(filter);
    let mut run = Run::new(inbox, change);
    let would_be = run.ask(&json!({"filter": filter, "dry_run": true})).await?;
    if sure.dry_run {
        return Ok(run.tell_what_would_be(&would_be, sure.json));
    }
    if let Some(code) = run.confirm(&would_be, !sure.yes)? {
        return Ok(code);
    }
    run.by_filter(&filter, &would_be).await?;
    Ok(run.report(sure.json))
}

fn object(pairs: Vec<(&'static str, String)>) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn wrong(kind: ErrorKind, sentence: &str) -> ! {
    crate::Cli::command().error(kind, sentence).exit()
}

struct Run {
    inbox: Inbox,
    change: Change,
    changed: Vec<i64>,
    /// By why.
    refused: BTreeMap<String, Vec<i64>>,
}

impl Run {
    fn new(inbox: Inbox, change: Change) -> Self {
        Self { inbox, change, changed: Vec::new(), refused: BTreeMap::new() }
    }

    async fn ask(&self, what: &Value) -> Result<WouldBe> {
        self.inbox.tell(Method::POST, self.change.path(), what).await
    }

    async fn count(&self, ids: &[i64]) -> Result<WouldBe> {
        let mut sum = WouldBe { would_change: Vec::new(), would_refuse: Vec::new(), until: None };
        for ids in ids.chunks(AT_ONCE) {
            let more = self.ask(&json!({"ids": ids, "dry_run": true})).await?;
            sum.would_change.extend(more.would_change);
            sum.would_refuse.extend(more.would_refuse);
        }
        Ok(sum)
    }

    /// Says what it will do, and asks. Returns how it ends where it goes no further.
    fn confirm(&self, would_be: &WouldBe, asks: bool) -> Result<Option<ExitCode>> {
        let word = self.change.word();
        for ForReason { why, count } in &would_be.would_refuse {
            say(format_args!("{} cannot be {}: {why}", entries(*count), self.change.past()));
        }
        let total = would_be.total();
        if total == 0 {
            say(format_args!("there is nothing to {word}"));
            let code = if would_be.would_refuse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            return Ok(Some(code));
        }
        if let Some(what) = self.change.takes() {
            say(format_args!("{what}"));
        }
        if !asks {
            return Ok(None);
        }
        confirm(&format!("{word} {}: {}", entries(total), would_be.states()), self.change.past())
    }

    fn tell_what_would_be(&self, would_be: &WouldBe, json: bool) -> ExitCode {
        if json {
            let change: Vec<_> = would_be
                .would_change
                .iter()
                .map(|it| json!({"state": it.state, "count": it.count}))
                .collect();
            let refuse: Vec<_> =
                would_be.would_refuse.iter().map(|it| json!({"why": it.why, "count": it.count})).collect();
            tell_json(json!({"would_change": change, "would_refuse": refuse}));
        } else {
            let states =
                if would_be.total() > 0 { format!(": {}", would_be.states()) } else { String::new() };
            tell(format_args!("would {} {}{states}", self.change.word(), entries(would_be.total())));
            for ForReason { why, count } in &would_be.would_refuse {
                tell(format_args!("{} cannot be {}: {why}", entries(*count), self.change.past()));
            }
        }
        ExitCode::SUCCESS
    }

    async fn by_ids(&mut self, ids: &[i64]) -> Result<()> {
        let total = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let mut progress = Progress::new(self.change.past(), total);
        for ids in ids.chunks(AT_ONCE) {
            self.piece(&json!({"ids": ids})).await?;
            progress.at(self.changed.len());
        }
        Ok(())
    }

    async fn by_filter(&mut self, filter: &Map<String, Value>, would_be: &WouldBe) -> Result<()> {
        let mut progress = Progress::new(self.change.past(), would_be.total());
        let mut after = 0;
        loop {
            // What has come since it was counted stays as it is.
            let what = json!({"filter": filter, "after": after, "until": would_be.until, "limit": AT_ONCE});
            let next = self.piece(&what).await?;
            progress.at(self.changed.len());
            let Some(next) = next else { return Ok(()) };
            after = next;
        }
    }

    async fn piece(&mut self, what: &Value) -> Result<Option<i64>> {
        let done: Result<Done> = self.inbox.tell(Method::POST, self.change.path(), what).await;
        let done = if self.changed.is_empty() {
            done?
        } else {
            done.with_context(|| format!("after {} {}", self.changed.len(), self.change.past()))?
        };
        self.changed.extend(done.changed);
        for Refused { id, why } in done.refused {
            self.refused.entry(why).or_default().push(id);
        }
        Ok(done.next)
    }

    fn report(&self, json: bool) -> ExitCode {
        if json {
            tell_json(json!({"changed": self.changed, "refused": in_json(&self.refused)}));
        } else {
            tell_refused(&format!("not {}", self.change.past()), &self.refused);
            let count = u64::try_from(self.changed.len()).unwrap_or(u64::MAX);
            tell(format_args!("{} {}", entries(count), self.change.past()));
        }
        if self.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Asks. Returns how it ends where nobody agrees.
pub(super) fn confirm(what: &str, past: &str) -> Result<Option<ExitCode>> {
    if !io::stdin().is_terminal() {
        say(format_args!("blobgate: this would {what}; there is no terminal to ask on: say --yes"));
        return Ok(Some(ExitCode::from(2)));
    }
    ask(format_args!("This will {what}. Go on? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    say(format_args!("nothing is {past}"));
    Ok(Some(ExitCode::FAILURE))
}

impl WouldBe {
    fn states(&self) -> String {
        let states = self.would_change.iter().map(|InState { state, count }| format!("{count} {state}"));
        states.collect::<Vec<_>>().join(", ")
    }

    fn total(&self) -> u64 {
        self.would_change.iter().map(|state| state.count).fold(0, u64::saturating_add)
    }
}

impl Change {
    fn path(self) -> &'static str {
        match self {
            Change::Drop => "/drop",
            Change::Replay => "/replay",
            Change::Purge => "/purge",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Change::Drop => "drop",
            Change::Replay => "replay",
            Change::Purge => "purge",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Change::Drop => "dropped",
            Change::Replay => "replayed",
            Change::Purge => "purged",
        }
    }

    /// What cannot be taken back.
    fn takes(self) -> Option<&'static str> {
        (self == Change::Purge).then_some(super::purge::TAKES)
    }
}

/// An object for each of them.
pub(super) fn in_json(refused: &BTreeMap<String, Vec<i64>>) -> Vec<Value> {
    let of_one = |(why, ids): (&String, &Vec<i64>)| {
        ids.iter().map(|id| json!({"id": id, "why": why})).collect::<Vec<_>>()
    };
    refused.iter().flat_map(of_one).collect()
}

/// A line for each reason.
pub(super) fn tell_refused(how: &str, refused: &BTreeMap<String, Vec<i64>>) {
    /// So many ids are named on one line.
    const NAMED: usize = 10;
    for (why, ids) in refused {
        let named: Vec<_> = ids.iter().take(NAMED).map(i64::to_string).collect();
        let more = if ids.len() > NAMED { ", …" } else { "" };
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        say(format_args!("{} {how}: {why} ({}{more})", entries(count), named.join(", ")));
    }
}

/// In words.
pub(super) fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}
