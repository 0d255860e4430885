//! The names of headers. The gate sets those of the first part, the inbox those of the last.

/// The prefix of the gate headers. The gate removes such headers from every request.
pub const PREFIX: &str = "blobgate-";

/// A [`Verdict`](super::Verdict).
pub const VERDICT: &str = "blobgate-verdict";
/// The hook's name.
pub const HOOK: &str = "blobgate-hook";
/// The dialect's name.
pub const DIALECT: &str = "blobgate-dialect";
/// The [`VERSION`](super::VERSION) of these headers.
pub const CONTRACT: &str = "blobgate-contract";
/// The code of the [`Reason`](crate::Reason) why a delivery is not accepted.
pub const REASON: &str = "blobgate-reason";
/// The reason codes of failed checks in observe mode, joined by commas.
pub const OBSERVED: &str = "blobgate-observed";
/// The generation's id, in its canonical form.
pub const GENERATION_ID: &str = "blobgate-generation-id";
/// The [`Kind`](super::Kind) of an accepted or observed event. The service routes in `envoy.yaml` match on it.
pub const EVENT: &str = "blobgate-event";
/// The [`Kind`](super::Kind) that a quarantined delivery claims. No service route matches on it.
pub const CLAIMED_EVENT: &str = "blobgate-claimed-event";
/// The host of the result URL.
pub const RESULT_HOST: &str = "blobgate-result-host";
/// The names of fields with drift, joined by commas.
pub const DRIFT: &str = "blobgate-drift";
/// Each [`Proof`](super::Proof) that held, joined by commas.
pub const PROOFS: &str = "blobgate-proofs";
/// The token's `jti`; without one, the token's digest.
pub const TOKEN_ID: &str = "blobgate-token-id";
/// The token's `job`, the team's reference.
pub const JOB: &str = "blobgate-job";
/// The provider's failure code.
pub const ERROR_CODE: &str = "blobgate-error-code";
/// The failure's [`Class`](crate::event::Class).
pub const ERROR_CLASS: &str = "blobgate-error-class";
/// `true` or `false`: whether an unchanged second generation may succeed.
pub const ERROR_RETRYABLE: &str = "blobgate-error-retryable";
/// [`idempotency_key`](super::idempotency_key). The name is from draft-ietf-httpapi-idempotency-key-header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The prefix of the headers of Standard Webhooks. The gate removes such headers from every request.
pub const WEBHOOK_PREFIX: &str = "webhook-";
/// Standard Webhooks: the message's id.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Standard Webhooks: the time of the signature, in seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: one signature for each key, separated by spaces.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// The inbox: the number of the attempt, from 1. The inbox refuses a delivery with this header, because it sent that
/// delivery itself.
pub const ATTEMPT: &str = "blobgate-attempt";
/// The inbox: the number of replays of the entry.
pub const REDELIVERY: &str = "blobgate-redelivery";
/// The inbox: the event of the generation that this one supersedes.
pub const SUPERSEDES: &str = "blobgate-supersedes";
/// The inbox: the code of the reason that a person overrode.
pub const OVERRIDE: &str = "blobgate-override";
/// The inbox and `tail --forward`: an [`EventSource`](super::EventSource).
pub const SOURCE: &str = "blobgate-source";
/// The inbox, in its response to the gate: why it did not store the delivery.
pub const INBOX_REASON: &str = "blobgate-inbox-reason";
