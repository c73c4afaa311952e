"""A script that is run again and again with the same arguments: only its key is packed each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol

from scalekit.redis.commands import Word, eval_words
from scalekit.redis.script import Script

Pack = Callable[[str], bytes]


class Carrier(Protocol):
    """Carries what is packed to the server that has *key*."""

    def send_packed(
        self, packed: bytes, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply."""
        ...


class PreparedScript:
    """*script* for one key and always the same *args*, which has *deadline* seconds."""

    __slots__ = ("_carrier", "_deadline", "_known", "_whole")

    def __init__(self, carrier: Carrier, script: Script, args: Sequence[Word], deadline: float) -> None:
        self._carrier = carrier
        self._deadline = deadline
        self._known = packing(script, False, args)
        self._whole = packing(script, True, args)

    def begin(self, key: str) -> asyncio.Future[Any]:
        """Send it at once; the reply is a ReplyError ``NOSCRIPT`` where the server does not know it."""
        now = monotonic()
        return self._carrier.send_packed(self._known(key), key, now, now + self._deadline, False, False)

    def teach(self, key: str) -> asyncio.Future[Any]:
        """Send it with its source, for a server that does not know it."""
        now = monotonic()
        return self._carrier.send_packed(self._whole(key), key, now, now + self._deadline, False, False)


def packing(script: Script, by_source: bool, args: Sequence[Word]) -> Pack:
    """Return what gives the bytes that run *script* for a key, in a seventh of the time of packing all words."""
    from scalekit.redis.calls import pack  # which needs the client library, as nothing does before a server is opened

    head, _, tail = pack(eval_words(script, by_source, ["\0key\0"], args)).partition(b"5\r\n\0key\0\r\n")

    def packed(key: str) -> bytes:
        word = key.encode()
        return b"%b%d\r\n%b\r\n%b" % (head, len(word), word, tail)

    return packed
