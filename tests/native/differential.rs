//! Each case of the corpus goes to both modules, in the same Envoy and with the same configuration. The sender's response, the
//! service's request, the counters and the log must be the same.

use crate::bench::{self, CorpusBench, MARK};
use crate::case_run::{CaseRun, RoutedService};
use crate::corpus::{Case, CaseOutcome, Corpus, GateSetup};
use crate::on_every_envoy;
use crate::support::metrics::Sample;
use crate::support::{ClientResponse, EnvoyProcess, GateModule, H1, eventually, pause};
use blobgate::contract::header;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

/// Headers of a response that differ between two identical exchanges: the time, and whether Envoy closes an HTTP/1.1 connection. It
/// does that if it has not read the whole request when the gate responds.
const VARYING_IN_RESPONSES: [&str; 2] = ["date", "connection"];
/// Headers of a request at a service that differ between two identical exchanges: Envoy's ids.
const VARYING_IN_REQUESTS: [&str; 2] = [header::REQUEST_ID, header::TRACEPARENT];
/// Beginnings of the names of cases with a known difference, each with the reason.
const KNOWN: [(&str, &str); 0] = [];

type FieldList = Vec<(String, String)>;

/// Everything of an exchange that must be the same. The order of headers has no meaning, repeats have.
#[derive(Debug, PartialEq)]
struct ComparedExchange {
    /// Status, headers, body and trailers.
    response: Result<(u16, FieldList, String, FieldList), ()>,
    /// Service, method, path, headers, body and trailers.
    requests: Vec<(RoutedService, String, String, FieldList, String, FieldList)>,
}

impl ComparedExchange {
    fn of(run: &CaseRun) -> Self {
        let response = |answer: &ClientResponse| {
            let headers = fields(&answer.headers, &VARYING_IN_RESPONSES);
            (answer.status, headers, text(&answer.body), fields(&answer.trailers, &[]))
        };
        let requests = run.arrivals.iter().map(|(service, request)| {
            let headers = fields(&request.headers, &VARYING_IN_REQUESTS);
            let (method, path) = (request.method.clone(), request.path.clone());
            (*service, method, path, headers, text(&request.body), fields(&request.trailers, &[]))
        });
        Self { response: run.answer.as_ref().map(response).map_err(|_| ()), requests: requests.collect() }
    }
}

fn fields(headers: &[(String, Vec<u8>)], without: &[&str]) -> FieldList {
    let kept = headers.iter().filter(|(name, _)| !without.contains(&&**name));
    let mut fields: FieldList = kept.map(|(name, value)| (name.clone(), text(value))).collect();
    fields.sort();
    fields
}

/// Escaped, so that bytes that are not text differ too.
fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn both_modules_do_the_same_for_every_case() {
    let corpus = Corpus::load();
    on_every_envoy(|version| {
        for kind in bench::kinds(GateModule::Native) {
            let [wasm, native] =
                GateModule::BOTH.map(|module| CorpusBench::start(version, &corpus, *kind, module));
            let (of_wasm, of_native) = thread::scope(|scope| {
                let other = scope.spawn(|| wasm.run());
                let own = native.run();
                (other.join().unwrap(), own)
            });
            assert_eq!(of_wasm.len(), of_native.len());
            assert!(of_native.len() > 100 || *kind == GateSetup::Absent, "{} exchanges", of_native.len());
            let expected: Vec<String> = of_native.iter().filter_map(CaseRun::difference).collect();
            let differing: Vec<String> = of_native
                .iter()
                .filter_map(|run| {
                    let same =
                        |other: &&CaseRun| other.case.name == run.case.name && other.protocol == run.protocol;
                    let other = of_wasm.iter().find(same).expect("the same exchange");
                    difference(run.case, ComparedExchange::of(other), ComparedExchange::of(run))
                })
                .collect();
            assert!(
                expected.is_empty() && differing.is_empty(),
                "of {} exchanges\n{} of the native module are not as expected:\n{}\n{} differ:\n{}",
                of_native.len(),
                expected.len(),
                expected.join("\n"),
                differing.len(),
                differing.join("\n")
            );
            if *kind == GateSetup::Shipped {
                assert_same_counters(&wasm, &native);
            }
        }
    });
}

fn difference(case: &Case, wasm: ComparedExchange, native: ComparedExchange) -> Option<String> {
    let known = KNOWN.iter().any(|(name, _)| case.name.starts_with(name));
    (wasm != native && !known).then(|| format!("{}\n  Wasm   {wasm:?}\n  native {native:?}", case.name))
}

