//! A configuration in which faulty fields are replaced, so that the loader reaches the next fault.

use blobgate::Config;
use blobgate::settings::{ConfigError, Environment, show_key};
use serde_json::{Map, Value, json};

/// A configuration, and which of its hooks are left.
pub(super) struct Draft {
    value: Value,
    /// The original places of the hooks that are left. Nothing for a hook that stands in for others.
    hooks: Vec<Option<usize>>,
    /// The field that was replaced last.
    last: String,
    made: usize,
}

/// Environment variables that the draft itself names.
pub(super) const STAND_IN: &str = "BLOBGATE_CHECK_STAND_IN";

impl Draft {
    pub(super) fn new(value: Value) -> Self {
        let count = value.get("hooks").and_then(Value::as_array).map_or(0, Vec::len);
        Self { value, hooks: (0..count).map(Some).collect(), last: String::new(), made: 0 }
    }

    pub(super) fn load(&self, env: Environment<'_>) -> Option<ConfigError> {
        Config::load(self.value.to_string().as_bytes(), env).err()
    }

    /// The field with the place that its hook has in the file.
    pub(super) fn original(&self, field: &str) -> String {
        let original = hook_of(field).and_then(|(place, rest)| {
            let place = (*self.hooks.get(place)?)?;
            Some(format!("hooks[{place}]{rest}"))
        });
        original.unwrap_or_else(|| field.to_owned())
    }

    /// Replaces or removes a faulty field. False if nothing is left to replace.
    pub(super) fn replace(&mut self, field: &str, error: &ConfigError) -> bool {
        let is_again = self.last == field;
        field.clone_into(&mut self.last);
        if let Some((place, rest)) = hook_of(field) {
            let rest = rest.strip_prefix('.').unwrap_or_default();
            let (key, item) = match rest.split_once('[') {
                Some((key, item)) => (key, item.strip_suffix(']').and_then(|item| item.parse().ok())),
                None => (rest.split('.').next().unwrap_or_default(), None),
            };
            if is_again || !self.replace_of_hook(place, key, item, error) {
                self.remove_hook(place);
            }
            return true;
        }
        let (section, rest) = field.split_once('.').unwrap_or((field, ""));
        let Value::Object(root) = &mut self.value else { return false };
        match section {
            "version" => drop(root.insert(section.to_owned(), json!(1))),
            "environment" => drop(root.insert(section.to_owned(), json!("check"))),
            "hooks" if !is_again => {
                root.insert(section.to_owned(), json!([]));
                self.hooks.clear();
                self.add_hook();
            }
            "token" => replace_token(root, rest, is_again),
            "confirm" => replace_confirm(root, rest, is_again),
            "sign" => drop(root.insert(section.to_owned(), json!({"env": [format!("{STAND_IN}_SIGN")]}))),
            _ => return remove_key(root, field),
        }
        true
    }

    fn replace_of_hook(&mut self, place: usize, key: &str, item: Option<usize>, error: &ConfigError) -> bool {
        let number = self.made;
        let hook = self.value.pointer_mut(&format!("/hooks/{place}")).and_then(Value::as_object_mut);
        let Some(hook) = hook else { return false };
        if error.fault().starts_with("is not a known key") {
            let field = error.field().unwrap_or_default();
            let rest = hook_of(field).and_then(|(_, rest)| rest.strip_prefix('.')).unwrap_or_default();
            if remove_key(hook, rest) {
                return true;
            }
        }
        self.made = number.saturating_add(1);
        if let Some(item) = item {
            return replace_item(hook, key, item, number);
        }
        let valid = match key {
            "name" => json!(format!("check-{number}")),
            "dialect" => json!("veo3"),
            "source" | "result_url" => json!("any"),
            "quarantine" => json!("none"),
            "mode" | "transport" | "schema" | "answers" | "max_body_bytes" | "max_depth" | "checks" => {
                return hook.remove(key).is_some();
            }
            // Path and trust depend on each other.
            _ => return false,
        };
        hook.insert(key.to_owned(), valid);
        true
    }

    fn remove_hook(&mut self, place: usize) {
        let Some(hooks) = self.value.get_mut("hooks").and_then(Value::as_array_mut) else { return };
        if place < hooks.len() {
            hooks.remove(place);
        }
        if place < self.hooks.len() {
            self.hooks.remove(place);
        }
        if hooks.is_empty() {
            self.add_hook();
        }
    }

    /// Adds a valid hook: a configuration has at least one.
    fn add_hook(&mut self) {
        let number = self.made;
        self.made = number.saturating_add(1);
        let hook = json!({
            "name": format!("check-{number}"), "path": format!("/check-{number}"), "dialect": "veo3", "source": "any",
            "trust": "open", "result_url": "any", "quarantine": "none",
        });
        if let Some(hooks) = self.value.get_mut("hooks").and_then(Value::as_array_mut) {
            hooks.push(hook);
            self.hooks.push(None);
        }
    }
}

/// Replaces an item of a list of addresses or hosts by one that no other item equals.
fn replace_item(hook: &mut Map<String, Value>, key: &str, item: usize, number: usize) -> bool {
    let valid = match key {
        "source" => json!("192.0.2.1"),
        "result_url" => json!(format!("check-{number}.invalid")),
        _ => return false,
    };
    let found = hook.get_mut(key).and_then(|list| list.get_mut(item));
    found.map(|found| *found = valid).is_some()
}

/// The place of a hook in a path such as `hooks[3].mode`, and the rest.
fn hook_of(field: &str) -> Option<(usize, &str)> {
    let (place, rest) = field.strip_prefix("hooks[")?.split_once(']')?;
    Some((place.parse().ok()?, rest))
}

/// Removes a key, which the path shows perhaps shortened.
fn remove_key(object: &mut Map<String, Value>, path: &str) -> bool {
    let named = object.keys().filter(|key| path.starts_with(&show_key(key)));
    let Some(key) = named.max_by_key(|key| show_key(key).len()).cloned() else { return false };
    object.remove(&key).is_some()
}

fn replace_token(root: &mut Map<String, Value>, rest: &str, is_again: bool) {
    let valid = json!({"check": {"alg": "HS256", "env": format!("{STAND_IN}_TOKEN")}});
    let section =
        root.get_mut("token").and_then(Value::as_object_mut).filter(|_| !is_again && !rest.is_empty());
    let Some(section) = section else {
        root.insert("token".to_owned(), json!({"keys": valid}));
        return;
    };
    let Some(kid) = rest.strip_prefix("keys").map(|kid| kid.trim_start_matches('.')) else {
        remove_key(section, rest);
        return;
    };
    let keys = section.get_mut("keys").and_then(Value::as_object_mut);
    if !keys.is_some_and(|keys| keys.len() > 1 && remove_key(keys, kid)) {
        section.insert("keys".to_owned(), valid);
    }
}

fn replace_confirm(root: &mut Map<String, Value>, rest: &str, is_again: bool) {
    let section = root.get_mut("confirm").and_then(Value::as_object_mut);
    if let Some(section) = section.filter(|_| !is_again && !rest.is_empty()) {
        match rest {
            "cluster" => drop(section.insert(rest.to_owned(), json!("check"))),
            "authority" => drop(section.insert(rest.to_owned(), json!("check.invalid"))),
            _ if remove_key(section, rest) => {}
            _ => drop(root.insert("confirm".to_owned(), valid_confirm())),
        }
        return;
    }
    root.insert("confirm".to_owned(), valid_confirm());
}

fn valid_confirm() -> Value {
    json!({"cluster": "check", "authority": "check.invalid"})
}
