//! Laws of the native core, tested with generated inputs.

use crate::corpus::{Case, CaseOutcome, Corpus, sample};
use crate::{config, judge};
use blobgate::contract::header;
use blobgate::{Config, json};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

const SAMPLES: [&str; 3] = ["completed", "failed", "timeout"];

static CONFIG: LazyLock<Config> = LazyLock::new(|| config(&Corpus::load()));

/// A delivery of this body without a violation of its head.
fn delivery(body: Vec<u8>) -> Case {
    Case::plain(String::new(), "default", "/webhook", body, CaseOutcome::Cut)
}

/// An edit of a sample's text. Each line of a sample is a field, except the first and the last.
#[derive(Clone, Debug)]
enum Edit {
    /// Inserts a field before a line.
    Field(Index, &'static str),
    /// Removes a line.
    Line(Index),
    /// Replaces characters.
    Bytes(Index, usize, &'static str),
}

/// A sample with one to three edits that may change its meaning.
pub(crate) fn near_a_sample() -> impl Strategy<Value = Vec<u8>> {
    const FIELDS: [&str; 14] = [
        r#""status": "failed","#,
        r#""Status": "failed","#,
        r#""\u0073tatus": "failed","#,
        r#""status": "completed","#,
        r#""generation_id": "00000000-0000-4000-8000-000000000000","#,
        r#""GENERATION_ID": "00000000-0000-4000-8000-000000000000","#,
        r#""video_url": "https://evil.example/","#,
        r#""vıdeo_url": "https://evil.example/","#,
        r#""message": "TIMEOUT","#,
        r#""Message": "TIMEOUT","#,
        r#""error": {"message": "TIMEOUT"},"#,
        r#""more": {"a": 1, "A": 2},"#,
        r#""more": {"status": ["failed"]},"#,
        r#""further": null,"#,
    ];
    const PIECES: [&str; 16] = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "null", "1e9", " ", "\n", "\0", "\u{feff}", "ſ", "\\ud800",
    ];
    let edit = prop_oneof![
        6 => (any::<Index>(), select(&FIELDS[..])).prop_map(|(line, field)| Edit::Field(line, field)),
        2 => any::<Index>().prop_map(Edit::Line),
        1 => (any::<Index>(), 0_usize..8, select(&PIECES[..])).prop_map(|(at, cut, piece)| Edit::Bytes(at, cut, piece)),
    ];
    (select(&SAMPLES[..]), vec(edit, 1..4))
        .prop_map(|(name, edits)| edits.iter().fold(sample(name), edited).into_bytes())
}

fn edited(text: String, edit: &Edit) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let inner = |at: &Index| 1 + at.index(lines.len().saturating_sub(2).max(1));
    match edit {
        Edit::Field(at, field) => {
            let at = inner(at).min(lines.len());
            lines.insert(at, field);
        }
        Edit::Line(at) => {
            let at = inner(at);
            if at < lines.len() {
                lines.remove(at);
            }
        }
        Edit::Bytes(at, cut, piece) => {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, piece.chars());
            return chars.into_iter().collect();
        }
    }
    lines.join("\n")
}

/// An object with its repeated keys.
struct ObjectPairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for ObjectPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = ObjectPairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectPairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(ObjectPairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// The values of `key` for each kind of parser: exact or ignoring case, the first of repeats or the last.
fn readings<'a>(pairs: &'a [(String, Value)], key: &str) -> Vec<Option<&'a Value>> {
    let folded = |key: &str| key.to_uppercase().to_lowercase();
    let exact = || pairs.iter().filter(move |(other, _)| other == key);
    let caseless = || pairs.iter().filter(move |(other, _)| folded(other) == key);
    let value = |pair: Option<&'a (String, Value)>| pair.map(|(_, value)| value);
    vec![
        value(exact().next()),
        value(exact().next_back()),
        value(caseless().next()),
        value(caseless().next_back()),
    ]
}

/// Whether all kinds of parsers read the same values of the fields that the gate reads.
fn is_unambiguous(body: &[u8]) -> bool {
    let Ok(ObjectPairs(pairs)) = serde_json::from_slice(body) else { return false };
    ["generation_id", "status", "video_url", "error", "message"].iter().all(|key| {
        let readings = readings(&pairs, key);
        readings.iter().all(|reading| *reading == readings[0])
    })
}

