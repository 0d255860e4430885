use super::*;
use crate::check::gate::bare;
use blobgate_inbox::yaml::{YamlReader, parse_yaml};
use std::fmt::Write;

const HOOK: &str =
    "- {name: a, path: /a, dialect: veo3, source: any, trust: open, result_url: any, quarantine: none}";

/// Each finding as `LINE:COLUMN SENTENCE`.
fn findings(text: &str) -> Vec<String> {
    let tree = parse_yaml(text, YamlReader::Envoy).unwrap().remove(0);
    let mut findings = Vec::new();
    check_configuration(&bare(&tree), UnsetVariables::Warn, &mut findings);
    findings.sort_by_key(|it| (it.line, it.column));
    findings.iter().map(|it| format!("{}:{} {}", it.line, it.column, it.sentence())).collect()
}

/// Checks a configuration whose first hook begins in line 3.
#[track_caller]
fn finds(hooks_and_sections: &str, expected: &[&str]) {
    let text = format!("{{version: 1, environment: test, hooks: [\n{hooks_and_sections}}}\n");
    let found = findings(&text);
    let mut expected = expected.to_vec();
    expected.sort_by_key(|line| {
        let place = line.split(' ').next().unwrap().split_once(':').unwrap();
        (place.0.parse::<usize>().unwrap(), place.1.parse::<usize>().unwrap())
    });
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.starts_with(*expected), "{found}\n{expected}");
    }
}

#[test]
fn finds_nothing_in_a_valid_one() {
    assert_eq!(findings(&format!("version: 1\nenvironment: a\nhooks:\n{HOOK}\n")), [""; 0]);
}

#[test]
fn finds_every_error_of_a_hook() {
    let hook = "{name: A, path: /a, dialect: veo4,\n source: [x, 10.0.0.0/8,\n y], trust: open, result_url: [http://z, b.example],\n \
                quarantine: route, mode: on, max_depth: 1, checks: {prompt: 1}, typo: 1, 'a.b': 1}";
    finds(
        &format!("{hook}]"),
        &[
            "5:66 hooks[0].typo is not a known key",
            "5:75 hooks[0].a.b is not a known key",
            "2:2 hooks[0].name is \"A\"; write 1 to 32",
            "2:21 hooks[0].dialect is \"veo4\"; write veo3",
            "3:11 hooks[0].source[0] is \"x\"",
            "4:2 hooks[0].source[2] is true",
            "5:2 hooks[0].quarantine is \"route\", which needs",
            "4:32 hooks[0].result_url[0] is \"http://z\"",
            "5:54 hooks[0].checks.prompt is 1",
            "5:21 hooks[0].mode is true; write enforce or observe",
            "5:31 hooks[0].max_depth is 1",
        ],
    );
}

#[test]
fn finds_errors_of_each_hook_under_its_own_number() {
    let open = |name: &str, path: &str| {
        format!(
            "{{name: {name}, path: {path}, dialect: veo3, source: any, trust: open, result_url: any, quarantine: none}}"
        )
    };
    let hooks = [
        open("a", "/a//b"),
        open("b", "/b"),
        "{name: c}".to_owned(),
        "7".to_owned(),
        open("b", "/e"),
        open("f", "/b"),
        open("g", "'/g/{token}'"),
    ];
    finds(
        &format!("{}]", hooks.join(",\n")),
        &[
            "2:11 hooks[0].path is \"/a//b\"",
            "4:2 hooks[2].path is missing",
            "5:1 hooks[3] is 7; write a hook",
            "8:11 hooks[6].path is \"/g/{token}\"",
            "6:2 hooks[4].name is \"b\", which another hook has",
            "7:11 hooks[5].path is \"/b\", which another hook has",
        ],
    );
}

#[test]
fn finds_errors_of_each_section() {
    let hook = HOOK.trim_start_matches("- ");
    finds(
        &format!(
            "{hook}],\n docs: http://a,\n token: {{leeway: 1h, keys: {{a: {{alg: none}},\n b: {{alg: EdDSA, public: x}}}}}},\n \
             confirm: {{cluster: '', authority: a/b,\n per_minute: 1.5, timeout: 3, x: 1}},\n sign: {{env: A}}, 'x y': 1"
        ),
        &[
            "8:18 x y is not a known key",
            "3:2 docs is \"http://a\"",
            "4:33 token.keys.a.alg is \"none\"; write EdDSA or HS256",
            "5:18 token.keys.b.public is \"x\"",
            "4:10 token.leeway is \"1h\"",
            "7:31 confirm.x is not a known key",
            "6:12 confirm.cluster is \"\"",
            "6:25 confirm.authority is \"a/b\"",
            "7:2 confirm.per_minute is \"1.5\"",
            "7:19 confirm.timeout is 3",
            "8:9 sign.env is \"A\"",
        ],
    );
}

#[test]
fn goes_on_without_hooks() {
    assert_eq!(
        findings("version: 2\nenvironment: a\n"),
        ["1:1 version is 2; write 1", "1:1 hooks is missing; write a list of hooks"]
    );
    assert_eq!(
        findings("version: 1\nhooks: {}\nconfirm: 1\n"),
        [
            "1:1 environment is missing; write a name such as production",
            "2:1 hooks is an object; write a list of hooks",
            "3:1 confirm is 1; write an object with cluster and authority",
        ]
    );
}

/// This process has no such variables.
#[test]
fn names_unset_variables_and_hides_what_may_be_a_key() {
    let key = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMN";
    let text = format!(
        "version: 1\nenvironment: a\nhooks:\n{HOOK}\ntoken: {{keys: {{a: {{alg: HS256, env: CHECK_TEST_A}}}}}}\nsign:\n  env:\n  - \
         CHECK_TEST_A\n  - {key}\n"
    );
    let found = findings(&text);
    assert!(
        found[0].starts_with("5:32 token.keys.a.env is CHECK_TEST_A, which is not set here"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("8:5 sign.env[0] is \"CHECK_TEST_A\", which token.keys.a.env names too"),
        "{found:?}"
    );
    assert!(found.iter().all(|sentence| !sentence.contains(key)), "{found:?}");
    assert!(
        found.iter().any(|sentence| sentence.starts_with("9:5 sign.env[1] is the variable,")),
        "{found:?}"
    );
}

#[test]
fn ends_after_many_errors() {
    let mut text = String::from("version: 1\nenvironment: a\nhooks:\n");
    for number in 0..300 {
        let _ = writeln!(text, "- {{name: {number}_}}");
    }
    let found = findings(&text);
    assert_eq!(found.len(), MAX_ERRORS + 1);
    assert_eq!(found[0], "1:1 the configuration has more errors than the 100 here; correct these first");
}
