//! The table of reasons why a delivery is not accepted.

/// A stage of the gate. They run in this order, and the first violation is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Removes headers that only the gate may set. It refuses nothing.
    Sanitize,
    /// Finds the hook of the path.
    Hook,
    /// Checks that the connection is encrypted.
    Transport,
    /// Checks the client's address.
    Source,
    /// Checks the method, the content encoding, the declared size, and that a body follows.
    Request,
    /// Verifies the callback token.
    Token,
    /// Counts the body's bytes as they arrive. Its reasons belong to [`Stage::Request`].
    Size,
    /// Parses the body.
    Json,
    /// Reads the payload as its dialect.
    Dialect,
    /// Checks the event, its result URL and its prompt.
    Event,
    /// Compares the event with the provider's status API.
    Confirm,
    /// Forwards the delivery, and judges the service's response.
    Forward,
}

impl Stage {
    /// The name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Sanitize => "sanitize",
            Stage::Hook => "hook",
            Stage::Transport => "transport",
            Stage::Source => "source",
            Stage::Request => "request",
            Stage::Token => "token",
            Stage::Size => "size",
            Stage::Json => "json",
            Stage::Dialect => "dialect",
            Stage::Event => "event",
            Stage::Confirm => "confirm",
            Stage::Forward => "forward",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $stage:ident $name:ident $code:literal $status:literal $sentence:literal)*) => {
        /// Why a delivery is not accepted: a row of the table in this file.
        ///
        /// ```
        /// use blobgate::Reason;
        ///
        /// assert_eq!(Reason::SourceDenied.code(), "source-denied");
        /// assert_eq!(Reason::SourceDenied.status(), 403);
        /// assert_eq!(Reason::SourceDenied.stage().name(), "source");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The reason of a code.
            pub fn parse(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code)
            }

            /// Whether the gate refuses every sender for this reason, and never quarantines the delivery.
            pub const fn is_final(self) -> bool {
                use Reason::{BodyTooLarge, HttpsRequired, MethodNotAllowed, UnknownHook};
                matches!(self, UnknownHook | HttpsRequired | MethodNotAllowed | BodyTooLarge)
            }

            /// The stage that finds the violation.
            pub const fn stage(self) -> Stage {
                match self { $(Reason::$name => Stage::$stage,)* }
            }

            /// The code in `blobgate-reason`, logs and counters: lower-case words joined by hyphens.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// The status that an unauthenticated sender gets.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$name => $status,)* }
            }

            /// The violation in one sentence, for the sender's developer. It discloses no configuration.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $sentence,)* }
            }

            /// The doc comment of its row: the meaning, the remedy, and what to do with quarantined entries.
            #[cfg(not(target_family = "wasm"))]
            const fn docs(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc, "\n"),*),)* }
            }
        }
    };
}

