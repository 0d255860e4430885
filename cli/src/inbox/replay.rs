//! `blobgate inbox replay`.

use super::change::{Change, Which};
use super::rejudge::Rules;
use anyhow::Result;
use std::process::ExitCode;

/// Deliver entries again, or at last: delivered, dead, kept, superseded or dropped ones
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rules: Rules,
}

const EXAMPLES: &str = "\
A replayed entry waits behind what is new, with 72 hours of trying from now on, its own idempotency-key, and
blobgate-redelivery: 1, or 2 the second time. What was kept goes where its event would have gone, with blobgate-override and
the reason for which it was kept: let go only of what you have looked at. While an entry waits it is not replayed again, so
the same command twice does it once.

Entries are named by their ids, or by filters, of which each must be met; with filters it says how many of what it would
replay and asks, and where there is no terminal to ask on, it wants --yes.

With --rejudge kept entries are judged again: their bodies by the configuration of today, in the envoy.yaml that --config names, and
their heads (address, headers, token) by what was found when they came. What holds now becomes an ordinary event, unless another
one says otherwise. What only the head shows passes by --waive REASON alone, which goes along as blobgate-override. Where the provider's
word is missing (not-confirmed) the reconcile asks for it, as fast as its calls a minute allow, and what the provider says too is
delivered. --dry-run says how many would pass, and why the rest would not: so a changed rule is tried on last week's events.

Exit code: 0 when all were replayed, 1 when some were not or the inbox cannot be reached, 2 for wrong usage.

Examples:
  blobgate inbox ls --state quarantined
  blobgate inbox replay 17
  blobgate inbox replay --state dead --hook veo3
  blobgate inbox replay --state delivered --event completed --since 3h --yes
  blobgate inbox replay --rejudge --config envoy.yaml --reason result-url-denied --since 7d --dry-run
  blobgate inbox replay --rejudge --config envoy.yaml --waive token-expired 17";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let rules = Some(args.rules).filter(|rules| rules.rejudge);
    args.which.apply_by(Change::Replay, rules).await
}
