"""Decide which requests need a token, and which scopes and claims it must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scalekit import Memo, PathGlob, case_insensitive_match, path_variants

Claims = Mapping[str, str | int | bool | Sequence[str | int]]


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The scopes and claims required for requests to *path* with one of *methods*; no methods means all."""

    path: str
    methods: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Claims = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Requirement:
    """The token that a request requires: with all *scopes*, and for each of *claims* one of its values."""

    scopes: frozenset[str]
    claims: tuple[tuple[str, frozenset[object]], ...]

    def is_unmet(self, scopes: Sequence[str], claims: Mapping[str, object]) -> bool:
        """Return whether a token with *scopes* and *claims* is insufficient."""
        if not self.scopes.issubset(scopes):
            return True
        return not all(_matches(claims.get(name), accepted) for name, accepted in self.claims)


ANY_VALID_TOKEN = Requirement(frozenset(), ())
"""Any valid token is sufficient."""


class AccessPolicy:
    """Requires a token for paths in *protected_paths* and *rules*, except for *public_paths*.

    ``requirements`` maps (method, path) to its Requirement, or to None when the request needs no token.
    """

    def __init__(
        self, protected_paths: Sequence[str], public_paths: Sequence[str], rules: Sequence[AccessRule]
    ) -> None:
        self._protected = [case_insensitive_match(path) for path in protected_paths]
        self._public = [PathGlob(path).matches for path in public_paths]
        self._rules = [(case_insensitive_match(rule.path), rule) for rule in rules]
        self._globs = [*protected_paths, *(rule.path for rule in rules)]
        self.requirements = Memo(self._requirement)

    def globs_open_below(self) -> list[str]:
        """Return the globs ending in ``/*`` whose deeper paths need no token, which is rarely intended."""
        return [glob for glob in self._globs if glob.endswith("/*") and self._is_open_below(glob)]

    def _is_open_below(self, glob: str) -> bool:
        return self._requirement("GET", glob.replace("*", "x") + "/x") is None

    def _requirement(self, method: str, path: str) -> Requirement | None:
        variants = path_variants(path)
        if len(variants) == 1 and any(matches(path) for matches in self._public):
            return None
        rules = [
            rule
            for matches, rule in self._rules
            if (not rule.methods or method in rule.methods) and any(map(matches, variants))
        ]
        if not rules and not any(matches(each) for matches in self._protected for each in variants):
            return None
        if not any(rule.scopes or rule.claims for rule in rules):
            return ANY_VALID_TOKEN
        scopes = frozenset(scope for rule in rules for scope in rule.scopes)
        claims = [(name, _values(value)) for rule in rules for name, value in rule.claims.items()]
        return Requirement(scopes, tuple(claims))


def _values(value: object) -> frozenset[object]:
    return frozenset(value) if isinstance(value, list | tuple) else frozenset({value})


def _matches(claim: object, accepted: frozenset[object]) -> bool:
    values = claim if isinstance(claim, list) else [claim]
    return any(type(each) is type(value) and each == value for each in values for value in accepted)
