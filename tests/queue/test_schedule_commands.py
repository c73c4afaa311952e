"""``scalekit queue schedules`` shows and changes the schedules of a running service, and so does the console."""

from __future__ import annotations

import os
from typing import Any

import orjson

from tests.command_line import scalekit
from tests.processes import free_ports, wait_for
from tests.servers import ask
from tests.workers import Supervised

SERVICE = """
import pathlib

from scalekit.contracts import Consumers, Message, Tick
from starlette.applications import Starlette

consumers = Consumers()


@consumers.cron("0 3 29 2 *", tz="Europe/Berlin", retry=[])
async def yearly(message: Message[Tick]) -> None:
    if pathlib.Path("broken").exists():
        raise ValueError("broken")


app = Starlette()
"""


class Managed(Supervised):
    """Two workers with a management address, which the commands find in their file."""

    def __init__(self) -> None:
        (self.management,) = free_ports(1)
        server = f'workers = 2\ndrain_delay = "100ms"\nmanagement_address = "127.0.0.1:{self.management}"\n'
        queue = 'url = "sqlite:///queue.db"\nconsumers = "service:consumers"\npoll_interval = "20ms"\n'
        file = '[[plugins.queue.schedules]]\nname = "extra"\nevery = "7d"\nmessage = "other"\noverlap = "allow"\n'
        super().__init__(f"[server]\n{server}[plugins.console]\n[plugins.queue]\n{queue}{file}", {"service": SERVICE})

    def is_ready(self) -> bool:
        return " workers on http" in self.log()

    def schedules(self, *arguments: str, status: int = 0) -> str:
        environment = {**os.environ, **self.box.environment}
        result = scalekit("queue", "schedules", *arguments, folder=self.box.directory, environment=environment)
        assert result.returncode == status, result.stderr
        return result.stderr if status else result.stdout

    def described(self, name: str = "yearly") -> dict[str, Any]:
        lines = [orjson.loads(line) for line in self.schedules("--json").splitlines()]
        return next(row for row in lines if row["name"] == name)

    def table(self) -> list[list[Any]]:
        """Return the rows of the table in the console."""
        content = orjson.loads(ask(self.management, "GET", "/-/queues.json"))
        (table,) = [block for block in content["blocks"] if block.get("title") == "Schedules"]
        rows: list[list[Any]] = table["rows"]
        return rows


def test_the_commands_list_pause_resume_and_trigger_schedules() -> None:
    with Managed() as service:
        wait_for("registered schedules", lambda: service.described()["next"])
        heading, extra, yearly = service.schedules().splitlines()
        assert heading.split() == ["name", "rule", "state", "last", "next", "outcome", "duration"]
        assert extra.startswith("extra   every 7d ")
        assert yearly.split()[:10] == [*["yearly", "cron", "0", "3", "29", "2", "*", "Europe/Berlin", "active", "-"]]
        assert service.described()["next"].endswith("-02-29T02:00:00Z")

        assert service.schedules("pause", "yearly") == "paused yearly\n"
        assert (service.described()["state"], service.described()["next"]) == ("paused", "")
        assert [row[2]["text"] for row in service.table()] == ["active", "paused"]
        assert service.schedules("resume", "yearly") == "resumed yearly\n"
        assert service.described()["state"] == "active"

        assert service.schedules("trigger", "yearly") == "triggered yearly\n"
        wait_for("a run", lambda: service.described()["outcome"] == "done")
        assert service.described()["duration"] >= 0
        service.box.write("broken", "")
        service.schedules("trigger", "yearly")
        wait_for("a failed run", lambda: service.described()["outcome"] == "failed")
        assert service.table()[1][5]["text"] == "failed"
        assert "no schedule 'other'; expected extra, yearly" in service.schedules("trigger", "other", status=1)
