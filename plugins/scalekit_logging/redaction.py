"""Redact secrets: fields by name, and in texts whatever has the form of a secret.

A field is secret when the last words of its name are those of a secret name, so that ``db_password`` and
``X-Api-Key`` are. In a text it is what stands after such a name, and what has the form of a token. Names may be in
the plural, except for ``tokens``, which are usually a count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from scalekit import MASK

WHOLE_LINE = ("authorization", "cookie")
"""What stands after these in a text has blanks in it."""
SECRET_NAMES = (
    *WHOLE_LINE,
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "jwt",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "secret_key",
    "credential",
)

_REMEMBERED = 10_000
_LONGEST_NAME = 256
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_BEARER = re.compile(r"\b(bearer)[ \t]+[^\s\"'\\,;)}\]]+", re.IGNORECASE)
_BASIC = re.compile(r"\b((?i:basic))[ \t]+(?=[a-z+/]*[A-Z0-9])[A-Za-z0-9+/]{6,}={0,2}")
_JSON_WEB_TOKEN = re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?P<quote>\\+["']).*?(?P=quote)|["'\\][^\r\n]*"""


def words_of(name: str) -> str:
    """Return *name* in the one spelling in which names are compared: ``X-Api-Key`` and ``xApiKey`` as ``x_api_key``."""
    return _NO_WORD.sub("_", _CAPITAL.sub("_", name).lower()).strip("_")


class Redactor:
    """Masks what is secret; *more_names* are secret too, and *redact* takes known secrets out of a text."""

    def __init__(self, more_names: Iterable[str] = (), redact: Callable[[str], str] = str) -> None:
        names = list(dict.fromkeys([*SECRET_NAMES, *filter(None, map(words_of, more_names))]))
        self._exact = frozenset(names + [f"{name}s" for name in names if name != "token"])
        self._endings = tuple(f"_{name}" for name in self._exact)
        self._hints = tuple(dict.fromkeys(["bearer", "basic", "eyj", *(name.rpartition("_")[2] for name in names)]))
        self._line = _after(WHOLE_LINE, r"[^\r\n]+")
        self._named = _after([name for name in names if name not in WHOLE_LINE], r"\S+")
        self._redact = redact
        self._known: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Tell whether the value of a field called *name* is secret."""
        known = self._known.get(name)
        return self._find(name) if known is None else known

    def clean(self, text: str) -> str:
        """Return *text* without secrets."""
        text = self._redact(text)
        lower = text.lower()
        for hint in self._hints:
            if hint in lower:
                return self._mask(text)
        return text

    def _mask(self, text: str) -> str:
        text = self._line.sub(_masked, text)
        text = self._named.sub(_masked, text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _BASIC.sub(rf"\1 {MASK}", text)
        return _JSON_WEB_TOKEN.sub(MASK, text)

    def _find(self, name: str) -> bool:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        words = words_of(name[-_LONGEST_NAME:])
        secret = words in self._exact or words.endswith(self._endings)
        if len(name) <= _LONGEST_NAME:
            self._known[name] = secret
        return secret


def _after(names: Iterable[str], unquoted: str) -> re.Pattern[str]:
    """Return the pattern of a value after one of *names*, as in ``name=value``, ``"name": "value"`` and pairs."""
    spelled = "|".join(name.replace("_", "[-_ ]?") + "s?" * (name != "token") for name in names)
    between = r"""\\*["']?\s*(?:=>|[:=]|,(?=\s*b?\\*["']))\s*b?"""
    return re.compile(rf"((?:{spelled}){between})(?:{_QUOTED}|{unquoted})", re.IGNORECASE)


def _masked(match: re.Match[str]) -> str:
    value = match[0][match.end(1) - match.start() :]
    opening = re.match(r"\\*[\"']", value)
    quote = opening[0] if opening else ""
    return f"{match[1]}{quote}{MASK}{quote}"
