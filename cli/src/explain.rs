//! `blobgate explain`: explains the gate's decision on a request, on an entry of the inbox, or behind a reason.

mod cause;
mod config;
mod config_name;
mod entry;
mod envoy_code;
mod envoy_notes;
mod inbox_code;
mod line;
mod log_line;
mod made_token;
mod mask;
mod next;
mod reason;
mod report;
mod request;
mod up_line;

use crate::inbox::client::AdminArgs;
use crate::option::{UsageError, parse_id};
use crate::rfc3339::rfc3339;
use anyhow::{Result, bail};
use blobgate::confirm::Outcome;
use blobgate::explain::{ExplainedConfirmation, ExplainedEnding, ExplainedRequest, Explanation, explain};
use blobgate::head::Hop;
use blobgate::hook;
use clap::builder::PossibleValuesParser;
use config::{ExplainConfig, WantedHook};
use mask::Mask;
use reason::ReasonText;
use report::{
    ConfirmationCall, EndingReport, ExplainReport, OutcomeReport, RequestReport, StageRow, Subject,
};
use request::{BuiltRequest, RequestArgs, read_body};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;

/// Explain why the gate accepts, quarantines or refuses a delivery
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The code of a reason, from a log or from `blobgate-reason`
    #[arg(
        value_name = "REASON",
        value_parser = PossibleValuesParser::new(ReasonText::codes()),
        hide_possible_values = true,
        conflicts_with_all = ["line", "config"]
    )]
    reason: Option<String>,
    /// A line of the gate's log, of Envoy's access log or of the inbox's log; `-` reads standard input
    #[arg(long, value_name = "LINE", conflicts_with = "config", allow_hyphen_values = true)]
    line: Option<String>,
    /// The configuration that judges: an envoy.yaml, or a manifest
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An entry of the inbox, in the place of a request
    #[arg(long, value_name = "ID", value_parser = parse_id, requires = "config")]
    entry: Option<i64>,
    /// The outcome of a confirmation; without it the command decides for each
    #[arg(long, value_name = "OUTCOME", value_parser = outcomes(), requires = "config")]
    confirm: Option<String>,
    /// The file with the body of the status API's answer 200, in the place of an outcome
    #[arg(long, value_name = "FILE", conflicts_with_all = ["confirm", "entry"], requires = "config")]
    confirm_answer: Option<PathBuf>,
    /// JSON output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    request: RequestArgs,
}

const EXAMPLES: &str = "\
A REASON or a LINE needs no configuration: the command prints the field, the expectation and the
remedy. With --config the command runs the gate's own stages on a request. It opens no
connection.

Keys come from the variables that the configuration names. If one is unset, the command cannot judge
a token of its key. --token makes a token for the hook, and needs no key.

A path is shown with {token}, and headers with secrets are hidden. Notes name what Envoy itself does
before the gate. --entry judges a stored body, and calls the inbox's admin listener.

Exit code: 0 for accepted or observed, and for a REASON or a LINE; 3 for quarantined; 4 for refused;
5 when the status API decides; 1 without an explanation; 2 for wrong usage.

Examples:
  blobgate explain result-url-denied
  docker compose logs --tail 100 envoy | blobgate explain --line -
  blobgate explain --config envoy.yaml --hook veo3 --body event.json
  blobgate explain --config envoy.yaml --hook veo3 --body event.json --from 203.0.113.9 --json
  blobgate explain --config envoy.yaml --hook veo3-token --token expired --body event.json
  blobgate explain --config envoy.yaml --entry 17";

/// The outcomes of a confirmation, by their names.
fn outcomes() -> PossibleValuesParser {
    PossibleValuesParser::new(Outcome::ALL.iter().map(|outcome| outcome.name()))
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let Args { reason, line, config, entry, confirm, confirm_answer, json, request, admin } = args;
    let outcome =
        confirm.and_then(|name| Outcome::ALL.iter().copied().find(|outcome| outcome.name() == name));
    if (reason.is_some() || line.is_some() || entry.is_some()) && request.is_given() {
        bail!(UsageError(
            "a request has --config alone. Leave out its options, or REASON, --line and --entry".to_owned()
        ));
    }
    match (reason, line, config, entry) {
        (Some(code), ..) => reason::print_reason(&code, json).map(|()| ExitCode::SUCCESS),
        (None, Some(text), ..) => line::print_lines(&text, json).map(|()| ExitCode::SUCCESS),
        (None, None, Some(file), Some(id)) => entry::explain(id, admin, &file, outcome).await?.print(json),
        (None, None, Some(file), None) => {
            let answer = confirm_answer.as_deref().map(read_body).transpose()?;
            let confirmation = match (outcome, &answer) {
                (Some(outcome), _) => Some(ExplainedConfirmation::Outcome(outcome)),
                (None, Some(body)) => Some(ExplainedConfirmation::Response { status: "200", body }),
                (None, None) => None,
            };
            explain_request(request, &file, confirmation)?.print(json)
        }
        (None, None, None, _) => bail!(UsageError(
            "nothing to explain. Pass a REASON, a log line with --line, or --config with a request"
                .to_owned()
        )),
    }
}

