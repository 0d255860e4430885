//! What a person needs to know once everything runs.

use super::part::Parts;
use super::plan::{Layout, Role, StartPlan};
use crate::output::tell_lines;
use uuid::Uuid;

pub(super) fn show(plan: &StartPlan, parts: &Parts) {
    tell_lines(&text(plan, parts, &tool()));
}

/// This program as the user has called it, for commands to copy.
fn tool() -> String {
    std::env::args().next().unwrap_or_else(|| "blobgate".to_owned())
}

fn text(plan: &StartPlan, parts: &Parts, tool: &str) -> String {
    let at = &plan.addresses;
    let (edge, id) = (at.edge, Uuid::new_v4());
    let (listeners, again, more) = match plan.layout {
        Layout::WithInbox => (
            format!(
                "  {:<35} the inbox: stores events in target/run/inbox.db, delivers them through
                                      {} until a service answers 2xx; metrics: http://{}/metrics
  {:<35} the services: video gets completions
  {:<35} failure gets failures and timeouts
  {:<35} quarantine gets nothing: the inbox quarantines by itself",
                at.inbox.to_string(),
                at.services,
                at.admin,
                at.video.to_string(),
                at.failure.to_string(),
                at.quarantine.to_string(),
            ),
            "; a repeat gets 200 too and is not delivered",
            with_inbox(parts, tool),
        ),
        Layout::GateAlone => (
            format!(
                "  {:<35} the services: video gets completions
  {:<35} failure gets failures and timeouts
  {:<35} quarantine gets quarantined events, into target/run/quarantine",
                at.video.to_string(),
                at.failure.to_string(),
                at.quarantine.to_string(),
            ),
            "",
            String::new(),
        ),
    };
    format!(
        r#"
The gate runs (Envoy {version}).

  {webhook:<35} the open hook, where RunBlob would deliver
  {veo3:<35} the hook that authenticates: a token in the URL, or the status API
  {plaintext:<35} the same hooks over plain HTTP, where the gate refuses
  {sandbox:<35} the sandbox as RunBlob's API: a generation takes two seconds
{listeners}
  {metrics:<35} Envoy's /ready and /stats/prometheus; its admin page has a socket:
                                      curl --unix-socket run/admin.sock http://localhost/stats

Try `make demo` in another terminal, or send one delivery{again}:

  curl -i --cacert certs/edge.pem https://{edge}/webhook -H 'content-type: application/json' -d '{{
    "generation_id": "{id}",
    "status": "completed",
    "prompt": "A cat playing with a ball in a sunny room",
    "video_url": "https://cdn.runblob.io/videos/your-video.mp4",
    "created_at": "2025-12-06T21:43:03.374000",
    "completed_at": "2025-12-06T21:44:06.143000",
    "seed": 319790131,
    "error": null
  }}'

Or order a generation from the sandbox, which calls back with a token of its own:

  url=$(dev/with-secrets {tool} mint --key-env BLOBGATE_TOKEN_KEY --kid dev \
    --aud development/veo3-token --url https://{edge}/hooks/veo3 --job order-17)
  curl -i --cacert certs/edge.pem https://{at_sandbox}/v1/veo/generate \
    -H "authorization: Bearer $(cat secrets/runblob-key)" -H 'content-type: application/json' \
    -d '{{"prompt": "A cat playing with a ball in a sunny room", "callback_url": "'"$url"'"}}'
{more}
This terminal shows arrivals and refusals. Envoy's access log is target/run/gate.log. Ctrl-C ends everything.
"#,
        version = plan.envoy_version,
        webhook = format!("https://{edge}/webhook"),
        veo3 = format!("https://{edge}/hooks/veo3"),
        plaintext = format!("http://{}", at.plaintext),
        sandbox = format!("https://{}", at.sandbox),
        at_sandbox = at.sandbox,
        metrics = format!("http://{}", at.metrics),
    )
}

fn with_inbox(parts: &Parts, tool: &str) -> String {
    let pid = |role| parts.pid(role).unwrap_or_default();
    format!(
        "
Operate the inbox with these commands. Each has --help:

  {tool} inbox ls           lists entries, the newest first
  {tool} inbox show ID      shows one entry with its body
  {tool} inbox release ID   delivers a quarantined entry
  {tool} inbox replay ID    delivers an entry again

Or end the service video, send a delivery, see it wait, and start the service again:

  kill {video}
  {tool} inbox ls
  kill -USR1 {up}

End the inbox to restore its store with `kill {inbox}`, and start it again with `kill -USR1 {up}`.
",
        video = pid(Role::Video),
        inbox = pid(Role::Inbox),
        up = std::process::id(),
    )
}
