//! Builds the request to explain from the options.

use super::config::ExplainConfig;
use super::envoy_notes;
use super::made_token::MadeToken;
use crate::option::UsageError;
use anyhow::{Result, anyhow, bail};
use blobgate::explain::{ExplainedRequest, HeaderList};
use blobgate::head::Hop;
use blobgate::hook::{self, Hook};
use blobgate::transport::Transport;
use blobgate_inbox::service::parse_moment;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The request.
#[derive(clap::Args)]
#[command(next_help_heading = "Request")]
pub(super) struct RequestArgs {
    /// The hook, whose path the request has; not needed if there is one hook
    #[arg(long, value_name = "NAME", conflicts_with = "path")]
    hook: Option<String>,
    /// The path, or a whole URL, with its token and query
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// A token that this command makes for the hook
    #[arg(long, value_name = "KIND", conflicts_with = "path")]
    token: Option<MadeToken>,
    /// The method
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// A header `name: value`; repeat the option for more. `name:` removes one that this command adds
    #[arg(long, value_name = "HEADER", value_parser = parse_header)]
    header: Vec<HeaderOption>,
    /// The file with the body, byte for byte; `-` reads standard input. Without it the request has no body
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The client's address as Envoy reports it, in the field `source` of a log; 127.0.0.1 by default
    #[arg(long, value_name = "ADDRESS", value_parser = parse_client)]
    from: Option<ClientAddress>,
    /// The address of the proxy in front, for a hook with `behind_proxy`
    #[arg(long, value_name = "ADDRESS", value_parser = parse_peer)]
    peer: Option<IpAddr>,
    /// A client's connection with TLS, as by default
    #[arg(long, conflicts_with = "plaintext")]
    tls: bool,
    /// A client's connection without TLS
    #[arg(long)]
    plaintext: bool,
    /// The time of the request; now by default
    #[arg(long, value_name = "TIME", value_parser = parse_time_of_request)]
    at: Option<OffsetDateTime>,
}

/// A value of `--header`; no value removes a header.
#[derive(Clone, Debug)]
struct HeaderOption {
    name: String,
    value: Option<String>,
}

/// A value of `--from`. A port is only for the case that Envoy takes the address from a header: then it is 0.
#[derive(Clone, Copy, Debug)]
struct ClientAddress {
    address: IpAddr,
    port: Option<u16>,
}

/// A request to explain, with facts for its report.
pub(super) struct BuiltRequest {
    pub(super) request: ExplainedRequest,
    /// The token in the path.
    pub(super) token: Option<String>,
    pub(super) notes: Vec<String>,
}

/// A value of an option that is no part of a request.
#[derive(Debug, thiserror::Error)]
enum InvalidPart {
    #[error("it has no colon. Write 'name: value'")]
    NoColon,
    #[error("the name is no header name. Write 'name: value'; --path and --method have their own options")]
    Name,
    #[error("the value has a control character, and Envoy answers 400 to it. Remove it")]
    Value,
    #[error("it is no IP address. Write one such as 203.0.113.9 or 2001:db8::9")]
    Address,
    #[error("{0}")]
    Time(String),
}

/// More than any hook accepts: 1,000,000 bytes.
const MAX_BODY: u64 = 1 << 20;
/// A client's port, which no rule reads. Port 0 means that Envoy has the address from a header.
const CLIENT_PORT: u16 = 40_000;

impl RequestArgs {
    /// Whether an option of the request is given.
    pub(super) fn is_given(&self) -> bool {
        self.hook.is_some()
            || self.path.is_some()
            || self.token.is_some()
            || self.method != "POST"
            || !self.header.is_empty()
            || self.body.is_some()
            || self.from.is_some()
            || self.peer.is_some()
            || self.tls
            || self.plaintext
            || self.at.is_some()
    }

    /// The name of the hook, which chooses one of several configurations.
    pub(super) fn hook_name(&self) -> Option<&str> {
        self.hook.as_deref()
    }