fn explain_request(
    args: RequestArgs,
    file: &Path,
    confirmation: Option<ExplainedConfirmation<'_>>,
) -> Result<ExplainReport> {
    let path = args.request_path()?;
    let wanted = match (args.hook_name(), &path) {
        (Some(name), _) => WantedHook::Name(name),
        (None, Some(path)) => WantedHook::Path(path),
        (None, None) => WantedHook::Any,
    };
    let config = ExplainConfig::load(file, wanted)?;
    let BuiltRequest { request, token, notes } = args.build(&config)?;
    if let Some(variable) = token.as_deref().and_then(|token| config.missing_key_of(token)) {
        bail!(
            "cannot judge the token: the environment variable {variable} of its key is unset or empty. Set it as for Envoy \
             (in a clone, `dev/with-secrets blobgate explain ...` does), or pass --token valid in the place of --path"
        );
    }
    let mask = Mask::new(token);
    let explanation = explain(&config.config, &request, confirmation);
    Ok(ExplainReport {
        subject: Subject::Request(describe(&request, &mask)),
        hook: hook::find(&config.config.hooks, &request.path).ok().map(|(hook, _)| hook.name.to_string()),
        stages: explanation.stages.iter().map(StageRow::of).collect(),
        confirmation: call(&config, &request, &explanation, confirmation),
        outcomes: outcomes_of(&config, &request, &explanation, &mask),
        ending: EndingReport::of(&explanation, &mask),
        notes,
    })
}

/// The call to the status API. With a given outcome it is that of the same request without one.
fn call(
    config: &ExplainConfig,
    request: &ExplainedRequest,
    explanation: &Explanation,
    confirmation: Option<ExplainedConfirmation<'_>>,
) -> Option<ConfirmationCall> {
    let given = match confirmation {
        None => None,
        Some(ExplainedConfirmation::Outcome(outcome)) => Some(outcome.name()),
        Some(ExplainedConfirmation::Response { .. }) => {
            let failed = explanation.access_log.iter().find(|(key, _)| key == "blobgate_confirm");
            let named = |name: &str| Outcome::ALL.iter().find(|outcome| outcome.name() == name);
            let outcome = failed.and_then(|(_, name)| named(name)).unwrap_or(&Outcome::Confirmed);
            Some(outcome.name())
        }
    };
    let ending = match given {
        None => explanation.ending.clone(),
        Some(_) => explain(&config.config, request, None).ending,
    };
    match ending {
        ExplainedEnding::NeedsConfirmation(call) => Some(ConfirmationCall::of(&call, given)),
        _ => None,
    }
}

/// The end for each answer of the status API, where it decides.
fn outcomes_of(
    config: &ExplainConfig,
    request: &ExplainedRequest,
    explanation: &Explanation,
    mask: &Mask,
) -> Vec<OutcomeReport> {
    if !matches!(explanation.ending, ExplainedEnding::NeedsConfirmation(_)) {
        return Vec::new();
    }
    let report = |outcome: Outcome| OutcomeReport {
        outcome: outcome.name(),
        ending: EndingReport::of(
            &explain(&config.config, request, Some(ExplainedConfirmation::Outcome(outcome))),
            mask,
        ),
    };
    OutcomeReport::OUTCOMES.map(report).into()
}

fn describe(request: &ExplainedRequest, mask: &Mask) -> RequestReport {
    let now = i64::try_from(request.now.as_secs()).unwrap_or_default();
    RequestReport {
        method: request.method.clone(),
        path: mask.path(&request.path),
        headers: mask.headers(&request.headers),
        body_bytes: request.body.as_ref().map(Vec::len),
        source: request.source.clone(),
        peer: request.peer.clone(),
        tls: request.hop == Hop::Tls,
        at: OffsetDateTime::from_unix_timestamp(now).map(rfc3339).unwrap_or_default(),
    }
}
