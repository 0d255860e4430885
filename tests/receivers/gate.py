"""An Envoy with the shipped envoy.yaml on free ports, before the services of a test, with fresh keys. BLOBGATE_MODULE=native
takes the native module in place of the Wasm module."""

import base64
import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BLOBGATE = ROOT / "target/debug/blobgate"
# By the value of BLOBGATE_MODULE: a file, and the verb that builds it.
MODULES = {
    "wasm": (ROOT / "target/wasm32-wasip1/release/blobgate.wasm", "make build"),
    "native": (ROOT / "target/native/libblobgate.so", "make native"),
}
ENVOY_VERSION = "1.40.0"  # as `make run`
PATIENCE = 30  # seconds
SERVICES = {"video_service": 9081, "failure_service": 9082, "quarantine_service": 9083, "runblob_api": 9443}
INBOX = {"inbox": 9084}  # in the path if a test has an inbox


class Broken(Exception):
    """The test cannot run, for the reason in this sentence."""


@contextlib.contextmanager
def gate(folder, services, changes=None, env=None):
    """A connection to the edge of an Envoy. The arguments are those of `envoy`."""
    with envoy(folder, services, changes, env) as (ports, trusts):
        edge = http.client.HTTPSConnection("127.0.0.1", ports["edge"], timeout=PATIENCE, context=trusts)
        with contextlib.closing(edge):
            yield edge


@contextlib.contextmanager
def envoy(folder, services, changes=None, env=None, provider=None):
    """Starts an Envoy. Returns the ports of its listeners by name, and an SSL context that trusts its certificate. Creates
    `folder`. `services` has the port of each cluster, `changes` replaces text in envoy.yaml, and `env` adds variables to
    random keys. `provider` is the provider's certificate, by default the gate's."""
    folder.mkdir()
    trusts = certificate(folder)
    (folder / "runblob-key.yaml").write_text(RUNBLOB_KEY)
    config = folder / "envoy.yaml"
    config.write_text(envoy_yaml(folder, services, changes or {}, provider or folder / "edge.pem"))
    config = with_module(config)
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "--admin-address-path", folder / "admin"]
    command = [envoy_binary(), "-c", config, *options]
    keys = {"BLOBGATE_TOKEN_KEY": token_key(), "BLOBGATE_SIGNING_KEY": signing_key()}
    with Program("Envoy", command, folder / "envoy", keys | (env or {})) as running:
        yield ports(running, folder), trusts


def with_module(config):
    """The configuration with the module of BLOBGATE_MODULE."""
    kind = os.environ.get("BLOBGATE_MODULE") or "wasm"
    if kind not in MODULES:
        raise Broken(f"BLOBGATE_MODULE is {kind}. Set it to wasm or native.")
    module, verb = MODULES[kind]
    if not module.is_file():
        raise Broken(f"{module.relative_to(ROOT)} is missing: run `{verb}`.")
    if kind == "wasm":
        return config
    made = run([BLOBGATE, "render", "--native", config, "--module-file", module])
    if made.returncode:
        raise Broken(f"blobgate render --native failed: {last_line(made)}")
    native = config.with_suffix(".json")
    native.write_text(made.stdout)
    return native


API_KEY = "of-this-test"
RUNBLOB_KEY = f"""\
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: runblob_key
  generic_secret: {{secret: {{inline_string: "Bearer {API_KEY}"}}}}
"""


def token_key():
    return "base64:" + base64.b64encode(os.urandom(32)).decode()


