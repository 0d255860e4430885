//! The rules by name: what each finds, and why it matters. The book's page of checks is made of them.

/// A rule of `blobgate check`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// In kebab case.
    pub(crate) name: &'static str,
    /// `error`, `warning`, `not checked`, or those that it may have.
    pub(crate) level: &'static str,
    /// What it finds.
    pub(crate) finds: &'static str,
    /// What happens with that configuration.
    pub(crate) effect: &'static str,
}

macro_rules! rules {
    ($($constant:ident $name:literal, $level:literal, $finds:literal, $effect:literal;)*) => {
        $(pub(in crate::check) static $constant: Rule = Rule { name: $name, level: $level, finds: $finds, effect: $effect };)*

        /// Every rule, in the order of the page.
        #[cfg(test)]
        pub(in crate::check) static ALL: &[&Rule] = &[$(&$constant,)*];
    };
}

rules! {
    GATE_NOWHERE "gate-nowhere", "error, not checked",
        "The gate is no HTTP filter of a listener, mostly by a misspelled key or type. Not checked inside another filter.",
        "Envoy refuses the file, or never runs the gate.";
    HOST_FLAG "host-flag", "error",
        "`allow_on_headers_stop_iteration` is missing or not true.",
        "Envoy gives the gate no body. Every delivery gets 503 `host-misconfigured`.";
    FAILURE_POLICY "failure-policy", "error, warning",
        "`failure_policy` is not `FAIL_RELOAD`, or `fail_open` is true.",
        "`FAIL_OPEN` forwards unjudged deliveries after a trap. `FAIL_CLOSED` refuses all until Envoy restarts.";
    RUNTIME "wasm-runtime", "error",
        "`runtime` is not `envoy.wasm.runtime.v8`.",
        "Envoy's release builds have no other runtime, and do not start.";
    MISSING_FILE "module-file", "error, warning",
        "`vm_config` or `dynamic_module_config` names no module, or a file that this machine does not have.",
        "Envoy does not start.";
    VM_ID "vm-id", "warning",
        "Two gates with `confirm` have different values of `vm_id`, or one is the Wasm module and one the native module.",
        "Each counts `confirm.per_minute` by itself, so that together they exceed it.";
    TERMINAL "terminal-filter", "error",
        "The native module has `terminal_filter: true`.",
        "Envoy does not start.";
    KEPT_LOADED "kept-loaded", "warning",
        "The native module lacks `do_not_close: true`, in Envoy Gateway `doNotClose`.",
        "After a change of the listener, the count of `confirm.per_minute` begins again.";
    COUNTER_NAMES "counter-names", "warning",
        "No static layer has `envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix: true`, which the native module needs.",
        "Its counters get a prefix. Alerts and dashboards find them only where Prometheus strips it.";
    FILTER_AFTER_ROUTER "filter-after-router", "error",
        "The gate stands after the router.",
        "Envoy does not start, since the router is the last filter.";
    FILTER_ORDER "filter-order", "warning",
        "A filter beside the gate may change requests, such as Lua or ext_proc.",
        "The gate judges or signs another request than the service gets.";
    PEER_FILTER "peer-filter", "error",
        "A hook has `behind_proxy`, and no filter before the gate sets `blobgate.peer`.",
        "Every delivery of the hook gets 403 `https-required`.";
    ELSEWHERE "elsewhere", "not checked",
        "Filters, routes, listeners or clusters come from another file or a server.",
        "The file does not show them. Check them there.";
    UNKNOWN_FILTER "unknown-filter", "error, warning",
        "A name in `typed_per_filter_config` is no HTTP filter of this listener.",
        "Envoy ignores the entry, so the gate does not run.";
    EMPTY_ENTRY "empty-filter-entry", "error",
        "A `FilterConfig` in `typed_per_filter_config` has neither `config` nor `disabled: true`.",
        "Envoy does not start.";
    DISABLED_HOOK "gate-not-enabled", "error",
        "The first route for a hook's path does not enable the gate.",
        "The gate never runs on the hook.";
    UNROUTED_HOOK "hook-without-route", "error",
        "No route matches a hook's path.",
        "Deliveries get 404.";
    OPEN_ROUTE "no-closed-route", "error, warning",
        "The first route for unjudged deliveries of a hook is not `direct_response: {status: 503}`.",
        "Without a running gate, forged events reach a service, or genuine ones are lost.";
    UNGATED_ROUTE "ungated-route", "error, warning",
        "A route or TCP proxy without the gate leads to a cluster that gets judged deliveries. An error on a hook's path.",
        "Forged events reach the service.";
    UNGATED_JUDGED "ungated-judged-route", "warning",
        "A route that matches `blobgate-verdict` does not enable the gate.",
        "It stays closed only as long as Envoy removes the gate headers of clients.";
    EARLY_REMOVAL "early-removal", "error, warning",
        "`early_header_mutation_extensions` does not remove `blobgate-` headers of clients. A warning where another manifest may.",
        "A client's `blobgate-verdict` chooses the route. While the gate does not run, forged events reach services.";
    EXPOSED_SERVICES "exposed-services", "error",
        "A listener without the gate routes by gate headers, and other machines reach it.",
        "Any client can forge these headers.";
    HOST_NAMES "host-names", "warning",
        "Such a listener takes every `Host`.",
        "A web page that rebinds its name can reach the services.";
    UNDELIVERED "undelivered", "error",
        "No route leads a verdict of a hook to a cluster.",
        "These events never arrive.";
    INBOX_BYPASS "inbox-bypass", "error",
        "The route to the inbox takes no delivery of a verdict of a hook, by its `match` or after another route.",
        "These events are not stored.";
    QUARANTINE_ROUTE "quarantine-route", "error",
        "Quarantined deliveries lead to a service that takes accepted ones.",
        "The service may act on an invalid event.";
    UNKNOWN_HEADER "unknown-gate-header", "error",
        "A route matches a `blobgate-` header that the gate does not set.",
        "The route never matches, or takes everything.";
    GATE_HEADERS "gate-headers", "error",
        "A route adds or removes a header that only the gate sets.",
        "Services act on another verdict or signature than the gate's.";
    REDIRECT "redirect", "warning",
        "`require_tls` redirects plain HTTP on a hook's host.",
        "RunBlob does not follow redirects.";
    UNKNOWN_CLUSTER "unknown-cluster", "error",
        "A route names a cluster that the file does not have.",
        "Envoy does not start.";
    PATH_SPELLING "path-spelling", "error, warning",
        "`normalize_path`, `merge_slashes` or `path_with_escaped_slashes_action` leaves several spellings of a path. An error where other routes lead to clusters.",
        "An unjudged delivery takes another route than the hook's.";
    UNDERSCORES "underscore-headers", "error, warning",
        "`headers_with_underscores_action` is not `DROP_HEADER`.",
        "`REJECT_REQUEST` refuses genuine deliveries with 400.";
    LOCAL_REPLY "local-reply", "error",
        "`local_reply_config` replaces a status of Envoy by one below 500.",
        "RunBlob does not send the delivery again.";
    INTERNAL_ADDRESSES "internal-addresses", "warning",
        "`internal_address_config` is missing or empty.",
        "Clients with a private address set timeouts and retries by `x-envoy-` headers.";
    CONTINUE "expect-continue", "error",
        "`proxy_100_continue` is true.",
        "Sender and gate wait for each other.";
    UPGRADES "upgrades", "warning",
        "`upgrade_configs` lets upgraded requests pass.",
        "The gate never sees their end.";
    REFUSED_FORMS "refused-forms", "warning",
        "`ignore_http_11_upgrade` or `override_stream_error_on_invalid_http_message` is missing.",
        "Envoy refuses harmless forms of a genuine delivery.";
    CLIENT_ADDRESS "client-address", "error, warning",
        "`use_remote_address` is not true. An error with an allowlist in `source`, or with `behind_proxy`.",
        "A client's `x-forwarded-for` is its address. The gate refuses it as `source-denied`.";
    TRUSTED_HOPS "trusted-hops", "error, warning",
        "`xff_num_trusted_hops` and the hook's `behind_proxy` do not fit each other.",
        "Every delivery gets 403.";
    PROXY_PROTOCOL "proxy-protocol", "warning",
        "Clients may connect without the PROXY protocol, or with it from any address where an allowlist decides.",
        "Any client that reaches the port may write its address.";
    TLS_MISSING "tls-missing", "error",
        "A hook has `tls_here`, and none of its listeners ends TLS. Or a listener has no certificate.",
        "Every delivery gets 403 `https-required`, or Envoy does not start.";
    OLD_TLS "old-tls", "error, warning",
        "The listener allows TLS 1.0 or 1.1, or nothing newer.",
        "These versions are insecure.";
    CLIENT_CERTIFICATE "client-certificate", "error",
        "`require_client_certificate` is true.",
        "RunBlob has no certificate. No delivery arrives.";
    PLAIN_HTTP "plain-http", "warning",
        "A hook has `transport: any`.",
        "Others on the way read its tokens, and change its events.";
    BUFFER_LIMIT "buffer-limit", "error, warning",
        "A buffer of Envoy is smaller than the largest `max_body_bytes`. A warning for a route's buffer. The native module sets the listener's itself.",
        "Envoy answers 413, or resets the HTTP/2 stream. A route does not repeat a larger body.";
    HEADER_LIMIT "header-limit", "error",
        "`max_request_headers_kb` or `max_headers_count` allows more than the inbox reads.",
        "The inbox refuses such a delivery at each attempt.";
    SENDER_TIMEOUT "sender-timeout", "error",
        "`request_timeout` and a route's `timeout` together reach RunBlob's 30 s, or the timeout is 0.",
        "RunBlob gives up and sends again what has arrived.";
    CONFIRM_TIMEOUT "confirm-timeout", "error",
        "`request_timeout` is no longer than `confirm.timeout`.",
        "A slow confirmation ends in 408.";
    IDLE_TIMEOUT "idle-timeout", "warning",
        "`stream_idle_timeout`, `max_stream_duration` or a route's `idle_timeout` is shorter than a route's `timeout`, or `per_try_timeout` below a second.",
        "Envoy ends deliveries that are still on their way.";
    SLOW_CLIENTS "slow-clients", "warning",
        "`request_timeout` is missing or 0.",
        "A slow client occupies a connection and memory for minutes.";
    RETRIES "retries", "warning",
        "Envoy repeats deliveries that a service may have taken, or has fewer retries at a time than deliveries.",
        "The service gets an event twice, or a restart of it costs attempts.";
    LOGGED_PATH "logged-path", "error, warning",
        "An access log writes paths. An error where a hook has a token.",
        "A path contains the callback token.";
    TRACED_PATH "traced-path", "error, warning",
        "A tracer writes paths. An error where a hook has a token.",
        "A path contains the callback token.";
    CLIENT_SAMPLING "client-sampling", "warning",
        "A tracer is there, and `early_header_mutation_extensions` does not remove a client's `traceparent`.",
        "By its flag any client has its requests traced.";
    LOOPBACK_LISTENER "loopback-listener", "warning",
        "The gate listens on a loopback address.",
        "Only this machine reaches it.";
    PORT_TWICE "port-twice", "error",
        "Two listeners have one address.",
        "Envoy does not start.";
    ADMIN_ADDRESS "admin-address", "error, warning",
        "The admin page has a port. An error if other machines reach it.",
        "Its clients can stop Envoy.";
    ADMIN_EXPOSED "admin-exposed", "error, warning",
        "A route leads to more of the admin page than metrics and readiness, or other machines reach it.",
        "Its clients can stop Envoy.";
    REGEX "regex", "error",
        "A regular expression has an open group or another fault.",
        "Envoy refuses it.";
    DURATION "duration", "error",
        "A time is no number with `s`, such as `20` or `20000ms`.",
        "Envoy refuses it.";
    DOMAINS "domains", "error",
        "A virtual host has no domain, or one that another has.",
        "Envoy refuses it.";
    PATCH "patch", "error, warning",
        "An EnvoyFilter has a key, kind, operation or context that istiod does not know, or that does not insert the gate. Or the gate's host has no virtual host.",
        "istiod ignores the patch without a message. The gate does not run.";
    NODE "node", "error",
        "`credential_injector` is there, and `node.id` or `node.cluster` is not.",
        "Envoy does not start.";
    INBOX_OFF "inbox-off", "warning",
        "`blobgate.inbox` is less than 100.",
        "Deliveries bypass the inbox. A long outage of a service loses them.";
    INBOX_PORT "inbox-port", "error",
        "The inbox's deliveries and its health checks have one port.",
        "One of them reaches the wrong listener.";
    INBOX_HEALTH "inbox-health", "warning",
        "The inbox's cluster has no health checks, or a `healthy_panic_threshold` other than 100.",
        "No metric shows that it is away, or Envoy refuses what it could store.";
    OUTLIERS "outlier-detection", "warning",
        "A cluster that gets deliveries has `outlier_detection`.",
        "After some failures, Envoy refuses deliveries without an attempt.";
    CLUSTER_LOOP "cluster-loop", "error",
        "A cluster of a service or of the inbox is a listener of this Envoy that leads there again.",
        "Deliveries go in a circle.";
    STATIC_NAME "static-name", "error",
        "A cluster of type `STATIC` has a name as its address.",
        "Envoy does not start.";
    DNS_FAMILY "dns-family", "warning",
        "`dns_lookup_family` of a cluster with a name is missing, `AUTO` or `V6_ONLY`.",
        "On a machine without IPv6, every call fails if the name has an IPv6 address.";
    CONFIRM_CLUSTER "confirm-cluster", "error, not checked",
        "`confirm.cluster` is no cluster of the file.",
        "No delivery is ever confirmed.";
    CONFIRM_PLAINTEXT "confirm-plaintext", "error, warning",
        "The status API's cluster has no TLS. A warning on this machine.",
        "Others on the way read the API key, and confirm forged events.";
    CONFIRM_UNVERIFIED "confirm-unverified", "error, warning",
        "The status API's certificate or its name is not verified. A warning on this machine.",
        "Any host on the way can confirm forged events.";
    CONFIRM_NAME "confirm-name", "error, warning",
        "`sni` of the status API's cluster is missing, or differs from `confirm.authority`.",
        "Its servers may refuse the connection.";
    CONFIRM_CERTIFICATE "confirm-certificate", "error",
        "The status API's certificate cannot pass: the names are those of another host, or `trusted_ca` is the development certificate.",
        "Every confirmation fails.";
    CONFIRM_KEY "confirm-key", "warning",
        "The status API's cluster has no `credential_injector`.",
        "Without the API key, every call gets 401.";
    CONFIRM_SANDBOX "confirm-sandbox", "warning",
        "In the environment `production`, the status API's cluster leads to this machine.",
        "A sandbox confirms events that never happened.";
}
