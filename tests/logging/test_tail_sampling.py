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
    how = request.path_params["how"]
    for number in range(int(request.query_params.get("lines", "2"))):
        log.debug("detail", number=number)
    await asyncio.to_thread(stdlib.debug, "stdlib detail")
    log.info("usual")
    logging.getLogger("quiet").debug("never")
    if how == "slow":
        await asyncio.sleep(0.15)
    if how == "raise":
        raise LookupError
    return PlainTextResponse(how, 503 if how == "fail" else 200)


async def linger(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0.01)
        log.debug("too late")

    task = asyncio.create_task(later())
    running_tasks.add(task)
    task.add_done_callback(running_tasks.discard)
    return PlainTextResponse("", 500)


APPLICATION = Starlette(routes=[Route("/linger", linger), Route("/{how}", work)])


async def serve(directory: Path, *targets: str, **table: Any) -> list[tuple[str, str]]:
    """Return level and event of every line that the requests left."""
    tail = {"slow_threshold": "100ms", **table.pop("tail", {})}
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
    ("how", "written"),
    [
        ("ok", [("info", "usual"), ("info", "request")]),
        ("fail", [("info", "usual"), *DETAILS, ("error", "request")]),
        ("raise", [("info", "usual"), *DETAILS, ("error", "request")]),
        ("slow", [("info", "usual"), *DETAILS, ("info", "request")]),
    ],
)
async def test_details_are_written_when_the_request_fails_or_is_slow(
    how: str, written: list[tuple[str, str]], tmp_path: Path
) -> None:
    assert await serve(tmp_path, f"/{how}") == written


@pytest.mark.anyio
async def test_whatever_is_below_the_level_is_a_detail(tmp_path: Path) -> None:
    assert await serve(tmp_path, "/ok", "/slow", level="WARNING") == [*DETAILS, ("info", "usual"), ("info", "request")]


@pytest.mark.anyio
async def test_without_the_table_nothing_below_the_level_is_written(tmp_path: Path) -> None:
    async with logging_app(APPLICATION, tmp_path) as (host, state):
        assert not logging.getLogger("shop").isEnabledFor(logging.DEBUG)
        await request(host, "/fail", state=state)
    levels = {line["level"] for line in read(tmp_path / "combined.log")}
    assert "debug" not in levels


@pytest.mark.anyio
async def test_of_too_many_lines_the_last_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    written = await serve(tmp_path, "/fail?lines=50", tail={"lines": 5})
    forgotten = ("debug", "46 earlier lines of this request were dropped")
    assert written == [("info", "usual"), forgotten, *(DETAILS[:1] * 4), DETAILS[2], ("error", "request")]
    kept = [line["number"] for line in read(tmp_path / "combined.log") if line["event"] == "detail"]
    assert kept == [46, 47, 48, 49]


@pytest.mark.anyio
async def test_what_outlives_its_request_is_kept_by_nobody(tmp_path: Path) -> None:
    assert await serve(tmp_path, "/linger") == [("error", "request")]


def test_all_tails_together_are_bounded_and_give_back_what_they_took() -> None:
    tails = TailSampler(lines=1000, memory=1000, slow_threshold=1.0)
    opened = [tails.open() for _ in range(100)]
    for number in range(20):
        for tail in opened:
            tail.keep(b"%099d" % number)
            assert tails.used <= 1000
    assert sum(len(tail.close()[0]) for tail in opened) > 0
    assert tails.used == 0
    late = opened[0]
    late.keep(b"late")
    assert (late.close()[0], tails.used) == ([], 0)
