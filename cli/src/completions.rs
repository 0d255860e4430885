//! `blobgate completions`: what a shell offers after the tab key.

use crate::{Cli, output};
use anyhow::Result;
use clap::{Command, CommandFactory};
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
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut without_hidden(&Cli::command()), "blobgate", &mut script);
    output::print_bytes(&script);
    Ok(ExitCode::SUCCESS)
}

/// Without the commands that are not for a person. clap_complete offers these too.
fn without_hidden(whole: &Command) -> Command {
    let visible = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("blobgate")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommands(visible)
}
