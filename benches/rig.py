"""Shared parts of benches/run and benches/count: Envoys with and without a filter, their service, and a checked load."""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCHES = ROOT / "benches"
GATE = ROOT / "target/wasm32-wasip1/release/blobgate.wasm"
EMPTY = ROOT / "target/bench/wasm32-wasip1/release/empty_filter.wasm"
ENVOY_VERSION = "1.40.0"

UNJUDGED = ("no filter", "empty filter")
CONNECTIONS = 16
# The kernel kills the children when this script dies.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """One sentence for the user."""


class Options(argparse.ArgumentParser):
    """The common options."""

    def __init__(self, prog, description):
        super().__init__(prog=prog, description=description)
        self.add_argument("--json", action="store_true", help="print the result as JSON")
        self.add_argument("--smoke", action="store_true", help="only a short run; checks no numbers")
        self.add_argument(
            "--also",
            action="append",
            default=[],
            metavar="NAME=MODULE",
            help="another build of the gate for the same run; can be repeated",
        )

    def read(self):
        options = self.parse_args()
        if any("=" not in also for also in options.also):
            self.error("--also takes NAME=MODULE")
        return options


class Rig:
    """Starts Envoys on one core, and everything else on another."""

    def __init__(self, stack):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Failed("this needs two cores, one for Envoy and one for its client and service.")
        need("wrk", "wrk")
        need("nginx", "nginx")
        self.envoy = output([ROOT / "dev/envoy", ENVOY_VERSION], "cannot install Envoy").strip()
        output([ROOT / "dev/certificate"], "cannot create the certificate")
        output([ROOT / "dev/secrets"], "cannot create the development secrets")
        build_empty_filter()
        if not GATE.exists():
            raise Failed("the module is missing: run `make build`.")
        self.stack, self.cores = stack, cores[:2]
        self.work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blobgate-bench-")))
        # This script runs on the other core too.
        os.sched_setaffinity(0, {cores[1]})
        self.upstream = Upstream(stack, self.work, cores[1])
        self.machine = Machine(self.cores)

    def start(self, number, text, under=()):
        """An Envoy with this configuration. `under` is a command that runs it."""
        text = on_ports(text, self.upstream.port)
        return Gate(self.stack, self.work, [*under, self.envoy], self.cores[0], f"envoy-{number}", text)

    def load(self, name, gate, seconds):
        """Drives the Envoy of this variant for some seconds."""
        return load(self.machine, gate, self.upstream, seconds, judged=name not in UNJUDGED)


def begin(name, measure):
    """Runs `measure` with a stack that ends all started programs. Returns its result."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda *_: sys.exit(1))
    try:
        with contextlib.ExitStack() as stack:
            return measure(stack)
    except Failed as failed:
        sys.exit(f"{name}: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)


def need(tool, package):
    # Debian installs nginx in /usr/sbin, which a user's PATH lacks.
    if not find(tool):
        raise Failed(f"{tool} is missing. Install the package {package}.")


def find(tool):
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def output(command, sentence):
    """The stdout of a command. Its stderr goes to the user."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{sentence}.")
    return done.stdout


def build_empty_filter():
    done = subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip1"]
        + ["--target-dir", ROOT / "target/bench"],
        # For its own .cargo/config.toml.
        cwd=BENCHES / "empty-filter",
        check=False,
    )
    if done.returncode != 0:
        raise Failed("cannot build the empty filter: see above.")
    if b"proxy_on_log" not in EMPTY.read_bytes():
        raise Failed("the empty filter was not linked like the SDK does: see benches/empty-filter/.cargo/config.toml.")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# The variants: envoy.yaml with minimal changes.


def variants(also):
    """The configurations to compare, by name. `also` names further modules, NAME=MODULE."""
    template = without_inbox((ROOT / "envoy.yaml").read_text())
    gate = without_signature(template)
    named = {
        "no filter": without_filter(template),
        "empty filter": with_empty_filter(template),
        "gate": gate,
        "gate that signs": template,
    }
    for name, module in (entry.split("=", 1) for entry in also):
        named[name] = with_module(gate, pathlib.Path(module).resolve())
    return named


