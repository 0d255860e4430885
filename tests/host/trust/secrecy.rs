//! A token is a secret: no log, statistic, response, service or provider contains it.

use super::{HOOK, confirms, token, tokenless, unknown_generation, with_token};
use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, RequestEnding};
use crate::support::{
    Bootstrap, ClientResponse, GateModule, H1, H2, Length, Reply, ServiceRequest, TestDelivery, TestGate,
    eventually, on_every_envoy,
};
use serde_json::{Value, json};
use std::cell::RefCell;

/// Bytes that could contain a secret, with the name of their place.
pub(super) type SecretPlaces = Vec<(String, Vec<u8>)>;

/// The logs, statistics and requests so far.
#[track_caller]
pub(super) fn places(gate: &TestGate) -> SecretPlaces {
    let mut places: SecretPlaces = vec![
        ("the access log".to_owned(), crate::access_text(&gate.envoy).into_bytes()),
        ("Envoy's log".to_owned(), gate.envoy.log().into_bytes()),
    ];
    for path in
        ["/stats", "/stats/prometheus", "/config_dump?include_eds", "/clusters", "/server_info", "/certs"]
    {
        let answer = gate.envoy.admin("GET", path);
        assert_eq!(answer.status, 200, "{path}");
        places.push((path.to_owned(), answer.body));
    }
    for service in gate.services() {
        places.extend(service.arrivals().iter().map(|arrival| ("a service".to_owned(), bytes(arrival))));
    }
    let calls = gate.provider.arrivals();
    places.extend(calls.iter().map(|call| ("the provider".to_owned(), bytes(call))));
    places
}

fn bytes(arrival: &ServiceRequest) -> Vec<u8> {
    let mut all = format!("{} {}\n", arrival.method, arrival.path).into_bytes();
    for (name, value) in &arrival.headers {
        all.extend([name.as_bytes(), b": ", value, b"\n"].concat());
    }
    all.extend(&arrival.body);
    all
}

pub(super) fn response_bytes(answer: &ClientResponse) -> Vec<u8> {
    let lines = answer.headers.iter().map(|(name, value)| [name.as_bytes(), b": ", value, b"\n"].concat());
    [lines.collect::<Vec<_>>().concat(), answer.body.clone()].concat()
}

/// The names of the places that contain a text.
pub(super) fn places_with(places: &SecretPlaces, text: &str) -> Vec<String> {
    let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
    let mut names: Vec<String> =
        places.iter().filter(|(_, bytes)| has(bytes)).map(|(name, _)| name.clone()).collect();
    names.dedup();
    names
}

/// Sent tokens, and the responses.
#[derive(Default)]
struct TokenExchanges {
    tokens: RefCell<Vec<String>>,
    answers: RefCell<Vec<ClientResponse>>,
}

impl TokenExchanges {
    /// A new token with its own `jti`.
    fn token(&self, changes: &Value) -> String {
        let mut changes = changes.clone();
        changes["claims"]["jti"] = format!("t-{}", self.tokens.borrow().len()).into();
        let token = token(&changes);
        self.tokens.borrow_mut().push(token.clone());
        token
    }

    fn good(&self) -> String {
        self.token(&json!({}))
    }

    /// A token of each kind.
    fn kinds(&self) -> Vec<String> {
        let changes = [
            json!({}),
            json!({"expires_in": -3600}),
            json!({"key": "other-hs"}),
            json!({"header": {"kid": "another"}}),
            json!({"claims": {"aud": "production/veo3-token"}}),
            json!({"claims": {"exp": "soon"}}),
            json!({"edit": "four-segments"}),
            json!({"edit": "padded"}),
            json!({"edit": "with-nul"}),
        ];
        changes.iter().map(|changes| self.token(changes)).collect()
    }

    #[track_caller]
    fn record(&self, answer: ClientResponse, status: u16) {
        assert_eq!(answer.status, status, "{answer:?}");
        self.answers.borrow_mut().push(answer);
    }

    /// Asserts that no place contains a sent token or its signature.
    #[track_caller]
    fn assert_absent(&self, gate: &TestGate) {
        let mut places = places(gate);
        for answer in self.answers.borrow().iter() {
            places.push((format!("a response {}", answer.status), response_bytes(answer)));
        }
        for token in self.tokens.borrow().iter() {
            let signature = token.split('.').nth(2).unwrap();
            assert!(signature.len() > 40, "{token}");
            for text in [token.as_str(), signature, signature.trim_end_matches("%00")] {
                assert_eq!(places_with(&places, text), [""; 0], "{text}");
            }
        }
    }
}

