//! No statement that runs at a start, regularly, or for an event scans a large table. The test reads the plan of each database.
//!
//! It reads the statements from the sources, so it covers new ones.

#![allow(clippy::arithmetic_side_effects, reason = "a test may panic: that is how it fails")]

use super::super::read::scan::RowScan;
use super::super::read::{Conditions, story};
use super::*;
use crate::entry::Lane;
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// The tables that grow with the events.
const LARGE: [&str; 8] =
    ["entry", "generation", "token", "payload", "attempt", "expectation", "action", "action_entry"];
/// Small indexes, which a statement may scan.
const SMALL_INDEXES: [&str; 3] = ["entry_in_flight", "generation_busy", "entry_unanswered"];
/// Statements that may scan, with the reason.
const ALLOWED: [(&str, &str); 8] = [
    ("BY_JOB", "an operator's search among the newest entries"),
    ("BY_REQUEST_ID", "an operator's search among the newest entries"),
    ("COLUMNS", "a part of statements"),
    ("NEWEST_HEAD", "stops at the newest entry of the hook"),
    ("CANDIDATES", "a part of statements"),
    ("FORGET_FOREIGN_TRANSACTIONS", "`migrate`, after a restore"),
    ("COUNT", "the index of open expectations"),
    ("CALL_NOW", "an operator's command, with an index"),
];

