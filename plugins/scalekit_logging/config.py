"""The table ``[plugins.logging]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from scalekit import AppName, Duration, Size, Table
from scalekit_logging.json_formatter import RESERVED_FIELDS
from scalekit_logging.levels import Level


class TailConfig(Table):
    """Keep the details of each request in memory; write them only when it fails or is slow."""

    slow: Duration = Duration("1s")
    """How long a request takes at most without being slow."""
    lines: Annotated[int, Field(ge=1)] = 200
    """How many lines of one request are kept at most; the oldest are forgotten."""
    memory: Size = Size("16MiB")
    """How much the kept lines of all requests may take together."""


class LoggingConfig(Table):
    """What is logged, in which shape, and where to."""

    level: Level = "INFO"
    """The least level that is written."""
    levels: dict[str, Level] = {}
    """Levels of single loggers, by name; they hold for the loggers below as well."""
    service: Annotated[str, AppName()] = ""
    """The name of this service, in every line; without it ``[app] name``, and empty leaves it out."""
    fields: dict[str, str] = {}
    """More fields that every line has."""
    console: Literal["auto", "json", "pretty", "off"] = "auto"
    """What standard error gets; ``auto`` is pretty on a terminal and JSON everywhere else."""
    access: bool = True
    """Whether each request is logged in a line of its own."""
    directory: Annotated[str, Field(min_length=1)] | None = None
    """Where combined.log and error.log are written; without it there are no files."""
    max_size: Annotated[Size, Field(ge=4096)] = Size("100MiB")
    """How large a file becomes before the next one begins."""
    keep: Annotated[int, Field(ge=0, le=1000)] = 5
    """How many full files are kept beside the one being written."""
    redact: tuple[Annotated[str, Field(min_length=2)], ...] = ()
    """Names of fields whose values are masked, besides those that always are."""
    buffer: Annotated[Size, Field(ge=65536)] = Size("4MiB")
    """How much may wait to be written before lines are lost."""
    tail: TailConfig | None = None
    """Keep the details of each request in memory; write them only when it fails or is slow."""

    @field_validator("fields")
    @classmethod
    def _leaves_our_own(cls, fields: dict[str, str]) -> dict[str, str]:
        for name in fields:
            if name in RESERVED_FIELDS:
                raise ValueError(f"{name!r} is in every line already; choose another name")
        return fields
