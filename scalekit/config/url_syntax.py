"""The one parser of addresses: RFC 3986, strict where a password could be taken for something else.

``urllib.parse`` takes the first ``/``, ``?`` or ``#`` of a password for the end of the authority, some parsers the
last ``@``; so an address that two parsers may read in two ways is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

FILES = ("sqlite", "unix")
"""Schemes whose addresses name a file."""
SEVERAL_HOSTS = "redis"
"""What schemes begin with whose addresses may name several hosts, with commas between them."""
ENCODE = "percent-encode / ? # [ ] @ \\ in a user or password as %2F %3F %23 %5B %5D %40 %5C"
"""The remedy, RFC 3986 3.2.1."""

_PARTS = re.compile(r"([a-z][a-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_PLACE = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[^\[\]]+)?)\]|(?P<host>[^:\[\]@]*))(?::(?P<port>\d*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UrlParts:
    """An address taken apart; *user* and *password* are decoded, *password_text* is as it was written."""

    scheme: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_text: str = field(default="", repr=False)
    places: tuple[tuple[str, int | None], ...] = ()
    path: str = ""
    query: str = field(default="", repr=False)
    fragment: str = ""

    @property
    def host(self) -> str:
        """The first host, in lower case and without brackets."""
        return self.places[0][0].lower() if self.places else ""

    @property
    def port(self) -> int | None:
        """The port of the first host, None when the address names none."""
        return self.places[0][1] if self.places else None


def split_url(text: str) -> UrlParts:
    """Return the parts of the address *text*; raises ValueError, which shows nothing of it, when it is ambiguous."""
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError("the address has no scheme, such as http://")
    scheme, authority, path, query, fragment = found.groups("")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("the address has a space in it; write %20 where one is meant")
    userinfo, at, places = authority.rpartition("@")
    behind = text[len(scheme) + 3 + len(authority) :] if found[2] is not None else path
    if re.search(r"[\[\]@\\]", userinfo) or ("@" in behind and (authority or scheme not in FILES)):
        raise ValueError(f"the address can be read in two ways; {ENCODE}, and an @ behind the host as %40")
    if not userinfo.isascii():  # parsers differ on what such signs stand for
        raise ValueError("user and password of an address are ASCII; percent-encode other signs, such as é as %C3%A9")
    user, colon, password = userinfo.partition(":")
    return UrlParts(
        scheme,
        unquote(user) if at and user else None,
        unquote(password) if colon else None,
        password,
        tuple(map(_place, places.split(",") if scheme.startswith(SEVERAL_HOSTS) else [places])) if places else (),
        path,
        query,
        fragment,
    )


def _place(text: str) -> tuple[str, int | None]:
    found = _PLACE.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        raise ValueError(
            "the address has no host and port that exist; write a port of 1 to 65535, an IPv6 address as [::1], or"
            f" {ENCODE}"
        )
    return found["v6"] or found["host"], int(found["port"]) if found["port"] else None
