//! The module with an Envoy of the tests, through the same hooks and callbacks as a real one. `make miri` and `make asan` run
//! them too.

use crate::abi::fake::{self, FakeEnvoy, FakeResponse, FakeStream, Sent, logged};
use blobgate::contract::header;
use serde_json::{Value, json};

const ID: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
const OK: &[(&str, &[u8])] = &[(":status", b"200"), ("content-length", b"2")];
/// Envoy's steps.
const CONTINUE: u32 = 0;
const STOP: u32 = 1;
const BUFFER: u32 = 1;
const DISCARD: u32 = 3;

/// A hook without proof. `name` tells the tests' counters and lines apart.
fn open(name: &str, changes: &Value) -> FakeEnvoy {
    let hook = json!({"name": name, "path": "/webhook", "dialect": "veo3", "transport": "any", "source": "any",
        "trust": "open", "quarantine": "none", "result_url": "any"});
    load(hook, changes, &json!({}))
}

/// A hook that the status API confirms.
fn confirmed(name: &str, cluster: &str) -> FakeEnvoy {
    let hook = json!({"name": name, "path": "/webhook", "dialect": "veo3", "transport": "any", "source": "any",
        "trust": {"any_of": ["confirmed"], "unprotected_budget": true}, "quarantine": "route", "result_url": "any"});
    let confirm = json!({"cluster": cluster, "authority": "api.example", "per_minute": 2, "timeout": "3s"});
    load(hook, &json!({}), &json!({"confirm": confirm}))
}

fn load(mut hook: Value, changes: &Value, sections: &Value) -> FakeEnvoy {
    let mut configuration = json!({"version": 1, "environment": "test"});
    merge(&mut hook, changes);
    configuration["hooks"] = json!([hook]);
    merge(&mut configuration, sections);
    let loaded = FakeEnvoy::load(configuration.to_string().as_bytes());
    loaded.unwrap_or_else(|| panic!("{:?}", logged("cannot load the configuration: ")))
}

fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        into[key] = value.clone();
    }
}

fn body() -> Vec<u8> {
    let body = json!({"generation_id": ID, "status": "completed", "video_url": "https://cdn.example/v.mp4",
        "prompt": "A fox", "model": "veo3"});
    body.to_string().into_bytes()
}

const HEAD: &[(&str, &[u8])] =
    &[(":method", b"POST"), (":path", b"/webhook"), ("content-type", b"application/json")];

fn with<'a>(more: &[(&'a str, &'a [u8])]) -> Vec<(&'a str, &'a [u8])> {
    [HEAD, more].concat()
}

/// The reason of the gate's only response.
#[track_caller]
fn refusal(stream: &FakeStream) -> (u32, String) {
    let sent = stream.with(|fake| fake.sent.clone());
    let [Sent::Local { status, headers, body, details }] = &sent[..] else { panic!("{sent:?}") };
    let reason = headers.iter().find(|(name, _)| name == header::REASON).expect("a reason");
    assert!(body.contains(&format!("\"code\":\"{}\"", reason.1)), "{body}");
    assert_eq!(details, "blobgate");
    (*status, reason.1.clone())
}

#[test]
fn reports_the_version_of_envoy_1_38_without_later_callbacks() {
    assert_eq!(fake::program_init(), "v0.1.0");
}

#[test]
fn forwards_a_body_in_parts() {
    let envoy = open("parts", &json!({}));
    let body = body();
    let (first, rest) = body.split_at(10);
    let stream = envoy.stream(&with(&[(header::EVENT, b"forged"), ("Blobgate_Verdict", b"x")]));
    assert_eq!(stream.request_headers(false), STOP);
    assert_eq!(stream.request_body(&[&first[..4], b"", &first[4..]], false), BUFFER);
    assert_eq!(stream.request_body(&[], false), BUFFER);
    assert_eq!(stream.request_body(&[rest], true), CONTINUE);
    assert_eq!(stream.values(0, header::EVENT), ["completed"]);
    assert_eq!(stream.values(0, header::GENERATION_ID), [ID]);
    assert_eq!(stream.values(0, "Blobgate_Verdict"), [""; 0]);
    assert_eq!(stream.with(|fake| fake.cleared_routes), 1);
    assert_eq!(stream.response_headers(OK, false), CONTINUE);
    assert_eq!(stream.response_body(&[b"{}"], true), b"{}");
    drop(stream);
    let accepted = "blobgate_responses_total.environment=test.hook=parts.status=200.reason=-";
    assert_eq!(envoy.metric(accepted), Some(1));
    assert_eq!(envoy.counted("status=-"), 0);
}

