"""Run one worker process under the supervisor."""

from __future__ import annotations

import signal
import socket

import uvicorn

from scalekit.host import Host
from scalekit.message_hub import WORKER_HUB
from scalekit.overrides import PROCESS_OVERRIDES
from scalekit.runner.server.graceful_shutdown import GracefulServer
from scalekit.runner.server.server_process import run, server_config
from scalekit.runner.workers.worker_args import WorkerArgs
from scalekit.runner.workers.worker_control import WorkerControl
from scalekit.runner.workers.worker_queries import WORKER_QUERIES
from scalekit.telemetry import TELEMETRY


def run_worker(host: Host, args: WorkerArgs) -> int:
    """Serve *host* as the worker of *args* until the supervisor or a signal stops it; return the exit status."""
    context = host.context
    control = WorkerControl(
        socket.socket(fileno=args.control),
        context.get(TELEMETRY),
        context.get(WORKER_QUERIES),
        context.get(WORKER_HUB),
        context.get(PROCESS_OVERRIDES),
    )
    server = WorkerServer(server_config(host), host, control, args.slot)
    return run(server, [socket.socket(fileno=fd) for fd in args.listeners])


class WorkerServer(GracefulServer):
    """A server that sends heartbeats to its supervisor, and drains when the supervisor has exited."""

    def __init__(self, config: uvicorn.Config, host: Host, control: WorkerControl, slot: str) -> None:
        super().__init__(config, host, control.ready, slot)
        self.control = control

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve *sockets* while the channel to the supervisor is open."""
        async with self.control.connected(self.retire, self._on_orphaned):
            await super().serve(sockets)

    def _on_orphaned(self) -> None:
        self.handle_exit(signal.SIGTERM, None)
