//! The names of headers. The gate sets those of the first part, the inbox those of the last.

/// The prefix of the gate headers. The gate removes such headers from every request.
pub const PREFIX: &str = "blobgate-";

/// The gate's verdict: `accepted`, `quarantined`, or `observed` in observe mode.
pub const VERDICT: &str = "blobgate-verdict";
/// The hook's name.
pub const HOOK: &str = "blobgate-hook";
/// The dialect's name: `veo3`.
pub const DIALECT: &str = "blobgate-dialect";
/// The version of the gate headers: `1`. A minor version only adds headers.
pub const CONTRACT: &str = "blobgate-contract";
/// The code of the [reason](reasons.md) for a quarantine or a refusal. In observe mode, the reason that `enforce` would give.
pub const REASON: &str = "blobgate-reason";
/// The [reasons](reasons.md) of violations that checks in observe mode let through, joined by commas.
pub const OBSERVED: &str = "blobgate-observed";
/// The generation's id in lower case.
pub const GENERATION_ID: &str = "blobgate-generation-id";
/// The event: `completed`, `failed` or `timeout`. Route on this. Absent on a quarantined delivery.
pub const EVENT: &str = "blobgate-event";
/// The readable event of a quarantined delivery. No route to a service matches on it.
pub const CLAIMED_EVENT: &str = "blobgate-claimed-event";
/// The host of `video_url` in lower case. Absent for an address, and if two URL parsers could find different hosts.
pub const RESULT_HOST: &str = "blobgate-result-host";
/// The client's address without a port, on a quarantined delivery: the address that `source` judges, behind a proxy from
/// `x-forwarded-for`. Absent where Envoy takes it from any client. The inbox stores it, and does not send it on.
pub const CLIENT: &str = "blobgate-client";
/// The field that breaks the rule of `blobgate-reason`, and the expectation, without a value: `video_url: scheme is http, expected
/// https`. At most 160 bytes. The inbox stores it, and does not send it on.
pub const DETAIL: &str = "blobgate-detail";
/// The names of fields with drift, and `unknown-keys`, joined by commas.
pub const DRIFT: &str = "blobgate-drift";
/// The proofs that held, joined by commas: `token`, `confirmed`. Absent without a proof. An expired token is not a proof.
pub const PROOFS: &str = "blobgate-proofs";
/// The token's `jti`; without one, the SHA-256 of the token in unpadded base64url.
pub const TOKEN_ID: &str = "blobgate-token-id";
/// The token's `job`: your reference. Also set for an expired token with a valid signature.
pub const JOB: &str = "blobgate-job";
/// The provider's failure code, in the form `[A-Z0-9_]{1,64}`.
pub const ERROR_CODE: &str = "blobgate-error-code";
/// The cause of a failure: `user`, `content`, `system` or `unknown`.
pub const ERROR_CLASS: &str = "blobgate-error-class";
/// Whether an unchanged second generation may succeed: `true` or `false`. Absent for an undocumented code.
pub const ERROR_RETRYABLE: &str = "blobgate-error-retryable";
/// The key of an event, equal for each of its repeats: `veo3:GENERATION:EVENT`. Absent without a readable event. The name is
/// from an IETF draft, draft-ietf-httpapi-idempotency-key-header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The request's id at the edge. The gate forwards it, the inbox stores it with the entry, and each attempt has it again.
pub const REQUEST_ID: &str = "x-request-id";
/// The client's safe request id, from Envoy's early mutation to its router.
pub const CLIENT_REQUEST_ID: &str = "x-blobgate-request-id";
/// The trace of the request, in the form of [W3C Trace Context](https://www.w3.org/TR/trace-context/). The inbox stores it with the
/// entry, and each attempt has it again.
pub const TRACEPARENT: &str = "traceparent";

/// The prefix of the headers of Standard Webhooks. The gate removes such headers from every request.
pub const WEBHOOK_PREFIX: &str = "webhook-";
/// With `sign`: the message id of [Standard Webhooks](https://www.standardwebhooks.com). It is the
/// `idempotency-key`, or `veo3:SHA-256 OF THE BODY:quarantined`.
pub const WEBHOOK_ID: &str = "webhook-id";
/// With `sign`: the time of the signature, in seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// With `sign`: one signature for each key, separated by spaces.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// The number of the attempt, from 1. The inbox refuses a delivery that already has this header.
pub const ATTEMPT: &str = "blobgate-attempt";
/// The number of replays and releases of the entry.
pub const REDELIVERY: &str = "blobgate-redelivery";
/// The delivered event of this generation that this event replaces: `failed`, `timeout` or `unauthenticated`.
pub const SUPERSEDES: &str = "blobgate-supersedes";
/// The code of the reason that a person overrode.
pub const OVERRIDE: &str = "blobgate-override";
/// The origin of a delivery without a webhook: `reconcile` for a fetched result, `tail` for a copy by `tail --forward`.
pub const SOURCE: &str = "blobgate-source";
/// The reason why the inbox did not store the delivery, in its response to Envoy.
pub const INBOX_REASON: &str = "blobgate-inbox-reason";
