"""The lines that `blobgate init` prints for an app: they mint, announce and verify, as they stand."""

import base64
import hmac
import http.server
import json
import tempfile
import threading
import time
from pathlib import Path

import install
from gate import BLOBGATE, ROOT, Broken, last_line, run

TUTORIAL = ROOT / "tests/tutorial"
URL, AUDIENCE, HOOK = "https://hooks.example.com:4443/videos/done", "staging/shorts", "shorts"
JOB, GENERATION = "order-17", "ffd473d5-5bef-4e14-bf22-8d559be3c19f"
CHECKS = 6
# The jobs that are none.
REFUSED = 7
# Each prints a URL, the event of a body, what comes of the same body with another
# signature, and a line for each job that is none.
IN_PYTHON = """
import sys
body, genuine, forged = sys.argv[1].encode(), json.loads(sys.argv[2]), json.loads(sys.argv[3])
print(callback_url("order-17"))
expect("ffd473d5-5bef-4e14-bf22-8d559be3c19f", "order-17")
print(json.dumps(verified(body, genuine)))
try:
    print("passes:", verified(body, forged))
except Exception as error:
    print(type(error).__name__)
for job in (17, None, "", "a/b", "order 28", "order-17\\n", "x" * 65):
    try:
        print(job, callback_url(job))
    except ValueError as error:
        print(error)
"""
IN_JAVASCRIPT = """
import { callbackUrl, expect, verified } from "./gate.mjs";
const [body, genuine, forged] = process.argv.slice(2);
console.log(await callbackUrl("order-17"));
await expect("ffd473d5-5bef-4e14-bf22-8d559be3c19f", "order-17");
console.log(JSON.stringify(verified(Buffer.from(body), JSON.parse(genuine))));
try {
  console.log("passes:", verified(Buffer.from(body), JSON.parse(forged)));
} catch (error) {
  console.log(error.constructor.name);
}
for (const job of [17, null, "", "a/b", "order 28", "order-17\\n", "x".repeat(65)]) {
  try {
    console.log(job, await callbackUrl(job));
  } catch (error) {
    console.log(error.message);
  }
}
"""


def try_lines(count):
    for language, prepare in (("Python", in_python), ("JavaScript", in_javascript)):
        with tempfile.TemporaryDirectory(prefix="blobgate-trust-") as place, Announced() as announced:
            folder = Path(place)
            keys = make_setup(folder, announced.port)
            try:
                command = prepare(folder)
            except install.Missing as reason:
                count.skip(f"the printed lines in {language}", CHECKS, reason)
                continue
            for name, problem in results(command, folder, keys, announced):
                count.row(f"the printed lines in {language}", name, problem)


def make_setup(folder, admin):
    """A setup folder, and the variables of its app."""
    options = ["--host", "hooks.example.com", "--listen", "0.0.0.0:4443", "--path", "/videos/done", "--hook", HOOK]
    command = [BLOBGATE, "init", folder / "gate", "--environment", "staging", "--api-key-file", "none", *options]
    done = run(command)
    if done.returncode:
        raise Broken(f"blobgate init failed: {last_line(done)}")
    with (folder / "gate/blobgate.yaml").open("a") as setup:
        setup.write(f"ports: {{admin: {admin}}}\n")
    return dict(line.split("=", 1) for line in (folder / "gate/secrets/env").read_text().splitlines())


def printed(language, folder):
    done = run([BLOBGATE, "init", "--print", language, "--setup", folder / "gate/blobgate.yaml"])
    if done.returncode:
        raise Broken(f"blobgate init --print {language} failed: {last_line(done)}")
    return done.stdout


def in_python(folder):
    python = install.python("tutorial-flask", "Flask", TUTORIAL)
    (folder / "app.py").write_text(printed("python", folder) + IN_PYTHON)
    return [python, "-B", folder / "app.py"]


def in_javascript(folder):
    (folder / "node_modules").symlink_to(install.node("tutorial-express", "Express", TUTORIAL))
    (folder / "gate.mjs").write_text(printed("javascript", folder))
    (folder / "app.mjs").write_text(IN_JAVASCRIPT)
    return ["node", folder / "app.mjs"]


def results(command, folder, keys, announced):
    body = json.dumps({"generation_id": GENERATION, "status": "completed", "prompt": "A cat"})
    arguments = [body, *(json.dumps(headers(body, key)) for key in (keys["BLOBGATE_SIGNING_KEY"], "whsec_" + "A" * 43 + "="))]
    done = run([*command, *arguments], cwd=folder, env=keys | {"NO_PROXY": "127.0.0.1"})
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 3 + REFUSED:
        yield from (("runs", last_line(done)) for _ in range(CHECKS))
        return
    url, event, forged, *refused = lines
    base, token = url.rsplit("/", 1)
    head, claims, signature = token.split(".")
    yield "the URL is the hook's", unlike("the URL", base, URL)
    secret = base64.b64decode(keys["BLOBGATE_TOKEN_KEY"].removeprefix("base64:"))
    yield "the key signs", unlike("the signature", decoded(signature), hmac.digest(secret, f"{head}.{claims}".encode(), "sha256"))
    claims, day = json.loads(decoded(claims)), 24 * 60 * 60
    expires = 0 <= time.time() + day - claims.pop("exp") < 3600
    kid = unlike("the kid", json.loads(decoded(head))["kid"] in (folder / "gate/blobgate.yaml").read_text(), True)
    has_id = unlike("the id", len(claims.pop("jti", "")), 16)
    yield "the claims are the hook's", kid or has_id or unlike("the claims", (claims, expires), ({"aud": AUDIENCE, "job": JOB}, True))
    expected = {"hook": HOOK, "generation_id": GENERATION, "job": JOB}
    yield "the inbox gets the announcement", unlike("the announcements", announced.bodies, [("/expect", expected)])
    verified = unlike("the event", json.loads(event), json.loads(body))
    sentence = "job is no text of 1 to 64 letters, digits, `.`, `_`, `~` or `-`"
    yield "another job is refused", unlike("the refusals", refused, [sentence] * REFUSED)
    yield "only a genuine event verifies", verified or unlike("another signature", forged, "WebhookVerificationError")


def headers(body, key):
    """The headers of Standard Webhooks, as its specification says."""
    of = {"webhook-id": f"{HOOK}:{GENERATION}:completed", "webhook-timestamp": str(int(time.time()))}
    signed = f"{of['webhook-id']}.{of['webhook-timestamp']}.{body}".encode()
    digest = hmac.digest(base64.b64decode(key.removeprefix("whsec_")), signed, "sha256")
    return of | {"webhook-signature": "v1," + base64.b64encode(digest).decode()}


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def unlike(what, found, expected):
    return None if found == expected else f"{what}: {found}, not {expected}"


class Announced:
    """An inbox's admin listener that accepts each announcement."""

    def __init__(self):
        self.bodies = bodies = []

        class Accepts(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                bodies.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Accepts)
        self.port = self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
