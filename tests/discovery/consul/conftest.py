"""A Consul for the tests that leave it running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Consul


@pytest.fixture(scope="package")
def shared() -> Iterator[Consul]:
    """Return a Consul for tests that leave it running, each with another service name."""
    with Consul() as consul:
        yield consul
