"""Addresses that may hold a password, checked as far as one can be without a connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from scalekit.config.types import MASK, Spelled, mask_passwords

FILES = ("sqlite",)
"""Schemes whose addresses name a file."""
SEVERAL_HOSTS = "redis"
"""What schemes begin with whose addresses may name several hosts, with commas between them."""
MEMORY = ":memory:"

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)")
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[^\[\]]+)?\]|[^:\[\]@]*)(?::(?P<port>\d*))?", re.ASCII)


class Url(Spelled):
    """An address that may hold a password; ``str`` masks it, :meth:`reveal` gives it whole.

    A subclass names the *SCHEMES* that it takes, and an *EXAMPLE* for whoever writes another.
    """

    JSON_SCHEMA = {"type": "string"}
    SCHEMES: ClassVar[tuple[str, ...]] = ()
    EXAMPLE: ClassVar[str] = "redis://127.0.0.1:6379"
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Read *text*; raises ValueError, which shows no password, when nothing could be reached there."""
        if not isinstance(text, str) or not _SCHEME.match(text):
            raise ValueError(f"expected an address with a scheme, such as {self.EXAMPLE}, got {_shown(text)}")
        self._text = text
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"{error}, got {_shown(text)}") from None

    @property
    def scheme(self) -> str:
        """The part before the first colon, such as ``redis``."""
        return self._text.partition(":")[0]

    @property
    def password(self) -> str:
        """The password in the address, empty when there is none."""
        return urlsplit(self._text).password or ""

    @property
    def file(self) -> str:
        """The file that an address of SQLite names; empty is a database in memory."""
        path = unquote(urlsplit(self._text).path).removeprefix("/")
        return "" if path == MEMORY else path

    def reveal(self) -> str:
        """Return the address with its password, for the client library only."""
        return self._text

    def _check(self) -> None:
        if self.SCHEMES and self.scheme not in self.SCHEMES:
            known = ", ".join(self.SCHEMES)
            raise ValueError(f"the scheme {self.scheme!r} is none of {known}; write {self.EXAMPLE}")
        if re.search(r"\s", self._text):
            raise ValueError("the address has a space in it; write %20 where one is meant")
        found = _AUTHORITY.match(self._text)
        places = found[1].rpartition("@")[2] if found else ""
        for place in places.split(",") if self.scheme.startswith(SEVERAL_HOSTS) else [places]:
            _check_place(place)
        if self.scheme in FILES:
            _check_file(self.file, places)
        elif self.SCHEMES and not places.partition(":")[0]:
            raise ValueError(f"the address names no host; write {self.EXAMPLE}")

    def __str__(self) -> str:
        """Return the address with its password masked."""
        return mask_passwords(self._text)

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


def _check_place(place: str) -> None:
    found = _PLACE.fullmatch(place)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        raise ValueError(
            "the address has no host and port that exist; write a port of 1 to 65535, an IPv6 address as [::1], and a"
            " sign such as / in a password as %2F"
        )


def _check_file(file: str, places: str) -> None:
    if places:
        raise ValueError(f"a file has no host; write sqlite:///{places}{file and '/'}{file}, with three slashes")
    folder = Path(file).parent
    if file and not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; make it, or write sqlite:////path/from/the/root.db")


def _shown(text: object) -> str:
    """Return *text* without whatever may be a password, however badly it is written."""
    if not isinstance(text, str):
        return repr(text)
    before, at, place = text.rpartition("@")
    scheme = re.match(r"[a-z][a-z0-9+.-]*:/*", before)
    return repr(f"{scheme[0] if scheme else ''}{MASK}@{place}" if at else text)
