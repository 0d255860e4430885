//! Why a part has not started, from its last lines.

use super::plan::Role;

/// The reason in the part's own words, with the remedy. `None` if its lines have none.
pub(super) fn reason(role: Role, lines: &[String]) -> Option<String> {
    match role {
        Role::Gate => gate_reason(lines),
        // A fault of its options comes from the reader of the command line.
        _ => lines.iter().rev().find_map(|line| {
            let own = line.strip_prefix("blobgate: ").or_else(|| line.strip_prefix("error: "));
            own.map(str::to_owned)
        }),
    }
}

const CORRECT: &str = "Correct envoy.yaml, or delete it: the next start renders a new one";
const BIND: &str = "Run it with CAP_NET_BIND_SERVICE, or name another port in the setup file";

const FREE: &str = "Remove what is there, and start again";
const OPEN: &str = "Remove what is there, or give this user the right to write it";
const OTHER_BUILD: &str = "Take another Envoy, such as 1.40.0, or write `module: wasm` into the setup file";
const REBUILD: &str =
    "Build it on this machine with `make native`, or write `module: wasm` into the setup file";

const MAX_REASON: usize = 400;

/// Envoy ends with `critical: error ` and a reason in backticks. The module's reason stands in a line before.
fn gate_reason(lines: &[String]) -> Option<String> {
    let text = lines.join("\n");
    if text.contains("envoy.filters.http.wasm") && text.contains("implementation")
        || text.contains("envoy.wasm.runtime.v8") && text.contains("without support")
    {
        return Some("it has no Wasm runtime V8. Take another Envoy, such as 1.40.0".to_owned());
    }
    if text.contains("dynamic_modules") && text.contains("implementation") {
        return Some(format!("it loads no native modules. {OTHER_BUILD}"));
    }
    if let Some((_, why)) = text.rsplit_once("Failed to load dynamic module: ") {
        let why = why.split("` initializing config").next().unwrap_or(why);
        // Envoy and the loader both name the file.
        let why = why.split_once(" : ").map_or(why, |(_, why)| why);
        return Some(format!("it cannot load the native module: {}. {REBUILD}", short(why)));
    }
    if let Some(why) = lines.iter().rev().find_map(|line| module_reason(line)) {
        return Some(format!("the gate refuses its configuration: {}. {CORRECT}", short(why)));
    }
    let rejection =
        text.rsplit_once("error `").and_then(|(_, rest)| rest.split_once("` initializing config"));
    let rejection = rejection.map(|(why, _)| why);
    let other = || lines.iter().rev().find_map(|line| line.split_once("critical: ")).map(|(_, why)| why);
    let why = rejection.or_else(other)?;
    // Some have the whole configuration as JSON behind the reason.
    let why = why.split(": {\"").next().unwrap_or(why);
    // Paths begin with a dot or a slash.
    let is_socket = why.contains("cannot bind './") || why.contains("cannot bind '/");
    let remedy = match () {
        () if is_socket && why.contains("Address already in use") => FREE,
        () if is_socket || why.contains("unable to open file") => OPEN,
        () if why.contains("cannot bind") => BIND,
        () => CORRECT,
    };
    Some(format!("{}. {remedy}", short(why)))
}

/// `error: wasm log blobgate: blobgate: cannot load the configuration: ...`. The native module's lines have no `wasm log`.
fn module_reason(line: &str) -> Option<&str> {
    let (level, text) = match line.split_once(": wasm log blobgate") {
        Some((level, rest)) => (level, rest.split_once(": blobgate")?.1),
        None => line.split_once(": blobgate")?,
    };
    (level.ends_with("error") || level.ends_with("critical"))
        .then(|| text.trim_start_matches(": ").trim_start_matches("cannot load the configuration: "))
}

