from __future__ import annotations

from scalekit.memo import MAX_KEYS
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.limit_checks import CombinedCheck
from scalekit_ratelimit.policies import RateLimitPolicies, policies
from scalekit_ratelimit.single_limit import SingleLimit
from tests.ratelimit.client import policy

SEARCH = policy("search", "3/h", path="/search/**", priority="high")
USERS = policy("users", "3/h", path="/users/**", by="subject")


def made(*tables: object, **more: object) -> RateLimitPolicies:
    return policies(RateLimitConfig.model_validate({"policies": tables, **more}))


def test_paths_of_the_same_policies_share_a_check() -> None:
    chosen = made(SEARCH, default="1/h")
    assert chosen.early["/search/a", "GET"] is chosen.early["/search/b", "POST"]
    assert chosen.early["/a", "GET"] is chosen.early["/b", "GET"]
    assert chosen.early["/a", "GET"] is not chosen.early["/search/a", "GET"]


def test_what_needs_a_user_is_checked_later_and_what_no_policy_is_for_not_at_all() -> None:
    chosen = made(SEARCH, USERS)
    assert chosen.early["/users/a", "GET"] is None
    assert chosen.late["/users/a", "GET"] is not None
    assert chosen.late["/search/a", "GET"] is None
    assert chosen.early["/a", "GET"] is chosen.late["/a", "GET"] is None
    assert [chosen.priority[path, "GET"] for path in ("/search/a", "/users/a", "/a")] == ["high", "normal", "normal"]


def test_one_gcra_limit_without_more_words_is_checked_alone() -> None:
    assert isinstance(made(SEARCH).early["/search/a", "GET"], SingleLimit)
    for more in (
        {"limit": ["3/h", "1/s"]},
        {"exempt": ("10.0.0.0/8",)},
        {"dry_run": True},
        {"algorithm": "sliding-window"},
    ):
        assert isinstance(made({**SEARCH, **more}).early["/search/a", "GET"], CombinedCheck)
    assert isinstance(made(SEARCH, legacy_headers=True).early["/search/a", "GET"], CombinedCheck)
    assert isinstance(made(SEARCH, policy("all", "9/h")).early["/search/a", "GET"], CombinedCheck)


def test_paths_that_are_remembered_are_bounded() -> None:
    chosen = made(SEARCH, USERS)
    for number in range(2 * MAX_KEYS):
        path = f"/search/{number}"
        assert chosen.early[path, "GET"] is not chosen.late[path, "GET"]
        assert chosen.priority[path, "GET"] == "high"
    assert max(len(chosen.early), len(chosen.late), len(chosen.priority)) <= MAX_KEYS
    assert len(chosen._checks) == 1
