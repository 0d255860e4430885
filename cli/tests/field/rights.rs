//! The rights of the roles that migrate and serve, as docs/howto/postgres.md grants them.

use crate::PROGRAM;
use blobgate_testkit::book::block;
use blobgate_testkit::inbox::{blobgate, forwarded, fresh_generation, migrate};
use blobgate_testkit::{Cluster, InboxProcess, Upstream, needs};

/// The URL of a database for another role.
fn of_role(url: &str, role: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{role}@"))
}

#[track_caller]
fn migrates(store: &str) {
    let done = blobgate(PROGRAM, &["inbox", "migrate", "--store", store]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The sentence with which `migrate` is refused.
#[track_caller]
fn refused(store: &str) -> String {
    let done = blobgate(PROGRAM, &["inbox", "migrate", "--store", store]);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(
        (done.status.code(), stderr.lines().count(), &done.stdout[..]),
        (Some(1), 1, &b""[..]),
        "{stderr}"
    );
    stderr.trim_end().to_owned()
}

/// Stores an event and delivers it.
#[track_caller]
fn serves(store: &str) {
    let service = Upstream::start();
    let inbox = InboxProcess::start(PROGRAM, store, service.port, &[]).ready();
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    service.take_one();
    assert!(inbox.command(&["stats"]).status.success());
    assert!(!inbox.log().contains("ERROR"), "{}", inbox.log());
}

#[needs(Postgres)]
#[test]
fn works_with_the_rights_of_the_book() {
    let cluster = Cluster::alone();
    let may_create = |database: &str, role: &str| {
        let schema = format!("has_schema_privilege('{role}', 'blobgate_inbox', 'CREATE')");
        let database_right = format!("has_database_privilege('{role}', '{database}', 'CREATE')");
        cluster.sql(database, &format!("SELECT {database_right}, {schema}"))
    };

    let one = cluster.named("one");
    cluster.sql("one", &block("postgres-one-role"));
    let store = of_role(&one, "blobgate");
    migrates(&store);
    migrates(&store);
    assert_eq!(may_create("one", "blobgate"), "f|t");
    serves(&store);

    let two = cluster.named("two");
    cluster.sql("two", &block("postgres-two-roles"));
    migrates(&of_role(&two, "owner"));
    assert_eq!((may_create("two", "owner"), may_create("two", "app")), ("f|t".to_owned(), "f|f".to_owned()));
    serves(&of_role(&two, "app"));
    // There is nothing to change, so the role that serves may run it too.
    migrates(&of_role(&two, "app"));

    let made = cluster.named("made");
    migrate(PROGRAM, &made);
    cluster.sql("made", &block("postgres-grants"));
    serves(&of_role(&made, "app"));
}

/// Each error names the right and its object. The statement in it is enough.
#[needs(Postgres)]
#[test]
fn names_the_right_that_a_migration_lacks() {
    const ROLE: &str = "lacks_rights";
    let cluster = Cluster::alone();
    cluster.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN"));
    let rows = [
        (
            "",
            "permission denied for database DB: the role lacks_rights lacks CREATE on database \"DB\". Run GRANT CREATE ON DATABASE \"DB\" TO lacks_rights",
            ", or CREATE SCHEMA blobgate_inbox AUTHORIZATION lacks_rights",
        ),
        (
            "CREATE SCHEMA blobgate_inbox",
            "the role cannot use the schema blobgate_inbox: the role lacks_rights lacks USAGE on schema blobgate_inbox, CREATE on schema blobgate_inbox. Run GRANT USAGE ON SCHEMA blobgate_inbox TO lacks_rights; GRANT CREATE ON SCHEMA blobgate_inbox TO lacks_rights",
            ", or run `blobgate inbox migrate` as postgres",
        ),
        (
            "CREATE SCHEMA blobgate_inbox; GRANT USAGE ON SCHEMA blobgate_inbox TO lacks_rights",
            "permission denied for schema blobgate_inbox: the role lacks_rights lacks CREATE on schema blobgate_inbox. Run GRANT CREATE ON SCHEMA blobgate_inbox TO lacks_rights",
            ", or run `blobgate inbox migrate` as postgres",
        ),
    ];
    for (number, (prepared, sentence, alternative)) in rows.iter().enumerate() {
        let name = format!("db-{number}");
        let store = of_role(&cluster.named(&name), ROLE);
        if !prepared.is_empty() {
            cluster.sql(&name, prepared);
        }
        let expected =
            format!("blobgate: cannot migrate the store: {sentence}{alternative}").replace("DB", &name);
        let found = refused(&store);
        assert_eq!(found, expected);
        let statement = found.split_once(" Run ").unwrap().1;
        let statement = statement.split_once(", or ").map_or(statement, |(statement, _)| statement);
        cluster.sql(&name, statement);
        migrates(&store);
        serves(&store);
    }

    let foreign = cluster.named("foreign");
    migrate(PROGRAM, &foreign);
    cluster.sql("foreign", &format!("GRANT USAGE, CREATE ON SCHEMA blobgate_inbox TO {ROLE}"));
    let found = refused(&of_role(&foreign, ROLE));
    let sentence = "blobgate: cannot migrate the store: permission denied for table _sqlx_migrations: the tables belong to the role postgres. Run `blobgate inbox migrate` as postgres";
    assert_eq!(found, sentence);

    let frozen = cluster.named("frozen");
    cluster.sql(
        "frozen",
        &format!("ALTER ROLE {ROLE} IN DATABASE frozen SET default_transaction_read_only = on"),
    );
    cluster.sql("frozen", &format!("CREATE SCHEMA blobgate_inbox AUTHORIZATION {ROLE}"));
    let found = refused(&of_role(&frozen, ROLE));
    assert!(found.contains(": default_transaction_read_only is on for the role lacks_rights. "), "{found}");

    let closed = cluster.named("closed");
    cluster.sql("closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
    let found = refused(&of_role(&closed, ROLE));
    assert!(found.contains("User does not have CONNECT privilege"), "{found}");
}
