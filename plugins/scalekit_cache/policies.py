"""What the file, and marks in the code, say of answers that say nothing themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_STATUSES = frozenset({200, 301, 308})
REMEMBERED = 4096
"""Paths whose policy is remembered."""

_SUSPICIOUS = re.compile(rb"%(?:2e|2f|5c|00|3b|3f|23|25)|[\\;\x00-\x20]|//|/\.\.?(?:/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """How answers are kept that do not say it themselves; times are in seconds, *ttl* None leaves it to the answer.

    *query* are the parameters that count, None for all. *ignores_cookies* says that answers do not depend on cookies.
    """

    ttl: float | None = None
    vary: tuple[bytes, ...] = ()
    query: frozenset[bytes] | None = None
    by_identity: bool = False
    ignores_cookies: bool = False
    while_revalidate: float = 0.0
    if_error: float = 0.0
    early: float = 0.0
    tags: tuple[bytes, ...] = ()
    statuses: frozenset[int] = DEFAULT_STATUSES


NO_POLICY = Policy()


class Policies:
    """The policies of the file, the first that matches a path counts."""

    def __init__(self, items: Sequence[tuple[str, Policy]]) -> None:
        self._items = [(pattern_of(path), policy) for path, policy in items]
        self._known: dict[tuple[str, bytes], Policy] = {}
        self.reshape_queries = any(policy.query is not None for _, policy in items)

    def __bool__(self) -> bool:
        return bool(self._items)

    def of(self, path: str, raw_path: bytes) -> Policy:
        """Return the policy of *path*; none has a path that an application and a file may read in different ways."""
        if not self._items:
            return NO_POLICY
        known = self._known.get((path, raw_path))
        if known is None:
            known = NO_POLICY if _SUSPICIOUS.search(raw_path) else self._match(path)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[path, raw_path] = known
        return known

    def _match(self, path: str) -> Policy:
        return next((policy for pattern, policy in self._items if pattern.fullmatch(path)), NO_POLICY)


def pattern_of(path: str) -> re.Pattern[str]:
    """Return what the *path* of a policy matches: ``*`` stands for a piece between slashes, ``**`` for any number."""
    parts = re.split(r"(\*\*|\*)", path)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts), re.DOTALL)
