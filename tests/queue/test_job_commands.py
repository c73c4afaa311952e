"""``scalekit queue status`` and ``cancel`` read and change the jobs of a queue."""

from __future__ import annotations

import json
import sys

from tests import command_line
from tests.processes import Box

PUBLISH = """
import asyncio

from scalekit import create_app
from scalekit.contracts import QUEUE, Consumers
from scalekit.testing import running
from scalekit.testing.conformance import bare_application

consumers = Consumers()


@consumers.on("resize", result_ttl="1h")
async def resize(message): ...


async def main():
    host = create_app("scalekit.toml", app=bare_application)
    async with running(host):
        await host.context.get(QUEUE).publish("resize", 1, key="seven")

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_commands_show_and_cancel_a_message() -> None:
    with Box("jobs") as box:
        box.write("jobs.py", PUBLISH)
        options = 'url = "sqlite:///queue.db"\nconsumers = "jobs:consumers"\nconsume_in = "workers"\n'
        box.write("scalekit.toml", f"[plugins.queue]\n{options}")
        box.run(sys.executable, "jobs.py")

        def scalekit(*words: str, status: int = 0) -> str:
            done = command_line.scalekit("queue", *words, folder=box.directory)
            assert done.returncode == status, done.stderr
            return done.stderr if status else done.stdout

        heading, row = scalekit("status", "seven").splitlines()
        assert heading.split() == ["id", "name", "state", "attempt", "progress", "note", "error"]
        assert row.split() == ["seven", "resize", "queued", "0", "0%", "-", "-"]
        assert scalekit("cancel", "seven") == "cancelled seven\n"
        shown = json.loads(scalekit("status", "seven", "--json"))
        assert (shown["state"], shown["started"], shown["result"]) == ("cancelled", None, None)
        assert "it is unknown, or has ended" in scalekit("cancel", "seven", status=1)
        assert "no message 'eight' has a status" in scalekit("status", "eight", status=1)
