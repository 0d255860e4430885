//! PostgreSQL on another machine, as docs/howto/postgres.md sets it up: TLS, passwords, two roles and pgbouncer.

use crate::PROGRAM;
use blobgate_testkit::book::block;
use blobgate_testkit::inbox::{forwarded, fresh_generation};
use blobgate_testkit::tls::Certificate;
use blobgate_testkit::{Cluster, InboxProcess, MAX_WAIT, Pgbouncer, Upstream, free_port, needs, pause};
use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Both have characters that a URL, a shell and an ini file would change.
const OWNER_PASSWORD: &str = "owner's p%40ss&word#1";
const APP_PASSWORD: &str = "app's \"p$ss\\word;#2";

/// A database with the roles of the page, which takes TLS alone. Its certificate names `localhost`.
pub(crate) struct RemoteDatabase {
    cluster: Cluster,
    folder: TempDir,
    certificate: Certificate,
}

impl RemoteDatabase {
    pub(crate) fn start() -> Self {
        let certificate = Certificate::named("localhost");
        let cluster = Cluster::with_tls(&certificate);
        let folder = tempfile::tempdir().unwrap();
        certificate.write_to(folder.path());
        cluster.named("blobgate");
        cluster.sql("blobgate", &block("postgres-two-roles"));
        for (role, password) in [("owner", OWNER_PASSWORD), ("app", APP_PASSWORD)] {
            cluster.sql("blobgate", &format!("ALTER ROLE {role} PASSWORD $password${password}$password$"));
        }
        Self { cluster, folder, certificate }
    }

    /// The store of the page, at the address of this database.
    pub(crate) fn store(&self, role: &str) -> String {
        let ca = self.folder.path().join("edge.pem").display().to_string();
        store_of_the_page(role)
            .replace("db.example.com", &format!("localhost:{}", self.cluster.port))
            .replace("/etc/ssl/certs/db-ca.pem", &ca)
    }

    pub(crate) fn set_app_password(&self, password: &str) {
        self.cluster.sql("blobgate", &format!("ALTER ROLE app PASSWORD '{password}'"));
    }

    #[track_caller]
    pub(crate) fn migrate_as_owner(&self) {
        migrates(&self.store("owner"), OWNER_PASSWORD);
    }

    /// The pgbouncer of the page before this database, in this mode.
    fn pooler(&self, mode: &str) -> Pgbouncer {
        let port = free_port();
        let users = self.cluster.sql("postgres", &block("postgres-userlist"));
        assert_eq!(users.lines().count(), 2, "{users}");
        let certificate = self.certificate.pem.clone();
        Pgbouncer::of_files(port, |folder| {
            let ini = block("postgres-pgbouncer")
                .replace(
                    "host=db.example.com port=5432",
                    &format!("host=localhost port={}", self.cluster.port),
                )
                .replace("listen_port = 6432", &format!("listen_port = {port}\nunix_socket_dir ="))
                .replace("pool_mode = session", &format!("pool_mode = {mode}"))
                .replace("/etc/pgbouncer/", &format!("{}/", folder.display()));
            vec![("pgbouncer.ini", ini), ("userlist.txt", users + "\n"), ("db-ca.pem", certificate)]
        })
    }
}

/// The store's URL in the page's block, for a role.
fn store_of_the_page(role: &str) -> String {
    let setup = block("postgres-store");
    let store = setup.split('"').nth(1).unwrap();
    store.replace("postgres://app@", &format!("postgres://{role}@"))
}

fn behind(pooler: &Pgbouncer, role: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{}/blobgate", pooler.port)
}

fn with_password(password: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("PGPASSWORD", password);
    command
}

fn migrate(store: &str, password: &str) -> Output {
    with_password(password).args(["inbox", "migrate", "--store", store]).output().unwrap()
}

