//! On SQLite, with copies of its file.

use super::{Day, Desk, Loss};
use crate::inbox::reconciling::ProviderStandIn;
use crate::inbox::{RunningInbox, TestStore};
use blobgate_testkit::book::block;
use blobgate_testkit::needs;
use std::fs;
use std::process::Command;

const BLOCKS: [&str; 3] = ["backup-1", "backup-2", "backup-3"];

#[tokio::test(flavor = "multi_thread")]
async fn restores_a_copy_on_a_new_machine() {
    restores(Loss::Machine).await;
}

#[needs(Sqlite3)]
#[tokio::test(flavor = "multi_thread")]
async fn restores_a_copy_over_a_store() {
    restores(Loss::Trust).await;
}

async fn restores(loss: Loss) {
    const STORE: &str = "/var/lib/blobgate/inbox.db";
    let [backup, restore, drop_delivered] = BLOCKS.map(block);
    let (desk, provider) = (Desk::new(), ProviderStandIn::start().await);
    let shell = || Command::new("bash");
    let store = desk.path().join("inbox.db");
    let store = store.to_str().unwrap();
    let url = format!("sqlite:{store}");
    let (away, here) = ("/backup/", format!("{}/", desk.path().display()));
    desk.use_program();
    let inbox = RunningInbox::start(TestStore::at(url.clone()).with_tables()).await;
    let day = Day::until_the_copy(&inbox, &provider).await;
    desk.run(shell(), &backup, &[(STORE, store), (away, &here), ("$(date +%F)", "2026-01-31")]);
    let (lost, _) = day.after_the_copy(inbox, &provider).await;

    // --yes replaces the question, and the test starts the inbox.
    let mut instead = vec![(STORE, store), (away, &here)];
    match loss {
        Loss::Machine => fs::remove_file(store).unwrap(),
        Loss::Trust => instead.push(("inbox restore ", "inbox restore --yes ")),
    }
    let (commands, serve) = restore.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(serve, format!("blobgate inbox serve --store sqlite:{STORE} ..."));
    let message = desk.run(shell(), commands, &instead);
    assert!(message.contains("\nhook veo3 is paused, "), "{message}");

    let inbox = RunningInbox::reconciling(TestStore::at(url), &provider).await;
    let aside = message.lines().find_map(|line| line.strip_prefix("the replaced store is now "));
    let before = aside.map(|path| path.rsplit_once('/').unwrap().1);
    let instead = before.map(|before| [("inbox.db.before-restore-TIME", before)]);
    let drop_delivered = match loss {
        Loss::Machine => None,
        Loss::Trust => Some((&*drop_delivered, &instead.as_ref().unwrap()[..])),
    };
    day.after_the_restore(&lost, (&inbox, &desk), shell, drop_delivered).await;
}
