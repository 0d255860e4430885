//! Rotates every key as docs/howto/rotate-keys.md does, on a real Envoy and a real inbox, while deliveries come. None is refused or
//! lost. A service that verifies signatures takes each one. Afterwards the old key is refused.

use crate::PROGRAM;
use crate::remote_database::RemoteDatabase;
use crate::rotated_setup::{API_KEY, RotatedSetup, completed, verifies};
use blobgate::contract::header;
use blobgate_testkit::book::block;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::tls::{Certificate, FIRST};
use blobgate_testkit::{
    Connector, H2, InboxProcess, SqliteFile, TestDelivery, eventually, needs, on_every_envoy, pause, versions,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SENDERS: usize = 4;
const TOKENS: &str = "hook: {path: \"/webhook/{token}\", trust: {any_of: [token]}, source: any, result_url: [runblob.io, \"*.runblob.io\"]}\n";
const CONFIRMED: &str = "hook: {path: \"/webhook/{token}\", trust: {any_of: [token, confirmed]}, source: any, result_url: [runblob.io, \"*.runblob.io\"]}\n";
const ONE_TOKEN_KEY: &str = "token_keys: {\"2026-11\": {alg: HS256, env: BLOBGATE_TOKEN_KEY}}\n";
const NEW_TOKEN_KEY: &str = "token_keys: {\"2027-02\": {alg: HS256, env: BLOBGATE_TOKEN_KEY_2}}\n";

/// Deliveries that come while a test rotates a key.
struct Deliveries<'a> {
    answered: &'a AtomicUsize,
}

impl Deliveries<'_> {
    /// Waits until every sender has had answers to new deliveries.
    #[track_caller]
    fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("answers to deliveries", || {
            (self.answered.load(Ordering::Relaxed) >= before + 4 * SENDERS).then_some(())
        });
    }
}

/// Sends deliveries like the provider, which tries again after no answer and after 503, while `rotate` runs. Each reaches the
/// service with a signature that it verifies.
#[track_caller]
fn while_deliveries_come(
    setup: &RotatedSetup,
    trusted: &[&Certificate],
    make: impl Fn(&str) -> TestDelivery + Sync,
    rotate: impl FnOnce(&Deliveries<'_>),
) {
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (sent, refused) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let connector = Connector::tls_of_any(setup.port(), H2, trusted);
    std::thread::scope(|scope| {
        let _ends_on_panic = Ends(&over);
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    let generation = fresh_generation();
                    let delivery = make(&generation);
                    let answer = eventually("answer other than 503", || {
                        let answer = connector.try_open().ok()?.try_send(&delivery).ok()?;
                        (answer.status != 503).then_some(answer)
                    });
                    if answer.status != 200 {
                        refused.lock().unwrap().push(answer);
                    }
                    sent.lock().unwrap().push(generation);
                    answered.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(100).saturating_sub(since.elapsed()));
                }
            });
        }
        let deliveries = Deliveries { answered: &answered };
        deliveries.go_on();
        rotate(&deliveries);
        deliveries.go_on();
    });
    let refused = refused.into_inner().unwrap();
    assert!(refused.is_empty(), "{} genuine deliveries were refused: {:?}", refused.len(), refused.first());
    let sent: BTreeSet<String> = sent.into_inner().unwrap().into_iter().collect();
    assert!(sent.len() >= 8 * SENDERS, "{}", sent.len());
    eventually("every event at the service", || {
        let arrived: BTreeSet<String> = setup
            .service
            .arrivals()
            .iter()
            .filter_map(|arrival| arrival.header(header::GENERATION_ID))
            .collect();
        sent.is_subset(&arrived).then_some(())
    });
    assert_eq!(setup.unverified(), 0, "deliveries that the service could not verify");
}

