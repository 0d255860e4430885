//! The book's page of the setup file. A stale page fails; `make reference` writes it.

use super::parse::{
    DEFAULT_LISTEN, DEFAULT_RUN, HOOK_KEYS, INBOX_KEYS, KEYS, PORT_KEYS, SERVICE_KEYS, TLS_KEYS,
};
use super::{ModuleKind, Setup, SetupPorts, gate};
use blobgate_testkit_book::{check_page, table};
use std::path::Path;

const EXAMPLE: &str = include_str!("example.yaml");

/// Each key: its path, its default, its meaning.
fn rows() -> Vec<[String; 3]> {
    let ports = SetupPorts::default();
    let port = |port: u16| format!("`{port}`");
    let rows: [(&str, String, &str); 26] = [
        (
            "host",
            "required".into(),
            "The public name, or an IP address. The certificate names it. `hooks.example.com:443` is for a public port that is not the one of `listen`, as behind a balancer.",
        ),
        (
            "listen",
            format!("`{DEFAULT_LISTEN}`"),
            "The address of the public listener. `\"[::]:443\"` takes IPv4 and IPv6.",
        ),
        (
            "tls.certificate",
            "required".into(),
            "A PEM file: the certificate with its chain. Envoy watches its folder alone, so keep the key there too.",
        ),
        ("tls.key", "required".into(), "A PEM file: the certificate's key, without a passphrase."),
        ("environment", "required".into(), "The gate's [`environment`](configuration.md)."),
        ("hook.name", format!("`{}`", gate::DEFAULT_HOOK), "The hook's [`name`](configuration.md#hook)."),
        (
            "hook.path",
            "required".into(),
            "The hook's [`path`](configuration.md#hook). Your service gets it without `/{token}`.",
        ),
        (
            "hook.trust",
            "required".into(),
            "The hook's [`trust`](configuration.md#hook). `token` needs `token_keys`, `confirmed` needs `api_key_file`.",
        ),
        ("hook.source", "required".into(), "The hook's [`source`](configuration.md#hook)."),
        ("hook.result_url", "required".into(), "The hook's [`result_url`](configuration.md#hook)."),
        (
            "api_key_file",
            "none: no status API, no reconciler".into(),
            "A file with RunBlob's API key, mode 600.",
        ),
        ("token_keys", "none".into(), "The gate's [`token.keys`](configuration.md#token)."),
        (
            "signing_keys",
            format!("`[{}]`", gate::DEFAULT_SIGNING_KEY),
            "The gate's [`sign.env`](configuration.md#sign).",
        ),
        (
            "services.completed",
            "required".into(),
            "The service that gets `completed` events: `http://` or `https://`, a host, perhaps a port, no path. It gets its own name as `Host`.",
        ),
        (
            "services.failed",
            "required".into(),
            "The service that gets `failed` and `timeout` events. It may be the same.",
        ),
        (
            "services.quarantined",
            "none: they stay in the inbox".into(),
            "The service that gets quarantined deliveries while the inbox is bypassed.",
        ),
        (
            "inbox.store",
            "required".into(),
            "`sqlite:PATH`, or `postgres://USER@HOST/DATABASE`. Its password is `PGPASSWORD` in `secrets/env`.",
        ),
        (
            "inbox.admin_tokens",
            "none: clients on this machine need no token".into(),
            "The tokens of the admin listener and of its page, by name: [Give access](../howto/give-access.md). `{prometheus: {role: read, env: BLOBGATE_READ_TOKEN}}`. During a rotation, `env` is a list of two.",
        ),
        ("run", format!("`{DEFAULT_RUN}`"), "The folder of Envoy's admin socket and `health.log`."),
        (
            "module",
            format!("`{}`", ModuleKind::default().name()),
            "`wasm` or `native`: [which to take](../explanation/wasm-or-native.md). `native` needs Envoy 1.38.",
        ),
        ("module_file", "see below".into(), "The file of the module: `blobgate.wasm` or `libblobgate.so`."),
        ("ports.services", port(ports.services), "Envoy's port for the inbox's attempts and status calls."),
        ("ports.metrics", port(ports.metrics), "Envoy's port for metrics and readiness."),
        ("ports.inbox", port(ports.inbox), "The inbox's port for the gate."),
        ("ports.admin", port(ports.admin), "The inbox's port for operators."),
        (
            "ports.access_log",
            port(ports.access_log),
            "The inbox's port for Envoy's access log, which has the refusals of the gate.",
        ),
    ];
    rows.map(|(key, default, meaning)| [format!("`{key}`"), default, meaning.to_owned()]).into()
}