def without_inbox(text):
    return change(text, r"blobgate\.inbox: 100\b", "blobgate.inbox: 0", 1)


def without_filter(template):
    return unjudged(change(template, r"          - name: blobgate\n(?: {12}.*\n)+", "", 1))


def without_signature(template):
    """Signing is optional, and the limit is for the required parts."""
    return change(template, r" *sign: \{env: .*\n", "", 1)


def with_empty_filter(template):
    return unjudged(with_module(template, EMPTY))


def with_module(template, module):
    return change(template, r"filename: \./target/wasm32-wasip1/release/blobgate\.wasm", f"filename: {module}", 1)


def unjudged(text):
    """Without the gate, the route for requests without a verdict leads to the service."""
    return change(
        text,
        r"(- name: not-judged\n(?: +.*\n)*?)( +)direct_response: .*\n +response_headers_to_add: .*\n",
        r"\1\2route: *to_video_service\n",
        1,
    )


def on_ports(text, upstream):
    for port in (8443, 8080, 8090, 9901):
        text = change(text, rf"port_value: {port}\b", "port_value: 0", 1)
    # The admin page gets a port, which --admin-address-path writes to a file.
    text = change(text, r"pipe: {path: \./run/admin\.sock, mode: 384}", "socket_address: {address: 127.0.0.1, port_value: 0}", 1)
    return change(text, r"port_value: 9081\b", f"port_value: {upstream}", 1)


def change(text, pattern, replacement, times):
    text, found = re.subn(pattern, replacement, text)
    if found != times:
        raise Failed(f"envoy.yaml has `{pattern}` {found} times, and benches/rig.py expects {times}: adapt benches/rig.py.")
    return text


# Programs.


