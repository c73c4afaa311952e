"""Which requests need a token, and what it must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalekit import PathGlob
from scalekit.memo import Memo
from scalekit.path_glob import in_any_case, spellings

Claims = Mapping[str, str | int | bool | Sequence[str | int]]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """What a token must say for requests to *path* with one of *methods*, of which none named means all."""

    path: str
    methods: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Claims = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one request requirements: all of *scopes*, and each of *claims* with one of its values."""

    scopes: frozenset[str]
    claims: tuple[tuple[str, frozenset[Any]], ...]

    def missing(self, scopes: Sequence[str], claims: Mapping[str, Any]) -> bool:
        """Tell whether a token with *scopes* and *claims* is not enough."""
        if not self.scopes.issubset(scopes):
            return True
        return not all(_has(claims.get(name), wanted) for name, wanted in self.claims)


ANY_VALID_TOKEN = Requirement(frozenset(), ())
"""What any good token is enough for."""


class AccessPolicy:
    """What *protect* and *rules* name requirements a token, but for what *public* names.

    ``requirements`` has what a request requirements by its method and path, None when it requirements no token.
    """

    def __init__(self, protect: Sequence[str], public: Sequence[str], rules: Sequence[AccessRule]) -> None:
        self._protect = [in_any_case(path) for path in protect]
        self._public = [PathGlob(path).matches for path in public]
        self._rules = [(in_any_case(rule.path), rule) for rule in rules]
        self._texts = [*protect, *(rule.path for rule in rules)]
        self.requirements = Memo(self._work_out)

    def unprotected_subpaths(self) -> list[str]:
        """Return the patterns that end in ``/*`` and leave open what is deeper: few who write that mean it."""
        return [text for text in self._texts if text.endswith("/*") and self._is_open(text)]

    def _is_open(self, text: str) -> bool:
        return self._work_out("GET", text.replace("*", "x") + "/x") is None

    def _work_out(self, method: str, path: str) -> Requirement | None:
        known = spellings(path)
        if len(known) == 1 and any(matches(path) for matches in self._public):
            return None
        rules = [
            rule
            for matches, rule in self._rules
            if (not rule.methods or method in rule.methods) and any(map(matches, known))
        ]
        if not rules and not any(matches(each) for matches in self._protect for each in known):
            return None
        if not any(rule.scopes or rule.claims for rule in rules):
            return ANY_VALID_TOKEN
        scopes = frozenset(scope for rule in rules for scope in rule.scopes)
        claims = [(name, _values(value)) for rule in rules for name, value in rule.claims.items()]
        return Requirement(scopes, tuple(claims))


def _values(value: Any) -> frozenset[Any]:
    return frozenset(value) if isinstance(value, list | tuple) else frozenset({value})


def _has(given: Any, wanted: frozenset[Any]) -> bool:
    values = given if isinstance(given, list) else [given]
    return any(type(each) is type(one) and each == one for each in values for one in wanted)
