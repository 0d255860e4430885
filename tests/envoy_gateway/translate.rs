//! Makes Envoy's configuration of manifests like Envoy Gateway 1.9, for the fields that `deploy/envoy-gateway` uses. Any other
//! field panics. After `internal/gatewayapi` and `internal/xds` of envoyproxy/gateway at v1.9.0.

use serde_json::{Map, Value, json};

/// The name prefix of Envoy Gateway's filter of a dynamic module.
const FILTER: &str = "envoy.filters.http.dynamic_modules";

/// What Envoy Gateway makes of a Gateway with its policies and routes.
pub(crate) struct Generated {
    pub(crate) listener: Value,
    pub(crate) route_configuration: Value,
    /// The cluster of each rule, with the name of its Service.
    pub(crate) clusters: Vec<(Value, String)>,
    /// The parts of the bootstrap that the manifests change.
    pub(crate) bootstrap: Value,
}

/// The resources of a manifest, by kind.
pub(crate) struct Manifests(pub(crate) Vec<Value>);

impl Manifests {
    pub(crate) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap())
    }

    pub(crate) fn without(mut self, kind: &str) -> Self {
        let before = self.0.len();
        self.0.retain(|it| it["kind"] != kind);
        assert_eq!(self.0.len() + 1, before, "one {kind}");
        self
    }

    /// The `spec` of the only resource of a kind, or null.
    pub(crate) fn spec(&self, kind: &str) -> &Value {
        let mut found = self.0.iter().filter(|it| it["kind"] == kind);
        let spec = found.next().map_or(&Value::Null, |it| &it["spec"]);
        assert!(found.next().is_none(), "two of the kind {kind}");
        spec
    }

    /// The `spec` of a policy, or null. It must target this.
    fn policy(&self, kind: &str, target: &str) -> &Value {
        let spec = self.spec(kind);
        let wanted = json!([{"group": "gateway.networking.k8s.io", "kind": target, "name": "blobgate"}]);
        assert!(spec.is_null() || spec["targetRefs"] == wanted, "{kind} must target the {target}");
        spec
    }

    pub(crate) fn translate(&self) -> Generated {
        let gateway = self.spec("Gateway");
        only(gateway, &["gatewayClassName", "infrastructure", "listeners"]);
        let proxy = self.spec("EnvoyProxy");
        only(proxy, &["provider", "telemetry", "dynamicModules", "bootstrap"]);
        let [listener] = &gateway["listeners"].as_array().unwrap()[..] else { panic!("one listener") };
        only(listener, &["name", "protocol", "port", "hostname", "tls", "allowedRoutes"]);
        assert_eq!((&listener["protocol"], &listener["tls"]["mode"]), (&json!("HTTPS"), &json!("Terminate")));
        let (filters, enabled) = self.modules();
        let (routes, clusters) = self.routes(&enabled);
        let host = json!({"name": "hooks", "domains": [listener["hostname"]], "routes": routes});
        Generated {
            listener: self.listener(listener, &filters),
            route_configuration: json!({
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": "hooks",
                "ignore_port_in_host_matching": true,
                "virtual_hosts": [host],
            }),
            clusters,
            bootstrap: bootstrap(&proxy["bootstrap"]),
        }
    }

    /// The filters of the module, and what enables them on a route.
    fn modules(&self) -> (Vec<Value>, Map<String, Value>) {
        let policy = self.policy("EnvoyExtensionPolicy", "HTTPRoute");
        only(policy, &["targetRefs", "dynamicModule"]);
        let registered = self.spec("EnvoyProxy")["dynamicModules"].as_array().unwrap();
        let mut enabled = Map::new();
        let modules = policy["dynamicModule"].as_array().into_iter().flatten().enumerate();
        let filters = modules.map(|(index, module)| {
            only(module, &["name", "filterName", "config"]);
            // Envoy Gateway answers 500 on all routes for an unknown name.
            let entry = registered.iter().find(|it| it["name"] == module["name"]).expect("a registered module");
            only(entry, &["name", "source", "doNotClose"]);
            assert_eq!(entry["source"]["type"], "Local");
            let name = format!("{FILTER}/envoyextensionpolicy/default/blobgate/dynamic-module/{index}");
            enabled.insert(
                name.clone(),
                json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}),
            );
            json!({"name": name, "disabled": true, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": {
                    "do_not_close": entry["doNotClose"],
                    "module": {"local": {"filename": entry["source"]["local"]["path"]}},
                },
                "filter_name": module["filterName"],
                "filter_config": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": module["config"].to_string(),
                },
            }})
        });
        (filters.collect(), enabled)
    }

    fn listener(&self, listener: &Value, filters: &[Value]) -> Value {
        let policy = self.policy("ClientTrafficPolicy", "Gateway");
        only(policy, &["targetRefs", "tls", "headers", "path", "timeout", "connection", "http1", "http2"]);
        only(&policy["connection"], &["connectionLimit", "bufferLimit"]);
        let limit = policy["connection"]["connectionLimit"]["value"].as_u64().map(|connections| {
            json!({"name": "envoy.filters.network.connection_limit", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
                "stat_prefix": "https-10443",
                "max_connections": connections,
            }})
        });
        let manager = json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": self.manager(policy, listener, filters),
        });
        let mut chain = json!({
            "filter_chain_match": {"server_names": [listener["hostname"]]},
            "filters": limit.into_iter().chain([manager]).collect::<Vec<_>>(),
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": tls_params(&policy["tls"]),
                    "tls_certificate_sds_secret_configs": [{"name": "edge", "sds_config": {}}],
                },
                "disable_stateless_session_resumption": true,
            }},
        });
        set(&mut chain, "transport_socket_connect_timeout", &policy["timeout"]["tcp"]["tlsHandshakeTimeout"]);
        json!({
            "name": "edge",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 10443}},
            "per_connection_buffer_limit_bytes": bytes(&policy["connection"]["bufferLimit"]).unwrap_or(32_768),
            "max_connections_to_accept_per_socket_event": 1,
            "listener_filters": [{
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                },
            }],
            "filter_chains": [chain],
        })
    }

    fn manager(&self, policy: &Value, listener: &Value, filters: &[Value]) -> Value {
        only(&policy["headers"], &["withUnderscoresAction", "earlyRequestHeaders"]);
        only(&policy["path"], &["escapedSlashesAction"]);
        only(&policy["http1"], &["http10", "ignoredUpgradeTypes"]);
        let http2 = &policy["http2"];
        only(
            http2,
            &[
                "maxConcurrentStreams",
                "onInvalidMessage",
                "initialStreamWindowSize",
                "initialConnectionWindowSize",
            ],
        );
        let underscores = match policy["headers"]["withUnderscoresAction"].as_str() {
            None => "REJECT_REQUEST",
            Some("DropHeader") => "DROP_HEADER",
            Some(other) => panic!("withUnderscoresAction {other} is not supported"),
        };
        let slashes = match policy["path"]["escapedSlashesAction"].as_str() {
            None => "UNESCAPE_AND_REDIRECT",
            Some("UnescapeAndForward") => "UNESCAPE_AND_FORWARD",
            Some(other) => panic!("escapedSlashesAction {other} is not supported"),
        };
        let router = json!({"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        }});
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "https-10443",
            "access_log": access_log(&self.spec("EnvoyProxy")["telemetry"]["accessLog"]),
            "rds": {"route_config_name": "hooks", "config_source": {}},
            "server_header_transformation": "PASS_THROUGH",
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": slashes,
            "common_http_protocol_options": {"headers_with_underscores_action": underscores},
            "http2_protocol_options": {
                "max_concurrent_streams": http2["maxConcurrentStreams"].as_u64().unwrap_or(100),
                "initial_stream_window_size": bytes(&http2["initialStreamWindowSize"]).unwrap_or(65_536),
                "initial_connection_window_size": bytes(&http2["initialConnectionWindowSize"]).unwrap_or(1_048_576),
            },
            "http_filters": filters.iter().cloned().chain([router]).collect::<Vec<_>>(),
        });
        if !http2["onInvalidMessage"].is_null() {
            assert_eq!(http2["onInvalidMessage"], "TerminateStream");
            manager["http2_protocol_options"]["override_stream_error_on_invalid_http_message"] = json!(true);
        }
        if !policy["http1"].is_null() {
            let upgrades = policy["http1"]["ignoredUpgradeTypes"].as_array().unwrap();
            assert_eq!(policy["http1"]["http10"], json!({"useDefaultHost": true}));
            manager["http_protocol_options"] = json!({
                "accept_http_10": true,
                "default_host_for_http_10": listener["hostname"],
                "ignore_http_11_upgrade": upgrades.iter().map(string_matcher).collect::<Vec<_>>(),
            });
        }
        let http = &policy["timeout"]["http"];
        only(
            http,
            &["requestReceivedTimeout", "requestHeadersReceivedTimeout", "idleTimeout", "streamIdleTimeout"],
        );
        set(&mut manager, "request_timeout", &http["requestReceivedTimeout"]);
        set(&mut manager, "request_headers_timeout", &http["requestHeadersReceivedTimeout"]);
        set(&mut manager, "stream_idle_timeout", &http["streamIdleTimeout"]);
        set(&mut manager["common_http_protocol_options"], "idle_timeout", &http["idleTimeout"]);
        let headers = &policy["headers"];
        if !headers["earlyRequestHeaders"].is_null() {
            manager["early_header_mutation_extensions"] = early_mutation(&headers["earlyRequestHeaders"]);
        }
        manager
    }

    /// The routes in Envoy Gateway's order, and the cluster of each rule with services.
    fn routes(&self, enabled: &Map<String, Value>) -> (Vec<Value>, Vec<(Value, String)>) {
        let spec = self.spec("HTTPRoute");
        only(spec, &["parentRefs", "hostnames", "rules"]);
        let (mut routes, mut clusters) = (Vec::new(), Vec::new());
        for (index, rule) in spec["rules"].as_array().unwrap().iter().enumerate() {
            only(rule, &["matches", "filters", "backendRefs", "timeouts"]);
            let name = format!("httproute/default/blobgate/rule/{index}");
            let mut target = json!({"typed_per_filter_config": enabled});
            if let Some(services) = rule["backendRefs"].as_array() {
                let [service] = &services[..] else { panic!("one service a rule") };
                clusters.push((cluster(&name), service["name"].as_str().unwrap().to_owned()));
                target["route"] =
                    json!({"cluster": name, "upgrade_configs": [{"upgrade_type": "websocket"}]});
                set(&mut target["route"], "timeout", &rule["timeouts"]["request"]);
                if let Some(policy) = self.retry_policy() {
                    target["route"]["retry_policy"] = policy;
                }
            }
            for filter in rule["filters"].as_array().into_iter().flatten() {
                self.apply_filter(filter, &mut target);
            }
            for (at, matching) in rule["matches"].as_array().unwrap().iter().enumerate() {
                let mut route = target.clone();
                route["name"] = json!(format!("{name}/match/{at}"));
                route["match"] = route_match(matching);
                routes.push(route);
            }
        }
        // The longest path first, then the most headers. All paths are prefixes, and all headers exact.
        routes.sort_by_key(|route| {
            let path = route["match"]["path_separated_prefix"].as_str().unwrap().len();
            std::cmp::Reverse((path, route["match"]["headers"].as_array().unwrap().len()))
        });
        (routes, clusters)
    }

    fn retry_policy(&self) -> Option<Value> {
        let policy = self.policy("BackendTrafficPolicy", "HTTPRoute");
        only(policy, &["targetRefs", "retry"]);
        let retry = policy["retry"].as_object()?;
        let triggers = retry["retryOn"]["triggers"].as_array().unwrap();
        let triggers: Vec<&str> = triggers.iter().map(|it| it.as_str().unwrap()).collect();
        let back_off = &retry["perRetry"]["backOff"];
        Some(json!({
            "retry_on": triggers.join(","),
            "num_retries": retry["numRetries"],
            "retry_host_predicate": [{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }],
            "host_selection_retry_max_attempts": 5,
            "retry_back_off": {
                "base_interval": duration(&back_off["baseInterval"]),
                "max_interval": duration(&back_off["maxInterval"]),
            },
        }))
    }

    fn apply_filter(&self, filter: &Value, route: &mut Value) {
        match filter["type"].as_str().unwrap() {
            "ExtensionRef" => {
                assert_eq!(filter["extensionRef"]["kind"], "HTTPRouteFilter");
                let response = &self.spec("HTTPRouteFilter")["directResponse"];
                only(response, &["statusCode"]);
                route["direct_response"] = json!({"status": response["statusCode"]});
            }
            "ResponseHeaderModifier" => {
                only(&filter["responseHeaderModifier"], &["set"]);
                let headers = filter["responseHeaderModifier"]["set"].as_array().unwrap().iter();
                let added = headers.map(|header| {
                    json!({
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        "header": {"key": header["name"], "value": header["value"]},
                    })
                });
                route["response_headers_to_add"] = added.collect();
            }
            other => panic!("the filter {other} is not supported"),
        }
    }
}

