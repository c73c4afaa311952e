"""The sample application starts with the file that comes with it, on every Python."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.processes import Box, free_ports, wait_for
from tests.servers import ask

FILE = Path(__file__).parents[2] / "sample_app/scalekit.toml"


@pytest.mark.every_python
def test_it_starts_responds_and_stops() -> None:
    with Box("sample") as box:
        (port,) = free_ports(1)
        box.environment["PORT"] = str(port)
        process = box.spawn(sys.executable, "-W", "error", "-m", "scalekit", "run", FILE)
        wait_for("the sample", lambda: ask(port, "GET", "/health/ready"), process, 120)
        assert "ScaleKit" in ask(port, "GET", "/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, box.logs()
        assert "all requests completed" in box.logs()
        assert "Traceback" not in box.logs()
