"""Prints a line for each check, and a count at the end."""

import os
import signal
import sys

from gate import Broken, say


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.notes = []
        self.leave_nothing_out = os.environ.get("BLOBGATE_LEAVE_NOTHING_OUT") == "1"

    def row(self, subject, name, problem):
        if problem:
            self.failed += 1
            print(f"FAIL  {subject}: {name}\n      {problem}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {subject}: {name}", flush=True)

    def skip(self, subject, checks, reason):
        if self.leave_nothing_out:
            self.failed += checks
        else:
            self.skipped += checks
        self.notes.append(f"skipped: {subject} ({reason})")

    def conclude(self, runner):
        for note in self.notes:
            print(note)
        if self.notes and self.leave_nothing_out:
            say(f"{runner}: checks were skipped, and BLOBGATE_LEAVE_NOTHING_OUT is 1. Install what they need.")
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        sys.exit(1 if self.failed else 0)


def counted(runner, test):
    """Runs `test` with a count."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count = Count()
    try:
        test(count)
        count.conclude(runner)
    except Broken as sentence:
        say(f"{runner}: {sentence}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
