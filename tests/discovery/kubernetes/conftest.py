"""An API server of Kubernetes for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.discovery.kubernetes.api_server import ApiServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """Return a running API server without objects."""
    with ApiServer(tmp_path) as server:
        yield server
