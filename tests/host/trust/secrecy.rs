//! A token is a secret: it is in nothing that anybody writes, keeps or hands on.

use super::{HOOK, confirms, knows_nothing, stranger, token, with_token};
use crate::support::client::Protocol;
use crate::support::delivery::{GENERATION, RequestEnding};
use crate::support::{
    Bootstrap, ClientResponse, H1, H2, Length, Reply, ServiceRequest, TestDelivery, TestGate,
    crashing_module, eventually, on_every_envoy,
};
use serde_json::{Value, json};
use std::cell::RefCell;

/// Where a secret could be found, by the place's name.
pub(super) type SecretPlaces = Vec<(String, Vec<u8>)>;

/// All that Envoy, the services and the provider wrote down so far.
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

pub(super) fn heard(answer: &ClientResponse) -> Vec<u8> {
    let lines = answer.headers.iter().map(|(name, value)| [name.as_bytes(), b": ", value, b"\n"].concat());
    [lines.collect::<Vec<_>>().concat(), answer.body.clone()].concat()
}

/// The names of the places that have a text.
pub(super) fn found(places: &SecretPlaces, text: &str) -> Vec<String> {
    let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
    let mut names: Vec<String> =
        places.iter().filter(|(_, bytes)| has(bytes)).map(|(name, _)| name.clone()).collect();
    names.dedup();
    names
}

/// Tokens that went out, and the answers that came back.
#[derive(Default)]
struct TokenExchanges {
    tokens: RefCell<Vec<String>>,
    answers: RefCell<Vec<ClientResponse>>,
}

impl TokenExchanges {
    /// A new token, which no other test row has.
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

    /// All kinds of tokens.
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
    fn hears(&self, answer: ClientResponse, status: u16) {
        assert_eq!(answer.status, status, "{answer:?}");
        self.answers.borrow_mut().push(answer);
    }

    /// Asserts that no token of them, and no signature of one, is anywhere.
    #[track_caller]
    fn nowhere(&self, gate: &TestGate) {
        let mut places = places(gate);
        for answer in self.answers.borrow().iter() {
            places.push((format!("an answer {}", answer.status), heard(answer)));
        }
        for token in self.tokens.borrow().iter() {
            let signature = token.split('.').nth(2).unwrap();
            assert!(signature.len() > 40, "{token}");
            for text in [token.as_str(), signature, signature.trim_end_matches("%00")] {
                assert_eq!(found(&places, text), [""; 0], "{text}");
            }
        }
    }
}

#[test]
fn a_token_is_in_nothing_that_is_written_or_handed_on() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            let mut configuration = Bootstrap::shipped_gate();
            configuration["confirm"]["per_minute"] = 6000.into();
            shipped.gate(&configuration)
        });
        let sent = TokenExchanges::default();
        let mut marked = 0;
        for protocol in Protocol::BOTH {
            let hear = |delivery: &TestDelivery| gate.send(protocol, delivery);
            for provider in [confirms(&stranger()), knows_nothing(), Reply::status(500)] {
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
                        let answer = hear(&with_token(delivery, &token));
                        assert!([200, 400, 401, 403, 405, 413, 503].contains(&answer.status), "{answer:?}");
                        sent.answers.borrow_mut().push(answer);
                        marked += 1;
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
                sent.hears(hear(&TestDelivery::completed().path(&path)), status);
            }
            let plaintext =
                gate.envoy.plaintext(protocol).open().send(&with_token(TestDelivery::completed(), &one));
            sent.hears(plaintext, 403);
        }
        let lines = || gate.envoy.access_log().len();
        eventually("line for each", || (lines() > marked).then_some(()));
        sent.nowhere(&gate);
        // The same search finds what has to be there.
        for place in ["the access log", "Envoy's log", "a service", "the provider"] {
            let places = found(&places(&gate), GENERATION);
            assert!(places.iter().any(|name| name == place), "{place} is not among {places:?}");
        }
        let named = found(&places(&gate), "veo3-token");
        for place in ["/stats", "/stats/prometheus", "/config_dump?include_eds"] {
            assert!(named.iter().any(|name| name == place), "{place} is not among {named:?}");
        }
    });
}

#[test]
fn a_token_is_in_nothing_that_envoy_itself_says_of_it() {
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |shipped| {
            shipped.module(crashing_module()).http(|manager| manager["request_timeout"] = "0.5s".into())
        });
        let sent = TokenExchanges::default();
        for protocol in Protocol::BOTH {
            let with_good = |delivery: TestDelivery| with_token(delivery, &sent.good());
            let stalls = TestDelivery::of("{\"generation_id\":")
                .length(Length::Claimed(300))
                .ending(RequestEnding::Open);
            // Envoy's 408, which one with a good token hears as 503.
            sent.hears(gate.send(protocol, &with_good(stalls)), 503);
            let large = TestDelivery::completed().header("x-large", "l".repeat(40_000));
            match gate.tls(protocol).open().try_send(&with_good(large)) {
                Ok(answer) => sent.hears(answer, 431),
                Err(error) => assert_eq!(protocol, H2, "{error}"),
            }
            let many =
                (0..120).fold(TestDelivery::completed(), |many, n| many.header(&format!("x-{n}"), "1"));
            match gate.tls(protocol).open().try_send(&with_good(many)) {
                Ok(answer) => sent.hears(answer, 431),
                Err(error) => assert_eq!(protocol, H2, "{error}"),
            }
            // While the module is trapped, and by what traps it.
            for place in ["headers", "body"] {
                let crash = with_good(TestDelivery::completed().header("x-crash-test", place));
                sent.hears(gate.send(protocol, &crash), 503);
                eventually("module again", || {
                    let answer = gate.send(protocol, &with_good(TestDelivery::completed()));
                    let back = answer.status == 200;
                    sent.hears(answer, if back { 200 } else { 503 });
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
        for details in ["request_overall_timeout", "wasm_fail_stream", "http1.codec_error"] {
            crate::access_line(&gate.envoy, |line| {
                line["details"].as_str().is_some_and(|said| said.contains(details))
            });
        }
        sent.nowhere(&gate);
    });
}

#[test]
fn the_search_would_find_a_token_and_what_is_judged_has_no_token_in_its_path() {
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
            assert_eq!(found(&places(&gate), text), ["the access log", "a service"]);
        }
        assert_eq!(found(&places(&gate), secret.rsplit('.').next().unwrap()), [""; 0]);
    });
}
