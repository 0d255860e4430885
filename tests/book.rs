//! The book and the core: the pages of the reference that the core renders (a stale page fails; `make reference` writes it),
//! and the blocks of pages that are configurations of the gate.

#![allow(missing_docs, unreachable_pub, clippy::panic, clippy::unwrap_used)]

#[path = "config/agreement.rs"]
mod agreement;

use agreement::agreement;
use blobgate::reason::Stage;
use blobgate::{Config, Reason, config};
use blobgate_testkit_book::{blocks, check_page, check_part, constants, documented, table};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

#[test]
fn the_reference_has_each_key() {
    let mut page = "# Configuration\n\n\
        The filter's configuration stands in `envoy.yaml`, under the filter's `configuration`: as YAML in a\n\
        `google.protobuf.Struct`, or as JSON text in a `google.protobuf.StringValue`.\n\n\
        A configuration with a mistake does not load, and Envoy's log has one sentence that names the field. Unknown keys are\n\
        mistakes. YAML has traps: `010` is 8, and an unquoted `off` is `false`. Envoy keeps the last of two equal keys of a\n\
        Struct, without a warning.\n\n\
        An environment variable that names a key must be in Envoy's environment and in\n\
        `vm_config.environment_variables.host_env_keys`. A new value needs a restart. No two fields name the same variable or\n\
        contain the same key: a service that verifies the gate's signature has that key, and must not be able to make tokens.\n"
        .to_owned();
    for section in config::sections() {
        let title = match section.path {
            "" => "Top level",
            "hooks[]" => "Hook",
            "token.keys.KID" => "Key",
            path => path.rsplit('.').next().unwrap(),
        };
        let place = match section.path {
            "" => String::new(),
            path => format!("At `{path}`. "),
        };
        write!(page, "\n## {title}\n\n{place}{}\n\n", section.docs).unwrap();
        let rows = section.keys.into_iter().map(|key| {
            [
                format!("`{}`", key.key),
                key.docs,
                key.value.written,
                key.default.unwrap_or_else(|| "required".to_owned()),
            ]
        });
        page.push_str(&table(["key", "meaning", "value", "default"], rows));
    }
    check_page("configuration", &page);
}

