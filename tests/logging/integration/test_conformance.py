from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.testing import PluginConformance


class TestLogging(PluginConformance):
    name = "logging"

    @pytest.fixture(autouse=True)
    def _use_temporary_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
