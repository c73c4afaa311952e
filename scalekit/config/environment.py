"""Substitute environment variables in strings of the file: ``${NAME}`` and ``${NAME:-default}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# $${ is a literal ${.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|\$\{[^}]*\}?")

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Substitution:
    """A substituted text, the names of its variables and the error messages of its references.

    *is_one_reference* is whether the text was one reference and nothing else, so that its value may be a number.
    """

    text: str
    names: tuple[str, ...]
    mistakes: tuple[str, ...]
    is_one_reference: bool


def substitute(text: str, environment: Mapping[str, str]) -> Substitution:
    """Replace each reference in *text*; ``${NAME:-default}`` inserts the default when NAME is unset or empty."""
    names: list[str] = []
    mistakes: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found.group() == "$${":
            return "${"
        name, default = found["name"], found["default"]
        if name is None:
            # The text is not shown: it may be part of a secret that contains these characters.
            mistakes.append(
                '"${" without a valid reference; write ${NAME} or ${NAME:-default}, or $${ for a literal ${'
            )
            return ""
        if not is_utf8(environment.get(name, "")):
            mistakes.append(f"environment variable {name} is not UTF-8; set it to text")
            return ""
        if environment.get(name) or (name in environment and default is None):
            names.append(name)
            return environment[name]
        if default is None:
            mistakes.append(f"environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return default or ""

    filled = _REFERENCE.sub(value, text)
    first = _REFERENCE.match(text)
    is_one_reference = bool(first and first.end() == len(text) and first.group() != "$${")
    return Substitution(filled, tuple(names), tuple(mistakes), is_one_reference)


def references(text: str) -> list[tuple[str, str | None]]:
    """Return name and default of each valid reference in *text*; the default is None when there is none."""
    return [(found["name"], found["default"]) for found in _REFERENCE.finditer(text) if found["name"]]


def with_defaults(text: str) -> str:
    """Return *text* with the default of each reference in its place, and nothing for those without one."""
    return _REFERENCE.sub(lambda found: found["default"] or "", text)


def without_references(text: str) -> str:
    """Return *text* without its references, so that the parts that the file itself defines remain."""
    return _REFERENCE.sub("", text)


def is_utf8(text: str) -> bool:
    """Return whether *text* from the environment is UTF-8; Python decodes other bytes as lone surrogates."""
    return not _SURROGATE.search(text)
