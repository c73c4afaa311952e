"""Redact secrets: the values of fields with a secret name, and secrets within texts.

A field is secret when its name ends with a secret name, such as ``db_password`` and ``X-Api-Key``. In a text, the value
after a secret name and everything with the form of a token are secret. Plurals of secret names count too, except
``tokens``, which usually is a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from scalekit.config.password_mask import MASK

WHOLE_LINE_NAMES = ("authorization", "cookie")
"""Names whose values extend to the end of the line, blanks included."""
SECRET_NAMES = (
    *WHOLE_LINE_NAMES,
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

_MAX_CACHED_NAMES = 10_000
_MAX_NAME_LENGTH = 256
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NON_WORD = re.compile(r"[^a-z0-9]+")
_BEARER = re.compile(r"\b(bearer)[ \t]+[^\s\"'\\,;)}\]]+", re.IGNORECASE)
_BASIC = re.compile(r"\b((?i:basic))[ \t]+(?=[a-z+/]*[A-Z0-9])[A-Za-z0-9+/]{6,}={0,2}")
_JSON_WEB_TOKEN = re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*")
_QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?P<quote>\\+["']).*?(?P=quote)|["'\\][^\r\n]*"""


def normalize(name: str) -> str:
    """Return *name* in snake case: ``X-Api-Key`` and ``xApiKey`` as ``x_api_key``."""
    return _NON_WORD.sub("_", _CAPITAL.sub("_", name).lower()).strip("_")


class Redactor:
    """Masks secrets; *more_names* are secret names too, and *redact_configured* masks the secrets of the file."""

    def __init__(self, more_names: Iterable[str] = (), redact_configured: Callable[[str], str] = str) -> None:
        names = list(dict.fromkeys([*SECRET_NAMES, *filter(None, map(normalize, more_names))]))
        self._exact = frozenset(names + [f"{name}s" for name in names if name != "token"])
        self._endings = tuple(f"_{name}" for name in self._exact)
        self._hints = tuple(dict.fromkeys(["bearer", "basic", "eyj", *(name.rpartition("_")[2] for name in names)]))
        self._line = _value_pattern(WHOLE_LINE_NAMES, r"[^\r\n]+")
        self._named = _value_pattern([name for name in names if name not in WHOLE_LINE_NAMES], r"\S+")
        self._redact_configured = redact_configured
        self._cache: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Return whether the value of the field *name* is secret."""
        cached = self._cache.get(name)
        return self._match_name(name) if cached is None else cached

    def redact(self, text: str) -> str:
        """Return *text* with its secrets masked."""
        text = self._redact_configured(text)
        lower = text.lower()
        for hint in self._hints:
            if hint in lower:
                return self._mask(text)
        return text

    def _mask(self, text: str) -> str:
        text = self._line.sub(_mask_value, text)
        text = self._named.sub(_mask_value, text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _BASIC.sub(rf"\1 {MASK}", text)
        return _JSON_WEB_TOKEN.sub(MASK, text)

    def _match_name(self, name: str) -> bool:
        if len(self._cache) >= _MAX_CACHED_NAMES:
            self._cache.clear()
        words = normalize(name[-_MAX_NAME_LENGTH:])
        secret = words in self._exact or words.endswith(self._endings)
        if len(name) <= _MAX_NAME_LENGTH:
            self._cache[name] = secret
        return secret


def _value_pattern(names: Iterable[str], unquoted: str) -> re.Pattern[str]:
    """Return the pattern of a value after one of *names*, as in ``name=value``, ``"name": "value"`` and pairs."""
    spellings = "|".join(name.replace("_", "[-_ ]?") + "s?" * (name != "token") for name in names)
    separator = r"""\\*["']?\s*(?:=>|[:=]|,(?=\s*b?\\*["']))\s*b?"""
    return re.compile(rf"((?:{spellings}){separator})(?:{_QUOTED}|{unquoted})", re.IGNORECASE)


def _mask_value(match: re.Match[str]) -> str:
    value = match[0][match.end(1) - match.start() :]
    opening = re.match(r"\\*[\"']", value)
    quote = opening[0] if opening else ""
    return f"{match[1]}{quote}{MASK}{quote}"
