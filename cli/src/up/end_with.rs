//! `blobgate end-with`: what `blobgate up` starts each part through.
//!
//! The kernel's order to end a process with its parent is given by that process itself, and stays when it becomes another
//! program (prctl(2), `PR_SET_PDEATHSIG`). So the part gives the order, and then becomes Envoy, a receiver or the inbox.

use anyhow::{Context, Result, bail};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

/// Become another program that ends with its parent, on Linux even after a `kill -9`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The parent's process id
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
        .context("cannot ask the kernel to end this process with its parent")?;
    // A parent that ended before the order was given ends nothing any more.
    if parent_id() != args.parent {
        bail!("process {} has ended", args.parent);
    }
    let error = Command::new(&args.program).args(args.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", args.program.display()))
}