/// The text with flipped case in some letters of its keys; `None` if no letter changed.
fn with_flipped_keys(text: &str, flips: &[bool]) -> Option<String> {
    let mut flips = flips.iter().cycle();
    let mut flipped = String::new();
    let mut rest = text;
    while let Some((before, quoted)) = rest.split_once('"') {
        let (inside, after) = quoted.split_once('"').unwrap();
        let is_key = after.starts_with(':');
        let flip = |c: char| match (is_key && c.is_ascii_alphabetic() && *flips.next().unwrap(), c) {
            (true, c) if c.is_ascii_lowercase() => c.to_ascii_uppercase(),
            (true, c) => c.to_ascii_lowercase(),
            (false, c) => c,
        };
        flipped += &format!("{before}\"{}\"", inside.chars().map(flip).collect::<String>());
        rest = after;
    }
    flipped += rest;
    (flipped != text).then_some(flipped)
}

/// A range. Most have few variable bits, so that ranges meet, nest and touch.
fn range() -> impl Strategy<Value = IpNet> {
    let crowded_v4 = (any::<u16>(), 16_u8..=32).prop_map(|(low, bits)| {
        Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a00_0000 | u32::from(low & 0x3ff)), bits)
    });
    let any_v4 = (any::<u32>(), 0_u8..=32)
        .prop_map(|(bits, prefix)| Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), prefix));
    let crowded_v6 = (any::<u16>(), 100_u8..=128).prop_map(|(low, bits)| {
        Ipv6Net::new_assert(Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(low & 0x3ff)), bits)
    });
    let any_v6 = (any::<u128>(), 0_u8..=128)
        .prop_map(|(bits, prefix)| Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix));
    let mapped = (any::<u16>(), 112_u8..=128).prop_map(|(low, bits)| {
        let v4 = Ipv4Addr::from_bits(0x0a00_0000 | u32::from(low & 0x3ff));
        Ipv6Net::new_assert(v4.to_ipv6_mapped(), bits)
    });
    prop_oneof![
        6 => crowded_v4.prop_map(IpNet::from),
        1 => any_v4.prop_map(IpNet::from),
        6 => crowded_v6.prop_map(IpNet::from),
        1 => any_v6.prop_map(IpNet::from),
        2 => mapped.prop_map(IpNet::from),
    ]
    .prop_map(|net| net.trunc())
}

/// An address at an end of a range, next to it, or anywhere. A v4 address may be in its mapped form.
fn address_near(net: IpNet, place: u8, anywhere: u128, mapped: bool) -> IpAddr {
    let step = |address: IpAddr, by: i8| match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().wrapping_add_signed(by.into()))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().wrapping_add_signed(by.into()))),
    };
    let address = match place % 6 {
        0 => net.network(),
        1 => net.broadcast(),
        2 => step(net.network(), -1),
        3 => step(net.broadcast(), 1),
        4 => IpAddr::V6(Ipv6Addr::from_bits(anywhere)),
        _ => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(anywhere >> 96).unwrap())),
    };
    match address {
        IpAddr::V4(v4) if mapped => IpAddr::V6(v4.to_ipv6_mapped()),
        address => address,
    }
}

