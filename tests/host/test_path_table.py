from __future__ import annotations

import pytest

from scalekit import PathGlob, PathTable
from scalekit.path_table import MAX_PATH_LENGTH, MAX_PATHS


def test_the_first_pattern_that_matches_decides() -> None:
    table = PathTable("rest", [(PathGlob("/a/*"), "one"), (PathGlob("/a/**"), "two")])
    assert [table.find(path) for path in ("/a/b", "/a/b/c", "/a", "/b")] == ["one", "two", "two", "rest"]
    assert table.single is None


def test_a_table_without_patterns_has_one_value() -> None:
    assert PathTable("rest").single == PathTable("rest").find("/any") == "rest"


@pytest.mark.parametrize(
    "path", ["//admin/users", "/./admin/users", "/x/../admin/users", "/%61dmin/users", "/admin;x/users"]
)
def test_no_other_spelling_of_a_path_evades_its_pattern(path: str) -> None:
    table = PathTable("rest", [(PathGlob("/admin/**"), "admin")])
    assert [table.find(path) for _ in range(2)] == ["admin", "admin"]


def test_the_first_pattern_decides_for_the_normalized_path_too() -> None:
    table = PathTable("rest", [(PathGlob("/a/**"), "first"), (PathGlob("/**"), "second")])
    assert table.find("//a/b") == "first"


def test_few_and_short_paths_are_stored() -> None:
    table = PathTable("rest", [(PathGlob("/a/**"), "a")])
    for number in range(2 * MAX_PATHS + 10):
        assert table.find(f"/a/{number}") == "a"
    assert 0 < len(table._values) <= MAX_PATHS
    table.find("/" + "b" * MAX_PATH_LENGTH)
    assert max(map(len, table._values)) <= MAX_PATH_LENGTH
