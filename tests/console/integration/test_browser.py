"""Every page, in Chromium, of four workers under load: light and dark, wide and narrow, with hostile values."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.console.chromium import Chromium
from tests.console.clients import TOKEN
from tests.processes import wait_for
from tests.service import Service

APPLICATION = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.contracts import Consumers, Message

consumers = Consumers()

@consumers.on("counted")
async def count(message: Message[dict]) -> None:
    raise ValueError(f"{message.data} cannot be counted")

async def number(request):
    value = request.path_params["number"]
    return PlainTextResponse(str(value), 500 if value % 7 == 0 else 200, {"cache-control": "max-age=1"})

app = Starlette(routes=[Route("/{number:int}", number)])
"""
SETTINGS = f"""
[app]
name = "shop"
[server]
workers = 4
drain_delay = "0s"
operator_token = "{TOKEN}"
operator_networks = ["127.0.0.1"]
[plugins.console]
version = "1.2.3"
commit = "0123abc"
[plugins.cache]
per_worker = true
[plugins.logging]
[plugins.pool]
url = "sqlite:///data.db"
[plugins.jwt]
secret = "a secret for tests that is long enough"
[plugins.discovery]
services = {{ inventory = ["http://127.0.0.1:1"] }}
[plugins.ratelimit]
per_worker = true
concurrency = {{}}
[[plugins.ratelimit.policies]]
name = "numbers"
limit = "1/1d"
dry_run = true
[plugins.tracing]
[plugins.queue]
consumers = "service:consumers"
[plugins.replica]
[plugins.broadcast]
[plugins.hostile]
"""
HOSTILE = '''
import time

from scalekit import hookimpl
from scalekit.pages import *

MARKUP = """</script><script>window.ran = 1</script><img src=x onerror="window.ran = 1">"'&\\u202e\\x00"""
SECRETS = ("password=hunter2", "redis://user:hunter2@host/0", "Bearer hunter2")

async def collect(query):
    return {f"{MARKUP} {number}": f"{SECRETS[number % 3]} {MARKUP}" for number in range(10_000)}

async def render(view):
    values = next(iter(view.workers.values()))
    columns = (Column("name"), Column("value", code=True), Column("act"))
    rows = [(name, value, ActionForm("act", {"name": name}, name)) for name, value in values.items()]
    nodes = [TreeNode(name, 0.1, 0.5, {name: value}, failed=True) for name, value in values.items()]
    return [
        Facts(values, MARKUP), DataTable(columns, rows, MARKUP), Chart(MARKUP, [Series(MARKUP, [1.0, None])], 1),
        Tree(nodes, MARKUP), Text(MARKUP), Code(MARKUP, MARKUP), Notice(MARKUP, MARKUP), QueryForm({MARKUP: MARKUP}),
        Facts({"link": Link(MARKUP, "cache", {"q": MARKUP}), "state": Badge(MARKUP, Tone.BAD)}), ActionForm("act"),
    ]

async def render_live(view):
    return [Facts({"rendered": str(time.time())}), ActionForm("act")]

async def act(values):
    return f"acted on {values['name']}"

@hookimpl
def scalekit_pages(context):
    fields = [FormField("name", MARKUP, placeholder=MARKUP)]
    acts = [PageAction("act", "Act", act, [FormField("name", "Name")])]
    return [
        ConsolePage("hostile", MARKUP, render, collect, [PageAction("act", MARKUP, act, fields, confirm=MARKUP)]),
        ConsolePage("live", "Live", render_live, actions=acts, live=True),
    ]
'''
WIDTHS = (1400, 390)


@contextmanager
def load(service: Service) -> Iterator[None]:
    """Send requests inside the block."""
    ended = threading.Event()

    def send() -> None:
        number = 0
        while not ended.wait(0.02):
            number += 1
            try:
                urlopen(f"{service.url}/{number % 50}").read()
            except HTTPError as error:
                error.close()
            except OSError:
                pass

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(SETTINGS, {"service": APPLICATION}, {"hostile": HOSTILE}) as service, load(service):
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


def table_of(service: Service, title: str) -> list[Any]:
    blocks = json.loads(service.get("/-/requests.json"))["blocks"]
    return [row for block in blocks if block.get("title") == title for row in block["rows"]]


def pages(service: Service) -> list[str]:
    found: list[str] = json.loads(service.get("/-/"))["pages"]
    failed = wait_for("a failed request", lambda: table_of(service, "Failed lately"))[0][1]
    queries = ["/-/limits?policy=numbers&client=127.0.0.1", "/-/tokens?subject=ada"]
    queries.append(f"/-/requests?id={failed['query']['id']}")
    return ["/-/", "/-/login", *queries, *(path.removesuffix(".json") for path in found if path.endswith(".json"))]


