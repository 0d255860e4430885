"""Counts the instructions and cache misses of Envoy's own code for one request, with valgrind."""

import collections
import http.client
import pathlib
import re
import shutil
import ssl
import subprocess
import time

from load import of_size, payload
from parts import CONNECTIONS, PATIENCE, Failed, find, need, progress

# V8 is done when two counts in a row differ by less than this part.
SETTLED = 0.005
MAX_COUNTS = 12
# The caches of one core of a common server (AMD's Zen 2 and 3) for valgrind: bytes, ways, bytes of a line. The last level
# is the last private one of a core.
CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"]
# The counts, and valgrind's names for them. Misses are those of the last level.
COUNTED = {"instructions": ["Ir"], "misses": ["ILmr", "DLmr", "DLmw"]}
# Generated code has addresses above those of programs and libraries.
GENERATED = 1 << 33
MODULE = "libblobgate.so"
# The sizes of bodies, in bytes: that of the provider's sample, and two that grow.
SAMPLE = "sample"


class Counter:
    """Counts variants, one after the other."""

    def __init__(self, rig, options):
        need("valgrind", "valgrind")
        self.rig, self.requests, self.smoke, self.keep = rig, options.requests, options.smoke, options.keep

    def count(self, variant, sizes=(SAMPLE,), answers=lambda envoy, variant: None):
        """The counts of one request, by the size of its body."""
        counts = self.rig.work / f"callgrind-{variant.name}"
        envoy = self.rig.start(variant, under=valgrind(counts))
        answers(envoy, variant)
        progress(f"warming up: {variant.label}")
        # With --smoke the few requests below are enough.
        Sender(envoy.port, variant.path, SAMPLE).send(0 if self.smoke else variant.warm)
        progress(f"counting: {variant.label}")
        found, number = {}, 0
        for size in sizes:
            sender = Sender(envoy.port, variant.path, size)
            sender.send(2 * CONNECTIONS)
            control(envoy, "--instr=on")
            # The first requests include valgrind's translation of the code.
            sender.send(CONNECTIONS)

            def once():
                nonlocal number
                number += 1
                return count(envoy, sender, self.requests, f"{counts}.{number}")  # noqa: B023

            found[size] = once() if self.smoke else settled(once)
            control(envoy, "--instr=off")
            if self.keep:
                for thread in self.rig.work.glob(f"{counts.name}.{number}-*"):
                    shutil.copy(thread, pathlib.Path(self.keep) / f"{variant.name}-{size}-{thread.name.rsplit('-', 1)[1]}")
        envoy.stop()
        return found


def settled(once):
    """Counts until two counts in a row differ by at most `SETTLED`, and returns the smaller: a busy machine only adds, by events
    that come apart."""
    before = once()
    for _ in range(MAX_COUNTS - 1):
        now = once()
        of_both = sorted((before, now), key=lambda count: count["instructions"]["all"])
        less, more = (count["instructions"]["all"] for count in of_both)
        if more - less <= SETTLED * more:
            return of_both[0]
        before = now
    raise Failed(f"the count has not settled after {MAX_COUNTS} counts.")


def count(envoy, sender, requests, dump):
    """Counts once. callgrind numbers its dumps from 1."""
    control(envoy, "--zero")
    sender.send(requests)
    control(envoy, "--dump")
    # Envoy's worker. Other threads flush statistics and compile: their work is of no request.
    folder, name = dump.rsplit("/", 1)
    threads = [read(thread, requests) for thread in sorted(pathlib.Path(folder).glob(f"{name}-*"))]
    return max((thread for thread in threads if thread), key=lambda thread: thread["instructions"]["all"], default=None) or empty()


def empty():
    raise Failed("valgrind counted nothing.")


def valgrind(counts):
    return [
        find("valgrind"),
        "--quiet",
        "--tool=callgrind",
        # V8 generates code at run time.
        "--smc-check=all-non-file",
        "--instr-atstart=no",
        "--separate-threads=yes",
        *CACHES,
        f"--callgrind-out-file={counts}",
    ]


def control(envoy, what):
    done = subprocess.run(
        ["callgrind_control", what, str(envoy.process.pid)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or "OK" not in done.stdout:
        raise Failed(f"callgrind_control {what} failed: {done.stdout}{done.stderr}")


class Sender:
    """Sends one delivery after the other on open connections, so that the counts are of whole requests."""

    def __init__(self, port, path, size):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.connections = [
            http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=PATIENCE) for _ in range(CONNECTIONS)
        ]
        self.path = path
        self.payload = payload(generation_id="%s") if size == SAMPLE else of_size(size, generation_id="%s")
        self.sent = 0

    def send(self, requests):
        for _ in range(requests):
            self.sent += 1
            body = self.payload.replace("%s", f"{time.time_ns() & 0xFFFFFFFF:08x}-5bef-4e14-8000-{self.sent:012x}")
            connection = self.connections[self.sent % len(self.connections)]
            connection.request("POST", self.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise Failed(f"a request got {answer.status}.")


def read(counts, requests):
    """Reads a dump of callgrind: <https://valgrind.org/docs/manual/cl-format.html>."""
    names, objects, here, within, columns, is_call = {}, {}, "", "", [], False
    total, module = collections.Counter(), collections.Counter()
    for line in counts.read_text().splitlines():
        if line.startswith("events:"):
            columns = line.split()[1:]
        elif line.startswith("fn="):
            here = named(names, line)
        elif line.startswith("ob="):
            within = named(objects, line)
        elif line.startswith("cfn="):
            named(names, line)
        elif line.startswith("cob="):
            named(objects, line)
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            # The cost of a call is also listed at the called function.
            if not is_call:
                # callgrind omits trailing zeros.
                own = dict(zip(columns, map(int, line.split()[1:])))
                total.update(own)
                if is_generated(here) or within.endswith(MODULE):
                    module.update(own)
            is_call = False
    if not all(total[event] for events in COUNTED.values() for event in events):
        return None
    return {
        what: {
            "all": sum(total[event] for event in events) / requests,
            "in_module": sum(module[event] for event in events) / requests,
        }
        for what, events in COUNTED.items()
    }


def named(names, line):
    """The name behind a number. Only its first line has both."""
    number, name = re.match(r"\w+=\((\d+)\)(?: (.*))?", line).groups()
    return names.setdefault(number, name or "")


def is_generated(name):
    address = re.match(r"0x([0-9a-f]+)", name)
    return bool(address) and int(address[1], 16) >= GENERATED
