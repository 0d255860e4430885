//! The shipped `envoy.yaml` with a test's changes. It finds filters, routes and clusters by name, so that the file's
//! order may change.

use super::{GateModule, repository};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The shipped hook's path.
const HOOK_PATH: &str = "/webhook";
/// A route to the video service without the gate. [`Bootstrap::shipped`] adds it.
pub const BESIDE: &str = "/app";
/// The events of Envoy's health check, in an Envoy's folder.
pub const HEALTH_LOG: &str = "health.log";
/// The admin page's socket, in the folder of an Envoy.
pub(super) const ADMIN_SOCKET: &str = "admin.sock";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
const TEXT: &str = "type.googleapis.com/google.protobuf.StringValue";

static SHIPPED: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(repository("envoy.yaml")).expect("There is no envoy.yaml.");
    serde_saphyr::from_str(&text).expect("envoy.yaml is YAML")
});

/// A configuration of Envoy that a test builds.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub json: Value,
    module: GateModule,
    /// The module's file.
    file: PathBuf,
    last_change: Option<fn(&mut Value)>,
    /// Variables of Envoy's environment that the module may read.
    variables: BTreeMap<String, String>,
    endpoints: BTreeMap<String, u16>,
    provider_tls: bool,
    /// The runtime's `blobgate.inbox`: 0 or 100.
    inbox: u8,
    /// The port of the inbox's admin listener, for Envoy's health check.
    inbox_admin: Option<u16>,
}

impl Bootstrap {
    /// The gate without an inbox, with the route [`BESIDE`].
    pub fn shipped() -> Self {
        Self::as_shipped().http(|manager| {
            let hosts = manager["route_config"]["virtual_hosts"].as_array_mut().unwrap();
            let routes = hosts[0]["routes"].as_array_mut().unwrap();
            routes.push(json!({"match": {"prefix": BESIDE}, "route": {"cluster": "video_service"}}));
        })
    }

    /// Like [`Self::shipped`], with only the shipped routes.
    pub fn as_shipped() -> Self {
        Self::of(SHIPPED.clone())
    }

    /// The whole configuration of an Envoy with the shipped names of clusters, without an inbox.
    pub fn of(json: Value) -> Self {
        // Nothing listens at port 1. A test sets the ports that it needs.
        let closed = ["quarantine_service", "runblob_api", "inbox", "inbox_access_log", "otel_collector"]
            .map(|name| (name.to_owned(), 1))
            .into();
        let module = GateModule::chosen();
        Self {
            json,
            module,
            file: module.file(),
            last_change: None,
            variables: BTreeMap::new(),
            endpoints: closed,
            provider_tls: false,
            inbox: 0,
            inbox_admin: None,
        }
    }

    /// The shipped configuration of the gate.
    pub fn shipped_gate() -> Value {
        let mut found = Value::Null;
        Self::shipped().each_filter(|filter| {
            found = filter["typed_config"]["config"]["configuration"]["value"].clone();
        });
        assert!(found.is_object(), "envoy.yaml has no filter `blobgate` with a Struct as its configuration");
        found
    }

    /// Sets the gate's configuration as a Struct. Its hooks get the shipped hook's routes.
    pub fn gate(self, configuration: &Value) -> Self {
        self.routes_for(configuration).any(&json!({"@type": STRUCT, "value": configuration}))
    }

    /// Sets the gate's configuration as JSON text.
    pub fn gate_text(self, configuration: &Value) -> Self {
        self.routes_for(configuration).any(&json!({"@type": TEXT, "value": configuration.to_string()}))
    }

    /// Sets the gate's configuration to any `Any`.
    pub fn any(self, configuration: &Value) -> Self {
        self.filter(|filter| filter["typed_config"]["config"]["configuration"] = configuration.clone())
    }

    /// Changes keys of the shipped hook; null removes a key.
    pub fn hook(self, changes: &Value) -> Self {
        let mut configuration = Self::shipped_gate();
        merge(&mut configuration["hooks"][0], changes);
        self.gate(&configuration)
    }

    /// Takes this module instead of the chosen one.
    #[track_caller]
    pub fn with(self, module: GateModule) -> Self {
        Self { module, file: module.file(), ..self }
    }

    /// Takes the module that crashes on the request header `x-crash-test`.
    #[track_caller]
    pub fn crashing(self) -> Self {
        Self { file: self.module.crashing_file(), ..self }
    }

