from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit.testing import request
from scalekit_logging.tail_sampling import TailSampler
from tests.logging.log_capture import logging_app, read

log = structlog.get_logger("shop")
stdlib = logging.getLogger("shop.stdlib")
running_tasks: set[asyncio.Task[None]] = set()


async def work(request: Request) -> Response:
    outcome = request.path_params["outcome"]
    for number in range(int(request.query_params.get("lines", "2"))):
        log.debug("detail", number=number)
    await asyncio.to_thread(stdlib.debug, "stdlib detail")
    log.info("usual")
    logging.getLogger("quiet").debug("never")
    if outcome == "slow":
        await asyncio.sleep(1.1)
    if outcome == "raise":
        raise LookupError
    return PlainTextResponse(outcome, 503 if outcome == "fail" else 200)


async def linger(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0.01)
        log.debug("too late")

    task = asyncio.create_task(later())
    running_tasks.add(task)
    task.add_done_callback(running_tasks.discard)
    return PlainTextResponse("", 500)


APPLICATION = Starlette(routes=[Route("/linger", linger), Route("/{outcome}", work)])


async def logged_lines(directory: Path, *targets: str, **table: Any) -> list[tuple[str, str]]:
    """Return level and event of every line of the requests."""
    tail = {"slow_threshold": "1s", **table.pop("tail", {})}
    table = {"levels": {"quiet": "INFO"}, "tail": tail, **table}
    log.debug("outside")
    async with logging_app(APPLICATION, directory, **table) as (host, state):
        log.debug("outside")
        for target in targets:
            try:
                await request(host, target, state=state)
            except LookupError:
                pass
        while running_tasks:
            await asyncio.sleep(0.01)
    lines = [
        line for line in read(directory / "combined.log") if line["logger"].startswith(("shop", "scalekit.access"))
    ]
    assert all("request_id" in line for line in lines)
    return [(line["level"], line["event"]) for line in lines]


DETAILS = [("debug", "detail"), ("debug", "detail"), ("debug", "stdlib detail")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("outcome", "written"),
    [
        ("ok", [("info", "usual"), ("info", "request")]),
        ("fail", [("info", "usual"), *DETAILS, ("error", "request")]),
        ("raise", [("info", "usual"), *DETAILS, ("error", "request")]),
        ("slow", [("info", "usual"), *DETAILS, ("info", "request")]),
    ],
)
async def test_details_are_written_when_the_request_fails_or_is_slow(
    outcome: str, written: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert await logged_lines(tmp_path, f"/{outcome}") == written


@pytest.mark.anyio
async def test_all_lines_below_the_level_are_buffered(tmp_path: Path) -> None:
    assert await logged_lines(tmp_path, "/ok", "/slow", level="WARNING") == [
        *DETAILS,
        ("info", "usual"),
        ("info", "request"),
    ]


@pytest.mark.anyio
async def test_without_tail_sampling_no_line_below_the_level_is_written(tmp_path: Path) -> None:
    async with logging_app(APPLICATION, tmp_path) as (host, state):
        assert not logging.getLogger("shop").isEnabledFor(logging.DEBUG)
        await request(host, "/fail", state=state)
    levels = {line["level"] for line in read(tmp_path / "combined.log")}
    assert "debug" not in levels


@pytest.mark.anyio
async def test_the_oldest_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    written = await logged_lines(tmp_path, "/fail?lines=50", tail={"lines": 5})
    dropped = ("debug", "46 earlier lines of this request were dropped")
    assert written == [("info", "usual"), dropped, *(DETAILS[:1] * 4), DETAILS[2], ("error", "request")]
    numbers = [line["number"] for line in read(tmp_path / "combined.log") if line["event"] == "detail"]
    assert numbers == [46, 47, 48, 49]


@pytest.mark.anyio
async def test_lines_after_the_end_of_the_request_are_dropped(tmp_path: Path) -> None:
    assert await logged_lines(tmp_path, "/linger") == [("error", "request")]


def test_the_memory_of_all_buffers_is_bounded_and_released() -> None:
    sampler = TailSampler(max_lines=1000, max_bytes=1000, slow_threshold=1.0)
    opened = [sampler.create_buffer() for _ in range(100)]
    for number in range(20):
        for tail in opened:
            tail.append(b"%099d" % number)
            assert sampler.used_bytes <= 1000
    assert sum(len(tail.close()[0]) for tail in opened) > 0
    assert sampler.used_bytes == 0
    late = opened[0]
    late.append(b"late")
    assert (late.close()[0], sampler.used_bytes) == ([], 0)
