"""Validate and truncate the header ``tracestate`` of W3C Trace Context."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_MEMBERS = 32
MAX_LENGTH = 512
"""Characters that are propagated, commas included."""
LONG_MEMBER = 128
"""Members above this length are removed first when the list is too long."""
MAX_INPUT_LENGTH = MAX_MEMBERS * 520
"""Bytes above which no list is valid, apart from whitespace."""

# Level 2, section 3.3.1.3.1: an at sign is allowed anywhere but first.
_KEY = rb"[a-z0-9][a-z0-9_*/@-]{0,255}"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rb"(" + _KEY + rb")=" + _VALUE)


def parse_tracestate(state: bytes | None) -> str:
    """Return the list to propagate of *state*, the values of all headers; empty when *state* is not valid.

    Of several members with one key only the first, which is the newest, is propagated.
    """
    if state is None or len(state) > MAX_INPUT_LENGTH:
        return ""
    members: dict[bytes, bytes] = {}
    for part in state.split(b","):
        member = part.strip(b" \t")
        if not member:
            continue
        found = _MEMBER.fullmatch(member)
        if found is None or len(members) == MAX_MEMBERS:
            return ""
        members.setdefault(found[1], member)
    return b",".join(_truncate(members.values())).decode("ascii")


def _truncate(members: Iterable[bytes]) -> list[bytes]:
    """Return *members* without the long ones, then without the last ones, until they fit."""
    members = list(members)
    if _size(members) > MAX_LENGTH:
        members = [member for member in members if len(member) <= LONG_MEMBER]
    while _size(members) > MAX_LENGTH:
        members.pop()
    return members


def _size(members: list[bytes]) -> int:
    return sum(map(len, members)) + max(0, len(members) - 1)
