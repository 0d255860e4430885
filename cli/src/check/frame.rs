//! The rules about files, their syntax, and the gate's own configuration.

use super::rules::catalog::Rule;

macro_rules! frame {
    ($($constant:ident $name:literal, $level:literal, $finds:literal, $effect:literal;)*) => {
        $(pub(super) static $constant: Rule = Rule { name: $name, level: $level, finds: $finds, effect: $effect };)*

        /// Every rule here, in the order of the book's page.
        #[cfg(test)]
        pub(super) static ALL: &[&Rule] = &[$(&$constant,)*];
    };
}

frame! {
    UNREADABLE "unreadable", "error",
        "The file does not exist, is a folder, has over 64 MiB, or is no UTF-8.",
        "`check` reads nothing.";
    SYNTAX "syntax", "error",
        "The file is no YAML, or a `.json` file is no JSON.",
        "Envoy does not start.";
    NO_CONFIGURATION "no-configuration", "error, not checked",
        "The file has no configuration of Blobgate. An error if no other file has one.",
        "`check` checks nothing.";
    REPEATED_KEY "repeated-key", "error",
        "A key is in an object twice.",
        "Envoy uses the last value. Kubernetes refuses the file.";
    MERGE_KEY "merge-key", "error",
        "A file for Envoy has the merge key `<<`.",
        "Envoy reads it as an unknown field.";
    SECOND_DOCUMENT "second-document", "error",
        "A file for Envoy has a document after another one, perhaps an empty one, and `---`.",
        "Envoy reads only the first.";
    CONFIGURATION "configuration", "error",
        "The gate does not load a field of its configuration.",
        "Envoy does not start, or keeps the old configuration.";
    MORE_ERRORS "more-errors", "not checked",
        "A configuration has more errors, or a file more documents, than `check` shows.",
        "`check` shows the first.";
    CONFIGURATION_FORM "configuration-form", "error",
        "The filter's `configuration` is missing, or has no `@type` or `value` that the gate reads.",
        "Envoy does not start.";
    VARIABLE_NOT_PASSED "variable-not-passed", "error",
        "A field names an environment variable that the filter does not pass to the module.",
        "The gate does not load its configuration.";
    KEY_AS_NAME "key-as-name", "error",
        "A field that takes the name of an environment variable has what looks like a key.",
        "Each reader of the file gets the key, and the gate does not load.";
    VARIABLE_UNSET "variable-unset", "error, warning",
        "A key's environment variable is not set where `check` runs. An error with `--require-env`.",
        "`check` does not see the key. Without it the gate does not load.";
    VARIABLE_OF_POD "variable-of-pod", "not checked",
        "A key's environment variable is that of a pod.",
        "`check` does not see the key.";
    KEY_IN_FILE "key-in-file", "warning",
        "The file has a key, as the value of an environment variable.",
        "Each reader of the file gets the key.";
    FAIL_STRATEGY "fail-strategy", "error, warning",
        "A manifest has `FAIL_OPEN`, `failOpen: true`, or in Istio another strategy than `FAIL_RELOAD`.",
        "After a trap of the module, deliveries pass unjudged, or all are refused.";
    SETUP "setup", "error",
        "A setup file has a wrong key or value.",
        "`render` and `up` refuse it.";
    SETUP_FILES "setup-files", "error, warning",
        "A file that a setup file names is missing or wrong. An error with `--require-env`.",
        "`render` and `up` refuse it, or others can read a key.";
    RENDERED "rendered", "error, warning",
        "The envoy.yaml that `render` makes of a setup file breaks a rule of this page.",
        "That of the rule.";
    KIND "kind", "not checked",
        "The manifest has no configuration of Blobgate.",
        "`check` reads only its keys.";
    PART "part", "not checked",
        "The file or manifest shows only a part of Envoy's configuration.",
        "`check` does not see the rest.";
    HOST_FLAG_ELSEWHERE "host-flag-elsewhere", "not checked",
        "The manifest's kind cannot set `allow_on_headers_stop_iteration`.",
        "Without it every delivery gets 503 `host-misconfigured`.";
}