    /// Takes this file as the module.
    pub fn file(self, file: PathBuf) -> Self {
        Self { file, ..self }
    }

    /// Changes the configuration that Envoy gets, after the module has replaced the Wasm filter.
    pub fn finally(self, change: fn(&mut Value)) -> Self {
        Self { last_change: Some(change), ..self }
    }

    /// Sets a variable of Envoy's environment, and lets the module read it.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self.filter(|filter| {
            let variables = &mut filter["typed_config"]["config"]["vm_config"]["environment_variables"];
            variables["host_env_keys"].as_array_mut().unwrap().push(json!(name));
        })
    }

    pub(super) fn module(&self) -> GateModule {
        self.module
    }

    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Sets the port of a cluster.
    pub fn endpoint(mut self, cluster: &str, port: u16) -> Self {
        self.endpoints.insert(cluster.to_owned(), port);
        self
    }

    /// Puts an inbox at this port behind the gate.
    pub fn inbox(self, port: u16) -> Self {
        Self { inbox: 100, ..self.endpoint("inbox", port) }
    }

    /// Lets Envoy check the inbox's health at this port.
    pub fn inbox_admin(self, port: u16) -> Self {
        Self { inbox_admin: Some(port), ..self }
    }

    /// Sends this percentage of the traces to a collector, each span at once.
    pub fn tracing(mut self, collector: u16, percentage: u8) -> Self {
        let layer = &mut self.json["layered_runtime"]["layers"][0]["static_layer"];
        layer["tracing.global_enabled"] = json!(percentage);
        layer["tracing.opentelemetry.min_flush_spans"] = json!(1);
        self.endpoint("otel_collector", collector)
    }

    /// Sets a provider with TLS, whose certificate `trusted` signs.
    pub fn provider_with_tls(mut self, port: u16, trusted: &Path) -> Self {
        each_object(&mut self.json, &mut |object| {
            if let Some(ca) = object.get_mut("trusted_ca") {
                *ca = json!({"filename": trusted});
            }
        });
        self.provider_tls = true;
        self.endpoint("runblob_api", port)
    }

    /// Changes the gate's entry in each filter chain.
    pub fn filter(mut self, mut change: impl FnMut(&mut Value)) -> Self {
        self.each_filter(&mut change);
        self
    }

    /// Changes the typed configuration of every HTTP connection manager that has the gate.
    pub fn http(mut self, mut change: impl FnMut(&mut Value)) -> Self {
        self.each_http(&mut change);
        self
    }

    /// Changes every virtual host's list of routes.
    pub fn routes(mut self, mut change: impl FnMut(&mut Vec<Value>)) -> Self {
        each_object(&mut self.json, &mut |object| {
            if let Some(Value::Array(routes)) = object.get_mut("routes") {
                change(routes);
            }
        });
        self
    }

    /// Removes the gate from the filter chain. Other references to it stay.
    pub fn without_gate(self) -> Self {
        self.http(|http| {
            let filters = http["http_filters"].as_array_mut().unwrap();
            filters.retain(|filter| filter["name"] != "blobgate");
        })
    }

    /// Inserts a filter before the gate.
    pub fn filter_before(self, filter: &Value) -> Self {
        self.http(|http| http["http_filters"].as_array_mut().unwrap().insert(0, filter.clone()))
    }

    fn each_filter(&mut self, mut change: impl FnMut(&mut Value)) {
        self.each_http(|http| {
            let filters = http["http_filters"].as_array_mut().unwrap();
            filters.iter_mut().filter(|filter| filter["name"] == "blobgate").for_each(&mut change);
        });
    }

    fn each_http(&mut self, mut change: impl FnMut(&mut Value)) {
        let mut found = 0;
        each_value(&mut self.json, &mut |value| {
            let names_gate = |filters: &Value| {
                filters.as_array().is_some_and(|all| all.iter().any(|filter| filter["name"] == "blobgate"))
            };
            if value.get("http_filters").is_some_and(names_gate) {
                found += 1;
                change(value);
            }
        });
        assert!(found > 0, "no connection manager has the filter `blobgate`");
    }

    /// Clones the shipped hook's routes for the path of each configured hook.
    fn routes_for(self, configuration: &Value) -> Self {
        let hooks = configuration["hooks"].as_array().cloned().unwrap_or_default();
        let paths: Vec<String> = hooks
            .iter()
            .filter_map(|hook| hook["path"].as_str())
            .map(|path| path.trim_end_matches("/{token}").to_owned())
            .collect();
        self.routes(|routes| {
            let is_hooks = |route: &Value| route["match"]["path_separated_prefix"] == HOOK_PATH;
            let Some(first) = routes.iter().position(is_hooks) else { return };
            let block: Vec<Value> = routes.iter().filter(|route| is_hooks(route)).cloned().collect();
            routes.retain(|route| !is_hooks(route));
            let clones = paths.iter().flat_map(|path| {
                block.iter().cloned().map(move |mut route| {
                    route["match"]["path_separated_prefix"] = json!(path);
                    route
                })
            });
            routes.splice(first..first, clones.collect::<Vec<_>>());
        })
    }

    /// The configuration as a file of an Envoy in `folder` has it.
    pub fn text(&self, folder: &Path) -> String {
        self.finish(folder).to_string()
    }

    /// The configuration with free ports, the certificate in `folder`, the module and the endpoints.
    pub(super) fn finish(&self, folder: &Path) -> Value {
        let mut json = self.json.clone();
        self.module.apply(&mut json, &self.file);
        for (key, value) in self.module.runtime() {
            json["layered_runtime"]["layers"][0]["static_layer"][key] = value;
        }
        if let Some(change) = self.last_change {
            change(&mut json);
        }
        each_object(&mut json, &mut |object| {
            if object.get("name").is_some_and(|name| name == "runblob_key") {
                object["sds_config"]["path_config_source"] =
                    json!({"path": folder.join("key.json"), "watched_directory": {"path": folder}});
            }
            for secret in
                object.get_mut("tls_certificate_sds_secret_configs").and_then(Value::as_array_mut).iter_mut()
            {
                for secret in secret.iter_mut() {
                    secret["sds_config"]["path_config_source"] =
                        json!({"path": folder.join("sds.json"), "watched_directory": {"path": folder}});
                }
            }
        });
        each_object(&mut json, &mut |object| {
            if let Some(path) = object.get_mut("event_log_path") {
                *path = json!(folder.join(HEALTH_LOG));
            }
            if let Some(inbox) = object.get_mut("blobgate.inbox") {
                *inbox = json!(self.inbox);
            }
        });
        // The admin page's address, and the cluster of the admin page.
        each_object(&mut json, &mut |object| {
            if let Some(pipe) = object.get_mut("pipe") {
                pipe["path"] = json!(folder.join(ADMIN_SOCKET));
            }
        });
        for listener in json["static_resources"]["listeners"].as_array_mut().unwrap() {
            listener["address"]["socket_address"] = json!({"address": "127.0.0.1", "port_value": 0});
        }
        for cluster in json["static_resources"]["clusters"].as_array_mut().unwrap() {
            let name = cluster["name"].as_str().unwrap().to_owned();
            if name == "admin" {
                continue;
            }
            let port = self.endpoints.get(&name);
            let port = port.unwrap_or_else(|| panic!("the cluster {name} has no upstream in this test"));
            let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
            // The tests' provider speaks plaintext, unless a test sets one with TLS.
            if name == "runblob_api" && !self.provider_tls {
                cluster.as_object_mut().unwrap().remove("transport_socket");
            }
            let mut endpoint = json!({"address": address});
            match self.inbox_admin.filter(|_| name == "inbox") {
                Some(port) => endpoint["health_check_config"] = json!({"port_value": port}),
                // A test's service records every request.
                None => drop(cluster.as_object_mut().unwrap().remove("health_checks")),
            }
            cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
        }
        json
    }
}

/// Sets the keys of `changes` recursively; null removes a key.
pub fn merge(into: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *into = changes.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, change) in changes {
        match change {
            Value::Null => {
                object.remove(key);
            }
            change => merge(object.entry(key.clone()).or_insert(Value::Null), change),
        }
    }
}

fn each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    each_value(value, &mut |value| {
        if let Value::Object(object) = value {
            visit(object);
        }
    });
}

/// Visits a value and everything in it.
pub fn each_value(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_value(item, visit)),
        Value::Object(object) => object.values_mut().for_each(|item| each_value(item, visit)),
        _ => {}
    }
}
