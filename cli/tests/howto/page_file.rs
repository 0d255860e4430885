//! A configuration of Envoy, edited as a page says.

use crate::PROGRAM;
use blobgate_testkit::bootstrap::merge;
use blobgate_testkit::envoy::{SIGNING_KEY, TOKEN_KEY};
use blobgate_testkit::{Bootstrap, ProductionFolder, module};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::LazyLock;

/// What a test writes in place of the pages' examples, so that its own addresses fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageAddresses {
    /// As the pages have them.
    OfPage,
    /// The balancer is 127.0.0.1.
    OfTest,
}

/// The clients in `source` of a test's hook.
pub(crate) const LISTED: &str = "127.0.0.9";
pub(crate) const LISTED_V6: &str = "2001:db8:17::9";

#[derive(Clone, Debug)]
pub(crate) struct PageFile {
    json: Value,
    addresses: PageAddresses,
}

impl PageFile {
    /// The production file. For a test, `source` has [`LISTED`] and [`LISTED_V6`].
    pub(crate) fn production(addresses: PageAddresses) -> Self {
        Self { json: RENDERED.clone(), addresses }.with_clients()
    }

    /// The YAML of a marked block.
    #[track_caller]
    fn yaml(&self, block: &str) -> Value {
        let text = match self.addresses {
            PageAddresses::OfPage => block.to_owned(),
            PageAddresses::OfTest => block
                .replace(
                    "address_prefix: 10.0.0.0, prefix_len: 16",
                    "address_prefix: 127.0.0.1, prefix_len: 32",
                )
                .replace("10.0.0.0/16", "127.0.0.1"),
        };
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error} in the block\n{block}"))
    }

    /// Changes the listener `edge`.
    #[track_caller]
    pub(crate) fn listener(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let listeners = self.json["static_resources"]["listeners"].as_array_mut().unwrap();
        change(listeners.iter_mut().find(|listener| listener["name"] == "edge").expect("a listener edge"));
        self
    }

    /// Adds a cluster `app`.
    pub(crate) fn with_app(mut self) -> Self {
        let clusters = self.json["static_resources"]["clusters"].as_array_mut().unwrap();
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 3000}});
        clusters.push(json!({"name": "app", "type": "STATIC", "load_assignment": {"cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}}));
        self
    }

    /// Replaces the listener `edge` by the one of a block, which `join` completes from the rendered one.
    #[track_caller]
    pub(crate) fn public_block(mut self, block: &str, join: impl FnOnce(&mut Value, &mut Value)) -> Self {
        let mut public = self.yaml(block)[0].take();
        let listeners = self.json["static_resources"]["listeners"].as_array_mut().unwrap();
        let edge = listeners.iter_mut().find(|listener| listener["name"] == "edge").expect("a listener edge");
        join(&mut public, edge);
        *edge = public;
        self.with_clients()
    }

    /// For a test, sets `source`.
    fn with_clients(mut self) -> Self {
        if self.addresses == PageAddresses::OfTest {
            self.configuration()["hooks"][0]["source"] = json!([LISTED, LISTED_V6]);
        }
        self
    }

    /// The gate's own configuration, in the listener that has it.
    fn configuration(&mut self) -> &mut Value {
        let listeners = self.json["static_resources"]["listeners"].as_array_mut().unwrap().iter_mut();
        let chains = listeners.flat_map(|one| one["filter_chains"].as_array_mut().unwrap());
        let managers = chains.map(|chain| &mut chain["filters"][0]["typed_config"]);
        managers.filter_map(configuration).next().expect("a filter blobgate")
    }

    /// Changes its HttpConnectionManager.
    pub(crate) fn manager(self, change: impl FnOnce(&mut Value)) -> Self {
        self.listener(|listener| change(&mut listener["filter_chains"][0]["filters"][0]["typed_config"]))
    }

    /// Changes the hook.
    pub(crate) fn hook(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.configuration()["hooks"][0]);
        self
    }

    /// Removes the listener's TLS.
    pub(crate) fn without_tls(self) -> Self {
        self.listener(|listener| {
            let removed = listener["filter_chains"][0].as_object_mut().unwrap().remove("transport_socket");
            assert!(removed.is_some(), "the listener has TLS");
        })
    }

    /// Sets the keys of a block in the listener, and those of its first filter chain in the listener's.
    #[track_caller]
    pub(crate) fn listener_block(self, block: &str) -> Self {
        let mut keys = self.yaml(block);
        let chain = keys.as_object_mut().unwrap().remove("filter_chains").map(|chains| chains[0].clone());
        self.listener(|listener| {
            merge(listener, &keys);
            merge(&mut listener["filter_chains"][0], &chain.unwrap_or(json!({})));
        })
    }

    /// Sets the keys of a block in the manager.
    #[track_caller]
    pub(crate) fn manager_block(self, block: &str) -> Self {
        let keys = self.yaml(block);
        self.manager(|manager| merge(manager, &keys))
    }

    /// Puts the filters of a block first.
    #[track_caller]
    pub(crate) fn filters_block(self, block: &str) -> Self {
        let filters = self.yaml(block).as_array().unwrap().clone();
        self.manager(|manager| drop(manager["http_filters"].as_array_mut().unwrap().splice(0..0, filters)))
    }

    /// Adds the early extensions of a block.
    #[track_caller]
    pub(crate) fn early_block(self, block: &str) -> Self {
        let more = self.yaml(block).as_array().unwrap().clone();
        self.manager(|manager| {
            manager["early_header_mutation_extensions"].as_array_mut().unwrap().extend(more);
        })
    }

    /// Sets the keys of a block in the hook, which keeps its name and path.
    #[track_caller]
    pub(crate) fn hook_block(self, block: &str) -> Self {
        let mut keys = self.yaml(block);
        let _examples = ["name", "path"].map(|key| keys.as_object_mut().unwrap().remove(key));
        self.hook(|hook| keys.as_object().unwrap().iter().for_each(|(key, value)| hook[key] = value.clone()))
    }

    /// The gate's configuration.
    pub(crate) fn gate(&self) -> Value {
        self.clone().configuration().clone()
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap::of(self.json.clone())
    }

    /// Asserts that `blobgate check` finds no error and no warning.
    #[track_caller]
    pub(crate) fn passes_check(&self) {
        assert_eq!(self.findings(), Vec::<String>::new());
    }

    /// The levels and rules that `blobgate check` finds.
    #[track_caller]
    pub(crate) fn findings(&self) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, self.json.to_string()).unwrap();
        std::os::unix::fs::symlink(module(), folder.path().join("blobgate.wasm")).unwrap();
        let mut check = Command::new(PROGRAM);
        check.args(["check", "--json"]).arg(&file).envs([TOKEN_KEY, SIGNING_KEY]);
        let output = check.current_dir(folder.path()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let findings = report["files"][0]["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|found| format!("{} {} {}", found["level"], found["rule"], found["wrong"]))
            .collect()
    }
}

/// The gate's own configuration as a Struct, if the manager has the gate.
fn configuration(manager: &mut Value) -> Option<&mut Value> {
    let filters = manager["http_filters"].as_array_mut()?.iter_mut();
    let gate = filters.into_iter().find(|filter| filter["name"] == "blobgate")?;
    Some(&mut gate["typed_config"]["config"]["configuration"]["value"])
}

/// The file that `blobgate render` writes.
static RENDERED: LazyLock<Value> = LazyLock::new(|| {
    let text = ProductionFolder::new().render(PROGRAM);
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("envoy.yaml: {error}"))
});
