"""Which requests need a token, and what it must say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 4096
"""Paths whose needs are remembered."""

Claims = Mapping[str, str | int | bool | Sequence[str | int]]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a token must say for requests to *path* with one of *methods*, of which none named means all."""

    path: str
    methods: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Claims = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Needs:
    """What one request needs: all of *scopes*, and each of *claims* with one of its values."""

    scopes: frozenset[str]
    claims: tuple[tuple[str, frozenset[Any]], ...]

    def missing(self, scopes: Sequence[str], claims: Mapping[str, Any]) -> bool:
        """Tell whether a token with *scopes* and *claims* is not enough."""
        if not self.scopes.issubset(scopes):
            return True
        return not all(_has(claims.get(name), wanted) for name, wanted in self.claims)


TOKEN_ALONE = Needs(frozenset(), ())
"""What any good token is enough for."""


class Policy:
    """What *protect* and *rules* name needs a token, but for what *public* names."""

    def __init__(self, protect: Sequence[str], public: Sequence[str], rules: Sequence[Rule]) -> None:
        self._protect = [pattern_of(path) for path in protect]
        self._public = [pattern_of(path) for path in public]
        self._rules = [(pattern_of(rule.path), rule) for rule in rules]
        self._known: dict[tuple[str, str], Needs | None] = {}

    def needs(self, method: str, path: str) -> Needs | None:
        """Return what a request needs; None when it needs no token."""
        try:
            return self._known[method, path]
        except KeyError:
            pass
        needs = self._work_out(method, path)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[method, path] = needs
        return needs

    def _work_out(self, method: str, path: str) -> Needs | None:
        spellings = {path, plain(path)}
        if spellings == {path} and any(pattern.fullmatch(path) for pattern in self._public):
            return None
        rules = [
            rule
            for pattern, rule in self._rules
            if (not rule.methods or method in rule.methods) and any(map(pattern.fullmatch, spellings))
        ]
        if not rules and not any(pattern.fullmatch(each) for pattern in self._protect for each in spellings):
            return None
        if not any(rule.scopes or rule.claims for rule in rules):
            return TOKEN_ALONE
        scopes = frozenset(scope for rule in rules for scope in rule.scopes)
        claims = [(name, _values(value)) for rule in rules for name, value in rule.claims.items()]
        return Needs(scopes, tuple(claims))


def pattern_of(path: str) -> re.Pattern[str]:
    """Return what *path* matches: ``*`` is a piece between slashes, and at the end, after a slash, all that is below.

    ``/api/*`` is ``/api`` too, for a framework may serve both alike.
    """
    if path == "/*":
        return re.compile(".*", re.DOTALL)
    below = path.endswith("/*")
    pieces = (path[:-2] if below else path).split("*")
    return re.compile("[^/]*".join(map(re.escape, pieces)) + ("(?:/.*)?" if below else "/?"), re.DOTALL)


def plain(path: str) -> str:
    """Return *path* as a framework may read it that tidies up: a doubled slash, a dot or a backslash hides nothing."""
    done: list[str] = []
    for piece in re.sub(r"%2f|%5c|\\", "/", path, flags=re.IGNORECASE).split("/"):
        piece = piece.partition(";")[0].rstrip("\x00 ")
        if piece == "..":
            del done[-1:]
        elif piece and piece != ".":
            done.append(piece)
    return "/" + "/".join(done) + ("/" if done and path.endswith("/") else "")


def _values(value: Any) -> frozenset[Any]:
    return frozenset(value) if isinstance(value, list | tuple) else frozenset({value})


def _has(given: Any, wanted: frozenset[Any]) -> bool:
    values = given if isinstance(given, list) else [given]
    return any(type(each) is type(one) and each == one for each in values for one in wanted)
