"""Write the screenshots of documents: ``python -m tests.console.screenshots``, of the sample with two workers."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.console.chromium import Chromium
from tests.servers import Redis, Server, ask

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SECONDS = 60
"""Time for which requests are sent before the pages are shown."""
ITEM = {"name": "desk lamp", "value": 39.5}
PAGES = (
    ("sample-home", "/", (1400, 900), "light"),
    ("console-overview", "/-/overview", (1400, 900), "light"),
    ("console-requests", "/-/requests", (1400, 900), "light"),
    ("console-trace", "", (1400, 900), "dark"),
    ("console-database", "/-/database", (1400, 900), "light"),
    ("console-queues", "/-/queues", (1400, 1000), "dark"),
    ("console-phone", "/-/overview", (390, 900), "dark"),
)


class Sample(Server):
    """The sample with two workers, which share limits and cache in *redis*."""

    name = "sample"

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def command(self) -> list[object]:
        self.box.environment |= {
            "PORT": str(self.port),
            "CACHE_URL": self.redis.url,
            "LIMITS_URL": self.redis.url,
            "DATABASE_URL": f"sqlite:///{self.box.directory}/sample.db",
            "QUEUE_URL": f"sqlite:///{self.box.directory}/queue.db",
            "JWT_KEY_FILE": f"{self.box.directory}/keys.json",
        }
        options = ["--set", "server.workers=2", "--set", "plugins.ratelimit.default=100000/s"]
        return [sys.executable, "-m", "scalekit", "run", ROOT / "sample_app/scalekit.toml", *options]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def send(sample: Sample, path: str, headers: dict[str, str], content: object = None) -> str:
    """Send a request, and return its id, whatever the response is."""
    body = None if content is None else json.dumps(content).encode()
    try:
        with urlopen(Request(f"{sample.url}{path}", body, headers)) as response:
            response.read()
            return str(response.headers["x-request-id"])
    except HTTPError as error:
        error.close()
        return str(error.headers["x-request-id"])


def log_in(sample: Sample) -> dict[str, str]:
    """Return the headers of a user."""
    login = json.dumps({"username": "testuser", "password": "testpass"}).encode()
    headers = {"content-type": "application/json"}
    with urlopen(Request(f"{sample.url}/auth/login", login, headers)) as response:
        cookie = response.headers["set-cookie"].partition(";")[0]
        return {**headers, "cookie": cookie, "authorization": f"Bearer {json.load(response)['token']}"}


def use(sample: Sample, headers: dict[str, str], stopped: Event) -> None:
    """Send requests until *stopped*."""
    while not stopped.is_set():
        send(sample, "/api/data", headers, ITEM)
        for path in ("/api/data", "/api/stats", "/api/users/active") * 5:
            send(sample, path, headers)
            time.sleep(0.01)
        send(sample, "/api/inventory/7", headers)
        send(sample, "/api/data", headers, {"name": ""})


@contextmanager
def requests_in_background(sample: Sample, headers: dict[str, str]) -> Iterator[None]:
    """Send requests while the block runs."""
    stopped = Event()
    thread = Thread(target=use, args=(sample, headers, stopped))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def main() -> None:
    """Write all screenshots."""
    IMAGES.mkdir(exist_ok=True)
    with Redis() as redis, Sample(redis) as sample, Chromium() as browser:
        headers = log_in(sample)
        with requests_in_background(sample, headers):
            time.sleep(SECONDS)
        time.sleep(2)  # until the rate of kept traces allows for one
        added = send(sample, "/api/data", headers, ITEM)
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        with requests_in_background(sample, headers):
            time.sleep(2)  # until the last second has requests
            for _ in range(3):
                send(sample, "/api/summaries", headers, {})
            for name, path, (width, height), theme in PAGES:
                browser.show(width, theme, height)
                browser.open(f"{sample.url}{path or f'/-/requests?id={added}'}")
                image = browser.call("Page.captureScreenshot", format="webp", quality=70)["data"]
                (IMAGES / f"{name}.webp").write_bytes(base64.b64decode(image))


if __name__ == "__main__":
    main()
