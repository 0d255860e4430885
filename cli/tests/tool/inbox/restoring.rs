//! The page on backups: its own commands, in its order, as they stand there.

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

/// The commands for either store, after those of its own.
const BLOCKS: [&str; 2] = ["backup-8", "backup-9"];

/// Where an operator sits. Gone when dropped.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Has `blobgate` ask this inbox.
    fn ask(&self, inbox: &RunningInbox) {
        self.install(&format!("--admin {}", inbox.admin));
    }

    /// Has `blobgate` be itself.
    fn ask_nobody(&self) {
        self.install("");
    }

    fn install(&self, more: &str) {
        let path = self.path().join("blobgate");
        let program = env!("CARGO_BIN_EXE_blobgate");
        std::fs::write(&path, format!("#!/bin/sh\nexec {program} \"$@\" {more}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs commands of the page, with what stands for something replaced by that. Returns what they say.
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

/// How a store comes to need its copy.
#[derive(Clone, Copy)]
enum Loss {
    /// The machine is gone, and there is a new one.
    Machine,
    /// What is there is not believed any more.
    Trust,
}

/// A day of which a copy is made in the middle.
struct Day {
    /// Delivered before the copy was made.
    known: ForwardedDelivery,
    known_id: i64,
    /// The same, and of that only what a repeat is known by is left.
    purged: ForwardedDelivery,
    /// Expected, and its webhook does not come.
    late: String,
    /// Tried again and again until the service takes it.
    retried: ForwardedDelivery,
    retried_id: i64,
    /// Waits for a person.
    waits: ForwardedDelivery,
}

/// What came after the copy was made.
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
        // How often by the time that somebody looks is no matter.
        until("it was tried", async || inbox.service.came().len() > 2).await;
        inbox.lines(&["pause", "--event", "failed"]);
        inbox.wait_for_pause("veo3/failed", true).await;
        let waits = ForwardedDelivery::failed(4);
        inbox.store(&waits).await;
        Self { known, known_id, purged, late, retried, retried_id, waits }
    }

    /// Two are delivered, and one of them is not in the copy. Ends the inbox.
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

    /// With a service that has nothing yet, so that what it gets, it gets after the restore. `drop_delivered` are the commands
    /// for what was there before, where that can be read.
    async fn after_the_restore(
        &self,
        lost: &LostDelivery,
        (inbox, desk): (&RunningInbox, &Desk),
        shell: impl Fn() -> Command,
        drop_delivered: Option<(&str, &[(&str, &str)])>,
    ) {
        let [drop, go_on] = BLOCKS.map(block);
        desk.ask(inbox);
        // It has the id of one that was delivered before.
        let new = ForwardedDelivery::completed(5);
        assert_eq!(inbox.stored(&new).await, lost.id);
        inbox.store(&self.known).await;
        inbox.wait_for(self.retried_id, "waiting").await;
        if let Some((commands, instead)) = drop_delivered {
            assert_eq!(desk.run(shell(), commands, instead), "1 entry dropped\n");
        } else {
            let ids = format!("{} --yes", self.retried_id);
            let said = desk.run(shell(), &drop, &[("17 18", &ids)]);
            assert_eq!(said.lines().count(), 5, "a head, three that wait, and what was dropped: {said}");
            assert!(said.ends_with("1 entry dropped\n"), "{said}");
        }
        assert!(inbox.service.came().is_empty(), "nothing is delivered by itself");
        let said = desk.run(shell(), &go_on, &[]);
        assert!(said.contains(&self.late), "{said}");
        let came = inbox.service.wait_for(2).await;
        let mut came: Vec<_> =
            came.iter().map(|it| (it.header(header::SOURCE), it.header(header::IDEMPOTENCY_KEY))).collect();
        came.sort();
        let (reconciled, new_key) = (lost.webhook.key(), new.key());
        assert_eq!(came, [(None, Some(new_key.as_str())), (Some("reconcile"), Some(reconciled.as_str()))]);
        inbox.lines(&["resume", "--event", "failed"]);
        inbox.service.wait_for(3).await;

        // Repeats of all that there is, and then what is new: behind it nothing else is on its way.
        for repeat in [&self.known, &self.purged, &self.retried, &self.waits, &lost.webhook, &new] {
            inbox.store(repeat).await;
        }
        let newer = ForwardedDelivery::completed(6);
        let id = inbox.stored(&newer).await;
        inbox.wait_for(id, "delivered").await;
        let came = inbox.service.wait_for(4).await;
        let keys: Vec<_> =
            came[2..].iter().map(|came| came.header(header::IDEMPOTENCY_KEY).unwrap()).collect();
        assert_eq!(keys, [self.waits.key(), newer.key()]);
        assert_eq!(inbox.get(&format!("/entries/{}", self.known_id)).await["seen"], 3);
        assert!(inbox.entries("state=waiting").await.is_empty());
    }
}
