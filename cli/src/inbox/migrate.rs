//! `blobgate inbox migrate`: creates or upgrades the tables of a store.

use super::store_option::StoreParser;
use crate::output::print_line;
use anyhow::Result;
use blobgate_inbox::store::Place;
use std::process::ExitCode;

/// Create the store's tables, or upgrade them to this version
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true, value_parser = StoreParser)]
    store: Place,
}

const EXAMPLES: &str = "\
Each version only adds to the tables, so inboxes of the previous version work with the new tables.
Migrate first, then replace the inboxes one by one. An inbox starts on tables of its own version,
and on newer ones that allow it. A second migration changes nothing.

In PostgreSQL the tables are in the schema blobgate_inbox. If that exists, the user needs USAGE and
CREATE on it; otherwise CREATE on the database. Without a change, the rights of serve are enough.

Exit code: 0 when the tables are there, 1 when they are not, 2 for wrong usage.

Examples:
  blobgate inbox migrate --store sqlite:/var/lib/blobgate/inbox.db
  blobgate inbox migrate --store postgres://blobgate@db.internal/blobgate";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    args.store.migrate().await?;
    print_line(format_args!("the store has the tables of this version"));
    Ok(ExitCode::SUCCESS)
}