reasons! {
    /// No hook has this path.
    ///
    /// Compare the callback URL with the `path` of the hooks. A path matches exactly.
    Hook UnknownHook "unknown-hook" 404 "No webhook has this path."
    /// The connection is not encrypted.
    ///
    /// Give the provider an https URL. Behind a load balancer set [`transport`](configuration.md#transport).
    Transport HttpsRequired "https-required" 403 "This webhook accepts only HTTPS."
    /// The client's address is not in the allowlist.
    ///
    /// If the provider called, add its address to `source`. Behind a load balancer see [its
    /// page](../howto/load-balancers.md).
    Source SourceDenied "source-denied" 403 "This address may not call this webhook."
    /// The method is not POST.
    ///
    /// Ignore it: the provider always sends POST.
    Request MethodNotAllowed "method-not-allowed" 405 "This webhook accepts only POST."
    /// `content-length` or `content-encoding` is repeated or invalid.
    ///
    /// Look for a proxy that repeats headers.
    Request HeaderInvalid "header-invalid" 400 "The content-length or content-encoding header is repeated or invalid."
    /// The body has a content encoding.
    ///
    /// Look for a proxy that compresses requests.
    Request UnsupportedEncoding "unsupported-encoding" 415 "This webhook accepts no content encoding."
    /// The declared size is over the limit, or more bytes than the limit have arrived.
    ///
    /// If the provider sends such bodies, raise `max_body_bytes` and [Envoy's
    /// limits](../explanation/what-clients-can-take.md).
    Request BodyTooLarge "body-too-large" 413 "The body is larger than this webhook accepts."
    /// The request has no body, or an empty one.
    ///
    /// Look for a proxy that removes bodies.
    Request BodyMissing "body-missing" 400 "The request has no body."
    /// The path has no token, and the trust rule needs one.
    ///
    /// Pass a [callback URL with a token](../howto/tokens.md) with each generation.
    Token TokenMissing "token-missing" 401 "The URL has no token, and this webhook requires one."
    /// The token is invalid. The response does not disclose the cause.
    ///
    /// The metric [`blobgate_token_total`](metrics.md#gate) has the cause. Compare `kid` and key with those of the
    /// program that makes tokens.
    Token TokenInvalid "token-invalid" 401 "The token in the URL is not valid."
    /// The token's signature is valid, but the token is for another hook or environment.
    ///
    /// Make tokens with the `aud` of this hook: its environment, a slash, its name.
    Token TokenAudience "token-audience" 401 "The token in the URL is for another webhook."
    /// The token's signature is valid, but the token has expired or is not valid yet.
    ///
    /// Compare the clocks. Give tokens a lifetime longer than generation plus retries.
    ///
    /// Release genuine entries.
    Token TokenExpired "token-expired" 401 "The token in the URL is not valid at this time."
    /// The body is not JSON in UTF-8.
    ///
    /// The provider sends JSON alone. If it was the provider, look for a proxy that changes bodies.
    ///
    /// Read a quarantined body with `blobgate inbox show ID --body`, then release or drop it.
    Json JsonInvalid "json-invalid" 400 "The body is not JSON in UTF-8."
    /// The body is nested more deeply than `max_depth`.
    ///
    /// If the provider documents such a body, raise `max_depth`.
    ///
    /// Then [reevaluate](../howto/replay-and-reevaluate.md) quarantined entries.
    Json JsonTooDeep "json-too-deep" 400 "The body is nested more deeply than this webhook accepts."
    /// An object has a key twice, or a key that differs from another or a known key only in case.
    ///
    /// The provider sends no such body: two programs may read it differently.
    ///
    /// Read a quarantined body before you release it.
    Json JsonDuplicateKey "json-duplicate-key" 400 "An object has a key twice, or a key that differs from a known key only in case."
    /// A required field is missing or not as documented; with `schema: strict`, any field.
    ///
    /// Compare the field that the detail names with the provider's documentation of its payload.
    ///
    /// If the provider has changed its payload, [release the quarantined entry as its
    /// event](../howto/replay-and-reevaluate.md).
    Dialect SchemaInvalid "schema-invalid" 422 "A required field is missing or not as documented."
    /// The generation's id is not a UUID.
    ///
    /// The provider sends a UUID. Look at the program that sent another id.
    ///
    /// `blobgate inbox show ID` shows a quarantined delivery. Release it with the generation's id, or drop it.
    Event GenerationIdInvalid "generation-id-invalid" 422 "The generation id is not a UUID in its 8-4-4-4-12 form."
    /// The result URL has no allowed host.
    ///
    /// If the provider uses this host, add it to `result_url`.
    ///
    /// Then [reevaluate](../howto/replay-and-reevaluate.md) quarantined entries.
    Event ResultUrlDenied "result-url-denied" 422 "The result URL has no allowed host."
    /// The token is bound to another prompt.
    ///
    /// If the provider sends another wording of prompts, set `checks: {prompt: observe}`. Otherwise a client used the URL for
    /// another generation.
    Event TokenMismatch "token-mismatch" 401 "The token in the URL is for another generation."
    /// The provider's status API contradicts the event, or has no such generation.
    ///
    /// Treat the event as forged, unless its generation belongs to another API key.
    Confirm NotConfirmed "not-confirmed" 403 "The provider does not confirm this event."
    /// The provider's status API gave no usable response, or the generation is still in progress.
    ///
    /// The metric [`blobgate_confirm_total`](metrics.md#gate) has the cause. The sender retries, and the reconciler
    /// confirms quarantined entries.
    Confirm ConfirmUnavailable "confirm-unavailable" 503 "The provider's status API could not confirm this event."
    /// No body callback came before Envoy's timeout: `allow_on_headers_stop_iteration` is not set.
    ///
    /// Set `allow_on_headers_stop_iteration: true` in the filter's configuration, as `envoy.yaml` does.
    Forward HostMisconfigured "host-misconfigured" 503 "The proxy loaded the gate without a flag that the gate requires."
    /// The service, or Envoy's router, responded with another status than 2xx.
    ///
    /// Look at the [health of the inbox](../operate/health.md). Without an inbox, look at the service.
    Forward UpstreamError "upstream-error" 503 "The service did not accept the event."
    /// No gate judged the delivery. The hook's last route in `envoy.yaml` responds with it.
    ///
    /// Enable the filter on every route of the hook. Envoy's log names a configuration or module that does not
    /// load.
    Forward NotJudged "not-judged" 503 "No gate judged this delivery."
}

