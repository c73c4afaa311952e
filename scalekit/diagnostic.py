"""Diagnostics of plugins and of the host: probes that return findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scalekit.context import Context, Key

PAGE = "docs/doctor.md"


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Requests fail, or data is lost, now or under load."""
    WARNING = "warning"
    """Something is unsafe, or fails in an event that is to be expected."""
    ADVICE = "advice"
    """Something could be better."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong or unwise: *name* is the section of ``docs/doctor.md`` about it, *message* what was found.

    *key* is the key of the file, or the setting of the server or the machine, and *value* its value.
    """

    name: str
    severity: Severity
    message: str
    remedy: str
    key: str = ""
    value: str = ""

    @property
    def link(self) -> str:
        """The place of the section in the documentation."""
        return f"{PAGE}#{self.name}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A *probe* that returns what it finds, within *timeout* seconds; plugins have started when it is called."""

    name: str
    probe: Callable[[], Awaitable[Sequence[Finding]]]
    timeout: float = 5.0


INSTANCES: Key[int] = Key("number of instances")
"""How many instances of the service there are, as ``scalekit doctor --instances`` says; provided while probes run."""


def process_count(context: Context) -> int:
    """Return the number of processes of the service that serve: workers times instances."""
    instances = context.get(INSTANCES) if context.has(INSTANCES) else 1
    return (context.server.workers or 1) * instances
