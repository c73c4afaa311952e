"""Match requests to policies, and select the check of their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.types import Scope

from scalekit import Memo, PathGlob, case_insensitive_match, path_variants, with_head
from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.config import Priority, RateLimitConfig, RateLimitPolicyConfig, make_limits
from scalekit_ratelimit.keys import Exemption, Exemptions, KeyFunc, address_key, address_key_func, key_func
from scalekit_ratelimit.limit_checks import CombinedCheck, LimitCheck, RecordedLimit, SingleLimit
from scalekit_ratelimit.limit_statistics import LimitStatistics
from scalekit_ratelimit.limits import Hit, Limit

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


@dataclass(frozen=True, eq=False)
class RateLimitPolicy:
    """Limits and the function of *keys*; *needs_user* when they can only be checked after authentication."""

    name: str
    limits: tuple[Limit, ...]
    key_func: KeyFunc = address_key
    cost: int = 1
    exemptions: Exemptions | None = None
    dry_run: bool = False
    needs_user: bool = False
    priority: Priority = "normal"
    keys: tuple[str, ...] = ("ip",)

    def hits(self, scope: Scope) -> list[Hit]:
        """Return a hit for each limit, none for an exempt request."""
        if self.exemptions is not None and self.exemptions(scope):
            return []
        key = self.key_func(scope)
        return [] if key is None else [Hit(limit, key, self.cost, self.dry_run) for limit in self.limits]


class RateLimitPolicies:
    """Policies with the glob of their paths and their methods; *default* applies when no enforced policy matches.

    ``before_authentication`` and ``after_authentication`` are the checks for each path and method, None when no limit
    applies; ``priority`` is the highest priority of the policies that match. *address_key_func* is the key function of
    decorated handlers, and *legacy_headers* adds the ``X-RateLimit`` headers.
    """

    def __init__(
        self,
        items: Sequence[tuple[PathGlob, frozenset[str], RateLimitPolicy]],
        default: RateLimitPolicy | None,
        address_key_func: KeyFunc = address_key,
        legacy_headers: bool = False,
    ) -> None:
        self.address_key_func = address_key_func
        self.legacy_headers = legacy_headers
        self.before_authentication = Memo(partial(self._check, False))
        self.after_authentication = Memo(partial(self._check, True))
        self.priority = Memo(self._highest_priority)
        self.statistics: LimitStatistics | None = None
        """Records the decisions for the console; set before the first request."""
        self._items = [(case_insensitive_match(glob), methods, policy) for glob, methods, policy in items]
        self._default = default
        self._checks: dict[tuple[RateLimitPolicy, ...], LimitCheck[Any, Any]] = {}

    def by_name(self) -> dict[str, RateLimitPolicy]:
        """Return all policies by name."""
        found = {policy.name: policy for _, _, policy in self._items}
        return found if self._default is None else {**found, "default": self._default}

    def _check(self, needs_user: bool, path: str, method: str) -> LimitCheck[Any, Any] | None:
        policies = tuple(policy for policy in self._matching(path, method) if policy.needs_user is needs_user)
        if policies and policies not in self._checks:
            check: Any = self._single_limit(*policies) or CombinedCheck(policies, self.legacy_headers)
            self._checks[policies] = check
        return self._checks.get(policies)

    def _single_limit(self, policy: RateLimitPolicy, *more: RateLimitPolicy) -> SingleLimit | None:
        """Return the fast path when there is exactly one GCRA limit that counts every request."""
        if more or self.legacy_headers or policy.exemptions is not None or policy.dry_run or len(policy.limits) > 1:
            return None
        limits = [limit for limit in policy.limits if limit.algorithm == "gcra"]
        if not limits or self.statistics is None:
            return SingleLimit(limits[0], policy.cost, policy.key_func) if limits else None
        return RecordedLimit(limits[0], policy.cost, policy.key_func, self.statistics)

    def _highest_priority(self, path: str, method: str) -> Priority:
        found = {policy.priority for policy in self._matching(path, method)}
        for priority in PRIORITIES:
            if priority in found:
                return priority
        return "normal"

    def _matching(self, path: str, method: str) -> list[RateLimitPolicy]:
        paths = path_variants(path)
        found = [
            policy
            for matches, methods, policy in self._items
            if (not methods or method in methods) and any(map(matches, paths))
        ]
        if self._default is None or not all(policy.dry_run for policy in found):
            return found
        return [*found, self._default]  # a dry run does not disable the default


def build_policies(config: RateLimitConfig) -> RateLimitPolicies:
    """Return the policies of requests; raises PluginError when a key function cannot be imported."""
    tables = [table for table in config.policies if not table.by_application]
    address = address_key_func(config.ipv6_prefix)
    items = [(table.path, with_head(table.methods), _build_policy(table, address)) for table in tables]
    default = RateLimitPolicy("default", make_limits("default", config.default), address) if config.default else None
    return RateLimitPolicies(items, default, address, config.legacy_headers)


def build_application_policies(config: RateLimitConfig) -> dict[str, RateLimitPolicy]:
    """Return the policies with ``key = "application"`` by name."""
    return {
        table.name: RateLimitPolicy(table.name, table.limits(), cost=table.cost, dry_run=table.dry_run, keys=table.key)
        for table in config.policies
        if table.by_application
    }


def needs_user(keys: Sequence[str], exempt: Sequence[Exemption]) -> bool:
    """Return whether *keys* or *exempt* can only be evaluated after authentication."""
    needs_none = all(key == "ip" or key.startswith("header:") for key in keys)
    return not needs_none or any(isinstance(entry, SubjectIdentifier) for entry in exempt)


def _build_policy(table: RateLimitPolicyConfig, address: KeyFunc) -> RateLimitPolicy:
    return RateLimitPolicy(
        table.name,
        table.limits(),
        key_func(table.key, address),
        cost=table.cost,
        exemptions=Exemptions(table.exempt) if table.exempt else None,
        dry_run=table.dry_run,
        needs_user=needs_user(table.key, table.exempt),
        priority=table.priority,
        keys=table.key,
    )