@pytest.mark.needs("chromium", "axe")
def test_every_page_is_accessible_and_fits_in_both_themes(service: Service, browser: Chromium) -> None:
    for path in pages(service):
        if path in ("/-/index", "/-/hostile"):
            continue
        for width in WIDTHS:
            browser.show(width, "light")
            browser.open(service.url + path)
            assert browser.violations() == [], (path, width)
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            browser.show(width, "dark")  # themes differ in colors only
            assert browser.violations_of_colors() == [], (path, width)
            assert browser.errors == [], (path, width)


@pytest.mark.needs("chromium", "axe")
def test_hostile_values_show_nothing_and_run_nothing(service: Service, browser: Chromium) -> None:
    browser.show(390, "dark")
    browser.open(f"{service.url}/-/hostile")
    assert browser.violations() == []
    assert browser.evaluate("window.ran") is None
    assert browser.evaluate("document.querySelectorAll('script, main img').length") == 2
    assert "hunter2" not in browser.evaluate("document.documentElement.outerHTML")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.errors == []


@pytest.mark.needs("chromium")
def test_a_live_page_shows_all_workers_and_changes(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/overview")
    rate = "document.querySelector('.facts dd').textContent"
    first = browser.evaluate(rate)
    wait_for("another rate", lambda: browser.evaluate(rate) != first)
    assert browser.evaluate("document.querySelectorAll('tbody tr').length") == 4
    browser.evaluate("document.querySelector('.pause').click()")
    assert browser.evaluate("document.querySelector('.pause').textContent") == "Resume"
    assert browser.errors == []


@pytest.mark.needs("chromium")
def test_an_operator_acts_on_a_live_page(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/live")
    rendered = "document.querySelector('.facts dd').textContent"
    first = browser.evaluate(rendered)
    wait_for("the next rendering", lambda: browser.evaluate(rendered) != first)
    loads = browser.loads
    browser.evaluate("document.querySelector('form.action input[name=name]').value = 'it'")
    browser.evaluate("document.querySelector('form.action button').click()")
    browser.wait_for_load(loads)
    assert browser.evaluate("document.querySelector('.notice').textContent") == "acted on it"


@pytest.mark.needs("chromium")
def test_an_operator_purges_by_form(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/cache")
    loads = browser.loads
    browser.evaluate(
        "document.querySelector('input[name=url]').value = '/1'; document.querySelector('form.action button').click()"
    )
    browser.wait_for_load(loads)
    shown = browser.evaluate("[...document.querySelectorAll('.notice')].map(each => each.textContent).join()")
    assert sorted(shown.split(",")) == [f"Worker {number}: purged path /1" for number in range(1, 5)]
    service.wait_for_log("action cache/purge url='/1' by 127.0.0.1 (address): purged path /1")


@pytest.mark.needs("chromium")
def test_an_operator_elsewhere_signs_in(service: Service) -> None:
    with Chromium() as browser:
        elsewhere = {"X-Forwarded-For": "203.0.113.9"}
        browser.open(f"{service.url}/-/overview", elsewhere)
        assert browser.evaluate("location.pathname") == "/-/login"
        loads = browser.loads
        browser.evaluate(
            f"document.querySelector('#token').value = '{TOKEN}'; document.querySelector('button').click()"
        )
        browser.wait_for_load(loads)
        assert browser.evaluate("location.pathname") == "/-/"
        assert browser.evaluate("document.cookie") == "", "the cookies are HttpOnly"
        assert browser.errors == []


@pytest.mark.needs("chromium")
def test_the_first_key_leads_to_the_content(service: Service, browser: Chromium) -> None:
    browser.open(f"{service.url}/-/health")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.getAttribute('href')") == "#content"
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "brand"


def test_live_pages_end_when_the_process_drains() -> None:
    with Service(SETTINGS, {"service": APPLICATION}, {"hostile": HOSTILE}) as service:
        wait_for("all workers", lambda: len(json.loads(service.get("/-/overview.json"))["blocks"][-1]["rows"]) == 4)
        streams = [urlopen(f"{service.url}/-/overview/events", timeout=60) for _ in range(8)]
        for stream in streams:
            assert stream.readline() == b"retry: 3000\n"
        service.signal(signal.SIGTERM)
        for stream in streams:
            assert stream.read().count(b"data: ") >= 0
        assert service.wait() == 0
        assert "cancelled" not in service.log()