#[test]
fn reads_a_body_once_that_another_filter_has_buffered() {
    let envoy = open("buffered", &json!({}));
    let stream = envoy.stream(HEAD);
    assert_eq!(stream.request_headers(false), STOP);
    assert_eq!(stream.request_body_of_buffer(&[&body()]), CONTINUE);
    assert_eq!(stream.values(0, header::GENERATION_ID), [ID]);
}

#[test]
fn judges_at_trailers_and_removes_them() {
    let envoy = open("trailers", &json!({}));
    let stream = envoy.stream(HEAD);
    let trailer = |name: &str| (name.as_bytes().to_vec(), b"x".to_vec());
    stream.with(|fake| fake.maps[1] = vec![trailer(header::VERDICT), trailer("x-end"), trailer("x-end")]);
    assert_eq!(stream.request_headers(false), STOP);
    assert_eq!(stream.request_body(&[&body()], false), BUFFER);
    assert_eq!(stream.request_trailers(), CONTINUE);
    assert_eq!(stream.values(0, header::GENERATION_ID), [ID]);
    assert!(stream.with(|fake| fake.maps[1].is_empty()));
}

#[test]
fn refuses_and_counts_once() {
    let envoy = open("refusals", &json!({}));
    for dies in [false, true] {
        let stream = envoy.stream(HEAD);
        stream.with(|fake| fake.dies_when_answered = dies);
        assert_eq!(stream.request_headers(false), STOP);
        assert_eq!(stream.request_body(&[b"{"], true), DISCARD);
        assert_eq!(refusal(&stream), (400, "json-invalid".to_owned()));
        let field = stream.with(|fake| fake.state.get("wasm.blobgate_detail").cloned());
        assert_eq!(field.is_some(), dies, "the access log has the detail at the end");
    }
    let refused = "blobgate_responses_total.environment=test.hook=refusals.status=400.reason=json-invalid";
    assert_eq!(envoy.metric(refused), Some(2));
    assert_eq!(envoy.counted("hook=refusals.status=-"), 0, "no client left");
    assert_eq!(logged("hook=refusals ").len(), 2);
    assert!(logged("hook=refusals ")[0].starts_with("3 blobgate verdict=refused reason=json-invalid"));
}

#[test]
fn lets_nothing_of_a_refused_request_pass() {
    let envoy = open("after", &json!({"max_body_bytes": 1024}));
    let stream = envoy.stream(HEAD);
    assert_eq!(stream.request_headers(false), STOP);
    assert_eq!(stream.request_body(&[&[b'x'; 1025]], false), DISCARD);
    assert_eq!(refusal(&stream), (413, "body-too-large".to_owned()));
    assert_eq!(stream.request_body(&[b"more"], false), DISCARD);
    assert_eq!(stream.request_body(&[b"end"], true), DISCARD);
    assert_eq!(stream.request_trailers(), STOP);
    assert_eq!(stream.with(|fake| fake.sent.len()), 1);
}