#[test]
fn no_place_contains_a_token() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            let mut configuration = Bootstrap::shipped_gate();
            configuration["confirm"]["per_minute"] = 6000.into();
            shipped.gate(&configuration)
        });
        let sent = TokenExchanges::default();
        let mut deliveries = 0;
        for protocol in Protocol::BOTH {
            let send = |delivery: &TestDelivery| gate.send(protocol, delivery);
            for provider in [confirms(&tokenless()), unknown_generation(), Reply::status(500)] {
                gate.provider.reply(provider);
                for token in sent.kinds() {
                    for delivery in [
                        TestDelivery::completed(),
                        TestDelivery::failed(),
                        TestDelivery::of("{"),
                        TestDelivery::completed_of(70_000),
                        TestDelivery::without_body(),
                        TestDelivery::completed().method("GET"),
                        TestDelivery::completed().trailers(),
                    ] {
                        let answer = send(&with_token(delivery, &token));
                        assert!([200, 400, 401, 403, 405, 413, 503].contains(&answer.status), "{answer:?}");
                        sent.answers.borrow_mut().push(answer);
                        deliveries += 1;
                    }
                }
            }
            let [one, two, three, four, five] = [(); 5].map(|()| sent.good());
            for (path, status) in [
                (format!("{HOOK}/{one}/more"), 404),
                (format!("{HOOK}/x/{two}"), 404),
                (format!("{HOOK}/{one}/{two}"), 404),
                (format!("{HOOK}/{three}/"), 404),
                (format!("{HOOK}/?token={four}"), 403),
                (format!("{HOOK}?{five}"), 403),
                (format!("{HOOK}/{one}?token={two}"), 200),
                (format!("//hooks//veo3//{one}"), 200),
                (format!("/a/../hooks/./veo3/{one}"), 200),
                (format!("/hooks%2Fveo3%2f{one}"), 200),
                (format!("{HOOK}/{one}%2Fmore"), 404),
                (format!("{HOOK}/{one};a=b"), 403),
                (format!("/Hooks/veo3/{one}"), 404),
            ] {
                sent.record(send(&TestDelivery::completed().path(&path)), status);
            }
            let plaintext =
                gate.envoy.plaintext(protocol).open().send(&with_token(TestDelivery::completed(), &one));
            sent.record(plaintext, 403);
        }
        let lines = || gate.envoy.access_log().len();
        eventually("line for each", || (lines() > deliveries).then_some(()));
        sent.assert_absent(&gate);
        // The control: the same search finds the generation and the hook.
        for place in ["the access log", "Envoy's log", "a service", "the provider"] {
            let places = places_with(&places(&gate), GENERATION);
            assert!(places.iter().any(|name| name == place), "{place} is not among {places:?}");
        }
        let named = places_with(&places(&gate), "veo3-token");
        for place in ["/stats", "/stats/prometheus", "/config_dump?include_eds"] {
            assert!(named.iter().any(|name| name == place), "{place} is not among {named:?}");
        }
    });
}

#[test]
fn no_error_of_envoy_contains_a_token() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.crashing().http(|manager| manager["request_timeout"] = "0.5s".into())
        });
        let sent = TokenExchanges::default();
        for protocol in Protocol::BOTH {
            let with_good = |delivery: TestDelivery| with_token(delivery, &sent.good());
            let stalls = TestDelivery::of("{\"generation_id\":")
                .length(Length::Claimed(300))
                .ending(RequestEnding::Open);
            // Envoy's 408, which the gate turns into 503 for a valid token.
            sent.record(gate.send(protocol, &with_good(stalls)), 503);
            let large = TestDelivery::completed().header("x-large", "l".repeat(40_000));
            match gate.tls(protocol).open().try_send(&with_good(large)) {
                Ok(answer) => sent.record(answer, 431),
                Err(error) => assert_eq!(protocol, H2, "{error}"),
            }
            let many =
                (0..120).fold(TestDelivery::completed(), |many, n| many.header(&format!("x-{n}"), "1"));
            match gate.tls(protocol).open().try_send(&with_good(many)) {
                Ok(answer) => sent.record(answer, 431),
                Err(error) => assert_eq!(protocol, H2, "{error}"),
            }
            // Deliveries that crash the module, and deliveries to a crashed Wasm module.
            for place in ["headers", "body"] {
                let crash = with_good(TestDelivery::completed().header("x-crash-test", place));
                sent.record(gate.send(protocol, &crash), 503);
                eventually("working module", || {
                    let answer = gate.send(protocol, &with_good(TestDelivery::completed()));
                    let back = answer.status == 200;
                    sent.record(answer, if back { 200 } else { 503 });
                    back.then_some(())
                });
            }
        }
        for raw in [
            "POST {path} HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
            "POST {path} HTTP/1.1\r\n\r\n",
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: one\r\n\r\n",
            "POST {path} http/1.1\r\nhost: a\r\n\r\n",
        ] {
            let raw = raw.replace("{path}", &format!("{HOOK}/{}", sent.good()));
            let answer = gate.tls(H1).open().raw(raw.as_bytes()).unwrap();
            assert_eq!(answer.status, 400, "{raw} {answer:?}");
            sent.answers.borrow_mut().push(answer);
        }
        let of_crash = match GateModule::chosen() {
            GateModule::Wasm => "wasm_fail_stream",
            GateModule::Native => "blobgate_panicked",
        };
        for details in ["request_overall_timeout", of_crash, "http1.codec_error"] {
            crate::access_line(&gate.envoy, |line| {
                line["details"].as_str().is_some_and(|text| text.contains(details))
            });
        }
        sent.assert_absent(&gate);
    });
}

#[test]
fn the_search_finds_a_token_in_an_unguarded_path() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.http(|manager| {
                let format = &mut manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
                format["path"] = "%REQ(:PATH)%".into();
            })
        });
        let (open, secret) = (token(&json!({"claims": {"jti": "open"}})), token(&json!({})));
        assert_eq!(gate.send(H2, &TestDelivery::completed().path(&format!("/app/{open}"))).status, 200);
        for protocol in Protocol::BOTH {
            assert_eq!(gate.send(protocol, &with_token(TestDelivery::completed(), &secret)).status, 200);
            gate.send(protocol, &with_token(TestDelivery::completed().method("GET"), &secret));
        }
        let judged = |line: &Value| line["path"] == HOOK;
        let lines = || gate.envoy.access_log().iter().filter(|line| judged(line)).count();
        eventually("lines", || (lines() == 4).then_some(()));
        crate::access_line(&gate.envoy, |line| line["path"] == format!("/app/{open}"));
        let signature = open.rsplit('.').next().unwrap();
        for text in [open.as_str(), signature] {
            assert_eq!(places_with(&places(&gate), text), ["the access log", "a service"]);
        }
        assert_eq!(places_with(&places(&gate), secret.rsplit('.').next().unwrap()), [""; 0]);
    });
}
