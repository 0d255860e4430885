"""The variants to compare: envoy.yaml with another filter in the gate's place."""

import dataclasses
import pathlib
import re

from parts import BENCHES, EMPTY_NATIVE, EMPTY_WASM, NATIVE, ROOT, WASM, Failed
from tokens import Tokens

# V8 and LuaJIT compile hot code while it runs. After this many requests most of it is compiled.
WARM_V8 = 12_000
WARM_LUAJIT = 4_000
WARM = 400


@dataclasses.dataclass
class Variant:
    """An Envoy to measure, and the requests to it."""

    name: str
    label: str
    text: str
    path: str = "/webhook"
    # The hook that a variant judges for; the others let every request pass.
    hook: str | None = None
    # Whether the gate's own counter has to move.
    counts: bool = False
    warm: int = WARM
    # The configuration of the service behind ext_authz.
    service: str | None = None


class Shipped:
    """envoy.yaml without the inbox, and the gate's configuration in it."""

    def __init__(self):
        text = (ROOT / "envoy.yaml").read_text()
        text = change(text, r"blobgate\.inbox: 100\b", "blobgate.inbox: 0")
        # Envoy flushes statistics by the clock: under valgrind that would be much of a request.
        text = change(text, r"^stats_config:\n", "stats_flush_interval: 299s\nstats_config:\n", re.MULTILINE)
        # So that the counters have the same names with both modules.
        key = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix"
        if key not in text:
            text = change(text, r"( +)(blobgate\.inbox: 0\n)", rf"\1\2\1{key}: true\n")
        self.text = text
        self.filter = found(text, r"          - name: blobgate\n(?: {12}.*\n)+")
        self.signs = found(self.filter, r"(?<=^ {18}value:\n)(?: {20}.*\n)+", re.MULTILINE)
        self.open = change(self.signs, r" *sign: \{env: .*\n", "")
        # As Lua and ext_authz do: no confirmation, and an authenticated sender's violation is refused.
        rule = r"trust: \{any_of: \[token, confirmed\]\}(\n(?:.*\n)*? +)quarantine: route"
        self.hs256 = change(self.open, rule, r"trust: {any_of: [token]}\1quarantine: none")

    def eddsa(self, public):
        return change(self.hs256, r"\{alg: HS256, env: BLOBGATE_TOKEN_KEY\}", f'{{alg: EdDSA, public: "{public}"}}')

    def with_ranges(self, number):
        """The hook's `source` has this many ranges. No two are adjacent."""
        ranges = [f"10.{place >> 7}.{place % 128 * 2}.0/24" for place in range(number - 1)]
        sources = f"source: [{', '.join([*ranges, '127.0.0.0/8'])}]"
        return re.sub(r"source: \[.*?\]", sources, self.open, count=1)

    def with_hooks(self, number):
        """The hook is the last of this many."""
        rest = "dialect: veo3, source: any, trust: open, result_url: any, quarantine: none"
        others = "".join(
            f"{' ' * 20}- {{name: h{place}, path: /hooks/h{place}, {rest}}}\n" for place in range(number - 1)
        )
        first = found(self.open, r" {20}- name: veo3\n(?: {22}.*\n)+")
        return change(self.open, r"(?<=hooks:\n)(?: {20}(?:-| |#).*\n)+", lambda _: others + first)

    def wasm(self, module, configuration=None):
        block = change(self.filter, r"filename: \S+\.wasm", f"filename: {module}")
        return block.replace(self.signs, configuration or self.signs)

    def native(self, module, configuration=None):
        name = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
        return (
            "          - name: blobgate\n            disabled: true\n            typed_config:\n"
            f'              "@type": {name}\n'
            f"              dynamic_module_config: {{name: blobgate, module: {{local: {{filename: {module}}}}}, "
            "do_not_close: true, metrics_namespace: wasmcustom}\n"
            "              filter_name: blobgate\n              filter_config:\n"
            '                  "@type": type.googleapis.com/google.protobuf.Struct\n'
            f"                  value:\n{configuration or self.open}"
        )

    def lua(self):
        script = (BENCHES / "instead/gate.lua").read_text().splitlines()
        return (
            "          - name: blobgate\n            disabled: true\n            typed_config:\n"
            '              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n'
            "              default_source_code:\n                inline_string: |\n"
            + "".join(f"                  {line}".rstrip() + "\n" for line in script)
        )

    def ext_authz(self):
        return (
            "          - name: blobgate\n            disabled: true\n            typed_config:\n"
            '              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n'
            "              http_service:\n"
            '                server_uri: {uri: "http://127.0.0.1:1", cluster: ext_authz, timeout: 5s}\n'
            "                authorization_response:\n"
            "                  allowed_upstream_headers:\n"
            "                    patterns: [{prefix: blobgate-}, {prefix: webhook-}, {exact: idempotency-key}, {exact: content-type}]\n"
            "              allowed_headers:\n"
            "                patterns: [{exact: content-type}, {exact: content-encoding}, {exact: x-forwarded-proto}, {exact: x-envoy-external-address}]\n"
            "              with_request_body: {max_request_bytes: 65536, allow_partial_message: false}\n"
            "              status_on_error: {code: 503}\n"
            "              clear_route_cache: true\n"
        )

    def put(self, block):
        """An Envoy with this filter, which judges."""
        return self.text.replace(self.filter, block)

    def pass_all(self, block=""):
        """An Envoy with this filter or none. The route of an unjudged request leads to the service."""
        route = r"(- name: not-judged\n(?: +.*\n)*?)( +)direct_response: .*\n +response_headers_to_add: .*\n"
        return change(self.put(block), route, r"\1\2route: *to_video_service\n")

    def put_ext_authz(self):
        cluster = (
            "  - name: ext_authz\n    type: STATIC\n    connect_timeout: 1s\n    circuit_breakers: &open_breakers\n"
            "      thresholds: [{max_connections: 1024, max_pending_requests: 1024, max_requests: 1024}]\n"
            "    load_assignment:\n      cluster_name: ext_authz\n      endpoints: [{lb_endpoints: "
            "[{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: EXT_AUTHZ}}}}]}]\n"
        )
        return change(self.put(self.ext_authz()), r"^  clusters:\n", lambda clusters: clusters[0] + cluster, re.MULTILINE)


