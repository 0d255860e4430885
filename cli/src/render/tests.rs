use super::*;
use std::sync::LazyLock;

/// The repository's own file. `make reference` writes it.
#[test]
fn the_reference_envoy_yaml_is_rendered() {
    let rendered = template::envoy_yaml(&EnvoyContext::development()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy.yaml");
    if std::env::var("BLOBGATE_REFERENCE").is_ok_and(|mode| mode == "write") {
        std::fs::write(path, &rendered).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap();
    for (number, (rendered, shipped)) in rendered.lines().zip(shipped.lines()).enumerate() {
        assert_eq!(rendered, shipped, "line {} of envoy.yaml; `make reference` writes it", number + 1);
    }
    assert!(rendered == shipped, "envoy.yaml has other line ends; `make reference` writes it");
}

/// A setup with two token keys, a service over TLS and a key in another folder.
static SETUP: LazyLock<String> = LazyLock::new(|| {
    [
        ("key: certs/edge-key.pem", "key: /etc/keys/edge-key.pem"),
        ("BLOBGATE_TOKEN_KEY}}", "BLOBGATE_TOKEN_KEY}, \"0\": {alg: HS256, env: B}}"),
        ("failed: \"http://127.0.0.1:5000\"", "failed: \"https://app.internal\""),
    ]
    .iter()
    .fold(include_str!("../setup/example.yaml").to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
});
const CONFIRMED: &str = "trust: {any_of: [token, confirmed]}";

fn setup(text: &str) -> Setup {
    Setup::parse(Path::new("g/blobgate.yaml"), text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn rendered(setup: &Setup, provider: &ProviderEndpoint) -> String {
    envoy_yaml(setup, provider, Path::new("/opt/blob gate: #1/blobgate.wasm")).unwrap()
}

/// Kinds of setups. Each renders to a file in which `check` finds nothing.
fn variants() -> Vec<(String, ProviderEndpoint)> {
    let sandbox = ProviderEndpoint::Sandbox("127.0.0.1:19443".parse().unwrap());
    let with = |from: &str, to: &str| {
        assert!(SETUP.contains(from), "{from}");
        SETUP.replace(from, to)
    };
    let without = |text: &str, key: &str| {
        text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let open =
        without(&without(&with(CONFIRMED, "trust: open").replace("/{token}", ""), "token_keys"), "api_key");
    let mut all: Vec<_> = [
        SETUP.to_string(),
        with("host:", "listen: \"[::]:8443\"\nhost:"),
        with("host:", "listen: 127.0.0.1:8443\nrun: /run/blob gate\nhost:"),
        with("hooks.example.com", "\"2001:db8::7\""),
        with("https://app.internal", "https://[2001:db8::8]:8443\", quarantined: \"http://my_app"),
        with("source: any", "source: [203.0.113.0/24, \"2001:db8::/32\"]"),
        with("result_url: [runblob.io, \"*.runblob.io\"]", "result_url: any"),
        with(CONFIRMED, "trust: {all_of: [token, confirmed]}"),
        without(&with(CONFIRMED, "trust: {any_of: [token]}"), "api_key"),
        without(
            &with(CONFIRMED, "trust: {any_of: [confirmed], unprotected_budget: true}")
                .replace("/{token}", ""),
            "token_keys",
        ),
        with("environment: production", "environment: off\nsigning_keys: [NEW_KEY, OLD_KEY]"),
        with("environment: production", "environment: \"010\""),
        open,
    ]
    .into_iter()
    .map(|text| (text, ProviderEndpoint::RunBlob))
    .collect();
    all.push((format!("module: native\n{}", *SETUP), ProviderEndpoint::RunBlob));
    all.push((SETUP.to_string(), sandbox));
    all.push((SETUP.replace("hooks.example.com", "127.0.0.1"), sandbox));
    all
}

#[test]
fn check_finds_nothing_in_a_rendered_file() {
    for (text, provider) in variants() {
        let yaml = rendered(&setup(&text), &provider);
        let findings = crate::check::check_rendered_text(&yaml);
        let shown: Vec<_> =
            findings.iter().map(|finding| format!("{} {}", finding.line, finding.sentence())).collect();
        // A hook without a proof, a listener for this machine alone and a sandbox are the person's choice.
        let is_sandbox = provider != ProviderEndpoint::RunBlob;
        let is_chosen = is_sandbox || text.contains("trust: open") || text.contains("listen: 127.0.0.1:8443");
        assert!(is_chosen || shown.is_empty(), "{text}\n{shown:#?}");
        assert!(
            findings.iter().all(|finding| finding.level != crate::check::finding::Level::Error),
            "{shown:#?}"
        );
    }
}

#[test]
fn renders_the_configuration_that_the_loader_has_checked() {
    for (text, provider) in variants() {
        let setup = setup(&text);
        let yaml = blobgate_inbox::envoy_yaml::parse_yaml(&rendered(&setup, &provider)).unwrap();
        let mut found = Vec::new();
        collect(&yaml, &mut found);
        found.dedup();
        assert_eq!(found, std::slice::from_ref(&setup.gate), "{text}");
    }
}

/// One block differs, and the gate's configuration has the same bytes.
#[test]
fn renders_the_native_module_in_place_of_the_other() {
    for (text, provider) in variants().into_iter().filter(|(text, _)| !text.contains("module: native")) {
        let native = setup(&format!("module: native\n{text}"));
        let path = Path::new("/opt/blob gate: #1/libblobgate.so");
        let native = envoy_yaml(&native, &provider, path).unwrap();
        let wasm = rendered(&setup(&text), &provider);
        let part = |yaml: &str| {
            let from = yaml.find("                    version: 1\n").unwrap();
            let to = yaml.find("          - &router").unwrap();
            yaml.get(from..to).unwrap().to_owned()
        };
        assert_eq!(part(&native), part(&wasm), "{text}");
        let tree = |yaml: &str| blobgate_inbox::envoy_yaml::parse_yaml(yaml).unwrap();
        // What `render --native` makes of the other file.
        let swapped = swap::with_native_module(&wasm, path.to_str().unwrap()).unwrap();
        assert_eq!(tree(&native), swapped, "{text}");
        for word in ["wasm.v3", "host_env_keys", "V8", "1.36"] {
            assert!(!native.contains(word), "{word}");
        }
    }
}

/// Each object with hooks.
fn collect(value: &serde_json::Value, found: &mut Vec<serde_json::Value>) {
    match value {
        serde_json::Value::Object(object) if object.contains_key("hooks") => found.push(value.clone()),
        serde_json::Value::Object(object) => object.values().for_each(|value| collect(value, found)),
        serde_json::Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn keeps_the_development_parts_out_of_a_setup() {
    let yaml = rendered(&setup(&SETUP), &ProviderEndpoint::RunBlob);
    for part in
        ["plaintext", "9443", "908", "trust: open", "dev/secrets", "Change for your deployment", "target/"]
    {
        assert!(!yaml.replace("9084", "").replace("9085", "").replace("9087", "").contains(part), "{part}");
    }
    assert!(yaml.lines().all(|line| line.chars().count() <= 160));
}

#[test]
fn renders_paths_and_variables() {
    let setup = setup(&SETUP);
    let yaml = rendered(&setup, &ProviderEndpoint::RunBlob);
    for line in [
        "code: {local: {filename: \"/opt/blob gate: #1/blobgate.wasm\"}}",
        "host_env_keys: [B, BLOBGATE_TOKEN_KEY, BLOBGATE_SIGNING_KEY]",
        "\"0\": {alg: HS256, env: B}",
    ] {
        assert!(yaml.contains(line), "{line}");
    }
    let resource = certificate_resource(&setup);
    for line in ["{filename: ./certs/edge.pem}", "{filename: /etc/keys/edge-key.pem}", "{path: ./certs}"] {
        assert!(resource.contains(line), "{line}");
    }
    let key = blobgate_inbox::envoy_yaml::parse_yaml(&key_resource("a\"b\\c: #{}")).unwrap();
    let secret = key.pointer("/resources/0/generic_secret/secret/inline_string");
    assert_eq!(secret.and_then(serde_json::Value::as_str), Some("Bearer a\"b\\c: #{}"));
}

mod writing {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn files(text: &str) -> Vec<RenderedFile> {
        let file =
            |path: &str, mode| RenderedFile { path: path.into(), text: format!("{text} {path}\n"), mode };
        vec![file("envoy.yaml", 0o644), file("secrets/runblob-key.yaml", 0o600)]
    }

    #[track_caller]
    fn writes(folder: &Path, text: &str, expected: [RenderedChange; 2]) {
        let outcomes = write(folder, &files(text)).unwrap();
        assert_eq!(
            outcomes.into_iter().map(|outcome| outcome.change).collect::<Vec<_>>(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn replaces_its_own_files_and_no_edited_ones() {
        use RenderedChange::{Edited, Unchanged, Written};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        writes(folder.path(), "one", [Written, Written]);
        assert_eq!(
            (mode("envoy.yaml"), mode("secrets/runblob-key.yaml"), mode("secrets")),
            (0o644, 0o600, 0o700)
        );
        assert_eq!(mode("rendered.sha256"), 0o600);
        writes(folder.path(), "one", [Unchanged, Unchanged]);
        writes(folder.path(), "two", [Written, Written]);
        std::fs::write(path("envoy.yaml"), "mine").unwrap();
        writes(folder.path(), "three", [Edited, Written]);
        assert_eq!(std::fs::read_to_string(path("envoy.yaml")).unwrap(), "mine");
        // Back to what was written, the file is the program's again.
        std::fs::write(path("envoy.yaml"), "two envoy.yaml\n").unwrap();
        writes(folder.path(), "three", [Written, Unchanged]);
        std::fs::remove_file(path("envoy.yaml")).unwrap();
        writes(folder.path(), "three", [Written, Unchanged]);
        std::fs::set_permissions(path("secrets/runblob-key.yaml"), PermissionsExt::from_mode(0o644)).unwrap();
        writes(folder.path(), "three", [Unchanged, Written]);
        assert_eq!(mode("secrets/runblob-key.yaml"), 0o600);
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 3, "a part is left");
    }

    #[test]
    fn takes_files_without_a_digest_for_a_persons() {
        use RenderedChange::{Edited, Unchanged, Written};
        let folder = tempfile::tempdir().unwrap();
        let digests = folder.path().join("rendered.sha256");
        writes(folder.path(), "one", [Written, Written]);
        for damaged in ["", "\u{0}\u{1}", "zz  envoy.yaml\n", "# envoy.yaml"] {
            std::fs::write(&digests, damaged).unwrap();
            writes(folder.path(), "two", [Edited, Edited]);
            // The same text needs no digest.
            writes(folder.path(), "one", [Unchanged, Unchanged]);
        }
        std::fs::remove_file(&digests).unwrap();
        writes(folder.path(), "two", [Edited, Edited]);
    }

    #[test]
    fn knows_its_files_after_an_interruption() {
        use RenderedChange::Written;
        let folder = tempfile::tempdir().unwrap();
        writes(folder.path(), "one", [Written, Written]);
        let known = files::read_digests(folder.path()).unwrap();
        // The digests of the next files are there, and one of the files.
        let next: Vec<_> = super::writing::files("two")
            .iter()
            .map(|file| (digests::digest(file.text.as_bytes()), file.path.clone()))
            .collect();
        std::fs::write(folder.path().join("rendered.sha256"), known.with_next(&next)).unwrap();
        std::fs::write(folder.path().join("envoy.yaml"), "two envoy.yaml\n").unwrap();
        writes(folder.path(), "three", [Written, Written]);
    }

    #[test]
    fn follows_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().join("target");
        std::fs::write(&target, "theirs").unwrap();
        symlink(&target, folder.path().join("envoy.yaml")).unwrap();
        writes(folder.path(), "one", [RenderedChange::Edited, RenderedChange::Written]);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs");
        std::fs::remove_file(folder.path().join("rendered.sha256")).unwrap();
        symlink(&target, folder.path().join("rendered.sha256")).unwrap();
        let error = write(folder.path(), &super::writing::files("two")).unwrap_err().to_string();
        assert!(error.ends_with("it is no regular file. Remove it, and render again"), "{error}");
    }
}
