//! The repository's own `envoy.yaml`, with only what a test has to change changed.

use super::{module, repository};
use serde_json::{Value, json};
use std::path::Path;

const GATE_PATH: &str = "/webhook";

/// An Envoy configuration on free ports.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub Value);

impl Bootstrap {
    /// `envoy.yaml` with port 0 everywhere and the module under test. Certificates come from `folder`.
    pub fn shipped(folder: &Path) -> Self {
        let text = std::fs::read_to_string(repository("envoy.yaml")).unwrap();
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        free_port(&mut config["admin"]["address"]);
        for listener in config["static_resources"]["listeners"].as_array_mut().unwrap() {
            free_port(&mut listener["address"]);
        }
        let mut bootstrap = Self(config).module(&module());
        bootstrap.replace_text("./certs", folder.to_str().unwrap());
        bootstrap
    }

    /// Loads this module instead of the shipped one.
    pub fn module(mut self, path: &Path) -> Self {
        self.each_plugin(|plugin| {
            plugin["vm_config"]["code"]["local"]["filename"] = path.to_str().unwrap().into();
        });
        self
    }

    /// Gives a cluster another endpoint on loopback.
    pub fn cluster(mut self, name: &str, port: u16) -> Self {
        let clusters = self.0["static_resources"]["clusters"].as_array_mut().unwrap();
        let cluster = clusters
            .iter_mut()
            .find(|cluster| cluster["name"] == name)
            .expect("the cluster");
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            ["port_value"] = port.into();
        self
    }

    /// Replaces the hooks, and gives each path the shipped hook's routes.
    pub fn hooks(self, hooks: &[Value]) -> Self {
        let value = json!({"version": 1, "environment": "test", "hooks": hooks});
        let wrapped = json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value});
        let paths: Vec<String> = hooks
            .iter()
            .map(|hook| hook["path"].as_str().unwrap().to_owned())
            .collect();
        self.configuration(&wrapped).paths(&paths)
    }

    /// Replaces the filter's configuration: a wrapped Struct or StringValue.
    pub fn configuration(mut self, wrapped: &Value) -> Self {
        self.each_plugin(|plugin| plugin["configuration"] = wrapped.clone());
        self
    }

    /// Gives each of these paths the routes that the shipped hook has.
    pub fn paths(mut self, paths: &[String]) -> Self {
        self.each_manager(|manager| {
            let routes = manager["route_config"]["virtual_hosts"][0]["routes"]
                .as_array_mut()
                .unwrap();
            let is_hooks = |route: &Value| route["match"]["path_separated_prefix"] == GATE_PATH;
            let first = routes.iter().position(is_hooks).expect("the hook's routes");
            let own: Vec<Value> = routes.extract_if(.., |route| is_hooks(route)).collect();
            let cloned = paths.iter().flat_map(|path| {
                own.iter().map(move |route| {
                    let mut route = route.clone();
                    route["match"]["path_separated_prefix"] = path.as_str().into();
                    route
                })
            });
            let cloned: Vec<Value> = cloned.collect();
            routes.splice(first..first, cloned);
        });
        self
    }

    /// Changes the plugin's configuration (`name`, `vm_config`, flags).
    pub fn plugin(mut self, change: impl Fn(&mut Value)) -> Self {
        self.each_plugin(change);
        self
    }

    /// Changes the HTTP connection manager of every listener.
    pub fn manager(mut self, change: impl Fn(&mut Value)) -> Self {
        self.each_manager(change);
        self
    }

    /// Changes the shipped hook's routes.
    pub fn routes(self, change: impl Fn(&mut Value)) -> Self {
        self.manager(|manager| {
            let routes = manager["route_config"]["virtual_hosts"][0]["routes"]
                .as_array_mut()
                .unwrap();
            routes
                .iter_mut()
                .filter(|route| route["match"]["path_separated_prefix"] == GATE_PATH)
                .for_each(&change);
        })
    }

    /// Takes the filter out of the chain.
    pub fn without_filter(self) -> Self {
        self.manager(|manager| {
            let filters = manager["http_filters"].as_array_mut().unwrap();
            filters.retain(|filter| filter["name"] != "blobgate");
        })
        .routes(|route| {
            route.as_object_mut().unwrap().remove("typed_per_filter_config");
        })
    }

    fn each_manager(&mut self, change: impl Fn(&mut Value)) {
        for listener in self.0["static_resources"]["listeners"].as_array_mut().unwrap() {
            change(&mut listener["filter_chains"][0]["filters"][0]["typed_config"]);
        }
    }

    fn each_plugin(&mut self, change: impl Fn(&mut Value)) {
        self.each_manager(|manager| {
            let filters = manager["http_filters"].as_array_mut().unwrap();
            let gate = filters
                .iter_mut()
                .find(|filter| filter["name"] == "blobgate")
                .expect("the filter");
            change(&mut gate["typed_config"]["config"]);
        });
    }

    fn replace_text(&mut self, from: &str, to: &str) {
        fn walk(value: &mut Value, from: &str, to: &str) {
            match value {
                Value::String(text) => *text = text.replace(from, to),
                Value::Array(items) => items.iter_mut().for_each(|item| walk(item, from, to)),
                Value::Object(fields) => fields.values_mut().for_each(|field| walk(field, from, to)),
                _ => {}
            }
        }
        walk(&mut self.0, from, to);
    }
}

fn free_port(address: &mut Value) {
    address["socket_address"]["port_value"] = 0.into();
}