    /// The path without its scheme and host.
    pub(super) fn request_path(&self) -> Result<Option<String>, UsageError> {
        let Some(given) = &self.path else { return Ok(None) };
        let path = match given.split_once("://") {
            Some((scheme, rest)) if ["http", "https"].contains(&&*scheme.to_ascii_lowercase()) => {
                rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            _ => given,
        };
        if path.starts_with('/') {
            return Ok(Some(path.to_owned()));
        }
        // The value may be a token by mistake, so the error does not show it.
        Err(UsageError(
            "the path does not begin with a slash. Write --path /webhook or a whole URL".to_owned(),
        ))
    }

    pub(super) fn build(self, config: &ExplainConfig) -> Result<BuiltRequest> {
        let now = self.at.unwrap_or_else(OffsetDateTime::now_utc);
        let mut notes = Vec::new();
        let path = match self.request_path()? {
            Some(path) => path,
            None => config.path(self.hook.as_deref(), self.token, now)?,
        };
        let hooks = &config.config.hooks;
        let found = hook::find(hooks, path.as_bytes()).ok();
        let hook = found.map(|(hook, _)| hook);
        let token = found.and_then(|(_, token)| token);
        let token =
            token.filter(|token| !token.is_empty()).map(|token| String::from_utf8_lossy(token).into_owned());
        if hook.is_none() {
            notes.push(format!("the hooks' paths are {}", config.paths()));
        }
        if self.token.is_some() {
            notes.push("--token: this command made the token, with a key and a job of its own".to_owned());
        }
        if token.as_deref() == Some("{token}") {
            notes.push(
                "the path has {token} itself. Pass a token in its place, or --hook and --token".to_owned(),
            );
        }
        let body = self.body.as_deref().map(read_body).transpose()?;
        if body.as_ref().is_some_and(|body| u64::try_from(body.len()).is_ok_and(|size| size >= MAX_BODY)) {
            notes.push(format!("the body is cut after {MAX_BODY} bytes, which is over every limit"));
        }
        if self.from.is_none() && hook.is_some_and(reads_source) {
            notes.push("the client's address is assumed. Name it with --from".to_owned());
        }
        let hop = if self.plaintext { Hop::Plaintext } else { Hop::Tls };
        let peer = peer(hook, self.peer, &mut notes)?;
        let request = ExplainedRequest {
            headers: headers(self.header, hook, hop, body.as_deref()),
            method: self.method,
            path: path.into_bytes(),
            hop,
            source: Some(source(hook, self.from)),
            peer,
            now: Duration::from_secs(now.unix_timestamp().try_into().unwrap_or_default()),
            body,
        };
        notes.extend(envoy_notes::of(&request));
        Ok(BuiltRequest { request, token, notes })
    }
}

fn reads_source(hook: &Arc<Hook>) -> bool {
    hook.required_properties().source
}

fn is_behind_proxy(hook: &Hook) -> bool {
    matches!(hook.transport, Transport::BehindProxy(_))
}

fn peer(hook: Option<&Arc<Hook>>, peer: Option<IpAddr>, notes: &mut Vec<String>) -> Result<Option<String>> {
    match (hook.filter(|hook| is_behind_proxy(hook)), peer) {
        (Some(hook), None) => bail!(UsageError(format!(
            "the hook {} stands behind a proxy. Name the proxy's address with --peer",
            hook.name
        ))),
        (None, Some(_)) => {
            notes.push("--peer has no effect: only a hook with behind_proxy reads it".to_owned());
            Ok(None)
        }
        (_, peer) => Ok(peer.map(|peer| peer.to_string())),
    }
}

/// Envoy's `source.address`. Behind a proxy it is from a header, and has the port 0.
fn source(hook: Option<&Arc<Hook>>, from: Option<ClientAddress>) -> String {
    let client = from.unwrap_or(ClientAddress { address: Ipv4Addr::LOCALHOST.into(), port: None });
    let behind = hook.is_some_and(|hook| is_behind_proxy(hook));
    let port = client.port.unwrap_or(if behind { 0 } else { CLIENT_PORT });
    SocketAddr::new(client.address, port).to_string()
}

/// The given headers, after those that a client or a proxy adds.
fn headers(given: Vec<HeaderOption>, hook: Option<&Arc<Hook>>, hop: Hop, body: Option<&[u8]>) -> HeaderList {
    let mut defaults = vec![("content-type", "application/json".to_owned())];
    if let Some(body) = body {
        defaults.push(("content-length", body.len().to_string()));
    }
    if hook.is_some_and(|hook| is_behind_proxy(hook)) {
        let proto = if hop == Hop::Tls { "https" } else { "http" };
        defaults.push(("x-forwarded-proto", proto.to_owned()));
    }
    let is_given = |name: &str| given.iter().any(|header| header.name == name);
    let defaults = defaults.into_iter().filter(|(name, _)| !is_given(name));
    let mut headers: HeaderList =
        defaults.map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    headers.extend(
        given.into_iter().filter_map(|HeaderOption { name, value }| Some((name, value?.into_bytes()))),
    );
    headers
}

/// Reads a body. One over every limit is cut: its verdict is the same.
pub(super) fn read_body(file: &Path) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if file == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            bail!(UsageError(
                "standard input is a terminal. Pipe a body to --body -, or name a file".to_owned()
            ));
        }
        stdin.lock().take(MAX_BODY).read_to_end(&mut body).map_err(|why| {
            anyhow!("cannot read the body from standard input: {why}. Name a file with --body")
        })?;
        return Ok(body);
    }
    let name = file.display();
    let read = File::open(file).and_then(|file| file.take(MAX_BODY).read_to_end(&mut body));
    read.map_err(|why| anyhow!("cannot read the body {name}: {why}. Name a file with --body"))?;
    Ok(body)
}

fn parse_header(text: &str) -> Result<HeaderOption, InvalidPart> {
    let (name, value) = text.split_once(':').ok_or(InvalidPart::NoColon)?;
    // RFC 9110, section 5.6.2.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(InvalidPart::Name);
    }
    let value = value.trim_matches([' ', '\t']);
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(InvalidPart::Value);
    }
    let value = Some(value.to_owned()).filter(|value| !value.is_empty());
    Ok(HeaderOption { name: name.to_ascii_lowercase(), value })
}

fn parse_client(text: &str) -> Result<ClientAddress, InvalidPart> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse() {
        return Ok(ClientAddress { address, port: None });
    }
    let with_port: SocketAddr = text.parse().map_err(|_| InvalidPart::Address)?;
    Ok(ClientAddress { address: with_port.ip(), port: Some(with_port.port()) })
}

fn parse_peer(text: &str) -> Result<IpAddr, InvalidPart> {
    text.trim_matches(['[', ']']).parse().map_err(|_| InvalidPart::Address)
}

fn parse_time_of_request(text: &str) -> Result<OffsetDateTime, InvalidPart> {
    let moment = parse_moment(text).map_err(|why| InvalidPart::Time(why.to_string()))?;
    // A token's times begin in 1970.
    if moment.unix_timestamp() < 0 {
        return Err(InvalidPart::Time(
            "it is before 1970. Write a time such as 2026-01-31T12:00:00Z".to_owned(),
        ));
    }
    Ok(moment)
}
