"""Put environment variables into the strings of the file: ``${NAME}`` and ``${NAME:-default}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# $${ is a literal ${, for the rare value that needs one.
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|\$\{[^}]*\}?")

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Substituted:
    """The text with its variables put in, their names, and what was wrong with the references."""

    text: str
    names: tuple[str, ...]
    mistakes: tuple[str, ...]
    whole: bool


def substitute(text: str, environment: Mapping[str, str]) -> Substituted:
    """Replace every reference in *text*.

    As in a shell, ``:-`` gives the default for a variable that is unset or empty. *whole* says that the text was one
    reference and nothing else, so that its value may stand for a number as well as for a string.
    """
    names: list[str] = []
    mistakes: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found.group() == "$${":
            return "${"
        name, default = found["name"], found["default"]
        if name is None:
            # What was written is not shown: it may be a part of a secret that happens to have these signs in it.
            mistakes.append('"${" begins no reference; write ${NAME} or ${NAME:-default}, or $${ for a literal ${')
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
    whole = bool(first and first.end() == len(text) and first.group() != "$${")
    return Substituted(filled, tuple(names), tuple(mistakes), whole)


def is_utf8(text: str) -> bool:
    """Return whether *text* from the environment was valid UTF-8; Python keeps other bytes as lone surrogates."""
    return not _SURROGATE.search(text)
