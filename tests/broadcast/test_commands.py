"""The commands publish and listen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import command_line
from tests.processes import Box
from tests.servers import Redis


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.mark.needs("redis")
def test_a_published_message_is_listed(server: Redis) -> None:
    with Box("commands") as box:
        box.write("scalekit.toml", f'[plugins.broadcast]\nurl = "{server.url}"\nmax_message_size = "100B"\n')

        def scalekit(*words: str, status: int = 0) -> str:
            done = command_line.scalekit("broadcast", *words, folder=box.directory)
            assert done.returncode == status, done.stderr
            return done.stdout if status == 0 else done.stderr

        ids = [scalekit("publish", "room:7", message).strip() for message in ('{"a": 1}', "plain text", "7")]
        lines = scalekit("listen", "room:7", "--after", ids[0], "--count", "2").splitlines()
        assert lines == [f'{ids[1]} 0 "plain text"', f"{ids[2]} 0 7"]
        lines = scalekit("listen", "room:7", "--after", "nonsense", "--count", "1").splitlines()
        assert lines == [f'{ids[0]} 1 {{"a":1}}']
        assert "max_message_size" in scalekit("publish", "room:7", "x" * 200, status=1)
        assert "1 to 200 characters" in scalekit("publish", "", "x", status=2)
        server.kill()
        assert "Traceback" not in scalekit("publish", "room:7", "x", status=1)


def test_commands_cannot_reach_the_memory_of_a_service() -> None:
    with Box("commands") as box:
        box.write("scalekit.toml", "[plugins.broadcast]\n")
        done = command_line.scalekit("broadcast", "publish", "room:7", "x", folder=box.directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert "set a redis:// URL" in done.stderr
