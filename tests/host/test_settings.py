from __future__ import annotations

from typing import Any

import pytest

from scalekit.settings import load


def problems(data: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in load(data).document.problems]


def test_plugins_that_are_no_tables_are_a_mistake() -> None:
    assert problems({"plugins": 3}) == ["configuration: plugins: expected tables; write [plugins.NAME] for each plugin"]


@pytest.mark.parametrize("value", ["postgres://u:hunter2@h/d", "hunter2", ["hunter2"]])
def test_what_stands_where_a_plugins_table_should_is_not_shown(value: Any) -> None:
    (problem,) = problems({"plugins": {"visits": value}})
    assert f"expected a table, got {type(value).__name__}; write [plugins.visits]" in problem
    assert "hunter2" not in problem
