"""A folder of static files with settled modification times, and the application that serves it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from scalekit import create_app
from scalekit.host import Host

THEN = 1_600_000_000
"""A modification time in the past, of which the entity tag is strong."""


def write(path: Path, content: bytes, modified: float = THEN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    return path


def application(folder: Path, config: Mapping[str, Any] | None = None, **tables: Any) -> Host:
    static = {"/static": {"folders": str(folder), **(config or {})}}
    return create_app({"app": {"static": static}, **tables}, app=Starlette())
