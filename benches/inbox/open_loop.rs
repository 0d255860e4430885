//! Deliveries at a fixed rate, whether or not those before have been answered: what a sender sees of an inbox, its stalls too.
//! The time of each runs from when it was due, not from when it was sent.

use reqwest::{Certificate, Client, Url};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// `open_loop URL CA PER_SECOND SECONDS [HEADER:VALUE...]`: `{id}` in a value is the generation's id.
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca, per_second, seconds, headers @ ..] = &args[..] else {
        eprintln!("open_loop URL CA PER_SECOND SECONDS [HEADER:VALUE...]");
        std::process::exit(2);
    };
    let _first = rustls::crypto::ring::default_provider().install_default();
    let url: Url = url.parse().expect("the first argument is a URL");
    let mut client = Client::builder().no_proxy().timeout(Duration::from_secs(30));
    if ca != "-" {
        let pem = std::fs::read(ca).expect("the second argument is a certificate's file");
        client = client.tls_certs_merge([Certificate::from_pem(&pem).expect("the certificate is PEM")]);
    }
    let client = client.build().expect("a client");
    let per_second: u32 = per_second.parse().expect("the third argument is a rate");
    let seconds: u32 = seconds.parse().expect("the fourth argument is a time in seconds");

    let between = Duration::from_secs(1) / per_second;
    let start = Instant::now();
    let mut sent = JoinSet::new();
    for number in 0..per_second * seconds {
        let due = start + between * number;
        sleep_until(due).await;
        let (client, url, headers) = (client.clone(), url.clone(), headers.to_vec());
        sent.spawn(async move {
            let id = Uuid::new_v4().to_string();
            let body = format!(
                "{{\"generation_id\":\"{id}\",\"status\":\"completed\",\"prompt\":\"A cat playing with a ball in a sunny room\",\
                 \"video_url\":\"https://cdn.runblob.io/videos/{id}.mp4\",\"created_at\":\"2025-12-06T21:43:03.374000\",\
                 \"completed_at\":\"2025-12-06T21:44:06.143000\",\"seed\":319790131,\"error\":null}}"
            );
            let mut request = client.post(url).header("content-type", "application/json").body(body);
            for header in &headers {
                let (name, value) = header.split_once(':').expect("a header is NAME:VALUE");
                request = request.header(name, value.replace("{id}", &id));
            }
            let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
            (status, due.elapsed())
        });
    }
    let ended = sent.join_all().await;
    let mut times: Vec<Duration> = ended.iter().map(|(_, took)| *took).collect();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let ok = ended.iter().filter(|(status, _)| *status == 200).count();
    println!(
        "{{\"sent\": {}, \"ok\": {ok}, \"p50_ms\": {:.2}, \"p99_ms\": {:.2}, \"max_ms\": {:.2}}}",
        ended.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
