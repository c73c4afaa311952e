"""Mask known secrets in texts, in time that depends on the text and not on the number of secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from scalekit.config.password_mask import MASK

FEW = 32
"""Secrets up to which each is searched, which is faster than to look up every part of a text."""
PREFIX_LENGTHS = (8, 3, 1)
"""Lengths of prefixes that are looked up: of each secret the longest that it has."""

Span = tuple[int, int]


class SecretMatcher:
    """Masks *secrets*, texts that are not empty."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = frozenset(secrets)
        # By the length of prefixes and by prefix: the lengths of secrets, the longest first.
        self._lengths: dict[int, Mapping[str, list[int]]] = {}
        for size in PREFIX_LENGTHS:
            if found := {secret for secret in self._secrets if _prefix_length(secret) == size}:
                self._lengths[size] = _lengths_by_prefix(found, size)

    def mask(self, text: str) -> str:
        """Return *text* with its secrets, of which some may overlap, replaced by ``***``."""
        if len(self._secrets) <= FEW:
            found = [secret for secret in self._secrets if secret in text]
            spans = list(_search(text, found)) if found else []
        else:
            spans = list(self._look_up(text))
        return "".join(_masked(text, spans)) if spans else text

    def _look_up(self, text: str) -> Iterator[Span]:
        for size, lengths in self._lengths.items():
            places = [place for place in range(len(text) - size + 1) if text[place : place + size] in lengths]
            for begin in places:
                ends = (begin + length for length in lengths[text[begin : begin + size]])
                end = next((end for end in ends if text[begin:end] in self._secrets), 0)
                if end:
                    yield begin, end


def _prefix_length(secret: str) -> int:
    return next(size for size in PREFIX_LENGTHS if size <= len(secret))


def _lengths_by_prefix(secrets: Iterable[str], size: int) -> Mapping[str, list[int]]:
    found: dict[str, set[int]] = {}
    for secret in secrets:
        found.setdefault(secret[:size], set()).add(len(secret))
    return {prefix: sorted(lengths, reverse=True) for prefix, lengths in found.items()}


def _search(text: str, secrets: Iterable[str]) -> Iterator[Span]:
    for secret in secrets:
        begin = text.find(secret)
        while begin >= 0:
            yield begin, begin + len(secret)
            begin = text.find(secret, begin + 1)


def _masked(text: str, spans: list[Span]) -> Iterator[str]:
    """Yield the pieces of *text*; overlapping *spans* are masked as one."""
    done = 0
    for begin, end in sorted(spans):
        if begin >= done:
            yield text[done:begin]
            yield MASK
        done = max(done, end)
    yield text[done:]
