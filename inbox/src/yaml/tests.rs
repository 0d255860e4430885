use super::*;
use serde_json::json;

#[track_caller]
fn parse(text: &str, reader: YamlReader) -> YamlNode {
    let documents = parse_yaml(text, reader).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents.into_iter().next().unwrap()
}

#[track_caller]
fn fails(text: &str, line: usize, column: usize, why: &str) {
    let error = parse_yaml(text, YamlReader::Envoy).unwrap_err();
    assert_eq!((error.line, error.column), (line, column), "{error}");
    assert!(error.why.contains(why), "{error}");
}

/// Envoy 1.40.0 showed these values of a Struct in its config_dump.
#[test]
fn reads_scalars_as_envoy() {
    let text = "{a: off, b: 0600, c: 0o600, d: 1_000, e: 1.5, f: y, g: NULL, h: 3000000000, i: +5, j: 08, k: \"1\", \
                l: True, m: .inf, n: 1e3, o: 0x1F, p: N, q: ~, r: 'yes', s: !!str 5, t: tRUE, u: -0, v: ON}";
    let expected = json!({
        "a": false, "b": 384, "c": "0o600", "d": "1_000", "e": "1.5", "f": true, "g": null, "h": "3000000000", "i": 5,
        "j": "08", "k": "1", "l": true, "m": ".inf", "n": "1e3", "o": 31, "p": false, "q": null, "r": "yes", "s": 5,
        "t": "tRUE", "u": 0, "v": true,
    });
    assert_eq!(parse(text, YamlReader::Envoy).to_json(), expected);
}

#[test]
fn reads_scalars_as_kubernetes_and_json() {
    let text =
        "{a: off, b: 0600, c: 0o600, d: 1_000, e: 1.5, h: 3000000000, s: !!str 5, n: 1e3, k: '1', x: inf}";
    let expected = json!({
        "a": false, "b": 384, "c": 384, "d": 1000, "e": 1.5, "h": 3_000_000_000_u32, "s": "5", "n": 1000, "k": "1",
        "x": "inf",
    });
    assert_eq!(parse(text, YamlReader::Kubernetes).to_json(), expected);
    let text = "{\"a\": 1.5, \"b\": [true, null, \"\\ud83d\\ude00\\/\"],\n\t\"c\": 1e3}";
    let expected = json!({"a": 1.5, "b": [true, null, "\u{1f600}/"], "c": 1000});
    assert_eq!(parse(text, YamlReader::Json).to_json(), expected);
}

#[test]
fn knows_the_places_of_keys_and_values() {
    let tree = parse("# a\na:\n- b: &x {c: 1}\n  d: *x\n  e: |\n    t\n- 東: x\n", YamlReader::Envoy);
    let items = tree.get("a").unwrap().list();
    let place = |node: &YamlNode| (node.line, node.column);
    let key = |node: &YamlNode, key| node.key(key).map(|key| (key.line, key.column)).unwrap();
    assert_eq!(place(&items[0]), (3, 3));
    assert_eq!(key(&items[0], "d"), (4, 3));
    assert_eq!(place(items[0].at(&["b", "c"]).unwrap()), (3, 13));
    assert_eq!(place(items[0].at(&["d", "c"]).unwrap()), (3, 13));
    assert_eq!(key(&items[1], "東"), (7, 3));
    assert_eq!(place(items[1].get("東").unwrap()), (7, 6));
}

#[test]
fn keeps_repeated_keys_and_uses_the_last() {
    let tree = parse("a: 1\nb: 2\na: 3\n", YamlReader::Envoy);
    assert_eq!(tree.map().iter().filter(|(key, _)| key.text == "a").count(), 2);
    assert_eq!(tree.get("a").and_then(YamlNode::number), Some(3.0));
    assert_eq!(tree.to_json(), json!({"a": 3, "b": 2}));
}

/// Envoy 1.36 to 1.40 refuse `<<` in a message, and load a file with an ignored key and a second document.
#[test]
fn merges_only_for_kubernetes() {
    let text = "!ignore x: &a {m: 1, n: 1}\nb: {<<: *a, n: 2}\nc: {<<: [{n: 3}, *a]}\n";
    let envoy = parse(text, YamlReader::Envoy);
    assert_eq!(envoy.map().len(), 2);
    assert!(envoy.at(&["b", "<<", "m"]).is_some());
    let kubernetes = parse(text, YamlReader::Kubernetes).to_json();
    assert_eq!(kubernetes["b"], json!({"m": 1, "n": 2}));
    assert_eq!(kubernetes["c"], json!({"m": 1, "n": 3}));
}

#[test]
fn names_the_place_of_an_error() {
    fails("a: 1\nb: [1\n", 2, 4, "unclosed");
    fails("a: *b\n", 1, 4, "");
    fails("a: &b [*b]\n", 1, 8, "within its own anchor");
    fails("[a]: 1\n", 1, 1, "a key is a list");
    fails(&format!("{}{}", "[".repeat(150), "]".repeat(150)), 1, 129, "128 deep");
    fails(&"[".repeat(10_000), 1, 256, "recursion limit");
    assert_eq!(parse_yaml("", YamlReader::Envoy).unwrap(), []);
    assert_eq!(parse_yaml("a: 1\n---\nb: 2\n", YamlReader::Envoy).unwrap().len(), 2);
}

#[test]
fn bounds_aliases_that_multiply() {
    let mut nodes = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut depth = String::from("a0: &a0 [x]\n");
    let mut texts = format!("a0: &a0 {}\n", "x".repeat(1_000_000));
    for level in 1..200 {
        let alias = format!("*a{}, ", level - 1);
        nodes += &format!("a{level}: &a{level} [{}]\n", alias.repeat(10));
        depth += &format!("a{level}: &a{level} [{alias}]\n");
        texts += &format!("a{level}: &a{level} [{}]\n", alias.repeat(4));
    }
    for (text, why) in [(nodes, "5,000,000"), (depth, "128 deep"), (texts, "256 MiB")] {
        let error = parse_yaml(&text, YamlReader::Envoy).unwrap_err();
        assert!(error.why.contains(why), "{error}");
    }
}

#[test]
fn walks_with_paths() {
    let mut paths = Vec::new();
    parse("a: [{b: 1}, 2]\n", YamlReader::Envoy)
        .walk(&YamlPath::Root(""), &mut |path, _| paths.push(path.to_string()));
    assert_eq!(paths, ["", "a", "a[0]", "a[0].b", "a[1]"]);
}
