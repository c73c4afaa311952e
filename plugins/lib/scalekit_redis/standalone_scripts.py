"""Runs of scripts by one server: those of one turn of the loop go to it together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from scalekit_redis.errors import ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand
from scalekit_redis.prepared_script import PackedScript
from scalekit_redis.protocol import RedisProtocol
from scalekit_redis.standalone_pending import StandaloneCommand

FEWEST_RUNS, MOST_RUNS = 16, 64
"""Runs combined into one command: fewer are cheaper as separate commands, more would delay other clients."""
FOR_KEYS_TOGETHER = frozenset(("CROSSSLOT", "NOPERM"))
"""Codes of error replies that a command can get for several keys though none of them would get it alone."""


class StandaloneScript:
    """A script in a *form* that *node* runs, each time within *deadline* seconds."""

    __slots__ = ("_create_future", "_deadline", "_form", "_group", "_node")

    def __init__(self, node: Node, form: PackedScript, deadline: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._deadline = deadline
        self._form = form
        self._group = form.group
        self._node = node

    def begin(self, key: str) -> asyncio.Future[Any]:
        """Run it for *key*, together with the runs that are not written yet; return the future of its reply."""
        word, form, now = key.encode(), self._form, monotonic()
        at = now + self._deadline
        future: asyncio.Future[Any] = self._create_future()
        wire = self._node.wire
        first = None if wire is None else wire.runs.get(self._group)
        if first is not None:
            if first.unite(future, word, form, at):
                return future
            first.seal()
        call = ScriptRun(self._node, future, form, word, now, at)
        self._node.put(call)
        if wire is not None:
            wire.runs[self._group] = call
        return future


class ScriptRunGroup:
    """Runs that go together, the *first* among them: what has the same place in each list belongs together.

    ``forms`` is None while all have the form of the first. They are *separate* commands or one; ``taken`` are those
    separate ones whose reply is there. They are counted by *wire* until all are.
    """

    __slots__ = ("ends", "forms", "futures", "keys", "separate", "taken", "wire")

    def __init__(self, first: ScriptRun, wire: RedisProtocol | None) -> None:
        self.wire = wire
        self.futures = [first.future]
        self.keys = [first.key]
        self.ends = [first.at]
        self.forms: list[PackedScript] | None = None
        self.separate = False
        self.taken = 0

    def add(self, future: asyncio.Future[Any], key: bytes, at: float) -> None:
        """Let another go with them."""
        self.futures.append(future)
        self.keys.append(key)
        self.ends.append(at)
        if self.wire is not None:
            self.wire.united += 1

    def leave(self) -> None:
        """Be counted no more."""
        if self.wire is not None:
            self.wire.united -= len(self.keys) - 1
            self.wire = None


class ScriptRun(StandaloneCommand):
    """A run of a script by *node* for *key*, or several: *runs* are all of them, None while it is alone."""

    __slots__ = ("by_source", "form", "key", "runs")

    def __init__(
        self, node: Node, future: asyncio.Future[Any], form: PackedScript, key: bytes, began: float, at: float
    ) -> None:
        self.node = node
        self.future = future
        self.packed = form.pack(key)
        self.form = form
        self.key = key
        self.began = began
        self.at = at
        self.repeatable = False
        self.by_source = False
        self.runs: ScriptRunGroup | None = None

    @property
    def calls(self) -> Sequence[PendingCommand]:
        """Each run that has no reply yet, as a call of its own."""
        runs = self.runs
        return (self,) if runs is None else [self._alone(runs, place) for place in range(runs.taken, len(runs.keys))]

    def unite(self, future: asyncio.Future[Any], key: bytes, form: PackedScript, at: float) -> bool:
        """Let another run go together with this, which is not written yet; tell whether that is so."""
        runs = self.runs
        if at < self.at:  # whose deadline nobody would watch
            return False
        if runs is None:
            runs = self.runs = ScriptRunGroup(self, self.node.wire)
        elif len(runs.keys) >= MOST_RUNS:
            return False
        if runs.forms is not None:
            runs.forms.append(form)
        elif form is not self.form:
            runs.forms = [*[self.form] * len(runs.keys), form]
        runs.add(future, key, at)
        return True

    def seal(self) -> None:
        """Take the bytes of what it has become, which is about to be written."""
        runs = self.runs
        if runs is None:
            self.packed = self.form.pack(self.key, self.by_source)
        elif len(runs.keys) >= FEWEST_RUNS and self.node.unites:
            self.packed = self.form.pack_many(runs.keys, runs.forms, self.by_source)
        else:
            runs.separate = True
            forms = runs.forms or [self.form] * len(runs.keys)
            self.packed = b"".join([form.pack(key) for form, key in zip(forms, runs.keys, strict=True)])

    def take(self, reply: Any) -> bool:
        """Take a reply; tell whether it was the last. Raises TypeError where it is not one for each run."""
        runs = self.runs
        if runs is not None and runs.separate:
            return self._take_next(runs, reply)
        if type(reply) is ReplyError:
            self._take_error(reply)
        elif runs is not None:
            self._take_all(runs, reply)
        elif not self.future.done():
            self.future.set_result(reply)
        return True

    def _take_next(self, runs: ScriptRunGroup, reply: Any) -> bool:
        place = runs.taken
        runs.taken = place + 1
        if type(reply) is ReplyError:
            self._alone(runs, place).take(reply)
        elif not runs.futures[place].done():
            runs.futures[place].set_result(reply)
        if runs.taken < len(runs.keys):
            return False
        runs.leave()
        return True

    def _take_all(self, runs: ScriptRunGroup, replies: Any) -> None:
        """Give each run its reply; what failed by itself does as if it had been alone."""
        if type(replies) is not list or len(replies) != len(runs.futures):
            raise TypeError("not one reply for each run")
        runs.leave()
        failed = False
        for future, reply in zip(runs.futures, replies, strict=True):
            if type(reply) is ReplyError:
                failed = True
            elif not future.done():
                future.set_result(reply)
        if failed:
            errors = [place for place, reply in enumerate(replies) if type(reply) is ReplyError]
            self.node.metrics.failed("reply", len(errors))
            for place in errors:
                self._alone(runs, place).take(replies[place])

    def _take_error(self, error: ReplyError) -> None:
        """Send the source, or let each run do as if it had been alone: the server ran none of them."""
        runs = self.runs
        if runs is not None:
            runs.leave()
        if error.code == "NOSCRIPT" and not self.by_source:
            self.by_source = True
            self.seal()
            self.node.put_again(self)
        elif runs is None:
            super().take(error)
        elif error.code in FOR_KEYS_TOGETHER:
            self.node.unites = False
            for call in self.calls:
                self.node.put_again(call)
        else:
            for call in self.calls:
                call.take(ReplyError(str(error)))

    def _alone(self, runs: ScriptRunGroup, place: int) -> ScriptRun:
        form = self.form if runs.forms is None else runs.forms[place]
        return ScriptRun(self.node, runs.futures[place], form, runs.keys[place], self.began, runs.ends[place])
