//! Runs the commands of the page on backups, in their order.

mod postgres;
mod sqlite;

use super::reconciling::{ProviderStandIn, webhook};
use super::{ForwardedDelivery, RunningInbox, TestStore, until};
use crate::running::text;
use blobgate::contract::header;
use blobgate_testkit::book::block;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The commands for both stores, after those of one.
const BLOCKS: [&str; 2] = ["backup-8", "backup-9"];

/// A folder with a `blobgate` for the page's commands.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes `blobgate` call this inbox.
    fn use_inbox(&self, inbox: &RunningInbox) {
        self.install(&format!("--admin {}", inbox.admin));
    }

    /// Makes `blobgate` the plain program.
    fn use_program(&self) {
        self.install("");
    }

    fn install(&self, more: &str) {
        let path = self.path().join("blobgate");
        let program = env!("CARGO_BIN_EXE_blobgate");
        std::fs::write(&path, format!("#!/bin/sh\nexec {program} \"$@\" {more}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs commands of the page, with replaced texts. Returns their output.
    #[track_caller]
    fn run(&self, mut shell: Command, commands: &str, instead: &[(&str, &str)]) -> String {
        let mut commands = commands.to_owned();
        for (there, here) in instead {
            assert!(commands.contains(there), "{there:?} is not in {commands}");
            commands = commands.replace(there, here);
        }
        let found = format!("PATH='{}':$PATH\n{commands}", self.path().display());
        let output = shell.args(["-euo", "pipefail", "-c", &found]).current_dir(self.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{commands}{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

/// The reason of a restore.
#[derive(Clone, Copy)]
enum Loss {
    /// A new machine without the store.
    Machine,
    /// The store exists, and is not trusted any more.
    Trust,
}

/// A day with a copy in its middle.
struct Day {
    /// Delivered before the copy.
    known: ForwardedDelivery,
    known_id: i64,
    /// Delivered and purged before the copy.
    purged: ForwardedDelivery,
    /// Expected, without a webhook so far.
    late: String,
    /// Retried until the service accepts it.
    retried: ForwardedDelivery,
    retried_id: i64,
    /// Paused.
    waits: ForwardedDelivery,
}

/// A delivery after the copy.
struct LostDelivery {
    webhook: ForwardedDelivery,
    id: i64,
}

impl Day {
    async fn until_the_copy(inbox: &RunningInbox, provider: &ProviderStandIn) -> Self {
        let known = ForwardedDelivery::failed(1);
        let known_id = inbox.stored(&known).await;
        inbox.wait_for(known_id, "delivered").await;
        let purged = ForwardedDelivery { job: Some("order-7"), ..ForwardedDelivery::completed(2) };
        let purged_id = inbox.stored(&purged).await;
        inbox.wait_for(purged_id, "delivered").await;
        assert_eq!(inbox.lines(&["purge", "--job", "order-7", "--yes"]), ["1 entry purged"]);
        let late = provider.generated("completed").await;
        inbox.expects(&late).await;
        inbox.service.answer(500);
        let retried = ForwardedDelivery::completed(3);
        let retried_id = inbox.stored(&retried).await;
        // The number of attempts varies.
        until("attempts have failed", async || inbox.service.deliveries().len() > 2).await;
        inbox.lines(&["pause", "--event", "failed"]);
        inbox.wait_for_pause("veo3/failed", true).await;
        let waits = ForwardedDelivery::failed(4);
        inbox.store(&waits).await;
        Self { known, known_id, purged, late, retried, retried_id, waits }
    }

    /// The inbox delivers two entries, of which one is not in the copy, and ends.
    async fn after_the_copy(
        &self,
        inbox: RunningInbox,
        provider: &ProviderStandIn,
    ) -> (LostDelivery, TestStore) {
        inbox.service.answer(200);
        inbox.wait_for(self.retried_id, "delivered").await;
        let webhook = webhook(&self.late, &provider.status(&self.late).await);
        let id = inbox.stored(&webhook).await;
        inbox.wait_for(id, "delivered").await;
        assert_eq!(inbox.entries("state=waiting").await.len(), 1);
        let RunningInbox { _running, _place: place, .. } = inbox;
        assert!(_running.end_by("TERM").0.success());
        (LostDelivery { webhook, id }, place)
    }

    /// Takes a new service, which gets deliveries from after the restore only. `drop_delivered` has the commands that compare
    /// with the replaced store.
    async fn after_the_restore(
        &self,
        lost: &LostDelivery,
        (inbox, desk): (&RunningInbox, &Desk),
        shell: impl Fn() -> Command,
        drop_delivered: Option<(&str, &[(&str, &str)])>,
    ) {
        let [drop, go_on] = BLOCKS.map(block);
        desk.use_inbox(inbox);
        // It gets the id of the lost entry.
        let new = ForwardedDelivery::completed(5);
        assert_eq!(inbox.stored(&new).await, lost.id);
        inbox.store(&self.known).await;
        inbox.wait_for(self.retried_id, "waiting").await;
        if let Some((commands, instead)) = drop_delivered {
            assert_eq!(desk.run(shell(), commands, instead), "1 entry dropped\n");
        } else {
            let ids = format!("{} --yes", self.retried_id);
            let message = desk.run(shell(), &drop, &[("17 18", &ids)]);
            assert_eq!(
                message.lines().count(),
                5,
                "a head, three that wait, and what was dropped: {message}"
            );
            assert!(message.ends_with("1 entry dropped\n"), "{message}");
        }
        assert!(inbox.service.deliveries().is_empty(), "the restored inbox delivers nothing");
        let message = desk.run(shell(), &go_on, &[]);
        assert!(message.contains(&self.late), "{message}");
        let requests = inbox.service.wait_for(2).await;
        let mut requests: Vec<_> = requests
            .iter()
            .map(|it| (it.header(header::SOURCE), it.header(header::IDEMPOTENCY_KEY)))
            .collect();
        requests.sort();
        let (reconciled, new_key) = (lost.webhook.key(), new.key());
        assert_eq!(
            requests,
            [(None, Some(new_key.as_str())), (Some("reconcile"), Some(reconciled.as_str()))]
        );
        inbox.lines(&["resume", "--event", "failed"]);
        inbox.service.wait_for(3).await;

        // Repeats of all events, then a new one. Its delivery shows that no repeat is delivered.
        for repeat in [&self.known, &self.purged, &self.retried, &self.waits, &lost.webhook, &new] {
            inbox.store(repeat).await;
        }
        let newer = ForwardedDelivery::completed(6);
        let id = inbox.stored(&newer).await;
        inbox.wait_for(id, "delivered").await;
        let requests = inbox.service.wait_for(4).await;
        let keys: Vec<_> =
            requests[2..].iter().map(|request| request.header(header::IDEMPOTENCY_KEY).unwrap()).collect();
        assert_eq!(keys, [self.waits.key(), newer.key()]);
        assert_eq!(inbox.get(&format!("/entries/{}", self.known_id)).await["seen"], 3);
        assert!(inbox.entries("state=waiting").await.is_empty());
    }
}
