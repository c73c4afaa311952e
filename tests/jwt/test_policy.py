"""Which requests need a token, for every spelling of their path."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit_jwt.policy import AccessPolicy, AccessRule

POLICY = AccessPolicy(
    ["/api/**", "/a*/secret"], ["/api/public/**", "/api/status"], [AccessRule("/reports/**", frozenset({"GET"}))]
)


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/x",
        "/api/x/y",
        "//api/x",
        "/api//x",
        "/./api/x",
        "/x/../api/x",
        "/api/public/../x",
        "/api/publicity",
        "/api\\x",
        "/api%2fx",
        "/x/..%2Fapi/x",
        "/api;a=b/x",
        "/api/status/more",
        "/api/x\n",
        "/abc/secret",
        "/abc/secret/",
        "/api/public//x",
        "/reports/1",
        "/API",
        "/Api/x",
        "/REPORTS/1",
        "/%61pi/x",
        "/x/%2e%2e/api",
        "/api/%2e%2e/api/x",
        "/api/%252e%252e/api/x",
        "/api/public/%2e%2e/x",
        "/api/PUBLIC",
    ],
)
def test_every_spelling_of_a_protected_path_needs_a_token(path: str) -> None:
    assert POLICY.requirements["GET", path] is not None


@pytest.mark.parametrize("path", ["/", "/apix", "/api/public", "/api/public/x", "/api/status", "/a/b/secret", "/other"])
def test_other_paths_need_no_token(path: str) -> None:
    assert POLICY.requirements["GET", path] is None


def test_a_rule_applies_to_its_methods_only() -> None:
    assert POLICY.requirements["POST", "/reports/1"] is None


@pytest.mark.parametrize(
    ("accepted", "claim", "satisfied"),
    [
        ("a", "a", True),
        ("a", ["b", "a"], True),
        (["a", "b"], "b", True),
        ("a", "A", False),
        ("a", None, False),
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        ("1", 1, False),
        ("a", {"a": 1}, False),
        ("a", [["a"]], False),
    ],
)
def test_a_claim_has_the_value_or_one_of_them(accepted: Any, claim: Any, satisfied: bool) -> None:
    requirement = AccessPolicy([], [], [AccessRule("/**", claims={"x": accepted})]).requirements["GET", "/"]
    assert requirement is not None
    assert requirement.is_unmet([], {"x": claim}) is not satisfied


def test_all_matching_rules_apply() -> None:
    rules = [AccessRule("/**", scopes=frozenset({"a"})), AccessRule("/x/**", scopes=frozenset({"b"}))]
    requirement = AccessPolicy([], [], rules).requirements["GET", "/x/y"]
    assert requirement is not None
    assert requirement.is_unmet(["a"], {})
    assert requirement.is_unmet(["b"], {})
    assert not requirement.is_unmet(["b", "a", "c"], {})


def test_the_cache_of_requirements_is_bounded() -> None:
    policy = AccessPolicy(["/api/**"], [], [])
    for number in range(10_000):
        assert policy.requirements["GET", f"/api/{number}"] is not None
    assert len(policy.requirements) <= 4096
