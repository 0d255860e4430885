"""One checked load, and the answers of a variant."""

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import time

from parts import BENCHES, CONNECTIONS, LIBC, PATIENCE, PR_SET_PDEATHSIG, Failed, find


def load(machine, envoy, upstream, seconds, variant):
    """Drives one Envoy for some seconds. Returns its CPU per request. Fails unless the service has answered each request 200."""
    stats, arrived = envoy.idle_stats(), upstream.count()
    service = (lambda: envoy.service.cpu()) if envoy.service else (lambda: 0)
    started, (busy, stolen) = time.monotonic(), machine.busy()
    ours, served, cpu = own_cpu() + upstream.cpu(), service(), envoy.cpu()
    wrk = subprocess.run(
        [find("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", BENCHES / "load.lua"]
        + [f"https://127.0.0.1:{envoy.port}", "--", str(time.time_ns() % 2**31), variant.path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds + 60,
        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    cpu = envoy.cpu() - cpu
    served = service() - served
    ours = own_cpu() + upstream.cpu() - ours
    busy, stolen = (now - before for now, before in zip(machine.busy(), (busy, stolen)))
    elapsed = time.monotonic() - started
    line = re.search(r"^result (.*)$", wrk.stdout, re.MULTILINE)
    if wrk.returncode != 0 or not line:
        raise Failed(f"wrk failed: {wrk.stdout.strip() or wrk.returncode}")
    seen = {key: int(value) for key, value in (pair.split("=") for pair in line[1].split())}
    before, stats = stats, envoy.idle_stats()
    arrived = upstream.count() - arrived
    check(seen, arrived, lambda name: stats.get(name, 0) - before.get(name, 0), variant)
    return {
        "cpu_us": cpu / 1000 / seen["answered"],
        "service_us": served / 1000 / seen["answered"],
        "requests": seen["answered"],
        "requests_per_second": seen["answered"] / (seen["microseconds"] / 1e6),
        "busy": cpu / 1e9 / elapsed,
        "others": max(0, busy - cpu - ours - served) / 1e9 / elapsed / len(machine.cores),
        "stolen": stolen / 1e9 / elapsed / len(machine.cores),
    }


def own_cpu():
    """The CPU time of this script and of wrk, in nanoseconds."""
    times = os.times()
    return int(sum(times[:4]) * 1e9)


def check(seen, arrived, moved, variant):
    """Fails unless each request was judged and served. Otherwise a variant would look too cheap."""
    errors = {kind: seen[kind] for kind in ("connect", "read", "write", "timeout", "status") if seen[kind]}
    if errors:
        raise Failed(f"some requests did not get 200: {errors}.")
    answered, sent = seen["answered"], seen["sent"]
    # wrk stops while each connection has a request in flight.
    if not (0 < answered <= sent <= answered + CONNECTIONS):
        raise Failed(f"wrk sent {sent} requests and got {answered} responses.")
    if not answered <= arrived <= sent:
        raise Failed(f"wrk sent {sent} requests and got {answered} responses, and {arrived} reached the service.")
    for kind in ("1xx", "3xx", "4xx", "5xx"):
        if moved(f"http.edge.downstream_rq_{kind}"):
            raise Failed(f"Envoy answered {kind} to {moved(f'http.edge.downstream_rq_{kind}')} requests.")
    if not answered <= moved("cluster.video_service.upstream_rq_200") <= sent:
        raise Failed("the service did not answer every request 200.")
    counter = "wasmcustom.blobgate_responses_total.environment=development.hook={}.status=200.reason=-"
    accepted = moved(counter.format(variant.hook or "veo3"))
    if variant.counts and not answered <= accepted <= sent:
        raise Failed(f"{answered} requests got a response, and the gate accepted {accepted}.")
    if not variant.counts and accepted:
        raise Failed("a variant without the gate has the gate.")


# The answers of a variant that judges.

GENERATION = "8b1f4f0e-5bef-4e14-8000-00000000000a"


def payload(**changes):
    """The provider's payload, with other fields; `None` leaves one out."""
    text = re.search(r"\[\[(.*?)\]\]", (BENCHES / "load.lua").read_text(), re.DOTALL)[1].replace("%s", GENERATION)
    fields = {name: value for name, value in (json.loads(text) | changes).items() if value is not ...}
    return json.dumps(fields)


def of_size(size, **changes):
    """A payload of about this many bytes: its prompt is longer."""
    return payload(prompt="a cat, " * max(0, (size - len(payload(prompt=""))) // 7), **changes)


def probes(variant, tokens):
    """Requests and the status of their answers."""
    whole, path = payload(), variant.path
    rows = [
        ("valid", path, {}, whole, 200),
        ("with spaces and escapes", path, {}, payload(prompt='"\\ \u00e9 \U0001f600 \u0001').replace(", ", " ,\n "), 200),
        ("no POST", path, {":method": "GET"}, "", 405),
        ("not JSON", path, {}, whole[:-1], 400),
        ("two values", path, {}, whole + "{}", 400),
        ("not UTF-8", path, {}, whole.encode().replace(b"cat", b"c\xffat"), 400),
        ("a key twice", path, {}, whole[:-1] + ', "status": "failed"}', 400),
        ("too deep", path, {}, payload(seed=json.loads("[" * 20 + "]" * 20)), 400),
        ("no body", path, {}, "", 400),
        ("gzip", path, {"content-encoding": "gzip"}, whole, 415),
        ("too large", path, {}, of_size(65_600), 413),
        ("another status", path, {}, payload(status="done"), 422),
        ("no id", path, {}, payload(generation_id=...), 422),
        ("another id", path, {}, payload(generation_id="x"), 422),
        ("a forged verdict", path, {"blobgate-verdict": "accepted", "blobgate-event": "completed"}, "{}", 422),
        ("another path", "/webhook/x", {}, whole, 404),
    ]
    if "/hooks/" in path and tokens:
        before = "/hooks/veo3/"
        rows += [
            ("no token", "/hooks/veo3", {}, whole, 401),
            ("a changed token", path[:-2] + ("AA" if path[-2:] != "AA" else "BA"), {}, whole, 401),
            ("no form of a token", before + "a.b", {}, whole, 401),
            ("an old token", before + tokens(exp=1_000_000_000), {}, whole, 401),
            ("another hook's token", before + tokens(aud="development/veo3"), {}, whole, 401),
            ("another host", path, {}, payload(video_url="https://evil.example/a.mp4"), 422),
            ("a path in the token", path + "/x", {}, whole, 404),
        ]
    return rows


def check_answers(envoy, variant, tokens=None):
    """Fails unless a variant that judges gives each answer, and the service gets the gate headers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, path, headers, body, expected in probes(variant, tokens):
        connection = http.client.HTTPSConnection("127.0.0.1", envoy.port, context=context, timeout=PATIENCE)
        headers = {"content-type": "application/json", "x-probe": "1"} | headers
        method = headers.pop(":method", "POST")
        connection.request(method, path, body.encode() if isinstance(body, str) else body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != expected:
            reason = answer.headers.get("blobgate-reason", "no reason")
            wrong = f"`{name}` got {answer.status} ({reason}), and {expected} is right. Its last lines:"
            raise Failed(f"{variant.label}: {wrong}\n{envoy.last_lines()}")
        got = f"accepted {variant.hook} completed veo3:{GENERATION}:completed"
        if expected == 200 and answer.headers["x-got"] != got:
            raise Failed(f"{variant.label}: `{name}` reached the service with `{answer.headers['x-got']}`, and `{got}` is right.")
