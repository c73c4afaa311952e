"""Pages, their JSON and actions, as clients see them."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from scalekit.testing.conformance import bare_application
from tests.console.clients import TOKEN, Browser, Headers, console_app
from tests.plugin_source import Install

pytestmark = pytest.mark.anyio

GUESTS = """
from scalekit import Unavailable, hookimpl
from scalekit.pages import *

forgotten = []
TYPES = {
    "none": lambda: None,
    "row": lambda: [DataTable([Column("a")], [["1", "2"]])],
    "bytes": lambda: [Text(b"bytes")],
    "block": lambda: [DataTable([Column("a")], [[Text("a")]])],
    "duration": lambda: [Tree([TreeNode("a", None, None)])],
    "points": lambda: [Chart("a", [Series("a", ["1"])], 1)],
}

async def collect(query):
    if "fail" in query: raise RuntimeError("a fault")
    return {"query": dict(query), "names": ["<b>ada</b>", "password=hunter2"]}

async def render(view):
    if "fault" in view.query: raise RuntimeError("a fault")
    if "types" in view.query: return TYPES[view.query["types"]]()
    if "gone" in view.query: raise Unavailable("db1 is down", detail="the database is gone")
    rows = [(worker, name) for worker, each in view.workers.items() for name in each["names"]]
    return [DataTable((Column("worker"), Column("guest")), rows, "Guests"), ActionForm("forget")]

async def forget(values):
    if values["guest"] == "fault": raise RuntimeError("a fault")
    if values["guest"] == "lines": return "forgot\\n2026-01-01 INFO forged"
    if values["guest"] == "unknown": raise ValueError("no such guest; see the table")
    forgotten.append(values["guest"])
    return f"forgot {values['guest']}"

@hookimpl
def scalekit_pages(context):
    fields = [FormField("guest", "Guest", required=True), FormField("kind", "Kind", choices=["all", "one"])]
    actions = [PageAction("forget", "Forget", forget, fields, "all workers"), PageAction("one", "One", forget, fields)]
    return [ConsolePage("guests", "Guests", render, collect, actions)]