def signing_key():
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def eventually(name, process, log, what, probe):
    """What the probe finds, after a while. Fails with the last lines of the log, at once if the process has ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = probe()
        if found is not None:
            return found
        if process.poll() is not None:
            break
        time.sleep(0.02)
    lines = log.read_text(errors="replace").strip().splitlines()[-8:]
    raise Broken("\n  ".join([f"{name} has no {what}. Its last lines:", *(lines or ["none"])]))


class Program:
    """A running program with its output in a file."""

    def __init__(self, name, command, log, env=None):
        self.name, self.log = name, log
        with log.open("wb") as out:
            stderr = log.with_suffix(".err").open("wb")
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=stderr,
            )
            stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def eventually(self, what, probe):
        return eventually(self.name, self.process, self.log.with_suffix(".err"), what, probe)

    def lines(self):
        text = self.log.read_text(errors="replace")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def envoy_yaml(folder, services, changes, provider):
    """The shipped envoy.yaml on free ports, with its files in `folder`. Each of `changes` must match exactly once."""
    text = (ROOT / "envoy.yaml").read_text()
    changes = changes | {
        "port_value: 8443": "port_value: 0",
        "port_value: 8080": "port_value: 0",
        "port_value: 8090": "port_value: 0",
        "port_value: 9901": "port_value: 0",
        "port_value: 9087": "port_value: 1",  # an inbox on the usual port gets no access log of a test
        # The admin page gets a port, which --admin-address-path writes to a file.
        "pipe: {path: ./run/admin.sock, mode: 384}": "socket_address: {address: 127.0.0.1, port_value: 0}",
        "event_log_path: ./run/health.log": f"event_log_path: {folder}/health.log",
        "blobgate.inbox: 100": f"blobgate.inbox: {100 if 'inbox' in services else 0}",
        "path: ./certs/sds.yaml": f"path: {folder}/sds.yaml",
        "path: ./certs}": f"path: {folder}}}",
        "filename: ./certs/edge.pem": f"filename: {provider}",
        "path: ./secrets/runblob-key.yaml": f"path: {folder}/runblob-key.yaml",
        "path: ./secrets}": f"path: {folder}}}",
    }
    changes |= {f"port_value: {(SERVICES | INBOX)[name]}": f"port_value: {port}" for name, port in services.items()}
    for there, here in changes.items():
        if text.count(there) != 1:
            raise Broken(f"envoy.yaml has '{there}' {text.count(there)} times, not once: adapt this test.")
        text = text.replace(there, here)
    return text


def certificate(folder):
    made = run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=gate", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        + ["-addext", "basicConstraints=critical,CA:FALSE"]  # the sandbox requires it of a server certificate
        + ["-keyout", folder / "edge-key.pem", "-out", folder / "edge.pem"]
    )
    if made.returncode:
        raise Broken(f"openssl cannot create a certificate: {last_line(made)}")
    secret = (ROOT / "certs/sds.yaml").read_text().replace("./certs", str(folder))
    (folder / "sds.yaml").write_text(secret)
    return ssl.create_default_context(cafile=folder / "edge.pem")


def ports(envoy, folder):
    """Waits for Envoy's listeners, and returns their ports."""
    address = folder / "admin"

    def listening():
        if not address.is_file() or ":" not in address.read_text():
            return None
        admin = http.client.HTTPConnection(address.read_text().strip(), timeout=PATIENCE)
        try:
            admin.request("GET", "/ready")
            ready = admin.getresponse()
            ready.read()
            admin.request("GET", "/listeners?format=json")
            listeners = json.load(admin.getresponse())
        except (OSError, http.client.HTTPException):
            return None  # Envoy is about to end, and logs why
        finally:
            admin.close()
        if ready.status != 200:
            return None
        return {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in listeners["listener_statuses"]}

    return envoy.eventually("listener", listening)


def envoy_binary():
    found = subprocess.run([ROOT / "dev/envoy", ENVOY_VERSION], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise Broken("cannot get Envoy: see above.")
    return found.stdout.strip()


def run(command, cwd=ROOT, env=None):
    command, env = [str(part) for part in command], os.environ | (env or {})
    try:
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Broken(f"cannot run {command[0]}: it is not installed.") from error


def last_line(done):
    lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"it ended with {done.returncode}"


def say(text):
    print(text, file=sys.stderr, flush=True)