class Process:
    """A program on one core. It does not outlive this script."""

    def __init__(self, stack, name, command, core, log):
        self.name, self.log = name, log

        def in_child():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, {core})

        with open(log, "wb") as sink:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=sink,
                preexec_fn=in_child,
                # Only this script gets Ctrl-C, and it ends the others.
                start_new_session=True,
            )
        stack.callback(self.stop)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until(self, condition, what):
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} has ended. Its last lines:\n{self.last_lines()}")
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: no {what} within 60 s. Its last lines:\n{self.last_lines()}")
            time.sleep(0.02)

    def cpu(self):
        """The CPU time of all its threads, in nanoseconds."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def last_lines(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-10:]) or "    none"


class Machine:
    """The two cores: one for Envoy, one for everything else."""

    def __init__(self, cores):
        self.cores = cores

    def busy(self):
        """The busy time of the cores in nanoseconds, with stolen time."""
        total = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in {f"cpu{core}" for core in self.cores}:
                user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, fields[:8])
                total += user + nice + system + sum(interrupts_and_steal)
        return total * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Upstream(Process):
    """The service: one nginx process that answers 200 and counts."""

    def __init__(self, stack, work, core):
        self.port = free_port()
        config = work / "nginx.conf"
        # nginx never closes a connection first.
        config.write_text(
            f"""
            daemon off; master_process off; worker_processes 1; pid {work}/nginx.pid; error_log stderr;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
                client_body_temp_path {work}/nginx-body; proxy_temp_path {work}/nginx-proxy;
                fastcgi_temp_path {work}/nginx-fastcgi; uwsgi_temp_path {work}/nginx-uwsgi;
                scgi_temp_path {work}/nginx-scgi;
                default_type application/json;
                server {{
                    listen 127.0.0.1:{self.port};
                    location = /webhook {{ return 200 '{{"status":"received"}}'; }}
                    location = /count {{ stub_status; }}
                    location / {{ return 404; }}
                }}
            }}
            """
        )
        super().__init__(stack, "nginx", [find("nginx"), "-p", work, "-c", config], core, work / "nginx.log")
        self.probes = 0
        self.wait_until(lambda: fetch(self.port, "/count"), "response")
        self.probes = self.total()

    def count(self):
        """Requests so far, without those for the count."""
        self.probes += 1
        return self.total() - self.probes

    def total(self):
        page = fetch(self.port, "/count")
        if page is None:
            raise Failed("nginx does not answer.")
        return int(page.split("\n")[2].split()[2])


class Gate(Process):
    """One Envoy on one core."""

    def __init__(self, stack, work, program, core, name, text):
        config, admin = work / f"{name}.yaml", work / f"{name}.admin"
        config.write_text(text)
        # dev/with-secrets becomes Envoy, so there is one process to measure.
        command = [ROOT / "dev/with-secrets", *program, "-c", config, "--admin-address-path", admin]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        super().__init__(stack, "Envoy", command, core, work / f"{name}.log")
        address = self.wait_until(lambda: admin.exists() and admin.read_text().strip(), "admin address")
        self.admin = int(address.rsplit(":", 1)[1])
        self.wait_until(lambda: fetch(self.admin, "/ready"), "readiness")
        self.port = self.wait_until(self.edge_port, "TLS listener")

    def edge_port(self):
        listeners = json.loads(fetch(self.admin, "/listeners?format=json") or "{}")
        for listener in listeners.get("listener_statuses", []):
            if listener["name"] == "edge":
                return listener["local_address"]["socket_address"]["port_value"]
        return None

    def stats(self):
        text = fetch(self.admin, "/stats?usedonly&type=All")
        if text is None:
            raise Failed("Envoy's admin page does not answer.")
        pairs = (line.rsplit(": ", 1) for line in text.splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def idle_stats(self):
        """Waits until nothing is in flight, and returns the counters."""

        def idle():
            stats = self.stats()
            busy = ("http.edge.downstream_cx_active", "cluster.video_service.upstream_rq_active")
            return stats if not any(stats.get(name) for name in busy) else None

        return self.wait_until(idle, "end of all requests")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(port, path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return None


# One measurement.


def load(machine, gate, upstream, seconds, judged):
    """Drives one Envoy for some seconds. Returns its CPU per request. Fails unless the service has answered each request 200."""
    stats, arrived = gate.idle_stats(), upstream.count()
    started, busy, ours, cpu = time.monotonic(), machine.busy(), own_cpu() + upstream.cpu(), gate.cpu()
    wrk = subprocess.run(
        [find("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", BENCHES / "load.lua"]
        + [f"https://127.0.0.1:{gate.port}/webhook", "--", str(time.time_ns() % 2**31)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds + 60,
        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    cpu = gate.cpu() - cpu
    ours = own_cpu() + upstream.cpu() - ours
    busy = machine.busy() - busy
    elapsed = time.monotonic() - started
    line = re.search(r"^result (.*)$", wrk.stdout, re.MULTILINE)
    if wrk.returncode != 0 or not line:
        raise Failed(f"wrk failed: {wrk.stdout.strip() or wrk.returncode}")
    seen = {key: int(value) for key, value in (pair.split("=") for pair in line[1].split())}
    before, stats = stats, gate.idle_stats()
    arrived = upstream.count() - arrived
    check(seen, arrived, lambda name: stats.get(name, 0) - before.get(name, 0), judged)
    return {
        "cpu_us": cpu / 1000 / seen["answered"],
        "requests": seen["answered"],
        "requests_per_second": seen["answered"] / (seen["microseconds"] / 1e6),
        "busy": cpu / 1e9 / elapsed,
        "others": max(0, busy - cpu - ours) / 1e9 / elapsed / len(machine.cores),
    }


def own_cpu():
    """The CPU time of this script and of wrk, in nanoseconds."""
    times = os.times()
    return int(sum(times[:4]) * 1e9)


def check(seen, arrived, moved, judged):
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
    accepted = moved(
        "wasmcustom.blobgate_responses_total.environment=development.hook=veo3.status=200.reason=-"
    )
    if judged and not answered <= accepted <= sent:
        raise Failed(f"{answered} requests got a response, and the gate accepted {accepted}.")
    if not judged and accepted:
        raise Failed("a variant without the gate has a gate.")
