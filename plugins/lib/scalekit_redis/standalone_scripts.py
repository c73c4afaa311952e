"""Prepared scripts on a standalone server: runs of one turn of the event loop are combined into one command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from scalekit_redis.commands import Reply
from scalekit_redis.errors import ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand
from scalekit_redis.prepared_script import PackedScript
from scalekit_redis.protocol import RedisProtocol
from scalekit_redis.standalone_pending import StandaloneCommand

MIN_COMBINED_RUNS, MAX_COMBINED_RUNS = 16, 64
"""Runs in one command: fewer are cheaper as separate commands, more would delay other clients of the server."""
MULTI_KEY_ERRORS = frozenset(("CROSSSLOT", "NOPERM"))
"""Error codes of a command with several keys that none of its keys causes alone."""


class StandaloneScript:
    """A prepared script that *node* runs, each run within *timeout* seconds."""

    __slots__ = ("_create_future", "_group", "_node", "_script", "_timeout")

    def __init__(self, node: Node, script: PackedScript, timeout: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._timeout = timeout
        self._script = script
        self._group = script.group
        self._node = node

    def run(self, key: str) -> asyncio.Future[Reply]:
        """Run the script for *key*, combined with the runs that are not written yet; return the future of its reply."""
        data, script, now = key.encode(), self._script, monotonic()
        deadline = now + self._timeout
        future: asyncio.Future[Reply] = self._create_future()
        connection = self._node.connection
        first = None if connection is None else connection.runs.get(self._group)
        if first is not None:
            if first.combine(future, data, script, deadline):
                return future
            first.pack_runs()
        command = ScriptRun(self._node, future, script, data, now, deadline=deadline)
        self._node.send(command)
        if connection is not None:
            connection.runs[self._group] = command
        return future


class ScriptRunGroup:
    """Runs that are sent together, the *first* among them; the same index in each list belongs to one run.

    ``scripts`` is None while all have that of the first. They are *separate* commands or one; ``received`` counts the
    separate ones that have their reply. The connection counts them until all have theirs.
    """

    __slots__ = ("connection", "deadlines", "futures", "keys", "received", "scripts", "separate")

    def __init__(self, first: ScriptRun, connection: RedisProtocol | None) -> None:
        self.connection = connection
        self.futures = [first.future]
        self.keys = [first.key]
        self.deadlines = [first.deadline]
        self.scripts: list[PackedScript] | None = None
        self.separate = False
        self.received = 0

    def add(self, future: asyncio.Future[Reply], key: bytes, deadline: float) -> None:
        """Add a run."""
        self.futures.append(future)
        self.keys.append(key)
        self.deadlines.append(deadline)
        if self.connection is not None:
            self.connection.combined += 1

    def stop_counting(self) -> None:
        """Stop counting the runs on their connection."""
        if self.connection is not None:
            self.connection.combined -= len(self.keys) - 1
            self.connection = None


class ScriptRun(StandaloneCommand):
    """A run of a script by *node* for *key*, or several: *runs* are all of them, None while there is one."""

    __slots__ = ("key", "runs", "script", "use_eval")

    def __init__(
        self,
        node: Node,
        future: asyncio.Future[Reply],
        script: PackedScript,
        key: bytes,
        started: float,
        *,
        deadline: float,
    ) -> None:
        self.node = node
        self.future = future
        self.packed = script.pack(key)
        self.script = script
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
        if runs is None:
            return (self,)
        return [self._single_run(runs, index) for index in range(runs.received, len(runs.keys))]

    def combine(self, future: asyncio.Future[Reply], key: bytes, script: PackedScript, deadline: float) -> bool:
        """Add a run to this one, which is not written yet; return whether that was possible."""
        runs = self.runs
        if deadline < self.deadline:  # the timer watches only the first deadline
            return False
        if runs is None:
            runs = self.runs = ScriptRunGroup(self, self.node.connection)
        elif len(runs.keys) >= MAX_COMBINED_RUNS:
            return False
        if runs.scripts is not None:
            runs.scripts.append(script)
        elif script is not self.script:
            runs.scripts = [*[self.script] * len(runs.keys), script]
        runs.add(future, key, deadline)
        return True

    def pack_runs(self) -> None:
        """Pack the runs, which are about to be written."""
        runs = self.runs
        if runs is None:
            self.packed = self.script.pack(self.key, self.use_eval)
        elif len(runs.keys) >= MIN_COMBINED_RUNS and self.node.combines_scripts:
            self.packed = self.script.pack_many(runs.keys, runs.scripts, self.use_eval)
        else:
            runs.separate = True
            scripts = runs.scripts or [self.script] * len(runs.keys)
            self.packed = b"".join([script.pack(key) for script, key in zip(scripts, runs.keys, strict=True)])

    def receive(self, reply: Reply) -> bool:
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

    def _receive_next(self, runs: ScriptRunGroup, reply: Reply) -> bool:
        index = runs.received
        runs.received = index + 1
        if type(reply) is ReplyError:
            self._single_run(runs, index).receive(reply)
        elif not runs.futures[index].done():
            runs.futures[index].set_result(reply)
        if runs.received < len(runs.keys):
            return False
        runs.stop_counting()
        return True

    def _receive_all(self, runs: ScriptRunGroup, replies: Reply) -> None:
        """Pass each run its reply; a failed run is handled like a separate command."""
        if type(replies) is not list or len(replies) != len(runs.futures):
            raise TypeError("not one reply for each run")
        runs.stop_counting()
        failed = False
        for future, reply in zip(runs.futures, replies, strict=True):
            if type(reply) is ReplyError:
                failed = True
            elif not future.done():
                future.set_result(reply)
        if failed:
            errors = [index for index, reply in enumerate(replies) if type(reply) is ReplyError]
            self.node.metrics.count_errors("reply", len(errors))
            for index in errors:
                self._single_run(runs, index).receive(replies[index])

    def _receive_error(self, error: ReplyError) -> None:
        """Send EVAL after NOSCRIPT, or handle each run as a separate command: the server executed none."""
        runs = self.runs
        if runs is not None:
            runs.stop_counting()
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

    def _single_run(self, runs: ScriptRunGroup, index: int) -> ScriptRun:
        script = self.script if runs.scripts is None else runs.scripts[index]
        return ScriptRun(
            self.node, runs.futures[index], script, runs.keys[index], self.started, deadline=runs.deadlines[index]
        )
