"""Configuration table ``[plugins.logging]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from scalekit import AppName, DeployMark, Duration, Size, Table
from scalekit_logging.json_formatter import RESERVED_FIELDS
from scalekit_logging.levels import Level


class TailConfig(Table):
    """Tail sampling: buffer the lines of each request below ``level``; write them only when it fails or is slow."""

    slow_threshold: Duration = Duration("1s")
    """Duration above which a request is slow."""
    lines: Annotated[int, Field(ge=1)] = 200
    """Maximum number of buffered lines of one request; the oldest are dropped."""
    memory: Size = Size("16MiB")
    """Maximum size of the buffered lines of all requests."""


class LoggingConfig(Table):
    """Levels, fields and sinks of the log."""

    level: Level = "INFO"
    """Minimum level that is written."""
    levels: dict[str, Level] = {}
    """Minimum level by logger name; child loggers inherit it."""
    service: Annotated[str, AppName()] = ""
    """Service name in every line; defaults to ``[app] name``, and empty omits it."""
    fields: dict[str, str] = {}
    """Static fields of every line."""
    console: Literal["auto", "json", "pretty", "off"] = "auto"
    """Format of standard error; ``auto`` is ``pretty`` on a terminal and ``json`` otherwise."""
    access: bool = True
    """Write an access log line for each request."""
    directory: Annotated[Annotated[str, Field(min_length=1)] | None, DeployMark("data_path")] = None
    """Directory of combined.log and error.log; without it no files are written."""
    max_size: Annotated[Size, Field(ge=4096)] = Size("100MiB")
    """Size at which a file is rotated."""
    backup_count: Annotated[int, Field(ge=0, le=1000)] = 5
    """Number of rotated files to retain."""
    redact: tuple[Annotated[str, Field(min_length=2)], ...] = ()
    """Names of fields whose values are masked, in addition to the built-in ones."""
    buffer_size: Annotated[Size, Field(ge=65536)] = Size("4MiB")
    """Size of the write buffer; when it is full, lines are lost."""
    tail: TailConfig | None = None
    """Tail sampling: buffer the lines of each request below ``level``; write them only when it fails or is slow."""

    @field_validator("fields")
    @classmethod
    def _reject_reserved(cls, fields: dict[str, str]) -> dict[str, str]:
        for name in fields:
            if name in RESERVED_FIELDS:
                raise ValueError(f"{name!r} is a reserved field of every line; rename it")
        return fields
