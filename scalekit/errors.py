"""The host's errors and their exit statuses.

* ScalekitError           1
  * ConfigError          78  (EX_CONFIG of sysexits.h)
  * PluginError           1
  * StartError            1
    * ApplicationStartError 1
  * StopError             1
  * ResourceError         1
  * ReadOnlyError         1
  * Unavailable           1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from starlette.exceptions import HTTPException

DETAIL = "a required service is temporarily unavailable; retry later"


class ScalekitError(Exception):
    """Base class of the errors that ScaleKit raises."""

    exit_status = 1


class PluginError(ScalekitError):
    """A plugin is not installed or does not import, a hook of it fails, or plugins depend on each other in a cycle."""


class StartError(ScalekitError):
    """A plugin or the application did not start."""


class ApplicationStartError(StartError):
    """The application's own lifespan failed to start; the exception that it raised, if any, is the cause."""


class StopError(ScalekitError):
    """The application's own lifespan failed to stop."""


class ResourceError(ScalekitError):
    """No started plugin provides the requested resource."""


class ReadOnlyError(ScalekitError):
    """A statement that may write was sent to a read-only database."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration, with its file and line."""

    message: str
    key: str = ""
    file: str = ""
    line: int = 0
    plugin: str = ""

    def __str__(self) -> str:
        """Return the problem as one line: file, line, key, message, plugin."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        owner = f" (plugin {self.plugin})" if self.plugin else ""
        return ": ".join(part for part in (place, self.key, self.message) if part) + owner


class ConfigError(ScalekitError):
    """The configuration has mistakes; all of them are in *problems*."""

    exit_status = 78

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Unavailable(ScalekitError, HTTPException):
    """A required service is unavailable or overloaded; the client may retry after *retry_after* seconds.

    It is Starlette's HTTPException with status 503, so that frameworks, or else the host, respond with 503 and
    ``Retry-After``. *reason* may name servers and goes to the log; the client receives *detail*.
    """

    def __init__(self, reason: str, retry_after: float = 1.0, *, detail: str = DETAIL) -> None:
        seconds = max(1, ceil(retry_after))
        HTTPException.__init__(self, 503, detail, {"Retry-After": str(seconds)})
        self.reason = reason
        self.retry_after = seconds

    def __str__(self) -> str:
        return self.reason
