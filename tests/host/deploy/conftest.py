from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scalekit.deploy.inspection import describe_service
from scalekit.deploy.service import ServiceDescription

Describe = Callable[..., ServiceDescription]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Return the description of a service whose file has the given text."""

    def describe(toml: str, *overrides: str) -> ServiceDescription:
        (tmp_path / "scalekit.toml").write_text(toml)
        return describe_service("scalekit.toml", overrides, "scalekit deploy", tmp_path)

    return describe


def describe_sample(name: str) -> ServiceDescription:
    """Return the description of a file of the sample application."""
    return describe_service(f"sample_app/{name}", (), f"scalekit deploy KIND sample_app/{name}", ROOT)
