//! On PostgreSQL, with its own tools.

use super::{Day, Desk, Loss};
use crate::inbox::reconciling::ProviderStandIn;
use crate::inbox::{RunningInbox, TestStore};
use blobgate_testkit::book::block;
use blobgate_testkit::{Cluster, needs};

const BLOCKS: [&str; 4] = ["backup-4", "backup-5", "backup-6", "backup-7"];

#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn restores_a_dump_on_a_new_server() {
    restores(Loss::Machine).await;
}

#[needs(Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn restores_a_dump_over_a_database() {
    restores(Loss::Trust).await;
}

async fn restores(loss: Loss) {
    let [dump, restore, pause, drop_delivered] = BLOCKS.map(block);
    let (desk, provider) = (Desk::new(), ProviderStandIn::start().await);
    let mut cluster = Cluster::alone();
    let inbox = RunningInbox::start(TestStore::at(cluster.named("inbox")).with_tables()).await;
    let day = Day::until_the_copy(&inbox, &provider).await;
    desk.run(cluster.shell(), &dump, &[("$(date +%F)", "2026-01-31")]);
    let (lost, place) = day.after_the_copy(inbox, &provider).await;

    let mut restore = restore;
    let url = match loss {
        Loss::Machine => {
            drop(cluster);
            cluster = Cluster::alone();
            let (rename, rest) = restore.split_once('\n').unwrap();
            assert!(rename.contains(" RENAME TO ") && rename.contains(" # where there is one"), "{rename}");
            restore = rest.to_owned();
            cluster.named("inbox")
        }
        Loss::Trust => place.url,
    };
    desk.use_program();
    desk.run(cluster.shell(), &restore, &[("postgres://USER@HOST/inbox", &format!("'{url}'"))]);
    desk.run(cluster.shell(), &pause, &[]);

    let inbox = RunningInbox::reconciling(TestStore::at(url), &provider).await;
    let drop_delivered = match loss {
        Loss::Machine => None,
        Loss::Trust => Some((&*drop_delivered, &[][..])),
    };
    day.after_the_restore(&lost, (&inbox, &desk), || cluster.shell(), drop_delivered).await;
}
