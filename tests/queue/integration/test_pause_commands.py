"""``scalekit queue pause``, ``paused`` and ``resume`` change two workers of a running service."""

from __future__ import annotations

import os
import re

import orjson

from tests.command_line import scalekit
from tests.processes import free_ports, wait_for
from tests.servers import ask
from tests.workers import Supervised

SERVICE = """
from scalekit.contracts import Consumers, Message
from starlette.applications import Starlette

consumers = Consumers()


@consumers.on("work")
async def work(message: Message[int]) -> None: ...


app = Starlette()
"""


class Managed(Supervised):
    """Two workers with a management address, which the commands find in their file."""

    def __init__(self) -> None:
        (self.management,) = free_ports(1)
        server = f'workers = 2\ndrain_delay = "100ms"\nmanagement_address = "127.0.0.1:{self.management}"\n'
        queue = 'url = "sqlite:///queue.db"\nconsumers = "service:consumers"\n'
        super().__init__(f"[server]\n{server}[plugins.console]\n[plugins.queue]\n{queue}", {"service": SERVICE})

    def is_ready(self) -> bool:
        return " workers on http" in self.log()

    def queue(self, *arguments: str, status: int = 0) -> str:
        environment = {**os.environ, **self.box.environment}
        result = scalekit("queue", *arguments, folder=self.box.directory, environment=environment)
        assert result.returncode == status, result.stderr
        return result.stderr if status else result.stdout

    def states(self) -> list[str]:
        """Return the states of the consumers of both workers."""
        content = orjson.loads(ask(self.management, "GET", "/-/queues.json"))
        (table,) = [block for block in content["blocks"] if block.get("title") == "Consumers"]
        return [row[2]["text"] for row in table["rows"]]


def test_the_commands_pause_list_and_resume_a_consumer() -> None:
    with Managed() as service:
        assert service.queue("paused").split() == ["name", "ends", "in"]
        assert service.queue("pause", "work", "--for", "2h") == "paused work for 2h\n"
        wait_for("paused consumers", lambda: service.states() == ["paused"] * 2)
        assert orjson.loads(service.queue("paused", "--json"))["name"] == "work"
        assert re.search(r"^work  (2h|1h 59m.*)$", service.queue("paused"), re.MULTILINE)
        assert service.queue("resume", "work") == "resumed work\n"
        wait_for("running consumers", lambda: service.states() == ["running"] * 2)
        assert "no consumer of 'other'; expected work" in service.queue("pause", "other", status=1)
        assert "up to 7d, got '8d'" in service.queue("pause", "work", "--for", "8d", status=1)
        gone = ("pause", "work", "--set", "server.management_address=127.0.0.1:1")
        assert "no service responds at 127.0.0.1:1" in service.queue(*gone, status=1)
