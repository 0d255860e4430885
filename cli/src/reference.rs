//! The book's page of commands, as clap knows them. A stale page fails; `make reference` writes it.

use crate::Cli;
use blobgate_testkit_book::{check_page, table};
use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};

#[test]
fn the_reference_has_each_command() {
    let mut command = Cli::command();
    command.build();
    let mut page = "# Command line\n\n\
        `blobgate` is one program. `--help` of each command shows the same text as this page. An option with a variable can\n\
        also stand in the environment. A command whose output cannot be written exits with 1 and one sentence on standard\n\
        error. A closed pipe, as by `head`, is no failure.\n"
        .to_owned();
    describe(&mut command, &mut page);
    check_page("command-line", &page);
}

fn describe(command: &mut Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or("blobgate").to_owned();
    let about =
        command.get_long_about().or(command.get_about()).map(StyledStr::to_string).unwrap_or_default();
    let paragraphs: Vec<String> = about.split("\n\n").map(escape).collect();
    page.push_str(&format!("\n## {name}\n\n{}\n", paragraphs.join("\n\n")));
    let usage = command.render_usage().to_string();
    page.push_str(&format!("\n```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()));
    let rows: Vec<_> = command.get_arguments().filter(|arg| is_shown(arg)).map(row).collect();
    if !rows.is_empty() {
        page.push_str(&format!("\n{}", table(["option", "meaning", "default", "variable"], rows)));
    }
    if let Some(text) = command.get_after_help() {
        page.push_str(&format!("\n```text\n{}\n```\n", text.to_string().trim()));
    }
    command
        .get_subcommands_mut()
        .filter(|command| !command.is_hide_set())
        .for_each(|command| describe(command, page));
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn row(arg: &Arg) -> [String; 4] {
    let values: Vec<String> = match arg.get_value_names() {
        Some(names) if arg.get_action().takes_values() => names.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let value = values.join(" ");
    let option = match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long} {value}"),
        (Some(long), None) => format!("--{long} {value}"),
        (None, Some(short)) => format!("-{short} {value}"),
        (None, None) => value,
    };
    let help = arg.get_long_help().or(arg.get_help()).map(StyledStr::to_string).unwrap_or_default();
    let words: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| arg.get_action().takes_values() && !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    // More are the reasons, which have pages of their own.
    const MAX_SHOWN: usize = 16;
    let meaning = match words.len() {
        0 => escape(&help),
        MAX_SHOWN.. => format!(
            "{}: a [reason of the gate](reasons.md) or [of the inbox](store.md#reasons-for-quarantine)",
            escape(&help)
        ),
        _ => format!("{}: {}", escape(&help), words.join(", ")),
    };
    let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
    // A flag has one too: false.
    let defaults = if arg.get_action().takes_values() { arg.get_default_values() } else { &[] };
    let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
    let default = if arg.is_required_set() { "required".to_owned() } else { code(defaults.join(" ")) };
    let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    [code(option.trim().to_owned()), meaning, default, code(variable)]
}

/// A help text as one line of Markdown.
fn escape(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('<', "\\<").replace('*', "\\*")
}
