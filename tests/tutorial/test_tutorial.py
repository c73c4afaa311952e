"""Every page of the tutorial and every guide does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorial.page import blocks
from tests.tutorial.reader import Reader
from tests.tutorial.servers import Servers

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = sorted((ROOT / "docs/tutorial").glob("0*.md"))
GUIDES = sorted(path for path in (ROOT / "docs/guides").glob("*.md") if path.name != "index.md")
EMBEDDED, GROWN = TUTORIAL[:6], TUTORIAL[6:]
"""The steps that need no server, and those on PostgreSQL, Redis, RabbitMQ and nginx."""


def test_the_tutorial_has_eight_steps() -> None:
    assert [path.name[:3] for path in TUTORIAL] == [f"0{number}-" for number in range(1, 9)]


@pytest.mark.needs("curl")
def test_the_first_steps_of_the_tutorial_do_what_they_say() -> None:
    with Reader() as reader:
        for page in EMBEDDED:
            reader.follow(page)


@pytest.mark.needs("curl", "postgres", "redis", "rabbitmq", "nginx")
def test_the_last_steps_of_the_tutorial_do_what_they_say() -> None:
    with Servers() as servers, Reader(servers.ports) as reader:
        for page in EMBEDDED:
            reader.follow(page, only_files=True)
        for page in GROWN:
            reader.follow(page)


@pytest.mark.parametrize("page", [*TUTORIAL, *GUIDES], ids=lambda page: page.stem)
def test_every_toml_block_is_a_file_that_the_tests_run(page: Path) -> None:
    assert [block.place for block in blocks(page) if block.language == "toml" and not block.file] == []
