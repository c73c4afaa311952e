from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.console.clients import Browser, console_app
from tests.host.host_pages.page_json import blocks_of, rows
from tests.plugin_source import Install

pytestmark = pytest.mark.anyio

ADVISES = """
import logging
from scalekit import Table, Secret, hookimpl
from scalekit.contracts import ADVISERS, Advice

class Config(Table):
    key: Secret | None = None
    keys: tuple[Secret, ...] = ()
    password: str = ""
    note: str = ""
    values: dict[str, str] = {}
    secrets: dict[str, Secret] = {}

logger = logging.getLogger("scalekit.advises")

@hookimpl
def scalekit_config(): return Config

@hookimpl
def scalekit_lifespan(context):
    from contextlib import asynccontextmanager
    from scalekit import Lifespan
    context.shared(ADVISERS, list).append(lambda: [Advice("the <i>store</i> is in memory", "set url")])
    logger.warning("path %r is never used; remove it", "/a")
    @asynccontextmanager
    async def run():
        logger.warning("no connection to db1")
        yield
    return Lifespan(run)
"""
FILE = """
[server]
operator_networks = ["127.0.0.1"]
max_body = "1MiB"
[plugins.console]
[plugins.advises]
key = "${PHOST_KEY}"
keys = ["first-secret", "second-secret"]
password = "third-secret"
note = "${PHOST_NOTE:-unset}"
[plugins.ratelimit]
enabled = false
[health.external]
shop = "https://user:fourth-secret@shop.example/?token=fifth-secret"
"<script>" = "https://shop.example/"
"""
SECRETS = ("env-secret", "first-secret", "second-secret", "third-secret", "fourth-secret", "fifth-secret")


def app_of(file: Path) -> Host:
    file.write_text(FILE)
    return create_app(str(file), app=bare_application, overrides=["server.backlog=77"])


async def test_values_have_origins_and_no_secret_is_shown(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("advises", ADVISES)
    monkeypatch.setenv("PHOST_KEY", "env-secret")
    monkeypatch.setenv("PHOST_NOTE", "<b>note</b>")
    file = tmp_path / "scalekit.toml"
    app = app_of(file)
    async with running(app) as state:
        browser = Browser(app, state)
        found = await blocks_of(browser, "configuration")
        html = (await browser.get("/-/configuration")).body.decode()
    server = {row["name"]: row for row in rows(found, "[server]")}
    assert server["server.max_body"]["origin"] == f"{file}:4"
    assert server["server.max_body"]["set"]["text"] == "set"
    assert server["server.backlog"] == {**server["server.backlog"], "value": "77", "origin": "--set"}
    assert (server["server.port"]["origin"], server["server.port"]["set"]) == ("default", None)
    assert [row["set"] is not None for row in server.values()] == [True] * 3 + [False] * (len(server) - 3)
    advises = {row["name"]: row for row in rows(found, "[plugins.advises]")}
    assert advises["plugins.advises.key"]["value"] == '"***"'
    assert advises["plugins.advises.key"]["origin"] == f"{file}:7, environment PHOST_KEY"
    assert rows(found, "[plugins.ratelimit]")[0]["value"] == "false"
    assert [each for each in SECRETS if each in html or each in str(found)] == []
    assert "<script>" not in html.partition("<body>")[2].replace("<script src", "")
    assert "&lt;b&gt;note" in html


async def test_a_filter_finds_names_values_and_origins(install: Install) -> None:
    async with console_app({}) as browser:
        found = await blocks_of(browser, "configuration?filter=MAX_BODY")
        nothing = await blocks_of(browser, "configuration?filter=no+such+key")
        origins = await blocks_of(browser, "configuration?filter=127.0.0.1")
    assert [row["name"] for row in rows(found, "[server]")] == ["server.max_body"]
    assert nothing[-1] == {"type": "text", "text": "No value matches."}
    assert {row["name"] for row in rows(origins, "[server]")} == {"server.host", "server.operator_networks"}


async def test_warnings_of_the_start_and_advice_are_notices(install: Install) -> None:
    install("advises", ADVISES)
    async with console_app({"advises": {}}) as browser:
        found = await blocks_of(browser, "configuration")
    notices = [(each["text"], each["remedy"]) for each in found if each["type"] == "notice"]
    assert notices == [("path '/a' is never used; remove it", ""), ("the <i>store</i> is in memory", "set url")]


async def test_an_unnamed_proxy_is_a_notice() -> None:
    async with console_app({}) as browser:
        assert [each["tone"] for each in await blocks_of(browser, "configuration") if each["type"] == "notice"] == [
            "good"
        ]
        await browser.get("/", {"x-forwarded-for": "1.2.3.4"})
        await browser.get("/", {"x-forwarded-for": "1.2.3.4"})
        found = await blocks_of(browser, "configuration")
    (notice,) = [each for each in found if each["type"] == "notice"]
    assert 'write trusted_proxies = ["127.0.0.1"] in [server]' in notice["text"]


class SessionMiddleware:
    """Stands for the one of the framework, which needs another package."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def test_csrf_warnings_are_those_of_the_check() -> None:
    target = Starlette(middleware=[Middleware(SessionMiddleware)])
    tables = {"plugins": {"console": {}}, "server": {"operator_networks": ["127.0.0.1"]}}
    app = create_app(tables, app=target)
    async with running(app) as state:
        found = await blocks_of(Browser(app, state), "configuration")
    assert "csrf_protection = true" in found[0]["text"]


async def test_ten_thousand_values_with_markup_and_secrets_are_bounded(install: Install) -> None:
    install("advises", ADVISES)
    secret = "hunter2-in-a-table"
    values = {f"<img src=x>{n}": f"https://u:{secret}{n}@h.example/?token={secret}" for n in range(9_000)}
    secrets = {f"<b>{n}</b>": f"{secret}{n}" for n in range(1_000)}
    async with console_app({"advises": {"values": values, "secrets": secrets}}) as browser:
        for target in ("/-/configuration", "/-/configuration.json"):
            response = await browser.get(target)
            assert response.status == 200
            assert secret.encode() not in response.body
            assert len(response.body) < 1_000_000
            assert target.endswith("json") or b"<img" not in response.body
        found = await blocks_of(browser, "configuration?filter=plugins.advises.s")
        assert len(rows(found, "[plugins.advises]")) == 500
    (table,) = [each for each in found if each.get("title") == "[plugins.advises]"]
    assert table["more"] == 500
