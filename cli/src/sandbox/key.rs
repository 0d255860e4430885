//! The API key.

use super::provider::Sandbox;
use super::report;
use crate::receiver::sha256;
use anyhow::{Context, Result, bail};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// The name that the provider's samples give it in the environment.
const VARIABLE: &str = "RUNBLOB_API_KEY";

/// The key's SHA-256: it is compared, and never shown.
pub(super) struct ApiKey(String);

impl ApiKey {
    pub(super) fn find(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else {
            return match std::env::var(VARIABLE) {
                Ok(key) => Self::new(&key).with_context(|| format!("{VARIABLE} holds no API key")),
                Err(_) => bail!(
                    "there is no API key to ask for: set {VARIABLE}, or name a file with --api-key-file"
                ),
            };
        };
        let name = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the API key cannot be read from {name}"))?;
        Self::new(&text).with_context(|| format!("{name} holds no API key"))
    }

    fn new(text: &str) -> Result<Self> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("a key is one word of visible ASCII");
        }
        Ok(Self(sha256(key.as_bytes())))
    }

    /// What the provider's page on authentication says to a request without the key.
    fn refusal(&self, headers: &HeaderMap) -> Option<&'static str> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Some("Authorization header required");
        };
        match value.as_bytes().strip_prefix(b"Bearer ") {
            None => Some("Invalid authorization format. Use: Bearer YOUR_API_KEY"),
            // Of digests, how far two agree tells nothing about the key.
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
