//! A receiver in axum that verifies with `standardwebhooks` and the key in `WEBHOOK_KEY`.
//!
//! Prints its port and its requests as lines of JSON.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use standardwebhooks::Webhook;
use std::env;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let webhook = Webhook::new(&env::var("WEBHOOK_KEY")?)?;
    let app = Router::new().fallback(receive).with_state(Arc::new(webhook));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    write(&json!({"port": listener.local_addr()?.port()}))?;
    Ok(axum::serve(listener, app).await?)
}

async fn receive(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let verified = webhook.verify(&body, &headers).is_ok();
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value));
    let headers: Map<_, _> =
        headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let record = json!({"verified": verified, "headers": headers, "body": STANDARD.encode(&body)});
    match write(&record) {
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Ok(()) if verified => StatusCode::OK,
        Ok(()) => StatusCode::UNAUTHORIZED,
    }
}

fn write(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
