"""What importing has left behind that workers which are forked afterwards cannot have, or should not share."""

from __future__ import annotations

import fcntl
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

MOST_WARNINGS = 20
REMEDY = "make it when a worker starts, in a lifespan, or set server.preload = false"


class ImportSideEffects:
    """Threads, open files and random generators; those files do not count that were open when this was made."""

    def __init__(self) -> None:
        self._before = _descriptors()

    def threads(self) -> list[str]:
        """Return the names of the threads that run beside the main one, native ones included."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        tasks = [int(each) for each in os.listdir("/proc/self/task") if int(each) != os.getpid()]
        return [names.get(task) or _task_name(task) for task in tasks]

    def warnings(self) -> list[str]:
        """Return one sentence for each thing that all workers would share."""
        opened = [_described(each, name) for each, name in _descriptors().items() if self._before.get(each) != name]
        found = [f"importing has opened {each}: all workers share it; {REMEDY}" for each in opened if each]
        same = "all workers draw the same numbers from it"
        found += [f"importing has made the random generator {each}: {same}; {REMEDY}" for each in _generators()]
        return found[:MOST_WARNINGS]


def _descriptors() -> dict[int, str]:
    """Return the open descriptors and the names of what they are for."""
    names = {}
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one of this very listing
            names[int(each)] = os.readlink(f"/proc/self/fd/{each}")
    return names


def _task_name(task: int) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return "one that has just ended"


def _described(descriptor: int, name: str) -> str:
    """Return what *descriptor* is when processes must not share it, else nothing."""
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
    return repr(address) if address else "another one in this process"


def _generators() -> Iterator[str]:
    """Yield the names of the random generators in modules, save those that are seeded anew after a fork."""
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
