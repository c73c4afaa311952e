from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from scalekit import create_app
from scalekit.asgi_client import ReceivedResponse
from scalekit.host import Host
from scalekit.log_level.page import MAX_OVERRIDES, parse_change
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application

pytestmark = pytest.mark.anyio
OPERATORS = {"server": {"operator_networks": ["127.0.0.1"]}}
JSON = {"content-type": "application/json", "user-agent": "scalekit log-level of ada"}


def application(tmp_path: Path, level: str = "info") -> Host:
    table = {"console": "off", "directory": str(tmp_path), "level": level, "levels": {"noisy": "error"}}
    return create_app({"plugins": {"logging": table}, **OPERATORS}, app=bare_application)


async def send(app: Host, state: dict[str, Any], body: object, **more: Any) -> ReceivedResponse:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return await request(app, "/-/log-level", state=state, method="POST", **{"headers": JSON, "body": content, **more})


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (tmp_path / "combined.log").read_bytes().splitlines()]


async def test_the_levels_are_shown_overridden_and_reset(tmp_path: Path) -> None:
    app = application(tmp_path)
    async with running(app) as state:
        shown = orjson.loads((await request(app, "/-/log-level", state=state)).body)
        assert shown == {"levels": {"": "info", "noisy": "error"}, "overrides": {}}
        body = (await send(app, state, {"level": "debug", "logger": "shop", "for": "1h"})).body
        (override,) = orjson.loads(body)["overrides"].items()
        assert override[0] == "shop"
        assert override[1]["level"] == "debug"
        assert 3500 < override[1]["remaining_seconds"] <= 3600
        await send(app, state, {"level": "debug"})
        rest = orjson.loads((await send(app, state, {"level": "reset", "logger": "shop"})).body)["overrides"]
        assert rest.keys() == {""}
        assert orjson.loads((await send(app, state, {"level": "reset"})).body)["overrides"] == {}


@pytest.mark.parametrize("level", ["info", "error", "critical"])
async def test_the_log_says_who_changed_what_at_every_configured_level(tmp_path: Path, level: str) -> None:
    app = application(tmp_path, level)
    async with running(app) as state:
        await send(app, state, {"level": "critical", "for": "90s"})
        await send(app, state, {"level": "reset"}, headers={**JSON, "user-agent": "a\\nb" + 300 * "x"})
    events = [line["event"] for line in lines(tmp_path) if line["event"].startswith("log level")]
    assert events[0] == "log level of all loggers set to critical for 90s by 127.0.0.1 ('scalekit log-level of ada')"
    assert events[1].startswith("log level of all loggers reset by 127.0.0.1 ('a")
    assert len(events) == 2
    assert len(events[1]) < 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"level": "loud"}, "level: expected debug, info, warning, error, critical or reset, got 'loud'"),
        ({"level": None}, "level: expected debug"),
        ({"level": ["debug"]}, "level: expected debug"),
        ({}, "level: expected debug"),
        ({"level": "debug", "for": "25h"}, "for: expected a duration above zero and up to 1d, got '25h'"),
        ({"level": "debug", "for": "0s"}, "for: expected a duration above zero and up to 1d, got '0s'"),
        ({"level": "debug", "for": 600}, "for: expected a duration such as 10m, got 600"),
        ({"level": "debug", "logger": ""}, "logger: expected a name such as shop.orders, got ''"),
        ({"level": "debug", "logger": "a\nb"}, "logger: expected a name"),
        ({"level": "debug", "logger": 300 * "a"}, "logger: expected a name"),
        ({"level": "debug", "until": "x"}, "expected a JSON object such as"),
        ([], "expected a JSON object such as"),
        (b"{", "expected a JSON object such as"),
        (b"\xff", "expected a JSON object such as"),
    ],
)
async def test_a_malformed_change_names_key_value_and_choices(tmp_path: Path, body: object, message: str) -> None:
    app = application(tmp_path)
    async with running(app) as state:
        response = await send(app, state, body)
        assert response.status == 400
        assert orjson.loads(response.body)["detail"].startswith(message)
        shown = orjson.loads((await request(app, "/-/log-level", state=state)).body)
        assert shown["overrides"] == {}


async def test_only_operators_change_levels_and_only_with_json(tmp_path: Path) -> None:
    app = application(tmp_path)
    change = {"level": "debug"}
    async with running(app) as state:
        assert (await send(app, state, change, client=("10.0.0.1", 1))).status == 403
        assert (await send(app, state, change, headers={"content-type": "text/plain"})).status == 415
        assert (await send(app, state, change, headers={})).status == 415
        assert (await send(app, state, b" " * 5000)).status == 413
        for method in ("PUT", "DELETE", "PATCH"):
            assert (await request(app, "/-/log-level", state=state, method=method)).status == 405
        shown = orjson.loads((await request(app, "/-/log-level", state=state)).body)
        assert shown["overrides"] == {}


async def test_there_is_a_maximum_of_overrides(tmp_path: Path) -> None:
    app = application(tmp_path)
    async with running(app) as state:
        for number in range(MAX_OVERRIDES):
            assert (await send(app, state, {"level": "debug", "logger": f"shop{number}"})).status == 200
        assert (await send(app, state, {"level": "debug", "logger": "one.more"})).status == 409
        assert (await send(app, state, {"level": "error", "logger": "shop0"})).status == 200


@pytest.mark.parametrize("duration", ["1us", "100us", "999ms"])
async def test_the_log_has_a_whole_second_for_a_shorter_time(tmp_path: Path, duration: str) -> None:
    app = application(tmp_path)
    async with running(app) as state:
        assert (await send(app, state, {"level": "debug", "for": duration})).status == 200
    assert any("set to debug for 1s by" in line["event"] for line in lines(tmp_path))


async def test_without_a_plugin_that_logs_the_page_names_the_remedy() -> None:
    app = create_app(OPERATORS, app=bare_application)
    async with running(app) as state:
        response = await send(app, state, {"level": "debug"})
        assert response.status == 404
        assert "[plugins.logging]" in orjson.loads(response.body)["detail"]


def test_the_default_duration_is_ten_minutes_and_the_maximum_a_day() -> None:
    change = parse_change({"level": "debug"})
    longest = parse_change({"level": "debug", "for": "24h"})
    assert change.override is not None
    assert longest.override is not None
    assert 86400 - 600 <= longest.override.end - change.override.end < 86400 - 590
