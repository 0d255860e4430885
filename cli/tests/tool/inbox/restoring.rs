//! `inbox/BACKUP.md` on PostgreSQL: its own commands, in its order, as they stand there.

use super::sweeping::{Provider, webhook};
use super::{Delivery, Inbox, Place};
use crate::postgres::Cluster;
use crate::running::text;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../../inbox/BACKUP.md");

/// What is on the page for PostgreSQL.
struct Page {
    dump: &'static str,
    restore: &'static str,
    pause: &'static str,
    drop: &'static str,
    drop_delivered: &'static str,
    go_on: &'static str,
}

impl Page {
    #[track_caller]
    fn read() -> Self {
        let (_, section) = PAGE.split_once("\n## PostgreSQL\n").unwrap();
        let blocks = section.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
        let [dump, restore, pause, drop, drop_delivered, go_on] =
            blocks.collect::<Vec<_>>().try_into().unwrap();
        Self { dump, restore, pause, drop, drop_delivered, go_on }
    }
}

/// Where an operator sits. Gone when dropped.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Has `blobgate` ask this inbox.
    fn ask(&self, inbox: &Inbox) {
        let program = env!("CARGO_BIN_EXE_blobgate");
        self.write("blobgate", &format!("#!/bin/sh\nexec {program} \"$@\" --admin {}\n", inbox.admin));
    }

    /// Has `blobgate` be itself.
    fn ask_nobody(&self) {
        self.write("blobgate", &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_blobgate")));
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs commands of the page, with what stands for something replaced by that. Returns what they say.
    #[track_caller]
    fn run(&self, cluster: &Cluster, commands: &str, instead: &[(&str, &str)]) -> String {
        let mut commands = commands.to_owned();
        for (there, here) in instead {
            assert!(commands.contains(there), "{there:?} is not in {commands}");
            commands = commands.replace(there, here);
        }
        let mut shell = cluster.shell();
        let path = shell.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value?)).unwrap();
        let path = format!("{}:{}", self.0.path().display(), Path::new(path).display());
        let output = shell
            .env("PATH", path)
            .args(["-euo", "pipefail", "-c", &commands])
            .current_dir(self.0.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{commands}{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

/// How a store comes to need its copy.
enum Loss {
    /// The server is gone, and there is a new one.
    Server,
    /// The tables are there, and are not believed any more.
    Trust,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_comes_back_on_a_new_server() {
    comes_back(Loss::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_comes_back_in_place_of_what_is_there() {
    comes_back(Loss::Trust).await;
}

async fn comes_back(loss: Loss) {
    let (page, desk, provider) = (Page::read(), Desk::new(), Provider::start().await);
    let Some(mut cluster) = Cluster::alone() else { return };
    let inbox = Inbox::start(Place::at(cluster.named("inbox")).with_tables()).await;
    let known = Delivery::failed(1);
    let done = inbox.stored(&known).await;
    inbox.wait_for(done, "delivered").await;
    // One that is expected; one that is tried again until the service takes it; and one that waits for a person.
    let late = provider.generated("completed").await;
    inbox.expects(&late).await;
    inbox.service.answer(500);
    let retried = Delivery::completed(2);
    let retried_id = inbox.stored(&retried).await;
    inbox.service.wait_for(2).await;
    inbox.lines(&["pause", "--event", "failed"]);
    inbox.wait_for_pause("veo3/failed", true).await;
    let waits = Delivery::failed(3);
    inbox.store(&waits).await;
    desk.run(&cluster, page.dump, &[("$(date +%F)", "2026-01-31")]);

    // Later that day: two are delivered, and one of them is not in the copy.
    inbox.service.answer(200);
    inbox.wait_for(retried_id, "delivered").await;
    let webhook = webhook(&late, &provider.status(&late).await);
    let came = inbox.stored(&webhook).await;
    inbox.wait_for(came, "delivered").await;
    assert_eq!(inbox.entries("state=waiting").await.len(), 1);
    assert!(inbox._running.end_by("TERM").0.success());

    let mut restore = page.restore.to_owned();
    let url = match loss {
        Loss::Server => {
            drop(cluster);
            cluster = Cluster::alone().unwrap();
            let (rename, rest) = restore.split_once('\n').unwrap();
            assert!(rename.contains(" RENAME TO ") && rename.contains(" # where there is one"), "{rename}");
            restore = rest.to_owned();
            cluster.named("inbox")
        }
        Loss::Trust => inbox._place.url,
    };
    desk.ask_nobody();
    desk.run(&cluster, &restore, &[("postgres://USER@HOST/inbox", &format!("'{url}'"))]);
    desk.run(&cluster, page.pause, &[]);

    // With a service that has nothing yet: what comes, comes after the restore.
    let inbox = Inbox::sweeping(Place::at(url), &provider).await;
    desk.ask(&inbox);
    inbox.store(&known).await;
    let ids = format!("{retried_id} --yes");
    match loss {
        Loss::Server => {
            let said = desk.run(&cluster, page.drop, &[("17 18", &ids)]);
            assert_eq!(said.lines().count(), 4, "a head, two that wait, and what was dropped: {said}");
            assert!(said.ends_with("1 entry dropped\n"), "{said}");
        }
        Loss::Trust => {
            assert_eq!(desk.run(&cluster, page.drop_delivered, &[]), "1 entry dropped\n");
        }
    }
    assert!(inbox.service.came().is_empty(), "nothing is delivered by itself");
    let said = desk.run(&cluster, page.go_on, &[]);
    assert!(said.contains(&late), "{said}");
    let swept = inbox.service.wait_for(1).await.remove(0);
    assert_eq!(
        (swept.header("blobgate-source"), swept.header("blobgate-generation-id")),
        (Some("sweep"), Some(late.as_str()))
    );
    inbox.lines(&["resume", "--event", "failed"]);
    inbox.service.wait_for(2).await;

    // Repeats of all that there is, and then what is new: behind it nothing else is on its way.
    for repeat in [&known, &retried, &waits, &webhook] {
        inbox.store(repeat).await;
    }
    let new = inbox.stored(&Delivery::completed(4)).await;
    inbox.wait_for(new, "delivered").await;
    let came = inbox.service.wait_for(3).await;
    let keys: Vec<_> = came.iter().map(|came| came.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys, [webhook.key(), waits.key(), Delivery::completed(4).key()]);
    assert_eq!(inbox.get(&format!("/entries/{done}")).await["seen"], 3);
    assert!(inbox.entries("state=waiting").await.is_empty());
}
