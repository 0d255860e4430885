//! `blobgate end-with`: starts a part of `blobgate up`, and ends it with its parent.
//!
//! A process sets its own parent-death signal, which survives exec (prctl(2), `PR_SET_PDEATHSIG`). So this command sets it,
//! and then becomes Envoy, a receiver or the inbox.

use anyhow::{Context, Result, bail};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

/// Become another program that ends with its parent, on Linux also after `kill -9`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process id of the parent
    parent: u32,
    /// The program
    program: OsString,
    /// The program's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Result<Infallible> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("cannot set the parent-death signal")?;
    // The signal does not come for a parent that ended before.
    if parent_id() != args.parent {
        bail!("cannot start {}: its parent {} has ended", args.program.display(), args.parent);
    }
    let error = Command::new(&args.program).args(args.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", args.program.display()))
}
