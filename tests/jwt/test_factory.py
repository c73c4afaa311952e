"""Configurations that are refused before the start."""

from __future__ import annotations

import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application


def test_several_workers_without_a_database_are_refused() -> None:
    source = {"plugins": {"jwt": {"secret": "s" * 32}}, "server": {"workers": 2}}
    with pytest.raises(ConfigError, match=r"2 workers cannot share sessions in memory; turn on \[plugins.pool\]"):
        create_app(source, app=bare_application)
