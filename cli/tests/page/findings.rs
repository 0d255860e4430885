//! What is wrong with what a browser shows or does.

use crate::browser::Browser;
use crate::look::Scripts;
use blobgate_testkit::repository;
use serde_json::Value;
use std::fs;
use std::sync::LazyLock;

/// axe-core, which checks the rules of WCAG. `make test-page` fetches it.
static AXE: LazyLock<String> = LazyLock::new(|| {
    let path = repository(".tools/axe/axe.min.js");
    fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}. Run `make .tools/axe/axe.min.js`.", path.display())
    })
});

/// Elements that are wider than the screen, outside a box that scrolls by itself.
const TOO_WIDE: &str = r#"
const width = document.documentElement.clientWidth;
const root = document.scrollingElement;
if (root.scrollWidth <= width) return [];
const scrolls = element => { for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return true; return false; };
const wide = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e));
return ["the page is " + root.scrollWidth + " wide on a screen of " + width]
    .concat(wide.slice(0, 5).map(e => e.outerHTML.slice(0, 160)));
"#;

/// Each broken rule with the elements that break it.
const BROKEN_RULES: &str = r#"
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
    found => done(found.violations.map(rule => rule.id + ": " + rule.help + ": " + rule.nodes.slice(0, 4)
        .map(node => node.target.join(" ") + " (" + node.any.concat(node.all, node.none).map(c => c.message).join("; ") + ")")
        .join(" | "))),
    failed => done(["axe-core fails: " + failed]));
"#;

impl Browser {
    /// What axe-core finds on the page, and what makes it scroll sideways.
    #[track_caller]
    pub(crate) fn check_layout(&self) -> Vec<String> {
        let mut found = texts(&self.run(TOO_WIDE, &[]));
        // Without scripts, axe-core's own timers stop. The page's scripts have not run, and stay so.
        let is_off = self.look().scripts == Scripts::Off;
        if is_off {
            self.set_scripts(Scripts::On);
        }
        self.run(&format!("{};window.axe = axe;", *AXE), &[]);
        found.extend(texts(&self.run_async(BROKEN_RULES)));
        if is_off {
            self.set_scripts(Scripts::Off);
        }
        found
    }

    /// What the browser has reported since the last call: errors on its console, violations of the policy, and requests to
    /// another origin than that of the pages opened.
    #[track_caller]
    pub(crate) fn check_traffic(&self) -> Vec<String> {
        let lines = self.driver.log("browser");
        let is_bad = |line: &&Value| {
            line["level"] == "SEVERE" || line["level"] == "WARNING" || line["source"] == "security"
        };
        let mut found: Vec<String> =
            lines.iter().filter(is_bad).map(|line| line["message"].as_str().unwrap().to_owned()).collect();
        for line in self.driver.log("performance") {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            if message["message"]["method"] != "Network.requestWillBeSent" {
                continue;
            }
            let url = message["message"]["params"]["request"]["url"].as_str().unwrap();
            let is_own = self.origins().iter().any(|origin| url.starts_with(&format!("{origin}/")));
            if !is_own && !url.starts_with("data:") {
                found.push(format!("a request to another origin: {url}"));
            }
        }
        let expected = self.expected.borrow();
        found.retain(|message| !expected.iter().any(|part| message.contains(part)));
        found
    }

    /// Panics with everything that [`Self::check_layout`] and [`Self::check_traffic`] find.
    #[track_caller]
    pub(crate) fn is_sound(&self, view: &str) {
        let found = [self.check_layout(), self.check_traffic()].concat();
        assert_eq!(found, Vec::<String>::new(), "{view}, {:?}", self.look());
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap_or_else(|| panic!("no list: {value}"));
    list.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}
