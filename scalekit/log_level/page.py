"""The operator page of the log levels: GET shows them, POST overrides them in all workers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from math import ceil
from time import monotonic
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from scalekit.config.types import Duration
from scalekit.contracts.log_levels import LogLevels
from scalekit.contracts.overrides import Override, OverrideChange, OverrideGroup
from scalekit.http.request_body import read_json_object
from scalekit.log_level.overrides import LEVEL_OVERRIDES, LEVELS

logger = logging.getLogger("scalekit")

PATH = "/-/log-level"
EXAMPLE = '{"level": "debug", "logger": "shop", "for": "10m"}'
MAX_OVERRIDES = 100
TOO_MANY = f"there are {MAX_OVERRIDES} overrides; reset one of them"
MAX_DURATION = Duration("24h")
DEFAULT_DURATION = "10m"
LOGGER = re.compile(r"[!-~]{1,200}")


async def log_level(request: Request) -> bytes:
    """Return the levels and their overrides as JSON, after the change that a POST asks for.

    Raises HTTPException when the request is malformed or no plugin has levels.
    """
    overrides = LEVEL_OVERRIDES(request)
    levels, group = overrides.levels, overrides.group
    if levels is None:
        raise HTTPException(404, "no plugin controls the levels of the log; add the table [plugins.logging]")
    if request.method == "POST":
        await _change(request, group)
    return _describe(levels, group)


async def _change(request: Request, group: OverrideGroup) -> None:
    fields = await read_json_object(request, EXAMPLE)
    try:
        change = parse_change(fields)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    if not has_room(group, change):
        raise HTTPException(409, TOO_MANY)
    if change.override:
        _log_change(request, change)  # before a level that hides it
    try:
        await group.change(change)
    except TimeoutError:
        raise HTTPException(503, "the supervisor does not respond; try again") from None
    if not change.override:
        _log_change(request, change)


def parse_change(fields: Mapping[str, Any]) -> OverrideChange:
    """Return the change that *fields* describe: ``level``, ``logger`` and ``for``; raises ValueError with the remedy.

    ``level`` is ``reset`` to remove the override of ``logger``, or without it all.
    """
    if not fields.keys() <= {"level", "logger", "for"}:
        raise ValueError(f"expected a JSON object such as {EXAMPLE}")
    return create_change(fields.get("level"), fields.get("logger"), fields.get("for", DEFAULT_DURATION))


def create_change(level: object, name: object, duration: object) -> OverrideChange:
    """Return the change of *level*, for the logger *name* and for *duration*; raises ValueError with the remedy."""
    if not isinstance(level, str) or level not in ("reset", *LEVELS):
        raise ValueError(f"level: expected {', '.join(LEVELS)} or reset, got {level!r}")
    if name is not None and not (isinstance(name, str) and LOGGER.fullmatch(name)):
        raise ValueError(f"logger: expected a name such as shop.orders, got {name!r}")
    if level == "reset":
        return OverrideChange(name, None)
    return OverrideChange(name or "", Override(level, monotonic() + _parse_duration(duration)))


def has_room(group: OverrideGroup, change: OverrideChange) -> bool:
    """Return whether *change* leaves at most MAX_OVERRIDES."""
    return change.override is None or len({*group.active, change.name}) <= MAX_OVERRIDES


def _parse_duration(text: object) -> float:
    try:
        duration = Duration(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(f"for: expected a duration such as {DEFAULT_DURATION}, got {text!r}") from None
    if not 0 < duration <= MAX_DURATION:
        raise ValueError(f"for: expected a duration above zero and up to {MAX_DURATION}, got {text!r}")
    return duration


def _log_change(request: Request, change: OverrideChange) -> None:
    """Log who changed what, at a level that the configuration does not hide."""
    client = request.client.host if request.client else "a local socket"
    action = "reset"
    if change.override:
        seconds = max(1, ceil(change.override.end - monotonic()))  # a short one may have ended
        action = f"set to {change.override.value} for {Duration(f'{seconds}s')}"
    logger.log(
        max(logging.WARNING, logger.getEffectiveLevel()),
        "log level of %s %s by %s (%.100r)",
        change.name or "all loggers",
        action,
        client,
        request.headers.get("user-agent", ""),
    )


def _describe(levels: LogLevels, group: OverrideGroup) -> bytes:
    now = monotonic()
    active = {
        name: {"level": each.value, "remaining_seconds": round(each.end - now, 1)}
        for name, each in group.active.items()
    }
    return orjson.dumps({"levels": dict(levels.configured), "overrides": active}, option=orjson.OPT_INDENT_2)
