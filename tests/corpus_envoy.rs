//! The corpus on real Envoys: the responses of clients and the requests at services.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "corpus/bench.rs"]
mod bench;
#[path = "corpus/case_run.rs"]
mod case_run;
mod corpus;

use bench::CorpusBench;
use blobgate_testkit as support;
use case_run::{CaseRun, RoutedService};
use corpus::{CaseOutcome, Corpus, GateSetup as Kind};
use std::io::Write;
use std::time::Instant;
use support::{GateModule, H1, H2, Protocol, on_every_envoy};

/// For the module `corpus`, which three packages include.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn runs_every_case_on_every_envoy() {
    let corpus = Corpus::load();
    on_every_envoy(|version| {
        let begun = Instant::now();
        let module = GateModule::chosen();
        let kinds = bench::kinds(module);
        let mut runs: Vec<CaseRun> = Vec::new();
        for kind in kinds {
            runs.extend(CorpusBench::start(version, &corpus, *kind, module).run());
        }
        for protocol in Protocol::BOTH {
            let count = runs.iter().filter(|run| run.protocol == protocol).count();
            let own = corpus.cases.iter().filter(|case| kinds.contains(&case.gate));
            let expected = own.filter(|case| protocol == H1 || !case.h1_only).count();
            assert_eq!(count, expected, "every case runs over {}", protocol.alpn());
            report(&format!("corpus: {count} cases on Envoy {} over {}", version.name, protocol.alpn()));
        }
        report(&format!("corpus: Envoy {} took {:.1} s", version.name, begun.elapsed().as_secs_f32()));
        let failed: Vec<String> = runs.iter().filter_map(CaseRun::difference).collect();
        assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), runs.len(), failed.join("\n"));
    });
}

/// The control: a real exchange fails against any other expected outcome.
#[test]
fn detects_wrong_expectations() {
    let corpus = Corpus::load();
    let find = |name: &str| corpus.cases.iter().find(|case| case.name == name).unwrap();
    let (accepted, refused) = (find("samples: completed"), find("json: a trailing comma"));
    on_every_envoy(|version| {
        let bench = CorpusBench::start(version, &corpus, Kind::Shipped, GateModule::chosen());
        let runs = bench.send_all(&[(accepted, H1), (refused, H2)]);
        assert_eq!(runs.iter().find_map(CaseRun::difference), None);
        let against = |run: &CaseRun, expected: &CaseOutcome| run.compare(expected).unwrap_err();
        let (forwarded, refused) = (&runs[0], &runs[1]);
        assert!(against(forwarded, &refused.case.expected).contains("reached a service"));
        assert!(against(forwarded, &CaseOutcome::Host { status: 200 }).contains("reached a service"));
        assert!(against(refused, &forwarded.case.expected).contains("reached no service"));
        assert!(against(refused, &CaseOutcome::Host { status: 400 }).contains("json-invalid"));
        assert!(against(refused, &CaseOutcome::Cut).contains("400"));
        let CaseOutcome::Forwarded { headers, answer, detail } = forwarded.case.expected.clone() else {
            panic!()
        };
        for name in headers.keys() {
            let mut other = headers.clone();
            other.remove(name);
            let expected =
                CaseOutcome::Forwarded { headers: other, answer: answer.clone(), detail: detail.clone() };
            assert!(against(forwarded, &expected).contains(name.as_str()), "{name} too much");
        }
        let expected = CaseOutcome::Forwarded { headers, answer: Some("upstream-error".to_owned()), detail };
        assert!(against(forwarded, &expected).contains("upstream-error"));
        let mut other = CaseRun { arrivals: forwarded.arrivals.clone(), ..runs[0].clone() };
        other.arrivals[0].1.body.pop();
        assert!(other.difference().unwrap().contains("another body"));
        other.arrivals[0].0 = RoutedService::Failure;
        assert!(other.difference().unwrap().contains("went to Failure"));
        assert_eq!(bench.forwarded(), 1);
        bench.send_all(&[(accepted, H2), (refused.case, H1)]);
        assert_eq!(bench.forwarded(), 2);
    });
}

/// Writes to stderr directly, since the test harness captures `println!`.
fn report(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
