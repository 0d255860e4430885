//! Laws of details and traces, on mutations of every case: a detail is one of the corpus's, and no report has a token.

#![allow(clippy::string_slice, reason = "a panic fails the test")]

use crate::corpus::{Case, Corpus, Listener};
use crate::{config, corpus};
use blobgate::contract::{header, is_detail};
use blobgate::head::{Ending, Head, Hop};
use blobgate::headers::Headers;
use blobgate::policy::{Decision, admit, conclude, decide};
use blobgate::trace::{MAX_SAW, Trace};
use blobgate::{Config, Reason, Violation, confirm, hook, sanitize};
use std::collections::{BTreeMap, BTreeSet};

/// The number of mutations of all cases together.
const MUTATIONS: usize = 120_000;
/// The length of a piece of the sender's text that no detail may have.
const PIECE: usize = 6;

/// A generator of numbers: splitmix64. The same seed gives the same mutations.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count.max(1)).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A text of the sender that no detail has: upper-case letters and digits.
    fn marker(&mut self) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        (0..12).map(|_| char::from(*self.pick(LETTERS))).collect()
    }
}

/// A delivery with its mutations.
struct Mutant {
    case: Case,
    query: String,
    peer: Option<String>,
    is_tls: bool,
    marker: String,
}

impl Mutant {
    fn of(case: &Case, numbers: &mut Numbers) -> Self {
        let marker = numbers.marker();
        let mut mutant = Self {
            query: String::new(),
            peer: (case.listener == Listener::Proxied).then(|| case.from.to_string()),
            is_tls: matches!(case.listener, Listener::Edge | Listener::Trusting),
            case: case.clone(),
            marker,
        };
        (0..=numbers.below(3)).for_each(|_| mutant.mutate(numbers));
        mutant
    }

    fn mutate(&mut self, numbers: &mut Numbers) {
        const HEADERS: [&str; 6] = [
            "content-encoding",
            "content-length",
            "content-type",
            "x-forwarded-proto",
            "x-forwarded-for",
            header::DETAIL,
        ];
        let marker = self.marker.clone();
        let case = &mut self.case;
        match numbers.below(20) {
            0 => case.method = numbers.pick(&[marker, "GET".to_owned(), "post".to_owned()]).clone(),
            1 => {
                let values = [marker, "gzip".to_owned(), "http".to_owned(), String::new(), "é".to_owned()];
                let value = numbers.pick(&values).clone().into_bytes();
                case.headers.push(((*numbers.pick(&HEADERS)).to_owned(), value));
            }
            2 => case.path.push_str(&marker),
            3 => self.query = format!("?token={marker}"),
            4 => {
                case.source =
                    numbers.pick(&[marker, "192.0.2.1:1".to_owned(), "127.0.0.1:0".to_owned()]).clone()
            }
            5 => self.peer = Some(numbers.pick(&[marker, "127.0.7.1".to_owned()]).clone()),
            6 => self.is_tls = !self.is_tls,
            7 => case.body = None,
            _ => case.body = case.body.take().map(|body| mutated(body, &marker, numbers)),
        }
    }

    /// Runs the policy with a trace. Returns the violations of the decision.
    fn judge(&self, config: &Config, trace: &mut Trace, numbers: &mut Numbers) -> Vec<Violation> {
        let path = format!("{}{}", self.case.path, self.query);
        let mut list = vec![(":path".to_owned(), path.clone().into_bytes())];
        list.extend(self.case.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        let mut headers = Headers::new(list);
        sanitize::head(&mut headers);
        let head = Head {
            method: self.case.method.as_bytes(),
            headers: &headers,
            hop: if self.is_tls { Hop::Tls } else { Hop::Plaintext },
            source: Some(self.case.source.as_bytes()),
            peer: self.peer.as_deref().map(str::as_bytes),
            ending: if self.case.body.is_none() { Ending::Here } else { Ending::Later },
            now: corpus::token::now(),
        };
        let body = self.case.body.as_deref().unwrap_or_default();
        let found = hook::find(&config.hooks, path.as_bytes());
        let decision = match admit(found, &head, trace) {
            Ok(admitted) => decide(admitted, body, trace),
            Err(refusal) => Decision::Refuse(refusal),
        };
        let ended = match decision {
            Decision::Forward(delivery) => Ok(delivery),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Confirm(request) => {
                let status = *numbers.pick(&[&b"200"[..], b"404", b"401", b"500", b""]);
                let answer = mutated(body.to_vec(), &self.marker, numbers);
                let outcome = confirm::read(request.hook().dialect, request.event(), status, &answer);
                conclude(request, outcome, trace)
            }
        };
        match ended {
            Ok(delivery) => delivery.observed().iter().copied().chain(delivery.violation()).collect(),
            Err(refusal) => vec![refusal.violation],
        }
    }
}

/// A body with one edit.
fn mutated(mut body: Vec<u8>, marker: &str, numbers: &mut Numbers) -> Vec<u8> {
    const PIECES: [&str; 16] = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "null", "7", "true", "\0", "\u{feff}", "http://", "@", "%",
    ];
    let text = String::from_utf8_lossy(&body).into_owned();
    // Every second quotation mark of a well-formed body ends a text.
    let quotes: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
    let at = numbers.below(body.len() + 1);
    let end = (at + numbers.below(12)).min(body.len());
    match numbers.below(7) {
        0 => drop(body.splice(at..at, marker.bytes())),
        1 => drop(body.splice(at..end, numbers.pick(&PIECES).bytes())),
        2 => drop(body.drain(at..end)),
        3 => body.truncate(at),
        4 if at < body.len() => body[at] ^= 0x20,
        5 if quotes.len() > 1 => {
            let first = numbers.below(quotes.len() - 1);
            return [&text[..=quotes[first]], marker, &text[quotes[first + 1]..]].concat().into_bytes();
        }
        _ if quotes.len() > 1 => {
            let first = numbers.below(quotes.len() - 1);
            return [&text[..quotes[first]], "7", &text[quotes[first + 1] + 1..]].concat().into_bytes();
        }
        _ => {}
    }
    body
}

