"""A reader of a page: a folder, terminals in which programs run, and a shell in which commands run one after the other."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time

from gate import PATIENCE, ROOT, eventually


class Reader:
    def __init__(self, folder, running):
        self.folder, self.running = folder, running
        self.logs = []
        home = folder / "home"
        home.mkdir()
        path = f"{ROOT / 'target/debug'}:{os.environ['PATH']}"
        self.env = os.environ | {"PATH": path, "HOME": str(home), "NO_PROXY": "127.0.0.1,localhost", "PYTHONDONTWRITEBYTECODE": "1"}

    def press_enter(self, command, questions):
        """Runs a command on a terminal, and answers each of its questions with Enter. Returns what went wrong."""
        pid, terminal = pty.fork()
        if not pid:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", command], self.env)
        said, pressed, end = b"", 0, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ready, _, _ = select.select([terminal], [], [], 0.5)
            if ready:
                try:
                    said += os.read(terminal, 1 << 16)
                except OSError:  # the program has ended
                    break
            elif pressed <= questions:  # it waits
                os.write(terminal, b"\r")
                pressed += 1
        else:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        if status or pressed != questions:
            return f"it took {pressed} times Enter, and ended with {status}: {said.decode(errors='replace').strip()}"
        return None

    def terminal(self, name, commands):
        """Starts commands that run until Ctrl-C."""
        log = self.folder / f"{name}-{len(self.logs)}.log"
        self.logs.append(log)
        terminal = Terminal(self, name, commands, log)
        self.running.callback(terminal.end)
        return terminal

    def printed(self, name):
        """What the programs of this name have printed since the first start."""
        return [line for log in self.logs if log.name.startswith(f"{name}-") for line in log.read_text(errors="replace").splitlines()]

    def shell(self):
        return Shell(self)

    def runs(self, commands):
        return Shell(self).runs(commands)


class Shell:
    """A terminal whose variables stay from one command to the next."""

    def __init__(self, reader):
        self.reader, self.before = reader, ""

    def runs(self, commands):
        """Runs commands to their end, and returns what they printed."""
        script = f"exec 2>&1\n{self.before}\n{commands}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.reader.folder, env=self.reader.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        sets = [line for line in commands.splitlines() if line.startswith(("set -a", "export "))]
        self.before = "\n".join([self.before, *sets])
        return done.stdout

    def until(self, command, text):
        """Runs a command again and again until it prints a text. Returns what went wrong."""
        end, said = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            said = self.runs(command)
            if text in said:
                return None
            time.sleep(0.1)
        return f"`{command}` printed no {text!r}: {said.strip()}"


class Terminal:
    def __init__(self, reader, name, commands, log):
        self.reader, self.name, self.log = reader, name, log
        with log.open("wb") as out:
            # A session of its own, as in a terminal, for the signal of Ctrl-C.
            self.process = subprocess.Popen(
                ["bash", "-c", commands],
                cwd=reader.folder,
                env=reader.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def eventually(self, what, probe):
        return eventually(self.name, self.process, self.log, what, probe)

    def find(self, pattern):
        """The first group of a pattern in what it has printed."""
        found = re.search(pattern, self.log.read_text(errors="replace"))
        return found and found[1]

    def prints(self, text):
        """Whether a line with this beginning comes, after a while. Returns what went wrong."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if any(line.startswith(text) for line in self.log.read_text(errors="replace").splitlines()):
                return None
            time.sleep(0.05)
        return f"it printed no {text!r}: {self.log.read_text(errors='replace').strip()}"

    def end(self):
        """Ctrl-C, and a kill of what does not end."""
        for sent, patience in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sent)
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