fn route_match(matching: &Value) -> Value {
    only(matching, &["path", "headers"]);
    assert_eq!(matching["path"]["type"], "PathPrefix");
    let headers = matching["headers"].as_array().into_iter().flatten();
    let headers = headers.map(|header| {
        only(header, &["name", "value"]);
        json!({"name": header["name"], "string_match": {"exact": header["value"]}})
    });
    json!({"path_separated_prefix": matching["path"]["value"], "headers": headers.collect::<Vec<_>>()})
}

/// Without the EDS and the endpoints.
fn cluster(name: &str) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": 32_768,
        "circuit_breakers": {"thresholds": [{"max_retries": 1024}]},
        "ignore_health_on_host_removal": true,
        "load_assignment": {"cluster_name": name},
    })
}

fn early_mutation(headers: &Value) -> Value {
    only(headers, &["remove", "removeOnMatch"]);
    let names = headers["remove"].as_array().into_iter().flatten().map(|name| json!({"remove": name}));
    let matchers = headers["removeOnMatch"].as_array().into_iter().flatten();
    let matchers = matchers.map(|it| json!({"remove_on_match": {"key_matcher": string_matcher(it)}}));
    json!([{"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": names.chain(matchers).collect::<Vec<_>>(),
    }}])
}

fn access_log(settings: &Value) -> Value {
    only(settings, &["settings"]);
    let [setting] = &settings["settings"].as_array().unwrap()[..] else { panic!("one access log") };
    only(setting, &["sinks", "format"]);
    assert_eq!(setting["format"]["type"], "JSON");
    let [sink] = &setting["sinks"].as_array().unwrap()[..] else { panic!("one sink") };
    json!([{"name": "envoy.access_loggers.file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": sink["file"]["path"],
        "log_format": {"json_format": setting["format"]["json"]},
    }}])
}

