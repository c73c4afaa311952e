"""Every guide does what it says, each in a folder of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.tutorial.page import blocks
from tests.tutorial.pages import EMBEDDED_GUIDES, GUIDES, REPLICA_GUIDES
from tests.tutorial.reader import Reader
from tests.tutorial.servers import STANDBY_PORT, ReplicatedPostgres


@pytest.mark.needs("curl")
@pytest.mark.parametrize("page", EMBEDDED_GUIDES, ids=lambda page: page.stem)
def test_a_guide_does_what_it_says(page: Path) -> None:
    with Reader() as reader:
        reader.follow(page)


@pytest.mark.needs("curl", "postgres")
def test_the_guides_with_replicas_do_what_they_say() -> None:
    with ReplicatedPostgres() as servers:
        for page in REPLICA_GUIDES:
            with Reader(servers.ports) as reader:
                reader.follow(page)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_runs_its_code(page: Path) -> None:
    found = list(blocks(page))
    assert [block.place for block in found if block.language == "toml" and not block.file] == []
    assert any(block.file for block in found)
    assert any(block.language == "console" and block.is_run for block in found)


def test_the_list_of_guides_is_complete() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/guides/README.md").read_text())
    assert sorted(listed) == [path.name for path in GUIDES]
    assert {f":{STANDBY_PORT}/" in path.read_text() for path in REPLICA_GUIDES} == {True}
