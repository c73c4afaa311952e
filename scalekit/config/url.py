"""Addresses that may hold a password, checked as far as one can be without a connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from scalekit.config.mask import KEYS, MASK, mask_address, mask_values
from scalekit.config.types import Spelled
from scalekit.config.url_syntax import UrlParts, split_url

MEMORY = ":memory:"

_USER = re.compile(r"(https?://)[^/?#@]+@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Url(Spelled):
    """An address that may hold a password; ``str`` masks it, :meth:`reveal` gives it whole.

    A subclass names the *SCHEMES* that it takes, and an *EXAMPLE* for the error message.
    """

    JSON_SCHEMA = {"type": "string"}
    SCHEMES: ClassVar[tuple[str, ...]] = ()
    EXAMPLE: ClassVar[str] = "redis://127.0.0.1:6379"
    __slots__ = ("_text", "parts")

    def __init__(self, text: str) -> None:
        """Read *text*; raises ValueError, which shows no password, when nothing could be reached there."""
        if not isinstance(text, str):
            raise ValueError(f"expected an address in quotes, such as {self.EXAMPLE}, got {type(text).__name__}")
        if (found := _SCHEME.match(text)) is not None:
            text = found[0].lower() + text[found.end() :]
        else:
            raise ValueError(f"expected an address with a scheme, such as {self.EXAMPLE}, got {mask_address(text)!r}")
        self._text = text
        try:
            self.parts: UrlParts = split_url(text)
            self._check()
        except ValueError as error:
            raise ValueError(f"{error}, got {mask_address(text)!r}") from None

    @property
    def scheme(self) -> str:
        """The part before the first colon, such as ``redis``."""
        return self.parts.scheme

    @property
    def file(self) -> str:
        """The file that an address of SQLite names; empty is a database in memory."""
        path = unquote(self.parts.path).removeprefix("/")
        return "" if path == MEMORY else path

    def reveal(self) -> str:
        """Return the address with its password, for the client library only."""
        return self._text

    def _check(self) -> None:
        if self.SCHEMES and self.scheme not in self.SCHEMES:
            known = ", ".join(self.SCHEMES)
            raise ValueError(f"the scheme {self.scheme!r} is none of {known}; write {self.EXAMPLE}")
        if self.scheme == "sqlite":
            _check_file(self.file, self.parts)
        elif self.SCHEMES and not self.parts.host:
            raise ValueError(f"the address names no host; write {self.EXAMPLE}")

    def __str__(self) -> str:
        """Return the address with its password masked."""
        password = self.parts.password_text
        if not password:
            return mask_values(_without_key(self._text))
        before, _, behind = self._text.partition(f":{password}@")
        return f"{before}:{MASK}@{mask_values(behind)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class HttpUrl(Url):
    """The address of a service that speaks HTTP."""

    SCHEMES = ("http", "https")
    EXAMPLE = "http://127.0.0.1:8001"
    __slots__ = ()


def _without_key(address: str) -> str:
    """Return *address* without a user who may be a key: one of HTTP without a password."""
    if address.startswith(KEYS) and (found := _USER.match(address)):
        return f"{found[1]}{MASK}@{address[found.end() :]}"
    return address


def _check_file(file: str, parts: UrlParts) -> None:
    if parts.places or parts.user or parts.password:
        shown = parts.host
        raise ValueError(f"a file has no host; write sqlite:///{shown}{file and '/'}{file}, with three slashes")
    folder = Path(file).parent
    if file and not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; make it, or write sqlite:////path/from/the/root.db")
