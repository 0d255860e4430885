//! Reads one entry of Envoy's access log as a refusal.
//!
//! Any text of an entry may be a client's, so it is stored only in its own form, or cut. Envoy removes a client's gate headers
//! before the gate, but it may refuse a request before that. So gate headers count only in an answer of the gate, which alone
//! has `blobgate-reason`.

use super::message::{HttpLogEntry, LogCommon, LoggedHeader, ProtoText};
use crate::refusal_rings::{RefusalKey, RefusalRecord};
use crate::service::{read_hook, read_job};
use blobgate::contract::{header, is_detail, is_request_id};
use blobgate::event::GenerationId;
use prost::Message;
use std::net::IpAddr;
use std::sync::Arc;

/// The longest reason code. The gate's are up to 30 bytes, Envoy's response code details up to some 60.
const MAX_REASON: usize = 64;
/// The longest node id that is not cut.
const MAX_GATE: usize = 64;
/// The details of an answer that a service gave.
const VIA_UPSTREAM: &[u8] = b"via_upstream";
/// The filter state with the detail of a violation.
const DETAIL: &[u8] = b"wasm.blobgate_detail";
/// The start of the details of a request that is not HTTP. Envoy resets its stream in HTTP/2, so that it has no status. The
/// requests of clients that leave have no status either.
const NOT_HTTP: &[u8] = b"http";

/// Reads an entry. Returns nothing for one that is no refusal.
pub(super) fn read(entry: HttpLogEntry, gate: Option<&Arc<str>>) -> Option<(RefusalKey, RefusalRecord)> {
    let response = entry.response?;
    let common = entry.common_properties.unwrap_or_default();
    let request = entry.request.unwrap_or_default();
    let status = response.response_code.unwrap_or_default().value;
    let of_gate = one(&response.response_headers, header::REASON).and_then(reason);
    let sent = |name| if of_gate.is_some() { one(&request.request_headers, name) } else { None };
    let hook = sent(header::HOOK).and_then(text).and_then(|hook| read_hook(hook).ok());
    let generation = sent(header::GENERATION_ID).and_then(text).and_then(GenerationId::parse);
    let job = sent(header::JOB).and_then(text).and_then(|job| read_job(job).ok());
    let request_id = [one(&request.request_headers, header::CLIENT_REQUEST_ID), Some(&request.request_id)];
    let request_id = request_id.into_iter().flatten().filter_map(text).find(|id| is_request_id(id));
    let record = RefusalRecord {
        at: time(&common),
        status: u16::try_from(status).unwrap_or_default(),
        client: client(&common),
        method: method(request.request_method),
        detail: of_gate.as_ref().and_then(|_| detail(&common)),
        request_id: request_id.map(Into::into),
        generation: generation.map(|generation| generation.text().into()),
        job: job.map(Into::into),
        gate: gate.cloned(),
    };
    let reason = match of_gate {
        // gRPC has the status 200 in each answer.
        Some(reason) => reason,
        None if response.response_code_details == VIA_UPSTREAM => return None,
        None if status >= 400 || response.response_code_details.starts_with(NOT_HTTP) => {
            reason(&response.response_code_details)?
        }
        None => return None,
    };
    Some((RefusalKey { hook: hook.map(Into::into), reason }, record))
}

/// An Envoy's name: its node id, cut, with `?` for characters that a terminal could act on.
pub(super) fn gate(id: &[u8]) -> Option<Arc<str>> {
    let visible = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    let name: String = id.iter().take(MAX_GATE).map(visible).collect();
    (!name.is_empty()).then(|| name.into())
}

/// The value of a header that the message has once. Envoy joins repeated headers with a comma, which fits no form.
fn one<'h>(headers: &'h [LoggedHeader], name: &str) -> Option<&'h [u8]> {
    let mut found = headers.iter().filter(|header| header.name == name.as_bytes());
    let header = found.next()?;
    if found.next().is_none() { Some(&header.value) } else { None }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// A reason code, or Envoy's response code details up to the text that varies: `name{...}`, `name[...]`.
fn reason(value: &[u8]) -> Option<Box<str>> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    let code: String = value
        .iter()
        .take_while(|byte| is_part(byte))
        .take(MAX_REASON)
        .map(|byte| char::from(*byte))
        .collect();
    (!code.is_empty()).then(|| code.into())
}

fn time(common: &LogCommon) -> i64 {
    let start = common.start_time.unwrap_or_default();
    let micros = i64::from(start.nanos).checked_div(1_000).unwrap_or_default();
    start.seconds.saturating_mul(1_000_000).saturating_add(micros)
}

fn client(common: &LogCommon) -> Option<IpAddr> {
    let address = common.downstream_remote_address.as_ref()?.socket_address.as_ref()?;
    text(&address.address)?.parse().ok()
}

fn detail(common: &LogCommon) -> Option<Box<str>> {
    let mut objects = common.filter_state_objects.iter().filter(|object| object.key == DETAIL);
    let value = objects.next()?.value.as_ref()?;
    let value = ProtoText::decode(value.value.clone()).ok()?.value;
    text(&value).filter(|detail| is_detail(detail)).map(Into::into)
}

/// `envoy.config.core.v3.RequestMethod`.
const fn method(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "GET",
        2 => "HEAD",
        3 => "POST",
        4 => "PUT",
        5 => "DELETE",
        6 => "CONNECT",
        7 => "OPTIONS",
        8 => "TRACE",
        9 => "PATCH",
        _ => return None,
    })
}