/// The SQL statements in a source, each with the name of its constant.
fn statements(source: &str) -> Vec<(String, String)> {
    // Removes the indentation of constants in functions.
    let source = source.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for item in source.split("\nconst ").chain(source.split("\npub(super) const ")).skip(1) {
        let Some((name, rest)) = item.split_once(':').filter(|(name, _)| !name.contains(char::is_whitespace))
        else {
            continue;
        };
        let Some((_, value)) = rest.split_once('=') else { continue };
        // Reads to the end of the constant. No statement has a `;` at the end of a line.
        let value = value.split(";\n").next().unwrap();
        for (number, text) in value.split('"').enumerate() {
            let text = text.trim();
            let is_statement = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "]
                .iter()
                .any(|verb| text.starts_with(verb));
            if number % 2 == 1 && is_statement && !text.contains(") VALUES (?") {
                found.push((name.to_owned(), text.to_owned()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The statements of a filter, by each way to find its rows.
fn of_filters(takes_hints: bool) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (filter, scan) in [
        (Filter { hook: Some("veo3".to_owned()), ..Filter::default() }, RowScan::All),
        (in_state(EntryState::Delivered), RowScan::All),
        (in_state(EntryState::Waiting), RowScan::All),
        (in_state(EntryState::Dead), RowScan::Left(EntryState::Dead)),
        (in_state(EntryState::Quarantined), RowScan::Left(EntryState::Quarantined)),
        (in_state(EntryState::Waiting), RowScan::Few("entry_waiting")),
        (in_state(EntryState::InFlight), RowScan::Few("entry_in_flight")),
        (in_lane(Lane::Quarantine), RowScan::Few("entry_quarantined_generation")),
        (in_lane(Lane::Observed), RowScan::Few("entry_observed_generation")),
        (Filter::default(), RowScan::Ids(vec![1, 2])),
    ] {
        // A third of the entries of the test with statistics is observed: there PostgreSQL rightly reads the table.
        if !takes_hints && scan == RowScan::Few("entry_observed_generation") {
            continue;
        }
        let conditions = Conditions::of(&filter);
        let free = conditions.values.len();
        let places: Vec<_> = (1..=3).map(|number| format!("${}", free + number)).collect();
        let [one, two, three] = &places[..] else { panic!() };
        let mut add = |name: &str, sql: String| all.push((format!("{name} by {scan:?} of {filter:?}"), sql));
        add("list", scan.list(takes_hints, &conditions, [one, two, three]));
        add("ids", scan.ids(takes_hints, &conditions, Restriction::All, [one, two, three]));
        add("count", scan.count(takes_hints, &conditions, [one, two]));
        if matches!(scan, RowScan::All | RowScan::Left(_)) {
            add("edge below", scan.edge_below(takes_hints));
            add("edge above", scan.edge_above(takes_hints));
        }
    }
    all
}

fn in_state(state: EntryState) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

fn in_lane(lane: Lane) -> Filter {
    Filter { lane: Some(lane), ..Filter::default() }
}

/// The index that a filter's statement must read: a window of the primary key, or a partial index.
fn index_of(name: &str) -> Option<&'static str> {
    let indexes =
        ["entry_waiting", "entry_in_flight", "entry_quarantined_generation", "entry_observed_generation"];
    let few = indexes.into_iter().find(|index| name.contains(&format!("Few(\"{index}\")")));
    few.or_else(|| name.contains("by Left(").then_some("entry_left"))
}

fn of_both() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for source in [
        include_str!("../read.rs"),
        include_str!("../read/find.rs"),
        include_str!("../read/follow.rs"),
        include_str!("../change.rs"),
        include_str!("../audit.rs"),
        include_str!("../read/scan.rs"),
        include_str!("../read/select.rs"),
        include_str!("../expect/sql.rs"),
    ] {
        all.extend(statements(source));
    }
    let ids = [1, 2].into();
    all.push(("entries".to_owned(), story::entries(&ids)));
    all.push(("attempts".to_owned(), story::attempts(&ids)));
    all.push(("headers".to_owned(), story::headers(&ids)));
    all.push(("released_into".to_owned(), story::released_into(&ids)));
    let generation = SearchKey::Generation(ONE.to_owned());
    all.extend(story::expectations_of(&generation).map(|sql| ("expectations_of".to_owned(), sql)));
    all
}

/// The statements of a driver.
fn of_driver(name: &str) -> Vec<(String, String)> {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let files = std::fs::read_dir(store.join(name)).unwrap().map(|file| file.unwrap().path());
    files
        .chain([store.join(format!("{name}.rs"))])
        .filter(|file| !file.ends_with("tests.rs"))
        .flat_map(|file| statements(&std::fs::read_to_string(file).unwrap()))
        .collect()
}

fn complete(sql: &str) -> String {
    let sql = sql
        .replace("{ids}", "1, 2")
        .replace("{due}", "(1, 2), (2, 3)")
        .replace("{free}", "")
        .replace("{rows}", "(1, 2)")
        .replace("{has_route}", "route IS NOT NULL");
    if sql.ends_with("seen, received_at, seen_at, due_at)")
        || sql.ends_with("(entry_id, path, headers, body)")
    {
        // The driver appends the rows.
        return sql.split('(').next().unwrap().to_owned() + "SELECT * FROM heartbeat WHERE false";
    }
    sql
}

fn check(found: Vec<(String, String)>, least: usize) {
    let seen = found.len();
    let scans: Vec<_> = found.into_iter().filter(|(_, problem)| !problem.is_empty()).collect();
    assert!(scans.is_empty(), "these read whole tables: {scans:#?}");
    assert!(seen >= least, "only {seen} statements were found");
}

/// By another index, the oldest waiting entry of a route takes all waiting ones.
#[track_caller]
fn check_oldest(name: &str, plan: &str) {
    assert!(name != "OLDEST_WAITING" || plan.contains("entry_oldest"), "{plan}");
}

fn is_allowed(name: &str) -> bool {
    ALLOWED.iter().any(|(allowed, _)| *allowed == name)
}

#[tokio::test]
async fn no_statement_reads_a_whole_table_in_sqlite() {
    let test = DriverStore::sqlite().await;
    let Place::Sqlite(path) = &test.place else { return };
    let mut connection = super::super::sqlite::options(path).connect().await.unwrap();
    let mut found = Vec::new();
    let all = of_both().into_iter().chain(of_driver("sqlite")).chain(of_filters(true));
    for (name, sql) in all.filter(|(name, _)| !is_allowed(name)) {
        if sql.contains(" VALUES (") || name.starts_with("INSERT") || name.ends_with("_POSTGRES") {
            continue;
        }
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", complete(&sql)));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sql)
            .persistent(false)
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        check_oldest(&name, &format!("{plan:?}"));
        if let Some(index) = index_of(&name) {
            assert!(format!("{plan:?}").contains(index), "{name}: {plan:?}");
        }
        // The sums have told that the partial index is small.
        let is_few = |step: &String| {
            name.contains("by Few(")
                && (step.contains(" USING INDEX ") || step.contains(" USING COVERING INDEX "))
        };
        let scans = plan.into_iter().map(|(.., step)| step).filter(|step| reads_all(step) && !is_few(step));
        let scans = scans.collect::<Vec<_>>().join("; ");
        found.push((name, scans));
    }
    check(found, 60);
}

/// Whether a step of SQLite's plan scans a large table or index. The listed names are small tables, bound lists and parts of a
/// statement.
fn reads_all(step: &str) -> bool {
    let Some(what) = step.strip_prefix("SCAN ") else { return false };
    let name = what.split(' ').next().unwrap_or_default();
    let others = [
        "json_each",
        "k",
        "routes",
        "hooks",
        "accepted",
        "quarantined",
        "observed",
        "h",
        "found",
        "CONSTANT",
        "old",
        "pause",
        "entry_sum",
        "provider_call",
        "sqlite_master",
        "sqlite_sequence",
    ];
    let few = SMALL_INDEXES.iter().any(|index| what.ends_with(&format!("INDEX {index}")));
    !(others.contains(&name) || few || what.contains("VIRTUAL TABLE") || what.ends_with(" CONSTANT ROWS"))
}

#[needs(Postgres)]
#[tokio::test]
async fn no_statement_reads_a_whole_table_in_postgres() {
    let test = DriverStore::postgres().await;
    // Statistics like those of an old store.
    test.sql(MANY).await;
    let Place::Postgres(url) = &test.place else { return };
    let mut connection = super::super::postgres::connect(
        &super::super::postgres::options(url).unwrap(),
        &super::super::postgres::SETTINGS,
    )
    .await
    .unwrap();
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut connection).await.unwrap();
    let mut found = Vec::new();
    let all = of_both().into_iter().chain(of_driver("postgres")).chain(of_filters(false));
    for (name, sql) in all.filter(|(name, _)| !is_allowed(name)) {
        let sql = complete(&sql);
        let count = (1..=20).take_while(|number| sql.contains(&format!("${number}"))).count();
        let values = if count == 0 { String::new() } else { format!("({})", vec!["NULL"; count].join(", ")) };
        let prepare = format!("DEALLOCATE ALL; PREPARE looked_at AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan: Value =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE looked_at{values}")))
                .persistent(false)
                .fetch_one(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        check_oldest(&name, &plan.to_string());
        let mut scans = Vec::new();
        walk(&plan[0]["Plan"], false, &mut scans);
        scans.retain(|scan| {
            !(name.contains("by Few(")
                && (scan.starts_with("Index Scan") || scan.starts_with("Index Only Scan")))
        });
        found.push((name, scans.join("; ")));
    }
    check(found, 70);
}

const MANY: &str = "
INSERT INTO entry (id, lane, state, hook, generation, event, reason, token_id, authenticated, digest, size, route, seen, received_at, seen_at,
    due_at, ended_at)
SELECT n, CASE state WHEN 'quarantined' THEN 'quarantine' ELSE 'deliver' END, state, 'veo3', 'g' || n, 'completed',
    CASE state WHEN 'quarantined' THEN 'json-invalid' END, 't' || n, true, sha256(n::text::bytea), CASE WHEN n % 50 = 1 THEN 0 ELSE 1000 END,
    CASE WHEN n % 40 = 1 THEN 'veo3/failed' WHEN state <> 'quarantined' THEN 'veo3/completed' END, 1, n, n, n,
    CASE WHEN state NOT IN ('waiting', 'in_flight', 'quarantined') THEN n END
FROM (SELECT n, CASE n % 20 WHEN 0 THEN CASE n % 100 WHEN 0 THEN 'in_flight' ELSE 'waiting' END WHEN 1 THEN 'quarantined' WHEN 2 THEN 'dead'
    ELSE 'delivered' END AS state FROM generate_series(1, 20000) AS n) AS k;
INSERT INTO entry (id, lane, state, hook, generation, event, authenticated, digest, size, route, seen, received_at, seen_at, due_at, ended_at)
SELECT n, 'observed', 'delivered', 'watched', 'g' || n, 'completed', false, sha256(n::text::bytea), 1000, 'watched/observed/completed', 1, n, n, n, n
FROM generate_series(20001, 30000) AS n;
INSERT INTO action (at, action, entries) SELECT n, 'drop', 3 FROM generate_series(1, 10000) AS n;
INSERT INTO action_entry SELECT n, n * 3 + k FROM generate_series(1, 10000) AS n, generate_series(0, 2) AS k;
INSERT INTO payload SELECT id, '', '', '' FROM entry;
INSERT INTO attempt SELECT id, n, id, 1000, 500, 'no' FROM entry, generate_series(1, 3) AS n WHERE id % 10 = 0;
INSERT INTO generation (hook, generation, token_id, completed_id, seen_at) SELECT hook, generation, token_id, id, id FROM entry;
INSERT INTO token SELECT hook, token_id, generation, id FROM entry WHERE token_id IS NOT NULL;
INSERT INTO expectation (hook, generation, job, state, expected_at, ask_at, asked_at)
SELECT hook, generation, 'j', CASE WHEN id % 30 = 0 THEN 'expected' ELSE 'arrived' END, id, id, id FROM entry;
ANALYZE";

/// Collects each scan of a large table without an index condition and without a limit directly above.
fn walk(plan: &Value, is_limited: bool, scans: &mut Vec<String>) {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    let (node, table, index) = (text("Node Type"), text("Relation Name"), text("Index Name"));
    if LARGE.contains(&table) {
        let is_bounded = match node {
            "Seq Scan" => false,
            "Index Scan" | "Index Only Scan" => {
                is_limited && plan["Filter"].is_null()
                    || !plan["Index Cond"].is_null()
                    || SMALL_INDEXES.contains(&index)
            }
            _ => true,
        };
        if !is_bounded {
            scans.push(format!("{node} of {table} by {index:?}"));
        }
    }
    let limits = node == "Limit" || is_limited && node == "LockRows";
    for inner in plan["Plans"].as_array().into_iter().flatten() {
        walk(inner, limits, scans);
    }
}
