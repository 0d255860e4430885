//! The names of headers. The gate sets those of the first part, the inbox those of the last.

/// The prefix of the gate headers. The gate removes such headers from every request.
pub const PREFIX: &str = "blobgate-";

/// How the gate judged the delivery: `accepted`, `quarantined`, or `observed` in observe mode.
pub const VERDICT: &str = "blobgate-verdict";
/// The hook's name.
pub const HOOK: &str = "blobgate-hook";
/// The dialect's name: `veo3`.
pub const DIALECT: &str = "blobgate-dialect";
/// The version of the gate headers: `1`. A minor version only adds headers.
pub const CONTRACT: &str = "blobgate-contract";
/// The code of the [reason](reasons.md) why a delivery is quarantined. In observe mode the reason that `enforce`
/// would have given. In a refusal the reason of the refusal.
pub const REASON: &str = "blobgate-reason";
/// The [reasons](reasons.md) that checks in observe mode found, joined by commas.
pub const OBSERVED: &str = "blobgate-observed";
/// The generation's id in lower case.
pub const GENERATION_ID: &str = "blobgate-generation-id";
/// What happened: `completed`, `failed` or `timeout`. Route on this. Absent on a quarantined delivery.
pub const EVENT: &str = "blobgate-event";
/// What a quarantined delivery claims, where it is readable. No route to a service matches on it.
pub const CLAIMED_EVENT: &str = "blobgate-claimed-event";
/// The host of `video_url` in lower case. Absent where readers of URLs may find another host, or an address.
pub const RESULT_HOST: &str = "blobgate-result-host";
/// The fields that are not as documented, and `unknown-keys`, joined by commas.
pub const DRIFT: &str = "blobgate-drift";
/// The proofs that held, joined by commas: `token`, `confirmed`. Absent without one. An expired token is no proof.
pub const PROOFS: &str = "blobgate-proofs";
/// The token's `jti`, else the SHA-256 of the token in unpadded base64url.
pub const TOKEN_ID: &str = "blobgate-token-id";
/// The token's `job`: your own reference. Of every token with a valid signature, an expired one included.
pub const JOB: &str = "blobgate-job";
/// The provider's code of a failure, of the form `[A-Z0-9_]{1,64}`.
pub const ERROR_CODE: &str = "blobgate-error-code";
/// Who caused a failure: `user`, `content`, `system` or `unknown`.
pub const ERROR_CLASS: &str = "blobgate-error-class";
/// Whether the same generation may succeed when you request it again: `true` or `false`. Absent where it is unknown.
pub const ERROR_RETRYABLE: &str = "blobgate-error-retryable";
/// The same for every repeat of an event: `veo3:GENERATION:EVENT`. Absent where no event is readable. An IETF draft
/// defines the name, draft-ietf-httpapi-idempotency-key-header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The prefix of the headers of Standard Webhooks. The gate removes such headers from every request.
pub const WEBHOOK_PREFIX: &str = "webhook-";
/// With `sign`: the message's id of [Standard Webhooks](https://www.standardwebhooks.com). It is the
/// `idempotency-key`, or `veo3:SHA-256 OF THE BODY:quarantined`.
pub const WEBHOOK_ID: &str = "webhook-id";
/// With `sign`: when the signature was made, in seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// With `sign`: one signature for each key, separated by spaces.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// The number of the attempt, from 1. The inbox refuses a delivery that has this header already.
pub const ATTEMPT: &str = "blobgate-attempt";
/// How often a person has replayed or released the entry.
pub const REDELIVERY: &str = "blobgate-redelivery";
/// What the inbox delivered before about this generation, and this event replaces: `failed`, `timeout` or
/// `unauthenticated`.
pub const SUPERSEDES: &str = "blobgate-supersedes";
/// The code of the reason that a person has overridden.
pub const OVERRIDE: &str = "blobgate-override";
/// What caused a delivery that is no webhook: `reconcile` for a fetched result, `tail` for a copy of `tail
/// --forward`.
pub const SOURCE: &str = "blobgate-source";
/// Why the inbox did not store the delivery. In the inbox's response to Envoy.
pub const INBOX_REASON: &str = "blobgate-inbox-reason";