#[test]
fn keeps_the_status_of_a_refused_grpc_request() {
    let envoy = open("grpc", &json!({}));
    let head: &[(&str, &[u8])] =
        &[(":method", b"POST"), (":path", b"/webhook"), ("content-type", b"application/grpc")];
    for dies in [false, true] {
        let stream = envoy.stream(head);
        stream.with(|fake| fake.dies_when_answered = dies);
        assert_eq!(stream.request_headers(false), STOP);
        assert_eq!(stream.request_body(&[b"{"], true), DISCARD);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![pair(":status", "400"), pair(header::REASON, "json-invalid")];
        assert_eq!(stream.with(|fake| fake.sent.clone()), [Sent::Headers(headers)]);
    }
    assert_eq!(envoy.counted("hook=grpc.status=400.reason=json-invalid"), 2);
}

#[test]
fn reads_hostile_heads() {
    let envoy = open("hostile", &json!({}));
    let names: Vec<String> = (0..200).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"\xff\xfe"[..])).collect();
    let long = vec![b'a'; 100_000];
    for (more, expected) in [
        (vec![("content-length", &b""[..])], (400, "header-invalid")),
        (vec![("content-length", b"1"), ("content-length", b"1")], (400, "header-invalid")),
        (vec![("content-encoding", b"\xff")], (400, "header-invalid")),
        (vec![("\u{fffd}", b"x"), ("", b""), ("content-encoding", b"gzip")], (415, "unsupported-encoding")),
        (vec![("x", long.as_slice()), ("content-encoding", b"gzip")], (415, "unsupported-encoding")),
        ([many, vec![("content-encoding", &b"gzip"[..])]].concat(), (415, "unsupported-encoding")),
    ] {
        let stream = envoy.stream(&with(&more));
        assert_eq!(stream.request_headers(false), STOP);
        assert_eq!(refusal(&stream), (expected.0, expected.1.to_owned()));
    }
    let stream = envoy.stream(&[]);
    assert_eq!(stream.request_headers(true), STOP);
    assert_eq!(refusal(&stream), (404, "unknown-hook".to_owned()));
}

#[test]
fn raises_the_buffer_limit_over_that_of_the_hook() {
    let envoy = open("limit", &json!({"max_body_bytes": 5000}));
    for (before, after) in [(1000, 71_536), (9000, 79_536), (u64::MAX, u64::MAX), (0, 0)] {
        let stream = envoy.stream(HEAD);
        stream.with(|fake| fake.limit = before);
        assert_eq!(stream.request_headers(false), STOP);
        assert_eq!(stream.with(|fake| fake.limit), after);
    }
}

