//! The one table of reasons: every way in which a delivery can end other than accepted.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $status:literal $sentence:literal)*) => {
        /// Why a delivery was not accepted. A row of the table in this file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The code in `blobgate-reason`, logs and counters: lower-case words joined by hyphens.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// The status that a sender hears who proved nothing.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$name => $status,)* }
            }

            /// What is wrong, in one sentence for the sender's developer. Tells nothing about configuration.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// Stage `hook`.
    UnknownHook "unknown-hook" 404 "No webhook is received at this path."
    /// Stage `transport`.
    HttpsRequired "https-required" 403 "This webhook is received over HTTPS only."
    /// Stage `source`.
    SourceDenied "source-denied" 403 "This address may not call this webhook."
    /// Stage `request`.
    MethodNotAllowed "method-not-allowed" 405 "A webhook is delivered by POST."
    /// Stage `request`.
    HeaderInvalid "header-invalid" 400 "A header that decides something is repeated or is not text."
    /// Stage `request`.
    UnsupportedEncoding "unsupported-encoding" 415 "A body is received without a content encoding."
    /// Stage `request` where the size is declared, else while the body arrives.
    BodyTooLarge "body-too-large" 413 "The body is larger than this webhook takes."
    /// Stage `request` where the head ends the request, else at the body's end.
    BodyMissing "body-missing" 400 "A delivery has a body."
    /// Stage `json`.
    JsonInvalid "json-invalid" 400 "The body is not JSON in UTF-8."
    /// Stage `json`.
    JsonTooDeep "json-too-deep" 400 "The body is nested more deeply than this webhook takes."
    /// Stage `json`.
    JsonDuplicateKey "json-duplicate-key" 400 "A key stands twice in one object, or differs from a known key only in case."
    /// Stage `dialect`.
    SchemaInvalid "schema-invalid" 422 "A field that decides something is missing or not as documented."
    /// Stage `event`.
    GenerationIdInvalid "generation-id-invalid" 422 "The generation id is not a UUID in its 8-4-4-4-12 form."
    /// Stage `event`.
    ResultUrlDenied "result-url-denied" 422 "The result URL is not one to download from."
    /// Stage `token`: there is none, and the rule wants one.
    TokenMissing "token-missing" 401 "This webhook is called with the token of its URL."
    /// Stage `token`: it is not ours. Why is nobody's business.
    TokenInvalid "token-invalid" 401 "The token in the URL is not valid."
    /// Stage `token`: authentic, and not now.
    TokenExpired "token-expired" 401 "The token in the URL is not valid at this time."
    /// Stage `token`: authentic, and for another hook or environment.
    TokenAudience "token-audience" 401 "The token in the URL is for another webhook."
    /// Stage `event`: the token is bound to another prompt.
    TokenMismatch "token-mismatch" 401 "The token in the URL is for another generation."
    /// Stage `confirm`: the provider says something else, or knows no such generation.
    NotConfirmed "not-confirmed" 403 "The provider does not confirm this event."
    /// Stage `confirm`: the provider cannot be asked now, or still works on it.
    ConfirmUnavailable "confirm-unavailable" 503 "The provider could not be asked about this event."
    /// No body callback came before Envoy's own timeout: `allow_on_headers_stop_iteration` is not set.
    HostMisconfigured "host-misconfigured" 503 "The gate was loaded without the host flag that it needs."
    /// After release: anything but 2xx from the upstream or from Envoy's router.
    UpstreamError "upstream-error" 503 "The event could not be handed over."
    /// Answered by the hook's last route in `envoy.yaml`, where no filter judged.
    NotJudged "not-judged" 503 "No gate judged this delivery."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_words() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        }
    }
}
