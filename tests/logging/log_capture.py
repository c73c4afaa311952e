"""Run applications with the logging plugin and parse the lines that they write."""

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
    """A LineCounter that records its calls."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.losses: dict[tuple[str, str], int] = {}

    def count_written(self, level: str, lines: int) -> None:
        self.lines[level] = self.lines.get(level, 0) + lines

    def count_lost(self, sink: str, reason: str, lines: int) -> None:
        self.losses[sink, reason] = self.losses.get((sink, reason), 0) + lines


def parse(data: bytes) -> list[Line]:
    """Return every line of *data*; raises ValueError when one is incomplete or not a JSON object."""
    if data and not data.endswith(b"\n"):
        raise ValueError(f"the last line is incomplete: {data[-100:]!r}")
    lines: list[Line] = [orjson.loads(line) for line in data.split(b"\n")[:-1]]
    if invalid := [line for line in lines if not isinstance(line, dict)]:
        raise ValueError(f"not objects: {invalid}")
    return lines


def read(path: Path) -> list[Line]:
    return parse(path.read_bytes())


def read_rotated(directory: Path, name: str) -> list[Line]:
    """Return the lines of a file and of its rotated files."""
    return [line for path in sorted(directory.glob(f"{name}*")) for line in read(path)]


def logging_host(app: ASGIApp, directory: Path, tables: Mapping[str, Any] | None = None, **keys: Any) -> Host:
    """Return a host of *app* whose log goes only to *directory*."""
    table = {"console": "off", "directory": str(directory), **keys}
    return create_app({**(tables or {}), "plugins": {"logging": table}}, app=app)


@asynccontextmanager
async def logging_app(app: ASGIApp, directory: Path, **keys: Any) -> AsyncGenerator[tuple[Host, dict[str, Any]], None]:
    """Run *app* with the plugin; all lines are written when the context ends."""
    host = logging_host(app, directory, **keys)
    async with running(host) as state:
        yield host, state
