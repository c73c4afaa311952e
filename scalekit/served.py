"""Where the server listens, for whoever tells others; there only when ``scalekit run`` serves."""

from __future__ import annotations

from dataclasses import dataclass

from scalekit.context import Key


@dataclass(slots=True)
class Served:
    """The addresses of this process, bound, and where it says whether it is ready.

    *management* is there when health has an address of its own. *retiring* tells, when a plugin is drained, whether
    other workers go on serving the same addresses.
    """

    host: str
    port: int
    ready_path: str
    management: tuple[str, int] | None = None
    retiring: bool = False


SERVED: Key[Served] = Key("served")
"""Provided before plugins start. A command, a test or another server provides none."""
