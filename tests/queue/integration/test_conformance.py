from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.testing import PluginConformance


class TestQueue(PluginConformance):
    name = "queue"

    @pytest.fixture(autouse=True)
    def elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # where the default leaves its file