"""


@asynccontextmanager
async def guests(install: Install, console: Mapping[str, Any] = {}, **server: Any) -> AsyncGenerator[Browser, None]:
    install("guests", GUESTS)
    async with console_app({"guests": {}}, console, **server) as browser:
        yield browser


async def test_browsers_get_html_and_programs_json(install: Install) -> None:
    async with guests(install) as browser:
        page = await browser.get("/-/guests")
        assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
        assert b"&lt;b&gt;ada&lt;/b&gt;" in page.body
        assert b"hunter2" not in page.body
        for target, accept in (
            ("/-/guests.json", "text/html"),
            ("/-/guests", "application/json"),
            ("/-/guests", "*/*"),
        ):
            found = await browser.get(target, {"accept": accept})
            table = orjson.loads(found.body)["blocks"][0]
            assert table["rows"] == [["1", "<b>ada</b>"], ["1", "password=***"]]


async def test_pages_of_the_host_are_html_for_browsers_and_stay_json(install: Install) -> None:
    async with guests(install) as browser:
        assert b"Guests</a>" in (await browser.get("/-/")).body
        pages = orjson.loads((await browser.get("/-/", {"accept": "*/*"})).body)["pages"]
        assert {"/-/guests", "/-/guests.json", "/-/memory"} <= set(pages)
        assert "/-/guests/forget" not in pages
        assert (await browser.get("/-/memory", {"accept": "*/*"})).header("content-type") == "application/json"


async def test_every_page_forbids_foreign_scripts_frames_and_caches(install: Install) -> None:
    async with guests(install) as browser:
        page = await browser.get("/-/guests")
        policy = str(page.header("content-security-policy"))
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert page.header("cache-control") == "no-store"
        assert page.header("x-content-type-options") == "nosniff"


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("?fault=1", 500, b"The page failed."),
        ("?gone=1", 503, b"the database is gone"),
        ("?fail=1", 200, b"Worker 1 did not"),
    ],
)
async def test_a_page_that_fails_says_so(install: Install, query: str, status: int, text: bytes) -> None:
    async with guests(install) as browser:
        page = await browser.get(f"/-/guests{query}")
        assert page.status == status
        assert text in page.body
        assert b"a fault" not in page.body


@pytest.mark.parametrize("name", ["none", "row", "bytes", "block", "duration", "points"])
async def test_a_page_of_wrong_types_fails_alone(install: Install, name: str) -> None:
    async with guests(install) as browser:
        page = await browser.get(f"/-/guests?types={name}")
        assert page.status == 500
        assert b"The page failed." in page.body
        assert b"<h1>Guests" in page.body


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        (f"name={'%01' * 2800}", "expected a query of 8192 bytes at most"),
        (f"name={'a' * 1001}", "name: expected at most 1000 characters in a query parameter"),
        (f"{'a' * 1001}=1", f"{'a' * 100}: expected at most 1000 characters in a query parameter"),
        ("&".join(f"n{number}=1" for number in range(51)), "expected a query of 50 parameters at most"),
    ],
)
async def test_a_query_beyond_the_bounds_is_refused_and_not_cut(install: Install, query: str, detail: str) -> None:
    async with guests(install) as browser:
        for target in ("/-/guests", "/-/guests.json"):
            refused = await browser.get(f"{target}?{query}")
            assert (refused.status, orjson.loads(refused.body)["detail"]) == (414, detail)
        assert (await browser.get(f"/-/guests?name={'a' * 1000}")).status == 200


async def test_a_head_of_a_stream_ends(install: Install) -> None:
    async with console_app({}) as browser:
        response = await browser._send("HEAD", "/-/overview/events", {})
        assert (response.status, response.body) == (200, b"")


async def test_an_action_by_a_form_shows_its_results(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    async with guests(install) as browser:
        await browser.get("/-/guests")
        done = await browser.submit("/-/guests/forget", guest="ada", kind="all")
        assert done.status == 200
        assert b"forgot ada" in done.body
        (line,) = [each for each in caplog.records if each.name == "scalekit.console"]
        assert line.levelno == logging.WARNING
        message = line.getMessage()
        assert message == "action guests/forget guest='ada' kind='all' by 127.0.0.1 (address): forgot ada"


@pytest.mark.parametrize(
    ("guest", "status", "text"),
    [("unknown", 422, b"no such guest; see the table"), ("", 400, b"guest: a value is required")],
)
async def test_a_refused_action_names_the_remedy(install: Install, guest: str, status: int, text: bytes) -> None:
    async with guests(install) as browser:
        await browser.get("/-/guests")
        done = await browser.submit("/-/guests/one", guest=guest, kind="all")
        assert done.status == status
        assert text in done.body


async def test_an_action_that_fails_reveals_nothing_and_is_logged(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    async with guests(install) as browser:
        await browser.get("/-/guests")
        for action in ("one", "forget"):
            done = await browser.submit(f"/-/guests/{action}", guest="fault", kind="all")
            assert done.status == 422
            assert b"a fault" not in done.body
    assert "action guests/one guest='fault' kind='all' by 127.0.0.1 (address): failed: " in caplog.text


async def test_programs_act_with_json(install: Install) -> None:
    async with guests(install, operator_token=TOKEN) as browser:
        done = await browser.post_json("/-/guests/forget", {"guest": "ada", "kind": "one"})
        assert orjson.loads(done.body) == {"results": [{"worker": "1", "message": "forgot ada", "failed": False}]}
        for body, detail in (
            ({"guest": "ada"}, "kind: expected all, one, got ''"),
            ({"guest": "ada", "kind": "one", "x": ""}, "unknown field 'x'; expected guest, kind"),
            ({"guest": 1}, 'expected a JSON object of texts, such as {"tag": "products"}'),
            ({"guest": "a" * 1001, "kind": "one"}, "guest: expected at most 1000 characters"),
        ):
            refused = await browser.post_json("/-/guests/forget", body)
            assert (refused.status, orjson.loads(refused.body)["detail"]) == (400, detail)


FORGERIES: dict[str, tuple[Headers, dict[str, str]]] = {
    "no token": ({}, {"csrf_token": ""}),
    "another token": ({}, {"csrf_token": "0" * 32}),
    "no cookie": ({"cookie": ""}, {}),
    "neither": ({"cookie": ""}, {"csrf_token": ""}),
    "another origin": ({"origin": "https://evil.example", "sec-fetch-site": None}, {}),
    "another port": ({"origin": "http://localhost:8001", "sec-fetch-site": None}, {}),
    "another scheme": ({"origin": "ftp://localhost", "sec-fetch-site": None}, {}),
    "the null origin": ({"origin": "null", "sec-fetch-site": None}, {}),
    "an invalid origin": ({"origin": "http://[", "sec-fetch-site": None}, {}),
    "another site": ({"sec-fetch-site": "cross-site"}, {}),
    "a subdomain": ({"sec-fetch-site": "same-site"}, {}),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_form_of_another_site_is_refused(install: Install, name: str) -> None:
    headers, fields = FORGERIES[name]
    async with guests(install) as browser:
        await browser.get("/-/guests")
        done = await browser.submit("/-/guests/forget", headers, **{"guest": "ada", "kind": "all", **fields})
        assert done.status == 403
        assert any(word in done.body for word in (b"expired", b"another site", b"proxy_set_header Host $http_host"))


async def test_a_browser_knows_its_site_behind_a_proxy_that_replaces_the_host(install: Install) -> None:
    async with guests(install) as browser:
        await browser.get("/-/guests")
        headers = {"origin": "https://shop.example", "sec-fetch-site": "same-origin"}
        assert (await browser.submit("/-/guests/forget", headers, guest="ada", kind="all")).status == 200


async def test_json_of_another_site_is_refused(install: Install) -> None:
    async with guests(install) as browser:
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            done = await browser.post_json("/-/guests/forget", {"guest": "ada", "kind": "all"}, headers)
            assert done.status == 403


async def test_a_form_without_origin_is_refused(install: Install) -> None:
    async with guests(install) as browser:
        await browser.get("/-/guests")
        done = await browser.submit("/-/guests/forget", {"origin": None}, guest="ada", kind="all")
        assert done.status == 403


async def test_actions_can_be_turned_off(install: Install) -> None:
    async with guests(install, {"actions": False}) as browser:
        assert b"<form" not in (await browser.get("/-/guests")).body
        assert (await browser.submit("/-/guests/forget", guest="ada", kind="all")).status == 403


async def test_nobody_else_sees_or_does_anything(install: Install) -> None:
    async with guests(install, operator_networks=["10.0.0.0/8"]) as browser:
        for target in ("/-/", "/-/guests", "/-/guests.json", "/-/overview", "/-/overview/events", "/-/health"):
            assert (await browser.get(target)).status == 403
        assert (await browser.post_json("/-/guests/forget", {"guest": "ada", "kind": "all"})).status == 403


async def test_an_operator_by_address_must_not_use_an_unknown_host(install: Install) -> None:
    async with guests(install, operator_networks=["127.0.0.1"]) as browser:
        assert (await browser.get("/-/guests", {"host": "evil.example"})).status == 403
        for host in ("127.0.0.1:8000", "[::1]:80", "localhost"):
            assert (await browser.get("/-/guests", {"host": host})).status == 200


async def test_assets_are_kept_for_ever_and_need_no_operator(install: Install) -> None:
    async with guests(install) as browser:
        page = (await browser.get("/-/")).body.decode()
        paths = re.findall(r'"(/-/assets/[^"]+)"', page)
        assert [path.rpartition(".")[2] for path in paths] == ["css", "js", "js"]
        for path in paths:
            found = await browser.get(path, client=("203.0.113.9", 1))
            assert found.status == 200
            assert "immutable" in str(found.header("cache-control"))
            again = await browser.get(path, {"if-none-match": str(found.header("etag"))})
            assert again.status == 304
        assert (await browser.get("/-/assets/other.css")).status == 404


def test_a_console_without_operators_has_no_pages(caplog: pytest.LogCaptureFixture) -> None:
    app: Host = create_app({"plugins": {"console": {}}}, app=bare_application)
    assert not [route for routes in app.routes.values() for route in routes]
    assert "there are no operators" in caplog.text


async def test_without_a_console_pages_are_not_even_created(install: Install) -> None:
    install("guests", GUESTS.replace("def scalekit_pages(context):", "def scalekit_pages(context):\n    1 / 0"))
    app = create_app({"plugins": {"guests": {}}}, app=bare_application)
    async with running(app) as state:
        response: ReceivedResponse = await request(app, "/", state=state)
        assert response.status == 200


async def test_a_result_of_several_lines_is_one_line_of_the_log(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    async with guests(install) as browser:
        await browser.post_json("/-/guests/one", {"guest": "lines", "kind": "all"})
    [line] = [record.getMessage() for record in caplog.records if "guests/one" in record.getMessage()]
    assert line.endswith(": forgot 2026-01-01 INFO forged")
    assert "\n" not in line