#[cfg(not(target_family = "wasm"))]
impl Reason {
    /// The violation, for an operator.
    ///
    /// ```
    /// use blobgate::Reason;
    ///
    /// assert_eq!(Reason::MethodNotAllowed.meaning(), "The method is not POST.");
    /// assert_eq!(Reason::MethodNotAllowed.remedy(), "Ignore it: the provider always sends POST.");
    /// ```
    pub fn meaning(self) -> String {
        plain(self.docs().split("\n\n").next().unwrap_or_default())
    }

    /// What an operator does about it.
    pub fn remedy(self) -> String {
        let mut paragraphs = self.docs().split("\n\n");
        paragraphs.next();
        paragraphs.map(plain).collect::<Vec<_>>().join(" ")
    }

    /// What an operator does about a refused delivery: the remedy without its part about quarantined entries.
    ///
    /// ```
    /// use blobgate::Reason;
    ///
    /// let remedy = "If the provider uses this host, add it to `result_url`.";
    /// assert_eq!(Reason::ResultUrlDenied.remedy_of_refusal(), remedy);
    /// ```
    pub fn remedy_of_refusal(self) -> String {
        plain(self.docs().split("\n\n").nth(1).unwrap_or_default())
    }
}

/// A paragraph of Markdown on one line. The page of a link stands behind its text.
#[cfg(not(target_family = "wasm"))]
fn plain(paragraph: &str) -> String {
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    // The links are relative to the reference.
    let page = |target: &str| match target.strip_prefix("../") {
        Some(page) => format!(" (docs/{page})"),
        None => format!(" (docs/reference/{target})"),
    };
    crate::markdown::without_links(&line, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn has_unique_codes_of_lower_case_words() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        }
    }

    #[test]
    fn lists_reasons_in_the_order_of_stages() {
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.stage()));
    }

    /// A refused delivery has no entry that an operator could show, release or reevaluate.
    #[test]
    fn the_remedy_of_a_refusal_speaks_of_no_entry() {
        for reason in Reason::ALL {
            let remedy = reason.remedy_of_refusal();
            for word in ["elease", "eevaluate", "inbox show", " drop", "entr"] {
                assert!(!remedy.contains(word) || reason.status() == 503, "{reason:?}: {remedy}");
            }
            assert!(reason.remedy().starts_with(&remedy), "{reason:?}");
        }
    }

    #[test]
    fn each_reason_has_a_remedy_in_plain_text() {
        for reason in Reason::ALL {
            for text in [reason.meaning(), reason.remedy(), reason.remedy_of_refusal()] {
                assert!(text.ends_with('.') && !text.contains("](") && !text.contains('\n'), "{text}");
            }
        }
        let expected = "If the provider called, add its address to `source`. Behind a load balancer see its page \
                        (docs/howto/load-balancers.md).";
        assert_eq!(Reason::SourceDenied.remedy(), expected);
        let remedy = Reason::HttpsRequired.remedy();
        assert!(remedy.ends_with("set `transport` (docs/reference/configuration.md#transport)."), "{remedy}");
    }
}
