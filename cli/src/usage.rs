//! Each command refuses wrong options with exit code 2.

use crate::Cli;
use clap::{Command, CommandFactory};

/// The exit code of the program's own parser.
fn code(args: &[&str]) -> i32 {
    Cli::command().try_get_matches_from(args).map_or_else(|error| error.exit_code(), |_| 0)
}

#[test]
fn each_command_refuses_wrong_options() {
    let mut root = Cli::command();
    root.build();
    let mut count = 0;
    walk(&root, &["blobgate"], &mut count);
    assert!(count > 100, "{count} options");
}

fn walk<'a>(command: &'a Command, path: &[&'a str], count: &mut usize) {
    if command.get_name() != "end-with" {
        assert_eq!(code(&[path, &["--no-such-option"]].concat()), 2, "{path:?}");
    }
    for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        let Some(long) = arg.get_long() else { continue };
        let option = format!("--{long}");
        // Without its value.
        assert_eq!(code(&[path, &[option.as_str()]].concat()), 2, "{path:?} {option}");
        *count = count.saturating_add(1);
    }
    for subcommand in command.get_subcommands() {
        walk(subcommand, &[path, &[subcommand.get_name()]].concat(), count);
    }
}
