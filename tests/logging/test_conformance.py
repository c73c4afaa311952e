from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.testing import PluginConformance


class TestLogging(PluginConformance):
    name = "logging"

    @pytest.fixture(autouse=True)
    def _in_a_directory_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
