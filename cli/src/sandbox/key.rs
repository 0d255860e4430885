//! Checks the API key.

use super::lifecycle::Sandbox;
use super::report;
use crate::option::UsageError;
use crate::receiver::sha256;
use anyhow::{Context, Result, anyhow, bail};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// The variable of the provider's samples.
const VARIABLE: &str = "RUNBLOB_API_KEY";

/// The SHA-256 of the key.
pub(super) struct ApiKey(String);

impl ApiKey {
    pub(super) fn find(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else {
            return match std::env::var(VARIABLE) {
                Ok(key) => Ok(Self::new(&key)
                    .map_err(|why| UsageError(format!("cannot use {VARIABLE} as API key: {why}")))?),
                Err(_) => bail!(UsageError(format!(
                    "no API key: {VARIABLE} is not set. Set it, or name a file with --api-key-file"
                ))),
            };
        };
        let name = file.display();
        let text = std::fs::read_to_string(file).map_err(|why| {
            anyhow!("cannot read the API key from {name}: {why}. Name another file with --api-key-file")
        })?;
        Self::new(&text).with_context(|| format!("cannot use {name} as API key"))
    }

    fn new(text: &str) -> Result<Self> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("it is not one word of visible ASCII. Write such a key");
        }
        Ok(Self(sha256(key.as_bytes())))
    }

    /// The message of the provider's page on authentication for a request without the key.
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Some("Authorization header required");
        };
        match value.as_bytes().strip_prefix(b"Bearer ") {
            None => Some("Invalid authorization format. Use: Bearer YOUR_API_KEY"),
            // The duration of a comparison of digests reveals nothing about the key.
            Some(key) if sha256(key) != self.0 => Some("Invalid API key"),
            Some(_) => None,
        }
    }
}

pub(super) async fn check(State(provider): State<Arc<Sandbox>>, request: Request, next: Next) -> Response {
    let Some(message) = provider.key.refusal(request.headers()) else {
        return next.run(request).await;
    };
    report("refused", "-", format_args!("401 {message}"));
    (StatusCode::UNAUTHORIZED, Json(Unauthorized { error: "Unauthorized", message })).into_response()
}

#[derive(Serialize)]
struct Unauthorized {
    error: &'static str,
    message: &'static str,
}
