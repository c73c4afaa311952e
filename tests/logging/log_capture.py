"""Collect the lines that an application, or a part of the plugin, logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from starlette.types import ASGIApp

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import running

Line = dict[str, Any]


class RecordingCounter:
    """Counts as the metrics do."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.losses: dict[tuple[str, str], int] = {}

    def written(self, level: str, lines: int) -> None:
        self.lines[level] = self.lines.get(level, 0) + lines

    def lost(self, sink: str, reason: str, lines: int) -> None:
        self.losses[sink, reason] = self.losses.get((sink, reason), 0) + lines


def parse(data: bytes) -> list[Line]:
    """Return every line of *data*; raises when one is not a JSON object, or not whole."""
    if data and not data.endswith(b"\n"):
        raise ValueError(f"the last line is not whole: {data[-100:]!r}")
    lines: list[Line] = [orjson.loads(line) for line in data.split(b"\n")[:-1]]
    if wrong := [line for line in lines if not isinstance(line, dict)]:
        raise ValueError(f"no objects: {wrong}")
    return lines


def read(path: Path) -> list[Line]:
    return parse(path.read_bytes())


def rotated(directory: Path, name: str) -> list[Line]:
    """Return the lines of a file and of the full ones beside it."""
    return [line for path in sorted(directory.glob(f"{name}*")) for line in read(path)]


def logging_host(app: ASGIApp, directory: Path, tables: Mapping[str, Any] | None = None, **table: Any) -> Host:
    """Return *app* with the plugin writing to *directory* only."""
    own = {"console": "off", "directory": str(directory), **table}
    return create_app({**(tables or {}), "plugins": {"logging": own}}, app=app)


@asynccontextmanager
async def logging_app(app: ASGIApp, directory: Path, **table: Any) -> AsyncGenerator[tuple[Host, dict[str, Any]], None]:
    """Run *app* with the plugin, which has written everything on leaving."""
    host = logging_host(app, directory, **table)
    async with running(host) as state:
        yield host, state
