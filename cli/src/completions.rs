//! `blobgate completions`: what a shell offers after the tab key.

use crate::{Cli, output};
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print the script that completes commands and options in a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Where to put it:
  bash: blobgate completions bash > ~/.local/share/bash-completion/completions/blobgate
  zsh:  blobgate completions zsh > ~/.zfunc/_blobgate    # a folder in fpath, before compinit
  fish: blobgate completions fish > ~/.config/fish/completions/blobgate.fish";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::print_bytes(&script);
    Ok(ExitCode::SUCCESS)
}
