//! Sends deliveries at a fixed rate without waiting for responses, so that the times include an inbox's stalls. A
//! delivery's time starts when it is due.

use anyhow::{Context, Result};
use clap::Parser;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Url};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    url: Url,
    /// Trusted certificate, in PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    #[arg(long)]
    per_second: u32,
    #[arg(long)]
    seconds: u32,
    /// NAME:VALUE, where `{id}` is the generation's id
    #[arg(long = "header")]
    headers: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let _first = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder().no_proxy().timeout(Duration::from_secs(30));
    if let Some(file) = &args.ca {
        client = client.tls_certs_merge([Certificate::from_pem(&std::fs::read(file)?)?]);
    }
    let client = client.build()?;
    let between = Duration::from_secs(1).checked_div(args.per_second).context("a rate of at least 1")?;

    let mut due = Instant::now();
    let mut sent = JoinSet::new();
    for _ in 0..args.per_second.saturating_mul(args.seconds) {
        sleep_until(due).await;
        let request = request(&client, &args)?;
        sent.spawn(async move {
            let status = client_status(request).await;
            (status, due.elapsed())
        });
        due = due.checked_add(between).context("an end")?;
    }
    let ended = sent.join_all().await;
    let mut times: Vec<f64> = ended.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let place = times.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
        times.get(place).copied().unwrap_or_default()
    };
    let ok = ended.iter().filter(|(status, _)| *status == 200).count();
    println!(
        "{{\"sent\": {}, \"ok\": {ok}, \"p50_ms\": {:.2}, \"p99_ms\": {:.2}, \"max_ms\": {:.2}}}",
        ended.len(),
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}

async fn client_status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

/// RunBlob's documented Completed payload, with a new generation.
fn request(client: &Client, args: &Args) -> Result<reqwest::RequestBuilder> {
    let id = Uuid::new_v4().to_string();
    let body = format!(
        "{{\"generation_id\":\"{id}\",\"status\":\"completed\",\"prompt\":\"A cat playing with a ball in a sunny room\",\
         \"video_url\":\"https://cdn.runblob.io/videos/{id}.mp4\",\"created_at\":\"2025-12-06T21:43:03.374000\",\
         \"completed_at\":\"2025-12-06T21:44:06.143000\",\"seed\":319790131,\"error\":null}}"
    );
    let mut request = client.post(args.url.clone()).header("content-type", "application/json").body(body);
    for header in &args.headers {
        let (name, value) = header.split_once(':').context("a header is NAME:VALUE")?;
        let name: HeaderName = name.parse()?;
        request = request.header(name, HeaderValue::try_from(value.replace("{id}", &id))?);
    }
    Ok(request)
}