/// Whether a text has a piece of another one.
fn has_piece_of(text: &str, other: &str) -> bool {
    other.as_bytes().windows(PIECE).any(|piece| text.as_bytes().windows(PIECE).any(|part| part == piece))
}

/// A detail with `#` for each number, because a mutation may reach another limit, and with `KEY` for a documented key where each
/// has the same form.
fn form(detail: &str) -> String {
    const DOCUMENTED: [&str; 11] = [
        "generation_id",
        "status",
        "prompt",
        "video_url",
        "created_at",
        "completed_at",
        "seed",
        "error",
        "error.message",
        "error.details",
        "message",
    ];
    let mut form = String::new();
    let same = [": is a key twice", ": differs in case", ": is not as documented"];
    let (field, found) = detail.split_once(':').unwrap();
    let is_same =
        same.iter().any(|same| detail[field.len()..].starts_with(same)) && DOCUMENTED.contains(&field);
    let detail = if is_same { &format!("KEY:{found}") } else { detail };
    for c in detail.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
        if !(c == '#' && form.ends_with('#')) {
            form.push(c);
        }
    }
    form
}

/// The forms of the details that the corpus expects, by reason.
fn expected_forms(corpus: &Corpus) -> BTreeMap<String, BTreeSet<String>> {
    let mut forms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in &corpus.cases {
        for (reason, detail) in case.expected.details() {
            forms.entry(reason.to_owned()).or_default().insert(form(detail));
        }
    }
    forms
}

#[test]
fn every_detail_is_one_of_the_corpus_and_has_no_text_of_the_sender() {
    let corpus = Corpus::load();
    let config = config(&corpus);
    let forms = expected_forms(&corpus);
    let mut numbers = Numbers(1);
    let mut seen: BTreeSet<(Reason, String)> = BTreeSet::new();
    let mut foreign: BTreeSet<(&str, String)> = BTreeSet::new();
    for number in 0..MUTATIONS {
        let mutant = Mutant::of(&corpus.cases[number % corpus.cases.len()], &mut numbers);
        let mut trace = Trace::default();
        let mut violations = mutant.judge(&config, &mut trace, &mut numbers);
        violations.extend(trace.0.iter().filter_map(|report| report.verdict.violation()));
        for violation in violations {
            let detail = violation.text().expect("each violation of a delivery has a detail");
            assert!(is_detail(&detail), "{detail}");
            assert!(!has_piece_of(&detail, &mutant.marker), "{detail}: {}", mutant.marker);
            let code = violation.reason.code();
            if seen.insert((violation.reason, detail.clone()))
                && !forms.get(code).is_some_and(|forms| forms.contains(&form(&detail)))
            {
                foreign.insert((code, detail));
            }
        }
    }
    assert_eq!(foreign, BTreeSet::new(), "no case of the corpus has these");
    // The mutations reach most of what a mutation can reach.
    let reasons: BTreeSet<Reason> = seen.iter().map(|(reason, _)| *reason).collect();
    assert!(reasons.len() >= 20 && seen.len() >= 120, "{} reasons, {} details", reasons.len(), seen.len());
}

#[test]
fn every_report_is_visible_text_without_a_token_in_the_order_of_stages() {
    let corpus = Corpus::load();
    let config = config(&corpus);
    let mut numbers = Numbers(2);
    let (mut tokens, mut markers) = (0, 0);
    for case in &corpus.cases {
        for mutant in [Mutant::of(case, &mut numbers), Mutant::of(case, &mut numbers)] {
            let mut trace = Trace::default();
            let violations = mutant.judge(&config, &mut trace, &mut numbers);
            assert!(trace.0.is_sorted_by_key(|report| report.stage), "{}: {trace:?}", case.name);
            let token =
                mutant.case.path.rsplit('/').next().filter(|segment| segment.matches('.').count() == 2);
            tokens += usize::from(token.is_some());
            for report in &trace.0 {
                let is_visible = report.saw.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
                assert!(is_visible && report.saw.len() <= MAX_SAW, "{}: {report:?}", case.name);
                if let Some([_, payload, signature]) =
                    token.map(|token| token.split('.').collect::<Vec<_>>()).as_deref()
                {
                    for secret in [payload, signature].into_iter().filter(|secret| secret.len() > PIECE) {
                        assert!(!has_piece_of(&report.saw, secret), "{}: {report:?}", case.name);
                    }
                }
                markers += usize::from(report.saw.contains(&mutant.marker));
                assert!(
                    !report.saw.contains(&mutant.query) || mutant.query.is_empty(),
                    "{}: {report:?}",
                    case.name
                );
            }
            // The violation of the decision is that of a stage.
            let of_stages: Vec<Violation> =
                trace.0.iter().filter_map(|report| report.verdict.violation()).collect();
            for violation in violations {
                assert!(of_stages.contains(&violation), "{}: {violation:?}: {trace:?}", case.name);
            }
        }
    }
    // The controls: the deliveries have tokens and markers, and the search finds a piece.
    assert!(tokens > 300 && markers > 20, "{tokens} tokens, {markers} markers");
    assert!(has_piece_of("path /hooks/ABCDEFGH", "xABCDEFy") && !has_piece_of("path /hooks", "ABCDEF"));
}
