//! The inbox rehearses each statement that an event needs, so that health reports a fault before an event comes.

use crate::database::{app, name_of};
use crate::{PROGRAM, on_each_store};
use blobgate::contract::header;
use blobgate_testkit::inbox::{forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, Upstream, eventually, needs, sql};
use std::process::Command;
use std::sync::Mutex;

#[track_caller]
fn not_ready(inbox: &InboxProcess, reason: &str, details: &[&str]) {
    let text = eventually("fault", || {
        let answer = inbox.get("/readyz").unwrap();
        (answer.status == 503).then(|| answer.text())
    });
    assert!(text.starts_with(&format!("{reason}: ")), "{text}");
    for detail in details {
        assert!(text.contains(detail), "{detail}: {text}");
    }
    assert_eq!(inbox.get("/healthz").unwrap().text(), text);
    assert_eq!(inbox.get("/livez").unwrap().status, 200);
    // An event that does not need the missing right is stored.
    let answer = inbox.receive(&forwarded(&fresh_generation())).unwrap();
    let expected = if answer.status == 200 { None } else { Some(reason) };
    assert_eq!(answer.header(header::INBOX_REASON).as_deref(), expected, "{}", answer.text());
    assert!(inbox.log().contains(&format!("not ready reason={reason}: ")), "{}", inbox.log());
    // If the store is readable, stats contain the fault.
    let stats = inbox.get("/stats").unwrap();
    assert!(stats.status != 200 || stats.text().contains(reason), "{}", stats.text());
}

#[needs(Postgres)]
#[test]
fn names_the_missing_right_and_its_object() {
    let rows = [
        ("USAGE ON SEQUENCE", "entry_id"),
        ("INSERT ON TABLE", "entry"),
        ("UPDATE ON TABLE", "entry"),
        ("INSERT ON TABLE", "payload"),
        ("UPDATE ON TABLE", "generation"),
        ("DELETE ON TABLE", "token"),
        ("UPDATE ON TABLE", "expectation"),
        ("SELECT ON TABLE", "generation"),
        ("INSERT ON TABLE", "heartbeat"),
    ];
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    // One at a time: PostgreSQL refuses concurrent changes of one object's rights.
    let sql = Mutex::new(|sql: &str| cluster.sql(name_of(&direct), sql));
    let rows = rows.map(|(right, object)| {
        let (role, store) = app(&cluster, &direct, "");
        (sql.lock().unwrap())(&format!("REVOKE {right} blobgate_inbox.{object} FROM {role}"));
        (right, object, role, store)
    });
    std::thread::scope(|scope| {
        for (right, object, role, store) in &rows {
            let sql = &sql;
            scope.spawn(move || {
                let inbox = InboxProcess::start(PROGRAM, store, 9, &[]);
                let grant = format!("GRANT {right} blobgate_inbox.{object} TO {role}");
                not_ready(&inbox, "store-denied", &["permission denied", object, &grant]);
                (sql.lock().unwrap())(&grant);
                let inbox = inbox.ready();
                assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
            });
        }
    });
}

/// A migration may add these tables after the role got its rights.
#[needs(Postgres)]
#[test]
fn stores_and_delivers_without_rights_on_the_sums() {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    let (role, store) = app(&cluster, &direct, "");
    let sums = "blobgate_inbox.entry_sum, blobgate_inbox.entry_sum_change, blobgate_inbox.entry_sum_folded";
    cluster.sql(name_of(&direct), &format!("REVOKE ALL ON {sums} FROM {role}"));
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]);
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    service.take_one();
    let counted =
        "SELECT sum(entries) FROM blobgate_inbox.entry_sum WHERE since = -1 AND state = 'delivered'";
    eventually("sum", || (cluster.sql(name_of(&direct), counted) == "1").then_some(()));
    // The measurements fail until somebody grants the rights.
    not_ready(&inbox, "store-denied", &[&format!("ON TABLE blobgate_inbox.entry_sum TO {role}")]);
}

