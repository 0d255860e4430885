//! `blobgate inbox release`.

use super::asking::Admin;
use super::change::confirm;
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use blobgate_inbox::admin::EVENTS;
use clap::builder::PossibleValuesParser;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Deliver an entry in quarantine as the event that you say it is
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The entry
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: i64,
    /// The event that it is
    #[arg(long = "as", value_name = "EVENT", value_parser = PossibleValuesParser::new(EVENTS))]
    event: String,
    /// The generation that it is about, where the entry names none
    #[arg(long, value_name = "UUID")]
    generation: Option<String>,
    /// Only say what would become of it
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON: one object, what has become of the entry
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
The gate puts an authentic delivery into quarantine when it cannot read an event in it: RunBlob has renamed a field, or has put
the event into an envelope. `blobgate inbox show ID` names the field that differs. Once you have read the body, say which
event it is. The inbox then decides on it as on an arrival of now: a repeat is not delivered twice, and a contradiction stays
in quarantine. The service gets the body byte for byte as it came, with blobgate-override and the reason.

Nobody checks the result URL of such an event: read it in the body before you release the entry. The command says so and
asks; where there is no terminal to ask on, it wants --yes.

An entry that claims an event already is delivered by `blobgate inbox replay ID`.

Exit code: 0 when it was released, 1 when it stays or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox show 17                                  # which field differs
  blobgate inbox show 17 --body | jq .                    # where the result is
  blobgate inbox release 17 --as completed                # asks, then delivers it
  blobgate inbox release 18 --as failed --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --yes";

/// What becomes of the entry.
#[derive(Deserialize)]
struct Released {
    hook: String,
    generation: String,
    event: String,
    outcome: String,
    route: Option<String>,
    r#override: Option<String>,
    violation: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let inbox = args.admin.connect()?;
    let ask = |dry_run: bool| json!({"id": args.id, "as": args.event, "generation_id": args.generation, "dry_run": dry_run});
    // First without a change, so that what is asked about is known.
    let would: Value = inbox.tell(Method::POST, "/release", &ask(true)).await?;
    if args.dry_run {
        match args.json {
            true => tell_json(&would),
            false => tell(format_args!("{}", read(&would)?.would(args.id))),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let would = read(&would)?;
    would.warn(args.id);
    if !args.yes
        && let Some(code) = confirm(&would.what(args.id), "released")?
    {
        return Ok(code);
    }
    let released: Value = inbox.tell(Method::POST, "/release", &ask(false)).await?;
    match args.json {
        true => tell_json(&released),
        false => tell(format_args!("{}", read(&released)?.done(args.id))),
    }
    Ok(ExitCode::SUCCESS)
}

fn read(answer: &Value) -> Result<Released> {
    Ok(serde_json::from_value(answer.clone())?)
}

impl Released {
    fn event(&self) -> String {
        format!("{} of generation {} on hook {}", self.event, self.generation, self.hook)
    }

    /// What a person has to know before.
    fn warn(&self, id: i64) {
        let reason = self.r#override.as_deref().unwrap_or("-");
        match &self.violation {
            Some(violation) => say(format_args!("entry {id} is in quarantine as {reason}: {violation}")),
            None => say(format_args!("entry {id} is in quarantine as {reason}")),
        }
        say(format_args!("its result URL is not checked: `blobgate inbox show {id} --body` prints the body"));
    }

    fn what(&self, id: i64) -> String {
        match &self.route {
            Some(_) => format!("deliver entry {id} as {}", self.event()),
            None => format!("end entry {id} as a repeat of {}, which is stored already", self.event()),
        }
    }

    fn would(&self, id: i64) -> String {
        format!("would {}; its result URL is not checked", self.what(id))
    }

    fn done(&self, id: i64) -> String {
        match self.outcome.as_str() {
            "repeated" => format!("entry {id} is a repeat of {}, which is stored already", self.event()),
            _ => format!("entry {id} is released as {}, and waits to be delivered", self.event()),
        }
    }
}
