from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import scalekit
from tests.idempotency.shop import open_shop

pytestmark = pytest.mark.anyio

FILE = """
[plugins.pool]
url = "sqlite:///shop.db"
[plugins.idempotency]
"""


async def test_stored_responses_are_listed_and_deleted(tmp_path: Path) -> None:
    async with open_shop(f"sqlite:///{tmp_path}/shop.db") as shop:
        for key in "abc":
            await shop.post("/orders", key)
    (tmp_path / "scalekit.toml").write_text(FILE)

    def run(*words: str) -> list[list[str]]:
        done = scalekit("idempotency", *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    listed = run("list")
    assert listed[0] == ["created", "key", "subject", "method", "path", "status"]
    assert [row[2:] for row in listed[1:]] == [[key, "POST", "/orders", "201"] for key in "cba"]
    assert len(run("list", "--key", "b")) == 2
    assert run("purge", "--key", "b") == [["deleted", "1", "responses"]]
    assert run("purge", "--all") == [["deleted", "2", "responses"]]
    for words in (["purge"], ["purge", "--all", "--key", "b"]):
        refused = scalekit("idempotency", *words, folder=tmp_path)
        assert (refused.returncode, "give --key or --all" in refused.stderr) == (2, True)


def test_without_a_database_they_say_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "scalekit.toml").write_text("[plugins.idempotency]\n")
    done = scalekit("idempotency", "list", folder=tmp_path)
    assert done.returncode == 1
    assert "turn on [plugins.pool]" in done.stderr
