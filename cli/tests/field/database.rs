//! PostgreSQL behind poolers, with few connections, in other schemas, and by unusual URLs.

use crate::PROGRAM;
use blobgate_testkit::inbox::{blobgate, forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, Pgbouncer, Upstream, eventually, needs};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The name of the database in a cluster's URL.
pub(crate) fn name_of(url: &str) -> &str {
    url.split("localhost/").nth(1).unwrap().split('?').next().unwrap()
}

/// Creates a role with only the rights that serving needs. Returns its name and its URL.
pub(crate) fn app(cluster: &Cluster, url: &str, attributes: &str) -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (name, role) = (name_of(url), format!("app_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    cluster.sql(
        name,
        &format!(
            "CREATE ROLE {role} LOGIN {attributes}; GRANT USAGE ON SCHEMA blobgate_inbox TO {role};
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA blobgate_inbox TO {role};
            REVOKE INSERT, UPDATE, DELETE ON blobgate_inbox._sqlx_migrations, blobgate_inbox.schema_version FROM {role};
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA blobgate_inbox TO {role}"
        ),
    );
    let role_url = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    (role, role_url)
}

#[track_caller]
fn refused(done: &Output, sentence: &str) {
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && stderr.contains(sentence), "{sentence}: {stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
}

fn serve(store: &str) -> Output {
    let deliver = "http://127.0.0.1:9";
    let args = ["inbox", "serve", "--store", store, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    blobgate(PROGRAM, &[&args[..], &["--deliver-to", deliver]].concat())
}

/// Runs SQL through a URL.
fn sql_at(cluster: &Cluster, url: &str, sql: &str) -> String {
    let done =
        cluster.shell().args(["-c", "psql -XqAt -v ON_ERROR_STOP=1 -c \"$1\" \"$0\"", url, sql]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// Sends this many events at the same time. Returns the statuses.
fn burst(inbox: &InboxProcess, count: usize) -> Vec<u16> {
    std::thread::scope(|scope| {
        let sent: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| inbox.receive(&forwarded(&fresh_generation())).unwrap().status))
            .collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    })
}

#[needs(Postgres, Pgbouncer)]
#[test]
fn serves_behind_a_session_pooler() {
    let cluster = Cluster::shared();
    for settings in ["", "ignore_startup_parameters = extra_float_digits,options\nserver_round_robin = 1"] {
        let direct = cluster.database();
        let name = name_of(&direct);
        let pooler = Pgbouncer::start(&cluster, "session", settings);
        let store = pooler.url(name);
        migrate(PROGRAM, &store);
        migrate(PROGRAM, &store);
        let service = Upstream::start();
        let inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
        assert_eq!(burst(&inbox, 20), [200; 20]);
        let delivered = "SELECT count(*) FROM blobgate_inbox.entry WHERE state = 'delivered'";
        eventually("delivery of all", || (cluster.sql(name, delivered) == "20").then_some(()));
        let schemas = "SELECT string_agg(DISTINCT schemaname, ',') FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        assert_eq!(cluster.sql(name, schemas), "blobgate_inbox");
    }
}

#[needs(Postgres, Pgbouncer)]
#[test]
fn refuses_a_transaction_pooler() {
    let cluster = Cluster::shared();
    let rows = [
        ("transaction", "default_pool_size = 1"),
        ("transaction", "default_pool_size = 2"),
        ("transaction", "default_pool_size = 3\nserver_round_robin = 1"),
        ("transaction", "min_pool_size = 8\nserver_round_robin = 1"),
        ("transaction", "ignore_startup_parameters = extra_float_digits,options"),
        ("statement", ""),
    ];
    std::thread::scope(|scope| {
        for (mode, settings) in rows {
            let cluster = &cluster;
            scope.spawn(move || {
                let direct = cluster.database();
                let name = name_of(&direct);
                let pooler = Pgbouncer::start(cluster, mode, settings);
                let store = pooler.url(name);
                let sentence = format!("the database is behind a pooler in {mode} mode");
                let migrated = blobgate(PROGRAM, &["inbox", "migrate", "--store", &store]);
                refused(&migrated, &sentence);
                let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'entry'";
                assert_eq!(cluster.sql(name, tables), "0", "{mode} {settings}");
                migrate(PROGRAM, &direct);
                refused(&serve(&store), &sentence);
                // The inbox's settings do not leak to other clients of the pooler.
                let left = "SELECT current_setting('search_path') || current_setting('row_security')";
                assert_eq!(sql_at(cluster, &store, left), "\"$user\", publicon", "{mode} {settings}");
            });
        }
    });
}

#[needs(Postgres)]
#[test]
fn refuses_tables_in_another_schema() {
    let cluster = Cluster::shared();
    let store = cluster.database();
    migrate(PROGRAM, &store);
    cluster.sql(name_of(&store), "DROP SCHEMA public; ALTER SCHEMA blobgate_inbox RENAME TO public");
    let sentence = "the inbox's tables are in the schema public, not in blobgate_inbox";
    refused(&serve(&store), sentence);
    refused(&blobgate(PROGRAM, &["inbox", "migrate", "--store", &store]), sentence);
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'blobgate_inbox'";
    assert_eq!(cluster.sql(name_of(&store), made), "0");
    // The role's search_path has no effect.
    cluster.sql(name_of(&store), "ALTER SCHEMA public RENAME TO blobgate_inbox; CREATE SCHEMA public");
    let set = format!("ALTER DATABASE {} SET search_path = public", name_of(&store));
    cluster.sql(name_of(&store), &set);
    let inbox = InboxProcess::start(PROGRAM, &store, 9, &[]).ready();
    assert_eq!(burst(&inbox, 1), [200]);
    assert_eq!(cluster.sql(name_of(&store), "SELECT count(*) FROM blobgate_inbox.entry"), "1");
}

#[needs(Postgres)]
#[test]
fn stores_all_events_with_few_connections() {
    let cluster = Cluster::shared();
    std::thread::scope(|scope| {
        for limit in [4, 10] {
            let cluster = &cluster;
            scope.spawn(move || {
                let direct = cluster.database();
                migrate(PROGRAM, &direct);
                let (role, store) = app(cluster, &direct, &format!("CONNECTION LIMIT {limit}"));
                let service = Upstream::start();
                let mut inbox = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
                // Under the lock, two committers, two readers and the deliverer need a connection each.
                let lock = "BEGIN; LOCK TABLE blobgate_inbox.entry; SELECT pg_sleep(3); COMMIT";
                std::thread::scope(|scope| {
                    scope.spawn(|| cluster.sql(name_of(&direct), lock));
                    for _ in 0..3 {
                        scope.spawn(|| assert_eq!(inbox.get("/stats").unwrap().status, 200));
                    }
                    assert_eq!(burst(&inbox, 20), [200; 20]);
                });
                // The database ends all connections, and the inbox opens new ones.
                cluster.sql(
                    name_of(&direct),
                    &format!(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
                    ),
                );
                assert_eq!(burst(&inbox, 20), [200; 20]);
                inbox.kill();
                let again = InboxProcess::start(PROGRAM, &store, service.port, &[]).ready();
                assert_eq!(burst(&again, 20), [200; 20]);
                assert_eq!(again.command(&["stats"]).status.code(), Some(0));
                let stored = "SELECT count(*) FROM blobgate_inbox.entry";
                assert_eq!(cluster.sql(name_of(&direct), stored), "60");
                assert!(!format!("{}{}", inbox.log(), again.log()).contains("cannot store"));
            });
        }
    });
}

#[needs(Postgres, Pgbouncer)]
#[test]
fn stores_all_events_behind_a_small_pool() {
    let cluster = Cluster::shared();
    for settings in ["max_client_conn = 4", "max_db_connections = 4", "default_pool_size = 4"] {
        let direct = cluster.database();
        migrate(PROGRAM, &direct);
        let pooler = Pgbouncer::start(&cluster, "session", settings);
        let inbox = InboxProcess::start(PROGRAM, &pooler.url(name_of(&direct)), 9, &[]).ready();
        assert_eq!(burst(&inbox, 20), [200; 20], "{settings}: {}", inbox.log());
    }
}

#[needs(Postgres)]
#[test]
fn refuses_too_few_connections() {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    let (_, store) = app(&cluster, &direct, "CONNECTION LIMIT 3");
    refused(&serve(&store), "the database accepts 3 of 4 connections");
}

#[test]
fn refuses_misleading_urls() {
    for (store, why) in [
        (
            "postgres://app:secret@localhost/inbox?sslmod=require",
            "the parameter \"sslmod\", which the inbox does not know",
        ),
        (
            "postgres://app:secret@localhost/inbox?target_session_attrs=read-write",
            "which leads to the primary",
        ),
        ("postgres://app:secret@localhost/inbox?host=one,two", "the store's URL names several hosts"),
        ("postgres://app:secret@one,two/inbox", "the store's URL names several hosts"),
        ("postgres://app:secret@/inbox", "the store's URL has a user and no host"),
        ("postgress://app:secret@localhost/inbox", "it names no store"),
        ("host=one password=secret", "it names no store"),
    ] {
        let listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        for (command, more) in [("migrate", &[][..]), ("serve", &listen), ("backup", &["--to", "copy"])] {
            let option = blobgate(PROGRAM, &[&["inbox", command, "--store", store], more].concat());
            let mut variable = Command::new(PROGRAM);
            variable.args(["inbox", command]).args(more).env("BLOBGATE_INBOX_STORE", store);
            for done in [option, variable.output().unwrap()] {
                let stderr = String::from_utf8_lossy(&done.stderr);
                assert_eq!(done.status.code(), Some(2), "{store}: {stderr}");
                assert!(stderr.contains(why) && !stderr.contains("secret"), "{store}: {stderr}");
            }
        }
    }
}

/// Each form of a URL that libpq has for a socket works, or is refused.
#[needs(Postgres)]
#[test]
fn connects_by_each_form_of_a_socket() {
    let cluster = Cluster::shared();
    let folder = cluster.socket_folder().display().to_string();
    let encoded = folder.replace('/', "%2F");
    for form in [
        "postgres://postgres@localhost/NAME?host=FOLDER",
        "postgres:///NAME?user=postgres&host=FOLDER",
        "postgresql:///?dbname=NAME&user=postgres&host=FOLDER&port=5432",
        "postgres://postgres@ENCODED/NAME",
        "postgres://postgres@ENCODED:5432/NAME",
    ] {
        let name = name_of(&cluster.database()).to_owned();
        let store = form.replace("FOLDER", &folder).replace("ENCODED", &encoded).replace("NAME", &name);
        migrate(PROGRAM, &store);
        let inbox = InboxProcess::start(PROGRAM, &store, 9, &[]).ready();
        assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200, "{form}");
        assert_eq!(cluster.sql(&name, "SELECT count(*) FROM blobgate_inbox.entry"), "1", "{form}");
    }
}
