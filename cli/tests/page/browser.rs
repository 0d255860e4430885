//! A visitor's browser.

use crate::driver::Driver;
use crate::look::{Look, Scheme, Screen, Scripts};
use blobgate_testkit::{eventually, within};
use fantoccini::Locator;
use fantoccini::elements::Element;
use fantoccini::key::Key;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

/// The name of the session's cookie without TLS.
const SESSION: &str = "blobgate";

/// A Chromium with one tab. Every call waits for what it needs. On drop it panics with everything that it has reported.
pub(crate) struct Browser {
    pub(crate) driver: Driver,
    /// Parts of reports that the test wants.
    pub(crate) expected: RefCell<Vec<String>>,
    look: Cell<Look>,
    origins: RefCell<Vec<String>>,
}

impl Browser {
    pub(crate) fn open(look: Look) -> Self {
        let browser = Self {
            driver: Driver::start(),
            expected: RefCell::default(),
            look: Cell::new(look),
            origins: RefCell::default(),
        };
        browser.set_look(look);
        browser
    }

    pub(crate) fn look(&self) -> Look {
        self.look.get()
    }

    pub(crate) fn origins(&self) -> Vec<String> {
        self.origins.borrow().clone()
    }

    /// Changes the screen, the scheme, and whether scripts run, for the pages opened from now on.
    #[track_caller]
    pub(crate) fn set_look(&self, look: Look) {
        let (width, height) = look.screen.size();
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": look.screen == Screen::Phone,
        });
        self.driver.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = match look.scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.driver.devtools("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.set_scripts(look.scripts);
        self.look.set(look);
    }

    #[track_caller]
    pub(crate) fn set_scripts(&self, scripts: Scripts) {
        let parameters = json!({"value": scripts == Scripts::Off});
        self.driver.devtools("Emulation.setScriptExecutionDisabled", parameters);
    }

    /// A report with this text is no fault of the page.
    pub(crate) fn expect(&self, part: &str) {
        self.expected.borrow_mut().push(part.to_owned());
    }

    #[track_caller]
    pub(crate) fn open_page(&self, url: &str) {
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let mut origins = self.origins.borrow_mut();
        if !origins.contains(&origin) {
            origins.push(origin);
        }
        within("page", self.driver.client().goto(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    pub(crate) fn url(&self) -> String {
        within("address", self.driver.client().current_url()).unwrap().to_string()
    }

    /// The address from its path on.
    pub(crate) fn path(&self) -> String {
        let url = self.url();
        url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default()
    }

    /// Runs a function's body in the page.
    #[track_caller]
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let done = within("script", self.driver.client().execute(script, arguments.to_vec()));
        done.unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub(crate) fn run_async(&self, script: &str) -> Value {
        let done = within("script", self.driver.client().execute_async(script, Vec::new()));
        done.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The text that a visitor sees in the first element of a selector.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = "const e = document.querySelector(arguments[0]); return e && e.innerText;";
        let text = eventually(selector, || {
            let found = within("script", self.driver.client().execute(script, vec![json!(selector)]));
            found.ok().and_then(|text| text.as_str().map(str::to_owned))
        });
        text.trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn count(&self, selector: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length;";
        self.run(script, &[json!(selector)]).as_u64().unwrap()
    }

    /// Waits until the page's content has this text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        let mut last = String::new();
        let end = std::time::Instant::now() + blobgate_testkit::MAX_WAIT;
        while std::time::Instant::now() < end {
            last = self.text("body");
            if last.contains(text) {
                return;
            }
            blobgate_testkit::pause(std::time::Duration::from_millis(50));
        }
        panic!("{} does not show {text:?}:\n{last}", self.url());
    }

    /// Clicks the first element of a selector, and waits for the page that follows.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.click_at(Locator::Css(selector));
    }

    /// Clicks the link or button with this text or label.
    #[track_caller]
    pub(crate) fn press(&self, text: &str) {
        self.click_at(Locator::XPath(&format!(
            "//*[self::a or self::button or self::summary][normalize-space()={text:?} or @aria-label={text:?}]"
        )));
    }

    #[track_caller]
    fn click_at(&self, locator: Locator<'_>) {
        eventually(&format!("{locator:?}"), || {
            let clicked = within("click", self.find(locator).click());
            match clicked {
                Ok(()) => Some(()),
                // The live part has just replaced it.
                Err(error) if error.is_stale_element_reference() => None,
                Err(error) => panic!("{locator:?}: {error}"),
            }
        });
    }

    /// Whether a link or button starts with this text.
    #[track_caller]
    pub(crate) fn has_button(&self, text: &str) -> bool {
        let script = "return [...document.querySelectorAll('a, button')].some(e => e.innerText.trim().startsWith(arguments[0]));";
        self.run(script, &[json!(text)]).as_bool().unwrap()
    }

    /// Fills the field of a label or a name.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, value: &str) {
        let element = self.find(Locator::Css(selector));
        within("field", element.clear()).unwrap_or_else(|error| panic!("{selector}: {error}"));
        within("field", element.send_keys(value)).unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Fills a field at once, as a paste does.
    #[track_caller]
    pub(crate) fn paste(&self, selector: &str, value: &str) {
        let script = "document.querySelector(arguments[0]).value = arguments[1];";
        self.run(script, &[json!(selector), json!(value)]);
    }

    #[track_caller]
    pub(crate) fn choose(&self, selector: &str, option: &str) {
        let element = self.find(Locator::Css(selector));
        within("choice", element.select_by_label(option)).unwrap_or_else(|error| panic!("{option}: {error}"));
    }

    #[track_caller]
    pub(crate) fn choose_file(&self, selector: &str, file: &Path) {
        let element = self.find(Locator::Css(selector));
        within("file", element.send_keys(file.to_str().unwrap())).unwrap();
    }

    /// Waits until an element of a selector is there.
    #[track_caller]
    pub(crate) fn waits_for(&self, selector: &str) {
        eventually(selector, || {
            let script = "return Boolean(document.querySelector(arguments[0]));";
            let found = within("script", self.driver.client().execute(script, vec![json!(selector)]));
            (found.ok() == Some(json!(true))).then_some(())
        });
    }

    /// Waits until an expression has a value.
    #[track_caller]
    pub(crate) fn wait_for_value(&self, expression: &str) -> Value {
        eventually(expression, || {
            let value = self.run(&format!("return {expression};"), &[]);
            (!value.is_null()).then_some(value)
        })
    }

    /// Waits until the address starts with this text, and the page is there.
    #[track_caller]
    pub(crate) fn arrives_at(&self, start: &str) {
        eventually(start, || {
            let is_there = self.url().starts_with(start);
            (is_there && self.run("return document.readyState;", &[]) == "complete").then_some(())
        });
        // A form leads to another origin.
        let origin = start.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        self.origins.borrow_mut().push(origin);
    }

    /// The value of the session's cookie.
    pub(crate) fn cookie(&self) -> Option<String> {
        let all = within("cookies", self.driver.client().get_all_cookies()).unwrap();
        all.into_iter().find(|cookie| cookie.name() == SESSION).map(|cookie| cookie.value().to_owned())
    }

    pub(crate) fn delete_cookies(&self) {
        within("cookies", self.driver.client().delete_all_cookies()).unwrap();
    }

    /// Sets the session's cookie.
    pub(crate) fn set_cookie(&self, value: &str) {
        let url = self.url();
        let cookie = json!({"name": SESSION, "value": value, "url": url, "path": "/page/", "httpOnly": true});
        self.driver.devtools("Network.setCookie", cookie);
    }

    pub(crate) fn enter_frame(&self) {
        within("frame", self.driver.client().enter_frame(0)).unwrap();
    }

    pub(crate) fn leave_frame(&self) {
        within("page", self.driver.client().enter_parent_frame()).unwrap();
    }

    #[track_caller]
    pub(crate) fn back(&self) {
        within("page before", self.driver.client().back()).unwrap();
    }

    /// Types Tab until an element with this text has the focus.
    #[track_caller]
    pub(crate) fn tab_to(&self, text: &str) {
        let mut stops = Vec::new();
        for _ in 0..80 {
            let stop = self.focused();
            if stop == text {
                return;
            }
            stops.push(stop);
            self.keys(&[Key::Tab]);
        }
        panic!("Tab does not reach {text:?}: {stops:?}");
    }

    /// Whether the element with the focus is on the screen, and looks other than without the focus.
    #[track_caller]
    pub(crate) fn is_focus_visible(&self) -> bool {
        let script = "const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
            const drawn = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
            return drawn && box.width > 1 && box.height > 1 && box.bottom > 0 && box.right > 0
                && box.top < innerHeight && box.left < innerWidth;";
        self.run(script, &[]).as_bool().unwrap()
    }

    /// Types keys at the focus.
    #[track_caller]
    pub(crate) fn keys(&self, keys: &[Key]) {
        let text: String = keys.iter().map(|key| char::from(*key)).collect();
        let active = within("focus", self.driver.client().active_element()).unwrap();
        within("keys", active.send_keys(&text)).unwrap();
    }

    /// The text, label or name of the element with the focus.
    #[track_caller]
    pub(crate) fn focused(&self) -> String {
        let script = "const e = document.activeElement; return e === document.body ? '' : \
                      (e.getAttribute('aria-label') || e.innerText || e.name || e.id || e.tagName).trim();";
        self.run(script, &[]).as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn find(&self, locator: Locator<'_>) -> Element {
        let found = within("element", async {
            self.driver.client().wait().at_most(Duration::from_secs(15)).for_element(locator).await
        });
        found.unwrap_or_else(|error| panic!("{locator:?} on {}: {error}\n{}", self.url(), self.text("body")))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let found = self.check_traffic();
        assert_eq!(found, Vec::<String>::new(), "what the browser reported");
    }
}