#[needs(Postgres)]
#[test]
fn names_the_missing_right_on_the_schema() {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    let (role, store) = app(&cluster, &direct, "");
    cluster.sql(name_of(&direct), &format!("REVOKE USAGE ON SCHEMA blobgate_inbox FROM {role}"));
    let args = ["inbox", "serve", "--store", &store, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let args = [&args[..], &["--deliver-to", "http://127.0.0.1:9"]].concat();
    let done = blobgate_testkit::inbox::blobgate(PROGRAM, &args);
    let stderr = String::from_utf8_lossy(&done.stderr);
    let grant = format!("GRANT USAGE ON SCHEMA blobgate_inbox TO {role}");
    assert!(!done.status.success() && stderr.contains(&grant), "{stderr}");
}

#[needs(Postgres)]
#[test]
fn detects_changes_while_it_runs() {
    let rows = [
        (
            "REVOKE INSERT ON payload FROM ROLE",
            "store-denied",
            "GRANT INSERT ON TABLE blobgate_inbox.payload",
        ),
        (
            "REVOKE USAGE ON SCHEMA blobgate_inbox FROM ROLE",
            "store-denied",
            "GRANT USAGE ON SCHEMA blobgate_inbox",
        ),
        ("ALTER TABLE entry ENABLE ROW LEVEL SECURITY", "store-denied", "row-level security"),
        (
            "ALTER ROLE ROLE SET default_transaction_read_only = on;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ROLE'",
            "store-denied",
            "default_transaction_read_only",
        ),
        ("ALTER TABLE expectation DROP COLUMN state CASCADE", "store-failing", "state"),
        ("DROP TABLE token", "store-failing", "token"),
        ("ALTER TABLE generation DROP CONSTRAINT generation_pkey", "store-failing", "ON CONFLICT"),
        (
            "CREATE RULE none AS ON INSERT TO payload DO INSTEAD NOTHING",
            "store-failing",
            "0 of 2 rows into payload",
        ),
        ("ALTER TABLE entry ADD CHECK (size < 100)", "store-failing", "entry_size_check"),
        (
            "ALTER ROLE ROLE NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ROLE'",
            "store-denied",
            "not permitted to log in",
        ),
    ];
    let cluster = Cluster::shared();
    std::thread::scope(|scope| {
        for (change, reason, detail) in rows {
            let cluster = &cluster;
            scope.spawn(move || {
                let direct = cluster.database();
                migrate(PROGRAM, &direct);
                let (role, store) = app(cluster, &direct, "");
                let inbox = InboxProcess::start(PROGRAM, &store, 9, &[]).ready();
                let change = change.replace("ROLE ROLE", &format!("ROLE {role}"));
                let change = change
                    .replace("FROM ROLE", &format!("FROM {role}"))
                    .replace("'ROLE'", &format!("'{role}'"));
                cluster.sql(name_of(&direct), &format!("SET search_path = blobgate_inbox; {change}"));
                not_ready(&inbox, reason, &[detail]);
            });
        }
    });
}

on_each_store! { needs (Sqlite3): is_not_ready_while_the_newest_commit_failed is_alive_without_its_store }

/// The rehearsal passes, since only this hook fails.
fn is_not_ready_while_the_newest_commit_failed(store: &str) {
    let inbox = InboxProcess::start(PROGRAM, store, 9, &[]).ready();
    let (make, drop) = if store.starts_with("sqlite") {
        (
            "CREATE TRIGGER fails BEFORE INSERT ON entry WHEN new.hook = 'veo3' BEGIN SELECT abs(-9223372036854775807 - 1); END",
            "DROP TRIGGER fails",
        )
    } else {
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fails'; END $$;
            CREATE TRIGGER fails BEFORE INSERT ON entry FOR EACH ROW
            WHEN (new.hook = 'veo3') EXECUTE FUNCTION fail()",
            "DROP TRIGGER fails ON entry",
        )
    };
    sql(store, make);
    let refused = inbox.receive(&forwarded(&fresh_generation())).unwrap();
    assert_eq!(
        (refused.status, refused.header(header::INBOX_REASON).as_deref()),
        (503, Some("store-failing"))
    );
    // A public client gets this body: the cause is in the log.
    assert_eq!(refused.text(), "The event is not stored. Send it again.\n");
    let log = inbox.log();
    assert!(log.contains("refused reason=store-failing"), "{log}");
    assert!(inbox.get("/readyz").unwrap().text().starts_with("store-failing: "));
    assert_eq!(inbox.get("/livez").unwrap().status, 200);
    sql(store, drop);
    // The next commit ends the fault.
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    assert_eq!(inbox.get("/readyz").unwrap().status, 200);
}

fn is_alive_without_its_store(store: &str) {
    let inbox = InboxProcess::start(PROGRAM, store, 9, &[]).ready();
    if let Some(path) = store.strip_prefix("sqlite:") {
        let lock = ".timeout 10000\nBEGIN IMMEDIATE;\n";
        let mut holder = Command::new("sqlite3");
        holder.arg(path).stdin(std::process::Stdio::piped());
        let mut holder =
            holder.spawn().expect("cannot run sqlite3: it is not installed. Install the package sqlite3.");
        std::io::Write::write_all(holder.stdin.as_mut().unwrap(), lock.as_bytes()).unwrap();
        eventually("fault", || (inbox.get("/readyz").unwrap().status == 503).then_some(()));
        assert_eq!(inbox.get("/livez").unwrap().status, 200);
        holder.kill().unwrap();
        holder.wait().unwrap();
    } else {
        let cluster = Cluster::shared();
        let name = name_of(store);
        cluster.sql(
            "postgres",
            &format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            ),
        );
        eventually("fault", || (inbox.get("/readyz").unwrap().status == 503).then_some(()));
        assert_eq!(inbox.get("/livez").unwrap().status, 200);
        cluster.sql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
        assert_eq!(inbox.ready().get("/livez").unwrap().status, 200);
    }
}
