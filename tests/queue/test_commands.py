"""The commands of a queue in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import sys

import pytest

from tests import command_line
from tests.processes import Box
from tests.queue.conftest import POSTGRES
from tests.servers import Postgres

PUBLISH = """
import asyncio

from scalekit import create_app
from scalekit.contracts import QUEUE
from scalekit.testing import running
from scalekit.testing.conformance import bare_application


async def main():
    host = create_app("scalekit.toml", app=bare_application)
    async with running(host):
        await host.context.get(QUEUE).publish_many("slow", range(3))
        await host.context.get(QUEUE).publish("slow", 3, delay="1h")

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", POSTGRES])
def tables(request: pytest.FixtureRequest) -> str:
    """Return the tables of a queue without messages, for the file."""
    if request.param == "sqlite":
        return '[plugins.queue]\nurl = "sqlite:///queue.db"\n'
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return f'[plugins.pool]\nurl = "{server.url}"\n[plugins.queue]\nurl = "database:"\n'


def test_the_commands_count_list_and_purge_messages(tables: str) -> None:
    with Box("commands") as box:
        box.write("publish.py", PUBLISH)
        box.write("scalekit.toml", tables)
        box.run(sys.executable, "publish.py")

        def scalekit(*words: str) -> str:
            done = command_line.scalekit("queue", *words, folder=box.directory)
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert scalekit("list").split() == ["name", "ready", "delayed", "in-flight", "dead", "slow", "3", "1", "0", "0"]
        shown = [json.loads(line) for line in scalekit("peek", "slow", "--limit", "2", "--json").splitlines()]
        assert [each["body"] for each in shown] == ["0", "1"]
        heading, first, *_ = scalekit("peek", "slow", "--limit", "2").splitlines()
        assert heading.split() == ["id", "published", "bytes", "body"]
        assert first.split()[0] == shown[0]["id"]
        counts = {"name": "slow", "ready": 3, "delayed": 1, "in-flight": 0, "dead": 0, "partial": False}
        assert json.loads(scalekit("list", "--json")) == counts
        assert scalekit("purge", "slow", "--yes") == "deleted 4 messages of slow\n"
        assert scalekit("dead", "slow") == ""
        assert scalekit("replay", "slow") == "replayed 0 of slow\n"
        rejected = command_line.scalekit("queue", "peek", "no name", folder=box.directory)
        assert rejected.returncode == 2
