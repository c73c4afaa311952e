from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import date

import pytest
from packaging.version import Version

from tests.dist.changelog import ROOT, UNRELEASED, release_notes, releases

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
EXAMPLE = """# Changelog

## [Unreleased]

## [0.3.0] - 2027-02-03

### Added

- host: more.

## [0.2.0] - 2027-01-02

- host: first.
"""


def test_versions_follow_what_is_unreleased_newest_first_each_with_its_date() -> None:
    unreleased, *released = releases(CHANGELOG)
    assert (unreleased.version, unreleased.date) == (UNRELEASED, None)
    versions = [Version(release.version) for release in released]
    assert versions == sorted(set(versions), reverse=True)
    dates = [date.fromisoformat(str(release.date)) for release in released]
    assert dates == sorted(dates, reverse=True)


def test_every_section_has_a_known_kind_once() -> None:
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS
    assert len(re.findall(r"^## ", CHANGELOG, re.MULTILINE)) == len(releases(CHANGELOG))
    for release in releases(CHANGELOG):
        kinds = re.findall(r"^### (.+)$", release.notes, re.MULTILINE)
        assert len(kinds) == len(set(kinds)), release.version


def test_the_first_version_is_0_2_0() -> None:
    assert releases(CHANGELOG)[-1].version == "0.2.0"


def test_the_newest_tag_has_its_version_in_the_changelog() -> None:
    tags = subprocess.run(["git", "tag", "--list", "v*"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    newest = max((Version(tag) for tag in tags.split()), default=None)
    assert newest is None or newest <= Version(releases(CHANGELOG)[1].version)
    for tag in tags.split():
        assert release_notes(CHANGELOG, tag)


def test_a_source_tree_without_git_is_not_older_than_the_newest_version() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    fallback = Version(hatch["version"]["fallback-version"])
    assert fallback.is_devrelease
    assert Version(fallback.base_version) >= Version(releases(CHANGELOG)[1].version)


def test_release_notes_are_the_section_of_the_tag() -> None:
    assert release_notes(EXAMPLE, "v0.3.0") == "### Added\n\n- host: more."
    assert release_notes(EXAMPLE, "v0.2.0") == "- host: first."


@pytest.mark.parametrize("tag", ["v0.4.0", "v0.3", "Unreleased"])
def test_a_tag_without_notes_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"CHANGELOG\.md has no notes of"):
        release_notes(EXAMPLE, tag)


def test_a_version_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"move those of Unreleased"):
        release_notes(EXAMPLE.replace("- host: first.\n", ""), "v0.2.0")
