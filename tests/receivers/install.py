"""Installs pinned Python and Node packages into .tools/."""

import contextlib
import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from gate import ROOT, Broken, last_line, run, say

HERE = Path(__file__).resolve().parent
TOOLS = ROOT / ".tools"


class Missing(Exception):
    """A tool that a user may lack is not installed."""


def flask():
    """A Python with Flask and standardwebhooks."""
    return python("receiver-flask", "Flask", HERE)


def express():
    """A folder node_modules with Express and standardwebhooks."""
    return node("receiver-express", "Express", HERE)


def python(name, what, source):
    """A Python with the packages of requirements.txt in `source`."""
    # A virtual environment works with one version of Python.
    home = TOOLS / f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{pin(source / 'requirements.txt')}"
    with fresh(home) as work:
        if work:
            made = run([sys.executable, "-m", "venv", work])
            if made.returncode:
                if "ensurepip" in made.stdout + made.stderr:
                    raise Missing("python3-venv is not installed")
                raise Broken(f"python3 -m venv failed: {last_line(made)}")
            say(f"Installing {what} into .tools/ ...")
            command = [work / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            installed = run([*command, "--only-binary=:all:", "-r", source / "requirements.txt"])
            if installed.returncode:
                raise Broken(f"cannot install {what}: {why(installed)}")
    return home / "bin/python"


def node(name, what, source):
    """A folder node_modules with the packages of package-lock.json in `source`."""
    missing = [tool for tool in ("node", "npm") if not shutil.which(tool)]
    if missing:
        raise Missing(f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed")
    version = run(["node", "--version"]).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if not major or int(major[1]) < 18:
        raise Missing(f"node is {version or 'broken'}, and {what} needs 18 or newer")
    files = [source / "package.json", source / "package-lock.json"]
    home = TOOLS / f"{name}-{pin(*files)}"
    with fresh(home) as work:
        if work:
            work.mkdir()
            for file in files:
                shutil.copy(file, work)
            say(f"Installing {what} into .tools/ ...")
            installed = run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=work)
            if installed.returncode:
                raise Broken(f"cannot install {what}: {why(installed)}")
    return home / "node_modules"


def pin(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


@contextlib.contextmanager
def fresh(home):
    """A temporary folder that is renamed to `home` at the end, or None if `home` exists. A virtual environment contains its
    own path only in scripts that no test uses."""
    if home.is_dir():
        yield None
        return
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS, prefix=f".{home.name}.") as folder:
        yield Path(folder) / "new"
        with contextlib.suppress(OSError):  # another run was faster
            (Path(folder) / "new").rename(home)
    if not home.is_dir():
        raise Broken(f"cannot create {home}.")


def why(installed):
    signs = ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError", "name resolution", "ENOTFOUND")
    signs += ("ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "network")
    if any(sign in installed.stdout + installed.stderr for sign in signs):
        return "no connection to the package index."
    return last_line(installed)