/// The control: a difference in any part counts.
#[test]
fn detects_differences() {
    let exchange = |status, name: &str, body: &str| ComparedExchange {
        response: Ok((status, vec![(name.to_owned(), String::new())], body.to_owned(), Vec::new())),
        requests: Vec::new(),
    };
    let usual = || exchange(200, "a", "b");
    let corpus = Corpus::load();
    let case = &corpus.cases[0];
    assert_eq!(difference(case, usual(), usual()), None);
    for other in [exchange(503, "a", "b"), exchange(200, "c", "b"), exchange(200, "a", "")] {
        assert!(difference(case, usual(), other).is_some());
    }
    let sent = [("date".to_owned(), b"1".to_vec()), ("x".to_owned(), b"\xff".to_vec())];
    let kept = fields(&sent, &VARYING_IN_RESPONSES);
    assert_eq!(kept, [("x".to_owned(), "\\xff".to_owned())]);
}

/// The gate's counters that are not zero. The native module defines more of them at zero.
fn counters(envoy: &EnvoyProcess) -> BTreeMap<String, u64> {
    let own = |sample: &Sample| sample.name.starts_with("blobgate_") && sample.value != 0.0;
    let samples = envoy.prometheus().into_iter().filter(own);
    samples
        .map(|mut sample| {
            sample.labels.sort();
            (format!("{}{:?}", sample.name, sample.labels), format!("{}", sample.value).parse().unwrap())
        })
        .collect()
}

#[track_caller]
fn assert_same_counters(wasm: &CorpusBench, native: &CorpusBench) {
    let mut last = None;
    let both = eventually("counters of all deliveries", || {
        let now = (counters(&wasm.gate.envoy), counters(&native.gate.envoy));
        let settled = last.as_ref() == Some(&now);
        let equal = now.0 == now.1;
        last = Some(now.clone());
        pause(Duration::from_millis(100));
        (settled || equal).then_some(now)
    });
    assert!(both.0.len() > 50, "the control: {} counters", both.0.len());
    let odd = |one: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>| -> Vec<String> {
        let differing = one.iter().filter(|(name, value)| other.get(*name) != Some(value));
        differing.map(|(name, value)| format!("{name} {value}")).collect()
    };
    let (of_wasm, of_native) = (odd(&both.0, &both.1), odd(&both.1, &both.0));
    assert_eq!(of_wasm, of_native, "(the Wasm module's, the native module's)");
}

/// The lines of one kind in one second.
const MAX_LINES_PER_SECOND: usize = 10;

#[test]
fn both_modules_log_the_same_lines() {
    let corpus = Corpus::load();
    on_every_envoy(|version| {
        let lines = thread::scope(|scope| {
            let logs = GateModule::BOTH.map(|module| {
                let bench = CorpusBench::start(version, &corpus, GateSetup::Shipped, module);
                scope.spawn(move || logged(&bench))
            });
            logs.map(|log| log.join().unwrap())
        });
        let [wasm, native] = lines;
        assert!(wasm.len() >= 60, "the control: {wasm:#?}");
        assert_eq!(wasm, native, "(the Wasm module's lines, the native module's)");
    });
}

/// The gate's lines about one case of each reason and detail, sent slowly enough for the limit of lines.
fn logged(bench: &CorpusBench) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let cases = bench.corpus.cases.iter().filter(|case| case.gate == GateSetup::Shipped);
    let cases: Vec<&Case> = cases
        .filter(|case| match case.hosts[0].as_ref().unwrap_or(&case.expected) {
            CaseOutcome::Refused { reason, detail, .. } => seen.insert((Some(reason), of_field(detail))),
            CaseOutcome::Forwarded { headers, answer, detail } => {
                seen.insert((answer.as_ref().or_else(|| headers.get(header::REASON)), of_field(detail)))
            }
            CaseOutcome::Host { .. } | CaseOutcome::Cut => false,
        })
        .collect();
    for batch in cases.chunks(MAX_LINES_PER_SECOND - 1) {
        for case in batch {
            bench.run_alone((case, H1));
        }
        pause(Duration::from_millis(1_050));
    }
    let mut lines: Vec<String> = bench.gate.envoy.log().lines().filter_map(gate_line).collect();
    lines.sort();
    lines
}

/// The field of a detail and the first words about it.
fn of_field(detail: &Option<String>) -> Option<String> {
    let words: Vec<&str> = detail.as_ref()?.split(' ').take(4).collect();
    Some(words.join(" "))
}

/// The level and the gate's own text of a line in Envoy's log. The text in front of it names the filter's place in Envoy.
fn gate_line(line: &str) -> Option<String> {
    let (place, text) = line.split_at(line.find("blobgate verdict=")?);
    assert!(!text.contains(MARK), "{line}");
    let level = ["critical", "error", "warning", "info"].into_iter().find(|level| place.contains(level))?;
    let masked = text.split(' ').map(|field| match field.split_once('=') {
        // Envoy's id.
        Some(("request_id", _)) => "request_id=...",
        _ => field,
    });
    Some(format!("{level} {}", masked.collect::<Vec<_>>().join(" ")))
}
