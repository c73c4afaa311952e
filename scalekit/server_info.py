"""The server that runs the application, and its bound addresses."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from scalekit.context import Context, Key

logger = logging.getLogger("scalekit")


@dataclass(slots=True)
class ServerInfo:
    """The bound address of this process and the path of its readiness page.

    *management* is the management address, or None without one. *tls* is whether the other address is served with TLS.
    *retiring* is true when this process drains while other
    workers keep serving the same addresses.
    """

    host: str
    port: int
    ready_path: str
    management: tuple[str, int] | None = None
    tls: bool = False
    retiring: bool = False


SERVER_INFO: Key[ServerInfo] = Key("server info")
"""Provided by ``scalekit run`` before plugins start; not by commands, tests and other servers."""

WORKER: Key[str] = Key("worker")
"""Provided by ``scalekit run`` before plugins start: the number of this worker, empty without workers."""

OTHER_SERVER: Key[bool] = Key("other server")
"""Provided before plugins start under another server; true when it may run several processes."""


def warn_about_multiple_processes(context: Context, state: str, consequence: str, remedy: str) -> None:
    """Log a warning when each process of another server would have its own *state*.

    ``scalekit run`` knows the number of workers and refuses such a start.
    """
    if context.has(OTHER_SERVER) and context.get(OTHER_SERVER):
        logger.warning(
            "%s, and the server is not scalekit run: if it runs several processes, %s; %s",
            state,
            consequence,
            remedy,
        )
