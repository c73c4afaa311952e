from __future__ import annotations

import pytest

from scalekit import route_path, with_head


@pytest.mark.parametrize(
    ("path", "root", "below"), [("/a/b", "", "/a/b"), ("/a/b", "/a", "/b"), ("/a", "/a", "/"), ("/ab", "/a", "/ab")]
)
def test_the_route_path_is_the_path_without_the_prefix(path: str, root: str, below: str) -> None:
    assert route_path({"path": path, "root_path": root}) == below


def test_only_get_implies_head() -> None:
    assert with_head(["GET"]) == {"GET", "HEAD"}
    assert with_head(["POST"]) == {"POST"}
    assert with_head([]) == frozenset()