/// A configuration that writes a default out is the same as one without the key.
#[test]
fn defaults_of_the_reference_are_true() {
    let mut compared = 0;
    for section in config::sections() {
        for key in section.keys {
            let Some(default) = key.default.as_deref().and_then(|text| text.strip_prefix('`')) else {
                continue;
            };
            let default = default.trim_end_matches('`');
            let value = match default.parse::<u64>() {
                Ok(number) => number.to_string(),
                Err(_) => format!("{default:?}"),
            };
            let written = |path: &str| match section.path == path {
                true => format!(r#""{}": {value}, "#, key.key),
                false => String::new(),
            };
            let with = format!(
                r#"{{{}"version": 1, "environment": "e",
                    "token": {{{}"keys": {{"k": {{"alg": "HS256", "env": "KEY"}}}}}},
                    "confirm": {{{}"cluster": "c", "authority": "a"}},
                    "hooks": [{{{}"name": "h", "path": "/h/{{token}}", "dialect": "veo3", "source": "any", "result_url": "any",
                        "quarantine": "route", "trust": {{"any_of": ["token", "confirmed"]}}, "checks": {{{}"source": "enforce"}}}}]}}"#,
                written(""),
                written("token"),
                written("confirm"),
                written("hooks[]"),
                // A key twice would not load.
                written("hooks[].checks").replace(r#""source": "enforce", "#, ""),
            );
            let without = with.replacen(&format!(r#""{}": {value}, "#, key.key), "", 1);
            assert!(with != without || key.key == "source", "{} is at no place of the test", key.key);
            assert_eq!(load(&with), load(&without), "{}.{}", section.path, key.key);
            compared += 1;
        }
    }
    assert!(compared >= 12, "{compared}");
}

fn load(text: &str) -> String {
    let config = Config::load(text.as_bytes(), &|_| Some("a key of the tests, of 32 bytes..".to_owned()));
    let config = config.unwrap_or_else(|error| panic!("{error}: {text}"));
    agreement(&serde_json::from_str(text).unwrap(), None);
    format!("{config:?}")
}

#[test]
fn the_reference_has_each_reason() {
    let mut page = "# Reasons\n\n\
        The gate's stages run in the order of this table. The first violation is the reason. The header `blobgate-reason`, logs\n\
        and metrics contain its code. A refusal is a problem document of RFC 9457 with that `code`. Its `type` is the address of\n\
        the reason's heading here. A refused delivery reaches no service.\n\n\
        An unauthenticated sender gets the status of the table. An authenticated sender gets 200 when the inbox has stored the\n\
        delivery as quarantined. With `quarantine: none` it gets the same status as an unauthenticated sender.\n\n\
        ## Detail\n\n\
        A detail names the field of the violation, the class of its value, and the expectation: `FIELD: FOUND, expected\n\
        EXPECTATION`. It has at most 160 bytes of visible ASCII and spaces, and no value of the delivery. The gate's log has it, the\n\
        access log, and `blobgate-detail` on a quarantined or observed delivery. The inbox stores it with the entry. The sender\n\
        never gets it. Each reason below has an example.\n\n\
        ## Table\n\n"
        .to_owned();
    let examples: BTreeMap<String, String> =
        toml::from_str(include_str!("cases/details.toml")).expect("the usual detail of each reason");
    let source = documented(include_str!("../src/reason.rs"));
    let mut details = String::new();
    let rows = Reason::ALL.iter().map(|reason| {
        let (code, stage) = (reason.code(), reason.stage().name());
        let quoted = format!("\"{code}\"");
        let found = source.iter().find(|found| found.item.contains(&quoted));
        let Some([what, remedies @ ..]) = found.map(|found| &*found.paragraphs) else {
            panic!("{code}: its doc comment is what it means, and what to do");
        };
        assert!((1..=2).contains(&remedies.len()), "{code}: what to do, and what to do with quarantined entries");
        let remedy = remedies.join(" ");
        write!(
            details,
            "\n## {code}\n\n{what}\n\n- Stage: {stage}\n- Unauthenticated sender: {}\n- Authenticated sender: {}\n\
             - Sentence in the refusal: \"{}\"\n- Detail: {}\n- What to do: {remedy}\n",
            unauthenticated(*reason),
            authenticated(*reason),
            reason.sentence(),
            match &*examples[code] {
                "-" => "–".to_owned(),
                example => format!("such as `{example}`"),
            },
        )
        .unwrap();
        [stage.to_owned(), format!("[`{code}`](#{code})"), unauthenticated(*reason), authenticated(*reason)]
    });
    page.push_str(&table(["stage", "reason", "unauthenticated sender", "authenticated sender"], rows));
    page.push_str(&details);
    check_page("reasons", &page);
}

/// These three need a valid signature.
fn is_of_authenticated_senders(reason: Reason) -> bool {
    matches!(reason, Reason::TokenAudience | Reason::TokenExpired | Reason::TokenMismatch)
}

fn unauthenticated(reason: Reason) -> String {
    if is_of_authenticated_senders(reason) { "–".to_owned() } else { reason.status().to_string() }
}

fn authenticated(reason: Reason) -> String {
    match reason {
        // No token of this hook is valid here.
        Reason::UnknownHook | Reason::TokenMissing | Reason::TokenInvalid => "–".to_owned(),
        reason if reason.is_final() || reason.stage() == Stage::Forward => reason.status().to_string(),
        reason if is_of_authenticated_senders(reason) => {
            format!("quarantined; {} with `quarantine: none`", reason.status())
        }
        _ => "quarantined".to_owned(),
    }
}

#[test]
fn the_reference_has_each_header() {
    let source = documented(include_str!("../src/contract/header.rs"));
    let constants = source.iter().filter_map(|found| {
        let (name, value) = found.item.strip_prefix("pub const ")?.split_once(": &str = \"")?;
        Some((name, value.strip_suffix("\";")?, found.paragraphs.join(" ")))
    });
    let (mut gate, mut inbox) = (Vec::new(), Vec::new());
    for (name, value, docs) in
        constants.filter(|(name, ..)| !name.ends_with("PREFIX") && *name != "CLIENT_REQUEST_ID")
    {
        let is_of_inbox = name == "ATTEMPT" || !inbox.is_empty();
        if is_of_inbox { &mut inbox } else { &mut gate }.push([format!("`{value}`"), docs]);
    }
    assert!(gate.len() > 15 && inbox.len() > 4);
    let page = format!(
        "# Headers\n\n\
         A service gets the body of the webhook, byte for byte, and these headers. The gate first removes a client's own\n\
         `blobgate-*`, `webhook-*` and `idempotency-key`, also those written with `_`, the query and all trailers.\n\
         `content-type` is `application/json` on every accepted delivery, and unchanged on others.\n\n\
         ## From the gate\n\n{}\n## From the inbox\n\nThe inbox sends the gate's headers as they came, and these.\n\n{}",
        table(["header", "value"], gate),
        table(["header", "value"], inbox),
    );
    check_page("headers", &page);
}

#[test]
fn the_reference_has_the_limits() {
    let mut rows = Vec::new();
    for (source, names) in [
        (include_str!("../src/hook/parse.rs"), &[("MAX_BODY_BYTES", "bytes"), ("MAX_DEPTH", "levels")][..]),
        (include_str!("../src/token.rs"), &[("MAX_BYTES", "bytes")]),
        (
            include_str!("../src/contract/token.rs"),
            &[
                ("MAX_KID", "characters"),
                ("MAX_NAME", "characters"),
                ("MAX_REFERENCE", "characters"),
                ("MAX_TOKEN_ID", "characters"),
                ("MIN_HS256_KEY", "bytes"),
            ],
        ),
        (include_str!("../src/result_url.rs"), &[("MAX_URL", "bytes")]),
        (
            include_str!("../src/exchange/confirmation.rs"),
            &[("MAX_IN_FLIGHT", "calls"), ("MAX_RESPONSE_BYTES", "bytes")],
        ),
        (include_str!("../src/exchange/log.rs"), &[("MAX_LINES_PER_SECOND", "lines")]),
    ] {
        rows.extend(constants(source, names));
    }
    let page = format!(
        "# Limits\n\n\
         Limits that are constants of the code, and why each has its value. Those that you can set are on the pages\n\
         [Configuration](configuration.md) and [Command line](command-line.md). Envoy's limits:\n\
         [What clients can take](../explanation/what-clients-can-take.md).\n\n## Gate\n\n{}",
        table(["constant", "value", "why"], rows),
    );
    check_part("limits", "gate", &page);
}

/// `config/NAME`: a whole configuration.
#[test]
fn configurations_of_the_book_load() {
    for block in blocks("config/") {
        let config: Value =
            serde_saphyr::from_str(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.name));
        load(&config.to_string());
    }
}

/// `hook/NAME`: the keys of one hook, which replace those of a complete one.
#[test]
fn hooks_of_the_book_load() {
    for block in blocks("hook/") {
        let keys: Map<String, Value> =
            serde_saphyr::from_str(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.name));
        let takes_token = keys.get("path").is_none_or(|path| path.as_str().unwrap().ends_with("/{token}"));
        let mut hook = json!({
            "name": "veo3", "path": "/hooks/veo3/{token}", "dialect": "veo3", "source": "any",
            "trust": if takes_token { json!({"any_of": ["token", "confirmed"]}) } else { json!("open") },
            "result_url": ["runblob.io"], "quarantine": if takes_token { "route" } else { "none" },
        });
        hook.as_object_mut().unwrap().extend(keys);
        let config = json!({
            "version": 1, "environment": "production", "hooks": [hook],
            "token": {"keys": {"k": {"alg": "HS256", "env": "KEY"}}},
            "confirm": {"cluster": "runblob_api", "authority": "platform.runblob.io"},
        });
        load(&config.to_string());
    }
}
