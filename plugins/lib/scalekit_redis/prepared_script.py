"""A script that is run again and again with the same arguments: only its key is packed each time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from scalekit_redis.commands import Word, eval_command
from scalekit_redis.script import Script


class PreparedScript(Protocol):
    """A script for one key and always the same arguments.

    Runs of one script that are begun in one turn of the loop go to one server as one command, so the script may use
    nothing but its key, its arguments and the time. Each has the reply that it would have alone, and sees what those
    before it have done. Other commands for the same key that are sent in that turn may run before or after any of them.
    On a cluster each goes by itself, as one command must not have keys of two slots.
    """

    def begin(self, key: str) -> asyncio.Future[Any]:
        """Run it for *key*; return the future of its reply. Its source goes only to a server that does not know it."""
        ...


class PackedScript:
    """A script with its arguments, as bytes. Runs in forms of the same ``group`` can be one command."""

    __slots__ = ("_args", "_arguments", "_for_each_key", "_head", "_pack", "_script", "group")

    def __init__(self, script: Script, args: Sequence[Word]) -> None:
        from scalekit_redis.pending import pack  # needs the client library, as nothing does before a server is opened

        self._pack = pack
        self._script = script
        self._for_each_key = script.for_each_key
        self.group = f"{self._for_each_key.digest} {len(args)}"
        self._args = tuple(args)
        self._arguments = self._packed_words(args)
        self._head = self._head_of(False)

    def pack(self, key: bytes, by_source: bool = False) -> bytes:
        """Return the command that runs it for *key*, in a seventh of the time of packing all words."""
        head = self._head_of(True) if by_source else self._head
        return b"%b$%d\r\n%b\r\n%b" % (head, len(key), key, self._arguments)

    def pack_many(self, keys: Sequence[bytes], forms: Sequence[PackedScript] | None, by_source: bool) -> bytes:
        """Return the command that runs it for each of *keys*, or for each that one of *forms* which has its place."""
        args = self._args if forms is None else [arg for form in forms for arg in form._args]
        return self._pack(eval_command(self._for_each_key, by_source, keys, (len(self._args), *args)))

    def _head_of(self, by_source: bool) -> bytes:
        """Return the command for one key, up to that."""
        words = (*eval_command(self._script, by_source, (), ())[:2], 1)
        return b"*%d\r\n" % (4 + len(self._args)) + self._packed_words(words)

    def _packed_words(self, words: Sequence[Word]) -> bytes:
        """Return *words* as a command has them, without their number."""
        return self._pack(tuple(words)).partition(b"\r\n")[2] if words else b""
