"""Conditional requests and ranges, answered from what is kept (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scalekit_cache.dates import parse_date

_TAG = re.compile(rb'(?:W/)?"[^"]*"|[^\s,]+')
_RANGE = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)

Fields = Mapping[bytes, bytes]


def not_modified(asked: Fields, etag: bytes | None, modified: bytes | None, date: bytes | None, now: float) -> bool:
    """Tell whether a client that *asked* with conditions has what is kept already; tags go before dates."""
    tags = asked.get(b"if-none-match")
    if tags is not None:
        return tags.strip() == b"*" or (etag is not None and _weak(etag) in map(_weak, _TAG.findall(tags)))
    since = asked.get(b"if-modified-since")
    if since is None:
        return False
    until = parse_date(since, now)
    # What has no date of change is taken to have changed when it was made (RFC 9111, section 4.3.2).
    changed = parse_date(modified or date or b"", now)
    return until is not None and changed is not None and changed <= until


def _weak(tag: bytes) -> bytes:
    return tag.strip().removeprefix(b"W/")


def if_range_holds(asked: Fields, etag: bytes | None, modified: bytes | None) -> bool:
    """Tell whether a range may be given to a client that *asked* for it on condition; only strong tags count."""
    condition = asked.get(b"if-range")
    if condition is None:
        return True
    condition = condition.strip()
    if condition.startswith((b'"', b"W/")):
        return condition == etag and not condition.startswith(b"W/")
    return modified is not None and condition == modified


def one_range(value: bytes, length: int) -> tuple[int, int] | None:
    """Return where the one range that *value* names begins and ends; an end at 0 is out of reach.

    None is for what is no range, or several: the whole is the answer to those.
    """
    match = _RANGE.fullmatch(value.strip())
    if match is None or match.group(0) == b"bytes=-":
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        start = max(0, length - int(last))
        return (start, length) if int(last) and length else (0, 0)
    start, end = int(first), min(int(last) + 1, length) if last else length
    if last and int(last) < start:
        return None
    return (start, end) if start < length else (0, 0)
