//! The parts: programs, arguments and probes.

use super::Error;
use super::addresses::{Addresses, CONFIG};
use super::ready::Probe;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) const CERTIFICATE: &str = "certs/edge.pem";
pub(super) const STORE: &str = "sqlite:target/run/inbox.db";
const CERTIFICATE_KEY: &str = "certs/edge-key.pem";
const API_KEY: &str = "secrets/runblob-key";
const SECRETS: &str = "secrets/env";
const MODULE: &str = "target/wasm32-wasip1/release/blobgate.wasm";

const MADE_BY_CERTIFICATE: &str = "Make it with `dev/certificate`";
const MADE_BY_SECRETS: &str = "Make it with `dev/secrets`";

/// The files that the parts read, with the command that makes each.
const FILES: [(&str, &str); 6] = [
    (MODULE, "Make it with `make build`"),
    (CERTIFICATE, MADE_BY_CERTIFICATE),
    (CERTIFICATE_KEY, MADE_BY_CERTIFICATE),
    (API_KEY, MADE_BY_SECRETS),
    ("secrets/runblob-key.yaml", MADE_BY_SECRETS),
    (SECRETS, MADE_BY_SECRETS),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    WithInbox,
    GateAlone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Video,
    Failure,
    Quarantine,
    Sandbox,
    Inbox,
    Gate,
}

pub(super) struct StartPlan {
    pub(super) layout: Layout,
    pub(super) addresses: Addresses,
    /// From `envoy --version`.
    pub(super) envoy_version: String,
    envoy: PathBuf,
    /// This program.
    tool: PathBuf,
    /// `secrets/env`, for the gate and the inbox only.
    secrets: Vec<(String, String)>,
}

impl Layout {
    /// The roles in the order of their start.
    pub(super) fn roles(self) -> &'static [Role] {
        use Role::{Failure, Gate, Inbox, Quarantine, Sandbox, Video};
        match self {
            Self::WithInbox => &[Video, Failure, Quarantine, Sandbox, Inbox, Gate],
            Self::GateAlone => &[Video, Failure, Quarantine, Sandbox, Gate],
        }
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Failure => "failure",
            Self::Quarantine => "quarantine",
            Self::Sandbox => "sandbox",
            Self::Inbox => "inbox",
            Self::Gate => "gate",
        })
    }
}

impl StartPlan {
    pub(super) fn new(layout: Layout, envoy: PathBuf, addresses: Addresses) -> Result<Self, Error> {
        for (file, remedy) in FILES {
            std::fs::File::open(file).map_err(|why| Error::Unreadable { file, why, remedy })?;
        }
        let tool = std::env::current_exe().map_err(|why| Error::Unprepared {
            place: "this program's own path".to_owned(),
            why: why.into(),
        })?;
        Ok(Self { layout, addresses, envoy_version: version(&envoy)?, envoy, tool, secrets: secrets()? })
    }

    /// This program.
    pub(super) fn tool(&self) -> &Path {
        &self.tool
    }

    /// The addresses of all listeners.
    pub(super) fn listeners(&self) -> Vec<SocketAddr> {
        let at = &self.addresses;
        let mut all = vec![
            at.edge,
            at.plaintext,
            at.services,
            at.metrics,
            at.video,
            at.failure,
            at.quarantine,
            at.sandbox,
        ];
        if self.layout == Layout::WithInbox {
            all.extend([at.inbox, at.admin]);
        }
        all
    }

