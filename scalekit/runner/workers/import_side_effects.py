"""Detect side effects of importing that forked workers would lose or must not share: threads, sockets, random
number generators."""

from __future__ import annotations

import os
import random
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

MAX_WARNINGS = 20
REMEDY = "create it in a lifespan, or set server.preload = false"


class ImportSideEffects:
    """Threads, open descriptors and random number generators; descriptors that were open at creation do not count."""

    def __init__(self) -> None:
        self._before = _descriptors()

    def threads(self) -> list[str]:
        """Return the names of all threads except the main one, native threads included."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        tasks = [int(each) for each in os.listdir("/proc/self/task") if int(each) != os.getpid()]
        return [names.get(task) or _task_name(task) for task in tasks]

    def warnings(self) -> list[str]:
        """Return a warning for each resource that all workers would share."""
        opened = [_described(each, name) for each, name in _descriptors().items() if self._before.get(each) != name]
        found = [f"importing opened {each}, which all workers share: {REMEDY}" for each in opened if each]
        same = "from which all workers draw the same numbers"
        found += [f"importing created the random number generator {each}, {same}: {REMEDY}" for each in _generators()]
        return found[:MAX_WARNINGS]


def _descriptors() -> dict[int, str]:
    """Return the open descriptors with the targets of their links in /proc."""
    names = {}
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of this listing itself
            names[int(each)] = os.readlink(f"/proc/self/fd/{each}")
    return names


def _task_name(task: int) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "a thread that has just exited"


def _described(descriptor: int, name: str) -> str:
    """Return a description of *descriptor* when processes must not share it, else an empty string."""
    with suppress(OSError):
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            return _socket(descriptor)
        if name == "anon_inode:[eventpoll]":
            return "the selector of an event loop"
        if stat.S_ISREG(kind) and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            return f"the file {name} for reading and writing"
    return ""


def _socket(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as opened:
        own = _address(opened.getsockname())
        try:
            return f"a socket to {_address(opened.getpeername())}"
        except OSError:
            return f"a socket at {own}"


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return repr(address) if address else "an unnamed peer"


def _generators() -> Iterator[str]:
    """Yield the names of random number generators in modules, except those that are reseeded after a fork."""
    numpy_random = sys.modules.get("numpy.random")
    kinds: tuple[type, ...] = (random.Random,)
    if numpy_random is not None:
        kinds += (numpy_random.Generator, numpy_random.RandomState)
    for name, module in list(sys.modules.items()):
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if issubclass(type(value), kinds) and not _is_seeded_after_fork(value):
                yield f"{name}.{key}"


def _is_seeded_after_fork(generator: object) -> bool:
    legacy = sys.modules.get("numpy.random.mtrand")
    return (
        generator is random._inst
        or isinstance(generator, random.SystemRandom)
        or (legacy is not None and generator is legacy._rand)
    )
