"""Which policies, and which check of their limits, are for a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.types import Scope

from scalekit import Memo, PathGlob, case_insensitive_match, path_variants, with_head
from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.config import Priority, RateLimitConfig, RateLimitPolicyConfig, rules
from scalekit_ratelimit.gcra import Limit
from scalekit_ratelimit.keys import Exemption, Exemptions, KeyFunc, address_key, address_key_func, key_func
from scalekit_ratelimit.limit_checks import CombinedCheck, LimitCheck
from scalekit_ratelimit.memory_limiter import Hit
from scalekit_ratelimit.single_limit import SingleLimit

ORDER: tuple[Priority, ...] = ("high", "normal", "low")


@dataclass(frozen=True, eq=False)
class RateLimitPolicy:
    """Limits, who they count, and for what; *late* when it must be known who asks."""

    name: str
    rules: tuple[Limit, ...]
    count: KeyFunc = address_key
    cost: int = 1
    exempt: Exemptions | None = None
    dry_run: bool = False
    late: bool = False
    priority: Priority = "normal"

    def takes(self, scope: Scope) -> list[Hit]:
        """Return what *scope* takes; nothing, when it is not counted."""
        if self.exempt is not None and self.exempt(scope):
            return []
        who = self.count(scope)
        return [] if who is None else [Hit(rule, who, self.cost, self.dry_run) for rule in self.rules]


class RateLimitPolicies:
    """Policies with the pattern of their path and their methods; *default* is for what none of them decides.

    ``early`` and ``late`` are the checks of each path and method before and after authentication, None where nothing
    is counted; ``priority`` is the highest one of their policies. *address* is what counts by address, for the limits
    of decorated handlers, and *legacy* tells whether clients get the ``X-RateLimit`` headers too.
    """

    def __init__(
        self,
        items: Sequence[tuple[PathGlob, frozenset[str], RateLimitPolicy]],
        default: RateLimitPolicy | None,
        address: KeyFunc = address_key,
        legacy: bool = False,
    ) -> None:
        self.address = address
        self.legacy = legacy
        self.early = Memo(partial(self._check, False))
        self.late = Memo(partial(self._check, True))
        self.priority = Memo(self._highest_priority)
        self._items = [(case_insensitive_match(glob), methods, policy) for glob, methods, policy in items]
        self._default = default
        self._checks: dict[tuple[RateLimitPolicy, ...], LimitCheck[Any, Any]] = {}

    def _check(self, late: bool, path: str, method: str) -> LimitCheck[Any, Any] | None:
        chosen = tuple(policy for policy in self._chosen(path, method) if policy.late is late)
        if chosen and chosen not in self._checks:
            check: Any = self._single(*chosen) or CombinedCheck(chosen, self.legacy)
            self._checks[chosen] = check
        return self._checks.get(chosen)

    def _single(self, policy: RateLimitPolicy, *more: RateLimitPolicy) -> SingleLimit | None:
        """Return the limit where there is exactly one, which counts every request by GCRA."""
        if more or self.legacy or policy.exempt is not None or policy.dry_run or len(policy.rules) > 1:
            return None
        singles = [SingleLimit(rule, policy.cost, policy.count) for rule in policy.rules if rule.algorithm == "gcra"]
        return singles[0] if singles else None

    def _highest_priority(self, path: str, method: str) -> Priority:
        priorities = {policy.priority for policy in self._chosen(path, method)}
        for each in ORDER:
            if each in priorities:
                return each
        return "normal"

    def _chosen(self, path: str, method: str) -> list[RateLimitPolicy]:
        known = path_variants(path)
        found = [
            policy
            for matches, methods, policy in self._items
            if (not methods or method in methods) and any(map(matches, known))
        ]
        if self._default is None or not all(policy.dry_run for policy in found):
            return found
        return [*found, self._default]  # what is on trial takes nobody's limit away


def policies(config: RateLimitConfig) -> RateLimitPolicies:
    """Return the policies of the file; raises PluginError when a function that they name is not there."""
    tables = [table for table in config.policies if not table.in_code]
    address = address_key_func(config.ipv6_prefix)
    items = [(table.path, with_head(table.methods), _policy(table, address)) for table in tables]
    default = RateLimitPolicy("default", rules("default", config.default), address) if config.default else None
    return RateLimitPolicies(items, default, address, config.legacy_headers)


def code_policies(config: RateLimitConfig) -> dict[str, RateLimitPolicy]:
    """Return the policies that are counted in code, by their names."""
    tables = [table for table in config.policies if table.in_code]
    return {
        table.name: RateLimitPolicy(table.name, table.rules(), cost=table.cost, dry_run=table.dry_run)
        for table in tables
    }


def needs_user(by: Sequence[str], exempt: Sequence[Exemption]) -> bool:
    """Tell whether counting *by* these must wait until it is known who asks."""
    known = all(each == "ip" or each.startswith("header:") for each in by)
    return not known or any(isinstance(each, SubjectIdentifier) for each in exempt)


def _policy(table: RateLimitPolicyConfig, address: KeyFunc) -> RateLimitPolicy:
    return RateLimitPolicy(
        table.name,
        table.rules(),
        key_func(table.by, address),
        table.cost,
        Exemptions(table.exempt) if table.exempt else None,
        table.dry_run,
        needs_user(table.by, table.exempt),
        table.priority,
    )
