//! Applies an EnvoyFilter like Istio, for the operations that `deploy/istio` uses. Any other operation panics.
//! After `pilot/pkg/networking/core/envoyfilter` and `pkg/proto/merge` of istio/istio.

use serde_json::{Map, Value};

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The configuration that Istio makes for a gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) listeners: Vec<Value>,
    pub(crate) route_configurations: Vec<Value>,
}

impl Gateway {
    /// Applies the patches in Istio's order: by `applyTo`, then by their order in the file. Panics if a patch matches
    /// nothing. Of the two patches for a listener, one for each port, exactly one must match.
    #[track_caller]
    pub(crate) fn apply(&mut self, envoy_filter: &Value) {
        let patches: Vec<Patch<'_>> =
            envoy_filter["spec"]["configPatches"].as_array().unwrap().iter().map(Patch::new).collect();
        let mut applied = vec![0; patches.len()];
        for index in sorted(&patches) {
            let (patch, applied) = (&patches[index], &mut applied[index]);
            match patch.apply_to {
                "LISTENER" | "NETWORK_FILTER" | "HTTP_FILTER" => {
                    self.listeners.iter_mut().for_each(|listener| *applied += patch.to_listener(listener));
                }
                "HTTP_ROUTE" | "VIRTUAL_HOST" => {
                    self.route_configurations
                        .iter_mut()
                        .for_each(|routes| *applied += patch.to_routes(routes));
                }
                other => panic!("applyTo {other} is not supported"),
            }
        }
        let listeners = patches.iter().zip(&applied).filter(|(patch, _)| patch.apply_to == "LISTENER");
        assert!(listeners.clone().count() == 0 || listeners.map(|(_, applied)| applied).sum::<usize>() == 1);
        let idle = patches
            .iter()
            .zip(&applied)
            .filter(|(patch, applied)| patch.apply_to != "LISTENER" && **applied == 0);
        assert_eq!(
            idle.map(|(patch, _)| patch.apply_to).collect::<Vec<_>>(),
            Vec::<&str>::new(),
            "patches without a match"
        );
    }
}

fn sorted(patches: &[Patch<'_>]) -> Vec<usize> {
    let order = ["LISTENER", "NETWORK_FILTER", "HTTP_FILTER", "HTTP_ROUTE", "VIRTUAL_HOST"];
    let mut sorted: Vec<usize> = (0..patches.len()).collect();
    sorted.sort_by_key(|index| order.iter().position(|name| *name == patches[*index].apply_to));
    sorted
}

struct Patch<'a> {
    apply_to: &'a str,
    operation: &'a str,
    value: &'a Value,
    listener: Map<String, Value>,
    routes: Map<String, Value>,
}

impl<'a> Patch<'a> {
    fn new(patch: &'a Value) -> Self {
        let matching = patch["match"].as_object().unwrap();
        assert_eq!(matching["context"], "GATEWAY");
        let part = |name: &str| matching.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        only(matching, &["context", "listener", "routeConfiguration"]);
        Self {
            apply_to: patch["applyTo"].as_str().unwrap(),
            operation: patch["patch"]["operation"].as_str().unwrap(),
            value: &patch["patch"]["value"],
            listener: part("listener"),
            routes: part("routeConfiguration"),
        }
    }

    /// Patches a listener, and returns the number of changed objects.
    fn to_listener(&self, listener: &mut Value) -> usize {
        only(&self.listener, &["portNumber", "filterChain"]);
        let port = &listener["address"]["socket_address"]["port_value"];
        if self.listener.get("portNumber").is_some_and(|wanted| wanted != port) {
            return 0;
        }
        if self.apply_to == "LISTENER" {
            assert_eq!(self.operation, "MERGE");
            merge(listener, self.value);
            return 1;
        }
        let chains = listener["filter_chains"].as_array_mut().unwrap().iter_mut();
        chains.filter(|chain| self.wants_chain(chain)).map(|chain| self.to_chain(chain)).sum()
    }

    fn wants_chain(&self, chain: &Value) -> bool {
        let wanted = self.listener["filterChain"].as_object().unwrap();
        only(wanted, &["sni", "filter"]);
        let names = chain["filter_chain_match"]["server_names"].as_array();
        names.is_some_and(|names| names.contains(&wanted["sni"]))
    }

    fn to_chain(&self, chain: &mut Value) -> usize {
        let wanted = self.listener["filterChain"]["filter"].as_object().unwrap();
        only(wanted, &["name"]);
        let filters = chain["filters"].as_array_mut().unwrap().iter_mut();
        let filters = filters.filter(|filter| filter["name"] == wanted["name"]);
        filters.map(|filter| self.to_network_filter(filter)).count()
    }

    fn to_network_filter(&self, filter: &mut Value) {
        match (self.apply_to, self.operation) {
            ("NETWORK_FILTER", "MERGE") => {
                // Istio merges inside an Any only if the types are equal.
                assert_eq!(filter["typed_config"]["@type"], self.value["typed_config"]["@type"]);
                merge(filter, self.value);
            }
            ("HTTP_FILTER", "INSERT_FIRST") => {
                assert_eq!(filter["name"], MANAGER);
                filter["typed_config"]["http_filters"].as_array_mut().unwrap().insert(0, self.value.clone());
            }
            other => panic!("{other:?} is not supported"),
        }
    }

    fn to_routes(&self, routes: &mut Value) -> usize {
        only(&self.routes, &["gateway", "portNumber", "vhost"]);
        // https.PORT.PORT_NAME.GATEWAY.NAMESPACE; plain HTTP has only http.PORT, which no gateway name matches.
        let name: Vec<&str> = routes["name"].as_str().unwrap().split('.').collect();
        let ["https", port, _, gateway, namespace] = name[..] else { return 0 };
        let wanted_port = self.routes.get("portNumber").map(Value::to_string);
        if self.routes["gateway"] != format!("{namespace}/{gateway}")
            || wanted_port.is_some_and(|it| it != port)
        {
            return 0;
        }
        let hosts = routes["virtual_hosts"].as_array_mut().unwrap();
        match (self.apply_to, self.operation) {
            ("VIRTUAL_HOST", "ADD") => {
                hosts.push(self.value.clone());
                1
            }
            ("HTTP_ROUTE", "INSERT_FIRST") => {
                let wanted = self.routes["vhost"].as_object().unwrap();
                only(wanted, &["name"]);
                let hosts = hosts.iter_mut().filter(|host| host["name"] == wanted["name"]);
                hosts.map(|host| host["routes"].as_array_mut().unwrap().insert(0, self.value.clone())).count()
            }
            other => panic!("{other:?} is not supported"),
        }
    }
}

#[track_caller]
fn only(object: &Map<String, Value>, known: &[&str]) {
    let unknown: Vec<&String> = object.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "not supported: {unknown:?}");
}

/// Protobuf's merge on JSON: it merges messages by field, appends lists, and replaces map entries and everything else.
/// It cannot set a scalar to its default, which is absent on the wire. Here a default panics.
fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        assert!(![Value::from(0), Value::from(false), Value::from("")].contains(value), "{key} is a default");
        let there = &mut into.as_object_mut().unwrap().entry(key.clone()).or_insert(Value::Null);
        match (&mut **there, value) {
            (Value::Array(there), Value::Array(more)) => there.extend(more.iter().cloned()),
            (Value::Object(_), Value::Object(_)) if key != "typed_per_filter_config" => merge(there, value),
            (there, value) => *there = value.clone(),
        }
    }
}
