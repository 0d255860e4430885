//! What the demo sends: payloads as on the provider's page, and what is wrong with them.

use reqwest::Method;
use uuid::Uuid;

/// One request to the gate.
pub(super) struct Delivery {
    /// The generation id in the payload, new for each delivery.
    pub(super) id: Uuid,
    /// What the generation is for: its token names it, and the application says it to the inbox.
    pub(super) job: String,
    pub(super) door: Door,
    pub(super) hook: Hook,
    pub(super) method: Method,
    /// What follows the hook's own path.
    pub(super) below: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: String,
}

/// How a delivery comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Over TLS.
    Edge,
    /// In plaintext.
    Plain,
    /// Over TLS, from an address of this machine that is not a loopback one.
    Elsewhere,
    /// From the sandbox, which has generated something.
    Provider,
    /// From the inbox, which has asked: the sandbox has generated something, and never calls back.
    Reconcile,
}

/// Which hook a delivery comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// The one that believes what comes from the right place.
    Open,
    /// The one that wants proof, with such a token in its URL.
    Proven(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    None,
    Good,
    /// Signed with the gate's key, once.
    Expired,
    /// Signed with another key.
    Foreign,
}

pub(super) mod payload {
    use super::{Delivery, Door, Hook};
    use reqwest::Method;
    use uuid::Uuid;

    /// "Completed" of the provider's page.
    pub(in crate::demo) fn completed() -> Delivery {
        let url = r#""https://cdn.runblob.io/videos/your-video.mp4""#;
        with(|id| documented(id, "completed", url, "null"))
    }

    /// "Failed" and "Timeout" of the provider's page.
    pub(in crate::demo) fn failed(code: &str) -> Delivery {
        let error = format!("{{\n    \"message\": \"{code}\",\n    \"details\": {{}}\n  }}");
        with(|id| documented(id, "failed", "null", &error))
    }

    /// Completed, with its `error` in so many arrays.
    pub(in crate::demo) fn nested(depth: usize) -> Delivery {
        let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        with(|id| documented(id, "completed", r#""https://cdn.runblob.io/videos/your-video.mp4""#, &arrays))
    }

    /// Completed, filled up with spaces.
    pub(in crate::demo) fn of_size(bytes: usize) -> Delivery {
        let mut delivery = completed();
        delivery.body.push_str(&" ".repeat(bytes.saturating_sub(delivery.body.len())));
        delivery
    }

    /// Completed, with another id.
    pub(in crate::demo) fn with_id(text: &str) -> Delivery {
        let mut delivery = completed();
        delivery.body = delivery.body.replace(&delivery.id.to_string(), text);
        delivery
    }

    /// What the sandbox makes of an order: its id and its body are known afterwards.
    pub(in crate::demo) fn generated() -> Delivery {
        none().through(Door::Provider)
    }

    /// The same, and no callback comes of it.
    pub(in crate::demo) fn never_called_back() -> Delivery {
        none().through(Door::Reconcile)
    }

    /// Nothing at all.
    pub(in crate::demo) fn none() -> Delivery {
        Delivery { headers: Vec::new(), ..with(|_| String::new()) }
    }

    fn with(body: impl FnOnce(Uuid) -> String) -> Delivery {
        let id = Uuid::new_v4();
        Delivery {
            id,
            job: format!("demo-{:08x}", id.as_fields().0),
            door: Door::Edge,
            hook: Hook::Open,
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

impl Door {
    /// Whether a generation is ordered, of which an application says that it is expected.
    pub(super) fn is_ordered(self) -> bool {
        matches!(self, Door::Provider | Door::Reconcile)
    }
}

impl Delivery {
    /// The job that the gate or the inbox knows of it: from an authentic token, or from what is expected.
    pub(super) fn known_job(&self) -> Option<&str> {
        let is_known =
            self.door == Door::Reconcile || matches!(self.hook, Hook::Proven(Token::Good | Token::Expired));
        is_known.then_some(self.job.as_str())
    }

    pub(super) fn through(self, door: Door) -> Self {
        Self { door, ..self }
    }

    pub(super) fn with_token(self, token: Token) -> Self {
        Self { hook: Hook::Proven(token), ..self }
    }

    /// The result at another host.
    pub(super) fn result_at(mut self, host: &str) -> Self {
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
