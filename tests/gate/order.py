"""A pytest plugin that puts files with slow tests first, so that processes side by side end at about the same time.

pytest -p tests.gate.order -n3 --dist=loadfile --no-loadscope-reorder
"""

from __future__ import annotations

from collections import Counter

import pytest


@pytest.hookimpl(trylast=True)  # after the marks are set, and fixtures of the session have grouped their tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = Counter(item.path for item in items if not item.get_closest_marker("unit"))
    items.sort(key=lambda item: slow[item.path], reverse=True)
