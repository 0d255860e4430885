//! `blobgate inbox release`.

use super::change::{self, ChangeKind, ChangeOptions};
use super::filter::event;
use super::prompt::confirm;
use super::selection::{SelectionArgs, wrong};
use crate::output::{say, tell, tell_json};
use anyhow::Result;
use blobgate_inbox::service::{EventKind, ReleaseAsAnswer, ReleaseAsRequest, ReleaseOutcome};
use clap::error::ErrorKind;
use std::process::ExitCode;

/// Deliver quarantined entries
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The event of one entry, where the gate could read none; with --generation where its body names no generation
    #[arg(long = "as", value_name = "EVENT", value_parser = event())]
    event_as: Option<EventKind>,
    /// Only say what would happen
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

const EXAMPLES: &str = "\
A released entry goes to the service of the event that it claims, with blobgate-override and the reason for which it was in
quarantine. It has its own idempotency-key and blobgate-redelivery: 1. Release only entries that you have looked at.

Name entries by their ids, or by filters; an entry has to match each filter. With filters the command says how many entries
it would release, and asks. Without a terminal it wants --yes.

--as names the event of an entry that claims none: RunBlob has renamed a field, or has put the event into an envelope.
`blobgate inbox show ID` names the field that differs. Read the body, and say which event it is. The inbox decides on it as on an
arrival of now: it delivers no repeat twice, and a contradiction stays in quarantine. The service gets the body byte for byte
as it came. Nobody checks the result URL of such an event: read it in the body before you release the entry. The command says
so and asks; without a terminal it wants --yes.

Exit code: 0 when all were released, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox show 17                                  # why it is in quarantine
  blobgate inbox show 17 --body | jq .                    # where the result is
  blobgate inbox release 17                               # as the event that it claims
  blobgate inbox release --reason token-expired --since 1d
  blobgate inbox release 18 --as completed                # asks, then delivers it
  blobgate inbox release 19 --as failed --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let manner = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: args.dry_run };
    match args.event_as {
        Some(event) => release_as(args.selection, event, &manner).await,
        None => {
            let selected = args.selection.selected();
            change::change(args.selection.admin.connect()?, ChangeKind::Release, &selected, &manner).await
        }
    }
}

async fn release_as(selection: SelectionArgs, event: EventKind, manner: &ChangeOptions) -> Result<ExitCode> {
    let generation_id = selection.filter.generation.clone();
    let mut others = selection.filter.read();
    others.generation = None;
    let [id] = selection.ids[..] else {
        wrong(ErrorKind::WrongNumberOfValues, "name one entry by its id, with --as");
    };
    if !others.is_empty() {
        wrong(ErrorKind::ArgumentConflict, "name one entry by its id with --as, and not by filters");
    }
    let inbox = selection.admin.connect()?;
    let mut request = ReleaseAsRequest { id, r#as: event, generation_id, dry_run: true };
    // First without a change, so that the question says what would happen.
    let would = inbox.release_as(&request).await?;
    if manner.dry_run {
        match manner.json {
            true => tell_json(serde_json::to_string(&would)?),
            false => tell(format_args!("would {}; its result URL is not checked", what(&would, id))),
        }
        return Ok(ExitCode::SUCCESS);
    }
    warn(&would, id);
    if !manner.yes
        && let Some(code) = confirm(&what(&would, id), "released")?
    {
        return Ok(code);
    }
    request.dry_run = false;
    let released = inbox.release_as(&request).await?;
    match manner.json {
        true => tell_json(serde_json::to_string(&released)?),
        false => tell(format_args!("{}", done(&released, id))),
    }
    Ok(ExitCode::SUCCESS)
}

fn name(answer: &ReleaseAsAnswer) -> String {
    format!("{} of generation {} on hook {}", answer.event, answer.generation, answer.hook)
}

/// Says what a person has to know before.
fn warn(would: &ReleaseAsAnswer, id: i64) {
    let reason = would.r#override.as_deref().unwrap_or("-");
    match &would.violation {
        Some(violation) => say(format_args!("entry {id} is in quarantine as {reason}: {violation}")),
        None => say(format_args!("entry {id} is in quarantine as {reason}")),
    }
    say(format_args!("its result URL is not checked: `blobgate inbox show {id} --body` prints the body"));
}

fn what(would: &ReleaseAsAnswer, id: i64) -> String {
    match would.outcome {
        ReleaseOutcome::Waiting => format!("deliver entry {id} as {}", name(would)),
        ReleaseOutcome::Repeated => {
            format!("end entry {id} as a repeat of {}, which is stored already", name(would))
        }
    }
}

fn done(released: &ReleaseAsAnswer, id: i64) -> String {
    match released.outcome {
        ReleaseOutcome::Waiting => {
            format!("entry {id} is released as {}, and waits to be delivered", name(released))
        }
        ReleaseOutcome::Repeated => {
            format!("entry {id} is a repeat of {}, which is stored already", name(released))
        }
    }
}
