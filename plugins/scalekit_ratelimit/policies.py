"""Which limits are for a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import Scope

from scalekit import PathGlob
from scalekit.contracts import SubjectIdentifier
from scalekit.methods import with_head
from scalekit.path_glob import in_any_case, spellings
from scalekit_ratelimit.config import PolicyTable, Priority, RateLimitConfig, rules
from scalekit_ratelimit.counting import Counter, Exempt, Exemption, address_counter, by_address, counter
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.rules import Rule
from scalekit_ratelimit.single_limit import SingleLimit

ORDER: tuple[Priority, ...] = ("high", "normal", "low")
REMEMBERED = 4096
"""Paths whose policies are remembered."""


@dataclass(frozen=True, eq=False)
class Policy:
    """Limits, who they count, and for what; *late* when it must be known who asks."""

    name: str
    rules: tuple[Rule, ...]
    count: Counter = by_address
    cost: int = 1
    exempt: Exempt | None = None
    dry_run: bool = False
    late: bool = False
    priority: Priority = "normal"

    def takes(self, scope: Scope) -> list[Take]:
        """Return what *scope* takes; nothing, when it is not counted."""
        if self.exempt is not None and self.exempt(scope):
            return []
        who = self.count(scope)
        return [] if who is None else [Take(rule, who, self.cost, self.dry_run) for rule in self.rules]


class Chosen:
    """The policies of a path and method; *single* is their limit where there is exactly one, without exemptions."""

    __slots__ = ("policies", "single")

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self.policies = policies
        self.single: SingleLimit | None = None
        if len(policies) == 1:
            (policy,) = policies
            plain = policy.exempt is None and not policy.dry_run and len(policy.rules) == 1
            if plain and policy.rules[0].algorithm == "gcra":
                self.single = SingleLimit(policy.rules[0], policy.cost, policy.count)


class Policies:
    """Policies with the pattern of their path and their methods; *default* is for what none of them decides.

    *address* is what counts by address, for the limits of marked handlers.
    """

    def __init__(
        self,
        items: Sequence[tuple[PathGlob, frozenset[str], Policy]],
        default: Policy | None,
        address: Counter = by_address,
    ) -> None:
        self.address = address
        self._items = [(in_any_case(glob), methods, policy) for glob, methods, policy in items]
        self._default = default
        self._known: dict[tuple[str, str], tuple[Chosen | None, Chosen | None]] = {}

    def of(self, path: str, method: str, late: bool) -> Chosen | None:
        """Return what is for *path* and *method* before, or with *late* once, it is known who asks."""
        known = self._known.get((path, method))
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[path, method] = self._choose(path, method)
        return known[late]

    def priority(self, path: str, method: str) -> Priority:
        """Return the highest priority of what is for *path* and *method*."""
        chosen = [found for late in (False, True) if (found := self.of(path, method, late)) is not None]
        priorities: set[Priority] = {policy.priority for found in chosen for policy in found.policies}
        for each in ORDER:
            if each in priorities:
                return each
        return "normal"

    def _all(self, path: str, method: str) -> list[Policy]:
        known = spellings(path)
        found = [
            policy
            for matches, methods, policy in self._items
            if (not methods or method in methods) and any(map(matches, known))
        ]
        if self._default is None or not all(policy.dry_run for policy in found):
            return found
        return [*found, self._default]  # what is on trial takes nobody's limit away

    def _choose(self, path: str, method: str) -> tuple[Chosen | None, Chosen | None]:
        found = self._all(path, method)
        early = tuple(policy for policy in found if not policy.late)
        late = tuple(policy for policy in found if policy.late)
        return Chosen(early) if early else None, Chosen(late) if late else None


def policies(config: RateLimitConfig) -> Policies:
    """Return the policies of the file; raises PluginError when a function that they name is not there."""
    tables = [table for table in config.policies if not table.in_code]
    address = address_counter(config.ipv6_prefix)
    items = [(table.path, with_head(table.methods), _policy(table, address)) for table in tables]
    default = Policy("default", rules("default", config.default), address) if config.default else None
    return Policies(items, default, address)


def code_policies(config: RateLimitConfig) -> dict[str, Policy]:
    """Return the policies that are counted in code, by their names."""
    tables = [table for table in config.policies if table.in_code]
    return {table.name: Policy(table.name, table.rules(), cost=table.cost, dry_run=table.dry_run) for table in tables}


def is_late(by: Sequence[str], exempt: Sequence[Exemption]) -> bool:
    """Tell whether counting *by* these must wait until it is known who asks."""
    known = all(each == "ip" or each.startswith("header:") for each in by)
    return not known or any(isinstance(each, SubjectIdentifier) for each in exempt)


def _policy(table: PolicyTable, address: Counter) -> Policy:
    return Policy(
        table.name,
        table.rules(),
        counter(table.by, address),
        table.cost,
        Exempt(table.exempt) if table.exempt else None,
        table.dry_run,
        is_late(table.by, table.exempt),
        table.priority,
    )
