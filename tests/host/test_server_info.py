"""Warnings about state per process under servers that may run several processes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.server_info import WORKER
from scalekit.testing import running

pytestmark = pytest.mark.anyio

LIMITS = {"default": "10/m"}
HINT = "the server is not scalekit run"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def warnings(caplog: pytest.LogCaptureFixture, served: bool = False, **plugins: Any) -> list[str]:
    """Return the warnings at the start of an application with *plugins*."""
    host = create_app({"plugins": plugins}, app=app)
    if served:
        host.context.provide(WORKER, "")
    with caplog.at_level(logging.WARNING):
        async with running(host):
            pass
    return [record.getMessage() for record in caplog.records if HINT in record.getMessage()]


async def test_limits_in_memory_under_another_server_log_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = await warnings(caplog, ratelimit=LIMITS)
    assert message.startswith("plugins.ratelimit.url is memory:")
    assert "each of them allows the whole limit" in message
    assert "per_worker = true" in message


async def test_sessions_in_memory_under_another_server_log_one_warning(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (message,) = await warnings(caplog, jwt={"key_file": str(tmp_path / "keys.json")})
    assert "[plugins.jwt] stores sessions in memory" in message


@pytest.mark.parametrize("plugin", [{"default": "10/m", "per_worker": True}, {}])
async def test_explicit_memory_and_plugins_without_state_log_no_warning(
    plugin: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert await warnings(caplog, ratelimit=plugin) == []


async def test_a_cache_in_memory_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert await warnings(caplog, cache={}) == []


async def test_scalekit_run_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert await warnings(caplog, served=True, ratelimit=LIMITS) == []
