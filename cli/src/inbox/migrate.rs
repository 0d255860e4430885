//! `blobgate inbox migrate`: the store's tables, as this version wants them.

use crate::output::tell;
use anyhow::Result;
use blobgate_inbox::store::Place;
use std::process::ExitCode;

/// Make the store's tables, or bring them to this version; a second time changes nothing
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store: sqlite:PATH, or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "STORE", env = "BLOBGATE_INBOX_STORE", hide_env_values = true)]
    store: Place,
}

const EXAMPLES: &str = "\
Each version only adds to the tables: programs of the version before go on with them while they are replaced, one after the
other. So: migrate first, then the programs. A program does not start on tables older or newer than it knows.
In PostgreSQL the tables are in the schema blobgate_inbox, which is made too: the user has to be allowed to.

Examples:
  blobgate inbox migrate --store sqlite:/var/lib/blobgate/inbox.db
  blobgate inbox migrate --store postgres://blobgate@db.internal/blobgate";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    args.store.migrate().await?;
    tell(format_args!("the store has the tables of this version"));
    Ok(ExitCode::SUCCESS)
}
