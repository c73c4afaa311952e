"""An operator finds the counter of a client that requests of this client have made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.client_lookup import ClientLookup
from scalekit_ratelimit.config import RateLimitConfig
from scalekit_ratelimit.limit_statistics import LimitStatistics
from scalekit_ratelimit.policies import build_policies


@dataclass(frozen=True)
class User:
    subject_identifier: SubjectIdentifier


ADA = User(SubjectIdentifier("https://login.example.com", "ada"))
NAMED = {"user": "ada", "issuer": "https://login.example.com"}


@pytest.mark.parametrize(
    ("key", "address", "user", "values"),
    [
        ("ip", "203.0.113.7", None, {"client": "203.0.113.7"}),
        ("ip", "203.0.113.7", None, {"client": "::ffff:203.0.113.7"}),
        ("ip", "2001:db8::5", None, {"client": "2001:db8::7"}),
        ("ip", "2001:db8::5", None, {"client": "2001:db8::/64"}),
        ("subject", "203.0.113.7", ADA, NAMED),
        ("subject", "203.0.113.7", None, {"client": "203.0.113.7"}),
        (["ip", "subject"], "203.0.113.7", ADA, {**NAMED, "client": "203.0.113.7"}),
        ("header:x-id", "2001:db8::5", None, {"client": "2001:db8::6"}),
    ],
)
def test_a_client_is_found_by_what_is_known_of_it(
    key: Any, address: str, user: User | None, values: dict[str, str]
) -> None:
    config = RateLimitConfig.model_validate({"policies": ({"name": "p", "limit": "1/s", "key": key},)})
    policies = build_policies(config)
    lookup = ClientLookup(policies.by_name(), policies.address_key_func, LimitStatistics())
    scope: dict[str, Any] = {"client": (address, 5), "headers": [], **({"user": user} if user else {})}
    (counted,) = policies.by_name()["p"].hits(scope)
    assert lookup.hits({"policy": "p", **values}) == [counted]
    assert lookup.hits({"policy": "p", "client": counted.key}) == [counted]  # as the page shows it
