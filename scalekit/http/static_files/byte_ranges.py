"""The ranges of a file that a request asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_RANGES = 100
"""Ranges of a request; with more of them it gets the whole file."""
MAX_DIGITS = 18
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")


def parse_ranges(value: str, size: int) -> list[range] | None:
    """Return the bytes that *value*, the header Range, selects of *size* bytes: one range for each part to send.

    The list is empty when none of them is satisfiable. Return None when the header is to be ignored: because it is
    malformed, has another unit or too many ranges, or since the file is empty. Ranges that overlap or touch are one.
    """
    unit, _, items = value.partition("=")
    ranges = [item for item in map(_strip, items.split(",")) if item]
    if unit.strip().lower() != "bytes" or not 0 < len(ranges) <= MAX_RANGES or not size:
        return None
    found: list[range] = []
    for item in ranges:
        limits = _parse(item, size)
        if limits is None:
            return None
        if limits:
            found.append(limits)
    return _coalesce(found)


def _strip(item: str) -> str:
    return item.strip(" \t")


def _parse(item: str, size: int) -> range | None:
    """Return the bytes of one range, none when it is not satisfiable, or None when it is malformed."""
    match = _RANGE.fullmatch(item)
    if match is None or item == "-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - _number(last), 0), size)
    start = _number(first)
    if last and _number(last) < start:
        return None
    return range(start, min(_number(last) + 1, size) if last else size)


def _number(digits: str) -> int:
    """Return the number, or one above the size of any file: Python does not convert thousands of digits."""
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def _coalesce(ranges: Iterable[range]) -> list[range]:
    """Return *ranges* without overlaps, in the order in which the request has them (RFC 9110, section 15.3.7.2)."""
    merged: list[tuple[int, range]] = []
    for position, each in sorted(enumerate(ranges), key=lambda item: item[1].start):
        if merged and each.start <= merged[-1][1].stop:
            first, last = merged[-1]
            merged[-1] = (min(first, position), range(last.start, max(last.stop, each.stop)))
        else:
            merged.append((position, each))
    return [each for _, each in sorted(merged, key=lambda item: item[0])]
