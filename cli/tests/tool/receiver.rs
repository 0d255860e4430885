//! `blobgate receiver`, as a service behind the gate sees its day.

use crate::running::{Receiver, client, output, text};
use reqwest::Response;
use serde_json::{Value, json};
use std::net::TcpListener;

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";

async fn deliver(receiver: &Receiver, body: &'static str) -> Response {
    let request = client()
        .post(receiver.url("/webhook"))
        .header("blobgate-event", "completed")
        .header("blobgate-generation-id", ID)
        .header("blobgate-verdict", "accepted")
        .header("blobgate-drift", "seed")
        .header("blobgate-drift", "error")
        .header("idempotency-key", format!("veo3:{ID}:completed"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer of something that is nobody's business");
    request.body(body).send().await.unwrap()
}

async fn deliveries(receiver: &Receiver) -> Vec<Value> {
    client().get(receiver.url("/deliveries")).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn takes_a_delivery_and_tells_what_came() {
    let receiver = Receiver::start("video");
    let answer = deliver(&receiver, "{}").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"received"}"#);

    let line = receiver.next_line();
    let words: Vec<_> = line.split_whitespace().collect();
    let [time, words @ ..] = &words[..] else { panic!("an empty line") };
    assert_eq!(time.len(), "21:43:03".len(), "{line}");
    assert_eq!(words, ["video", "completed", ID, "accepted", "2", "bytes"]);

    let came = deliveries(&receiver).await;
    let expected = json!({
        "blobgate-event": "completed",
        "blobgate-generation-id": ID,
        "blobgate-verdict": "accepted",
        "blobgate-drift": "seed, error",
        "idempotency-key": format!("veo3:{ID}:completed"),
        "content-type": "application/json",
    });
    assert_eq!(came.len(), 1);
    assert_eq!(came[0]["headers"], expected);
    assert_eq!(came[0]["bytes"], 2);
    assert_eq!(came[0]["sha256"], "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

#[tokio::test]
async fn takes_a_post_at_any_path_and_nothing_else() {
    let receiver = Receiver::start("video");
    for path in ["/", "/webhook", "/deliveries", "/healthz", "/a/b?c"] {
        let answer = client().post(receiver.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let line = receiver.next_line();
        assert_eq!(
            line.split_whitespace().skip(1).collect::<Vec<_>>(),
            ["video", "-", "-", "-", "0", "bytes"]
        );
    }
    assert_eq!(deliveries(&receiver).await.len(), 5);
    assert_eq!(client().get(receiver.url("/webhook")).send().await.unwrap().status(), 405);
    assert_eq!(client().get(receiver.url("/healthz")).send().await.unwrap().status(), 200);
    assert_eq!(deliveries(&receiver).await.len(), 5);
}

#[tokio::test]
async fn keeps_the_last_thousand() {
    let receiver = Receiver::start("video");
    let (client, url) = (client(), receiver.url("/"));
    for n in 0..1001 {
        let key = format!("number {n}");
        let answer = client.post(&url).header("idempotency-key", key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let came = deliveries(&receiver).await;
    assert_eq!(came.len(), 1000);
    assert_eq!(came[0]["headers"]["idempotency-key"], "number 1");
    assert_eq!(came[999]["headers"]["idempotency-key"], "number 1000");
}

#[tokio::test]
async fn ends_when_told_to_even_with_a_connection_open() {
    for signal in ["TERM", "INT"] {
        let receiver = Receiver::start("video");
        let client = client(); // Keeps its connection until it is dropped.
        assert_eq!(client.get(receiver.url("/healthz")).send().await.unwrap().status(), 200);
        let (status, rest) = receiver.end_by(signal);
        assert_eq!((status.code(), rest), (Some(0), Vec::new()), "{signal}");
    }
}

#[test]
fn a_taken_port_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let end = output(&["receiver", "--listen", &address.to_string()]);
    let expected = format!(
        "blobgate: port {} of 127.0.0.1 is taken by another program: end it, or choose another with --listen\n",
        address.port()
    );
    assert_eq!((end.status.code(), text(&end.stdout), text(&end.stderr)), (Some(1), String::new(), expected));
}
