//! Reads a setup file. Every fault is reported, in the order of the file.

use super::error::SetupFault;
use super::gate;
use super::host::PublicHost;
use super::inbox;
use super::listeners;
use super::module::ModuleKind;
use super::reader::{SetupReader, show};
use super::service::ServiceUrl;
use super::{Setup, SetupHook, SetupServices};
use crate::check::cursor::YamlCursor;
use crate::check::syntax_error;
use blobgate_inbox::yaml::{YamlNode, YamlReader, YamlValue, parse_yaml};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The keys of the file.
pub(super) const KEYS: [&str; 14] = [
    "host",
    "listen",
    "tls",
    "environment",
    "hook",
    "api_key_file",
    "token_keys",
    "signing_keys",
    "services",
    "inbox",
    "run",
    "module",
    "module_file",
    "ports",
];
pub(super) const HOOK_KEYS: [&str; 5] = ["name", "path", "trust", "source", "result_url"];
pub(super) const TLS_KEYS: [&str; 2] = ["certificate", "key"];
pub(super) const SERVICE_KEYS: [&str; 3] = ["completed", "failed", "quarantined"];
pub(super) const INBOX_KEYS: [&str; 2] = ["store", "admin_tokens"];
pub(super) const PORT_KEYS: [&str; 5] = ["services", "metrics", "inbox", "admin", "access_log"];

pub(super) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);
pub(super) const DEFAULT_RUN: &str = "run";
/// Envoy itself answers it, for load balancers.
const HEALTH: &str = "/healthz";
/// The longest path of a socket on Linux, without its end.
const MAX_SOCKET: usize = 107;

/// The setup that a file's text stands for.
pub(super) fn parse(file: &Path, text: &str) -> Result<Setup, Vec<SetupFault>> {
    let root = root(text).map_err(|fault| vec![fault])?;
    let root = YamlCursor::new(&root, "");
    let mut reader = SetupReader::default();
    let setup = setup(file, &root, &mut reader);
    let mut faults = reader.faults;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    match setup {
        Some(setup) if faults.is_empty() => Ok(setup),
        _ => Err(faults),
    }
}

fn root(text: &str) -> Result<YamlNode, SetupFault> {
    const EXPECTED: &str = "write host, tls, environment, hook, services and inbox, or run `blobgate init`";
    let fault = |line, column, wrong: &str, remedy: &str| SetupFault {
        line,
        column,
        field: "the file".to_owned(),
        wrong: wrong.to_owned(),
        remedy: remedy.to_owned(),
    };
    let documents = parse_yaml(text, YamlReader::Setup).map_err(|error| {
        let finding = syntax_error(&error, text);
        SetupFault {
            line: finding.line,
            column: finding.column,
            field: finding.field,
            wrong: finding.wrong,
            remedy: finding.remedy,
        }
    })?;
    let mut documents = documents.into_iter().filter(|document| document.value != YamlValue::Null);
    let Some(root) = documents.next() else { return Err(fault(0, 0, "is empty", EXPECTED)) };
    if let Some(second) = documents.next() {
        return Err(fault(second.line, second.column, "has a second document", "write one"));
    }
    match root.value {
        YamlValue::Map(_) => Ok(root),
        _ => Err(fault(root.line, root.column, &format!("is {}", show(&root)), EXPECTED)),
    }
}