#[test]
fn replaces_a_response_by_the_receipt() {
    let envoy = open("receipt", &json!({"answers": "receipt"}));
    let forward = || {
        let stream = envoy.stream(HEAD);
        stream.request_headers(false);
        assert_eq!(stream.request_body(&[&body()], true), CONTINUE);
        stream
    };
    let stream = forward();
    let response: &[(&str, &[u8])] = &[(":status", b"201"), ("x-service", b"\xff"), ("set-cookie", b"a=b")];
    assert_eq!(stream.response_headers(response, false), CONTINUE);
    let body = [
        stream.response_body(&[b"sec", b"ret"], false),
        stream.response_body(&[], false),
        stream.response_body(&[b"more"], true),
    ];
    assert_eq!(body.concat(), br#"{"status":"received"}"#);
    stream.with(|fake| fake.maps[3] = vec![(b"x-end".to_vec(), b"1".to_vec())]);
    assert_eq!(stream.response_trailers(), CONTINUE);
    assert!(stream.with(|fake| fake.maps[3].is_empty()));
    assert_eq!(stream.values(2, "x-service"), [""; 0]);
    assert_eq!(stream.values(2, ":status"), ["200"]);
    // A response without a body gets one only by another response.
    for dies in [false, true] {
        let stream = forward();
        stream.with(|fake| fake.dies_when_answered = dies);
        assert_eq!(stream.response_headers(&[(":status", b"204")], true), STOP);
        let sent = stream.with(|fake| fake.sent.clone());
        assert!(
            matches!(&sent[..], [Sent::Local { status: 200, body, .. }] if body.contains("received")),
            "{sent:?}"
        );
    }
    assert_eq!(envoy.counted("hook=receipt.status=200.reason=-"), 3);
}

/// A delivery that waits for the status API.
fn waiting(envoy: &FakeEnvoy) -> FakeStream {
    let stream = envoy.stream(HEAD);
    assert_eq!(stream.request_headers(false), STOP);
    assert_eq!(stream.request_body(&[&body()], true), BUFFER);
    stream
}

#[test]
fn continues_after_a_confirmation() {
    let status = body();
    for dies in [false, true] {
        let cluster = format!("continues-{dies}");
        let envoy = confirmed("continues", &cluster);
        let stream = waiting(&envoy);
        let call = stream.with(|fake| fake.calls.clone());
        assert_eq!(call.len(), 1);
        assert_eq!(call[0][0], (cluster.into_bytes(), b"3000".to_vec()));
        stream.with(|fake| fake.dies_when_answered = dies);
        let (first, rest) = status.split_at(7);
        stream.call_done(Some((&[(":status", b"200")], &[first, b"", rest])));
        let outcome = envoy.counted("outcome=confirmed");
        assert_eq!((outcome, stream.with(|fake| fake.continued)), (1, 1), "{:?}", logged("hook=continues"));
        assert_eq!(stream.with(|fake| fake.cleared_routes), 1);
        assert_eq!(stream.values(0, header::PROOFS), ["confirmed"]);
    }
}

#[test]
fn refuses_without_a_usable_confirmation() {
    let huge = vec![b'['; 300_000];
    let responses: [Option<FakeResponse<'_>>; 4] = [
        None,
        Some((&[], &[])),
        Some((&[(":status", b"504"), ("\u{fffd}", b"\xff")], &[b"upstream"])),
        Some((&[(":status", b"200")], &[&huge[..200_000], &huge[200_000..]])),
    ];
    for (place, response) in responses.into_iter().enumerate() {
        let envoy = confirmed("unusable", &format!("unusable-{place}"));
        let stream = waiting(&envoy);
        stream.with(|fake| fake.dies_when_answered = true);
        stream.call_done(response);
        assert_eq!(refusal(&stream), (503, "confirm-unavailable".to_owned()), "response {place}");
        assert!(stream.with(|fake| fake.state.contains_key("wasm.blobgate_confirm")));
    }
}

#[test]
#[cfg_attr(miri, ignore = "under Miri its calls take more than the minute that they must share")]
fn starts_no_call_over_the_budget_after_a_reload() {
    let spent = confirmed("budget", "budget-cluster");
    for _ in 0..2 {
        // Its client leaves: Envoy ends the call, and the module's hook never comes.
        drop(waiting(&spent));
    }
    assert_eq!(spent.counted("hook=budget.status=-"), 2);
    let reloaded = confirmed("budget", "budget-cluster");
    drop(spent);
    let stream = reloaded.stream(HEAD);
    stream.request_headers(false);
    assert_eq!(stream.request_body(&[&body()], true), DISCARD);
    assert_eq!(refusal(&stream), (503, "confirm-unavailable".to_owned()));
    assert_eq!(reloaded.counted("outcome=budget"), 1);
    assert_eq!(stream.with(|fake| fake.calls.len()), 0);
}

#[test]
fn refuses_where_envoy_starts_no_call() {
    let envoy = confirmed("no-call", "no-call");
    let stream = envoy.stream(HEAD);
    stream.with(|fake| fake.starts_no_call = true);
    stream.request_headers(false);
    assert_eq!(stream.request_body(&[&body()], true), DISCARD);
    assert_eq!(refusal(&stream), (503, "confirm-unavailable".to_owned()));
}

#[test]
fn tells_envoys_timeouts_from_its_other_responses() {
    for (details, expected) in [(&b"request_overall_timeout"[..], "503"), (b"\xff", "504"), (b"", "504")] {
        let envoy = confirmed("late", &format!("late-{expected}-{}", details.len()));
        let stream = waiting(&envoy);
        assert_eq!(stream.local_reply("504", details), CONTINUE);
        assert_eq!(stream.values(2, ":status"), [expected]);
        // The API responds after Envoy has.
        stream.call_done(Some((&[(":status", b"200")], &[b"{}"])));
        assert_eq!(stream.with(|fake| (fake.continued, fake.sent.len())), (0, 0));
    }
}

#[test]
fn counts_a_client_that_leaves() {
    let envoy = open("leaves", &json!({}));
    drop(envoy.stream(HEAD));
    let stream = envoy.stream(HEAD);
    stream.request_headers(false);
    drop(stream);
    let stream = envoy.stream(HEAD);
    stream.request_headers(false);
    stream.request_body(&[&body()], true);
    drop(stream);
    assert_eq!(envoy.counted("hook=leaves.status=-"), 2);
}

#[test]
fn rejects_a_bad_configuration_in_one_sentence() {
    for (configuration, error) in [
        (&b""[..], "the configuration is empty; write version, environment and hooks"),
        (b"{\"version\": 2}", "version is 2; write 1"),
        (
            b"\xff\xff",
            "the configuration is neither a google.protobuf.Struct nor a JSON object; write it as one of them",
        ),
    ] {
        assert!(FakeEnvoy::load(configuration).is_none());
        assert_eq!(logged(error), [format!("4 blobgate: cannot load the configuration: {error}")]);
    }
    assert!(fake::refuses_route_configuration());
    assert_eq!(logged("cannot load the configuration of a route").len(), 1);
}

#[test]
fn shows_the_version_from_the_first_request() {
    let envoy = open("version", &json!({}));
    let name = format!("blobgate_info.environment=test.version={}", env!("CARGO_PKG_VERSION"));
    assert_eq!(envoy.metric(&name), Some(0));
    envoy.stream(HEAD).request_headers(false);
    assert_eq!(envoy.metric(&name), Some(1));
    assert_eq!(envoy.metric("blobgate_module_panics_total.environment=test"), Some(0));
}

#[test]
#[cfg_attr(miri, ignore = "under Miri its lines take more than the second that they must share")]
fn reports_omitted_lines_without_a_further_request() {
    let envoy = open("omitted", &json!({}));
    for _ in 0..13 {
        envoy.stream(&with(&[("content-encoding", b"gzip")])).request_headers(false);
    }
    assert_eq!(logged("hook=omitted ").len(), 10);
    let summary = || logged("blobgate lines-left-out=3 kind=refused");
    while summary().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(summary(), ["3 blobgate lines-left-out=3 kind=refused environment=test"]);
    // The thread of a later flood ends with the configuration.
    for _ in 0..13 {
        envoy.stream(&with(&[("content-encoding", b"gzip")])).request_headers(false);
    }
}

#[test]
fn a_hook_after_the_first_ones_has_a_predefined_counter() {
    let hook = |number: usize| {
        json!({"name": format!("h{number}"), "path": format!("/h{number}"), "dialect": "veo3", "transport": "any",
            "source": "any", "trust": "open", "quarantine": "none", "result_url": "any"})
    };
    let hooks: Vec<Value> = (0..40).map(hook).collect();
    let configuration = json!({"version": 1, "environment": "test", "hooks": hooks}).to_string();
    let envoy = FakeEnvoy::load(configuration.as_bytes()).unwrap();
    let count = |reason: &str, status: &str| {
        envoy.metric(&format!(
            "blobgate_responses_total.environment=test.hook=h39.status={status}.reason={reason}"
        ))
    };
    assert_eq!((count("-", "200"), count("upstream-error", "503")), (Some(0), None));
    for status in ["200", "500"] {
        let stream = envoy.stream(&[(":method", b"POST"), (":path", b"/h39")]);
        stream.request_headers(false);
        assert_eq!(stream.request_body(&[&body()], true), CONTINUE);
        stream.response_headers(&[(":status", status.as_bytes())], false);
    }
    assert_eq!((count("-", "200"), count("upstream-error", "503")), (Some(1), Some(1)));
}
