//! About the Wasm module alone: a trap ends a worker's VM, and each worker configures its own. `tests/native/` has the native
//! module's behaviour in these cases.

use crate::fail_closed::assert_nothing_passes;
use crate::failure::wait_until_working;
use crate::support::client::Protocol;
use crate::support::delivery::RequestEnding;
use crate::support::{
    Bootstrap, GateModule, H1, Length, Options, Reply, TestDelivery, TestGate, eventually, on_every_envoy,
};
use crate::trust::{confirms, good, tokenless, with_token};
use crate::{access_line, counts, log_line};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn reports_a_trap_in_the_access_log() {
    GateModule::Wasm.alone("only Wasm traps");
    on_every_envoy(|version| {
        let gate = TestGate::with(version, Bootstrap::crashing);
        gate.send(H1, &TestDelivery::completed().header("x-crash-test", "headers"));
        access_line(&gate.envoy, |line| {
            line["details"].as_str().is_some_and(|details| details.contains("wasm_fail_stream"))
        });
    });
}

#[test]
fn refuses_a_waiting_delivery_when_the_module_traps() {
    GateModule::Wasm.alone("a trap ends every stream of its VM");
    on_every_envoy(|version| {
        let gate = TestGate::with(version, Bootstrap::crashing);
        for protocol in Protocol::BOTH {
            gate.nothing_arrives(|| {
                std::thread::scope(|scope| {
                    let body = TestDelivery::completed().body();
                    let unfinished = TestDelivery::of(body.clone())
                        .length(Length::Claimed(u64::try_from(body.len()).unwrap() + 1))
                        .ending(RequestEnding::Open);
                    let connect = gate.tls(protocol);
                    let waiting = scope.spawn(move || connect.open().send(&unfinished));
                    let active = || gate.envoy.stat("http.edge.downstream_rq_active");
                    eventually("waiting delivery", || (active() == Some(1)).then_some(()));
                    gate.send(protocol, &TestDelivery::completed().header("x-crash-test", "headers"));
                    let answer = waiting.join().unwrap();
                    assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
                });
            });
            wait_until_working(&gate, protocol);
        }
    });
}

#[test]
fn forwards_no_waiting_delivery_after_a_trap() {
    GateModule::Wasm.alone("a trap ends every stream of its VM");
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, Bootstrap::crashing);
        for protocol in Protocol::BOTH {
            let reply = Reply::After(Duration::from_millis(500), Box::new(confirms(&tokenless())));
            gate.provider.reply(reply);
            let before = gate.provider.heads();
            gate.nothing_arrives(|| {
                let mut crashed = false;
                // Some versions of Envoy answer the waiting delivery at once, others never.
                gate.tls(protocol).open().leave(&tokenless(), "end of the call", || {
                    if gate.provider.heads() > before && !crashed {
                        let crash = with_token(TestDelivery::completed(), &good());
                        let answer = gate.send(H1, &crash.header("x-crash-test", "headers"));
                        assert_eq!((answer.status, answer.reason()), (503, None), "{answer:?}");
                        crashed = true;
                    }
                    crashed && gate.envoy.stat("cluster.runblob_api.upstream_rq_active") == Some(0)
                });
            });
            wait_until_working(&gate, protocol);
            gate.provider.reply(confirms(&tokenless()));
            gate.accepts(protocol, &tokenless());
        }
    });
}

#[test]
fn refuses_as_misconfigured_without_the_host_flag() {
    GateModule::Wasm.alone("the native module needs no host flag");
    on_every_envoy(|envoy| {
        let gate = TestGate::with(envoy, |bootstrap| {
            bootstrap.http(|manager| manager["request_timeout"] = "0.5s".into()).filter(|filter| {
                let plugin = &mut filter["typed_config"]["config"];
                let flag = plugin.as_object_mut().unwrap().remove("allow_on_headers_stop_iteration");
                assert_eq!(flag, Some(Value::Bool(true)));
                plugin["name"] = "blobgate-without-flag".into();
            })
        });
        for protocol in Protocol::BOTH {
            gate.refuses(protocol, &TestDelivery::completed(), 503, "host-misconfigured");
        }
        let labels = [("reason", "host-misconfigured"), ("status", "503")];
        counts(&gate.envoy, "blobgate_responses_total", &labels, 2.0);
        log_line(&gate.envoy, "reason=host-misconfigured hook=veo3");
    });
}

#[test]
fn refuses_when_a_workers_configuration_fails() {
    GateModule::Wasm.alone("all workers share the native module's configuration");
    on_every_envoy(|envoy| {
        // Configuration succeeds on the main thread and fails on each worker. Envoy then skips the filter and reports LIVE.
        let gate =
            TestGate::started(envoy, Options { concurrency: 2, ..Options::default() }, |mut shipped| {
                let listeners = shipped.json["static_resources"]["listeners"].as_array_mut().unwrap();
                listeners.retain(|listener| listener["name"] == "edge");
                shipped.crashing().filter(|filter| {
                    let vm = &mut filter["typed_config"]["config"]["vm_config"];
                    vm["environment_variables"]["key_values"] = json!({"BLOBGATE_CONFIGURES": "2"});
                })
            });
        assert_nothing_passes(&gate);
    });
}
