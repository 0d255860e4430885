"""A real gate, inbox, services and sandbox on free ports; and the stores of an inbox."""

import collections
import contextlib
import http.client
import json
import os
import pwd
import random
import socket
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "receivers"))

from gate import API_KEY, BLOBGATE, PATIENCE, Broken, Program, envoy, last_line, run, signing_key, token_key

HELD = 20  # seconds: the timeout of envoy.yaml's routes to services


class Stack:
    """All parts, with their output in `folder`. Without a store there is no inbox. `speed` is the speed of the sandbox; Envoy's
    timeout for services shrinks by it. `changes` are for envoy.yaml. With `reconciles` the inbox reconciles after a second.
    A stack `beside` another one uses the other one's sandbox."""

    def __init__(self, running, folder, store, speed, changes=None, reconciles=False, beside=None):
        self.folder, self.store, self.speed, self.reconciles = folder, store, speed, reconciles
        folder.mkdir()
        self.token_key, self.signing_key = token_key(), signing_key()
        names = ["video", "failure", "quarantine", "inbox", "admin", "sandbox"]
        self.ports = dict(zip(names, free_ports(len(names))))
        provider = beside and beside.folder / "gate/edge.pem"
        if beside:
            self.ports["sandbox"] = beside.ports["sandbox"]
        clusters = {f"{name}_service": self.ports[name] for name in names[:3]} | {"runblob_api": self.ports["sandbox"]}
        if store:
            clusters["inbox"] = self.ports["inbox"]
        keys = {"BLOBGATE_TOKEN_KEY": self.token_key, "BLOBGATE_SIGNING_KEY": self.signing_key}
        to_video = f"cluster: video_service\n{' ' * 18}timeout: "
        changes = {f"{to_video}{HELD}s": f"{to_video}{HELD / speed:.3f}s"} | (changes or {})
        listeners, self.trusts = running.enter_context(envoy(folder / "gate", clusters, changes, keys, provider))
        self.edge, self.service_routes = listeners["edge"], listeners["services"]
        self.programs = {}
        running.callback(lambda: [program.__exit__() for program in self.programs.values()])
        for name in names[:3]:
            self.start_service(name)
        if store:
            made = run([BLOBGATE, "inbox", "migrate", "--store", store])
            if made.returncode:
                raise Broken(f"blobgate inbox migrate failed: {last_line(made)}")
            self.start_inbox()
        if not beside:
            self.start_sandbox()

    def start(self, name, command, url, env=None):
        log = self.folder / f"{name}-{time.monotonic_ns()}"
        program = Program(name, [BLOBGATE, *command], log, env)
        self.programs[name] = program
        program.eventually("listener", lambda: answered(url, self.trusts))

    def start_service(self, name):
        port = self.ports[name]
        command = ["receiver", "--name", name, "--listen", f"127.0.0.1:{port}", "--keep", self.folder / "kept" / name]
        self.start(name, command, f"http://127.0.0.1:{port}/healthz")

    def start_inbox(self):
        receive, admin = self.ports["inbox"], self.ports["admin"]
        command = ["inbox", "serve", "--store", self.store, "--listen", f"127.0.0.1:{receive}"]
        command += ["--admin", f"127.0.0.1:{admin}", "--deliver-to", f"http://127.0.0.1:{self.service_routes}"]
        command += ["--signing-key-env", "BLOBGATE_SIGNING_KEY"]
        if self.reconciles:
            command += ["--provider", f"http://127.0.0.1:{self.service_routes}", "--reconcile-after", "1s"]
        self.start("inbox", command, f"http://127.0.0.1:{admin}/readyz", {"BLOBGATE_SIGNING_KEY": self.signing_key})

    def start_sandbox(self):
        port, certificate = self.ports["sandbox"], self.folder / "gate/edge.pem"
        key = self.folder / "api-key"
        key.write_text(API_KEY)
        command = ["sandbox", "--listen", f"127.0.0.1:{port}", "--api-key-file", key, "--callback-ca", certificate]
        command += ["--tls-cert", certificate, "--tls-key", self.folder / "gate/edge-key.pem"]
        # A generation takes one second.
        command += ["--speed", f"{self.speed:f}", "--generation-time", f"{self.speed * 1000:.0f}ms"]
        self.start("sandbox", command, self.of_sandbox("/sandbox/calls"))

    def of_sandbox(self, path):
        return f"https://127.0.0.1:{self.ports['sandbox']}{path}"

    def of_inbox(self, path):
        return f"http://127.0.0.1:{self.ports['admin']}{path}"

    def kill(self, name):
        process = self.programs.pop(name).process
        process.kill()
        process.wait()

    def arrived(self):
        """The number of arrivals of each event so far."""
        return collections.Counter(arrival.name.split("-", 1)[1].rsplit("-", 1)[0] for arrival in self.kept())

    def kept(self):
        """A file for each arrival. Its name has the time, the generation and a random part."""
        return [file for file in (self.folder / "kept").glob("*/*") if not file.name.startswith(".")]


def fetch(url, trusts=None, method="GET", body=None):
    """The body of the response. Sends `body` as JSON."""
    handlers = [urllib.request.ProxyHandler({})] + ([urllib.request.HTTPSHandler(context=trusts)] if trusts else [])
    headers = {"authorization": f"Bearer {API_KEY}", "content-type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, sent, headers, method=method)
    with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE) as answer:
        return answer.read()


def answered(url, trusts):
    try:
        fetch(url, trusts)
    except (OSError, http.client.HTTPException):
        return None
    return True


def free_ports(count):
    """Ports below the range that the kernel gives to clients, so that a restarted service gets its port again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = set()
    for port in random.sample(range(lowest // 2, lowest), 1000):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            ports.add(port)
        if len(ports) == count:
            return sorted(ports)
    raise Broken("there are no free ports.")


# The stores: each function creates an empty store and returns its URL.


def sqlite(_, folder):
    return f"sqlite:{folder / 'inbox.db'}"


def postgres(running, folder):
    port = free_ports(1)[0]
    # PostgreSQL refuses to run as root.
    user, owner = [], None
    if os.geteuid() == 0:
        user, owner = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"], pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    data = folder / "postgres"
    made = run([*user, POSTGRES[-1] / "initdb", "-D", data, "-U", "postgres", "-A", "trust"])
    if made.returncode:
        raise Broken(f"initdb failed: {last_line(made)}")
    command = [*user, POSTGRES[-1] / "postgres", "-D", data, "-p", port, "-k", data, "-c", "listen_addresses=127.0.0.1"]
    program = running.enter_context(Program("PostgreSQL", command, folder / "postgres-log"))
    ready = [POSTGRES[-1] / "pg_isready", "-h", "127.0.0.1", "-p", port]
    program.eventually("listener", lambda: run(ready).returncode == 0 or None)
    return f"postgres://postgres@127.0.0.1:{port}/postgres"


POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
STORES = {"SQLite": sqlite, "PostgreSQL": postgres}
