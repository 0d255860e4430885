//! The pages of the book that the inbox renders. A stale page fails; `make reference` writes it.

use crate::admin::closed_endpoints;
use crate::entry::{EntryState, ExpectationState, Lane, QuarantineReason};
use crate::health::Fault;
use crate::receive::REFUSALS;
use crate::service::ProblemCode;
use crate::store::ActionKind;
use blobgate_testkit_book::{
    check_page, check_part, code, constants, documented_variants, items_between, table,
};

/// The texts in quotation marks of a part of a source.
fn texts_between<'s>(source: &'s str, begin: &str, end: &str) -> Vec<&'s str> {
    let (_, body) = source.split_once(begin).unwrap_or_else(|| panic!("{begin} is not in the source"));
    let (body, _) = body.split_once(end).unwrap();
    body.split('"').skip(1).step_by(2).collect()
}

#[test]
fn the_reference_has_each_endpoint_and_code() {
    const ADMIN: &str = include_str!("admin.rs");
    let endpoints: Vec<&str> = ADMIN.lines().filter_map(|line| line.strip_prefix("//! |")).collect();
    for (role, method, path) in closed_endpoints() {
        let request = |line: &str| {
            line.contains(&format!("`{method} {path}`")) || line.contains(&format!("`{method} {path}?"))
        };
        let is_named =
            endpoints.iter().any(|line| request(line) && line.contains(&format!(" | `{}` | ", role.name())));
        assert!(is_named, "the table of inbox/src/admin.rs does not name {method} {path} with its role");
    }
    let endpoints: Vec<String> = endpoints.iter().map(|line| format!("|{line}\n")).collect();

    let faults = documented_variants(include_str!("health.rs"), "pub(crate) enum Fault {\n", Fault::ALL);
    let faults = faults.into_iter().map(|(fault, docs)| [code(fault.code()), docs]);

    let refusals = [
        ("method", "The method is not POST."),
        (
            "host",
            "The `Host` header is a name, as a page in a browser sends it. Use an address, or a signing key.",
        ),
        ("body", "The body did not end in time, or cannot be read."),
        ("signature", "There is no valid signature of the gate, or it is for another event."),
        ("not-ours", "The gate headers are missing or wrong: no gate sent this delivery."),
        (
            "full",
            "The store or its part for this delivery has reached `--limit`, or the disk is almost full.",
        ),
        ("token-full", "The quarantine has no room for more entries of this token."),
        ("not-stored", "The commit failed, or its outcome is unknown."),
    ];
    let written: std::collections::BTreeSet<&str> =
        texts_between(include_str!("receive.rs"), "fn code(&self) -> &'static str {\n", "\n    }")
            .into_iter()
            .collect();
    assert_eq!(written, refusals.iter().map(|(code, _)| *code).collect());
    let counted = REFUSALS.into_iter().filter(|code| *code != Fault::ClockOffset.code());
    assert_eq!(counted.collect::<std::collections::BTreeSet<_>>(), written, "these counters start at 0");

    let codes = ProblemCode::ALL
        .iter()
        .map(|problem| format!("\n### {}\n\n{}. {}\n", problem.code(), problem.status(), problem.title()));
    let page = format!(
        "# Inbox API\n\n\
         The admin listener (`--admin`) has this API. The commands of `blobgate inbox` call it. Without `--admin-token` it\n\
         accepts clients on the same machine only, and no page of a browser. Responses are JSON.\n\n\
         A request has `Authorization: Bearer TOKEN`. The token has the role of the endpoint, or `operate`:\n\
         [Give access](../howto/give-access.md). A cookie of the page counts for the page alone.\n\n\
         ## Endpoints\n\n{}\n\
         ## Health\n\n\
         `/livez` is 200 while the process answers, and never reads the store. `/healthz` is 200 while the store takes events.\n\
         `/readyz` is 200 while the inbox takes events. A 503 begins with one of these codes. The log and `blobgate inbox stats`\n\
         have the same code.\n\n{}\n\
         ## Refusals of the receive listener\n\n\
         The receive listener (`--listen`) answers the gate 200 or 503. The header `blobgate-inbox-reason` of a 503, the log and\n\
         `blobgate_inbox_refused_total` have one of these codes, or one of those under Health. Its body is the same for each code: the\n\
         gate passes it to a public client. The log has the cause.\n\n{}\n\
         ## Problem codes\n\n\
         A failed request of this API gets a problem document of RFC 9457 with `code`. Its `type` is the address of a heading\n\
         here.\n{}",
        endpoints.concat(),
        table(["code", "meaning"], faults),
        table(["code", "meaning"], refusals.map(|(name, meaning)| [code(name), meaning.to_owned()])),
        codes.collect::<String>(),
    );
    check_page("inbox-api", &page);
}

