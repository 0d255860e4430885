//! What a prepared setup starts: its parts, their ports and their probes.

use super::{INBOX_END, PreparedSetup, sandbox, unprepared};
use crate::setup::regular_file;
use crate::up::log::{PartLog, StdoutForm};
use crate::up::plan::{
    Layout, PartCommand, PlannedListener, Probe, ReadyWhen, Role, StartPlan, reachable, words,
};
use crate::up::{Error, addresses};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

impl PreparedSetup {
    pub(super) fn plan(&self, log: PartLog) -> Result<StartPlan, Error> {
        let setup = &self.setup;
        let envoy_text = regular_file::open(&setup.resolve(&self.envoy_file))
            .and_then(std::io::read_to_string)
            .map_err(|why| unprepared(&self.envoy_file, why))?;
        // Envoy itself reports a file without valid listeners. Until then, nothing may look ready.
        let mut envoy_listeners = addresses::listeners(&envoy_text);
        if envoy_listeners.is_empty() {
            envoy_listeners.push(("edge".to_owned(), setup.listen));
        }
        let named = |name: &str| envoy_listeners.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
        let admin = self.inbox_address("BLOBGATE_INBOX_ADMIN", setup.ports.admin);
        let mut listeners: Vec<SocketAddr> = envoy_listeners.iter().map(|(_, at)| *at).collect();
        listeners.push(self.inbox_address("BLOBGATE_INBOX_LISTEN", setup.ports.inbox));
        listeners.push(admin);
        listeners.push(self.inbox_address("BLOBGATE_INBOX_ACCESS_LOG", setup.ports.access_log));

        let answers = |what, url: String| Probe { what, ready: ReadyWhen::InitAnswers(url) };
        let mut probes = Vec::new();
        if let Some(sandbox) = &self.sandbox {
            listeners.push(sandbox.address);
            probes.push(answers("the sandbox", format!("https://{}/sandbox/calls", sandbox.address)));
        }
        probes.push(answers("the inbox", format!("http://{}/readyz", reachable(admin))));
        if let Some(metrics) = named("metrics") {
            probes.push(answers("Envoy", format!("http://{}/ready", reachable(metrics))));
        }
        if let Some(edge) = named("edge").map(reachable) {
            probes.push(match self.is_edited {
                false => answers("the gate", format!("https://{edge}/healthz")),
                // An edited listener may take the PROXY protocol alone, or have no such route.
                true => Probe { what: "the gate", ready: ReadyWhen::Accepts(edge) },
            });
        }

        let tool = crate::up::tool()?;
        Ok(StartPlan {
            layout: Layout::Setup,
            parts: self.parts(&tool, &log),
            tool,
            folder: setup.folder.clone(),
            admin_socket: setup.resolve(&setup.run).join("admin.sock"),
            listeners: listeners.into_iter().map(|address| self.planned(address)).collect(),
            probes,
            inbox_end: INBOX_END,
            log,
        })
    }

    /// An edited inbox.env may have another address than the setup.
    fn inbox_address(&self, variable: &str, port: u16) -> SocketAddr {
        let value = self.variable(variable);
        value.and_then(|value| value.parse().ok()).unwrap_or((Ipv4Addr::LOCALHOST, port).into())
    }

    /// A variable of the inbox. secrets/env comes last, since a store with a password stands there.
    fn variable(&self, name: &str) -> Option<&str> {
        let all = self.secrets.iter().chain(&self.inbox);
        all.into_iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn planned(&self, address: SocketAddr) -> PlannedListener {
        let file = self.setup.file.display();
        let privileged = if address.port() < 1024 {
            "Start it as root or with CAP_NET_BIND_SERVICE, or change"
        } else {
            "Change"
        };
        PlannedListener {
            address,
            taken: format!("End that program, or change the port in {file}"),
            unusable: format!("{privileged} the address in {file}"),
        }
    }

    /// The parts in the order of their start.
    fn parts(&self, tool: &Path, log: &PartLog) -> Vec<PartCommand> {
        let part = |role, program: &Path, arguments, variables| PartCommand {
            role,
            program: program.to_owned(),
            arguments,
            variables,
        };
        let mut parts = Vec::new();
        let format = match log {
            PartLog::Stdout(StdoutForm::Json, _) => "json",
            _ => "text",
        };
        let mut inbox = words(&format!("inbox serve --log-format {format}"));
        if let Some(sandbox) = &self.sandbox {
            parts.push(part(Role::Sandbox, tool, sandbox.arguments(&self.setup), Vec::new()));
            inbox.extend(sandbox::inbox_arguments());
        }
        parts.push(part(Role::Inbox, tool, inbox, self.inbox_variables()));
        // Envoy keeps lines of its access log for 10 s by default.
        let mut envoy =
            words("--disable-hot-restart --file-flush-interval-msec 200 --log-level warn --log-format");
        envoy.extend(["%l: %v".into(), "-c".into(), self.envoy_file.clone().into()]);
        parts.push(part(Role::Gate, &self.envoy.path, envoy, self.secrets.clone()));
        parts
    }

    pub(super) fn inbox_variables(&self) -> Vec<(String, String)> {
        self.inbox.iter().chain(&self.secrets).cloned().collect()
    }
}
