from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from scalekit import ConfigError, create_app
from scalekit.testing import request, running

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


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no/such/folder", "folder 'no/such/folder' does not exist"),
        ("no_such_package:static", "package 'no_such_package' is not installed"),
    ],
)
def test_missing_static_folders_are_a_mistake_of_the_file(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"app": {"static": {"/static": entry}}}, app=Starlette())
