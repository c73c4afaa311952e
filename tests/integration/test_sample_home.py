"""The home page of the sample, in a browser: the tour, and items that another worker adds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.console.chromium import Chromium
from tests.processes import wait_for
from tests.servers import Redis, Server, ask

FILE = Path(__file__).parents[2] / "sample_app/scalekit.toml"
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
def test_the_tour_shows_what_the_plugins_do(sample: LiveSample) -> None:
    with Chromium() as browser:
        browser.open(sample.url)
        until(browser, "document.getElementById('state').textContent === 'connected'")
        click(browser, "#add button")
        until(browser, f"{result('add')}.startsWith('401')")
        click(browser, "#login button")
        until(browser, f"{result('login')}.startsWith('200')")
        browser.evaluate("document.querySelector('#add input').value = '<b>live</b>'")
        click(browser, "#add button")
        until(browser, f"{result('add')}.startsWith('201')")
        until(browser, "document.getElementById('items').textContent.includes('<b>live</b>')")
        assert browser.evaluate("document.querySelector('#items b')") is None, "text of an item is not markup"
        click(browser, "#list button")
        until(browser, f"{result('list')}.includes('fwd=')")
        click(browser, "#list button")
        until(browser, f"{result('list')}.includes('; hit')")
        sample.add_item(sample.login(), "of another browser")
        until(browser, "document.getElementById('items').textContent.includes('of another browser')")
        assert browser.violations() == []
        loads = browser.loads
        click(browser, "#trace-link")
        browser.wait_for_load(loads)
        trace = browser.evaluate("document.querySelector('main').textContent")
        for expected in ("POST /api/data", "INSERT items", "item added"):
            assert expected in trace
        # The first attempt to add an item, without a token, is an error in the console of the browser.
        assert [each for each in browser.errors if "401" not in each] == []


def result(form: str) -> str:
    return f"document.getElementById('{form}-result').textContent"


def click(browser: Chromium, selector: str) -> None:
    browser.evaluate(f"document.querySelector({selector!r}).click()")


def until(browser: Chromium, condition: str) -> None:
    """Wait until the script *condition* is true in the page."""
    wait_for(condition, lambda: browser.evaluate(condition))
