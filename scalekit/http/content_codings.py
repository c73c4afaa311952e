"""Choose the content coding of a response by Accept-Encoding (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

WEIGHT = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
ALIASES = {"x-gzip": "gzip"}


def choose_coding(accept_encoding: str, codings: Sequence[str]) -> str:
    """Return the one of *codings* with the highest weight in *accept_encoding*, or an empty text when none is accepted.

    Of equal weights the first of *codings* wins. Identity is preferred only where its weight is higher.
    """
    weights = _weights(accept_encoding)
    others = weights.get("*", 0.0)
    best, found = weights.get("identity", 0.0), ""
    for coding in codings:
        weight = weights.get(coding, others)
        if weight > best or (weight == best and weight and not found):
            best, found = weight, coding
    return found


def _weights(accept_encoding: str) -> dict[str, float]:
    """Return the weight of each coding; one that is malformed has none."""
    weights: dict[str, float] = {}
    for item in accept_encoding.split(","):
        name, _, parameter = item.partition(";")
        name = name.strip().lower()
        weight = WEIGHT.fullmatch(parameter.strip()) if parameter.strip() else None
        if parameter.strip() and weight is None:
            continue
        weights[ALIASES.get(name, name)] = float(weight[1]) if weight else 1.0
    weights.pop("", None)
    return weights
