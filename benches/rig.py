"""Starts the Envoy of each variant, with its service, on a core each."""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from load import load
from parts import BENCHES, EMPTY_WASM, ENVOY_VERSION, ROOT, Envoy, ExtAuthz, Failed, Machine, Upstream, need, output
from variants import on_ports

class Options(argparse.ArgumentParser):
    """The common options."""

    def __init__(self, prog, description):
        super().__init__(prog=prog, description=description)
        self.add_argument("--json", action="store_true", help="print the result as JSON")
        self.add_argument("--smoke", action="store_true", help="only a short run; checks answers and no numbers")
        self.add_argument("--only", action="append", metavar="NAME", help="only this variant; can be repeated")
        self.add_argument("--keep", metavar="FOLDER", help="a folder for the dumps of callgrind, to read with callgrind_annotate")
        self.add_argument("--against", metavar="MODULE.wasm", help="an earlier Wasm module, to compare in the same run")

    def read(self):
        options = self.parse_args()
        return options

    def choose(self, options, known):
        """The variants of --only, or all."""
        if unknown := [name for name in options.only or [] if name not in known]:
            self.error(f"--only takes one of {', '.join(known)}, not {unknown[0]}")
        return {name: variant for name, variant in known.items() if not options.only or name in options.only}


class Rig:
    """Starts Envoys on one core, and everything else on another."""

    def __init__(self, stack, smoke):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Failed("this needs two cores, one for Envoy and one for its client and service.")
        need("wrk", "wrk")
        need("nginx", "nginx")
        self.envoy = output([ROOT / "dev/envoy", ENVOY_VERSION], "cannot install Envoy").strip()
        output([ROOT / "dev/certificate"], "cannot create the certificate")
        output([ROOT / "dev/secrets"], "cannot create the development secrets")
        build_empty_filter()
        # The smoke run measures nothing, so a build for debugging is enough.
        self.ext_authz = ROOT / f"target/{'debug' if smoke else 'measured'}/examples/ext_authz"
        self.stack, self.cores = stack, cores[:2]
        self.work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blobgate-bench-")))
        # This script runs on the other core too.
        os.sched_setaffinity(0, {cores[1]})
        self.upstream = Upstream(stack, self.work, cores[1])
        self.machine = Machine(self.cores)

    def start(self, variant, under=()):
        """The Envoy of a variant. `under` is a command that runs it."""
        service = None
        if variant.service:
            if not self.ext_authz.exists():
                raise Failed(f"{self.ext_authz.relative_to(ROOT)} is missing: run `make bench`, which builds it.")
            name = f"{variant.name}-service"
            service = ExtAuthz(self.stack, self.work, self.ext_authz, self.cores[1], name, variant.service)
        text = on_ports(variant.text, self.upstream.port, service.port if service else 1)
        need_modules(text)
        program = [*under, self.envoy]
        return Envoy(self.stack, self.work, program, self.cores[0], variant.name, text, service)

    def load(self, variant, envoy, seconds):
        """Drives the Envoy of this variant for some seconds."""
        return load(self.machine, envoy, self.upstream, seconds, variant)


def need_modules(text):
    for file in re.findall(r"filename: (\S+\.(?:wasm|so))", text):
        if not (ROOT / file).exists():
            verb = "build" if file.endswith(".wasm") else "native"
            raise Failed(f"{file} is missing: run `make {verb}`.")


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
    if b"proxy_on_log" not in EMPTY_WASM.read_bytes():
        raise Failed("the empty filter was not linked like the SDK does: see benches/empty-filter/.cargo/config.toml.")
