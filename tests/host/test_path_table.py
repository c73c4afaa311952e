from __future__ import annotations

from scalekit import PathGlob, PathTable


def test_the_first_pattern_that_matches_decides() -> None:
    table = PathTable("rest", [(PathGlob("/a/*"), "one"), (PathGlob("/a/**"), "two")])
    assert [table.find(path) for path in ("/a/b", "/a/b/c", "/a", "/b")] == ["one", "two", "two", "rest"]
    assert table.single is None


def test_a_table_without_patterns_has_one_value() -> None:
    assert PathTable("rest").single == PathTable("rest").find("/any") == "rest"
