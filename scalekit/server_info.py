"""What serves: ``scalekit run``, which tells where it listens, or another server, which tells nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from scalekit.context import Context, Key

logger = logging.getLogger("scalekit")


@dataclass(slots=True)
class ServerInfo:
    """The addresses of this process, bound, and where it says whether it is ready.

    *management* is there when health has an address of its own. *retiring* tells, when a plugin is drained, whether
    other workers go on serving the same addresses.
    """

    host: str
    port: int
    ready_path: str
    management: tuple[str, int] | None = None
    retiring: bool = False


SERVER_INFO: Key[ServerInfo] = Key("served")
"""Provided before plugins start. A command, a test or another server provides none."""

WORKER: Key[str] = Key("worker")
"""Provided before plugins start by ``scalekit run`` alone: the number of this worker, empty without workers."""

OTHER_SERVER: Key[bool] = Key("other server")
"""Provided before plugins start where another server serves, and true where it may run several processes."""


def warn_about_multiple_processes(context: Context, state: str, consequence: str, remedy: str) -> None:
    """Warn, when a plugin starts, that each process of another server keeps *state* for itself.

    ``scalekit run`` refuses such a start, for it knows how many workers there are.
    """
    if context.has(OTHER_SERVER) and context.get(OTHER_SERVER):
        logger.warning(
            "%s, and it is not scalekit run that serves: if this server runs several processes, %s; %s",
            state,
            consequence,
            remedy,
        )
