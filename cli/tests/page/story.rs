//! Two stories of a person who comes once a month: an event that went wrong is found, understood and corrected, by clicks alone.
//! `make screenshots` writes what the person sees into docs/images.

use crate::PROGRAM;
use crate::browser::Browser;
use crate::look::Look;
use crate::page_inbox::PageInbox;
use crate::screenshot::Album;
use blobgate_testkit::clone::ADMIN;
use blobgate_testkit::inbox::fresh_generation;
use blobgate_testkit::{CloneFolder, eventually, needs, versions};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

/// `blobgate up --dev` in a clone, as `make run` starts it. Ends when dropped.
struct Run {
    clone: CloneFolder,
    child: Child,
}

impl Run {
    #[track_caller]
    fn start() -> Self {
        let clone = CloneFolder::new();
        let envoy = fs::canonicalize(versions().pop().unwrap().binary).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["up", "--dev", "--envoy"]).arg(envoy);
        command.args(["--admin", &format!("127.0.0.1:{}", clone.port(ADMIN))]).current_dir(clone.path());
        let output = File::create(clone.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        let child = command.spawn().unwrap();
        let run = Self { clone, child };
        eventually("make run", || run.output().contains("Ctrl-C ends everything").then_some(()));
        run
    }

    fn output(&self) -> String {
        fs::read_to_string(self.clone.path().join("output")).unwrap()
    }

    /// The address of the page, as the person reads it.
    #[track_caller]
    fn page(&self) -> String {
        let output = self.output();
        let line =
            output.lines().find(|line| line.contains("/page/ ")).expect("a line with the page's address");
        line.split_whitespace().next().unwrap().to_owned()
    }

    /// Sends an event without a token, which the status API does not confirm.
    #[track_caller]
    fn forge(&self) {
        let generation = fresh_generation();
        let url = self.clone.with_ports("https://127.0.0.1:8443/hooks/veo3");
        let script = format!(
            r#"curl --silent --show-error --output /dev/null --write-out '%{{http_code}}' --cacert certs/edge.pem {url} -H 'content-type: application/json' \
            -d '{{"generation_id": "{generation}", "status": "completed", "prompt": "A cat", "video_url": "https://cdn.runblob.io/1.mp4"}}'"#
        );
        let sent =
            Command::new("bash").args(["-c", &script]).current_dir(self.clone.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&sent.stdout), "403");
    }

    /// Sends an event with a valid token of a job. Its result is at this host.
    #[track_caller]
    fn send(&self, job: &str, host: &str) -> String {
        let generation = fresh_generation();
        let url = self.clone.with_ports("https://127.0.0.1:8443/hooks/veo3");
        let script = format!(
            r#"url=$(set -a; . secrets/env; "{PROGRAM}" mint --key-env BLOBGATE_TOKEN_KEY --kid dev --aud development/veo3-token --url {url} --job {job})
            curl --silent --show-error --fail --cacert certs/edge.pem "$url" -H 'content-type: application/json' -d '{{
              "generation_id": "{generation}", "status": "completed", "prompt": "A cat playing with a ball in a sunny room",
              "video_url": "https://{host}/videos/{generation}.mp4", "created_at": "2025-12-06T21:43:03.374000",
              "completed_at": "2025-12-06T21:44:06.143000", "seed": 319790131, "error": null}}'"#
        );
        let sent =
            Command::new("bash").args(["-c", &script]).current_dir(self.clone.path()).output().unwrap();
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        generation
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _sent = Command::new("kill").arg(self.child.id().to_string()).status();
        let _status = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.clone.logs());
        }
    }
}

#[needs(Chromium, Sqlite3)]
#[test]
fn an_event_from_a_new_host_is_found_and_released() {
    let run = Run::start();
    for job in ["order-15", "order-16"] {
        run.send(job, "cdn.runblob.io");
    }
    run.forge();
    // RunBlob moves its results to a host that the configuration does not list.
    let moved: Vec<String> =
        ["order-17", "order-18"].map(|job| run.send(job, "runblob-media.example")).into();
    for (look, generation) in [Look::DESK, Look::PHONE].into_iter().zip(&moved) {
        let album = Album::of(look);
        let browser = Browser::open(look);
        browser.open_page(&run.page());
        // Found: the overview says what is wrong, and leads to it.
        browser.shows("result-url-denied");
        album.takes(&browser, "overview");
        browser.click(".status a, main a[href*='quarantined']");
        album.takes(&browser, "entries");
        browser.click(&format!("tr:has(a[href*='{generation}']) a[href^='/page/entries/']"));
        // Understood: the rule, what it found, and what to do.
        browser.shows("Why it is in quarantine");
        browser.shows("result-url-denied");
        browser.shows("runblob-media.example");
        album.takes(&browser, "entry");
        // Released.
        let id = browser.path().rsplit('/').next().unwrap().to_owned();
        browser.press("Release");
        album.takes(&browser, "release");
        browser.press(&format!("Release entry {id}"));
        browser.shows("1 entry released");
        browser.is_sound("the outcome");
        let arrived = format!("video    completed  {generation}");
        eventually("the released event at its service", || run.output().contains(&arrived).then_some(()));
        browser.press("Audit");
        browser.shows("release");
        album.takes(&browser, "audit");
        browser.press("Refusals");
        browser.shows("not-confirmed");
        album.takes(&browser, "refusals");
        browser.press("Overview");
        browser.is_sound("the overview after the story");
    }
}

#[needs(Chromium, Sqlite3)]
#[test]
fn a_dead_event_is_found_and_replayed() {
    for look in [Look::DESK, Look::PHONE.without_scripts()] {
        let page = PageInbox::start();
        let id = page.dead();
        let browser = Browser::open(look);
        browser.open_page(&page.at("/page/"));
        browser.shows("dead");
        browser.click("main a[href*='state=dead']");
        browser.click(&format!("tr[data-id='{id}'] a[href='/page/entries/{id}']"));
        // The attempts with their answers say why.
        browser.shows("Attempts");
        browser.shows("500");
        // The service has its repair.
        page.service.reply_by(|_| None);
        browser.press("Replay");
        browser.press(&format!("Replay entry {id}"));
        browser.shows("1 entry replayed");
        page.wait_for(id, "delivered");
        browser.open_page(&page.at("/page/entries?state=dead"));
        assert_eq!(browser.count("table.entries tbody tr"), 0);
    }
}
