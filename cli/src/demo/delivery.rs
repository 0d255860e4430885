//! The demo's deliveries: payloads of the provider's page, and changed ones.

use reqwest::Method;
use uuid::Uuid;

/// One request to the gate.
pub(super) struct DemoDelivery {
    /// The generation id in the payload. Each delivery has a new one.
    pub(super) id: Uuid,
    /// The job that its token names, or that the demo announces to the inbox.
    pub(super) job: String,
    pub(super) channel: Channel,
    pub(super) hook: DemoHook,
    pub(super) method: Method,
    /// The path below the hook's own.
    pub(super) below: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: String,
}

/// The way by which a delivery comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Tls,
    PlainHttp,
    /// TLS, from an address of this machine other than the loopback ones.
    OtherAddress,
    /// A callback of the sandbox.
    Callback,
    /// The sandbox never calls back. The inbox reconciles the generation.
    Reconcile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoHook {
    /// It accepts deliveries from the allowlist without a proof.
    Open,
    /// It authenticates. The URL contains this token.
    Authenticating(TokenKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    None,
    Valid,
    /// Expired, with a valid signature.
    Expired,
    /// Signed with a key that no gate has.
    Foreign,
}

pub(super) mod payload {
    use super::{Channel, DemoDelivery, DemoHook};
    use reqwest::Method;
    use uuid::Uuid;

    /// "Completed" of the provider's page.
    pub(in crate::demo) fn completed() -> DemoDelivery {
        let url = r#""https://cdn.runblob.io/videos/your-video.mp4""#;
        with(|id| documented(id, "completed", url, "null"))
    }

    /// "Failed" and "Timeout" of the provider's page.
    pub(in crate::demo) fn failed(code: &str) -> DemoDelivery {
        let error = format!("{{\n    \"message\": \"{code}\",\n    \"details\": {{}}\n  }}");
        with(|id| documented(id, "failed", "null", &error))
    }

    /// A completion whose `error` is this many nested arrays.
    pub(in crate::demo) fn nested(depth: usize) -> DemoDelivery {
        let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        with(|id| documented(id, "completed", r#""https://cdn.runblob.io/videos/your-video.mp4""#, &arrays))
    }

    /// A completion, padded with spaces to this size.
    pub(in crate::demo) fn of_size(bytes: usize) -> DemoDelivery {
        let mut delivery = completed();
        delivery.body.push_str(&" ".repeat(bytes.saturating_sub(delivery.body.len())));
        delivery
    }

    /// A completion with this text as its generation id.
    pub(in crate::demo) fn with_id(text: &str) -> DemoDelivery {
        let mut delivery = completed();
        delivery.body = delivery.body.replace(&delivery.id.to_string(), text);
        delivery
    }

    /// A callback of the sandbox. Its id comes from the order's answer, its body from the status.
    pub(in crate::demo) fn generated() -> DemoDelivery {
        none().through(Channel::Callback)
    }

    /// A generation of the sandbox without a callback.
    pub(in crate::demo) fn generated_without_callback() -> DemoDelivery {
        none().through(Channel::Reconcile)
    }

    /// No body and no headers.
    pub(in crate::demo) fn none() -> DemoDelivery {
        DemoDelivery { headers: Vec::new(), ..with(|_| String::new()) }
    }

    fn with(body: impl FnOnce(Uuid) -> String) -> DemoDelivery {
        let id = Uuid::new_v4();
        DemoDelivery {
            id,
            job: format!("demo-{:08x}", id.as_fields().0),
            channel: Channel::Tls,
            hook: DemoHook::Open,
            method: Method::POST,
            below: "",
            headers: vec![("content-type", "application/json")],
            body: body(id),
        }
    }

    fn documented(id: Uuid, status: &str, video_url: &str, error: &str) -> String {
        format!(
            r#"{{
  "generation_id": "{id}",
  "status": "{status}",
  "prompt": "A cat playing with a ball in a sunny room",
  "video_url": {video_url},
  "created_at": "2025-12-06T21:43:03.374000",
  "completed_at": "2025-12-06T21:44:06.143000",
  "seed": 319790131,
  "error": {error}
}}"#
        )
    }
}

impl Channel {
    /// The demo orders the generation from the sandbox and announces it to the inbox.
    pub(super) fn is_ordered(self) -> bool {
        matches!(self, Channel::Callback | Channel::Reconcile)
    }
}

impl DemoDelivery {
    /// The job that the service gets: from an authentic token, or from an expectation.
    pub(super) fn known_job(&self) -> Option<&str> {
        let is_known = self.channel == Channel::Reconcile
            || matches!(self.hook, DemoHook::Authenticating(TokenKind::Valid | TokenKind::Expired));
        is_known.then_some(self.job.as_str())
    }

    pub(super) fn through(self, channel: Channel) -> Self {
        Self { channel, ..self }
    }

    pub(super) fn with_token(self, token: TokenKind) -> Self {
        Self { hook: DemoHook::Authenticating(token), ..self }
    }

    pub(super) fn with_result_at(mut self, host: &str) -> Self {
        self.body = self.body.replace("cdn.runblob.io", host);
        self
    }

    pub(super) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(super) fn below(self, below: &'static str) -> Self {
        Self { below, ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn with_field(mut self, field: &str) -> Self {
        self.body = self.body.replacen('{', &format!("{{\n  {field},"), 1);
        self
    }

    pub(super) fn without_line(mut self, field: &str) -> Self {
        self.body = self.body.lines().filter(|line| !line.contains(field)).collect::<Vec<_>>().join("\n");
        self
    }

    pub(super) fn cut_in_half(mut self) -> Self {
        self.body = self.body.chars().take(self.body.chars().count().div_euclid(2)).collect();
        self
    }
}