#[test]
fn the_reference_has_each_key_of_a_setup() {
    let page = format!(
        "# Setup file\n\n\
         `blobgate.yaml` describes one gate with its inbox and services. [`blobgate init`](command-line.md#blobgate-init) makes it,\n\
         [`blobgate up`](command-line.md#blobgate-up) runs it, [`blobgate render`](command-line.md#blobgate-render) writes Envoy's\n\
         configuration from it, and [`blobgate check`](command-line.md#blobgate-check) finds its mistakes.\n\n\
         ```yaml\n{EXAMPLE}```\n\n\
         An unknown or repeated key is an error. Relative paths count from the folder of the file, the setup folder. Envoy and the\n\
         inbox start there. The ports are those of 127.0.0.1, each another one. What has no key here is edited in `envoy.yaml`.\n\n{}\n\
         `off` and `010` are texts here, and not `false` and 8 as in an `envoy.yaml`.\n\n\
         Without `module_file`, the program takes `blobgate.wasm`, or with `module: native` the file `libblobgate.so`. It looks in\n\
         its own folder, and beside it in `../lib/blobgate` and `../share/blobgate`. In a clone, it also looks in\n\
         `../wasm32-wasip1/release` and `../native`.\n\n\
         ## Files\n\n{}\n\
         `render` replaces each file whole. It leaves a file whose digest is not in `rendered.sha256`: a person has edited it. To\n\
         take the new one, remove the file and render again. As root, `render` gives new files to the owner of their folder.\n\n\
         A value in `secrets/env` with a space, a quote, `$` or a backslash stands in single quotes: then a shell, systemd and\n\
         Docker read the same.\n\n\
         A renewed certificate or API key needs no restart: [Rotate keys](../howto/rotate-keys.md).\n",
        table(["key", "default", "meaning"], rows()),
        table(["file", "written by", "has"], files()),
    );
    check_page("setup-file", &page);
}

fn files() -> Vec<[String; 3]> {
    let rows = [
        ("blobgate.yaml", "you, or `init`", "this setup"),
        (
            "secrets/env",
            "`init`, mode 600",
            "the variables of `token_keys`, `signing_keys` and `admin_tokens`, as `NAME=value`",
        ),
        ("secrets/runblob-key", "`init`, mode 600", "RunBlob's API key"),
        ("certs/", "you, or `init`", "certificate and key"),
        ("envoy.yaml", "`render`", "Envoy's configuration"),
        (
            "inbox.env",
            "`render`, mode 600",
            "the options of `blobgate inbox serve`; those in `secrets/env` come later, and win",
        ),
        ("certs/sds.yaml", "`render`", "the paths of certificate and key, for Envoy"),
        ("secrets/runblob-key.yaml", "`render`, mode 600", "the API key, for Envoy"),
        ("rendered.sha256", "`render`, mode 600", "the digests of what `render` wrote, for `sha256sum -c`"),
        ("run/", "`render`", "Envoy's admin socket and `health.log`"),
    ];
    rows.map(|(file, by, has)| [format!("`{file}`"), by.to_owned(), has.to_owned()]).into()
}

#[test]
fn names_each_key_once() {
    let below =
        |parent: &str, keys: &[&str]| keys.iter().map(|key| format!("`{parent}.{key}`")).collect::<Vec<_>>();
    let parents = [
        ("tls", below("tls", &TLS_KEYS)),
        ("hook", below("hook", &HOOK_KEYS)),
        ("services", below("services", &SERVICE_KEYS)),
        ("inbox", below("inbox", &INBOX_KEYS)),
        ("ports", below("ports", &PORT_KEYS)),
    ];
    let known = KEYS.iter().flat_map(|key| match parents.iter().find(|(parent, _)| parent == key) {
        Some((_, below)) => below.clone(),
        None => vec![format!("`{key}`")],
    });
    let documented: Vec<String> = rows().into_iter().map(|[key, ..]| key).collect();
    assert_eq!(documented, known.collect::<Vec<_>>());
    Setup::parse(Path::new("blobgate.yaml"), EXAMPLE).unwrap();
}
