"""The parts of a measurement: programs on a core each, the service, Envoys."""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCHES = ROOT / "benches"
WASM = ROOT / "target/wasm32-wasip1/release/blobgate.wasm"
NATIVE = ROOT / "target/native/libblobgate.so"
EMPTY_WASM = ROOT / "target/bench/wasm32-wasip1/release/empty_filter.wasm"
EMPTY_NATIVE = ROOT / "target/empty-native/native/libblobgate.so"
ENVOY_VERSION = "1.40.0"
CONNECTIONS = 16
# In seconds. Under valgrind and other load, Envoy starts in two minutes.
PATIENCE = 300
# The kernel kills the children when this script dies.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failed(Exception):
    """One sentence for the user."""


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


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


class Process:
    """A program on these cores. It does not outlive this script."""

    def __init__(self, stack, name, command, cores, log):
        self.name, self.log = name, log

        def in_child():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, cores)

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
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} has ended. Its last lines:\n{self.last_lines()}")
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: no {what} within {PATIENCE} s. Its last lines:\n{self.last_lines()}")
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
        """The busy time of the cores with stolen time, and the stolen time, in nanoseconds."""
        total = stolen = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name in {f"cpu{core}" for core in self.cores}:
                user, nice, system, _idle, _iowait, *interrupts, steal = map(int, fields[:8])
                total += user + nice + system + sum(interrupts) + steal
                stolen += steal
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        return total * tick, stolen * tick


class Upstream(Process):
    """The service: one nginx process that answers 200 and counts."""

    def __init__(self, stack, work, cores):
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
                # What the service got, where a probe asks.
                map $http_x_probe $got {{
                    default "";
                    1 "$http_blobgate_verdict $http_blobgate_hook $http_blobgate_event $http_idempotency_key";
                }}
                add_header x-got $got;
                server {{
                    listen 127.0.0.1:{self.port};
                    location = /webhook {{ return 200 '{{"status":"received"}}'; }}
                    location = /count {{ stub_status; }}
                    location /hooks/veo3 {{ return 200 '{{"status":"received"}}'; }}
                    location / {{ return 404; }}
                }}
            }}
            """
        )
        super().__init__(stack, "nginx", [find("nginx"), "-p", work, "-c", config], cores, work / "nginx.log")
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


class ExtAuthz(Process):
    """The service behind ext_authz."""

    def __init__(self, stack, work, program, cores, name, configuration):
        file = work / f"{name}.yaml"
        file.write_text(textwrap.dedent(configuration))
        output_file = work / f"{name}.port"
        output_file.unlink(missing_ok=True)
        command = ["sh", "-c", f"exec '{ROOT}/dev/with-secrets' '{program}' '{file}' >'{output_file}'"]
        super().__init__(stack, "the service of ext_authz", command, cores, work / f"{name}.log")
        self.port = int(self.wait_until(lambda: output_file.exists() and output_file.read_text().strip(), "port"))


class Envoy(Process):
    """One Envoy on one core."""

    def __init__(self, stack, work, program, cores, name, text, service):
        self.service = service
        config, admin = work / f"{name}.yaml", work / f"{name}.admin"
        config.write_text(text)
        # An Envoy of the same name may have run before.
        admin.unlink(missing_ok=True)
        # dev/with-secrets becomes Envoy, so there is one process to measure.
        command = [ROOT / "dev/with-secrets", *program, "-c", config, "--admin-address-path", admin]
        command += ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
        super().__init__(stack, "Envoy", command, cores, work / f"{name}.log")
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