#[track_caller]
fn migrates(store: &str, password: &str) {
    let done = migrate(store, password);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The one sentence of a refusal, without passwords.
#[track_caller]
fn refused(done: &Output) -> String {
    let stderr = String::from_utf8(done.stderr.clone()).unwrap();
    assert_eq!((done.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    for password in [OWNER_PASSWORD, APP_PASSWORD] {
        assert!(!stderr.contains(password), "{stderr}");
    }
    stderr.trim_end().to_owned()
}

fn inbox(store: &str, service: &Upstream) -> InboxProcess {
    InboxProcess::spawn(with_password(APP_PASSWORD), PROGRAM, store, service.port, &[]).ready()
}

#[needs(Postgres)]
#[test]
fn serves_over_tls_with_two_roles() {
    let remote = RemoteDatabase::start();
    let (owner, app) = (remote.store("owner"), remote.store("app"));
    // The supervisor's migration is refused until the owner has made the tables.
    let early = refused(&migrate(&app, APP_PASSWORD));
    assert_eq!(
        early,
        "blobgate: cannot migrate the store: permission denied for schema blobgate_inbox: the role app lacks CREATE on schema blobgate_inbox. Run GRANT CREATE ON SCHEMA blobgate_inbox TO app, or run `blobgate inbox migrate` as owner"
    );
    migrates(&owner, OWNER_PASSWORD);
    migrates(&app, APP_PASSWORD);
    let service = Upstream::start();
    let inbox = inbox(&app, &service);
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
    service.take_one();
    let sessions = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'app'";
    assert_eq!(remote.cluster.sql("blobgate", sessions), "t");

    // An upgrade whose tables the owner has not made yet.
    remote.cluster.sql("blobgate", "DELETE FROM blobgate_inbox._sqlx_migrations");
    let stale = refused(&migrate(&app, APP_PASSWORD));
    assert!(stale.ends_with(", or run `blobgate inbox migrate` as owner"), "{stale}");
    assert_eq!(inbox.receive(&forwarded(&fresh_generation())).unwrap().status, 200);
}

#[needs(Postgres)]
#[test]
fn refuses_a_database_that_it_cannot_verify() {
    let remote = RemoteDatabase::start();
    remote.migrate_as_owner();
    let app = remote.store("app");
    let other = tempfile::tempdir().unwrap();
    Certificate::named("localhost").write_to(other.path());
    let other = app.replace(&remote.folder.path().display().to_string(), &other.path().display().to_string());
    let by_address = app.replace("localhost", "127.0.0.1");
    let (without_root, _) = app.split_once("&sslrootcert").unwrap();
    for store in [&other, &by_address, without_root] {
        let why = refused(&migrate(store, APP_PASSWORD));
        assert!(why.contains("certificate"), "{store}: {why}");
    }
    let missing = refused(&migrate(&app.replace("edge.pem", "missing.pem"), APP_PASSWORD));
    assert!(missing.contains("missing.pem") || missing.contains("No such file"), "{missing}");
    let wrong = refused(&migrate(&app, OWNER_PASSWORD));
    assert!(wrong.contains("password authentication failed for user \"app\""), "{wrong}");
    // The server takes no connection without TLS.
    let (plain, _) = app.split_once("?").unwrap();
    let plain = refused(&migrate(&format!("{plain}?sslmode=disable"), APP_PASSWORD));
    assert!(plain.contains("no encryption"), "{plain}");
    migrates(&app, APP_PASSWORD);
}

#[needs(Postgres, Pgbouncer)]
#[test]
fn two_inboxes_serve_behind_the_pooler_of_the_page() {
    const EACH: usize = 20;
    let remote = RemoteDatabase::start();
    let pooler = remote.pooler("session");
    let store = behind(&pooler, "app");
    migrates(&behind(&pooler, "owner"), OWNER_PASSWORD);
    migrates(&store, APP_PASSWORD);
    let service = Upstream::start();
    let (mut one, two) = (inbox(&store, &service), inbox(&store, &service));
    let send = |inbox: &InboxProcess| {
        let generations: Vec<String> = (0..EACH).map(|_| fresh_generation()).collect();
        for generation in &generations {
            assert_eq!(inbox.receive(&forwarded(generation)).unwrap().status, 200);
        }
        generations
    };
    let all: Vec<String> = std::thread::scope(|scope| {
        let sent: Vec<_> = [&one, &two].map(|inbox| scope.spawn(move || send(inbox))).into();
        sent.into_iter().flat_map(|sent| sent.join().unwrap()).collect()
    });
    // One dies. The other delivers what is left, and after the lease of 30 s what the first held.
    one.kill();
    let killed_at = Instant::now();
    let have_arrived = || {
        let arrived: BTreeSet<_> =
            service.arrivals().iter().map(|arrival| generation_of(&arrival.body)).collect();
        all.iter().all(|generation| arrived.contains(generation))
    };
    while !have_arrived() {
        assert!(killed_at.elapsed() < 4 * MAX_WAIT, "no delivery of every event");
        pause(Duration::from_millis(50));
    }
    let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'app'";
    assert_eq!(remote.cluster.sql("blobgate", encrypted), "t");
    let wrong = refused(&migrate(&store, OWNER_PASSWORD));
    assert!(wrong.contains("authentication failed"), "{wrong}");
}

fn generation_of(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["generation_id"].as_str().unwrap().to_owned()
}

#[needs(Postgres, Pgbouncer)]
#[test]
fn a_pooler_in_transaction_mode_gets_the_sentence_of_the_page() {
    let remote = RemoteDatabase::start();
    remote.migrate_as_owner();
    let pooler = remote.pooler("transaction");
    let store = behind(&pooler, "app");
    let sentence = block("postgres-transaction-mode");
    let (before, rest) = sentence.trim_end().split_once(" (").unwrap();
    let (_, after) = rest.split_once("). ").unwrap();
    let serve = ["inbox", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", &store];
    for done in [migrate(&store, APP_PASSWORD), with_password(APP_PASSWORD).args(serve).output().unwrap()] {
        let found = refused(&done);
        assert!(found.starts_with(before) && found.ends_with(after), "{found}");
    }
}
