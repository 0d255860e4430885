//! The text once all parts run.

use super::{PreparedSetup, services};
use crate::mint::SetupTokenKey;
use crate::setup::{Setup, SetupHost};
use crate::shell;
use crate::up::envoy::runs_on;
use blobgate_inbox::AccessRole;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

pub(super) fn text(prepared: &PreparedSetup, took: Duration) -> String {
    let PreparedSetup { setup, envoy, .. } = prepared;
    let ports = setup.ports;
    let mut lines = vec![(
        callback_url(setup),
        format!("the hook {}; Envoy listens on {}", setup.hook.name, setup.listen),
    )];
    lines.extend(
        services::by_url(&setup.services)
            .into_iter()
            .map(|(events, url)| (url.to_string(), format!("your service for {events} events"))),
    );
    lines.push((
        format!("http://127.0.0.1:{}/stats/prometheus", ports.metrics),
        "the gate's metrics".to_owned(),
    ));
    lines.push((format!("http://127.0.0.1:{}/metrics", ports.admin), "the inbox's metrics".to_owned()));
    lines.push((page_url(ports.admin), "the page: look at events, and release them".to_owned()));
    if let Some(sandbox) = &prepared.sandbox {
        let about = "the sandbox: RunBlob's API, a generation takes two seconds".to_owned();
        lines.push((format!("https://{}", sandbox.address), about));
    }
    let width = lines.iter().map(|(url, _)| url.len()).max().unwrap_or_default();
    let lines: String = lines.iter().map(|(url, about)| format!("  {url:<width$}  {about}\n")).collect();
    let (tool, admin) = (shell::program(), admin_option(setup));
    format!(
        "
Blobgate runs on {envoy}: ready in {seconds:.1} s.

{lines}{order}
In another terminal:
  {tool} inbox ls{admin}       # lists the stored events
  {tool} why ID{admin}         # tells where the event of a generation is

The log follows, and stands in no file. Ctrl-C or `kill {pid}` ends everything.
",
        envoy = runs_on(envoy, setup.module),
        seconds = took.as_secs_f32(),
        order = order(prepared, &tool),
        pid = std::process::id(),
    )
}

pub(super) fn facts(prepared: &PreparedSetup, took: Duration) -> Value {
    let setup = &prepared.setup;
    json!({
        "message": "ready",
        "seconds": took.as_secs_f32(),
        "envoy": prepared.envoy.version,
        "module": setup.module,
        "hook": callback_url(setup),
        "page": page_url(setup.ports.admin),
        "sandbox": prepared.sandbox.as_ref().map(|sandbox| format!("https://{}", sandbox.address)),
    })
}

fn page_url(admin: u16) -> String {
    format!("http://127.0.0.1:{admin}/page/")
}

fn callback_url(setup: &Setup) -> String {
    let token = if setup.token_keys.is_some() { "/{token}" } else { "" };
    format!("{}{token}", setup.hook_url())
}

fn admin_option(setup: &Setup) -> String {
    let address = match setup.ports.admin {
        9085 => String::new(),
        port => format!(" --admin 127.0.0.1:{port}"),
    };
    let variable = setup.admin_token([AccessRole::Operate, AccessRole::Read]);
    let token = variable.map(|variable| format!(" --admin-token-env {variable}"));
    address + &token.unwrap_or_default()
}

/// Commands that order a generation from the sandbox.
fn order(prepared: &PreparedSetup, tool: &str) -> String {
    let PreparedSetup { setup, .. } = prepared;
    let Some(sandbox) = &prepared.sandbox else { return String::new() };
    let shown = |path: &Path| shell::path(&prepared.shown_folder.join(path));
    let port = sandbox.address.port();
    let host = match &setup.host {
        SetupHost::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        host => host.to_string(),
    };
    let connect =
        if host == "localhost" { String::new() } else { format!(" --connect-to ::127.0.0.1:{port}") };
    format!(
        r#"
Order a generation from the sandbox. It calls back{how}:

{url}
  curl --cacert {certificate}{connect} https://{host}:{port}/v1/veo/generate \
    -H "authorization: Bearer $(cat {key})" -H 'content-type: application/json' \
    -d '{{"prompt": "A cat playing with a ball in a sunny room", "callback_url": "'"$url"'"}}'
"#,
        how = if setup.token_keys.is_some() { " with a token in the URL" } else { "" },
        url = url_line(prepared, tool),
        certificate = shown(&setup.certificate),
        key = shown(&sandbox.key_file),
    )
}

/// A line that sets `url`.
fn url_line(prepared: &PreparedSetup, tool: &str) -> String {
    let setup = &prepared.setup;
    let Ok(key) = SetupTokenKey::newest(setup) else { return format!("  url={}", setup.hook_url()) };
    // Of an EdDSA key the setup has the public half alone.
    let signer = if key.variable.is_some() { "" } else { " --key-file YOUR-PRIVATE-KEY.pem" };
    format!("  url=$({tool} mint --setup {}{signer} --job order-17)", shell::path(&setup.file))
}
