"""The policies and checks that apply to a path and method."""

from __future__ import annotations

from scalekit.memo import MAX_KEYS
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.limit_checks import CombinedCheck, SingleLimit
from scalekit_ratelimit.policies import RateLimitPolicies, build_policies
from tests.ratelimit.client import policy

SEARCH = policy("search", "3/h", path="/search/**", priority="high")
USERS = policy("users", "3/h", path="/users/**", key="subject")


def policies_of(*tables: object, **more: object) -> RateLimitPolicies:
    return build_policies(RateLimitConfig.model_validate({"policies": tables, **more}))


def test_paths_that_match_the_same_policies_share_a_check() -> None:
    policies = policies_of(SEARCH, default="1/h")
    assert policies.before_authentication["/search/a", "GET"] is policies.before_authentication["/search/b", "POST"]
    assert policies.before_authentication["/a", "GET"] is policies.before_authentication["/b", "GET"]
    assert policies.before_authentication["/a", "GET"] is not policies.before_authentication["/search/a", "GET"]


def test_policies_that_need_a_user_are_checked_after_authentication() -> None:
    policies = policies_of(SEARCH, USERS)
    assert policies.before_authentication["/users/a", "GET"] is None
    assert policies.after_authentication["/users/a", "GET"] is not None
    assert policies.after_authentication["/search/a", "GET"] is None
    assert policies.before_authentication["/a", "GET"] is policies.after_authentication["/a", "GET"] is None
    assert [policies.priority[path, "GET"] for path in ("/search/a", "/users/a", "/a")] == ["high", "normal", "normal"]


def test_exactly_one_gcra_limit_uses_the_fast_path() -> None:
    assert isinstance(policies_of(SEARCH).before_authentication["/search/a", "GET"], SingleLimit)
    for more in (
        {"limit": ["3/h", "1/s"]},
        {"exempt": ("10.0.0.0/8",)},
        {"dry_run": True},
        {"algorithm": "sliding-window"},
    ):
        assert isinstance(policies_of({**SEARCH, **more}).before_authentication["/search/a", "GET"], CombinedCheck)
    assert isinstance(policies_of(SEARCH, legacy_headers=True).before_authentication["/search/a", "GET"], CombinedCheck)
    assert isinstance(
        policies_of(SEARCH, policy("all", "9/h")).before_authentication["/search/a", "GET"], CombinedCheck
    )


def test_memoized_paths_are_bounded() -> None:
    policies = policies_of(SEARCH, USERS)
    for number in range(2 * MAX_KEYS):
        path = f"/search/{number}"
        assert policies.before_authentication[path, "GET"] is not policies.after_authentication[path, "GET"]
        assert policies.priority[path, "GET"] == "high"
    assert (
        max(len(policies.before_authentication), len(policies.after_authentication), len(policies.priority)) <= MAX_KEYS
    )
    assert len(policies._checks) == 1
