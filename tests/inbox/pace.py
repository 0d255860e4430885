"""Runs a function at a steady rate, however long each call takes."""

import concurrent.futures
import http.client
import threading
import time

from gate import PATIENCE, Broken  # found by stack


class Pace:
    """Calls `once(number)` `rate` times a second until `end`."""

    def __init__(self, rate, at_once, once):
        self.rate, self.at_once, self.once, self.problem = rate, at_once, once, None  # the first problem
        self.ending = threading.Event()
        self.pacing = threading.Thread(target=self.pace, daemon=True)
        self.pacing.start()

    def pace(self):
        start, number = time.monotonic(), 0
        with concurrent.futures.ThreadPoolExecutor(self.at_once) as doing:
            while not self.ending.wait(max(0, start + number / self.rate - time.monotonic())):
                doing.submit(self.do, number)
                number += 1

    def do(self, number):
        try:
            self.once(number)
        except (OSError, http.client.HTTPException, Broken) as error:
            self.problem = self.problem or f"{type(error).__name__}: {error}"

    def end(self):
        self.ending.set()
        self.pacing.join(PATIENCE)
        if self.pacing.is_alive() or self.problem:
            raise Broken(f"the stream failed: {self.problem or 'requests without an answer'}")