    /// The probes in the order of waiting.
    pub(super) fn probes(&self) -> Vec<Probe> {
        let at = &self.addresses;
        let probe =
            |what, scheme: &str, address, path| Probe { what, url: format!("{scheme}://{address}{path}") };
        let mut probes = vec![
            probe("the service video", "http", at.video, "/healthz"),
            probe("the service failure", "http", at.failure, "/healthz"),
            probe("the service quarantine", "http", at.quarantine, "/healthz"),
            probe("the sandbox", "https", at.sandbox, "/sandbox/calls"),
        ];
        if self.layout == Layout::WithInbox {
            probes.push(probe("the inbox", "http", at.admin, "/readyz"));
        }
        // This listener leads to the socket of the admin page.
        probes.push(probe("Envoy", "http", at.metrics, "/ready"));
        probes.push(probe("the gate", "https", at.edge, "/healthz"));
        probes
    }

    /// The program, arguments and environment of a part.
    pub(super) fn command(&self, role: Role) -> (&Path, Vec<OsString>, &[(String, String)]) {
        let at = &self.addresses;
        let receiver = |address| words(&format!("receiver --name {role} --listen {address}"));
        let (program, arguments, secrets): (&Path, _, &[_]) = match role {
            Role::Video => (&self.tool, receiver(at.video), &[]),
            Role::Failure => (&self.tool, receiver(at.failure), &[]),
            Role::Quarantine => {
                let folder = words("--keep target/run/quarantine");
                (&self.tool, [receiver(at.quarantine), folder].concat(), &[])
            }
            // At this speed, a generation of two minutes takes two seconds.
            Role::Sandbox => (
                &self.tool,
                words(&format!(
                    "sandbox --listen {} --tls-cert {CERTIFICATE} --tls-key {CERTIFICATE_KEY} --api-key-file {API_KEY} \
                     --callback-ca {CERTIFICATE} --speed 60",
                    at.sandbox
                )),
                &[],
            ),
            // The default of 13 minutes, at the sandbox's speed.
            Role::Inbox => (
                &self.tool,
                words(&format!(
                    "inbox serve --store {STORE} --listen {} --admin {} --deliver-to http://{} --signing-key-env \
                     BLOBGATE_SIGNING_KEY --provider http://{} --reconcile-after 13s --log-format text",
                    at.inbox, at.admin, at.services, at.services
                )),
                &self.secrets,
            ),
            Role::Gate => (&self.envoy, self.envoy_arguments(), &self.secrets),
        };
        (program, arguments, secrets)
    }

    fn envoy_arguments(&self) -> Vec<OsString> {
        // Hot restart would conflict with a second Envoy on the machine.
        let mut arguments =
            words(&format!("-c {CONFIG} --disable-hot-restart --log-level warn --log-format"));
        arguments.push("%T  gate     %l: %v".into());
        if self.layout == Layout::GateAlone {
            let alone = "layered_runtime: {layers: [{name: alone, static_layer: {blobgate.inbox: 0}}]}";
            arguments.extend(["--config-yaml".into(), alone.into()]);
        }
        arguments
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

/// `1.40.0` of `envoy  version: 4cd9a9a/1.40.0/Clean/RELEASE/BoringSSL`. Fails if Envoy does not run here.
fn version(envoy: &Path) -> Result<String, Error> {
    let error = |why: String| Error::NoEnvoy { program: envoy.display().to_string(), why };
    let run = Command::new(envoy).arg("--version").output().map_err(|why| {
        error(if why.kind() == ErrorKind::NotFound {
            "the program does not exist".to_owned()
        } else {
            why.to_string()
        })
    })?;
    let output = String::from_utf8_lossy(&run.stdout);
    let version = output.split_once("version:").and_then(|(_, version)| version.split('/').nth(1));
    Ok(version
        .filter(|_| run.status.success())
        .ok_or_else(|| error(format!("`--version` ends with {}", run.status)))?
        .to_owned())
}

/// Parses lines `NAME=value`, with unchanged values. Errors contain no value.
fn secrets() -> Result<Vec<(String, String)>, Error> {
    let text = std::fs::read_to_string(SECRETS).map_err(|why| Error::Unreadable {
        file: SECRETS,
        why,
        remedy: MADE_BY_SECRETS,
    })?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, _)| is_name(name))
        .collect())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
}
