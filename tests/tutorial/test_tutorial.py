"""Every page of the tutorial does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import find
from tests.tutorial.page import blocks, commands
from tests.tutorial.pages import FIRST_STEPS, GUIDES, LAST_STEPS, TUTORIAL, follow_first_steps
from tests.tutorial.reader import Reader
from tests.tutorial.servers import AMQP_PORT, POSTGRES_PORT, REDIS_PORT, STANDBY_PORT, Servers

REDIRECTED_CURL = re.compile(r"\bcurl\b.*(?: -o |[|>])")
"""A curl that shows a progress meter on a terminal, since its output goes elsewhere."""


def test_the_tutorial_has_eight_steps() -> None:
    assert [path.name[:3] for path in TUTORIAL] == [f"0{number}-" for number in range(1, 9)]


@pytest.mark.needs("curl")
def test_the_first_steps_do_what_they_say() -> None:
    follow_first_steps(Path(sys.executable).parent)


@pytest.mark.needs("curl", "postgres", "redis", "rabbitmq", "nginx")
def test_the_last_steps_do_what_they_say() -> None:
    with Servers() as servers, Reader(servers.ports) as reader:
        for page in FIRST_STEPS:
            reader.follow(page, only_files=True)
        for page in LAST_STEPS:
            reader.follow(page)


@pytest.mark.needs("compose-config")
def test_compose_starts_the_replica_after_its_primary(tmp_path: Path) -> None:
    (text,) = [block.text for page in TUTORIAL for block in blocks(page) if block.file == "compose.yaml"]
    (tmp_path / "compose.yaml").write_text(text)
    command = [find("compose-config"), str(tmp_path / "compose.yaml")]
    read = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert read.returncode == 0, read.stderr
    services = json.loads(read.stdout)["services"]
    assert {name: each["ports"][0]["published"] for name, each in services.items()} == {
        "postgres": str(POSTGRES_PORT),
        "replica": str(STANDBY_PORT),
        "redis": str(REDIS_PORT),
        "rabbitmq": str(AMQP_PORT),
    }
    assert services["replica"]["depends_on"]["postgres"]["condition"] == "service_healthy"


@pytest.mark.parametrize("page", TUTORIAL, ids=lambda page: page.stem)
def test_every_toml_block_is_a_file_that_the_tests_run(page: Path) -> None:
    assert [block.place for block in blocks(page) if block.language == "toml" and not block.file] == []


@pytest.mark.parametrize("page", [*TUTORIAL, *GUIDES], ids=lambda page: page.stem)
def test_curl_shows_no_progress_meter_among_the_output(page: Path) -> None:
    consoles = [block for block in blocks(page) if block.language == "console"]
    redirected = [command for block in consoles for command in commands(block) if REDIRECTED_CURL.search(command.text)]
    assert [command for command in redirected if "curl -s" not in command.text] == []
