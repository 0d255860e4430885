//! The outcome of a case, and its form in a row.

use super::token;
use super::{GENERATION, normal, read};
use blobgate::contract::header;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The gate's headers and the content type, as a service gets them.
pub type GateHeaders = BTreeMap<String, String>;

/// The result host of the sample `completed`.
const RESULT_HOST: &str = "cdn.runblob.io";

/// The details that a row does not write, by reason.
static USUAL_DETAILS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| read("details.toml"));

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// A service got exactly these headers. The sender got 200, or 503 with this reason. The access log has the detail.
    Forwarded { headers: GateHeaders, answer: Option<String>, detail: Option<String> },
    /// The gate refused. The access log has the id and the detail.
    Refused { reason: String, id: Option<String>, detail: Option<String> },
    /// Envoy responded itself.
    Host { status: u16 },
    /// Envoy ended the stream or the connection without a response.
    Cut,
}

impl CaseOutcome {
    /// Its reasons, each with the detail that it has there.
    pub fn details(&self) -> Vec<(&str, &str)> {
        match self {
            CaseOutcome::Forwarded { headers, answer, detail } => {
                let reason = headers.get(header::REASON).map(String::as_str);
                let observed = headers.get(header::OBSERVED).and_then(|codes| codes.split(',').next());
                let of_header = reason.zip(headers.get(header::DETAIL).map(String::as_str));
                let of_log = answer.as_deref().or(reason).or(observed).zip(detail.as_deref());
                of_header.into_iter().chain(of_log).collect()
            }
            CaseOutcome::Refused { reason, detail, .. } => {
                detail.iter().map(|detail| (&**reason, &**detail)).collect()
            }
            CaseOutcome::Host { .. } | CaseOutcome::Cut => Vec::new(),
        }
    }

    /// Its reasons.
    pub fn reasons(&self) -> Vec<&str> {
        match self {
            CaseOutcome::Forwarded { headers, answer, .. } => {
                let observed = headers.get(header::OBSERVED).into_iter().flat_map(|codes| codes.split(','));
                let marked = headers.get(header::REASON).map(String::as_str);
                observed.chain(marked).chain(answer.as_deref()).collect()
            }
            CaseOutcome::Refused { reason, .. } => vec![reason],
            CaseOutcome::Host { .. } | CaseOutcome::Cut => Vec::new(),
        }
    }
}

/// An outcome in a row.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedOutcome {
    // Forwarded.
    event: Option<String>,
    verdict: Option<String>,
    id: Option<String>,
    /// Code, class, retryable; `-` for a header that is absent.
    error: Option<[String; 3]>,
    drift: Vec<String>,
    /// The hook's dialect, if it is not `veo3`.
    dialect: Option<String>,
    /// The result host of a completion, if it is not the sample's; `-` for an absent header.
    result_host: Option<String>,
    /// The reason of a quarantined or an observed delivery.
    reason: Option<String>,
    /// The detail, if it is not the usual one of the reason; `-` for none.
    detail: Option<String>,
    /// The client's address of a quarantined delivery, if it is not the address of the row's source; `-` for an absent header.
    client: Option<String>,
    /// The claimed event of a quarantined delivery.
    claimed: Option<String>,
    proofs: Vec<String>,
    /// The headers have the id and the job of the rows' token.
    token: bool,
    /// The token's id or its job, if it differs; `-` for no job.
    token_id: Option<String>,
    job: Option<String>,
    observed: Vec<String>,
    content_type: Option<String>,
    /// The reason of a 503 to the sender of a forwarded delivery.
    answer: Option<String>,
    // Refused by the gate.
    refused: Option<String>,
    /// The access log has the sample's generation.
    id_known: bool,
    /// The access log has this generation.
    known: Option<String>,
    // Ended by Envoy.
    status: Option<u16>,
    cut: bool,
    /// Why Envoy's outcome differs from the core's.
    pub why: Option<String>,
}

impl ExpectedOutcome {
    pub fn forwarded(event: &str, error: Option<[String; 3]>, drift: Vec<String>) -> Self {
        Self { event: Some(event.to_owned()), error, drift, ..Self::default() }
    }

    pub fn refused(reason: &str, id_known: bool) -> Self {
        Self { refused: Some(reason.to_owned()), id_known, ..Self::default() }
    }

    /// The same outcome with this detail.
    pub fn with_detail(self, detail: Option<String>) -> Self {
        Self { detail, ..self }
    }

    /// An accepted completion with its result at `host`. `authentic`: with the id and the job of the rows' token.
    pub fn accepted(id: &str, host: &str, proofs: Vec<String>, authentic: bool) -> Self {
        let (id, result_host) = (Some(id.to_owned()), Some(host.to_owned()));
        Self {
            event: Some("completed".to_owned()),
            id,
            result_host,
            proofs,
            token: authentic,
            ..Self::default()
        }
    }

    /// A quarantined delivery. `claim` is the generation and the result host, if they are readable.
    pub fn quarantined(
        reason: &str,
        claim: Option<(&str, &str)>,
        proofs: Vec<String>,
        authentic: bool,
    ) -> Self {
        Self {
            verdict: Some("quarantined".to_owned()),
            claimed: claim.map(|_| "completed".to_owned()),
            id: claim.map(|(id, _)| id.to_owned()),
            result_host: claim.map(|(_, host)| host.to_owned()),
            reason: Some(reason.to_owned()),
            proofs,
            token: authentic,
            ..Self::default()
        }
    }

    pub fn refused_of(reason: &str, id: Option<&str>) -> Self {
        Self { refused: Some(reason.to_owned()), known: id.map(str::to_owned), ..Self::default() }
    }

