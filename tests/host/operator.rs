//! Counters, log lines and the access log.

use crate::support::delivery::GENERATION;
use crate::support::{H1, H2, Options, TestDelivery, TestGate, eventually, on_every_envoy};
use crate::{access_line, counts, log_line};
use serde_json::json;

#[test]
fn counters_have_their_labels() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        gate.accepts(H2, &TestDelivery::completed());
        gate.accepts(H2, &TestDelivery::timeout().without_header("content-type"));
        gate.refuses(H1, &TestDelivery::of("{"), 400, "json-invalid");
        gate.refuses(H1, &TestDelivery::completed().path("/webhook/x"), 404, "unknown-hook");
        let text = gate.envoy.admin("GET", "/stats/prometheus").text();
        let row = |hook, status, reason, count| {
            format!(
                "blobgate_responses_total{{environment=\"development\",hook=\"{hook}\",status=\"{status}\",\
                 reason=\"{reason}\"}} {count}"
            )
        };
        for line in [
            row("veo3", "200", "-", 2),
            row("veo3", "400", "json-invalid", 1),
            row("-", "404", "unknown-hook", 1),
            "blobgate_drift_total{environment=\"development\",hook=\"veo3\",field=\"content-type\"} 1"
                .to_owned(),
            format!(
                "blobgate_info{{environment=\"development\",version=\"{}\"}} 1",
                env!("CARGO_PKG_VERSION")
            ),
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    });
}

#[test]
fn workers_share_counters() {
    on_every_envoy(|envoy| {
        let gate =
            TestGate::started(envoy, Options { concurrency: 2, ..Options::default() }, |bootstrap| bootstrap);
        for _ in 0..20 {
            gate.accepts(H1, &TestDelivery::completed());
            gate.refuses(H2, &TestDelivery::of("{"), 400, "json-invalid");
        }
        for status in ["200", "400"] {
            counts(&gate.envoy, "blobgate_responses_total", &[("status", status)], 20.0);
        }
    });
}

#[test]
fn logs_ten_refusals_a_second_and_counts_the_rest() {
    const FLOOD: usize = 60;
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let mut client = gate.tls(H2).open();
        for _ in 0..FLOOD {
            client.send(&TestDelivery::of("{")).assert_refused(400, "json-invalid");
        }
        // Every refusal is a line, or part of a later count of left-out lines.
        let counts = || {
            let log = gate.envoy.log();
            let lines = log.lines().filter(|line| line.contains("blobgate verdict=refused")).count();
            let left_out =
                log.lines().filter_map(|line| line.split_once("lines-left-out=")?.1.split(' ').next());
            (lines, left_out.filter_map(|count| count.parse::<usize>().ok()).sum::<usize>())
        };
        let (lines, left_out) = eventually("count", || Some(counts()).filter(|(a, b)| a + b == FLOOD));
        assert!(lines >= 10 && left_out > 0, "{lines} lines, {left_out} left out");
        let log = gate.envoy.log();
        let mut seconds = std::collections::BTreeMap::new();
        for line in log.lines().filter(|line| line.contains("blobgate verdict=refused")) {
            *seconds.entry(line.get(..20).unwrap().to_owned()).or_insert(0_usize) += 1;
        }
        // One second of the log's clock overlaps at most two seconds of the filter's.
        assert!(seconds.values().all(|lines| *lines <= 20), "{seconds:?}");
        let line = log_line(&gate.envoy, "blobgate verdict=refused");
        let tail = "blobgate verdict=refused reason=json-invalid hook=veo3 source=127.0.0.1 id=- environment=development";
        let (_, rest) = line.split_once(tail).unwrap_or_else(|| panic!("{line}"));
        assert!(rest.starts_with(" request_id="), "{line}");
        let detail = " detail=\"body: has no whole JSON value, expected one JSON value in UTF-8\"";
        assert!(rest.ends_with(detail), "{line}");
    });
}

#[test]
fn access_log_has_each_result() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| shipped.hook(&json!({"schema": "strict"})));
        gate.accepts(H2, &TestDelivery::completed());
        let line = access_line(&gate.envoy, |line| line["verdict"] == "accepted");
        for (key, value) in [
            ("hook", json!("veo3")),
            ("event", json!("completed")),
            ("generation_id", json!(GENERATION)),
            ("reason", json!(null)),
            ("status", json!(200)),
            ("details", json!("via_upstream")),
            ("source", json!("127.0.0.1")),
            ("protocol", json!("HTTP/2")),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        // Refused, with a known generation.
        gate.refuses(H2, &TestDelivery::completed().without_header("content-type"), 422, "schema-invalid");
        let line = access_line(&gate.envoy, |line| line["reason"] == "schema-invalid");
        assert_eq!((&line["generation_id"], &line["hook"]), (&json!(GENERATION), &json!("veo3")));
        log_line(&gate.envoy, &format!("reason=schema-invalid hook=veo3 source=127.0.0.1 id={GENERATION}"));
    });
}
