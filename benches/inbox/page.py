"""Views of the page, and browsers that watch it."""

import http.client
import json
import pathlib
import threading
import time

FILL = pathlib.Path(__file__).resolve().parents[2] / "testkit/src/fill"

# As much as a person does not notice.
MAX_VIEW_MS = 200.0
BROWSERS = 10


def filling(store, count):
    """The statements of a busy month, with entries in all states."""
    return (FILL / f"{store}.sql").read_text().replace("{count}", str(count))


def views(newest, oldest, generation):
    """Each view, also with filters that match nothing, and far from the newest entry."""
    return {
        "overview": "/page/",
        "entries": "/page/entries",
        "entries, the oldest": f"/page/entries?before={oldest + 50}",
        "entries, delivered": "/page/entries?state=delivered",
        "entries, dead": "/page/entries?state=dead",
        "entries, quarantined": "/page/entries?state=quarantined",
        "entries, no match of a job": "/page/entries?job=order-without-entry",
        "entries, no match of a reason": "/page/entries?reason=token-expired",
        "entries, a job of all": "/page/entries?job=order-17",
        "entries of a generation": f"/page/entries?generation={generation}",
        "search of a generation": f"/page/entries?q={generation}",
        "search of nothing": "/page/entries?q=order-without-entry",
        "entry": f"/page/entries/{newest}",
        "entry, the oldest": f"/page/entries/{oldest}",
        "refusals": "/page/refusals",
        "audit": "/page/audit",
        "question about a generation": f"/page/actions/replay?generation={generation}",
        "question about all dead entries": "/page/actions/replay?state=dead",
        "question about all delivered entries": "/page/actions/replay?state=delivered",
        "question about no match of a job": "/page/actions/replay?job=order-without-entry",
    }


def times(port, path, count):
    """The times of a view in ms, each to its last byte, over one connection. Fails if it is no page."""
    connection, found = http.client.HTTPConnection("127.0.0.1", port, timeout=120), []
    for _ in range(count):
        begun = time.monotonic()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        found.append((time.monotonic() - begun) * 1000)
        location = answer.getheader("location")
        if answer.status in (302, 303, 307) and location:
            return times(port, location, count)
        if answer.status != 200 or b"<h1" not in body:
            raise RuntimeError(f"{path} answers {answer.status}: {body[:200]!r}")
    return found


class Watchers:
    """Ten browsers with the overview open: each reads the events, and fetches its page after one, as live.js does."""

    def __init__(self, port):
        self.port, self.ends = port, threading.Event()
        self.events, self.fetched = [0] * BROWSERS, [0] * BROWSERS
        self.threads = [threading.Thread(target=self.watch, args=[number], daemon=True) for number in range(BROWSERS)]

    def watch(self, number):
        stream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        stream.request("GET", "/page/live", headers={"accept": "text/event-stream"})
        answer = stream.getresponse()
        if answer.status != 200:
            return
        page = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        path = "/page/" if number % 2 else "/page/entries"
        while not self.ends.is_set():
            line = answer.readline()
            if not line:
                return
            if line.startswith(b"data:"):
                self.events[number] += 1
                page.request("GET", path)
                page.getresponse().read()
                self.fetched[number] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()

    def all_watch(self, seconds):
        """Whether each browser has refreshed its view, within this time."""
        until = time.monotonic() + seconds
        while not all(self.fetched) and time.monotonic() < until:
            time.sleep(0.05)
        return all(self.fetched)


def ends_of(inbox):
    """The newest and the oldest id, and a generation."""
    newest = json.loads(inbox.get("/entries?limit=1"))["entries"][0]
    oldest = json.loads(inbox.get("/entries?limit=1&before=2"))["entries"]
    return newest["id"], (oldest[0] if oldest else newest)["id"], newest["generation"]