fn tls_params(tls: &Value) -> Value {
    only(tls, &["minVersion"]);
    let oldest = match tls["minVersion"].as_str() {
        None | Some("1.2") => "TLSv1_2",
        Some(other) => panic!("minVersion {other} is not supported"),
    };
    json!({"tls_minimum_protocol_version": oldest, "tls_maximum_protocol_version": "TLSv1_3"})
}

/// The parts of the bootstrap that the patches change.
fn bootstrap(changes: &Value) -> Value {
    let mut made = json!({
        "layered_runtime": {"layers": [{"name": "global_config", "static_layer": {
            "re2.max_program_size.error_level": u32::MAX, "re2.max_program_size.warn_level": 1000,
        }}]},
        "stats_config": {"use_all_default_tags": true, "stats_tags": [
            {"regex": "^cluster(\\..+\\.(.+))\\.total_match_count$", "tag_name": "socket_match_name"},
        ]},
    });
    assert_eq!(changes["type"], "JSONPatch");
    for patch in changes["jsonPatches"].as_array().unwrap() {
        assert_eq!(patch["op"], "add");
        let (parent, key) = patch["path"].as_str().unwrap().rsplit_once('/').unwrap();
        match (made.pointer_mut(parent).expect("the template has it"), key) {
            (Value::Array(items), "-") => items.push(patch["value"].clone()),
            (Value::Object(object), key) => drop(object.insert(key.to_owned(), patch["value"].clone())),
            other => panic!("{other:?} is not supported"),
        }
    }
    made
}