/// One line of single spaces.
fn short(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    let text = text.trim_end_matches('.');
    match text.char_indices().nth(MAX_REASON) {
        Some((at, _)) => format!("{} ...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(role: Role, lines: &[&str], expected: Option<&str>) {
        let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
        let reason = reason(role, &lines);
        let reason = reason.as_deref().map(|why| why.strip_suffix(&format!(". {CORRECT}")).unwrap_or(why));
        assert_eq!(reason, expected);
    }

    #[test]
    fn takes_the_reason_of_envoy() {
        let unknown = "critical: error `Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: invalid JSON   in x: no  such field:   'adress') has unknown fields` initializing config 'goo.gle/debugonly    ";
        says(
            Role::Gate,
            &["warning: old", unknown, "  envoy.yaml'", "Protobuf message"],
            Some(
                "Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: invalid JSON in x: no such field: 'adress') has unknown fields",
            ),
        );
        let dump = r#"critical: error `Unable to parse JSON as proto (could not find @type 'foo'): {"static_resources":{"listeners":[]}}` initializing config"#;
        says(Role::Gate, &[dump], Some("Unable to parse JSON as proto (could not find @type 'foo')"));
        says(Role::Gate, &["critical: assert failure: x."], Some("assert failure: x"));
        says(Role::Gate, &["warning: x"], None);
        let long = format!("critical: {}", "x".repeat(900));
        says(Role::Gate, &[&long], Some(&format!("{} ...", "x".repeat(400))));
    }

    #[test]
    fn takes_the_reason_of_the_module() {
        let line = "error: wasm log blobgate blobgate: blobgate: cannot load the configuration: hooks[0].trust is wrong";
        says(
            Role::Gate,
            &[line, "critical: error `Unable to configure` initializing config"],
            Some("the gate refuses its configuration: hooks[0].trust is wrong"),
        );
        says(
            Role::Gate,
            &[
                "error: blobgate: cannot load the configuration: hooks[0].trust is wrong",
                "critical: error `Failed to create filter config: Failed to initialize dynamic module` initializing config",
            ],
            Some("the gate refuses its configuration: hooks[0].trust is wrong"),
        );
    }

    #[test]
    fn says_what_to_do_about_a_port() {
        let line = "critical: error `cannot bind '0.0.0.0:443': Permission denied` initializing config 'x'";
        says(Role::Gate, &[line], Some(&format!("cannot bind '0.0.0.0:443': Permission denied. {BIND}")));
    }

    #[test]
    fn says_what_to_do_about_a_file() {
        for (why, remedy) in [
            ("cannot bind './run/admin.sock': Address already in use", FREE),
            ("cannot bind '/run/blobgate/admin.sock': Permission denied", OPEN),
            ("unable to open file './run/health.log': Is a directory", OPEN),
            ("cannot bind '[::]:443': Permission denied", BIND),
        ] {
            let line = format!("critical: error `{why}` initializing config 'x'");
            says(Role::Gate, &[&line], Some(&format!("{why}. {remedy}")));
        }
    }

    #[test]
    fn names_an_envoy_without_v8() {
        let missing = "critical: error `Didn't find a registered implementation for 'blobgate' with type URL: 'envoy.extensions.filters.http.wasm.v3.Wasm'` initializing config";
        let missing = missing.replace("'blobgate'", "'envoy.filters.http.wasm'");
        says(Role::Gate, &[&missing], Some("it has no Wasm runtime V8. Take another Envoy, such as 1.40.0"));
    }

    #[test]
    fn names_a_native_module_that_does_not_load() {
        let lines = |why: &str| {
            format!(
                "critical: error `Failed to load dynamic module: Failed to load dynamic module: /x/libblobgate.so : {why}` initializing config 'y'"
            )
        };
        for why in [
            "/x/libblobgate.so: cannot open shared object file: No such file or directory",
            "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /x/libblobgate.so)",
        ] {
            let expected = format!("it cannot load the native module: {why}. {REBUILD}");
            says(Role::Gate, &[&lines(why)], Some(&expected));
        }
        let missing = "critical: error `Didn't find a registered implementation for 'blobgate' with type URL: 'envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter'` initializing config";
        says(Role::Gate, &[missing], Some(&format!("it loads no native modules. {OTHER_BUILD}")));
    }

    #[test]
    fn takes_the_last_sentence_of_the_tool() {
        says(Role::Inbox, &["blobgate: a", "blobgate: the port is taken", "x"], Some("the port is taken"));
        let usage = ["error: invalid value 'x' for '--listen'", "", "For more information, try '--help'."];
        says(Role::Inbox, &usage, Some("invalid value 'x' for '--listen'"));
        says(Role::Inbox, &["x"], None);
    }
}
