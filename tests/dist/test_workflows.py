"""The workflows of continuous integration are valid, and a release publishes only what has passed the gate."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.dist.archives import ROOT
from tests.servers import find

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
RELEASE = (ROOT / ".github/workflows/release.yml").read_text()
CI = (ROOT / ".github/workflows/ci.yml").read_text()
DOCS = (ROOT / ".github/workflows/docs.yml").read_text()
MAKE = re.compile(r"run: make ([\w-]+)")


@pytest.mark.needs("actionlint")
def test_actionlint_finds_no_mistake_in_the_workflows() -> None:
    command = [find("actionlint"), "-no-color", "-shellcheck=", "-pyflakes=", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_target_that_a_workflow_makes_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for file in WORKFLOWS for target in MAKE.findall(file.read_text())} <= targets
    assert {"test", "check", "dist", "test-lowest"} <= set(MAKE.findall(CI))


def test_only_the_site_of_main_is_published() -> None:
    assert MAKE.findall(DOCS) == ["docs"]
    publish = DOCS.partition("\n  publish:\n")[2]
    assert re.findall(r"^    (?:if|needs): (.+)$", publish, re.MULTILINE) == [
        "github.ref == 'refs/heads/main'",
        "build",
    ]
    assert "secrets." not in DOCS


def test_a_release_runs_the_gate_then_builds_then_publishes_then_writes_the_notes() -> None:
    assert re.findall(r"^  (\w+):\n(?:    uses: \S+ci\.yml|    needs: (\w+))", RELEASE, re.MULTILINE) == [
        ("gate", ""),
        ("build", "gate"),
        ("publish", "build"),
        ("notes", "publish"),
    ]


def test_a_release_is_published_by_its_identity_and_not_by_a_token() -> None:
    publish = RELEASE.partition("\n  publish:")[2].partition("\n  notes:")[0]
    assert "id-token: write" in publish
    assert "secrets." not in RELEASE
    assert "password:" not in RELEASE