fn string_matcher(matcher: &Value) -> Value {
    match matcher["type"].as_str() {
        Some("Prefix") => json!({"prefix": matcher["value"]}),
        Some("RegularExpression") => json!({"safe_regex": {"regex": matcher["value"]}}),
        other => panic!("the matcher {other:?} is not supported"),
    }
}

/// A Kubernetes quantity in bytes.
fn bytes(quantity: &Value) -> Option<u64> {
    let text = quantity.as_str()?;
    let (number, unit) = [("Ki", 1024), ("Mi", 1_048_576)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or_else(|| panic!("the quantity {text} is not supported"));
    Some(number.parse::<u64>().unwrap() * unit)
}

/// A Go duration in Envoy's form.
fn duration(go: &Value) -> String {
    let text = go.as_str().unwrap();
    match text.strip_suffix("ms") {
        Some(milliseconds) => format!("{}s", milliseconds.parse::<f64>().unwrap() / 1000.0),
        None => text.to_owned(),
    }
}

/// Sets a duration, if the policy has it.
fn set(into: &mut Value, key: &str, go: &Value) {
    if !go.is_null() {
        into[key] = json!(duration(go));
    }
}

#[track_caller]
fn only(object: &Value, known: &[&str]) {
    let keys = object.as_object().into_iter().flat_map(Map::keys);
    let unknown: Vec<&String> = keys.filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "not supported: {unknown:?}");
}
