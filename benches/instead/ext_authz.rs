//! What a team may run in place of the gate: a service behind Envoy's `ext_authz` filter, over HTTP with the whole body. It decides
//! with the gate's own core.
//!
//! usage: `ext_authz CONFIGURATION`, the gate's configuration as YAML. It prints its port.

use blobgate::contract::header;
use blobgate::head::{Ending, Head, Hop};
use blobgate::headers::Headers;
use blobgate::policy::{Decision, Delivery, admit, decide};
use blobgate::{Config, Violation, answer, forward, hook, sanitize};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("no configuration: pass its file")?;
    let value: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let config = Config::load(value.to_string().as_bytes(), &|name| std::env::var(name).ok())?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&config, request));
            // Envoy closes idle connections.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(config: &Config, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(finish(Response::builder().status(503), "")) };
    let body = body.to_bytes();
    let list = parts.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut headers = Headers::new(list.collect());
    sanitize::head(&mut headers);
    // Envoy sets this header for each client that is not internal. It does not pass x-forwarded-for to this service.
    let source = [headers.first("x-envoy-external-address"), b":1"].concat();
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let head = Head {
        method: parts.method.as_str().as_bytes(),
        headers: &headers,
        hop: if headers.first("x-forwarded-proto") == b"https" { Hop::Tls } else { Hop::Plaintext },
        source: Some(&source),
        peer: None,
        ending: if body.is_empty() { Ending::Here } else { Ending::Later },
        now,
    };
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let found = hook::find(&config.hooks, path.as_bytes());
    Ok(match admit(found, &head, &mut ()).map(|admitted| decide(admitted, &body, &mut ())) {
        Ok(Decision::Forward(delivery)) => forwarded(&delivery, &body, now),
        Ok(Decision::Refuse(refusal)) | Err(refusal) => refused(config, &refusal.violation),
        // This service calls no status API.
        Ok(Decision::Confirm(_)) => finish(Response::builder().status(503), ""),
    })
}

fn forwarded(delivery: &Delivery, body: &[u8], now: u64) -> Response<Full<Bytes>> {
    let hook = delivery.hook();
    let mut response = Response::builder();
    for (name, value) in forward::headers(delivery) {
        response = response.header(name, &*value);
    }
    if let Some(signer) = &hook.sign {
        for (name, value) in signer.headers(hook.dialect, delivery.event(), body, now) {
            response = response.header(name, value);
        }
    }
    finish(response, "")
}

fn refused(config: &Config, violation: &Violation) -> Response<Full<Bytes>> {
    let reason = violation.reason;
    let response = Response::builder().status(reason.status()).header("content-type", answer::PROBLEM_TYPE);
    finish(response.header(header::REASON, reason.code()), &answer::problem(reason, &config.docs))
}

fn finish(response: Builder, body: &str) -> Response<Full<Bytes>> {
    response.body(Full::from(body.to_owned())).unwrap_or_else(|_| Response::new(Full::default()))
}
