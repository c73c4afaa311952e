"""The live page of the sample, in a browser, shows an item that another worker adds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.processes import Box, wait_for
from tests.servers import Redis, Server, ask
from tests.tools import chromium_path

FILE = Path(__file__).parents[2] / "sample_app/scalekit.toml"
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--virtual-time-budget=3000",
)
SUBSCRIBERS = "scalekit_broadcast_subscribers "
JSON = {"content-type": "application/json"}
LOGIN = json.dumps({"username": "testuser", "password": "testpass"}).encode()


class LiveSample(Server):
    """``scalekit run sample_app/scalekit.toml`` with four workers that share a cache in *redis*."""

    name = "sample"

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def command(self) -> list[object]:
        self.box.environment |= {"PORT": str(self.port), "CACHE_URL": self.redis.url}
        return [sys.executable, "-m", "scalekit", "run", FILE, "--set", "server.workers=4"]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def subscribers(self) -> float:
        """Return the number of open streams in all workers."""
        (line,) = [each for each in ask(self.port, "GET", "/metrics").splitlines() if each.startswith(SUBSCRIBERS)]
        return float(line.removeprefix(SUBSCRIBERS))

    def add_item(self, headers: dict[str, str], name: str) -> None:
        body = json.dumps({"name": name, "value": 1}).encode()
        with urlopen(Request(f"{self.url}/api/data", body, headers)) as response:
            assert response.status == 201

    def login(self) -> dict[str, str]:
        with urlopen(Request(f"{self.url}/auth/login", LOGIN, JSON)) as response:
            cookie = response.headers["set-cookie"].partition(";")[0]
            return JSON | {"authorization": f"Bearer {json.load(response)['token']}", "cookie": cookie}


@pytest.fixture(scope="module")
def sample() -> Iterator[LiveSample]:
    with Redis() as redis, LiveSample(redis) as sample:
        yield sample


@pytest.mark.needs("redis")
def test_the_stream_of_every_worker_has_new_items(sample: LiveSample) -> None:
    headers = sample.login()
    streams = [urlopen(f"{sample.url}/items/live", timeout=60) for _ in range(8)]
    try:
        for stream in streams:
            assert stream.headers["content-type"] == "text/event-stream"
            assert [stream.readline()[:4] for _ in range(3)] == [b"retr", b"id: ", b"\n"]
        sample.add_item(headers, "first")
        for stream in streams:
            stream.readline()
            assert json.loads(stream.readline().removeprefix(b"data: "))["name"] == "first"
    finally:
        for stream in streams:
            stream.close()


@pytest.mark.needs("chromium", "redis")
def test_a_page_shows_new_items() -> None:
    """The virtual time of the browser stands still while the stream is open, so the page is printed when it ends."""
    with Redis() as redis, LiveSample(redis) as sample, Box("chromium") as box:
        headers = sample.login()
        profile = box.directory / "profile"
        browser = box.spawn(
            chromium_path(),
            *OPTIONS,
            f"--user-data-dir={profile}",
            "--dump-dom",
            f"{sample.url}/items",
            log="page.html",
        )

        wait_for("the page's connection", lambda: sample.subscribers() == 1, browser)
        sample.add_item(headers, "<b>live</b>")
        sample.stop()
        browser.wait(120)
        dom = (box.directory / "page.html").read_text(errors="replace")
    assert "<b>live</b>" in unescape(dom.partition('<ul id="items">')[2].partition("</ul>")[0])
    assert "<b>live</b>" not in dom, "text of an item is not markup"