#[test]
fn the_reference_has_the_store() {
    const ENTRY: &str = include_str!("entry.rs");
    let words = |declaration: &str, names: Vec<&str>| {
        let docs = items_between(ENTRY, declaration, "\n    }");
        assert_eq!(docs.len(), names.len(), "{declaration}");
        table(["word", "meaning"], names.into_iter().zip(docs).map(|(name, (_, docs))| [code(name), docs]))
    };
    let states = words("pub EntryState {\n", EntryState::ALL.iter().map(|state| state.name()).collect());
    let lanes = words("pub Lane {\n", Lane::ALL.iter().map(|lane| lane.name()).collect());
    let expectations =
        words("pub ExpectationState {\n", ExpectationState::ALL.iter().map(|state| state.name()).collect());
    let actions = documented_variants(
        include_str!("store/audit.rs"),
        "pub(crate) enum ActionKind {\n",
        &ActionKind::ALL,
    );
    let actions =
        table(["action", "meaning"], actions.into_iter().map(|(action, docs)| [code(action.name()), docs]));
    let own = QuarantineReason::OWN.iter().map(|own| [code(own.as_str()), own.meaning(), own.remedy()]);

    let page = format!(
        "# Store\n\n\
         `--store` names the store: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE`. SQLite is one file on a local disk, for one\n\
         inbox. PostgreSQL is for several inboxes, with its tables in the schema `blobgate_inbox`. `blobgate inbox migrate` makes\n\
         and upgrades the tables. Guarantees: [The inbox and its guarantees](../explanation/inbox-and-guarantees.md).\n\n\
         ## Entry states\n\n{states}\n## Lanes\n\n{lanes}\n## Expectation states\n\n{expectations}\n\
         ## Reasons for quarantine\n\nThe gate's [reasons](reasons.md), and those of the inbox:\n\n{}\n\
         ## Actions\n\nThe store has a row for each action of an operator that changes something, for 400 days. The transaction of the first\n\
         change writes it. The row has the name of the caller's token, the filter or target, and the ids of the changed entries.\n\n{actions}\n",
        table(["reason", "meaning", "remedy"], own),
    );
    check_page("store", &page);
}

#[test]
fn the_reference_has_the_limits() {
    let mut rows = Vec::new();
    for (source, names) in [
        (include_str!("receive.rs"), &[("MAX_BODY", "bytes"), ("BODY_TIMEOUT", "")][..]),
        (
            include_str!("listen/descriptors.rs"),
            &[
                ("MAX_RECEIVE", "connections"),
                ("MAX_ADMIN", "connections"),
                ("MAX_METRICS", "connections"),
                ("MAX_ACCESS_LOG", "connections"),
            ],
        ),
        (
            include_str!("decide/quota.rs"),
            &[("MAX_OF_GENERATION", "entries"), ("MAX_STRAY", "entries"), ("MAX_OF_TOKEN", "entries")],
        ),
        (include_str!("store.rs"), &[("GIVE_UP_AFTER", "microseconds"), ("MIN_ATTEMPTS", "attempts")]),
        (include_str!("service/change.rs"), &[("MAX_ENTRIES", "entries")]),
        (include_str!("store/read/scan.rs"), &[("MAX_EXAMINED", "rows"), ("MAX_FEW", "rows")]),
        (include_str!("reconcile/status_api.rs"), &[("CALL_TIMEOUT", ""), ("MAX_ANSWER", "bytes")]),
    ] {
        rows.extend(constants(source, names));
    }
    check_part("limits", "inbox", &format!("## Inbox\n\n{}", table(["constant", "value", "why"], rows)));
}
