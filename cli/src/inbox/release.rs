//! `blobgate inbox release`: delivers quarantined entries.

use super::change::{self, ChangeKind, ChangeOptions};
use super::filter::event;
use super::prompt::confirm;
use super::selection::SelectionArgs;
use crate::option::exit_with_usage;
use crate::output::{eprint_line, print_json, print_line};
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
    /// The event of an entry that claims none; add --generation if its body has no generation either
    #[arg(long = "as", value_name = "EVENT", value_parser = event())]
    event_as: Option<EventKind>,
    /// A preview without a change
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

const EXAMPLES: &str = "\
The service of the claimed event gets the entry, with blobgate-override and the reason of its
quarantine, its own idempotency-key, and blobgate-redelivery: 1. Look at an entry before you release
it.

Name entries by ids, or by filters. An entry has to match every filter. With filters the command
shows the number of entries and asks; without a terminal it needs --yes.

--as names the event of an entry that claims none, for example because RunBlob has renamed a field.
`blobgate inbox show ID` names the field. The inbox treats the entry as a new arrival: it does
not deliver a repeat, and it quarantines a contradiction. The service gets the body unchanged. The
inbox does not check the result URL of such an entry: read it in the body. The command asks; without
a terminal it needs --yes.

Exit code: 0 when it released all, 1 when some stay or the inbox is unreachable, 2 for wrong usage.

Examples:
  blobgate inbox show 17                       # shows the reason and its detail
  blobgate inbox show 17 --body | jq .         # shows the result URL
  blobgate inbox release 17
  blobgate inbox release --reason token-expired --since 1d
  blobgate inbox release 18 --as completed
  blobgate inbox release 19 --as failed --generation ffd473d5-5bef-4e14-bf22-8d559be3c19f --yes";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let options = ChangeOptions { yes: args.selection.yes, json: args.selection.json, dry_run: args.dry_run };
    match args.event_as {
        Some(event) => release_as(args.selection, event, &options).await,
        None => {
            let selected = args.selection.selected();
            change::change(args.selection.admin.connect()?, ChangeKind::Release, &selected, &options).await
        }
    }
}

async fn release_as(selection: SelectionArgs, event: EventKind, options: &ChangeOptions) -> Result<ExitCode> {
    let generation_id = selection.filter.generation.clone();
    let mut others = selection.filter.read();
    others.generation = None;
    let [id] = selection.ids[..] else {
        exit_with_usage(ErrorKind::WrongNumberOfValues, "--as releases one entry. Name it by its id");
    };
    if !others.is_empty() {
        exit_with_usage(
            ErrorKind::ArgumentConflict,
            "--as releases one entry. Name it by its id, without filters",
        );
    }
    let inbox = selection.admin.connect()?;
    let mut request = ReleaseAsRequest { id, r#as: event, generation_id, dry_run: true };
    // The question names the outcome of a dry run.
    let would = inbox.release_as(&request).await?;
    if options.dry_run {
        match options.json {
            true => print_json(serde_json::to_string(&would)?),
            false => print_line(format_args!(
                "would {}. The inbox does not check its result URL",
                action(&would, id)
            )),
        }
        return Ok(ExitCode::SUCCESS);
    }
    warn(&would, id);
    if !options.yes
        && let Some(code) = confirm(&action(&would, id), "released")?
    {
        return Ok(code);
    }
    request.dry_run = false;
    let released = inbox.release_as(&request).await?;
    match options.json {
        true => print_json(serde_json::to_string(&released)?),
        false => print_line(format_args!("{}", done(&released, id))),
    }
    Ok(ExitCode::SUCCESS)
}

fn name(answer: &ReleaseAsAnswer) -> String {
    format!("{} of generation {} on hook {}", answer.event, answer.generation, answer.hook)
}

/// Prints the reason with its detail, and the missing check.
fn warn(would: &ReleaseAsAnswer, id: i64) {
    let reason = would.r#override.as_deref().unwrap_or("-");
    match &would.detail {
        Some(detail) => eprint_line(format_args!("entry {id} is quarantined for {reason}: {detail}")),
        None => eprint_line(format_args!("entry {id} is quarantined for {reason}")),
    }
    eprint_line(format_args!(
        "the inbox does not check its result URL. Read the body with `blobgate inbox show {id} --body`"
    ));
}

fn action(would: &ReleaseAsAnswer, id: i64) -> String {
    match would.outcome {
        ReleaseOutcome::Waiting => format!("deliver entry {id} as {}", name(would)),
        ReleaseOutcome::Repeated => {
            format!("end entry {id} as a repeat of {}", name(would))
        }
    }
}

fn done(released: &ReleaseAsAnswer, id: i64) -> String {
    match released.outcome {
        ReleaseOutcome::Waiting => {
            format!("entry {id} is released as {}, and waits for its delivery", name(released))
        }
        ReleaseOutcome::Repeated => {
            format!("entry {id} is a repeat of {}", name(released))
        }
    }
}
