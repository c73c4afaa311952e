from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import Message, Scope

from scalekit import ConfigError, create_app
from scalekit.testing import request, running
from tests.host.http.static_files.site_folder import write

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("folders", ["assets", ["missing_first/../assets", "django.contrib.admin:static"]])
async def test_static_files_are_served_from_folders_and_packages(folders: Any, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "missing_first").mkdir()
    (tmp_path / "assets" / "site.css").write_text("body {}")
    (tmp_path / "secret").write_text("secret")
    named = [name if ":" in name else str(tmp_path / name) for name in ([folders] if type(folders) is str else folders)]
    app = create_app({"app": {"static": {"/static": named}}}, app=Starlette())
    async with running(app) as state:
        found = await request(app, "/static/site.css", state=state)
        assert (found.body, found.header("content-type")) == (b"body {}", "text/css; charset=utf-8")
        assert (await request(app, "/static/../secret", state=state)).status == 404
        assert (await request(app, "/static/admin/css/base.css", state=state)).status == 200 + 204 * (len(named) == 1)
        assert (await request(app, "/elsewhere", state=state)).status == 404


@pytest.mark.parametrize("prefix", ["", "/shop"])
@pytest.mark.filterwarnings("ignore:The `root_path` parameter")
async def test_static_files_are_below_the_prefix_of_the_application_and_of_a_proxy(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("body {}")
    static = {"/static": {"folders": str(tmp_path), "immutable": "/static/*.css"}}
    for application in (Starlette(), FastAPI(root_path=prefix)):
        app = create_app({"app": {"static": static}, "server": {"root_path": prefix}}, app=application)
        async with running(app) as state:
            found = await request(app, "/static/a.css", state=state)
            assert (found.status, found.body) == (200, b"body {}")
            assert "immutable" in (found.header("cache-control") or "")
            assert (await request(app, "/static/static/a.css", state=state)).status == 404


async def test_a_websocket_to_a_file_is_rejected(tmp_path: Path) -> None:
    app = create_app({"app": {"static": {"/static": str(tmp_path)}}}, app=Starlette())
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async with running(app) as state:
        scope: Scope = {
            "type": "websocket",
            "path": "/static/a.css",
            "headers": [],
            "query_string": b"",
            "state": state,
        }
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("path", ["/-", "/-/files", "/a/../b", "/a//b", "/a%20b", "/a/.", "/a\\b", "/a\nb"])
def test_paths_that_nobody_could_request_or_that_bypass_plugins_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a path without|outside of all plugins"):
        create_app({"app": {"static": {path: str(tmp_path)}}}, app=Starlette())


async def test_the_longest_path_serves(tmp_path: Path) -> None:
    write(tmp_path / "outer" / "a" / "x.txt", b"outer")
    write(tmp_path / "inner" / "x.txt", b"inner")
    static = {"/s": str(tmp_path / "outer"), "/s/a": str(tmp_path / "inner")}
    app = create_app({"app": {"static": static}}, app=Starlette())
    async with running(app) as state:
        assert (await request(app, "/s/a/x.txt", state=state)).body == b"inner"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no/such/folder", "folder 'no/such/folder' does not exist"),
        ("no_such_package:static", "'no_such_package' is not an installed package"),
        ("os:static", "'os' is not an installed package"),
        ("", "expected a folder or package:folder, got ''"),
        ("pytest:", "expected a folder or package:folder, got 'pytest:'"),
    ],
)
def test_missing_static_folders_are_a_mistake_of_the_file(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"app": {"static": {"/static": entry}}}, app=Starlette())
