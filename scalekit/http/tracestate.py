"""The header ``tracestate`` of W3C Trace Context: what its list may hold, and what of it is passed on."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_MEMBERS = 32
MAX_LENGTH = 512
"""Characters that are passed on, commas included."""
LONG_MEMBER = 128
"""Members that are longer than this go first where the whole is too long."""
MAX_INPUT_LENGTH = MAX_MEMBERS * 520
"""Bytes beyond which no list can be valid, blanks aside."""

# Level 2, section 3.3.1.3.1: an at sign may stand anywhere but in front.
_KEY = rb"[a-z0-9][a-z0-9_*/@-]{0,255}"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rb"(" + _KEY + rb")=" + _VALUE)


def parse_tracestate(state: bytes | None) -> str:
    """Return what to pass on of *state*, the values of all headers as one list; nothing of a list that is not valid.

    Of members with one key the first, which is the newest, is passed on.
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
    """Return *members* that fit together; whole ones are left out, the large first, then those at the end."""
    members = list(members)
    if _size(members) > MAX_LENGTH:
        members = [member for member in members if len(member) <= LONG_MEMBER]
    while _size(members) > MAX_LENGTH:
        members.pop()
    return members


def _size(members: list[bytes]) -> int:
    return sum(map(len, members)) + max(0, len(members) - 1)
