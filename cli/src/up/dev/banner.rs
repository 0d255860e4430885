//! The text once all parts run.

use crate::shell;
use crate::up::addresses::Addresses;
use crate::up::part::Parts;
use crate::up::plan::{Layout, Role};
use uuid::Uuid;

/// Each line has an address and a purpose.
fn addresses(layout: Layout, at: &Addresses) -> String {
    let mut lines = vec![
        (format!("https://{}/webhook", at.edge), "open hook"),
        (format!("https://{}/hooks/veo3", at.edge), "authenticating hook: token in the URL, or status API"),
        (format!("http://{}", at.plaintext), "both hooks over plain HTTP, which the gate refuses"),
        (format!("http://{}/stats/prometheus", at.metrics), "the gate's metrics"),
    ];
    if layout == Layout::WithInbox {
        lines.push((format!("http://{}", at.inbox), "inbox: stores events in target/run/inbox.db"));
        lines.push((format!("http://{}/page/", at.admin), "page: look at events, and release them"));
        lines.push((format!("http://{}", at.admin), "inbox for operators: /metrics, and `blobgate inbox`"));
    }
    lines.push((format!("http://{}", at.video), "service video: gets completions"));
    lines.push((format!("http://{}", at.failure), "service failure: gets failures and timeouts"));
    lines.push((
        format!("http://{}", at.quarantine),
        match layout {
            Layout::WithInbox | Layout::Setup => "service quarantine: gets nothing, the inbox quarantines",
            Layout::GateAlone => "service quarantine: writes events to target/run/quarantine",
        },
    ));
    lines.push((format!("https://{}", at.sandbox), "sandbox: RunBlob's API, a generation takes two seconds"));
    lines.iter().map(|(address, purpose)| format!("  {address:<40}{purpose}\n")).collect()
}

pub(super) fn text(layout: Layout, at: &Addresses, envoy: &str, parts: &Parts) -> String {
    let tool = shell::program();
    let (edge, id) = (at.edge, Uuid::new_v4());
    let (repeat, inbox) = match layout {
        Layout::WithInbox | Layout::Setup => (" (a repeat is not delivered again)", with_inbox(parts, &tool)),
        Layout::GateAlone => ("", String::new()),
    };
    format!(
        r#"
Blobgate runs, on {envoy}.

{addresses}
Try `make demo` in another terminal, or send one delivery{repeat}:

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

Order a generation from the sandbox. It calls back with a token in the URL:

  url=$(dev/with-secrets {tool} mint --key-env BLOBGATE_TOKEN_KEY --kid dev \
    --aud development/veo3-token --url https://{edge}/hooks/veo3 --job order-17)
  curl -i --cacert certs/edge.pem https://{sandbox}/v1/veo/generate \
    -H "authorization: Bearer $(cat secrets/runblob-key)" -H 'content-type: application/json' \
    -d '{{"prompt": "A cat playing with a ball in a sunny room", "callback_url": "'"$url"'"}}'
{inbox}
Requests and refusals follow here. Logs, with Envoy's access log: target/run/*.log
Envoy's admin page: curl --unix-socket run/admin.sock http://localhost/stats
Ctrl-C ends everything.
"#,
        addresses = addresses(layout, at),
        sandbox = at.sandbox,
    )
}

fn with_inbox(parts: &Parts, tool: &str) -> String {
    let pid = |role| parts.pid(role).unwrap_or_default();
    format!(
        "
Operate the inbox. Each command has --help:

  {tool} inbox ls           # lists entries, the newest first
  {tool} inbox show ID      # shows one entry
  {tool} inbox release ID   # delivers a quarantined entry
  {tool} inbox replay ID    # delivers an entry again

Try an outage: end the service video, send a delivery, list it, and start the service again:

  kill {video}
  {tool} inbox ls
  kill -USR1 {up}

End the inbox with `kill {inbox}`, for example to restore its store. `kill -USR1 {up}` starts it again.
",
        video = pid(Role::Video),
        inbox = pid(Role::Inbox),
        up = std::process::id(),
    )
}