def variants(against=None):
    """All variants by name. `against` is an earlier module."""
    shipped, tokens = Shipped(), Tokens()
    hs256, eddsa = f"/hooks/veo3/{tokens.hs256()}", f"/hooks/veo3/{tokens.eddsa()}"
    found_variants = [
        Variant("none", "no filter", shipped.pass_all()),
        Variant("empty-native", "empty native module", shipped.pass_all(shipped.native(EMPTY_NATIVE))),
        Variant("empty-wasm", "empty Wasm filter", shipped.pass_all(shipped.wasm(EMPTY_WASM)), warm=WARM_V8),
    ]
    gates = [("native", "native gate", shipped.native, NATIVE, WARM), ("wasm", "Wasm gate", shipped.wasm, WASM, WARM_V8)]
    for name, label, block, module, warm in gates:

        def gate(suffix, more, configuration, path="/webhook", hook="veo3"):
            text = shipped.put(block(module, configuration))  # noqa: B023
            found_variants.append(Variant(name + suffix, label + more, text, path, hook, True, warm))  # noqa: B023

        gate("", "", shipped.open)
        gate("-signs", ", signs", shipped.signs)
        gate("-hs256", ", HS256 token", shipped.hs256, hs256, "veo3-token")
        gate("-eddsa", ", EdDSA token", shipped.eddsa(tokens.public), eddsa, "veo3-token")
    for suffix, more, path, hook in (("", "", "/webhook", "veo3"), ("-hs256", ", HS256 token", hs256, "veo3-token")):
        lua = Variant(f"lua{suffix}", f"Lua{more}", shipped.put(shipped.lua()), path, hook, warm=WARM_LUAJIT)
        service = shipped.put_ext_authz()
        found_variants += [
            lua,
            Variant(f"ext-authz{suffix}", f"ext_authz{more}", service, path, hook, service=shipped.hs256),
        ]
    if against:
        text = shipped.put(shipped.wasm(pathlib.Path(against).resolve(), shipped.open))
        found_variants.append(Variant("before", "Wasm gate before", text, "/webhook", "veo3", True, WARM_V8))
    return {variant.name: variant for variant in found_variants}


def growth():
    """The variants whose configuration grows, by name."""
    shipped = Shipped()
    sizes = {
        "ranges-10": shipped.with_ranges(10),
        "ranges-10000": shipped.with_ranges(10_000),
        "hooks-1": shipped.with_hooks(1),
        "hooks-1000": shipped.with_hooks(1_000),
    }
    found_variants = {}
    for size, configuration in sizes.items():
        for module, block, path, warm in (("native", shipped.native, NATIVE, WARM), ("wasm", shipped.wasm, WASM, WARM_V8)):
            name = f"{module}-{size}"
            text = shipped.put(block(path, configuration))
            found_variants[name] = Variant(name, name, text, "/webhook", "veo3", True, warm)
    return found_variants


def on_ports(text, upstream, ext_authz):
    """The configuration with free ports, and the ports of its service and of ext_authz."""
    for port in (8443, 8080, 8090, 9901):
        text = change(text, rf"port_value: {port}\b", "port_value: 0")
    # The admin page gets a port, which --admin-address-path writes to a file.
    text = change(text, r"pipe: {path: \./run/admin\.sock, mode: 384}", "socket_address: {address: 127.0.0.1, port_value: 0}")
    # Nothing listens at port 1: an inbox on the usual port must not get this Envoy's access log.
    text = change(text, r"port_value: 9087\b", "port_value: 1")
    text = text.replace("port_value: EXT_AUTHZ", f"port_value: {ext_authz}")
    return change(text, r"port_value: 9081\b", f"port_value: {upstream}")


def change(text, pattern, replacement, flags=0):
    text, times = re.subn(pattern, replacement, text, flags=flags)
    if times != 1:
        raise Failed(f"envoy.yaml has `{pattern}` {times} times, and benches/variants.py expects it once: adapt the latter.")
    return text


def found(text, pattern, flags=0):
    match = re.search(pattern, text, flags)
    if not match:
        raise Failed(f"envoy.yaml has no `{pattern}`, and benches/variants.py expects it: adapt the latter.")
    return match[0]
