//! `blobgate completions`: the scripts, and what a real bash does with its own.

use crate::running::{blobgate, text};
use std::process::Command;

fn script(shell: &str) -> String {
    let output = blobgate(&["completions", shell]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What bash offers for the last word.
#[track_caller]
fn offered(words: &[&str]) -> Vec<String> {
    const COMPLETE: &str = r#"
        set -eu
        eval "$1"
        shift
        spec=$(complete -p blobgate)
        [[ $spec =~ -F\ ([^ ]+) ]]
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        set +eu
        "${BASH_REMATCH[1]}" blobgate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash")
        .args(["--norc", "-c", COMPLETE, "bash", &script("bash"), "blobgate"])
        .args(words)
        .output()
        .expect("bash runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(offered(&["sch"]), ["schema"]);
    assert_eq!(offered(&["schema", "--for", ""]), ["gate", "envoy"]);
    assert!(offered(&["inbox", "re"]).contains(&"reevaluate".to_owned()));
    assert_eq!(offered(&["inbox", "ls", "--gen"]), ["--generation"]);
    assert_eq!(offered(&["no-such"]), [""]);
}

/// `end-with` is no command for a person.
#[test]
fn bash_offers_each_visible_command_alone() {
    let offered = offered(&[""]);
    let help = text(&blobgate(&["--help"]).output().unwrap().stdout);
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 7, "{help}");
    let offered: Vec<&str> = offered.iter().map(|it| &**it).filter(|it| !it.starts_with('-')).collect();
    assert_eq!(offered, commands);
}

#[test]
fn has_a_script_for_each_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = script(shell);
        for word in ["blobgate", "reevaluate", "signing-key-env"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
    }
}
