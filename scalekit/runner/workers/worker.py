"""Serve as one of several workers."""

from __future__ import annotations

import signal
import socket

import uvicorn

from scalekit.host import Host
from scalekit.runner.server.draining import DrainingServer
from scalekit.runner.server.serve import run, server_config
from scalekit.runner.workers.control import Control
from scalekit.runner.workers.inquiries import INQUIRIES
from scalekit.runner.workers.place import Place
from scalekit.telemetry import TELEMETRY


def work(host: Host, place: Place) -> int:
    """Serve *host* in *place* until the supervisor or a signal ends it; return the exit status."""
    context = host.context
    control = Control(socket.socket(fileno=place.control), context.get(TELEMETRY), context.get(INQUIRIES))
    server = WorkerServer(server_config(host), host, control, place.slot)
    return run(server, [socket.socket(fileno=fd) for fd in place.listeners])


class WorkerServer(DrainingServer):
    """A server that its supervisor hears from, and that ends when the supervisor has gone."""

    def __init__(self, config: uvicorn.Config, host: Host, control: Control, slot: str) -> None:
        super().__init__(config, host, control.ready, slot)
        self.control = control

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve *sockets* to the end, and keep the supervisor informed from the first moment to the last."""
        async with self.control.connected(self.retire, self._on_orphaned):
            await super().serve(sockets)

    def _on_orphaned(self) -> None:
        self.handle_exit(signal.SIGTERM, None)
