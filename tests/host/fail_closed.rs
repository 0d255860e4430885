//! Without a running gate no delivery passes. Requests to other paths stay unchanged.

use crate::hook_routes;
use crate::support::client::Protocol;
use crate::support::{
    Bootstrap, EnvoyProcess, H1, Options, Reply, TestDelivery, TestGate, Upstream, on_every_envoy,
};
use blobgate::contract::{Verdict, header};

fn forged(event: &str) -> TestDelivery {
    TestDelivery::completed()
        .header(header::VERDICT, Verdict::Accepted.name())
        .header(header::EVENT, event)
        .header("blobgate_verdict", Verdict::Accepted.name())
        .header("blobgate_event", event)
}

#[track_caller]
pub(crate) fn assert_nothing_passes(gate: &TestGate) {
    for protocol in Protocol::BOTH {
        let with_token = TestDelivery::completed().path("/hooks/veo3/any.to.ken");
        let forgeries = ["completed", "failed", "timeout"].map(forged);
        let elsewhere = forgeries.clone().map(|forgery| forgery.path("/hooks/veo3"));
        for delivery in [TestDelivery::completed(), with_token].into_iter().chain(forgeries).chain(elsewhere)
        {
            let answer = gate.nothing_arrives(|| gate.send(protocol, &delivery));
            assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("not-judged")), "{answer:?}");
        }
        // The control: another path reaches the same services.
        let before = gate.sent();
        assert_eq!(gate.send(protocol, &TestDelivery::completed().path("/app")).status, 200);
        assert_eq!(gate.sent(), before + 1);
        gate.take_one();
    }
}

#[test]
fn refuses_without_the_filter() {
    on_every_envoy(|envoy| {
        assert_nothing_passes(&TestGate::with(envoy, |bootstrap| bootstrap.without_gate()))
    });
}

#[test]
fn refuses_with_the_filter_disabled() {
    on_every_envoy(|envoy| {
        assert_nothing_passes(&TestGate::with(envoy, |bootstrap| {
            hook_routes(bootstrap, |route| {
                route.as_object_mut().unwrap().remove("typed_per_filter_config");
            })
        }));
    });
}

#[test]
fn no_path_reaches_a_service_without_the_gate() {
    // Other spellings of the hook's path, and other paths.
    const PATHS: &[&str] = &[
        "//webhook",
        "/%77ebhook",
        "/webhook/../webhook",
        "/webhook%2F",
        "/%2Fwebhook",
        "/\\webhook",
        "/%5cwebhook",
        "/./webhook",
        "/x/%2e%2e/webhook",
        "///hooks//veo3",
        "/hooks/veo3/..;/webhook",
        "/webhook;a=b",
        "/WEBHOOK",
        "/webhook/",
        "/webhook//x",
        "/",
        "/app",
        "/app/x",
        "/hooks",
        "/hooks/veo3x",
        "/webhookx",
        "/favicon.ico",
    ];
    on_every_envoy(|envoy| {
        for has_gate in [true, false] {
            let service = Upstream::start();
            let clusters = ["video_service", "failure_service", "quarantine_service"];
            let shipped =
                clusters.iter().fold(Bootstrap::as_shipped(), |all, name| all.endpoint(name, service.port));
            let shipped = if has_gate { shipped } else { shipped.without_gate() };
            let envoy = EnvoyProcess::start(envoy, &shipped.inbox(service.port), Options::default());
            for path in PATHS {
                for delivery in [
                    TestDelivery::completed(),
                    forged("completed"),
                    TestDelivery::without_body().method("GET"),
                ] {
                    for connect in [envoy.tls(H1), envoy.plaintext(H1)] {
                        let before = service.arrivals().len();
                        let answer = connect.open().send(&delivery.clone().path(path));
                        let accepted = answer.status == 200;
                        assert!(!accepted || has_gate, "{path}: {answer:?}");
                        assert_eq!(
                            service.arrivals().len(),
                            before + usize::from(accepted),
                            "{path}: {answer:?}"
                        );
                    }
                }
            }
            let arrivals = service.arrivals();
            // The control: Envoy normalizes some of them to the hook's path.
            assert_eq!(has_gate, arrivals.len() > 10, "{}", arrivals.len());
            for arrival in arrivals {
                assert_eq!(arrival.path, "/webhook");
                assert_eq!(
                    arrival.header(header::VERDICT).as_deref(),
                    Some(Verdict::Accepted.name()),
                    "{arrival:?}"
                );
                assert_eq!(arrival.header(header::HOOK).as_deref(), Some("veo3"), "{arrival:?}");
            }
        }
    });
}

#[test]
fn leaves_other_paths_unchanged() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        gate.video.reply(Reply::status(404).header("location", "/x").header("retry-after", 7).body("own"));
        for protocol in Protocol::BOTH {
            let health = gate.send(protocol, &TestDelivery::without_body().method("GET").path("/healthz"));
            assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
            let app = TestDelivery::completed_of(200_000)
                .method("PUT")
                .path("/app/thing?q=1")
                .header(header::IDEMPOTENCY_KEY, "own")
                .header(header::WEBHOOK_ID, "own")
                .header("content-encoding", "gzip");
            let answer = gate.send(protocol, &app);
            assert_eq!((answer.status, answer.reason(), answer.text().as_str()), (404, None, "own"));
            assert_eq!(answer.header("retry-after").as_deref(), Some("7"));
            let arrival = gate.take_one();
            assert_eq!((arrival.method.as_str(), arrival.path.as_str()), ("PUT", "/app/thing?q=1"));
            assert_eq!(arrival.header(header::IDEMPOTENCY_KEY).as_deref(), Some("own"));
            assert_eq!(arrival.header(header::WEBHOOK_ID).as_deref(), Some("own"));
            assert_eq!(arrival.header(header::VERDICT), None);
            assert!(arrival.body == app.body());
            // Envoy removes only the gate headers, which no client may set on this listener.
            let claims = [header::EVENT, "blobgate_event", "idempotency_key"];
            let claiming = claims.iter().fold(app, |app, name| app.header(name, "f0rged"));
            gate.send(protocol, &claiming);
            let forged = gate.take_one().headers.into_iter().find(|(_, value)| value == b"f0rged");
            assert_eq!(forged, None);
        }
    });
}