/// Whether a range contains the address, by comparing one range after the other. A v4-mapped address is v4. A v6 range contains a
/// v4 address only if the whole range is mapped.
fn naive(nets: &[IpNet], address: IpAddr) -> bool {
    const MAPPED_BITS: u8 = 96;
    let address = address.to_canonical();
    nets.iter().any(|net| match (net, address) {
        (IpNet::V6(net), IpAddr::V4(v4)) => {
            net.prefix_len() >= MAPPED_BITS && net.contains(&v4.to_ipv6_mapped())
        }
        (net, address) => net.contains(&address),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn parse_never_panics_on_bytes(bytes in vec(any::<u8>(), 0..2_000), depth in 0_usize..64) {
        if json::parse(&bytes, depth, &[]).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn parse_never_panics_near_json(body in near_a_sample(), depth in 0_usize..6) {
        if json::parse(&body, depth, blobgate::dialect::veo3::KNOWN).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }

    #[test]
    fn accepts_only_bodies_that_parsers_read_alike(body in near_a_sample()) {
        let CaseOutcome::Forwarded { headers, .. } = judge(&CONFIG, &delivery(body.clone())) else { return Ok(()) };
        prop_assert!(is_unambiguous(&body));
        let read: Value = serde_json::from_slice(&body).unwrap();
        let id = read["generation_id"].as_str().unwrap().to_ascii_lowercase();
        let event = &headers[header::EVENT];
        prop_assert_eq!(&headers[header::GENERATION_ID], &id);
        prop_assert_eq!(&headers[header::IDEMPOTENCY_KEY], &format!("veo3:{id}:{event}"));
        prop_assert_eq!(event == "completed", read["status"] == "completed");
        prop_assert_eq!(event != "completed", read["status"] == "failed");
        if let Some(host) = headers.get(header::RESULT_HOST) {
            prop_assert_eq!(event, "completed");
            let url = url::Url::parse(read["video_url"].as_str().unwrap()).unwrap();
            prop_assert_eq!(Some(&**host), url.host_str());
        }
    }

    #[test]
    fn rejects_known_keys_in_another_case(name in select(&SAMPLES[..]), flips in vec(prop::bool::weighted(0.05), 1..200)) {
        let Some(flipped) = with_flipped_keys(&sample(name), &flips) else { return Ok(()) };
        let refused = ("json-duplicate-key".to_owned(), None);
        let CaseOutcome::Refused { reason, id, .. } = judge(&CONFIG, &delivery(flipped.clone().into_bytes())) else {
            panic!("{flipped}")
        };
        prop_assert_eq!((reason, id), refused, "{}", flipped);
    }

    #[test]
    fn finds_the_same_ranges_as_a_naive_search(
        nets in vec(range(), 1..40),
        near in any::<Index>(),
        place in any::<u8>(),
        anywhere in any::<u128>(),
        mapped in any::<bool>(),
        port in 1_u16..,
    ) {
        let listed: Vec<String> = nets.iter().map(ToString::to_string).collect();
        let hook = json!({
            "name": "default", "path": "/webhook", "dialect": "veo3", "source": listed,
            "trust": "open", "result_url": "any", "quarantine": "none",
        });
        let config = json!({"version": 1, "environment": "test", "hooks": [hook]});
        let config = match Config::load(config.to_string().as_bytes(), &|_| None) {
            Ok(config) => config,
            // A list that covers a whole family does not load. Every address of that family is in a range.
            Err(error) => {
                let v4 = error.to_string().contains("covers every IPv4 address");
                prop_assert!(v4 || error.to_string().contains("covers every IPv6 address"), "{}", error);
                let low = anywhere.to_le_bytes();
                let global = (anywhere >> 3) | (1 << 125);
                let address: IpAddr = if v4 { [low[0], low[1], low[2], low[3]].into() } else { Ipv6Addr::from(global).into() };
                prop_assert!(naive(&nets, address), "{} in {:?}", address, nets);
                return Ok(());
            }
        };
        let address = address_near(nets[near.index(nets.len())], place, anywhere, mapped);
        let case = Case { source: SocketAddr::new(address, port).to_string(), ..delivery(sample("completed").into_bytes()) };
        let is_let_through = match judge(&config, &case) {
            CaseOutcome::Forwarded { .. } => true,
            CaseOutcome::Refused { reason, .. } => { prop_assert_eq!(reason, "source-denied"); false }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(is_let_through, naive(&nets, address), "{} in {:?}", address, nets);
    }
}

/// The generators make enough accepted and refused bodies, and enough addresses inside and outside of ranges.
#[test]
fn generates_inputs_on_both_sides_of_each_law() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut next =
        |strategy: &dyn Fn(&mut TestRunner) -> bool| (0..1_000).filter(|_| strategy(&mut runner)).count();
    let accepted = next(&|runner| {
        let body = near_a_sample().new_tree(runner).unwrap().current();
        !SAMPLES.iter().any(|name| sample(name).as_bytes() == body)
            && matches!(judge(&CONFIG, &delivery(body)), CaseOutcome::Forwarded { .. })
    });
    assert!((100..900).contains(&accepted), "{accepted} of 1000 edited bodies are accepted");
    let ambiguous = next(&|runner| {
        let body = near_a_sample().new_tree(runner).unwrap().current();
        serde_json::from_slice::<Value>(&body).is_ok() && !is_unambiguous(&body)
    });
    assert!(ambiguous > 50, "{ambiguous} of 1000 bodies are JSON with two meanings");
    let inside = next(&|runner| {
        let (nets, near, place, anywhere, mapped) =
            (vec(range(), 1..40), any::<Index>(), any::<u8>(), any::<u128>(), any::<bool>())
                .new_tree(runner)
                .unwrap()
                .current();
        naive(&nets, address_near(nets[near.index(nets.len())], place, anywhere, mapped))
    });
    assert!((200..950).contains(&inside), "{inside} of 1000 addresses are in a range");
}
