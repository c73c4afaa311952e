"""URLs of servers, which may contain a password, validated without a connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from scalekit.config.password_mask import KEYS, MASK, mask_url, mask_values
from scalekit.config.types import TextValue
from scalekit.config.url_syntax import UrlParts, split_url

MEMORY = ":memory:"

_USER = re.compile(r"(https?://)[^/?#@]+@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Url(TextValue):
    """A URL that may contain a password; ``str`` masks the password, :meth:`reveal` does not.

    A subclass names the *SCHEMES* that it supports, and an *EXAMPLE* for error messages.
    """

    JSON_SCHEMA = {"type": "string"}
    SCHEMES: ClassVar[tuple[str, ...]] = ()
    EXAMPLE: ClassVar[str] = "redis://127.0.0.1:6379"
    __slots__ = ("_text", "parts")

    def __init__(self, text: str) -> None:
        """Parse *text*; raises ValueError, without the password, when it is not a valid URL."""
        if not isinstance(text, str):
            raise ValueError(f"expected a URL in quotes, such as {self.EXAMPLE}, got {type(text).__name__}")
        if (found := _SCHEME.match(text)) is not None:
            text = found[0].lower() + text[found.end() :]
        else:
            raise ValueError(f"expected a URL with a scheme, such as {self.EXAMPLE}, got {mask_url(text)!r}")
        self._text = text
        try:
            self.parts: UrlParts = split_url(text)
            self._check()
        except ValueError as error:
            raise ValueError(f"{error}, got {mask_url(text)!r}") from None

    @property
    def scheme(self) -> str:
        """The part before the first colon, such as ``redis``."""
        return self.parts.scheme

    @property
    def file(self) -> str:
        """The file of an ``sqlite:`` URL; empty for a database in memory."""
        path = unquote(self.parts.path).removeprefix("/")
        return "" if path == MEMORY else path

    def reveal(self) -> str:
        """Return the URL with its password; pass it to client libraries only."""
        return self._text

    def _check(self) -> None:
        if self.SCHEMES and self.scheme not in self.SCHEMES:
            schemes = ", ".join(self.SCHEMES)
            raise ValueError(f"the scheme {self.scheme!r} is none of {schemes}; write {self.EXAMPLE}")
        if self.scheme == "sqlite":
            _check_file(self.file, self.parts)
        elif self.SCHEMES and not self.parts.host:
            raise ValueError(f"the URL has no host; write {self.EXAMPLE}")

    def __str__(self) -> str:
        """Return the URL with its password and secret parameters masked."""
        password = self.parts.password_text
        if not password:
            return mask_values(_mask_key(self._text))
        before, _, after = self._text.partition(f":{password}@")
        return f"{before}:{MASK}@{mask_values(after)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class HttpUrl(Url):
    """The URL of an HTTP service."""

    SCHEMES = ("http", "https")
    EXAMPLE = "http://127.0.0.1:8001"
    __slots__ = ()


def _mask_key(url: str) -> str:
    """Return *url* with the user masked when it may be a key: the user of an HTTP URL without a password."""
    if url.startswith(KEYS) and (found := _USER.match(url)):
        return f"{found[1]}{MASK}@{url[found.end() :]}"
    return url


def _check_file(file: str, parts: UrlParts) -> None:
    if parts.hosts or parts.user or parts.password:
        shown = parts.host
        raise ValueError(f"a file has no host; write sqlite:///{shown}{file and '/'}{file}, with three slashes")
    folder = Path(file).parent
    if file and not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; create it, or write sqlite:////path/from/the/root.db")
