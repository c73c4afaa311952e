"""The versions of CHANGELOG.md, and the release notes that it has for each.

``python -m tests.dist.changelog v0.2.0`` prints the notes of a version.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^## \[(?P<version>[^]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)
UNRELEASED = "Unreleased"


class Release(NamedTuple):
    """A version of CHANGELOG.md; *date* is None for what is unreleased."""

    version: str
    date: str | None
    notes: str


def releases(changelog: str) -> list[Release]:
    """Return the sections of versions, newest first; the first one is unreleased."""
    return list(_sections(changelog))


def release_notes(changelog: str, tag: str) -> str:
    """Return the notes of the version that *tag* names; raise ``ValueError`` when there are none."""
    version = tag.removeprefix("v")
    found = [release for release in releases(changelog) if release.version == version and release.date]
    if not found or not found[0].notes:
        raise ValueError(f"CHANGELOG.md has no notes of {version}: move those of {UNRELEASED} under [{version}] - date")
    return found[0].notes


def _sections(changelog: str) -> Iterator[Release]:
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    for heading, end in zip(headings, ends, strict=True):
        yield Release(heading["version"], heading["date"], changelog[heading.end() : end].strip())


if __name__ == "__main__":
    try:
        print(release_notes((ROOT / "CHANGELOG.md").read_text(), sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
