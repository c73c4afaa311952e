"""The Pythons of the machine that the gate runs under."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.gate import pythons


@pytest.mark.process
def test_this_one_is_supported_and_the_oldest_and_newest_are_chosen() -> None:
    found = pythons.supported()
    assert found[sys.version_info[:2]] == sys.executable
    assert list(pythons.oldest_and_newest()) == sorted({min(found), max(found)})


def test_environments_of_removed_checkouts_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALEKIT_CACHE", str(tmp_path))
    for name, checkout in (("python3.13-gone", tmp_path / "gone"), ("python3.13-there", tmp_path)):
        (tmp_path / name).mkdir()
        (tmp_path / name / pythons.CHECKOUT).write_text(str(checkout))
    pythons.remove_environments_of_removed_checkouts()
    assert [path.name for path in tmp_path.iterdir()] == ["python3.13-there"]