    /// The outcome at `hook` for a request of this client with this content type.
    pub fn outcome(
        &self,
        hook: &str,
        source: &str,
        content_type: Option<&str>,
    ) -> Result<CaseOutcome, String> {
        let fields_of_forwarded =
            [&self.event, &self.verdict, &self.id, &self.reason, &self.content_type, &self.answer];
        let is_forwarded = fields_of_forwarded.iter().any(|field| field.is_some());
        let is_other = [self.refused.is_some(), self.status.is_some(), self.cut];
        match (is_forwarded, &is_other[..]) {
            (true, [false, false, false]) if !self.id_known => self.as_forwarded(hook, source, content_type),
            (false, [true, false, false]) => Ok(CaseOutcome::Refused {
                reason: self.refused.clone().unwrap_or_default(),
                detail: self.detail_of(self.refused.as_deref())?,
                id: self.known.clone().or(self.id_known.then(|| GENERATION.to_owned())),
            }),
            (false, [false, true, false]) => {
                Ok(CaseOutcome::Host { status: self.status.unwrap_or_default() })
            }
            (false, [false, false, true]) => Ok(CaseOutcome::Cut),
            _ => Err("expect names no outcome, or more than one".to_owned()),
        }
    }

    fn as_forwarded(
        &self,
        hook: &str,
        source: &str,
        content_type: Option<&str>,
    ) -> Result<CaseOutcome, String> {
        let verdict = self.verdict.as_deref().unwrap_or("accepted");
        let mut headers = GateHeaders::new();
        let mut set = |name: &str, value: &str| headers.insert(name.to_owned(), normal(name, value));
        set(header::VERDICT, verdict);
        set(header::HOOK, hook);
        let dialect = self.dialect.as_deref().unwrap_or("veo3");
        set(header::DIALECT, dialect);
        set(header::CONTRACT, "1");
        let untouched = if verdict == "accepted" { Some("application/json") } else { content_type };
        if let Some(content_type) = self.content_type.as_deref().or(untouched) {
            set("content-type", content_type);
        }
        let said = self.event.as_deref().or(self.claimed.as_deref());
        if let Some(event) = said {
            let id = self.id.as_deref().unwrap_or(GENERATION);
            set(if self.event.is_some() { header::EVENT } else { header::CLAIMED_EVENT }, event);
            set(header::GENERATION_ID, id);
            set(header::IDEMPOTENCY_KEY, &format!("{dialect}:{id}:{event}"));
        } else if let Some(id) = &self.id {
            set(header::GENERATION_ID, id);
        }
        if !self.proofs.is_empty() {
            set(header::PROOFS, &self.proofs.join(","));
        }
        let token = self.token_id.as_deref().or(self.token.then_some(token::ID));
        if let Some(id) = token {
            set(header::TOKEN_ID, id);
            match self.job.as_deref().unwrap_or(token::JOB) {
                "-" => None,
                job => set(header::JOB, job),
            };
        }
        match (said, self.result_host.as_deref()) {
            (Some("completed"), Some("-")) => {}
            (Some("completed"), host) => {
                set(header::RESULT_HOST, host.unwrap_or(RESULT_HOST));
            }
            (_, None) => {}
            _ => return Err("only a completion has a result_host".to_owned()),
        }
        match (said, &self.error) {
            (Some("failed" | "timeout"), Some([code, class, retryable])) => {
                let names = [header::ERROR_CODE, header::ERROR_CLASS, header::ERROR_RETRYABLE];
                for (name, value) in names.iter().zip([code, class, retryable]) {
                    if value != "-" {
                        set(name, value);
                    }
                }
            }
            (Some("completed") | None, None) => {}
            _ => return Err("failures have an error, and nothing else has one".to_owned()),
        }
        for (name, list) in [(header::DRIFT, &self.drift), (header::OBSERVED, &self.observed)] {
            if !list.is_empty() {
                set(name, &list.join(","));
            }
        }
        if let Some(reason) = &self.reason {
            set(header::REASON, reason);
        }
        let noted = self.answer.as_ref().or(self.reason.as_ref()).or(self.observed.first());
        let detail = self.detail_of(noted.map(String::as_str))?;
        // A failure of the service replaces the detail in the access log. The header then has the usual one.
        let of_verdict = match (&self.reason, &self.answer) {
            (Some(reason), Some(_)) => usual_detail(reason)?,
            (Some(_), None) => detail.clone(),
            (None, _) => None,
        };
        if let Some(detail) = &of_verdict {
            set(header::DETAIL, detail);
        }
        let of_source = || source.rsplit_once(':').map_or(source, |(address, _port)| address).to_owned();
        match (verdict, self.client.clone()) {
            ("quarantined", client) => match client.unwrap_or_else(of_source).as_str() {
                "-" => None,
                client => set(header::CLIENT, client),
            },
            (_, None) => None,
            _ => return Err("only a quarantined delivery has a client".to_owned()),
        };
        Ok(CaseOutcome::Forwarded { headers, answer: self.answer.clone(), detail })
    }

    /// The detail of a reason: the row's, or the usual one.
    fn detail_of(&self, reason: Option<&str>) -> Result<Option<String>, String> {
        let Some(reason) = reason else { return Ok(None) };
        let usual = usual_detail(reason)?;
        match self.detail.as_deref() {
            None => Ok(usual),
            detail if detail == usual.as_deref() => Err(format!("{detail:?} is the usual detail")),
            Some("-") => Ok(None),
            Some(detail) => Ok(Some(detail.to_owned())),
        }
    }
}

/// The usual detail of a reason.
fn usual_detail(reason: &str) -> Result<Option<String>, String> {
    let usual = USUAL_DETAILS.get(reason).ok_or_else(|| format!("details.toml has no {reason}"))?;
    Ok(Some(usual.clone()).filter(|usual| usual != "-"))
}
