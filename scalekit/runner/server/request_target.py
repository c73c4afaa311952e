"""Parse the request target and validate the host of a request (RFC 9112, section 3.2)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from scalekit.runner.server.error_response import RequestRejected

SLASH = 0x2F
# A registered name (RFC 3986, section 3.2.2) without comma, which joins fields, or an IPv6 address; then the port.
_HOST = re.compile(rb"(?:(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})++|\[([0-9A-Fa-f:.]++)\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*+)(.*+)", re.IGNORECASE)


class RequestTarget(NamedTuple):
    """A request target in origin form, and the host of its absolute form, or None."""

    origin: bytes
    host: bytes | None


def parse_target(target: bytes, method: bytes) -> RequestTarget:
    """Parse *target*; raises RequestRejected when it is invalid, or its form is not allowed for *method*."""
    if b"#" not in target:
        if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
            return RequestTarget(target, None)
        if found := _ABSOLUTE.fullmatch(target):
            host, rest = found.groups()
            check_host(host)
            return RequestTarget(rest if rest[:1] == b"/" else b"/" + rest, host)
    raise RequestRejected(400, "the request target is not valid")


def check_host(host: bytes) -> None:
    """Raise RequestRejected unless *host* is a valid host with an optional port; an empty host is invalid."""
    found = _HOST.fullmatch(host)
    if found is None or not (found[1] is None or _is_address(found[1])):
        raise RequestRejected(400, "the host of the request is not valid")


def _is_address(text: bytes) -> bool:
    try:
        return ip_address(text.decode("ascii")).version == 6
    except ValueError:
        return False