/// Ends the senders, also when a test panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A delivery with a token of a key, by the tool.
fn with_token(setup: &RotatedSetup, (kid, variable): (&str, &str), generation: &str) -> TestDelivery {
    let mut mint = setup.tool();
    mint.args(["mint", "--aud", "production/veo3", "--url", "https://gate.test/webhook"]);
    let done = mint.args(["--kid", kid, "--key-env", variable]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let url = String::from_utf8(done.stdout).unwrap();
    completed(generation).path(url.trim_end().strip_prefix("https://gate.test").unwrap())
}

fn send(setup: &RotatedSetup, delivery: &TestDelivery) -> u16 {
    Connector::tls(setup.port(), H2).open().send(delivery).status
}

#[test]
fn token_keys() {
    let setup = RotatedSetup::start(
        &versions().pop().unwrap(),
        &format!("{TOKENS}signing_keys: [BLOBGATE_SIGNING_KEY]\n{ONE_TOKEN_KEY}"),
    );
    let old = ("2026-11", "BLOBGATE_TOKEN_KEY");
    let new = ("2027-02", "BLOBGATE_TOKEN_KEY_2");
    let minter = Mutex::new(old);
    let make = |generation: &str| {
        let key = *minter.lock().unwrap();
        with_token(&setup, key, generation)
    };
    while_deliveries_come(&setup, &[&FIRST], make, |deliveries| {
        setup.run(&block("rotate-token-key"));
        assert_eq!(send(&setup, &with_token(&setup, new, &fresh_generation())), 401, "the gate has one key");
        setup.render(&format!("{TOKENS}{}", block("rotate-two-token-keys")));
        deliveries.go_on();
        setup.restart_gate();
        for key in [old, new] {
            assert_eq!(send(&setup, &with_token(&setup, key, &fresh_generation())), 200, "{key:?}");
        }
        *minter.lock().unwrap() = new;
        deliveries.go_on();
        setup.render(&format!("{TOKENS}{NEW_TOKEN_KEY}"));
        setup.restart_gate();
        assert_eq!(send(&setup, &with_token(&setup, old, &fresh_generation())), 401, "the old key");
    });
}

#[test]
fn signing_key() {
    const OLD: &str = "BLOBGATE_SIGNING_KEY";
    const NEW: &str = "BLOBGATE_SIGNING_KEY_2";
    let setup = RotatedSetup::start(&versions().pop().unwrap(), &format!("{TOKENS}{ONE_TOKEN_KEY}"));
    let make = |generation: &str| with_token(&setup, ("2026-11", "BLOBGATE_TOKEN_KEY"), generation);
    let newest = || setup.service.arrivals().pop().unwrap();
    while_deliveries_come(&setup, &[&FIRST], make, |deliveries| {
        setup.run(&block("rotate-signing-key"));
        setup.render(&format!("{TOKENS}{ONE_TOKEN_KEY}{}", block("rotate-two-signing-keys")));
        // In either order: here the gate signs with a key that the inbox does not have yet.
        setup.restart_gate();
        deliveries.go_on();
        setup.restart_inbox();
        deliveries.go_on();
        for key in [OLD, NEW] {
            assert!(verifies(&setup.variable(key), &newest()), "{key}");
        }
        setup.set_service_keys(&[NEW]);
        deliveries.go_on();
        setup.render(&format!("{TOKENS}{ONE_TOKEN_KEY}signing_keys: [{NEW}]\n"));
        // And here the gate signs with a key that the inbox no longer has.
        setup.restart_inbox();
        deliveries.go_on();
        setup.restart_gate();
        deliveries.go_on();
        assert!(verifies(&setup.variable(NEW), &newest()));
        assert!(!verifies(&setup.variable(OLD), &newest()), "the old key signs nothing");
    });
}

#[test]
fn api_key() {
    const NEW: &str = "rb_f7a31e5520cd4b96";
    let setup = RotatedSetup::start(&versions().pop().unwrap(), &format!("{CONFIRMED}{ONE_TOKEN_KEY}"));
    let make = |generation: &str| completed(generation).path("/webhook");
    let used = |key: &str| {
        let calls = setup.provider.take();
        !calls.is_empty()
            && calls.iter().all(|call| call.header("authorization") == Some(format!("Bearer {key}")))
    };
    while_deliveries_come(&setup, &[&FIRST], make, |deliveries| {
        assert!(used(API_KEY));
        setup.confirm_every_generation(&[API_KEY, NEW]);
        setup.run_with(&block("rotate-api-key"), &format!("{NEW}\n"));
        eventually("calls with the new key", || {
            deliveries.go_on();
            used(NEW).then_some(())
        });
        // RunBlob revokes the old one.
        setup.confirm_every_generation(&[NEW]);
        deliveries.go_on();
        assert!(used(NEW));
    });
}

#[test]
fn certificate() {
    on_every_envoy(|version| {
        let setup = RotatedSetup::start(version, &format!("{TOKENS}{ONE_TOKEN_KEY}"));
        let make = |generation: &str| with_token(&setup, ("2026-11", "BLOBGATE_TOKEN_KEY"), generation);
        let [second, third] = [Certificate::fresh(), Certificate::fresh()];
        let shown = |certificate: &Certificate| {
            let connector = Connector::tls_of_any(setup.port(), H2, &[certificate]);
            eventually("new certificate", || connector.try_open().ok().map(drop));
        };
        while_deliveries_come(&setup, &[&FIRST, &second, &third], make, |deliveries| {
            let renewed = setup.path("renewed");
            fs::create_dir(&renewed).unwrap();
            second.write_to(&renewed);
            // Each line alone: between two of them, the certificate and its key differ.
            for line in block("rotate-certificate").lines() {
                setup.run(line);
                deliveries.go_on();
            }
            shown(&second);
            assert!(Connector::tls(setup.port(), H2).try_open().is_err(), "the old certificate");

            // certbot keeps each renewal in archive/, and replaces links in live/.
            let (live, archive) = (setup.path("live/gate.test"), setup.path("archive/gate.test"));
            for folder in [&live, &archive] {
                fs::create_dir_all(folder).unwrap();
            }
            for (name, text) in [("fullchain", &third.pem), ("privkey", &third.key)] {
                fs::write(archive.join(format!("{name}2.pem")), text).unwrap();
                symlink(format!("../../archive/gate.test/{name}2.pem"), live.join(format!("{name}.pem")))
                    .unwrap();
            }
            let hook = block("certbot-hook")
                .replace("/etc/blobgate", &setup.path("").display().to_string())
                .replace("hooks.example.com", "gate.test");
            setup.run(&format!("RENEWED_LINEAGE={}\n{hook}", setup.path("live/other.test").display()));
            deliveries.go_on();
            shown(&second);
            setup.run(&format!("RENEWED_LINEAGE={}\n{hook}", live.display()));
            shown(&third);
            assert!(Connector::tls_of_any(setup.port(), H2, &[&second]).try_open().is_err());
        });
    });
}

/// The open connections of an inbox keep the old password until its restart.
#[needs(Postgres)]
#[test]
fn password_of_the_database() {
    let database = RemoteDatabase::start();
    database.set_app_password("the-old-one");
    database.migrate_as_owner();
    let setup = RotatedSetup::with_store(
        &versions().pop().unwrap(),
        &format!("{TOKENS}{ONE_TOKEN_KEY}"),
        &database.store("app"),
        &["PGPASSWORD=the-old-one"],
    );
    let make = |generation: &str| with_token(&setup, ("2026-11", "BLOBGATE_TOKEN_KEY"), generation);
    while_deliveries_come(&setup, &[&FIRST], make, |deliveries| {
        database.set_app_password("the-new-one");
        deliveries.go_on();
        setup.run("sed -i s/the-old-one/the-new-one/ secrets/env");
        setup.restart_inbox();
    });
}

#[test]
fn admin_token() {
    const OLD: &str = "the-old-admin-token";
    const NEW: &str = "the-new-admin-token";
    let store = SqliteFile::migrated(PROGRAM);
    let start = |variables: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.env("BLOBGATE_OPERATE_TOKEN", OLD).env("BLOBGATE_OPERATE_TOKEN_2", NEW);
        let options: Vec<String> =
            variables.iter().map(|name| format!("--admin-token=ops:operate:{name}")).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let inbox = InboxProcess::spawn(command, PROGRAM, &store.url, 9, &options);
        [OLD, NEW].map(|token| {
            let request =
                TestDelivery::without_body().method("GET").path("/stats").header("host", "127.0.0.1");
            let request = request.header("authorization", format!("Bearer {token}"));
            Connector::plaintext(inbox.admin, blobgate_testkit::H1).open().send(&request).status
        })
    };
    assert_eq!(start(&["BLOBGATE_OPERATE_TOKEN"]), [200, 401]);
    assert_eq!(start(&["BLOBGATE_OPERATE_TOKEN", "BLOBGATE_OPERATE_TOKEN_2"]), [200, 200]);
    assert_eq!(start(&["BLOBGATE_OPERATE_TOKEN_2"]), [401, 200]);
}
