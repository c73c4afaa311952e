"""Preconditions of a request for a file (RFC 9110, section 13)."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate

TAG = re.compile(r'(?:W/)?"[^"\x00-\x20\x7f]*"')
NOT_MODIFIED = 304
PRECONDITION_FAILED = 412
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a representation: its entity tag and the second of its last change."""

    etag: str
    modified: int

    @property
    def is_strong(self) -> bool:
        """Whether equal tags mean equal bytes."""
        return not self.etag.startswith("W/")

    @property
    def last_modified(self) -> str:
        """The value of Last-Modified."""
        return formatdate(self.modified, usegmt=True)


def failed_precondition(fields: Fields, validators: Validators | None) -> int:
    """Return the status, 304 or 412, of a GET or HEAD whose preconditions are false, or 0 when all are true.

    *fields* are the request headers in lower case; *validators* is None for a file without any. The order is that of
    RFC 9110, section 13.2.2.
    """
    tags, date = fields.get("if-match"), _parse_date(fields.get("if-unmodified-since", ""))
    if tags is not None:
        if not _matches(tags, validators, weak=False):
            return PRECONDITION_FAILED
    elif date is not None and validators is not None and validators.modified > date:
        return PRECONDITION_FAILED
    tags, date = fields.get("if-none-match"), _parse_date(fields.get("if-modified-since", ""))
    if tags is not None:
        return NOT_MODIFIED if _matches(tags, validators, weak=True) else 0
    return NOT_MODIFIED if date is not None and validators is not None and validators.modified <= date else 0


def allows_range(fields: Fields, validators: Validators | None) -> bool:
    """Return whether ``If-Range`` is absent or true: only a strong validator that is equal is (section 13.1.5)."""
    condition = fields.get("if-range")
    if condition is None:
        return True
    if validators is None or not validators.is_strong:
        return False
    condition = condition.strip()
    return condition == validators.etag or _parse_date(condition) == validators.modified


def _matches(tags: str, validators: Validators | None, *, weak: bool) -> bool:
    if tags.strip() == "*":
        return True
    if validators is None or not (weak or validators.is_strong):
        return False
    found = TAG.findall(tags)
    return validators.etag.removeprefix("W/") in ([tag.removeprefix("W/") for tag in found] if weak else found)


def _parse_date(text: str) -> int | None:
    """Return *text*, a date in one of the three formats of HTTP, in seconds of Unix time, or None."""
    try:
        parsed = parsedate(text)
        return None if parsed is None else timegm(parsed)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
