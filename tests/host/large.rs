//! Large configurations on a real Envoy.

use crate::support::{EnvoyProcess, H2, Options, TestDelivery, TestGate, Version, on_every_envoy};
use crate::trust::configuration;
use serde_json::{Value, json};

/// The shipped configuration with this number of hooks in place of its second one.
fn of_hooks(number: usize) -> Value {
    let mut configuration = configuration(&json!({}));
    let hooks = configuration["hooks"].as_array_mut().unwrap();
    let shipped = hooks.pop().unwrap();
    hooks.extend((0..number).map(|number| {
        let mut hook = shipped.clone();
        hook["name"] = format!("h{number}").into();
        hook["path"] = format!("/many/h{number}/{{token}}").into();
        hook
    }));
    configuration
}

/// Starts a gate with this configuration. Its routes are those of the shipped hooks.
fn start(envoy: &Version, configuration: &Value) -> TestGate {
    let with = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration});
    TestGate::started(envoy, Options::default(), |shipped| shipped.any(&with))
}

/// The processor time of all threads so far, in the clock's ticks. Another load on the machine hardly changes it.
fn processor_time(envoy: &EnvoyProcess) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", envoy.pid())).unwrap();
    // The name of the program, in parentheses, may have spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Comparing each hook with each other takes ten times as long.
#[test]
fn loads_10_000_hooks() {
    on_every_envoy(|envoy| {
        let time_of = |hooks| {
            let gate = start(envoy, &of_hooks(hooks));
            gate.accepts(H2, &TestDelivery::completed());
            processor_time(&gate.envoy)
        };
        let (few, many) = (time_of(1_000), time_of(10_000));
        assert!(many < few * 5, "{few} ticks for 1,000 hooks, {many} for 10,000");
    });
}

#[test]
fn loads_150_000_ranges() {
    on_every_envoy(|envoy| {
        let mut configuration = configuration(&json!({}));
        let range = |number: u32| format!("10.{}.{}.{}/32", number >> 16, (number >> 8) & 255, number & 255);
        // Every other address, so that no two ranges join.
        let mut ranges: Vec<String> = (0..149_999).map(|number| range(number * 2)).collect();
        ranges.push("127.0.0.0/8".to_owned());
        configuration["hooks"][0]["source"] = json!(ranges);
        start(envoy, &configuration).accepts(H2, &TestDelivery::completed());
    });
}