fn setup(file: &Path, root: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<Setup> {
    let none = |_: &str| None;
    reader.object(root, &KEYS, &none);
    let host = required(root, "host", "the public name, such as hooks.example.com", reader);
    let host = host.and_then(|value| host_of(&value, reader));
    let listen = listeners::listen(root, reader);
    let (certificate, certificate_key) = tls_files(root, reader);
    let hook = hook(root, reader);
    let api_key_file = root.get("api_key_file").map(|value| {
        reader.path(&value, "the name of a file with RunBlob's API key, such as secrets/runblob-key")
    });
    let services = required(root, "services", "services with completed and failed", reader);
    let services = services.filter(|services| reader.object(services, &SERVICE_KEYS, &none));
    let inbox = inbox::read(root, reader);
    let run = match root.get("run") {
        Some(value) => run(&value, reader),
        None => Some(PathBuf::from(DEFAULT_RUN)),
    };
    let module = ModuleKind::read(root, reader);
    let module_file = root
        .get("module_file")
        .map(|value| reader.path(&value, "the name of blobgate.wasm or libblobgate.so"));
    let ports = listeners::ports(root, reader);
    if let (Some(listen), Some(ports)) = (listen, ports) {
        listeners::check_ports(root, listen, ports, reader);
    }
    let gate = gate::check(root, reader).to_json();
    let services = services.and_then(|services| service_urls(&services, reader));
    let (host, inbox) = (host?, inbox?);
    let setup = Setup {
        file: file.to_owned(),
        folder: folder(file),
        host: host.host,
        public_port: host.port,
        listen: listen?,
        certificate: certificate?,
        certificate_key: certificate_key?,
        environment: root.text_at(&["environment"]).unwrap_or_default().to_owned(),
        hook: hook_of(&hook?),
        api_key_file: all(api_key_file)?,
        token_keys: root.get("token_keys").map(|keys| keys.node().to_json()),
        signing_keys: signing_keys(&gate),
        services: services?,
        store: inbox.store,
        admin_tokens: inbox.admin_tokens,
        run: run?,
        module: module?,
        module_file: all(module_file)?,
        ports: ports?,
        gate,
    };
    listeners::check_loops(&setup, root, reader);
    Some(setup)
}

/// The certificate and its key.
fn tls_files(root: &YamlCursor<'_>, reader: &mut SetupReader) -> (Option<PathBuf>, Option<PathBuf>) {
    const EXPECTED: &str = "the name of a PEM file";
    let tls = required(root, "tls", "tls: {certificate: certs/edge.pem, key: certs/edge-key.pem}", reader);
    let Some(tls) = tls.filter(|tls| reader.object(tls, &TLS_KEYS, &|_| None)) else { return (None, None) };
    let mut file = |key| {
        let value = required(&tls, key, EXPECTED, reader)?;
        reader.path(&value, EXPECTED)
    };
    (file("certificate"), file("key"))
}

fn hook<'y>(root: &YamlCursor<'y>, reader: &mut SetupReader) -> Option<YamlCursor<'y>> {
    let hook = required(root, "hook", "hook with path, trust, source and result_url", reader)?;
    if !reader.object(&hook, &HOOK_KEYS, &of_envoy) {
        return None;
    }
    if let Some(path) = hook.get("path").filter(|path| path.text() == Some(HEALTH)) {
        let wrong = "is the path of Envoy's own health check";
        reader.fault(path.spot(), wrong, "write another, such as /webhook/{token}");
    }
    Some(hook)
}

/// `None` for an invalid value; a missing one is valid.
#[allow(clippy::option_option, reason = "a missing key and an invalid value differ")]
fn all<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

pub(super) fn required<'y>(
    at: &YamlCursor<'y>,
    key: &str,
    expected: &str,
    reader: &mut SetupReader,
) -> Option<YamlCursor<'y>> {
    reader.missing(at, key, expected);
    at.get(key)
}

/// A key that only envoy.yaml has.
fn of_envoy(key: &str) -> Option<String> {
    let sections = blobgate::config::sections();
    let hook = sections.iter().find(|section| section.keys.iter().any(|known| known.key == "dialect"))?;
    hook.keys
        .iter()
        .any(|known| known.key == key)
        .then(|| format!("remove it, and edit {key} in the rendered envoy.yaml"))
}

fn folder(file: &Path) -> PathBuf {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn host_of(value: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<PublicHost> {
    let text = reader.text(value, "the public name, such as hooks.example.com")?;
    match PublicHost::parse(text) {
        Ok(host) => Some(host),
        Err(why) => {
            reader.fault(value.spot(), why.to_string(), why.remedy());
            None
        }
    }
}

fn run(value: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<PathBuf> {
    let run = reader.path(value, "the name of a folder, such as run")?;
    if run.join("admin.sock").as_os_str().len() > MAX_SOCKET {
        reader.fault(
            value.spot(),
            "is too long for Envoy's admin socket in it",
            "write a path of up to 96 bytes",
        );
        return None;
    }
    Some(run)
}

fn service_urls(services: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<SetupServices> {
    const EXPECTED: &str = "http://HOST:PORT, such as http://127.0.0.1:5000";
    let mut read = |key: &str| {
        let value = services.get(key)?;
        // A URL may contain a password.
        let text = match value.text() {
            Some(_) => reader.text(&value, EXPECTED)?,
            None => {
                reader.fault(value.spot(), "is no text", format!("write {EXPECTED}"));
                return None;
            }
        };
        match ServiceUrl::parse(text) {
            Ok(url) => Some(url),
            Err(why) => {
                reader.fault(value.spot(), why.to_string(), why.remedy());
                None
            }
        }
    };
    let (completed, failed, quarantined) = (read("completed"), read("failed"), read("quarantined"));
    for key in ["completed", "failed"] {
        reader.missing(services, key, EXPECTED);
    }
    Some(SetupServices { completed: completed?, failed: failed?, quarantined })
}

fn hook_of(hook: &YamlCursor<'_>) -> SetupHook {
    let json = |key| hook.get(key).map(|value| value.node().to_json()).unwrap_or_default();
    SetupHook {
        name: hook.text_at(&["name"]).unwrap_or(gate::DEFAULT_HOOK).to_owned(),
        path: hook.text_at(&["path"]).unwrap_or_default().to_owned(),
        trust: json("trust"),
        source: json("source"),
        result_url: json("result_url"),
    }
}

/// The names in the gate's configuration, which has the default.
fn signing_keys(gate: &serde_json::Value) -> Vec<String> {
    let names = gate.pointer("/sign/env").and_then(serde_json::Value::as_array);
    let names = names.into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
