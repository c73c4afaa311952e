"""Parse URLs by RFC 3986, and reject ambiguous ones.

``urllib.parse`` ends the authority at the first ``/``, ``?`` or ``#``, even inside a password; other parsers end the
userinfo at the last ``@``. URLs that parsers may interpret differently are rejected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

FILES = ("sqlite", "unix")
"""Schemes whose URLs name a file."""
SEVERAL_HOSTS = "redis"
"""Prefix of the schemes whose URLs may name several hosts, separated by commas."""
ENCODE = "percent-encode / ? # [ ] @ \\ in a user or password as %2F %3F %23 %5B %5D %40 %5C"
"""The remedy for ambiguous URLs (RFC 3986, section 3.2.1)."""

_PARTS = re.compile(r"([a-z][a-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[^\[\]]+)?)\]|(?P<host>[^:\[\]@]*))(?::(?P<port>\d*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class UrlParts:
    """The parts of a URL; *user* and *password* are percent-decoded, *password_text* is not."""

    scheme: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_text: str = field(default="", repr=False)
    hosts: tuple[tuple[str, int | None], ...] = ()
    path: str = ""
    query: str = field(default="", repr=False)
    fragment: str = ""

    @property
    def host(self) -> str:
        """The first host, in lower case and without brackets."""
        return self.hosts[0][0].lower() if self.hosts else ""

    @property
    def port(self) -> int | None:
        """The port of the first host, or None when the URL has none."""
        return self.hosts[0][1] if self.hosts else None


def split_url(text: str) -> UrlParts:
    """Return the parts of the URL *text*; raises ValueError, without its text, when it is invalid or ambiguous."""
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError("the URL has no scheme, such as http://")
    scheme, authority, path, query, fragment = found.groups("")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("the URL contains a space; write it as %20")
    userinfo, at, hosts = authority.rpartition("@")
    after = text[len(scheme) + 3 + len(authority) :] if found[2] is not None else path
    if re.search(r"[\[\]@\\]", userinfo) or ("@" in after and (authority or scheme not in FILES)):
        raise ValueError(f"the URL is ambiguous; {ENCODE}, and an @ after the host as %40")
    if not userinfo.isascii():  # parsers decode such characters differently
        raise ValueError("user and password of a URL must be ASCII; percent-encode other characters, é as %C3%A9")
    user, colon, password = userinfo.partition(":")
    return UrlParts(
        scheme,
        unquote(user) if at and user else None,
        unquote(password) if colon else None,
        password,
        tuple(map(_parse_host, hosts.split(",") if scheme.startswith(SEVERAL_HOSTS) else [hosts])) if hosts else (),
        path,
        query,
        fragment,
    )


def _parse_host(text: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(text)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        raise ValueError(
            f"host or port of the URL is not valid; write a port of 1 to 65535, an IPv6 address as [::1], or {ENCODE}"
        )
    return found["v6"] or found["host"], int(found["port"]) if found["port"] else None
