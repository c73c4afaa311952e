"""Prepared scripts on a standalone server: runs of one turn of the event loop are combined into one command."""

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

MIN_COMBINED_RUNS, MAX_COMBINED_RUNS = 16, 64
"""Runs in one command: fewer are cheaper as separate commands, more would delay other clients of the server."""
MULTI_KEY_ERRORS = frozenset(("CROSSSLOT", "NOPERM"))
"""Error codes that a command can get for several keys though it would not for any of them alone."""


class StandaloneScript:
    """A prepared script that *node* runs, each run within *timeout* seconds."""

    __slots__ = ("_create_future", "_form", "_group", "_node", "_timeout")

    def __init__(self, node: Node, form: PackedScript, timeout: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._timeout = timeout
        self._form = form
        self._group = form.group
        self._node = node

    def run(self, key: str) -> asyncio.Future[Any]:
        """Run the script for *key*, combined with the runs that are not written yet; return the future of its reply."""
        word, form, now = key.encode(), self._form, monotonic()
        deadline = now + self._timeout
        future: asyncio.Future[Any] = self._create_future()
        connection = self._node.connection
        first = None if connection is None else connection.runs.get(self._group)
        if first is not None:
            if first.combine(future, word, form, deadline):
                return future
            first.pack_runs()
        command = ScriptRun(self._node, future, form, word, now, deadline=deadline)
        self._node.send(command)
        if connection is not None:
            connection.runs[self._group] = command
        return future


class ScriptRunGroup:
    """Runs that are sent together, the *first* among them; the same index in each list belongs to one run.

    ``forms`` is None while all have that of the first. They are *separate* commands or one; ``received`` counts the
    separate ones that have their reply. The connection counts them until all have theirs.
    """

    __slots__ = ("connection", "deadlines", "forms", "futures", "keys", "received", "separate")

    def __init__(self, first: ScriptRun, connection: RedisProtocol | None) -> None:
        self.connection = connection
        self.futures = [first.future]
        self.keys = [first.key]
        self.deadlines = [first.deadline]
        self.forms: list[PackedScript] | None = None
        self.separate = False
        self.received = 0

    def add(self, future: asyncio.Future[Any], key: bytes, deadline: float) -> None:
        """Add a run."""
        self.futures.append(future)
        self.keys.append(key)
        self.deadlines.append(deadline)
        if self.connection is not None:
            self.connection.combined += 1

    def leave(self) -> None:
        """Stop counting the runs on their connection."""
        if self.connection is not None:
            self.connection.combined -= len(self.keys) - 1
            self.connection = None


class ScriptRun(StandaloneCommand):
    """A run of a script by *node* for *key*, or several: *runs* are all of them, None while it is alone."""

    __slots__ = ("form", "key", "runs", "use_eval")

    def __init__(
        self,
        node: Node,
        future: asyncio.Future[Any],
        form: PackedScript,
        key: bytes,
        started: float,
        *,
        deadline: float,
    ) -> None:
        self.node = node
        self.future = future
        self.packed = form.pack(key)
        self.form = form
        self.key = key
        self.started = started
        self.deadline = deadline
        self.retryable = False
        self.use_eval = False
        self.runs: ScriptRunGroup | None = None

    @property
    def commands(self) -> Sequence[PendingCommand]:
        """Each run that has no reply yet, as a command of its own."""
        runs = self.runs
        return (self,) if runs is None else [self._alone(runs, place) for place in range(runs.received, len(runs.keys))]

    def combine(self, future: asyncio.Future[Any], key: bytes, form: PackedScript, deadline: float) -> bool:
        """Add a run to this one, which is not written yet; return whether that was possible."""
        runs = self.runs
        if deadline < self.deadline:  # its deadline would not be watched
            return False
        if runs is None:
            runs = self.runs = ScriptRunGroup(self, self.node.connection)
        elif len(runs.keys) >= MAX_COMBINED_RUNS:
            return False
        if runs.forms is not None:
            runs.forms.append(form)
        elif form is not self.form:
            runs.forms = [*[self.form] * len(runs.keys), form]
        runs.add(future, key, deadline)
        return True

    def pack_runs(self) -> None:
        """Pack the runs, which are about to be written."""
        runs = self.runs
        if runs is None:
            self.packed = self.form.pack(self.key, self.use_eval)
        elif len(runs.keys) >= MIN_COMBINED_RUNS and self.node.combines_scripts:
            self.packed = self.form.pack_many(runs.keys, runs.forms, self.use_eval)
        else:
            runs.separate = True
            forms = runs.forms or [self.form] * len(runs.keys)
            self.packed = b"".join([form.pack(key) for form, key in zip(forms, runs.keys, strict=True)])

    def receive(self, reply: Any) -> bool:
        """Receive a reply; return whether it was the last. Raises TypeError when it is not one for each run."""
        runs = self.runs
        if runs is not None and runs.separate:
            return self._receive_next(runs, reply)
        if type(reply) is ReplyError:
            self._receive_error(reply)
        elif runs is not None:
            self._receive_all(runs, reply)
        elif not self.future.done():
            self.future.set_result(reply)
        return True

    def _receive_next(self, runs: ScriptRunGroup, reply: Any) -> bool:
        place = runs.received
        runs.received = place + 1
        if type(reply) is ReplyError:
            self._alone(runs, place).receive(reply)
        elif not runs.futures[place].done():
            runs.futures[place].set_result(reply)
        if runs.received < len(runs.keys):
            return False
        runs.leave()
        return True

    def _receive_all(self, runs: ScriptRunGroup, replies: Any) -> None:
        """Pass each run its reply; a failed run is handled as if it had been alone."""
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
            self.node.metrics.count_errors("reply", len(errors))
            for place in errors:
                self._alone(runs, place).receive(replies[place])

    def _receive_error(self, error: ReplyError) -> None:
        """Send EVAL after NOSCRIPT, or handle each run as if it had been alone: the server executed none."""
        runs = self.runs
        if runs is not None:
            runs.leave()
        if error.code == "NOSCRIPT" and not self.use_eval:
            self.use_eval = True
            self.pack_runs()
            self.node.resend(self)
        elif runs is None:
            super().receive(error)
        elif error.code in MULTI_KEY_ERRORS:
            self.node.combines_scripts = False
            for command in self.commands:
                self.node.resend(command)
        else:
            for command in self.commands:
                command.receive(ReplyError(str(error)))

    def _alone(self, runs: ScriptRunGroup, place: int) -> ScriptRun:
        form = self.form if runs.forms is None else runs.forms[place]
        return ScriptRun(
            self.node, runs.futures[place], form, runs.keys[place], self.started, deadline=runs.deadlines[place]
        )
