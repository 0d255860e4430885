//! `serve` says once why it does not start, and says that it listens once it does.

use crate::PROGRAM;
use crate::database::{app, name_of};
use blobgate_testkit::inbox::{blobgate, forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, SqliteFile, closed_port, eventually, needs, sql};
use std::net::TcpListener;
use std::process::{Command, Output};

/// The roles of a store whose migration is newer than the program.
const NEWER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (9999, 'newer', true, '', 0); UPDATE schema_version SET oldest_program = 9999";

fn serve(store: &str) -> Output {
    let args = ["inbox", "serve", "--store", store, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    // An inbox that starts would not end.
    let mut command = Command::new("timeout");
    command.arg("60").arg(PROGRAM).args(args).args(["--deliver-to", "http://127.0.0.1:9"]);
    command.output().unwrap()
}

/// One line with the cause and the remedy, and none that it listens.
#[track_caller]
fn refuses(output: &Output, cause: &str, remedy: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{stderr}");
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.starts_with("blobgate: cannot open "), "{stderr}");
    assert_eq!(
        (stderr.matches(cause).count(), stderr.matches(remedy).count()),
        (1, 1),
        "{cause}, {remedy}: {stderr}"
    );
}

#[needs(Sqlite3)]
#[test]
fn refuses_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    std::fs::write(folder.path().join("empty.db"), "").unwrap();
    std::fs::write(folder.path().join("text.db"), "no database at all, but a text\n".repeat(99)).unwrap();
    for (store, cause, remedy) in [
        (
            url("missing/inbox.db"),
            "the directory does not exist",
            "Create it, or name another path with --store",
        ),
        (url("inbox.db"), "it does not exist", "Run `blobgate inbox migrate`"),
        (url(""), "it is a directory", "Name a file with --store"),
        (url("empty.db"), "it has no tables yet", "Run `blobgate inbox migrate`"),
        (url("text.db"), "file is not a database", "Name another file with --store, or restore a backup"),
    ] {
        refuses(&serve(&store), cause, remedy);
    }
    let newer = SqliteFile::migrated(PROGRAM);
    sql(&newer.url, NEWER);
    refuses(&serve(&newer.url), "its tables have version 9999", "Start the program that made them");
}

/// Root may write a file without the right to, so the file system is read-only.
#[needs(Root)]
#[test]
fn refuses_a_read_only_file_once() {
    const READ_ONLY: &str =
        "mount --make-rprivate / && mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" &&
        shift && exec \"$0\" \"$@\"";
    let file = SqliteFile::migrated(PROGRAM);
    let path = std::path::Path::new(file.url.strip_prefix("sqlite:").unwrap());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", READ_ONLY, "timeout"]).arg(path.parent().unwrap()).arg("60");
    command.args([PROGRAM, "inbox", "serve", "--store", &file.url]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    refuses(&command.output().unwrap(), "Read-only file system", "Check the path and its permissions");
}

#[needs(Postgres)]
#[test]
fn refuses_a_database_once() {
    let cluster = Cluster::shared();
    let closed = closed_port();
    let there = cluster.database();
    let absent = there.replace(name_of(&there), "absent");
    let (newer, denied) = (cluster.database(), cluster.database());
    migrate(PROGRAM, &newer);
    cluster.sql(name_of(&newer), &format!("SET search_path = blobgate_inbox; {NEWER}"));
    migrate(PROGRAM, &denied);
    let (role, denied) = app(&cluster, &denied, "");
    cluster.sql(name_of(&newer), &format!("REVOKE USAGE ON SCHEMA blobgate_inbox FROM {role}"));
    cluster.sql(name_of(&denied), &format!("REVOKE USAGE ON SCHEMA blobgate_inbox FROM {role}"));
    let runs = "Check that the database runs, and its address in --store";
    for (store, cause, remedy) in [
        (format!("postgres://app@{}/inbox", closed.address), "refused", runs),
        ("postgres:///inbox?user=app&host=/nowhere".to_owned(), "No such file", runs),
        (absent, "does not exist", "Create the database, or name another with --store"),
        (there, "it has no tables yet", "Run `blobgate inbox migrate`"),
        (newer, "its tables have version 9999", "Start the program that made them"),
        (denied, "the role cannot use the schema", "Run GRANT USAGE ON SCHEMA blobgate_inbox"),
    ] {
        refuses(&serve(&store), cause, remedy);
    }
}

#[test]
fn refuses_a_port_in_use_once() {
    let file = SqliteFile::migrated(PROGRAM);
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = used.local_addr().unwrap().to_string();
    for (option, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let port = used.local_addr().unwrap().port().to_string();
        let args = ["inbox", "serve", "--store", &file.url, option, &address, other, "127.0.0.1:0"];
        let done = blobgate(PROGRAM, &args);
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!((done.status.code(), &done.stdout[..]), (Some(1), &b""[..]), "{stderr}");
        assert_eq!((stderr.lines().count(), stderr.matches(&port).count()), (1, 1), "{stderr}");
    }
}

/// A database without a free connection delays the start for a few seconds.
#[needs(Postgres)]
#[test]
fn listens_once_the_store_is_open() {
    let cluster = Cluster::shared();
    let direct = cluster.database();
    migrate(PROGRAM, &direct);
    let (role, store) = app(&cluster, &direct, "CONNECTION LIMIT 4");
    let held = "SELECT pg_sleep(3)";
    std::thread::scope(|scope| {
        let url = &store;
        let hold = || {
            let done = cluster.shell().args(["-c", "psql -XqAt -c \"$1\" \"$0\"", url, held]).status();
            assert!(done.unwrap().success());
        };
        scope.spawn(hold);
        let backends =
            format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND query = '{held}'");
        eventually("the held connection", || (cluster.sql("postgres", &backends) == "1").then_some(()));
        let inbox = InboxProcess::start(PROGRAM, &store, 9, &[]);
        assert_eq!(cluster.sql("postgres", &backends), "0", "it waited for the connection");
        assert_eq!(inbox.get("/readyz").unwrap().status, 200);
        assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    });
}
