"""Diagnostics of plugins and of the host: probes that return findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scalekit.context import AnyKey, Context, Key

PAGE = "docs/doctor.md"
MAX_OFFSET = 2.0
"""Seconds by which the clock of a server may differ from that of this machine."""


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

    *key* is the key of the file, or the setting of the server or the machine, and *value* its value. *documentation* is
    the address of the section in the documentation of another plugin.
    """

    name: str
    severity: Severity
    message: str
    remedy: str
    key: str = ""
    value: str = ""
    documentation: str = ""

    @property
    def link(self) -> str:
        """The place of the section in the documentation."""
        return self.documentation or f"{PAGE}#{self.name}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A *probe* that returns what it finds, within *timeout* seconds; plugins have started when it is called."""

    name: str
    probe: Callable[[], Awaitable[Sequence[Finding]]]
    timeout: float = 5.0


INSTANCES: Key[int] = Key("number of instances")
"""How many instances of the service there are, as ``scalekit doctor --instances`` says; provided while probes run."""


@dataclass(frozen=True, slots=True)
class ConnectionUse:
    """Connections that each process opens to a database: at most *count*, the value of *key*.

    *database* is the key of the database, None for that of the pool or another one on its server.
    """

    key: str
    count: int
    database: AnyKey | None = None


CONNECTION_USES: Key[list[ConnectionUse]] = Key("uses of connections to databases")
"""The pools of all plugins, which the plugin pool examines; ``scalekit_diagnostics`` appends to ``context.shared``."""


def separate_stores(
    context: Context, severity: Severity, consequence: str, key: str, remedy: str, *, unless: AnyKey | None = None
) -> list[Diagnostic]:
    """Return the diagnostic of the store that *key* names, which several instances do not share.

    With several instances its finding says the *consequence*, unless a plugin provides *unless*, such as the database
    that is the store instead.
    """

    async def probe() -> Sequence[Finding]:
        count = context.get(INSTANCES)
        if count == 1 or (unless is not None and context.has(unless)):
            return []
        message = f"{count} instances do not share the store: {consequence}"
        return [Finding("separate-stores", severity, message, remedy, key)]

    return [Diagnostic(f"store of {key}", probe)]


def clock_findings(offset: float, server: str, key: str) -> list[Finding]:
    """Return whether the clock of *server*, whose address *key* names, is *offset* seconds ahead, or behind."""
    if abs(offset) <= MAX_OFFSET:
        return []
    direction = "ahead of" if offset > 0 else "behind"
    message = f"the clock of {server} is {abs(offset):.1f} s {direction} that of this machine"
    remedy = "synchronize both with NTP, such as by chrony or systemd-timesyncd"
    return [Finding("clock", Severity.WARNING, message, remedy, key, f"{offset:+.1f} s")]


def process_count(context: Context) -> int:
    """Return the number of processes of the service that serve: workers times instances."""
    instances = context.get(INSTANCES) if context.has(INSTANCES) else 1
    return (context.server.workers or 1) * instances
