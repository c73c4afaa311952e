"""Serve as one of several workers."""

from __future__ import annotations

import signal
import socket

import uvicorn

from scalekit.host import Host
from scalekit.runner.server.graceful_shutdown import GracefulServer
from scalekit.runner.server.server_process import run, server_config
from scalekit.runner.workers.worker_args import WorkerArgs
from scalekit.runner.workers.worker_control import WorkerControl
from scalekit.runner.workers.worker_queries import WORKER_QUERIES
from scalekit.telemetry import TELEMETRY


def work(host: Host, place: WorkerArgs) -> int:
    """Serve *host* in *place* until the supervisor or a signal ends it; return the exit status."""
    context = host.context
    control = WorkerControl(socket.socket(fileno=place.control), context.get(TELEMETRY), context.get(WORKER_QUERIES))
    server = WorkerServer(server_config(host), host, control, place.slot)
    return run(server, [socket.socket(fileno=fd) for fd in place.listeners])


class WorkerServer(GracefulServer):
    """A server that its supervisor hears from, and that ends when the supervisor has gone."""

    def __init__(self, config: uvicorn.Config, host: Host, control: WorkerControl, slot: str) -> None:
        super().__init__(config, host, control.ready, slot)
        self.control = control

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve *sockets* to the end, and keep the supervisor informed from the first moment to the last."""
        async with self.control.connected(self.retire, self._on_orphaned):
            await super().serve(sockets)

    def _on_orphaned(self) -> None:
        self.handle_exit(signal.SIGTERM, None)
