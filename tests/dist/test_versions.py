from __future__ import annotations

import re
import subprocess

import pytest
from packaging.version import Version

from tests.dist.versions import PAGE, PROJECT, SERVERS, ServerVersion, page, requirements, supported_pythons
from tests.servers import find

PROGRAMS = {"PostgreSQL": "postgres", "RabbitMQ 4": "rabbitmq4"}


def test_the_page_is_generated_from_the_requirements() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.dist.versions"


def test_the_page_has_every_requirement_with_its_extras() -> None:
    found = requirements()
    assert found["starlette"][1] == []
    assert found["asyncmy"][1] == ["mysql"]
    assert found["hiredis"][1] == ["redis"]
    assert "## Libraries" in page()


def test_the_package_names_the_pythons_that_are_tested() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert [f"3.{minor}" for minor in named] == supported_pythons()


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(each, marks=pytest.mark.needs(PROGRAMS.get(each.name, each.name.lower())), id=each.name)
        for each in SERVERS
    ],
)
def test_the_tests_run_against_the_release_of_the_page_or_a_newer_one(server: ServerVersion) -> None:
    program, option = server.command
    done = subprocess.run([find(program), option], capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    assert match is not None, done.stdout
    assert Version(match[0]) >= Version(server.release)
